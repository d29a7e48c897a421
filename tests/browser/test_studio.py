"""The studio in a real browser: images within seconds of opening it, and what can be done with them, on a desk and on a phone."""

import json
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from darkroom.images import digest_of_images, write_split
from darkroom.provenance import read_provenance
from serving.guards import Rules
from tests import chromium
from tests.darkroom.tiny import painted
from tests.serving.service import Registry, listening, model_at, offer, put_together

pytestmark = chromium.needed
DONE = "!document.querySelector('.forming') && document.querySelectorAll('#prints .print').length"


class Browser:
    """A page of the studio, in a window of a size."""

    def __init__(self, width: int, height: int, downloads: Path) -> None:
        more: dict[str, Any] = {"prefs": {"download.default_directory": str(downloads)}}
        if width < 600:
            more["mobileEmulation"] = {"deviceMetrics": {"width": width, "height": height, "pixelRatio": 2}}
        self.driver = chromium.opened(width, height, **more)

    def does(self, script: str) -> Any:
        return self.driver.execute_script(script)

    def until(self, script: str, seconds: float = 60) -> Any:
        return eventually(lambda: self.does(f"return {script}"), seconds)

    def press(self, css: str, place: int = 0) -> None:
        element = self.driver.find_elements("css selector", css)[place]
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'nearest', behavior: 'instant'})", element)
        element.click()

    def keys(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def sources(self, css: str = "#prints .print img") -> list[str]:
        return list(self.does(f"return [...document.querySelectorAll('{css}')].map(one => one.src)"))

    def troubles(self) -> list[str]:
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]


def eventually(look: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "not seen in time"
        time.sleep(0.1)
    return found


@pytest.fixture
def browser(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Browser]:
    opened = Browser(*getattr(request, "param", (1280, 900)), tmp_path / "downloads")
    yield opened
    opened.driver.quit()


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    (tmp_path / "data").mkdir()
    for split in ("train", "validation"):
        write_split(tmp_path / "data", split, painted(12, seed=1))
    digest = digest_of_images(tmp_path / "data")
    first, second = (model_at(tmp_path / str(seed), seed=seed, weaker=seed == 1, data_digest=digest) for seed in (1, 2))
    return Registry(offer(first, "1"), offer(second, "2"))


def test_a_stranger_has_images_without_a_press_and_finds_their_way(browser: Browser, registry: Registry, tmp_path: Path) -> None:
    service, app, _ = put_together(registry, data=tmp_path / "data")
    with listening(app) as address:
        browser.driver.get(address)
        browser.until(DONE)
        assert len(set(browser.sources())) == 8
        own = service.model("champion").card.drawing.model_dump(mode="json")  # as it was evaluated
        drawn = read_provenance(b64decode(browser.sources()[0].partition(",")[2])).made.drawing
        assert {name: drawn[name] for name in ("sampler", "steps")} == {name: own[name] for name in ("sampler", "steps")}

        browser.press("#labels .chip", 2)  # a class, fewer images, both versions, the same seed
        browser.does("document.getElementById('count').value = 3; document.getElementById('away').value = 2.5")
        browser.press("#keep")
        browser.press("#compare")
        browser.press("#develop")
        browser.until(f"document.querySelectorAll('.set').length == 2 && {DONE} == 14")
        seed = browser.does("return document.getElementById('seed').value")
        made = [read_provenance(b64decode(one.partition(",")[2])).made for one in browser.sources()[:6]]
        assert {one.version for one in made[:3]} == {"1"} and {one.version for one in made[3:]} == {"2"}
        assert {(one.label, one.seed) for one in made} == {("light", int(seed))}
        assert [one.drawing["away"] for one in made] == [2.5] * 3 + [1.0] * 3  # the second keeps no earlier weights

        browser.press("#prints .print")  # one of them, large, by keys: a favourite, its neighbours, a copy on disk
        browser.until("document.getElementById('viewer').open")
        browser.keys("f")
        browser.keys("d")
        browser.press("#view-near")
        browser.until("document.querySelectorAll('#near img').length == 4")
        saved = eventually(lambda: list((tmp_path / "downloads").glob("light-v1-seed*.png")))[0]
        assert read_provenance(saved).made == made[0]

        browser.press("#view-more")
        browser.until(f"document.querySelectorAll('.set').length == 3 && {DONE} >= 18")
        varied = read_provenance(b64decode(browser.sources()[0].partition(",")[2])).made
        assert varied.seed == int(seed) and varied.turns[0].amount == 0.3

        browser.press("#prints .print", 1)
        browser.press("#view-blend")
        browser.does("document.querySelectorAll('#kept .print')[12].click()")
        browser.until(f"document.querySelectorAll('.set').length == 4 && {DONE} >= 26")
        assert len(set(browser.sources()[:8])) == 8

        browser.driver.refresh()  # history and favourites outlive the page
        browser.until(DONE)
        browser.until("document.querySelectorAll('#kept .print').length >= 30")
        browser.press("input[name=shown][value=favourites]")
        assert len(browser.sources("#kept .print img")) == 1
        assert not browser.troubles()


def test_images_of_a_version_before_can_be_asked_about_after_a_swap(browser: Browser, registry: Registry, tmp_path: Path) -> None:
    service, app, _ = put_together(registry, data=tmp_path / "data")
    with listening(app) as address:
        browser.driver.get(address)
        browser.until(DONE)
        browser.does("document.getElementById('count').value = 4; document.getElementById('away').value = 2.5")
        browser.press("#develop")
        browser.until(f"document.querySelectorAll('.set').length == 2 && {DONE} == 12")
        registry.champion = registry.challenger  # it keeps no earlier weights
        service.slots["champion"].look()
        browser.until("document.getElementById('model').textContent.endsWith('version 2')")
        browser.press("#prints .print")
        browser.until("document.getElementById('viewer').open")
        browser.press("#view-near")
        browser.until("document.querySelectorAll('#near img').length == 4")
        browser.press("#view-more")
        browser.until(f"document.querySelectorAll('.set').length == 3 && {DONE} >= 16")
        assert read_provenance(b64decode(browser.sources()[0].partition(",")[2])).made.drawing["away"] == 1.0
        assert not browser.troubles()


@pytest.mark.parametrize("browser", [(390, 844)], indirect=True)
def test_it_fits_a_phone_and_can_be_used_by_keyboard_and_ear(browser: Browser, registry: Registry) -> None:
    with listening(put_together(registry)[1]) as address:
        browser.driver.get(address)
        browser.until(DONE)
        assert browser.does("return document.documentElement.scrollWidth") <= 390
        low = "document.getElementById('develop').getBoundingClientRect()"
        assert browser.does(f"return {low}.bottom <= innerHeight && {low}.height >= 44")
        unnamed = """return [...document.querySelectorAll('button, input, textarea, select')].filter(one => one.offsetParent &&
            !(one.textContent.trim() || one.ariaLabel || (one.labels && one.labels.length))).map(one => one.outerHTML)"""
        assert browser.does(unnamed) == []
        from selenium.webdriver.common.keys import Keys

        browser.does("document.querySelector('#prints .print').focus()")
        browser.keys(Keys.ENTER)
        browser.until("document.getElementById('viewer').open")
        first = browser.does("return document.getElementById('view-img').src")
        browser.keys(Keys.ARROW_RIGHT)
        browser.until(f"document.getElementById('view-img').src != {json.dumps(first)}")
        assert browser.does("return document.documentElement.scrollWidth") <= 390
        browser.keys(Keys.ESCAPE)
        browser.until("!document.getElementById('viewer').open")
        browser.keys(Keys.CONTROL, Keys.ENTER)
        browser.until("document.querySelectorAll('.set').length == 2 && !document.querySelector('.forming')")
        assert "done" in browser.does("return document.getElementById('heard').textContent")


def test_no_model_yet_is_explained_and_ends_by_itself_and_a_token_is_asked_for(browser: Browser, registry: Registry) -> None:
    champion, registry.champion = registry.champion, None
    rules = Rules(token="s3cret", hosts=())
    with listening(put_together(registry, rules, every=0.2)[1]) as address:
        browser.driver.get(address)
        browser.until("document.body.innerText.includes('darkroom run --data FOLDER')")
        registry.champion = champion
        browser.until("document.getElementById('token').offsetParent")
        browser.driver.find_element("css selector", "#token").send_keys("s3cret\n")
        browser.until(DONE)
