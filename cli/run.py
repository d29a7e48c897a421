"""The commands that make and fill a workspace: run, tune, init, sample-data."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters import workspace as workspaces
from cli.main import REFUSED
from darkroom.events import followed

SOURCE_FILES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".parquet")


def say(text: str = "") -> None:
    """A line for the person who typed the command."""
    print(text, flush=True)


def init(folder: Path, data: Path | None, size: int | None, images: int | None) -> int:
    """Make a workspace."""
    if data is not None:
        _check_source(data, folder)
    workspaces.make_workspace(folder, data)
    _fit(folder, size, images)
    say(f"{folder} is a workspace now. Its settings: {folder / 'params.yaml'}")
    if data is None:
        say("Set `curate.source` there to the folder of your images.")
    say(f"Then: darkroom run --workspace {shlex.quote(str(folder))}")
    return 0


def sample_data(folder: Path, count: int, seed: int, size: int, dirt: bool) -> int:
    """Build the sample images."""
    from darkroom.sample_data import make_sample_data
    from darkroom.stage import teller

    followed(make_sample_data(folder, count, seed, size, dirt), teller(say))
    return 0


def run(
    workspace: Path | None, data: Path | None, params: Path | None, size: int | None = None, images: int | None = None
) -> int:
    """The flow `full run` over a workspace, and a summary of what it did."""
    folder, made = _workspace_for(workspace, data, params)
    if size or images or made:
        _fit(folder, size, images)
    from darkroom.params import read_params

    _check_source(folder / read_params(folder / "params.yaml").curate.source, folder)

    api = _connected(folder)
    from adapters import prefect_runs
    from flows.full_run import full_run

    prefect_runs.show_plainly()
    done = full_run(folder)  # its settings are read once it may write: another run may change them until then
    _summary(folder, done, api)
    return REFUSED if any(step.how == "refused" for step in done) else 0


def tune(workspace: Path | None, model: str, focus: list[str] | None) -> int:
    """The flow `tuned model` from a registered model, and a summary of what it did."""
    folder, _ = _workspace_for(workspace, None, None)
    api = _connected(folder)
    from adapters import prefect_runs
    from flows.tuned_model import tuned_model

    prefect_runs.show_plainly()
    if focus:
        workspaces.change_params(folder, {"finetune": {"focus": focus}})
    _summary(folder, tuned_model(folder, start=model), api)
    return 0


def _connected(folder: Path) -> str:
    """Find MLflow and Prefect, or start them: before anything imports prefect. Returns the address of its API."""
    from adapters import local_servers, mlflow_run

    mlflow_run.connected(folder)
    return local_servers.prefect_api(say)


def _fit(folder: Path, size: int | None, images: int | None) -> None:
    """Fit a workspace's settings to images of another size and to another budget, and say what changed with them."""
    from darkroom.params import read_params
    from darkroom.resizing import changes_for, changes_for_budget

    file = folder / "params.yaml"
    if size is not None and (changed := workspaces.change_params(folder, changes_for(read_params(file), size))):
        say(f"for images of {size} pixels, params.yaml: {', '.join(changed)}")
    if images is not None and (changed := workspaces.change_params(folder, changes_for_budget(read_params(file), images))):
        say(f"for {images:,} images seen, params.yaml: {', '.join(changed)}")
    settings = read_params(file)
    side, budget = settings.curate.image_size, settings.train_base.images
    say(f"images are cut to {side} x {side} pixels, and {budget:,} are seen in training: --size N and --images N change both")


def _workspace_for(workspace: Path | None, data: Path | None, params: Path | None) -> tuple[Path, bool]:
    """The workspace that the words on the command line mean: a given one, the one around, or one made for the data.

    And whether it was made now, of the shipped settings.
    """
    from darkroom.params import Params
    from darkroom.sections import read_yaml, validated

    if params is not None:
        validated(Params, read_yaml(params), params)
    found, made = workspaces.find_workspace(workspace or Path.cwd()), False
    if data is not None:
        _check_source(data)
        if found is None or (workspace is None and _source_of(found) != data.absolute()):
            found = workspaces.find_workspace(workspace or _named_for(data))
        if found is None or (workspace is None and _source_of(found) != data.absolute()):
            target = workspace or _named_for(data)
            _check_source(data, target)
            found = workspaces.make_workspace(target, data)
            say(f"made a workspace for these images: {found}")
            made = True
    elif workspace is not None and found is None:
        raise workspaces.WorkspaceError(f"{workspace} is not a workspace; `darkroom init {workspace}` makes it one")
    folder = workspaces.opened(found or Path.cwd())
    if params is not None:
        _take_over(folder, params, data)
    if data is not None:
        _check_source(data, folder)
        workspaces.change_params(folder, {"curate": {"source": str(data.absolute())}})
    return folder, made and params is None


def _take_over(folder: Path, params: Path, data: Path | None) -> None:
    """A given params file becomes the workspace's; the one before is kept beside it."""
    file, kept = folder / "params.yaml", folder / "params.before.yaml"
    text = params.read_text(encoding="utf-8")
    if params.resolve() != file.resolve() and text != file.read_text(encoding="utf-8"):
        source = str(_source_of(folder))
        kept.write_bytes(file.read_bytes())
        file.write_text(text, encoding="utf-8")
        if data is None:
            workspaces.change_params(folder, {"curate": {"source": source}})


def _named_for(data: Path) -> Path:
    return Path.cwd() / f"darkroom-{data.absolute().name}"


def _source_of(workspace: Path) -> Path:
    from darkroom.sections import read_yaml

    return workspace / str(read_yaml(workspace / "params.yaml").get("curate", {}).get("source", ""))


def _check_source(source: Path, workspace: Path | None = None) -> None:
    """That images can be read there, and that the pictures of a workspace would not be among them."""
    if not source.exists():
        raise FileNotFoundError(
            f"{source}: there is no such folder of images; check `--data` (or `curate.source` in params.yaml)"
        )
    if not source.is_dir() and not source.name.lower().endswith(SOURCE_FILES):
        raise NotADirectoryError(f"{source} is not a folder; give the folder that holds the images, or an archive of them")
    if workspace is not None and source.is_dir() and workspace.resolve().is_relative_to(source.resolve()):
        raise workspaces.WorkspaceError(
            f"{workspace} lies inside {source}, and what is made there would be taken for images; call `darkroom` from another "
            "folder, or name one outside with --workspace"
        )


def _summary(folder: Path, done: Sequence[Any], api: str) -> None:
    from adapters import local_servers

    by = {step.stage: step for step in done}
    say()
    for step in done:
        say(f"  {step.stage:<11}{step.how:<11}{step.seconds:6.1f} s   {step.why}")
    counts = by["curate"].figures
    say(f"\nimages      {counts['kept']:,} kept, {counts['rejected']:,} rejected{_reasons(counts)}")
    _planted(folder)
    for name in ("train_base", "finetune"):
        figures = by[name].figures
        say(f"{name:<12}{figures['images_seen']:,} images seen, held-out loss {figures['held_out_loss']}")
    _scores(by["evaluate"].figures["tuned"])
    version, verdict = by["register"].figures, by.get("promote", by["register"])
    states = {"refused": "challenger, not promoted", "waiting": "challenger, waiting for approval"}
    state = states.get(verdict.how, "champion") if "promote" in by else "challenger: `darkroom promote` makes it the champion"
    say(f"model       {version['name']} version {version['version']} ({state}): {verdict.why}")
    if "draw" in by and "picture" in by["draw"].figures:
        say(f"picture     {_near(Path(by['draw'].figures['picture']))}")
    say(f"report      {_near(folder / 'reports/evaluate/report.html')}")
    at = "" if workspaces.find_workspace(Path.cwd()) == folder else f" --workspace {shlex.quote(str(folder))}"
    command = shlex.quote(_near(Path(sys.argv[0]))) if Path(sys.argv[0]).name == "darkroom" else "darkroom"
    say(f"\nPrefect UI  {local_servers.masked(api.removesuffix('/api'))}")
    say(f"MLflow UI   {command} ui{at}")
    say(f"trigger and schedule the flows from the Prefect UI:  {command} up{at}")


def _reasons(counts: Mapping[str, Any]) -> str:
    reasons = counts.get("rejected_by_reason", {})
    return f" ({', '.join(f'{number} {reason}' for reason, number in sorted(reasons.items()))})" if reasons else ""


def _planted(folder: Path) -> None:
    from darkroom.sample_data import planted_and_caught

    manifest, planted = folder / "data/curated/manifest.parquet", _source_of(folder) / "planted.json"
    if planted.exists() and json.loads(planted.read_text(encoding="utf-8")):
        found = planted_and_caught(manifest, planted)
        if found:
            say("planted     " + ", ".join(f"{kind}: {caught} of {number} caught" for kind, (number, caught) in found.items()))


def _scores(scores: Mapping[str, Mapping[str, float]]) -> None:
    for name in ("kernel_distance", "coverage", "copied_share"):
        if name in scores:
            one = scores[name]
            say(f"{name:<17}{one['value']:.4g} (real against real {one['floor']:.4g}, n = {one['n']}, {one['better']} is better)")


def _near(path: Path) -> str:
    """A path as one would type it here."""
    absolute = path.absolute()
    return str(absolute.relative_to(Path.cwd())) if absolute.is_relative_to(Path.cwd()) else str(absolute)
