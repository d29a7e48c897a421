"""Digests of what lies there, and folders that are replaced as a whole or not at all."""

import hashlib
from pathlib import Path

import pytest

from darkroom.refs import digest_of, replaced


def fill(folder: Path, names: list[str]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def test_a_file_has_the_digest_that_everybody_computes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert digest_of(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()


def test_a_folder_has_one_digest_however_it_was_filled(tmp_path: Path) -> None:
    names = ["b.txt", "a.txt", "sub/c.txt", "sub/deep/d.txt"]
    one, other = fill(tmp_path / "one", names), fill(tmp_path / "other", names[::-1])
    (other / "empty folder").mkdir()
    assert digest_of(one) == digest_of(other)


def test_every_change_shows(tmp_path: Path) -> None:
    folder = fill(tmp_path / "one", ["a.txt", "sub/b.txt"])
    seen = {digest_of(folder)}
    (folder / "a.txt").rename(folder / "c.txt")
    seen.add(digest_of(folder))
    (folder / "sub/b.txt").rename(folder / "b.txt")
    seen.add(digest_of(folder))
    (folder / "b.txt").write_text("B")
    seen.add(digest_of(folder))
    (folder / "new.txt").touch()
    seen.add(digest_of(folder))
    assert len(seen) == 5


def test_what_is_not_there_has_no_digest(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: there is no such file or folder"):
        digest_of(tmp_path / "nowhere")


def test_a_replaced_folder_holds_only_what_is_new(tmp_path: Path) -> None:
    folder = fill(tmp_path / "out", ["old.txt"])
    with replaced(folder) as fresh:
        (fresh / "new.txt").touch()
        assert (folder / "old.txt").exists()
    assert [file.name for file in folder.iterdir()] == ["new.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, GeneratorExit])
def test_an_error_leaves_the_old_folder_and_nothing_half_written(tmp_path: Path, error: type[BaseException]) -> None:
    folder = fill(tmp_path / "out", ["old.txt"])

    def fail() -> None:
        with replaced(folder) as fresh:
            (fresh / "new.txt").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert [file.name for file in folder.iterdir()] == ["old.txt"]
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_what_a_killed_run_left_is_not_taken_over(tmp_path: Path) -> None:
    fill(tmp_path / "deep/out.partial", ["half.txt"])
    with replaced(tmp_path / "deep/out") as fresh:
        (fresh / "new.txt").touch()
    assert [file.name for file in (tmp_path / "deep/out").iterdir()] == ["new.txt"]
