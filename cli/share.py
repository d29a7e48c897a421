"""What the words of models that are used do: generate, inspect, export."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters import machine, workspace
from cli.run import say
from cli.train import shown
from darkroom.provenance import Found, ProvenanceError, read_provenance, read_signer
from darkroom.sections import SettingsError, validated
from darkroom.shapes import shape_named

AWAY = 1.5  # times away from another model, where nobody says
# What a sampler is when a person gives its kind alone; in params.yaml each part can be set.
SAMPLERS: dict[str, dict[str, Any]] = {
    "euler": {},
    "heun": {},
    "ddim": {"eta": 0.0},
    "ddpm": {"variance": "small"},
    "dpmpp": {"order": 2},
    "unipc": {"order": 2},
    "ipndm": {},
}


def generate(given: argparse.Namespace) -> int:
    """Draw into a folder."""
    key = machine.signing_key()
    signer = read_signer(key) if key is not None else None
    source = _source(given.model, given.workspace)
    from darkroom.generating import SHEET, Weaker, Wish, generate_folder
    from darkroom.networks.saved import read_card

    drawing = _drawing(given, read_card(source.folder).drawing)
    scale = AWAY if given.away is None else given.away
    weaker = None if given.away_from is None else Weaker(_source(given.away_from, given.workspace), scale)
    shape = None if given.shape is None else shape_named(given.shape)
    wish = Wish(given.count, given.seed, given.label, given.prompt, drawing, weaker, shape)
    drawn = shown(generate_folder(source, wish, given.out, given.batch, signer))
    named = f"{source.name} version {source.version}" if source.version else source.name
    say(f"images      {given.out}: {drawn:,} drawn, {given.count - drawn:,} were there; by {named}")
    say(f"sheet       {given.out / SHEET}")
    if signer is not None:
        say(f"signed by   {signer.name}")
    return 0


def inspect(given: argparse.Namespace) -> int:
    """Say what made images. 0 where each is as it was made, and signed by whom it must be."""
    for image in given.images:
        found = read_provenance(image)
        _tell(image, found)
        if found.whole is False:
            raise ProvenanceError(f"{image}: the image or its record was changed after it was signed")
        if given.signer is not None and found.signer != given.signer:
            raise ProvenanceError(
                f"{image}: {f'signed by {found.signer}' if found.signer else 'not signed'}, not by {given.signer}"
            )
    return 0


def _tell(image: Path, found: Found) -> None:
    made = found.made
    sampler = dict(made.drawing.get("sampler", {}))
    kind = sampler.pop("kind", "?")
    details = "".join(f", {name} {value}" for name, value in sampler.items())
    rows = {
        "model": f"{made.model} version {made.version}" if made.version else made.model,
        "weights": made.weights_digest,
        "weaker": made.weaker_digest,
        "data": made.data_digest,
        "seed": f"{made.seed}, image {made.index}",
        "class": made.label or "not told",
        "prompt": made.caption,
        "sampler": f"{kind}{details}, {made.drawing.get('steps')} steps, guidance {made.drawing.get('guidance')}"
        + (f", {away:g} times away from its earlier weights" if (away := made.drawing.get("away", 1.0)) != 1 else ""),
        "away from": _away(made.away_from),
        "schedule": ", ".join(str(value) for value in made.drawing.get("schedule", {}).values()),
        "darkroom": made.darkroom,
        "signed by": f"{found.signer} ({'whole' if found.whole else 'BROKEN'})" if found.signer else "nobody",
    }
    say(str(image))
    for name, value in rows.items():
        if value is not None:
            say(f"  {name:<10}{value}")


def _away(weaker: Mapping[str, Any] | None) -> str | None:
    if weaker is None:
        return None
    version = f" version {weaker['version']}" if weaker.get("version") else ""
    return f"{weaker.get('model')}{version}, scale {weaker.get('scale')}"


def _source(model: str | None, folder: Path | None) -> Any:
    """The model that a person means. Raises LookupError, ModelError, WorkspaceError."""
    if model is not None and (Path(model).is_dir() or (Path(model).parts[1:] and "@" not in model)):
        from darkroom.generating import source_of

        return source_of(Path(model))
    return _registered(model or "", folder)[0]


def _registered(model: str, folder: Path | None) -> tuple[Any, Path, Any]:
    """A version of the registry: its source, the workspace, the version."""
    from adapters import mlflow_registry
    from darkroom.generating import Source
    from darkroom.params import read_params

    name, _, wanted = model.partition("@")
    try:
        found = workspace.opened(folder or Path.cwd())
    except workspace.WorkspaceError as error:
        what = f"there is no folder `{model}` here, and {error}" if model else f"{error}"
        raise workspace.WorkspaceError(f"{what}; or give a model folder: --model DIR") from None
    name = name or read_params(found / "params.yaml").register_.name
    version = mlflow_registry.version_named(found, name, wanted or mlflow_registry.CHAMPION)
    return Source(mlflow_registry.model_folder(found, version), version.name, version.number), found, version


def _drawing(given: argparse.Namespace, own: Any) -> Any:
    """How the model draws, with what was said on the command line. Raises SettingsError."""
    from darkroom.networks.saved import Drawing
    from darkroom.sampling import preset

    chosen = preset(given.preset, own) if given.preset else own
    changes = {name: getattr(given, name) for name in ("steps", "guidance", "away") if getattr(given, name) is not None}
    if given.sampler is not None:
        if given.sampler not in SAMPLERS:
            raise SettingsError(f"--sampler {given.sampler}: there is no such sampler; there are: {', '.join(SAMPLERS)}")
        changes["sampler"] = {"kind": given.sampler, **SAMPLERS[given.sampler]}
    return validated(Drawing, {**chosen.model_dump(mode="json"), **changes}, Path("command line"))


def export(given: argparse.Namespace) -> int:
    """Write a folder to share."""
    from darkroom.exporting import Known, export_folder

    known = Known()
    if Path(given.model).is_dir():
        source = _source(given.model, given.workspace)
    else:
        source, found, version = _registered(given.model, given.workspace)
        known = _known(found, version)
    shown(export_folder(source, given.out, known, given.onnx))
    say(f"exported    {given.out}: read README.md there, or run: python {given.out / 'draw.py'} --out images")
    return 0


def _known(found: Path, version: Any) -> Any:
    """What the registry knows of a version."""
    from adapters import mlflow_registry
    from darkroom.exporting import Known

    card = mlflow_registry.report_folder(found, version) / "card.md"
    lines = card.read_text(encoding="utf-8").splitlines() if card.exists() else []
    licence = next((line.removeprefix("- licence: ") for line in lines if line.startswith("- licence: ")), "")
    named = {"data.md5": "data version (DVC)", "git.commit": "code (git)", "trained_in": "MLflow run"}
    identities = {what: version.tags[tag] for tag, what in named.items() if version.tags.get(tag)}
    if "forgotten" in version.tags:
        identities["trained on images since forgotten"] = version.tags["forgotten"]
    return Known(version.scores, identities, licence)
