"""What a change of the data calls for."""

import os
from pathlib import Path

import pytest

from darkroom.retraining import Course, Kept, RetrainSection, SourceGone, difference, look, plan

SECTION = RetrainSection(little=0.25, warm_images=0.5, look_every=1, quiet=0, schedule="")


def kept(*digests: str, label: str = "cat") -> Kept:
    return Kept(dict.fromkeys(digests, (label, "")))


@pytest.mark.parametrize(
    ("before", "now", "course"),
    [
        (None, kept("a"), Course.SCRATCH),
        (kept("a", "b", "c"), kept("a", "b", "c"), Course.NONE),
        (kept("a", "b", "c"), kept("a", "b", "c", "d"), Course.WARM),
        (kept("a", "b"), kept("a", "b", "c"), Course.SCRATCH),  # a third is new
        (kept("a", "b", "c", "d"), kept("a", "b", "c", "e"), Course.SCRATCH),  # one taken out
        (kept("a", "b"), Kept({"a": ("cat", ""), "b": ("dog", "")}), Course.SCRATCH),  # a label that is new
        (
            Kept({"a": ("cat", ""), "b": ("dog", ""), "c": ("dog", "")}),
            Kept({"a": ("cat", ""), "b": ("dog", ""), "c": ("cat", "")}),
            Course.FINETUNE,
        ),
        (kept("a"), Kept({"a": ("cat", "a caption")}), Course.FINETUNE),
    ],
)
def test_the_course_follows_kind_and_size_of_the_change(before: Kept | None, now: Kept, course: Course) -> None:
    assert plan(SECTION, before, now).course is course
    assert plan(SECTION, before, now).why


def test_a_look_sees_files_added_removed_and_changed_and_opens_none(tmp_path: Path) -> None:
    for name in ("a.png", "b.png", ".hidden", "deep/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
        (tmp_path / name).chmod(0)
    before = look(tmp_path)
    assert set(before) == {"a.png", "b.png", "deep/c.png"}
    assert difference(before, look(tmp_path)) == ""
    (tmp_path / "b.png").unlink()
    (tmp_path / "d.png").write_bytes(b"x")
    os.utime(tmp_path / "a.png", ns=(1, 1))  # a clock that jumped: any other time counts, not a later one
    (tmp_path / "link.png").symlink_to(tmp_path / "nothing")
    assert difference(before, look(tmp_path)) == "1 files added, 1 files removed, 1 files changed"


def test_a_look_at_an_archive_sees_its_change(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"x")
    before = look(tmp_path / "images.zip")
    assert set(before) == {"images.zip"}
    (tmp_path / "images.zip").write_bytes(b"xy")
    assert difference(before, look(tmp_path / "images.zip")) == "1 files changed"


def test_a_folder_that_is_gone_is_no_deletion(tmp_path: Path) -> None:
    with pytest.raises(SourceGone, match="not there"):
        look(tmp_path / "unmounted")
