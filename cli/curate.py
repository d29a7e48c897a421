"""Curation of any folder, and questions to a curated data set."""

import io
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from adapters import workspace as workspaces
from cli.run import say

if TYPE_CHECKING:
    from darkroom.curation.curate import CurateSection

CURATED, REPORT = Path("data/curated"), Path("reports/curate")
SHOWN = 5  # names of each kind


def curate_folder(source: Path | None, out: Path | None, params: Path | None, size: int | None, aspect: float | None) -> int:
    """Curate `source` into `out`, which needs to be no workspace."""
    from darkroom.curation.choices import read_choices
    from darkroom.curation.curate import MEMORY, curate
    from darkroom.events import followed
    from darkroom.stage import teller

    if source is None or out is None:
        raise ValueError("which images, and where to? darkroom curate FOLDER --out DIR (in a workspace: darkroom run)")
    section = _section(source, params, size, aspect)
    target = out / CURATED
    inside = (out, target, out / REPORT, out / MEMORY)
    if source.is_dir() and any(place.resolve().is_relative_to(source.resolve()) for place in inside):
        raise ValueError(f"{out} lies in the folder of images, which is never changed; choose another `--out`")
    if target.exists() and any(target.iterdir()) and not (target / "dataset.json").exists():
        raise ValueError(f"{target} holds files that darkroom did not write; choose another `--out`")
    listed = (params.parent if params else Path.cwd()) / section.choices
    choices = read_choices(listed) if params and listed.exists() else ()
    if params and not listed.exists():
        say(f"{listed}: there is no such keep/drop list (`curate.choices`); the filters alone decide")
    steps = curate(section, source, target, out / REPORT, out / MEMORY, choices)
    followed(steps, teller(lambda text: print(text, file=sys.stderr, flush=True)))
    counts = json.loads((target / "dataset.json").read_text(encoding="utf-8"))
    why = ", ".join(f"{number} {reason}" for reason, number in counts["rejected_by_reason"].items())
    say(f"{counts['kept']:,} of {counts['files']:,} images kept{f'; rejected: {why}' if why else ''}")
    say(f"data set  {target}")
    say(f"report    {out / REPORT / 'index.html'}")
    return 0


def _section(source: Path, params: Path | None, size: int | None, aspect: float | None) -> "CurateSection":
    from darkroom.curation.curate import CurateSection
    from darkroom.sections import read_section, validated

    if params is not None:
        section = read_section(params, "curate", CurateSection)
    else:
        import yaml

        section = validated(
            CurateSection, yaml.safe_load(workspaces.template("params.yaml"))["curate"], Path("params.yaml"), "curate"
        )
    changes: dict[str, object] = {"source": str(source), **({} if size is None else {"image_size": size})}
    if aspect is not None:
        changes["aspect_buckets"] = section.aspect_buckets.model_dump() | {"most": aspect}
    return validated(CurateSection, section.model_dump() | changes, params or Path("params.yaml"), "curate")


def answer_what_if(out: Path | None, workspace: Path | None, questions: Sequence[str]) -> int:
    """Say what other thresholds would change."""
    from darkroom.curation.what_if import what_if

    thresholds = dict(map(_threshold, questions))
    folder = out if out is not None else workspaces.opened(workspace or Path.cwd())
    answer = what_if(folder / CURATED, thresholds)
    now = answer.kept - len(answer.leaving)
    say(f"kept now {answer.kept:,}; with {', '.join(questions)}: {now:,} to {now + len(answer.coming):,}")
    for words, paths in (("would be rejected", answer.leaving), ("would be kept, unless they duplicate another", answer.coming)):
        labels = ", ".join(f"{label or 'no label'} {count:,}" for label, count in answer.by_label(paths).items())
        say(f"{len(paths):,} {words}{f' ({labels})' if paths else ''}")
        for path in paths[:SHOWN]:
            say(f"  {path}")
    return 0


def _threshold(question: str) -> tuple[str, float]:
    kind, _, value = question.partition("=")
    try:
        threshold = float(value)
    except ValueError:
        threshold = math.nan
    if not math.isfinite(threshold):
        raise ValueError(f"`{question}`: expected FILTER=VALUE, such as sharpness=60")
    return kind, threshold


def data_diff(workspace: Path | None, revision: str, other: str | None, every: bool) -> int:
    """Say what changed between two versions of a workspace's data set."""
    from adapters.dvc_data import read_at
    from darkroom.curation.comparing import compare, read_rows

    folder = workspaces.opened(workspace or Path.cwd())
    manifest = (CURATED / "manifest.parquet").as_posix()
    old, new = (read_rows(io.BytesIO(read_at(folder, manifest, one))) for one in (revision, other))
    changes = compare(old, new)
    kept = [sum(row["kept"] for row in rows.values()) for rows in (old, new)]
    say(f"{revision} -> {other or 'now'}: {len(old):,} -> {len(new):,} files, {kept[0]:,} -> {kept[1]:,} images kept")
    for field in fields(changes):
        lines = getattr(changes, field.name)
        if lines:
            say(f"{field.name.replace('_', ' ')}: {len(lines):,}")
            for line in lines if every else lines[:SHOWN]:
                say(f"  {line}")
            if not every and len(lines) > SHOWN:
                say("  ... (--all shows every one)")
    if not changes.any():
        say("no image, label, caption, duplicate or split differs")
    return 0
