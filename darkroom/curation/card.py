"""The card of a data set: what it is, where from, what was left out and why; in the format of Hugging Face's data-set cards."""

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from darkroom.curation.cautions import warnings_of
from darkroom.curation.filters import Filter
from darkroom.curation.ledger import Entry, kept_by_shape, label_names, rejected_by_reason, summary
from darkroom.images import SPLITS
from darkroom.shapes import Shape, in_words


def card(
    source: str, shapes: Sequence[Shape], filters: Sequence[Filter], settings: Mapping[str, Any], entries: Sequence[Entry]
) -> str:
    """The text. `source` is a name, no path; `settings` are further ones worth telling."""
    counts = summary(entries)
    names = label_names(entries)
    head = {"pretty_name": source, "task_categories": ["unconditional-image-generation"], "tags": ["darkroom"]}
    rows = "\n".join(f"| {split} | {counts['kept_by_split'][split]:,} |" for split in SPLITS)
    reasons = "\n".join(f"| {reason} | {count:,} |" for reason, count in rejected_by_reason(entries).items())
    limits = "\n".join(f"- {one.kind}: {_limit(one)}" for one in filters) or "- none"
    others = "\n".join(f"- {name}: {value}" for name, value in settings.items())
    warned = "\n".join(f"- {one}" for one in warnings_of(entries, tuple(shapes))) or "- none"
    labels = ", ".join(name or "no label" for name in names[:50]) + (", ..." if len(names) > 50 else "")
    cut = f"{in_words(shapes[0])} pixels, sRGB, cut to the middle square"
    if len(shapes) > 1:
        buckets = ", ".join(f"{shape} ({count:,})" for shape, count in kept_by_shape(entries, shapes).items() if count)
        cut = f"these pixels, sRGB, each cut to the nearest shape: {buckets}"
    captions = sum(entry.kept and entry.caption is not None for entry in entries)
    return (
        f"---\n{yaml.safe_dump(head, sort_keys=False)}---\n\n# {source}\n\n"
        f"{counts['kept']:,} images of {cut}; "
        f"{len(names):,} labels ({labels}); {captions:,} with captions. Made by Darkroom from {counts['files']:,} files.\n\n"
        f"| split | images |\n|---|---|\n{rows}\n\n"
        "The split of an image follows from its content: it stays when images are added.\n\n"
        f"## Left out\n\n| reason | files |\n|---|---|\n{reasons or '| none | 0 |'}\n\n"
        "Each file has a row in `manifest.parquet`.\n\n"
        f"## Settings\n\n{limits}\n{others}\n\n## Warnings\n\n{warned}\n\n"
        "## To be filled in by a person\n\nWhere the images come from, their licence, who may be seen on them.\n"
    )


def _limit(one: Filter) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in one.model_dump(exclude={"kind"}).items())
