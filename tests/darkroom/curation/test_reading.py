"""Labels, captions, what counts as an image file, and walks that end."""

import json
from pathlib import Path

from darkroom.curation.reading import list_images


def test_the_first_folder_is_the_label_and_the_order_is_by_path(tmp_path: Path) -> None:
    for name in ("cat/deep/er/b.JPG", "cat/a.png", "top.webp", "ant/z.bmp"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [(one.path, one.label) for one in list_images(tmp_path).candidates]
    assert found == [("ant/z.bmp", "ant"), ("cat/a.png", "cat"), ("cat/deep/er/b.JPG", "cat"), ("top.webp", "")]


def test_captions_come_from_text_files_and_from_metadata(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / "cat" / name).touch()
    (tmp_path / "cat/a.txt").write_text(" a tabby \n", encoding="utf-8")
    (tmp_path / "cat/b.txt").write_text("overruled", encoding="utf-8")
    row = json.dumps({"file_name": "b.png", "text": "a lion", "label": 7})
    (tmp_path / "cat/metadata.jsonl").write_text(f"{row}\nnot json\n\n[1]\n", encoding="utf-8")
    listing = list_images(tmp_path)
    assert [(one.caption, one.label) for one in listing.candidates] == [
        ("a tabby", "cat"),
        ("a lion", "7"),
        (None, "cat"),
    ]
    assert [note.split(":")[0] for note in listing.notes] == [f"cat/metadata.jsonl, line {number}" for number in (2, 4)]
    assert listing.others == {}


def test_metadata_that_is_not_utf8_is_told_of_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "metadata.csv").write_bytes("file_name,text\nb.png,a crème\na.png,a café\n".encode("latin-1"))
    listing = list_images(tmp_path)
    assert listing.notes[0].startswith("metadata.csv, line 2: not UTF-8")
    assert listing.candidates[0].caption == "a caf\ufffd"


def test_other_files_are_counted_and_hidden_or_known_ones_are_not(tmp_path: Path) -> None:
    for name in ("a.png", "notes.txt", "b.psd", "README", "CREDITS.txt", "planted.json", ".hidden.png", "._a.png"):
        (tmp_path / name).touch()
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache/x.png").touch()
    listing = list_images(tmp_path)
    assert [one.path for one in listing.candidates] == ["a.png"]
    assert listing.others == {".psd": 1, ".txt": 1, "no suffix": 1}


def test_links_in_a_circle_end_and_outside_folders_are_read_once(tmp_path: Path) -> None:
    inside, outside = tmp_path / "in", tmp_path / "outside"
    (inside / "cat").mkdir(parents=True)
    outside.mkdir()
    (inside / "cat/a.png").touch()
    (outside / "b.png").touch()
    (inside / "cat/again").symlink_to(inside)
    (inside / "up").symlink_to(tmp_path)
    (inside / "more").symlink_to(outside)
    (inside / "more2").symlink_to(outside)
    assert [one.path for one in list_images(inside).candidates] == ["cat/a.png", "more/b.png"]


def test_halves_of_characters_in_json_become_question_marks(tmp_path: Path) -> None:
    """A cut emoji is valid JSON, and no text that can be written."""
    (tmp_path / "a.png").touch()
    row = r'{"file_name": "a.png", "text": "a \ud83d cat", "label": "\ud83d"}'
    (tmp_path / "metadata.jsonl").write_text(row, encoding="utf-8")
    (found,) = list_images(tmp_path).candidates
    assert (found.caption, found.label) == ("a ? cat", "?")


def test_labels_and_captions_that_are_no_text_are_passed_over_and_told_of(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    rows = [{"label": {"name": "dog"}, "text": ["a cat", "two"]}, {"label": ["dog"], "text": {"en": "a cat"}}, {"label": 0}]
    for number, row in enumerate(rows):
        (tmp_path / f"cat/{number}.png").touch()
        (tmp_path / f"cat/{number}.json").write_text(json.dumps(row), encoding="utf-8")
    (tmp_path / "top.png").touch()
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "top.png", "label": [1, 2]}), encoding="utf-8")
    listing = list_images(tmp_path)
    assert [(one.label, one.caption) for one in listing.candidates] == [("cat", "a cat"), ("cat", None), ("0", None), ("", None)]
    told = [note for note in listing.notes if note.endswith("is no text and no number; passed over")]
    assert [note.split(":")[0] for note in told] == ["metadata.jsonl", "cat/0.json", "cat/1.json"]
