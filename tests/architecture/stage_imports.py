"""The code that each stage of dvc.yaml depends on: the files its command can import. `make format` writes them there."""

from pathlib import Path

import grimp
from ruamel.yaml import YAML

TOP = Path(__file__).parents[2]
COMMANDS = {
    "curate": "darkroom.curation.__main__",
    "augment": "darkroom.augmentation",
    "train_base": "darkroom.training.__main__",
    "finetune": "darkroom.finetuning.__main__",
    "evaluate": "darkroom.evaluation.__main__",
}


def imported_by_stage() -> dict[str, list[str]]:
    """First-party files, sorted, by stage."""
    graph = grimp.build_graph("darkroom", cache_dir=None)
    found = {}
    for stage, module in COMMANDS.items():
        reached = graph.find_upstream_modules(module) | {module}
        packages = {name.rsplit(".", depth)[0] for name in reached for depth in range(1, name.count(".") + 1)}
        found[stage] = sorted({_file_of(name) for name in reached | packages})
    return found


def _file_of(name: str) -> str:
    path = Path(*name.split("."))
    return str(path / "__init__.py" if (TOP / path).is_dir() else path.with_suffix(".py"))


def main() -> None:
    """Write them into dvc.yaml, after what else a stage reads."""
    yaml = YAML()
    yaml.width, yaml.preserve_quotes = 1000, True
    yaml.indent(mapping=2, sequence=4, offset=2)
    file = TOP / "dvc.yaml"
    content = yaml.load(file.read_text(encoding="utf-8"))
    for stage, files in imported_by_stage().items():
        deps = content["stages"][stage]["deps"]
        kept = [path for path in deps if not str(path).startswith("darkroom/")]
        deps[:] = [*kept, *files]
    with file.open("w", encoding="utf-8") as out:
        yaml.dump(content, out)


if __name__ == "__main__":
    main()
