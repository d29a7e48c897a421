# run: the whole lifecycle on sample images.  test, test-long, check, bench: for those who change Darkroom.
PYTHON ?= python3
BIN := .venv/bin
# Where pip is told of a local folder of wheels, uv is told of it too.
export UV_FIND_LINKS ?= $(PIP_FIND_LINKS)
export VIRTUAL_ENV := $(CURDIR)/.venv
unexport PYTHONPATH
# uv compiles nothing when it installs: where nothing may be kept at the first import either, every start compiles torch and Prefect.
unexport PYTHONDONTWRITEBYTECODE
# Torch's threads soon sleep while they wait: spinning on, they slow tenfold on a shared machine.
export GOMP_SPINCOUNT ?= 1000

.PHONY: run test test-long check bench soak format install clean

run: install
	@$(BIN)/darkroom sample-data data/sample --count 3000 --seed 0 --dirt
	@$(BIN)/darkroom run

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not long"

test-long: install # a life with real servers, a browser and deaths in it; trainings in several processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m long

check: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest tests/architecture

bench: install
	$(BIN)/python -m benchmarks

soak: install # faults for real: killed, cancelled, cut off, full; many minutes
	$(BIN)/python -m benchmarks.faults

format: install
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .
	$(BIN)/python -c "from darkroom.params import schema; print(schema(), end='')" > params.schema.json
	$(BIN)/python -m tests.architecture.stage_imports

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || (echo "Darkroom needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --constraint constraints.txt --editable '.[sample,dev]'
	@touch $@

clean:
	rm -rf .venv
