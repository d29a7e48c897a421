"""Archives, WebDataset shards, Parquet files, Hugging Face folders: the same images, labels and captions from each."""

import gzip
import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from darkroom.curation import archives, opening
from darkroom.curation.decoding import UnreadableImage
from darkroom.curation.opening import Opened, Reader
from darkroom.curation.reading import Candidate, Listing, list_images
from tests.darkroom.curation.made_pictures import encoded, picture

FILES = {
    "cat/a.png": encoded(picture(1)),
    "cat/deep/b.jpg": encoded(picture(2), "JPEG"),
    "dog/c.webp": encoded(picture(3), "WEBP"),
    "dog/c.txt": b"a dog\n",
}
IMAGES = [name for name in FILES if not name.endswith(".txt")]


def as_zip(file: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return file


def as_tar(file: Path, files: dict[str, bytes]) -> Path:
    how: Any = {".gz": "w:gz", ".xz": "w:xz", ".bz2": "w:bz2"}.get(file.suffix, "w")
    with tarfile.open(file, how) as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return file


def bytes_of(top: Path, candidate: Candidate) -> Opened:
    with Reader(top) as reader:
        return reader.read(candidate)


def contents(source: Path, listing: Listing) -> dict[str, bytes | None]:
    top = source if source.is_dir() else source.parent
    return {one.path: bytes_of(top, one).content for one in listing.candidates}


def said(listing: Listing) -> list[tuple[str, str, str | None]]:
    return [(one.path, one.label, one.caption) for one in listing.candidates]


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz", "x.tar.xz", "x.tar.bz2"])
def test_an_archive_holds_what_a_folder_holds(tmp_path: Path, name: str) -> None:
    source = (as_zip if name.endswith(".zip") else as_tar)(tmp_path / name, FILES)
    listing = list_images(source)
    assert said(listing) == [("cat/a.png", "cat", None), ("cat/deep/b.jpg", "cat", None), ("dog/c.webp", "dog", "a dog")]
    assert contents(source, listing) == {name: FILES[name] for name in IMAGES}
    assert (listing.others, listing.notes) == ({}, ())


def test_a_folder_that_wraps_all_is_no_label_and_archives_in_folders_take_theirs(tmp_path: Path) -> None:
    (tmp_path / "birds").mkdir()
    as_zip(tmp_path / "all.zip", {f"download/{name}": content for name, content in FILES.items()})
    as_tar(tmp_path / "birds/some.tar", {"1.png": FILES["cat/a.png"]})
    (tmp_path / "top.png").write_bytes(FILES["cat/a.png"])
    assert said(list_images(tmp_path)) == [
        ("all.zip/download/cat/a.png", "cat", None),
        ("all.zip/download/cat/deep/b.jpg", "cat", None),
        ("all.zip/download/dog/c.webp", "dog", "a dog"),
        ("birds/some.tar/1.png", "birds", None),
        ("top.png", "", None),
    ]


def test_paths_in_archives_are_names_and_nothing_more(tmp_path: Path) -> None:
    source = tmp_path / "in" / "evil.tar"
    source.parent.mkdir()
    with tarfile.open(source, "w") as made:
        for name, kind in {
            "../../up.png": tarfile.REGTYPE,
            "/abs.png": tarfile.REGTYPE,
            "link.png": tarfile.SYMTYPE,
            "pipe.png": tarfile.FIFOTYPE,
            "disk.png": tarfile.BLKTYPE,
            "__MACOSX/._x.png": tarfile.REGTYPE,
        }.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            member.size = len(FILES["cat/a.png"]) if kind == tarfile.REGTYPE else 0
            made.addfile(member, io.BytesIO(FILES["cat/a.png"]))
    before = sorted(tmp_path.rglob("*"))
    listing = list_images(source)
    assert [one.path for one in listing.candidates] == ["abs.png", "up.png"]
    assert set(contents(source, listing).values()) == {FILES["cat/a.png"]}
    assert "link.png is a link" in listing.notes[0]
    assert sorted(tmp_path.rglob("*")) == before


def test_names_that_stand_twice_are_two_files(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a.png", b"one")
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("a.png", b"two")
    listing = list_images(tmp_path / "x.zip")
    assert len({one.path for one in listing.candidates}) == 2
    assert sorted(filter(None, contents(tmp_path / "x.zip", listing).values())) == [b"one", b"two"]


@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_that_is_damaged_in_the_middle_is_told_of(tmp_path: Path, packed: bool) -> None:
    """tarfile takes a damaged header for the end of the archive: what lies beyond would be lost without a word."""
    contents = {f"{number}.png": bytes([number]) * 600 for number in range(9)}
    file = as_tar(tmp_path / "x.tar", contents)
    whole = bytearray(file.read_bytes())
    assert not list_images(file).notes
    at = whole.index(b"5.png")
    whole[at : at + 512] = b"\x07" * 512
    file.write_bytes(gzip.compress(whole) if packed else whole)
    listing = list_images(file)
    assert len(listing.candidates) == 5
    assert "x.tar: a damaged archive (ReadError: a header that cannot be read)" in listing.notes[0]


@pytest.mark.parametrize("packed", [False, True])
def test_a_tar_that_is_cut_off_between_members_is_told_of(tmp_path: Path, packed: bool) -> None:
    """There its end looks like an end; but an archive closes with blocks of zeros."""
    file = as_tar(tmp_path / "x.tar", {f"{number}.png": bytes([number]) * 600 for number in range(9)})
    whole = file.read_bytes()
    cut = whole[: whole.index(b"5.png")]
    file.write_bytes(gzip.compress(cut) if packed else cut)
    listing = list_images(file)
    assert len(listing.candidates) == 5
    assert listing.notes == ("x.tar: it ends without the mark of an archive's end; members may be missing",)


def test_a_damaged_member_of_a_zip_costs_no_other(tmp_path: Path) -> None:
    """Deflated bytes without sense: zlib has an error of its own, which is no OSError."""
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as made:
        for name in "abc":
            made.writestr(f"{name}.png", FILES["cat/a.png"])
            made.writestr(f"{name}.txt", f"a cat called {name}")
        starts = {one.filename: one.header_offset + 30 + len(one.filename) for one in made.infolist()}
    whole = bytearray((tmp_path / "x.zip").read_bytes())
    for name in ("a.txt", "b.png"):
        whole[starts[name] : starts[name] + 4] = b"\x07" * 4
    (tmp_path / "x.zip").write_bytes(whole)
    listing = list_images(tmp_path / "x.zip")
    assert [one.caption for one in listing.candidates] == [None, "a cat called b", "a cat called c"]
    assert listing.notes[0].startswith("x.zip: a.txt is damaged (error: Error -3")
    with pytest.raises(UnreadableImage) as error:
        bytes_of(tmp_path, listing.candidates[1])
    assert error.value.reason == "unreadable"


def test_damaged_and_encrypted_archives_do_not_end_the_walk(tmp_path: Path) -> None:
    whole = as_tar(tmp_path / "b.tar.gz", {f"{n}.png": os.urandom(20_000) for n in range(9)}).read_bytes()
    (tmp_path / "b.tar.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "c.zip").write_bytes(b"PK\3\4 no zip")
    secret = bytearray(as_zip(tmp_path / "d.zip", {"s.png": FILES["cat/a.png"]}).read_bytes())
    for magic, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):  # the flag that says: encrypted
        secret[secret.index(magic) + offset] |= 1
    (tmp_path / "d.zip").write_bytes(secret)
    (tmp_path / "a.png").write_bytes(FILES["cat/a.png"])
    listing = list_images(tmp_path)
    paths = [one.path for one in listing.candidates]
    assert paths[0] == "a.png" and "b.tar.gz/0.png" in paths and paths[-1] == "d.zip/s.png"
    assert sum("damaged archive" in note for note in listing.notes) == 2
    with pytest.raises(UnreadableImage, match="encrypted") as error:
        bytes_of(tmp_path, listing.candidates[-1])
    assert error.value.reason == "unreadable"
    with pytest.raises(UnreadableImage):
        bytes_of(tmp_path, listing.candidates[-2])


def test_what_unpacks_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LEAST_LIMIT", 1_000_000)
    as_tar(tmp_path / "bomb.tar.gz", {"a.png": b"x", "b.png": bytes(5_000_000), "c.png": b"y"})
    listing = list_images(tmp_path)
    assert [one.path for one in listing.candidates] == ["bomb.tar.gz/a.png"]
    assert "200 times its size" in listing.notes[0]
    monkeypatch.setattr(opening, "MOST_BYTES", 1_000_000)
    as_zip(tmp_path / "bomb.zip", {"z.png": bytes(5_000_000)})
    (bomb,) = (one for one in list_images(tmp_path).candidates if one.path.endswith("z.png"))
    with pytest.raises(UnreadableImage, match="5,000,000 bytes"):
        bytes_of(tmp_path, bomb)


def test_an_archive_that_changed_since_it_was_listed_is_not_misread(tmp_path: Path) -> None:
    source = as_tar(tmp_path / "x.tar", FILES)
    listing = list_images(source)
    as_tar(source, {"other.png": bytes(9000), **FILES})
    with pytest.raises(UnreadableImage, match="changed after") as error:
        bytes_of(tmp_path, listing.candidates[0])
    assert error.value.reason == "changing"


def test_webdataset_shards(tmp_path: Path) -> None:
    for shard in range(2):
        files: dict[str, bytes] = {}
        for number in range(3):
            key = f"{shard}{number:04d}"
            files |= {f"{key}.jpg": FILES["cat/deep/b.jpg"], f"{key}.txt": f"caption {key}".encode(), f"{key}.cls": b"5"}
        files["extra.json"] = json.dumps({"caption": "from json", "label": "owl"}).encode()
        files["extra.png"] = FILES["cat/a.png"]
        as_tar(tmp_path / f"shard-{shard:06d}.tar", files)
    found = said(list_images(tmp_path))
    assert len(found) == 8
    assert found[0] == ("shard-000000.tar/00000.jpg", "5", "caption 00000")
    assert found[-1] == ("shard-000001.tar/extra.png", "owl", "from json")


def test_an_imagefolder_of_hugging_face(tmp_path: Path) -> None:
    for name in ("train/images/1.png", "train/images/2.png", "test/cat/3.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(FILES["cat/a.png"])
    lines = [
        {"file_name": "images/1.png", "text": "one", "label": "cat", "width": 80},
        {"file_name": "images/gone.png", "text": "?"},
        {"file_name": "../../etc/passwd", "text": "?"},
    ]
    (tmp_path / "train/metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "test/metadata.csv").write_text('file_name,caption\ncat/3.png,"three, with a comma"\nshort\n')
    listing = list_images(tmp_path)
    assert said(listing) == [
        ("test/cat/3.png", "cat", "three, with a comma"),
        ("train/images/1.png", "cat", "one"),
        ("train/images/2.png", "images", None),
    ]
    notes = "\n".join(listing.notes)
    assert "train/metadata.jsonl: columns not used: width" in notes
    assert "train/metadata.jsonl: names 2 files that are not there: train/../../etc/passwd" in notes
    assert "test/metadata.csv, line 3: does not fit" in notes
    assert "test, train" in notes


def parquet_table(struct: bool) -> pa.Table:
    contents = [FILES["cat/a.png"], FILES["cat/deep/b.jpg"], None]
    images: Any = [{"bytes": content, "path": "x.png"} for content in contents] if struct else contents
    classes = {"info": {"features": {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}}}
    table = pa.table({"image": images, "label": [1, 0, None], "text": ["a", None, "c"], "other": [1, 2, 3]})
    return table.replace_schema_metadata({"huggingface": json.dumps(classes)})


@pytest.mark.parametrize("struct", [True, False])
def test_parquet_files(tmp_path: Path, struct: bool) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(parquet_table(struct), tmp_path / "data/train-00000.parquet", row_group_size=2)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "data/plain.parquet")
    (tmp_path / "data/broken.parquet").write_bytes(b"PAR1 no")
    listing = list_images(tmp_path)
    assert [(one.label, one.caption) for one in listing.candidates] == [("dog", "a"), ("cat", None), ("data", "c")]
    assert [bytes_of(tmp_path, one).content for one in listing.candidates[:2]] == [FILES["cat/a.png"], FILES["cat/deep/b.jpg"]]
    with pytest.raises(UnreadableImage, match=r"no bytes|empty"):
        bytes_of(tmp_path, listing.candidates[2])
    notes = "\n".join(listing.notes)
    assert "columns not used: other" in notes and "plain.parquet: a Parquet file without a column of images" in notes
    assert "broken.parquet: a damaged Parquet file" in notes
    assert len(list_images(tmp_path / "data/train-00000.parquet").candidates) == 3


def test_images_are_found_by_content_whatever_their_name(tmp_path: Path) -> None:
    for name, content in {
        "photo": FILES["cat/a.png"],
        "photo.dat": FILES["cat/deep/b.jpg"],
        "notes.md": b"# no image",
        "empty.bin": b"",
    }.items():
        (tmp_path / name).write_bytes(content)
    listing = list_images(tmp_path)
    assert [one.path for one in listing.candidates] == ["photo", "photo.dat"]
    assert listing.others == {".bin": 1, ".md": 1}


def test_names_that_are_not_utf8_are_written_as_text_and_still_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    (tmp_path / name).write_bytes(FILES["cat/a.png"])
    (tmp_path / "日本語 🐈.png").write_bytes(FILES["cat/deep/b.jpg"])
    as_tar(tmp_path / "x.tar", {os.fsdecode(b"b\xff.png"): FILES["dog/c.webp"]})
    listing = list_images(tmp_path)
    assert [one.path for one in listing.candidates] == ["caf\\xe9.png", "x.tar/b\\xff.png", "日本語 🐈.png"]
    json.dumps([one.path for one in listing.candidates], ensure_ascii=False).encode()
    assert list(contents(tmp_path, listing).values()) == [FILES["cat/a.png"], FILES["dog/c.webp"], FILES["cat/deep/b.jpg"]]


def test_a_folder_that_may_not_be_read_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "closed").mkdir()
    (tmp_path / "a.png").touch()
    scan = os.scandir

    def scandir(path: Any) -> Any:  # root reads everything: a refusal has to be played
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    listing = list_images(tmp_path)
    assert [one.path for one in listing.candidates] == ["a.png"]
    assert listing.notes == ("closed: a folder that cannot be read (Permission denied); passed over",)
