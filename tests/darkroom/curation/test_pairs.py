"""What was compared before is remembered: the same pairs are found, and only new pictures are looked at."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from darkroom.curation import near_hashes, pairs
from darkroom.curation.duplicates import find_duplicates
from darkroom.curation.fingerprints import Fingerprint
from darkroom.curation.memory import Memory, opened
from darkroom.curation.pairs import Compared, DuplicateSettings
from darkroom.events import Event, Progressed, followed
from tests.darkroom.curation.made_pictures import photograph, picture
from tests.darkroom.curation.test_duplicates import CHANGES, SETTINGS, print_of


def compared(prints: Sequence[Fingerprint], settings: DuplicateSettings, before: Compared | None = None) -> Compared:
    return followed(pairs.compared(prints, settings, before))


BOTH_WAYS = SETTINGS.model_copy(update={"mirrored": True})


def album() -> list[Fingerprint]:
    """Photographs and drawings, each with copies of all kinds."""
    originals = [photograph(seed, 240, 180) for seed in range(6)] + [picture(seed, 128) for seed in range(6)]
    changes = {**CHANGES, "mirrored": ImageOps.mirror, "half": lambda one: one.reduce(2)}
    prints = [print_of(f"{number}", one) for number, one in enumerate(originals)]
    return prints + [
        print_of(f"{number} {name}", change(one)) for number, one in enumerate(originals) for name, change in changes.items()
    ]


@pytest.mark.parametrize("seed", range(3))
def test_what_was_compared_before_makes_no_difference(seed: int) -> None:
    prints = album()
    order = np.random.default_rng(seed).permutation(len(prints))
    before = compared([prints[row] for row in order[: len(order) // 2]], BOTH_WAYS)
    some = [prints[row] for row in sorted(order[5:])]  # some are gone, some are new
    at_once, in_steps = compared(some, BOTH_WAYS), compared(some, BOTH_WAYS, before)
    assert len(at_once.pairs) > 20 and before.pairs
    assert in_steps.pairs == at_once.pairs
    assert (in_steps.digests == at_once.digests).all()
    assert find_duplicates(some, BOTH_WAYS, known=in_steps) == find_duplicates(some, BOTH_WAYS)


def test_only_pairs_with_a_new_picture_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[frozenset[str]] = []
    confirmed = pairs._confirmed

    def watched(prints: Sequence[Fingerprint], rows: np.ndarray, *rest: Any, **more: Any) -> list[pairs.Confirmed]:
        looked.extend(frozenset(prints[row].path for row in pair) for pair in rows.tolist())
        return confirmed(prints, rows, *rest, **more)

    monkeypatch.setattr(pairs, "_confirmed", watched)
    prints = album()
    before = compared(prints[:-1], SETTINGS)
    assert looked
    looked.clear()
    compared(prints, SETTINGS, before)
    assert looked and all(prints[-1].path in pair for pair in looked)


@pytest.mark.parametrize("processors", [1, 3])
def test_all_processors_compare_to_the_same_end_and_progress_is_told(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    expected, told = compared(album(), SETTINGS), list[Event]()
    monkeypatch.setattr(pairs, "cores", lambda: processors)
    monkeypatch.setattr(pairs, "AT_ONCE", 2)
    monkeypatch.setattr(pairs, "TOLD", 5)
    found = followed(pairs.compared(album(), SETTINGS), told.append)
    assert [pair._replace(score=0) for pair in found.pairs] == [pair._replace(score=0) for pair in expected.pairs]
    scores = [pair.score for pair in expected.pairs]  # how many are compared at once decides the last digit
    assert [pair.score for pair in found.pairs] == pytest.approx(scores, abs=1e-6)
    assert [one.done for one in told if isinstance(one, Progressed) and one.doing == "comparing whole images"][:3] == [0, 5, 10]
    ends = {one.doing: (one.done, one.total) for one in told if isinstance(one, Progressed)}
    assert len(ends) > 1 and all(done == total for done, total in ends.values())


def test_of_very_many_equal_hashes_all_is_compared_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then only the first of them meet others, and which these are depends on all that are there."""
    prints = [print_of(str(number), Image.new("RGB", (64, 64), (number, 0, 0))) for number in range(12)]
    for module in (pairs, near_hashes):
        monkeypatch.setattr(module, "MOST_ALIKE", 4)
    before = Compared(np.array([one.pixel_digest for one in prints], np.bytes_), ())
    crowded = compared(prints, SETTINGS, before)
    assert crowded.pairs == compared(prints, SETTINGS).pairs != () and not crowded.complete
    left = sorted(prints, key=lambda one: one.pixel_digest)[8:]  # those that had met few: nothing may rest on that
    assert compared(left, SETTINGS, crowded).pairs == compared(left, SETTINGS).pairs != ()


@contextmanager
def memory_in(folder: Path) -> Iterator[Memory]:
    with opened(folder, "key", 8) as memory:
        yield memory


def test_a_memory_keeps_what_was_compared_by_these_settings(tmp_path: Path) -> None:
    found = compared(album(), SETTINGS)
    with memory_in(tmp_path) as memory:
        assert memory.compared("settings") is None
        memory.remember(found, "settings")
    with memory_in(tmp_path) as memory:
        again = memory.compared("settings")
        assert again is not None and again.pairs == found.pairs and (again.digests == found.digests).all()
        assert memory.compared("other settings") is None
        memory.remember(compared([], SETTINGS), "settings")
        nothing = memory.compared("settings")
        assert nothing is not None and len(nothing.digests) == len(nothing.pairs) == 0


@pytest.mark.parametrize("left", [0, 10, -10])
def test_a_damaged_memory_of_what_was_compared_is_not_believed(tmp_path: Path, left: int) -> None:
    with memory_in(tmp_path) as memory:
        memory.remember(compared(album()[:4], SETTINGS), "settings")
    (file,) = tmp_path.glob("*/compared.npz")
    file.write_bytes(file.read_bytes()[:left])
    with memory_in(tmp_path) as memory:
        assert memory.compared("settings") is None
