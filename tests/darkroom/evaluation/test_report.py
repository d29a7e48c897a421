"""The report: one self-contained, well-formed page that says what the figures say."""

from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from darkroom.evaluation.memorisation import memorisation
from darkroom.evaluation.metrics import Estimate, Figure
from darkroom.evaluation.report import ModelPage, _number, headlines, pairs_of, report


def page(name: str = "tuned", distance: float = 40.0, copies: int = 0) -> ModelPage:
    """A model whose first `copies` images are training images."""
    chance = np.random.default_rng(0)
    training, held_out, made = (chance.integers(0, 256, (n, 8, 8, 3), dtype=np.uint8) for n in (50, 20, 30))
    made[:copies] = training[10 : 10 + copies]
    found = memorisation(made, training, held_out)
    figure = Figure(20, 20, Estimate(distance, distance - 5, distance + 5), Estimate(0.5, -4, 5), "lower", "how far")
    pairs = pairs_of(made, training, found, 6)
    return ModelPage(name, ("cat", "<dog>"), made[:12], pairs, {"kernel_distance": figure}, found)


class Parsed(HTMLParser):
    """Tags that were opened and not closed, addresses, and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
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
    assert len(parsed.sources) == 4
    for source in parsed.sources:
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
    assert "No copies of training images among 30 (0 of 20" in headlines(page())[1]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0"), (0.01234, "0.0123"), (1.2345, "1.23"), (-12.34, "\N{MINUS SIGN}12.3"), (1234.5, "1,234"), (1.0, "1.00")],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert _number(value) == shown
