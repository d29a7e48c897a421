"""Images looked at by Prefect's task runners: the same data set, byte for byte, as from this machine's own processes."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow
from prefect.testing.utilities import prefect_test_harness

from darkroom.curation.curate import CurateSection, curate
from darkroom.events import followed
from darkroom.refs import digest_of
from tasks import looking
from tasks.looking import UnknownRunner, looks_by
from tests.conftest import TOP, draw_images, tiny_settings

RAY = pytest.mark.skipif(importlib.util.find_spec("prefect_ray") is None, reason="prefect-ray (the extra `ray`) is not installed")


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a damaged file and a double, and what curating it without task runs gives."""
    folder = draw_images(tmp_path_factory.mktemp("source") / "images", 60)
    (folder / "disc" / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n torn")
    (folder / "square" / "again.png").write_bytes((folder / "disc" / "0-000.png").read_bytes())
    return folder, curated(folder, tmp_path_factory.mktemp("embedded"), None)


def curated(folder: Path, place: Path, runner: str | None) -> str:
    section = CurateSection.model_validate(tiny_settings(folder)["curate"])
    followed(curate(section, folder, place / "out", place / "report", place / "memory", looks=looks_by(runner, 2)))
    return digest_of(place / "out")


@pytest.mark.long
@pytest.mark.servers
@pytest.mark.parametrize("runner", ["threads", "processes", pytest.param("ray", marks=RAY)])
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning", "ignore::FutureWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_data_set_is_that_of_the_embedded_run(
    runner: str, embedded: tuple[Path, str], server: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "SHARD", 16)
    monkeypatch.setenv("PYTHONPATH", f"{TOP}{os.pathsep}{Path(__file__).parent}")  # Ray's workers import the flow below
    folder, expected = embedded

    @flow(name="curated")
    def whole() -> str:
        return curated(folder, tmp_path, runner)

    assert whole() == expected


def test_what_an_unknown_runner_is_told() -> None:
    assert looks_by(None, 2) is None and looks_by("here", 2) is None
    with pytest.raises(UnknownRunner, match="DARKROOM_CURATE_ON: spark; there are: here, threads, processes, ray"):
        looks_by("spark", 2)
