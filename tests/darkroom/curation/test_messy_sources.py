"""Sources as people have them: a name twice in an archive, metadata in several places, wrapper folders, large row groups."""

import io
import tarfile
import zipfile
from multiprocessing import Pipe
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from darkroom.curation import archives, parquet, workers
from darkroom.curation.reading import list_images


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 16, 3), np.uint8)).save(file, "PNG")
    return file.getvalue()


def tarred(file: Path, members: list[tuple[str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(file, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return file


def test_a_name_that_an_archive_holds_several_times_stays_several_images(tmp_path: Path) -> None:
    members = [("a/x.png", picture(seed)) for seed in (1, 2, 3)] + [("a/x.png#2", picture(4)), ("a/b.png", picture(5))]
    found = list_images(tarred(tmp_path / "set.tar", members)).candidates
    assert [one.path for one in found] == ["a/b.png", "a/x.png", "a/x.png#2", "a/x.png#3", "a/x.png#4"]
    assert len({one.place for one in found}) == 5
    earlier = list_images(tarred(tmp_path / "more.tar", [("a/a.png", picture(6)), *members])).candidates
    assert [one.path for one in earlier][1:] == [one.path for one in found], "another image changes how they are called"


def test_what_metadata_leave_empty_is_told_by_others(tmp_path: Path) -> None:
    for name in ("x", "y", "z"):
        (tmp_path / "dog").mkdir(exist_ok=True)
        (tmp_path / "dog" / f"{name}.png").write_bytes(picture(ord(name)))
        (tmp_path / "dog" / f"{name}.txt").write_text(f"sidecar of {name}")
    (tmp_path / "dog" / "z.json").write_text("[" + "0, " * 30_000 + "0]")
    (tmp_path / "metadata.csv").write_text("file_name,label\ndog/x.png, wolf \ndog/y.png,\n")
    rows = ['{"file_name": "dog/x.png", "label": null, "text": ""}', '{"file_name": "dog/y.png", "caption": "told"}']
    (tmp_path / "metadata.jsonl").write_text("\n".join(rows))
    listing = list_images(tmp_path)
    told = {one.path: (one.label, one.caption) for one in listing.candidates}
    assert told == {
        "dog/x.png": ("wolf", "sidecar of x"),
        "dog/y.png": ("dog", "told"),
        "dog/z.png": ("dog", "sidecar of z"),
    }
    assert any("dog/z.json: 64 KiB or more" in note for note in listing.notes)


def test_an_image_beside_the_folders_in_a_wrapper_folder_takes_no_label_from_the_others(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in ("ds/cat/1.png", "ds/dog/2.png", "ds/cover.png"):
            archive.writestr(name, picture(len(name)))
    listing = list_images(tmp_path / "set.zip")
    assert {one.path: one.label for one in listing.candidates} == {
        "ds/cat/1.png": "cat",
        "ds/dog/2.png": "dog",
        "ds/cover.png": "",
    }
    assert any("ds: a folder around folders of images" in note for note in listing.notes)


def test_rows_of_a_large_row_group_are_read_some_at_a_time_in_any_order(tmp_path: Path) -> None:
    contents = [picture(seed) for seed in range(50)]
    pq.write_table(pa.table({"image": contents, "label": [-1] * 50}), tmp_path / "set.parquet")
    group = parquet.Group(tmp_path / "set.parquet", 0)
    for row in (0, 1, 40, 3, 49, 17):
        assert group.read(row, 0) == contents[row]
        assert len(group._some) <= parquet.AT_ONCE
    group.close()


def test_no_label_is_what_hugging_face_calls_minus_one(tmp_path: Path) -> None:
    (tmp_path / "wild").mkdir()
    table = pa.table({"image": [picture(seed) for seed in range(3)], "label": [0, -1, 1]})
    about = '{"info": {"features": {"label": {"names": ["cat", "dog"]}}}}'
    pq.write_table(table.replace_schema_metadata({"huggingface": about}), tmp_path / "wild" / "set.parquet")
    assert [one.label for one in list_images(tmp_path).candidates] == ["cat", "wild", "dog"]


def test_the_way_to_a_member_of_a_compressed_archive_is_no_time_of_the_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    junk = [(f"{number}.bin", bytes(2**20)) for number in range(4)]
    file = tarred(tmp_path / "set.tar.bz2", [*junk, ("a.png", picture(1)), ("b.png", picture(2))], "w:bz2")
    ticks: list[int] = []
    monkeypatch.setattr(archives, "STEP", 2**20)
    last, first = sorted(list_images(file).candidates, key=lambda one: one.place[2], reverse=True)
    archive = archives.Archive(file, "tar.bz2", lambda: ticks.append(1))
    for one, content in ((last, picture(2)), (first, picture(1))):  # onwards, and back
        ticks.clear()
        assert archive.read(*one.place[2:]) == content
        assert len(ticks) >= 4
    with pytest.raises(EOFError):
        archive.read(2**40, 1)
    archive.close()


def test_a_worker_that_says_it_is_on_its_way_is_waited_for() -> None:
    ours, theirs = Pipe()
    worker = workers._Worker(MagicMock(), ours, since=0.0, ready=True)
    theirs.send(None)
    assert workers._heard(worker) is None
    assert worker.since > 0 and not worker.ended
    ours.close()
    theirs.close()
