"""The report: one self-contained, well-formed page that says what the figures say."""

import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from darkroom.evaluation.charts import Line, chart, ticks
from darkroom.evaluation.figures import Estimate, Figure
from darkroom.evaluation.memorisation import memorisation
from darkroom.evaluation.page import Part, Words, number
from darkroom.evaluation.report import History, ModelPage, headlines, pairs_of, report
from darkroom.evaluation.scoring import Scored
from darkroom.evaluation.writing import history_of


def page(name: str = "tuned", distance: float = 40.0, copies: int = 0, **more: Any) -> ModelPage:
    """A model whose first `copies` images are training images."""
    chance = np.random.default_rng(0)
    training, held_out, made = (chance.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8) for n in (50, 20, 30))
    made[:copies] = training[10 : 10 + copies]
    found = memorisation(made, training, held_out)
    figure = Figure(
        20, 20, Estimate(distance, distance - 5, distance + 5), Estimate(0.5, -4, 5), "lower", "how far", "kd_pixels_16"
    )
    pairs = pairs_of(made, training, found, 6)
    return ModelPage(name, ("cat", "<dog>"), made[:12], pairs, {"kernel_distance": figure}, found, **more)


class Parsed(HTMLParser):
    """Tags that were opened and not closed, addresses, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({name for name, _ in attrs}) == len(attrs)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_page_is_well_formed_and_needs_nothing_from_outside() -> None:
    parsed = Parsed(report([page("base"), page("tuned")], "pixels at 16 pixels a side"))
    assert parsed.open == []
    assert [source for source in parsed.sources if source.startswith("#")] == ["#part-0", "#part-1", "#part-2"]
    pictures = [source for source in parsed.sources if not source.startswith("#")]
    assert len(pictures) == 6
    for source in pictures:
        kind, content = source.split(",", 1)
        assert kind == "data:image/png;base64"
        Image.open(BytesIO(b64decode(content))).load()
    assert "pixels at 16 pixels a side" in parsed.text
    assert "meant for: cat, <dog>" in parsed.text  # escaped, so that it is text and no tag


def test_same_scores_give_the_same_bytes() -> None:
    assert report([page()], "x") == report([page()], "x")


def test_pairs_show_the_closest_first_beside_their_training_image() -> None:
    shown = page(copies=3).pairs
    assert shown.shape == (6, 8, 16, 3)
    assert all((pair[:, :8] == pair[:, 8:]).all() for pair in shown[:3])
    assert not any((pair[:, :8] == pair[:, 8:]).all() for pair in shown[3:])


@pytest.mark.parametrize(
    ("distance", "words"),
    [(40.0, "can be told from real ones"), (1.0, "cannot be told"), (-30.0, "which suggests copying")],
)
def test_headline_follows_the_distance(distance: float, words: str) -> None:
    assert words in headlines(page(distance=distance))[0]


def test_headline_counts_the_copies() -> None:
    assert "3 of 30 generated images look like copies" in headlines(page(copies=3))[1]
    assert "No copies of training images among 30 (in pixels; 0 of 20" in headlines(page())[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.2345, "1.23"), (-12.34, "\N{MINUS SIGN}12.3"), (1234.5, "1,234"), (1.0, "1.00")],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 1, value + 1)


def test_models_beside_each_other_say_which_is_better() -> None:
    text = Parsed(report([page("old", 80.0), page("new", 40.0)], "x")).text
    assert "new is better, apart" in text
    assert "no difference seen" in Parsed(report([page("old"), page("new")], "x")).text


def test_models_meant_for_different_labels_are_not_compared() -> None:
    other = replace(page("base"), focus=())
    text = Parsed(report([other, page("tuned")], "x")).text
    assert "measured against different images" in text
    assert "apart" not in text.split("meant for")[0]


def test_curves_labels_refusals_and_facts_are_on_the_page() -> None:
    figures = {
        label: Figure(30, 30, estimate(at), estimate(0.0), "lower", "", "kd_x") for label, at in (("cat", 5.0), ("dog", 90.0))
    }
    labels: dict[str, Scored] = {label: Scored({"kernel_distance": it}, {}) for label, it in figures.items()}
    labels["emu"] = Scored({}, {"all": "n = 2 images of it on each side; figures need 20"})
    told = page(
        labels=labels,
        course=[(8, estimate(50.0), estimate(1.0)), (16, estimate(45.0), estimate(0.0))],
        history=History([Line("held-out images", "made", [(0, 2.0), (100, 1.0)])]),
        refused={"frechet_distance": "fd_x is not given at n = 16"},
        facts=[("sampler", "euler, 20 steps")],
        blocks=[Words(["something more was found"])],
    )
    text = Parsed(report([told], "x", [Part("One more part", "", [])])).text
    for words in ("Kernel distance by number of images", "Loss over", "fd_x is not given", "euler, 20 steps", "figures need 20",
                  "something more was found", "One more part", "Drawn worst: dog", "kd_pixels_16"):  # fmt: skip
        assert words in text, words
    assert text.index("dog") < text.index("cat") or text.index("90.0") < text.index("5.00")


def test_curve_points_lie_where_their_numbers_say() -> None:
    drawn = chart("t", [Line("a", "made", [(0, 0), (10, 5), (20, 10)])], "x", "y")
    points = [tuple(map(float, pair.split(","))) for pair in re.findall(r"polyline[^>]*points='([^']*)'", drawn)[0].split()]
    (left, low), (middle, between), (right, high) = points
    assert middle == pytest.approx((left + right) / 2, abs=0.1)
    assert between == pytest.approx((low + high) / 2, abs=0.1)
    assert low > high  # y grows downwards


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-3, 9, [-2.5, 0, 2.5, 5, 7.5]), (0.1, 0.5, [0.1, 0.2, 0.3, 0.4, 0.5])],
)
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_a_training_s_tables_become_curves(tmp_path: Path) -> None:
    """The ratio of losses by band, where both were measured; the sheets' scores from the table beside it."""
    heads = "images_seen,loss,learning_rate,held_out_loss,held_out_loss middle,training_loss middle"
    (tmp_path / "loss.csv").write_text(f"{heads}\n10,0.9,0.1,,,\n20,0.8,0.1,0.7,0.6,0.5\n")
    (tmp_path / "scores.csv").write_text("images_seen,kd_pixels_16,real\n20,900,3\n")
    past = history_of(tmp_path / "loss.csv")
    assert [line.points for line in past.loss] == [[(10, 0.9), (20, 0.8)], [(20, 0.7)]]
    assert {line.name: line.points for line in past.gaps} == {
        "little noise": [],
        "middle": [(20, pytest.approx(1.2))],
        "much noise": [],
    }
    assert [line.points for line in past.scores] == [[(20, 900)], [(20, 3)]]
    assert past.score == "kd_pixels_16"
    assert history_of(tmp_path / "gone.csv").loss[0].points == [] and history_of(None) == History()
