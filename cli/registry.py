"""What the words of the registry do."""

import csv
from pathlib import Path
from typing import Any

from adapters import lineage as lines
from adapters import mlflow_registry, promotions, workspace
from cli.main import REFUSED
from cli.run import say
from cli.servers import connect

SHOWN = 20  # source files listed; all of them with --files


def promote(folder: Path | None, version: str, force: bool, reason: str) -> int:
    """The flow `promotion`, here and now. A person who types the command approves it."""
    found, settings = _settings(folder)
    if force and not reason.strip():
        raise promotions.PromotionError("--force needs --reason TEXT: why a gate is overruled is recorded")
    mlflow_registry.version_named(found, settings.register_.name, version)
    connect(found)
    from adapters import prefect_runs
    from flows.promotion import promotion

    prefect_runs.show_plainly()
    done = promotion(found, None, version, force, reason or "approved on the command line")
    say(f"{done[0].how}: {done[0].why}")
    return REFUSED if done[0].how == "refused" else 0


def roll_back(folder: Path | None, reason: str) -> int:
    """`previous` becomes champion."""
    found, settings = _settings(folder)
    now, before = promotions.roll_back(found, settings.register_.name, reason)
    say(f"{now.name} version {now.number} is the champion again; version {before.number} is `previous` now")
    if "forgotten" in now.tags:
        say(f"but it was trained on images since forgotten: {now.tags['forgotten']}")
    return 0


def lineage(folder: Path | None, model: str, image: Path | None, files: Path | None) -> int:
    """Back from a version, or on from an image."""
    found, settings = _settings(folder)
    name, _, wanted = model.partition("@")
    name = name or settings.register_.name
    if image is not None:
        return _onward(found, name, str(image))
    version = mlflow_registry.version_named(found, name, wanted or mlflow_registry.CHAMPION)
    rows = lines.manifest(found, version)
    kept = [row for row in rows if row["kept"]]
    say(f"{name} version {version.number}{''.join(f' @{alias}' for alias in version.aliases)}")
    tags = {"weights.sha256": "weights", "start.sha256": "started from", "data.md5": "data version", "code": "code"}
    tags |= {"git.commit": "workspace", "trained_in": "MLflow run"}
    for tag, what in tags.items():
        say(f"  {what:<13}{version.tags.get(tag, '') or 'not known'}")
    say(f"  {'images':<13}{len(kept):,} of {len(rows):,} source files, in {', '.join(sorted({row['split'] for row in kept}))}")
    if "forgotten" in version.tags:
        say(f"  {'forgotten':<13}it was trained on images since forgotten: {version.tags['forgotten']}")
    for move in promotions.moves(found):
        if (move.model, move.version) == (name, version.number):
            say(f"  {move.what:<13}{move.when} by {move.who}: {move.why}")
    if files is not None:
        with files.open("w", encoding="utf-8", newline="") as table:
            writer = csv.DictWriter(table, lines.COLUMNS)
            writer.writeheader()
            writer.writerows(rows)
        say(f"every source file: {files}")
        return 0
    for row in kept[:SHOWN]:
        say(f"    {row['sha256'][:16]}  {row['split']:<11}{row['path']}")
    if len(kept) > SHOWN:
        say(f"    ... {len(kept) - SHOWN:,} more; --files FILE.csv writes them all")
    return 0


def forget(folder: Path | None, images: list[Path], reason: str, retrain: bool) -> int:
    """Drop list, marks, and retraining where asked."""
    found, settings = _settings(folder)
    asked = [lines.digest(str(image)) for image in images]
    manifest = found / "data/curated/manifest.parquet"
    rows = lines.rows_of(manifest) if manifest.exists() else []
    digests = sorted({copy for one in asked for copy in lines.copies(rows, one)})
    marked = lines.forget(found, settings.curate.choices, settings.register_.name, digests, reason)
    say(f"{len(images)} images, with their copies {len(digests)} files, are on the drop list {found / settings.curate.choices}")
    numbers = ", ".join(version.number for version in marked)
    say(f"versions trained on them, now marked: {numbers or 'none'}")
    if retrain:
        connect(found)
        from adapters import prefect_runs
        from flows.retraining import retraining

        prefect_runs.show_plainly()
        done = retraining(found)
        return REFUSED if any(step.how == "refused" for step in done) else 0
    if marked:
        say("`darkroom run` trains without them; under `darkroom up` that starts by itself")
    return 0


def _onward(found: Path, name: str, image: str) -> int:
    digest = lines.digest(image)
    known = lines.uses(found, name, [digest])[digest]
    say(f"{image}\n  sha256 {digest}")
    for use in known:
        data = use.version.tags.get("data.md5", "")
        aliases = "".join(f" @{alias}" for alias in use.version.aliases)
        say(f"  {name} version {use.version.number}{aliases}: {use.role}, as {use.path}, data version {data}")
    data_versions = {made: when for when, made in lines.data_versions(found)}
    for made, when in data_versions.items():
        try:
            roles = lines.role_in(found, made, digest)
        except LookupError as error:
            roles = [f"not known: {error}"]
        for role in roles:
            say(f"  data version {made} of {when}: {role}")
    if not known and not data_versions:
        say(f"  it went into nothing that {name} knows of")
    return 0


def _settings(folder: Path | None) -> tuple[Path, Any]:
    from darkroom.params import read_params

    found = workspace.opened(folder or Path.cwd())
    return found, read_params(found / "params.yaml")
