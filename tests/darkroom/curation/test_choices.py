"""The keep/drop list: rows appended, comments kept, faults named."""

import datetime
from pathlib import Path

import pytest

from darkroom.curation.choices import EMPTY, Choice, ChoicesError, Word, add_choices, read_choices
from tests.conftest import TOP

SHA = "a" * 64
DROP = Choice(sha256=SHA, choice="drop", reason="asked: to go #1", date=datetime.date(2026, 1, 31), by="Ada")


def test_the_shipped_list_is_empty() -> None:
    assert (TOP / "choices.yaml").read_text(encoding="utf-8") == EMPTY
    assert read_choices(TOP / "choices.yaml") == ()


@pytest.mark.parametrize("before", [EMPTY, "", "[]\n", "# mine\n- {path: ü.png, choice: keep} # why\n"])
def test_rows_are_appended_and_comments_stay(tmp_path: Path, before: str) -> None:
    file = tmp_path / "choices.yaml"
    file.write_text(before, encoding="utf-8")
    old = read_choices(file)
    add_choices(file, [DROP, Choice(path="b: c.png", choice="keep")])
    add_choices(file, [])
    add_choices(file, [Choice(path="d.png", choice="drop")])
    assert read_choices(file) == (*old, DROP, Choice(path="b: c.png", choice="keep"), Choice(path="d.png", choice="drop"))
    if before != "[]\n":
        assert file.read_text(encoding="utf-8").startswith(before.rstrip())
    assert not list(tmp_path.glob("*.partial"))


def test_a_list_is_made_where_there_is_none(tmp_path: Path) -> None:
    add_choices(tmp_path / "new.yaml", [DROP])
    assert read_choices(tmp_path / "new.yaml") == (DROP,)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- {choice: drop}", "row 1: `sha256` or `path` must say"),
        ("- {path: a, choice: maybe}", "row 1: `choice`"),
        ("- {path: a, choice: keep}\n- {path: a, chioce: drop}", "row 2.*`chioce`"),
        ("- {sha256: xyz, choice: keep}", "row 1: `sha256`"),
        ("- a.png", "row 1"),
        ("path: a", "expected a list of rows, found a dict"),
        ("- {", "not valid YAML"),
    ],
)
def test_faults_are_named_and_nothing_is_written(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "choices.yaml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ChoicesError, match=words):
        read_choices(file)
    with pytest.raises(ChoicesError, match=words):
        add_choices(file, [DROP])
    assert file.read_text(encoding="utf-8") == text


def test_a_list_in_brackets_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "choices.yaml"
    file.write_text("[{path: a, choice: keep}]", encoding="utf-8")
    with pytest.raises(ChoicesError, match="one row a line"):
        add_choices(file, [DROP])
    with pytest.raises(ChoicesError, match="no such file"):
        read_choices(tmp_path / "none.yaml")


def test_the_last_row_counts() -> None:
    keep_a, keep_b, drop_b = (Choice(path=path, choice=choice) for path, choice in (("a", "keep"), ("b", "keep"), ("b", "drop")))
    word = Word([DROP, keep_a, keep_b, drop_b])
    assert (word.on("a", SHA), word.on("b", ""), word.on("c", SHA), word.on("c", "")) == (keep_a, drop_b, DROP, None)
