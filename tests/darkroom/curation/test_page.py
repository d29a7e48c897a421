"""The page, the card, and what they warn of."""

from html.parser import HTMLParser
from pathlib import Path

from darkroom.curation.cautions import warnings_of
from darkroom.curation.charts import histogram
from darkroom.curation.ledger import Entry
from tests.darkroom.curation.conftest import Run
from tests.darkroom.curation.made_pictures import encoded, picture


class Seen(HTMLParser):
    """Pictures, text and unclosed tags of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.pictures, self.words, self.open = 0, "", list[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pictures += tag == "img"
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        return

    def handle_data(self, data: str) -> None:
        self.words += data + " "


def test_the_page_shows_every_reason_cluster_score_and_label(images: Path, run: Run, tmp_path: Path) -> None:
    (images / "red/<b>copy.png").write_bytes((images / "red/01.png").read_bytes())
    (images / "blue/plain.png").write_bytes(encoded(picture(1).point(lambda level: 128)))
    (images / "blue/cut.png").write_bytes(encoded(picture(1))[:200])
    run(images)
    text = (tmp_path / "out-report/index.html").read_text(encoding="utf-8")
    page = Seen(text)
    assert page.open == []
    assert "30 of 33 files kept" in page.words
    for words in (
        "exact_copy: 1",
        "sharpness: 1",
        "truncated: 1",
        "red/<b>copy.png",
        "blue/cut.png",
        "1 clusters (1 of 2 images)",
    ):
        assert words in page.words, words
    assert page.pictures == 1 + 1 + 2, "the copy and the plain one as rejected, the copy and its original as a cluster"
    for kind in ("smallest_side", "aspect_ratio", "sharpness", "contrast"):
        assert f"histogram of {kind}" in text
    assert "images by label and split" in text
    assert str(tmp_path) not in text
    run(images)
    assert (tmp_path / "out-report/index.html").read_text(encoding="utf-8") == text


def test_the_page_tells_what_of_the_source_has_no_row(images: Path, run: Run, tmp_path: Path) -> None:
    (images / "red/more.zip").write_bytes(b"PK\3\4 no zip")
    run(images)
    page = Seen((tmp_path / "out-report/index.html").read_text(encoding="utf-8"))
    assert "red/more.zip: a damaged archive" in page.words


def test_the_card_counts_and_names_no_path(images: Path, run: Run, tmp_path: Path) -> None:
    run(images)
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "30 images of 32 x 32 pixels" in text and "2 labels (blue, red)" in text and "sharpness: least 40" in text
    assert str(tmp_path) not in text


def test_the_limit_is_drawn_where_it_lies() -> None:
    drawn = histogram([10.0, 20.0, 30.0], [0.0], 7.5, "a score")
    assert '<line x1="75.0"' in drawn and "limit 7.5" in drawn
    assert "<line" not in histogram([1.0], [], None, "a score")
    assert "<svg" in histogram([], [], None, "nothing")


def entry(path: str, label: str, of: str = "", side: int = 64, split: str = "train") -> Entry:
    return Entry(path, path, side, side, label, None, {}, "near_duplicate" if of else "", "", of, "" if of else split, 0)


def test_warnings_name_leaks_contradictions_rare_labels_and_small_images() -> None:
    many = [entry(f"{number}.png", "many", split="train" if number % 6 else "test") for number in range(1200)]
    assert warnings_of(many, ((64, 64),)) == []
    odd = [entry("train/a.png", "many"), entry("test/a.png", "few", of="train/a.png"), entry("b.png", "few", side=32)]
    leak, contradiction, rare, uneven, enlarged = warnings_of([*many, *odd], ((64, 64),))
    assert "test/a.png and train/a.png" in leak
    assert "test/a.png (few)" in contradiction and "train/a.png (many)" in contradiction
    assert "few (1)" in rare
    assert "1,201 images of many, 1 of few" in uneven
    assert "1 kept images" in enlarged
    (few,) = warnings_of(many[:50], ((64, 64),))
    assert few.startswith("50 images are few")
    assert "7 images are held out (validation and test), and scores need at least 8" in warnings_of(many[:42], ((64, 64),))[1]
    assert any("`near_duplicate`" in one for one in warnings_of([entry("a", ""), entry("b", "", of="a")], ((8, 8),)))
