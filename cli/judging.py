"""What the words that judge models and images do: diagnose, compare, trace."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from adapters import dvc_data, lineage, mlflow_registry, workspace
from cli.run import say
from cli.train import shown

CURATED = Path("data/curated")
DIAGNOSIS = Path("reports/evaluate/diagnosis.json")
COMPARED = Path(".darkroom/compared")
PAIRS = 24


def opened(folder: Path | None) -> tuple[Path, Any]:
    """The workspace and its settings."""
    from darkroom.params import read_params

    found = workspace.opened(folder or Path.cwd())
    return found, read_params(found / "params.yaml")


def model_named(found: Path, name: str, wanted: str) -> Path:
    """The folder of a model that a person means. Raises LookupError naming what there is."""
    if (Path(wanted) / "model.json").is_file():
        return Path(wanted)
    if (found / "models" / wanted / "model.json").is_file():
        return found / "models" / wanted
    return mlflow_registry.model_folder(found, mlflow_registry.version_named(found, name, wanted))


def diagnose(given: argparse.Namespace) -> int:
    """Say what the last evaluation found, and change the settings where asked."""
    from darkroom.evaluation.examining import told

    found = workspace.opened(given.workspace or Path.cwd())
    file = found / DIAGNOSIS
    if not file.exists():
        raise FileNotFoundError(f"{file}: there is no such file; `darkroom run` evaluates the models")
    findings = json.loads(file.read_text(encoding="utf-8"))
    if given.model is not None and given.model not in findings:
        raise LookupError(f"`{given.model}` was not evaluated; there are: {', '.join(findings)}")
    say(told({name: one for name, one in findings.items() if given.model in (None, name)}))
    if given.apply:
        if given.model is None:
            raise ValueError("--apply changes the settings for one model; say which: darkroom diagnose tuned --apply")
        changed = workspace.change_params(found, yaml.safe_load(findings[given.model]["snippet"]) or {})
        say(f"params.yaml: {', '.join(changed) or 'nothing to change'}; `darkroom run` computes what that calls for")
    return 0


def compare(given: argparse.Namespace) -> int:
    """Draw from both, score both, say who is better and how sure that is."""
    from darkroom.evaluation.comparing import SURE, Terms, as_served, page_of, readings
    from darkroom.evaluation.comparing import compare as compared

    found, settings = opened(given.workspace)
    names = (given.first, given.second)
    first, second = (as_served(name, model_named(found, settings.register_.name, name)) for name in names)
    section = settings.evaluate
    terms = Terms(section.features, given.images, given.seed, section.batch, section.bootstrap)
    result = shown(compared(first, second, found / CURATED, terms))
    say(f"{result.n} images of each from the same noise (seed {given.seed}), against {result.reference} training images")
    say(f"labels: {', '.join(result.labels)}")
    heads = f"{'score':<18}{given.first[-14:]:>15}{given.second[-14:]:>15}   {'difference (95 % interval)':<34}"
    say(f"{heads}P({given.first[-14:]} is better)")
    for one, words in zip(result.contests, readings(result, names), strict=True):
        apart = f"{one.difference.value:+.4g} ({one.difference.low:+.4g} to {one.difference.high:+.4g})"
        figures = f"{one.metric:<18}{one.first:>15.4g}{one.second:>15.4g}   {apart:<34}{one.first_better:.3f}"
        say(f"{figures}  {words}")
    say(f"({given.first} less {given.second}; a difference is called one from a probability of {SURE:g} on)")
    out = given.out or found / COMPARED
    out.mkdir(parents=True, exist_ok=True)
    scale = max(1, 96 // result.made[0].shape[1])
    result.sheet(PAIRS, scale).save(out / "pairs.png")
    (out / "compare.html").write_text(page_of(result, names, scale), encoding="utf-8")
    say(f"page        {out / 'compare.html'}")
    say(f"pairs       {out / 'pairs.png'} (left: {given.first}, right: {given.second})")
    return 0


def trace(given: argparse.Namespace) -> int:
    """Say what made an image, where it says so; name the training images near it, and where they went."""
    from PIL import Image

    from darkroom.evaluation.tracing import read_image
    from darkroom.evaluation.tracing import trace as traced
    from darkroom.images import read_split

    if given.out is not None and given.out.suffix.lower() not in Image.registered_extensions():
        raise ValueError(f"{given.out}: its name does not say what kind of picture to write; end it in .png")
    found, settings = opened(given.workspace)
    train, *others = (read_split(found / CURATED, split) for split in ("train", "validation", "test"))
    held_out = np.concatenate([np.asarray(one.pixels) for one in others])
    result = traced(read_image(given.image, train.buckets, settings.curate.background), train, held_out, given.count)
    rows = {row["path"]: row for row in lineage.rows_of(found / CURATED / "manifest.parquet")}
    verdict = "looks like a copy of the first" if result.suspect else "no nearer to the training images than real images are"
    say(f"{given.image}: {verdict}")
    say(f"  made by {_made_by(given.image)}")
    say(
        f"  looked for among {len(train):,} training images; data version {dvc_data.md5(found, 'data/curated') or 'not recorded'}"
    )
    near = [rows.get(one.path, {}) for one in result.near]
    uses = lineage.uses(found, settings.register_.name, [row["sha256"] for row in near if "sha256" in row])
    for one, row in zip(result.near, near, strict=True):
        how = ", mirrored" if one.mirrored else ""
        say(f"  {one.path} ({one.label or 'no label'}){how}")
        say(f"    distance {one.distance:.3g}, nearer than {one.nearer_than:.1%} of {result.held_out} held-out images are to any")
        say(f"    sha256 {row.get('sha256', 'not known')}")
        say(f"    trained on by {_versions(settings.register_.name, uses.get(row.get('sha256', ''), []))}")
    if given.out is not None:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        result.picture().save(given.out)
        say(f"picture: {given.out} (the image, then the training images in this order)")
    return 0


def _made_by(image: Path) -> str:
    """What an image says of itself."""
    from darkroom.provenance import ProvenanceError, read_provenance

    try:
        found = read_provenance(image)
    except ProvenanceError:
        return "nobody it names: nothing in it says what made it"
    made, sign = found.made, {None: "not signed", True: f"signed by {found.signer}", False: "CHANGED since it was signed"}
    model = f"{made.model} version {made.version}" if made.version else made.model
    told = f"{made.label or 'no label'}, seed {made.seed}, image {made.index}"
    return f"{model} ({told}; weights {made.weights_digest[:12]}, data {made.data_digest[:12]}; {sign[found.whole]})"


def _versions(name: str, used: Sequence[lineage.Use]) -> str:
    told = []
    for use in (one for one in used if one.trained):
        aliases = "".join(f" @{alias}" for alias in use.version.aliases)
        told.append(f"{name} {use.version.number}{aliases} (data version {use.version.tags.get('data.md5', '') or 'not known'})")
    return "; ".join(told) or f"no version of {name} that is registered"
