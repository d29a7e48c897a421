"""The step: every kind of file kept or rejected for the right reason, splits, same bytes, errors, source untouched."""

import csv
import json
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from PIL import Image
from pydantic import ValidationError

from darkroom.curation.curate import CurationError
from darkroom.events import ImageRejected
from darkroom.images import SPLITS, digest_of_images, read_split
from darkroom.refs import digest_of
from tests.darkroom.curation.conftest import Run
from tests.darkroom.curation.made_pictures import encoded, picture, section_with


def manifest(folder: Path) -> dict[str, dict[str, object]]:
    return {row["path"]: row for row in pq.read_table(folder / "manifest.parquet").to_pylist()}


def bomb() -> bytes:
    """A PNG whose header says 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


BAD = {
    "zero.png": (b"", "empty"),
    "text.png": (b"not an image at all", "not_an_image"),
    "bomb.png": (bomb(), "too_large"),
    "cut.png": (encoded(picture(900))[:150], "truncated"),
    "cut.jpg": (encoded(picture(901), "JPEG")[:600], "truncated"),
    "tiny.png": (encoded(picture(902, 10)), "smallest_side"),
    "long.png": (encoded(picture(903).resize((300, 60))), "aspect_ratio"),
    "grey.png": (encoded(Image.new("RGB", (64, 64), (128, 128, 128))), "sharpness"),
    "pixel.gif": (encoded(Image.new("P", (1, 1)), "GIF"), "smallest_side"),
}


def test_every_bad_file_is_rejected_with_its_reason(images: Path, run: Run, tmp_path: Path) -> None:
    for name, (content, _) in BAD.items():
        (images / name).write_bytes(content)
    (images / "broken-link.png").symlink_to(images / "nowhere.png")
    os.mkfifo(images / "pipe.png")
    expected = {name: reason for name, (_, reason) in BAD.items()} | {
        "broken-link.png": "unreadable",
        "pipe.png": "unreadable",
    }
    events, ref = run(images)
    told = {event.path: event.reason for event in events if isinstance(event, ImageRejected)}
    rows = manifest(tmp_path / "out")
    assert told == expected
    assert {path: row["reason"] for path, row in rows.items() if not row["kept"]} == expected
    assert all(row["detail"] for row in rows.values() if not row["kept"])
    assert ref.images == 30
    assert len(rows) == 30 + len(expected)
    assert str(tmp_path) not in " ".join(str(row["detail"]) for row in rows.values())


def test_odd_but_good_files_are_kept_and_look_right(images: Path, run: Run, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # shown turned right by 90 degrees
    whole, hole = picture(800), picture(801).convert("RGBA")
    hole.putalpha(Image.fromarray(np.where(np.arange(80) < 40, 0, 255).astype(np.uint8)[None].repeat(80, 0)))
    wide = np.asarray(picture(802).convert("L")).astype(np.uint16) * 257
    odd = {
        "a-exif.jpg": encoded(whole, "JPEG", exif=turned, quality=95),
        "b-hole.png": encoded(hole),
        "c-sixteen.png": encoded(Image.fromarray(wide)),
        "d-palette.gif": encoded(picture(803), "GIF"),
        "e-cmyk.jpg": encoded(picture(804).convert("CMYK"), "JPEG", quality=95),
        "f-grey.png": encoded(picture(805).convert("L")),
    }
    for name, content in odd.items():
        (images / name).write_bytes(content)
    _, ref = run(images, background=(255, 0, 0))
    rows = manifest(tmp_path / "out")
    assert ref.images == 36
    assert all(rows[name]["kept"] for name in odd)
    stored: dict[str, np.ndarray] = {}
    for split in SPLITS:
        read = read_split(tmp_path / "out", split)
        stored |= dict(zip(read.paths, np.asarray(read.pixels), strict=True))

    def square(image: Image.Image) -> np.ndarray:
        return np.asarray(image.convert("RGB").resize((32, 32), Image.Resampling.LANCZOS)).astype(int)

    assert abs(stored["a-exif.jpg"] - square(whole.rotate(-90))).mean() < 4
    assert (stored["b-hole.png"][:, :12] == (255, 0, 0)).all()
    assert abs(stored["c-sixteen.png"] - square(picture(802).convert("L"))).mean() < 1
    assert abs(stored["e-cmyk.jpg"] - square(picture(804))).mean() < 12


def test_splits_and_counts_agree_everywhere(images: Path, run: Run, tmp_path: Path) -> None:
    (images / "red/cut.png").write_bytes(b"")
    (images / "red/01.txt").write_text("a caption", encoding="utf-8")
    _, ref = run(images)
    out, report = tmp_path / "out", tmp_path / "out-report"
    rows = manifest(out)
    about = json.loads((out / "dataset.json").read_text())
    metrics = json.loads((report / "metrics.json").read_text())
    assert about["labels"] == ["blue", "red"]
    assert about["image_size"] == 32
    assert metrics == {key: about[key] for key in metrics}
    assert metrics["rejected_by_reason"] == {"empty": 1}
    assert metrics["kept"] == ref.images == 30
    assert rows["red/01.png"]["caption"] == "a caption"
    for split in SPLITS:
        read = read_split(out, split)
        assert len(read) == about["kept_by_split"][split] > 0
        assert list(read.paths) == sorted(read.paths)
        for row, path in enumerate(read.paths):
            assert (rows[path]["split"], rows[path]["row"]) == (split, row)
            assert read.names[read.labels[row]] == path.split("/")[0]
            expected = np.asarray(Image.open(images / path).resize((32, 32), Image.Resampling.LANCZOS))
            assert (read.pixels[row] == expected).all()
    table = list(csv.DictReader((report / "classes.csv").read_text().splitlines()))
    assert sum(int(row["count"]) for row in table) == 30
    assert len(table) == 6
    assert {path.name for path in report.iterdir()} == {
        "index.html",
        "metrics.json",
        "classes.csv",
        "rejected.png",
        "duplicates.png",
    }
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.fresh"))


def test_two_runs_give_the_same_bytes_and_leave_the_source_alone(images: Path, run: Run, tmp_path: Path) -> None:
    (images / "copy.jpg").write_bytes(encoded(picture(3), "JPEG", quality=80))
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in images.rglob("*") if path.is_file()}
    _, first = run(images)
    _, second = run(images, name="again")
    assert first.digest == second.digest == digest_of_images(tmp_path / "out")
    assert digest_of(tmp_path / "out") == digest_of(tmp_path / "again")
    assert digest_of(tmp_path / "out-report") == digest_of(tmp_path / "again-report")
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in images.rglob("*") if path.is_file()}
    assert before == after


def test_added_images_leave_the_old_ones_where_they_were(images: Path, run: Run, tmp_path: Path) -> None:
    run(images)
    for number in range(100, 140):
        (images / "blue" / f"{number}.png").write_bytes(encoded(picture(number)))
    run(images, name="grown")
    old, new = manifest(tmp_path / "out"), manifest(tmp_path / "grown")
    assert len(new) == 70
    assert {path: new[path]["split"] for path in old} == {path: row["split"] for path, row in old.items()}


def test_other_files_in_the_report_folder_stay(images: Path, run: Run, tmp_path: Path) -> None:
    (tmp_path / "out-report").mkdir()
    (tmp_path / "out-report/mine.txt").write_text("mine")
    run(images)
    assert (tmp_path / "out-report/mine.txt").read_text() == "mine"


def test_a_folder_without_labels_has_the_empty_label(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.png").write_bytes(encoded(picture(number)))
    run(folder)
    assert read_split(tmp_path / "out", "train").names == ("",)


def test_errors_say_what_was_found_and_what_to_do(images: Path, run: Run, tmp_path: Path) -> None:
    run(images)
    good = digest_of(tmp_path / "out")
    texts = tmp_path / "texts"
    (texts / "a").mkdir(parents=True)
    empty = tmp_path / "empty"
    empty.mkdir()
    (texts / "a/b.pdf").touch()
    (texts / "c.txt").touch()
    for source, words in {
        tmp_path / "missing": "no such folder.*curate.source",
        images / "blue/00.png": "a file, not a folder",
        empty: "no image files.*empty",
        texts: "no image files.*1 .pdf, 1 .txt",
    }.items():
        with pytest.raises(CurationError, match=words):
            run(source)
    sharp = [{"kind": "sharpness", "least": 1e9}]
    with pytest.raises(CurationError, match=r"found 30 image files and kept 0; at least 16.*30 sharpness.*`sharpness`"):
        run(images, filters=sharp)
    for file in sorted(images.rglob("*.png"))[:20]:
        file.write_bytes(b"")
    with pytest.raises(CurationError, match=r"kept 10;.*20 empty. Add images"):
        run(images)
    assert digest_of(tmp_path / "out") == good


def test_all_alike_says_to_raise_the_threshold(tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "alike"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number}.jpg").write_bytes(encoded(picture(1), "JPEG", quality=70 + number))
    with pytest.raises(CurationError, match=r"kept 1;.*curate\.duplicates\.least_correlation"):
        run(folder)


def test_a_kind_of_filter_may_stand_once() -> None:
    with pytest.raises(ValidationError, match="more than once: contrast"):
        section_with(filters=[{"kind": "contrast", "least": 1.0}, {"kind": "contrast", "least": 2.0}])
