"""Two models compared: the better one is named, equal ones are not told apart, unfit ones are refused."""

from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.evaluation.comparing import NotComparable, Rival, Terms, as_served, compare, kernel_contest, page_of, part_of
from darkroom.evaluation.page import Part, with_part
from darkroom.evaluation.page import page as whole
from darkroom.events import Event, Progressed
from darkroom.features.features import ShrunkPixels
from darkroom.images import Pixels
from darkroom.networks.saved import Drawing
from tests.darkroom.tiny import NETWORK, card, finished, painted, prepare, write_captions

TERMS = Terms(ShrunkPixels(kind="pixels", side=4), 20, 0, 16, 300)


def model(folder: Path, **changes: Any) -> Rival:
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(card(**changes).model_dump_json())
    return as_served(folder.name, folder)


class Painter:
    """Stands in for drawing: images of the labels asked for, with a fault of its own."""

    def __init__(self, **faults: int) -> None:
        self.faults, self.asked = faults, dict[str, Sequence[int] | None]()
        self.said = dict[str, Sequence[str] | None]()

    def __call__(
        self,
        model_folder: Path,
        labels: Sequence[int] | None,
        count: int,
        seed: int,
        drawing: Drawing,
        batch: int,
        captions: Sequence[str] | None = None,
    ) -> Generator[Event, None, Pixels]:
        self.asked[model_folder.name], self.said[model_folder.name] = labels, captions
        yield Progressed("drawing", count, count)
        pixels = painted(2 * count, seed=77).pixels
        chosen = [2 * place + label for place, label in enumerate(labels or ())]
        return (pixels[chosen].astype(int) + self.faults[model_folder.name]).clip(0, 255).astype(np.uint8)


def test_the_better_model_is_named_and_equal_ones_are_not_told_apart(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    first, second = model(tmp_path / "good"), model(tmp_path / "bad")
    _, found = finished(compare(first, second, places.data, TERMS, draw=Painter(good=0, bad=120)))
    contest = {one.metric: one for one in found.contests}
    assert contest["kernel_distance"].winner == "first"
    assert contest["kernel_distance"].first < contest["kernel_distance"].second
    assert contest["kernel_distance"].difference.high < 0
    _, turned = finished(compare(second, first, places.data, TERMS, draw=Painter(good=0, bad=120)))
    assert turned.contests[0].winner == "second"
    assert turned.contests[0].first_better == pytest.approx(1 - contest["kernel_distance"].first_better)
    _, same = finished(compare(first, second, places.data, TERMS, draw=Painter(good=0, bad=0)))
    assert {one.winner for one in same.contests} == {"neither"}
    assert same.contests[0].first_better == 0.5
    assert (found.n, found.labels) == (20, ("dark", "light"))
    page = page_of(found, ("good<", "bad"), 2)
    assert "good&lt; is better" in page and page.count("data:image/png") == 1
    more = with_part(whole("Evaluation", "", [Part("tuned", "", [])]), part_of(found, ("good", "bad"), 2))
    assert more.index("<h2>good beside bad</h2>") < more.index("<h2>tuned</h2>") and more.count("</section>") == 2
    assert "href='#part-more'" in more and "id='part-more'" in more
    assert found.sheet(6, 4).size == (6 * (18 + 3) * 4 - 12, 10 * 4)


def test_both_are_asked_for_the_same_labels_of_those_in_common(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    first = model(tmp_path / "one", labels=("light", "dark"))
    second = model(tmp_path / "two", focus=("dark",))
    painter = Painter(one=0, two=0)
    _, found = finished(compare(first, second, places.data, TERMS, draw=painter))
    assert found.labels == ("dark",)
    assert (set(painter.asked["one"] or ()), set(painter.asked["two"] or ())) == ({1}, {0})


def test_who_reads_captions_is_asked_by_those_of_held_out_images(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    write_captions(places, {"validation": ("night", "day")})
    thing: dict[str, Any] = {"labels": ("thing",), "label_counts": (20,)}
    reader = {"kind": "captioned", "length": 12, "width": 32, "depth": 1, "image": NETWORK}
    first, second = model(tmp_path / "one", network=reader, **thing), model(tmp_path / "two", **thing)
    for split in ("train", "test"):
        write_captions(places, {split: ("", "")})
    painter = Painter(one=0, two=0)
    finished(compare(first, second, places.data, TERMS, draw=painter))
    said = painter.said["one"]
    assert said is not None and set(said) == {"night", "day"} and len(said) == 20
    assert painter.said["two"] is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_size": 16}, "draws images of 8 x 8 pixels, the second of 16 x 16: scores of different sizes do not compare"),
        ({"labels": ("cat", "dog")}, "no label of the data set is meant by both: the first is for dark, light"),
    ],
)
def test_models_that_do_not_compare_are_refused_before_anything_is_drawn(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    places, painter = prepare(tmp_path), Painter(one=0, two=0)
    with pytest.raises(NotComparable, match=words):
        finished(compare(model(tmp_path / "one"), model(tmp_path / "two", **changes), places.data, TERMS, draw=painter))
    assert painter.asked == {}


def test_pairing_sees_what_separate_intervals_hide() -> None:
    """The second set is the first with one small fault: the difference is sure although both intervals overlap."""
    chance = np.random.default_rng(0)
    features = ShrunkPixels(kind="pixels", side=4)
    real, made = (features.describe(chance.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), 64) for _ in range(2))
    worse = made + np.float32(0.05)
    found = kernel_contest(real, made, worse, 500, 0)
    assert found.winner == "first"
    assert kernel_contest(real, made, made[::-1].copy(), 500, 0).winner == "neither"


def test_what_was_drawn_is_not_drawn_again_but_for_another_way_to_draw(tmp_path: Path) -> None:
    places = prepare(tmp_path)
    first, second = model(tmp_path / "one"), model(tmp_path / "two")
    _, before = finished(compare(first, second, places.data, TERMS, tmp_path / "kept", Painter(one=0, two=9)))
    idle = Painter(one=0, two=9)
    _, again = finished(compare(first, second, places.data, TERMS, tmp_path / "kept", idle))
    assert idle.asked == {} and again.contests == before.contests
    quicker = Rival("one", first.folder, first.drawing.model_copy(update={"steps": 1}))
    finished(compare(quicker, second, places.data, TERMS, tmp_path / "kept", idle))
    assert set(idle.asked) == {"one"}
