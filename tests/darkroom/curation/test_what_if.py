"""Other thresholds answered from the manifest as a new run would; two manifests compared."""

import io
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.curation.comparing import Changes, compare, read_rows
from darkroom.curation.what_if import WhatIfError, what_if
from tests.darkroom.curation.conftest import Run
from tests.darkroom.curation.made_pictures import encoded, picture
from tests.darkroom.curation.test_curate import manifest


def scored(images: Path) -> None:
    """Pictures whose scores lie on both sides of many thresholds."""
    for number in range(20):
        grey = picture(300 + number).convert("L").point(lambda value, share=number / 40: int(128 + share * (value - 128)))
        (images / f"grey-{number}.png").write_bytes(encoded(grey))


@pytest.mark.parametrize("contrast", [1.0, 20.0, 40.0])
def test_the_answer_is_what_a_run_with_these_thresholds_does(images: Path, run: Run, tmp_path: Path, contrast: float) -> None:
    scored(images)
    run(images, filters=[{"kind": "contrast", "least": 12.0}])
    answer = what_if(tmp_path / "out", {"contrast": contrast})
    run(images, "other", filters=[{"kind": "contrast", "least": contrast}])
    before, after = manifest(tmp_path / "out"), manifest(tmp_path / "other")
    assert set(answer.leaving) == {path for path, row in before.items() if row["kept"] and after[path]["reason"] == "contrast"}
    came = {path for path, row in before.items() if row["reason"] == "contrast" and after[path]["reason"] != "contrast"}
    assert set(answer.coming) == came
    assert answer.leaving or answer.coming
    assert sum(answer.by_label(answer.coming).values()) == len(came)


def test_copies_of_an_image_that_leaves_may_come_and_what_fails_two_filters_comes_when_both_are_loose(
    images: Path, run: Run, tmp_path: Path
) -> None:
    scored(images)
    for number in range(4):  # enlarged copies, which win by their size and are less sharp
        small = picture(700 + number)
        (images / f"small-{number}.png").write_bytes(encoded(small))
        large = small.resize((2 * small.width, 2 * small.height), Image.Resampling.BICUBIC)
        (images / f"small-{number}-large.png").write_bytes(encoded(large))
    filters = [{"kind": "smallest_side", "least": "2%"}, {"kind": "sharpness", "least": 0}, {"kind": "contrast", "least": "20%"}]
    run(images, filters=filters)
    rows = manifest(tmp_path / "out")
    originals = [name for name in rows if name.endswith("-large.png") and rows[name]["kept"]]
    copies = {name for name, row in rows.items() if row["duplicate_of"] in originals}
    assert originals and copies
    between = max(rows[name]["score_sharpness"] for name in originals) + 0.01
    answer = what_if(tmp_path / "out", {"sharpness": between})
    assert set(originals) <= set(answer.leaving)
    assert {name for name in copies if rows[name]["score_sharpness"] >= between} <= set(answer.coming)
    loose = what_if(tmp_path / "out", {"sharpness": 0, "contrast": 0, "smallest_side": 1})
    assert set(loose.coming) == {
        name for name, row in rows.items() if row["reason"] in ("sharpness", "contrast", "smallest_side")
    }


def test_what_cannot_be_answered_says_why(images: Path, run: Run, tmp_path: Path) -> None:
    with pytest.raises(WhatIfError, match="no curated data set here yet"):
        what_if(tmp_path / "out", {"contrast": 1})
    run(images)
    with pytest.raises(WhatIfError, match="no scores of beauty are stored; those there are: smallest_side"):
        what_if(tmp_path / "out", {"beauty": 1})
    with pytest.raises(WhatIfError, match=r"threshold of aspect_ratio.*greater than or equal to 1"):
        what_if(tmp_path / "out", {"aspect_ratio": 0.5})


def row(sha256: str, **changes: Any) -> dict[str, Any]:
    plain = {"sha256": sha256, "label": "cat", "caption": None, "kept": True, "reason": "", "duplicate_of": "", "split": "train"}
    return plain | changes


def test_every_kind_of_change_is_named() -> None:
    old = {name: row(name) for name in ("same", "gone", "from", "label", "text", "split", "copy", "new content")}
    new = {
        "same": row("same"),
        "to": row("from"),
        "label": row("label", label="dog"),
        "text": row("text", caption="hello"),
        "split": row("split", split="test"),
        "copy": row("copy", kept=False, reason="near_duplicate", duplicate_of="same", split=""),
        "new content": row("other"),
        "blurred": row("blurred", kept=False, reason="sharpness", split=""),
    }
    assert compare(old, new) == Changes(
        added=("blurred (sharpness)",),
        removed=("gone",),
        moved=("from -> to",),
        changed=("new content",),
        now_kept=(),
        now_rejected=("copy (near_duplicate)",),
        labels=("label: cat -> dog",),
        captions=("text",),
        duplicates=("copy: of same",),
        splits=("split: train -> test",),
    )
    assert compare(new, old).now_kept == ("copy (was near_duplicate)",)
    assert not compare(old, old).any()


def test_rows_are_read_from_a_manifest(images: Path, run: Run, tmp_path: Path) -> None:
    run(images)
    rows = read_rows(io.BytesIO((tmp_path / "out/manifest.parquet").read_bytes()))
    assert len(rows) == 30 and rows["blue/00.png"]["kept"]


def test_percentages_reject_their_share_and_answer_questions(images: Path, run: Run, tmp_path: Path) -> None:
    filters = [{"kind": "contrast", "least": "20%"}]
    _, ref = run(images, filters=filters)
    rows = [row for row in pq.read_table(tmp_path / "out/manifest.parquet").to_pylist() if row["reason"] == "contrast"]
    assert (len(rows), ref.images) == (6, 24)
    assert "least: 20%" in rows[0]["detail"]
    assert len(what_if(tmp_path / "out", {"contrast": 0.0}).coming) == 6
