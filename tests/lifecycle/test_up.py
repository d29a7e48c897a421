"""`darkroom up` on a workspace that was lived through: real servers, real pages in a real browser, real deaths. Told in order.

Combinations of versions that pass `pip check` break exactly this. Those marked `long` are left to `make test-long` and to CI.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from adapters import deployments, local_servers, machine, mlflow_registry, promotions
from adapters.mlflow_run import connected
from tests import chromium
from tests.conftest import TOP, darkroom, draw_images
from tests.lifecycle.test_registry import change

pytestmark = pytest.mark.servers
Seen = TypeVar("Seen")


@dataclass
class Up:
    """`darkroom up`, and where its parts are."""

    process: subprocess.Popen[bytes]
    workspace: Path
    log: Path

    def said(self, start: str) -> str:
        return next((line for line in self.log.read_text(encoding="utf-8").splitlines() if line.startswith(start)), "")

    @property
    def prefect(self) -> str:
        return self.said("Prefect UI").split()[-1]

    @property
    def mlflow(self) -> str:
        return self.said("MLflow UI").split()[-1]

    def sent(self, method: str, path: str, given: Any = None) -> httpx.Response:
        """What a page sends to Prefect's API; sent again while SQLite is busy (503), as Prefect's own client does."""
        end = time.monotonic() + 60
        while (answer := httpx.request(method, f"{self.prefect}/api/{path}", json=given, timeout=30)).status_code == 503:
            assert time.monotonic() < end, answer.text
            time.sleep(0.5)
        return answer

    def deployment(self, flow: str) -> Any:
        found = self.sent("GET", f"deployments/name/{flow}/{self.workspace.name}")
        return found.json() if found.is_success else None

    def runs(self, flow: str, kind: str) -> list[Any]:
        states = {"state": {"type": {"any_": [kind]}}}
        wanted = {"deployments": {"id": {"any_": [self.deployment(flow)["id"]]}}, "flow_runs": states}
        found = self.sent("POST", "flow_runs/filter", {**wanted, "sort": "EXPECTED_START_TIME_DESC"})
        return list(found.json()) if found.is_success else []

    def state(self, run: str) -> str:
        return str(self.sent("GET", f"flow_runs/{run}").json()["state"]["type"])

    def process_of(self, run: str) -> int:
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if f"PREFECT__FLOW_RUN_ID={run}".encode() in (place / "environ").read_bytes():
                    return int(place.name)
            except OSError:
                continue
        raise AssertionError(f"no process runs {run}")

    def automation(self) -> Any:
        return self.sent("POST", "automations/filter", {}).json()[0]

    def asked_for(self, change: str) -> str:
        """The run that a change of the data asks for; it is told of as the watcher tells."""
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: f"{self.prefect}/api"}):
            deployments.tell_change(self.workspace, change)
        asked = eventually(
            lambda: [run for run in self.runs("retraining", "SCHEDULED") if run["parameters"]["why"] == change], 60
        )
        return str(asked[0]["id"])

    def mlflow_run(self, name: str) -> str:
        wanted = {"experiment_ids": ["1"], "filter": f"attributes.run_name = '{name}'", "order_by": ["start_time ASC"]}
        found = httpx.post(f"{self.mlflow}/api/2.0/mlflow/runs/search", json=wanted).json()
        return str(found["runs"][0]["info"]["run_id"])

    def version(self, alias: str) -> str:
        found = mlflow_registry.version_at(self.workspace, "tiny", alias)
        return found.number if found else ""


@pytest.fixture(scope="module")
def up(lived: Path, home: Path) -> Iterator[Up]:
    change(lived, promote={"approval": "person"})
    log = lived.parent / "up.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", "--workspace", str(lived), "--prefect-port", "0", "--mlflow-port", "0"],
            env={**os.environ, "PYTHONPATH": str(TOP), "PREFECT_RUNNER_POLL_FREQUENCY": "2"},
            stdout=output,
            stderr=output,
        )
    started = Up(process, lived, log)
    try:
        eventually(lambda: started.said("MLflow UI"), 400, log)
        eventually(lambda: started.said("flows    Your deployments are being served"), 300, log)
        yield started
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.long
def test_a_run_scheduled_in_the_future_appears_and_one_triggered_through_the_api_completes(up: Up) -> None:
    deployment = up.deployment("dataset refresh")
    schema = deployment["parameter_openapi_schema"]
    assert {"workspace", "settings"} <= set(schema["properties"])
    assert schema["definitions"]["CurateSection"]["properties"]["image_size"]["minimum"] == 8
    given = {"schedules": [{"active": True, "schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}}]}
    up.sent("PATCH", f"deployments/{deployment['id']}", given).raise_for_status()
    eventually(lambda: up.runs("dataset refresh", "SCHEDULED"), 60, up.log)
    bad = {"parameters": {"workspace": str(up.workspace), "settings": {}}}
    assert up.sent("POST", f"deployments/{deployment['id']}/create_flow_run", bad).status_code == 409
    up.sent("POST", f"deployments/{deployment['id']}/create_flow_run", {}).raise_for_status()
    assert eventually(lambda: up.runs("dataset refresh", "COMPLETED"), 180, up.log)
    assert "MLflow" in httpx.get(up.mlflow).text
    assert up.deployment("full run")["parameters"]["settings"]["promote"]["approval"] == "person"  # as params.yaml has it now


@pytest.mark.long
def test_twenty_new_images_become_a_challenger_that_asks_for_approval_with_nothing_typed_and_a_death_survived(up: Up) -> None:
    automation = up.automation()
    changed = {name: automation[name] for name in ("name", "enabled", "trigger", "actions")} | {"description": "mine"}
    up.sent("PUT", f"automations/{automation['id']}", changed).raise_for_status()
    hourly = {"schedules": [{"active": True, "schedule": {"interval": 3600, "anchor_date": "2026-01-01T00:00:00Z"}}]}
    up.sent("PATCH", f"deployments/{up.deployment('dataset refresh')['id']}", hourly).raise_for_status()

    with machine.device_held(lambda: None):  # the run waits here, however fast it would be
        draw_images(up.workspace.parent / "my pictures", 20, seed=3)
        run = eventually(lambda: up.runs("retraining", "RUNNING"), 120, up.log)[0]
        first, second = up.asked_for("a change"), up.asked_for("another")
        assert (up.state(first), up.state(second)) == ("CANCELLED", "SCHEDULED"), (
            "the newer change does not supersede the queued run"
        )
        up.sent("DELETE", f"flow_runs/{second}").raise_for_status()  # so that nobody else does the work of the one that dies
        served = next(int(line) for line in pids("serve-flows", up.workspace))
        os.kill(served, signal.SIGKILL)
        eventually(lambda: up.said("flows    ended with code -9"), 60, up.log)
    done = eventually(lambda: up.runs("retraining", "COMPLETED"), 240, up.log)
    assert run["id"] in {one["id"] for one in done}, "the run that lost its process was not resumed"
    assert (up.version("challenger"), up.version("champion")) == ("2", "1")
    card = mlflow_registry.report_folder(up.workspace, mlflow_registry.version_named(up.workspace, "tiny", "2")) / "card.md"
    assert "80 images kept of 80" in card.read_text(encoding="utf-8")
    asking = eventually(lambda: up.runs("promotion", "PAUSED"), 120, up.log)[0]["id"]
    os.kill(up.process_of(asking), signal.SIGKILL)
    anew = eventually(lambda: [run for run in up.runs("promotion", "PAUSED") if run["id"] != asking], 120, up.log)
    assert len(anew) == 1, "the run that lost its process while it asked does not ask again"
    assert up.state(asking) == "CANCELLED"
    assert {move.what for move in promotions.moves(up.workspace)} == {"promoted"}, "its death was taken for an answer"
    assert up.automation()["description"] == "mine", "what was changed in the UI is lost when the flows are served again"
    assert up.deployment("dataset refresh")["schedules"]


@pytest.mark.long
@chromium.needed
def test_a_person_approves_in_the_prefect_page_changes_a_parameter_there_and_sees_the_model_in_mlflow(
    up: Up, tmp_path: Path
) -> None:
    pages = Pages(Path(os.environ.get("DARKROOM_SCREENSHOTS", tmp_path)))
    try:
        waiting = eventually(lambda: up.runs("promotion", "PAUSED"), 120, up.log)[0]
        pages.open(f"{up.prefect}/runs/flow-run/{waiting['id']}")
        pages.press("Resume")
        pages.shown("Make tiny version 2 the champion?")
        boxes = pages.all(".p-modal textarea") or pages.all("[role=dialog] textarea") or pages.all("textarea")
        pages.driver.execute_script("arguments[0].click()", pages.all("input[type=checkbox]")[-1])
        pages.write(boxes[0], "fewer stripes")
        pages.write(boxes[-1], "Ada")
        pages.picture("approval")
        pages.submit(until=lambda: up.state(waiting["id"]) != "PAUSED")
        eventually(lambda: promotions.moves(up.workspace)[-1].why == "fewer stripes", 60, up.log)
        assert promotions.moves(up.workspace)[-1].who == "Ada"
        assert up.version("champion") == "2"

        pages.open(f"{up.prefect}/deployments/deployment/{up.deployment('promotion')['id']}/run")
        pages.shown("The version to promote")
        fields = {field.get_attribute("value"): field for field in pages.all("textarea")}
        pages.write(fields["challenger"], "1")
        pages.write(fields[""], "the form was tried")
        pages.picture("form")
        form = pages.driver.current_url
        pages.submit(until=lambda: pages.driver.current_url != form)
        eventually(lambda: up.version("champion") == "1", 90, up.log)

        pages.open(f"{up.mlflow}/#/models/tiny")
        pages.shown("champion")
        pages.picture("registry")
        pages.open(f"{up.mlflow}/#/experiments/1/runs/{up.mlflow_run('train_base')}/artifacts/samples/000000000096.png")
        pages.shown("train_base")
        sheets = "one => one.naturalWidth > 100 && /^blob|artifact/.test(one.src.slice(0, 200))"
        images = f"return [...document.images].filter({sheets}).length"
        eventually(lambda: pages.driver.execute_script(images), 60)
        pages.picture("run")
    finally:
        pages.driver.quit()


@pytest.mark.long
def test_a_champion_moved_in_the_mlflow_page_is_noticed_with_nothing_typed(up: Up) -> None:
    other = next(number for number in ("1", "2") if number != up.version("champion"))
    moved = {"name": "tiny", "alias": "champion", "version": other}  # what that page sends
    httpx.post(f"{up.mlflow}/api/2.0/mlflow/registered-models/alias", json=moved).raise_for_status()
    eventually(lambda: promotions.moves(up.workspace)[-1].what == "moved elsewhere", 120, up.log)
    assert promotions.moves(up.workspace)[-1].version == up.version("champion") == other
    assert eventually(lambda: up.runs("champion check", "COMPLETED"), 60, up.log)


@pytest.mark.long
def test_the_image_service_draws_with_the_champion_and_follows_it_while_it_runs(up: Up) -> None:
    address, client = up.said("Images").split()[-1], connected(up.workspace)
    eventually(lambda: httpx.get(f"{address}/readyz").json()["serving"].get("champion") == up.version("champion"), 120, up.log)
    for version in ("2", "1"):  # moved as the MLflow page moves it
        client.set_registered_model_alias("tiny", "champion", version)
        eventually(lambda at=version: httpx.get(f"{address}/readyz").json()["serving"]["champion"] == at, 60, up.log)
        told = httpx.post(f"{address}/v1/images", json={"count": 2, "seed": 1}, timeout=60).json()
        assert (told["model"], told["version"], len(told["images"])) == ("tiny", version, 2)
    near = httpx.post(f"{address}/v1/nearest", json={"seed": 1}, timeout=60).json()
    assert near["nearest"] and near["same_data"] is False  # the data have changed since version 1
    assert "Darkroom" in httpx.get(address).text


@pytest.mark.long
def test_twenty_new_images_become_the_champion_with_nothing_typed_where_the_settings_let_gates_decide(up: Up) -> None:
    change(up.workspace, promote={"approval": "automatic"})
    before = up.version("champion")
    draw_images(up.workspace.parent / "my pictures", 20, seed=4)
    newest = eventually(lambda: (number := up.version("challenger")) not in ("", "1", "2") and number, 300, up.log)
    assert newest != before
    eventually(lambda: up.version("champion") == newest, 120, up.log)
    eventually(lambda: promotions.moves(up.workspace)[-1].version == newest, 30, up.log)  # written once the alias is there
    assert promotions.moves(up.workspace)[-1].what == "promoted"


@pytest.mark.long
def test_it_stops_cleanly_and_leaves_no_process(up: Up) -> None:
    group = pids("serve-flows", up.workspace) + pids("watch", up.workspace) + pids("serve", up.workspace)
    assert len(group) == 3
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(60) == 0
    assert not pids("serve-flows", up.workspace) + pids("watch", up.workspace) + pids("serve", up.workspace)
    assert not local_servers.answers(f"{up.mlflow}/health")


def test_a_port_that_is_taken_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("DARKROOM_HOME", str(tmp_path / "home"))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(local_servers.ServerError, match=rf"port {port} is taken by another program.*--prefect-port"):
            local_servers.prefect_api(print, port)


def test_a_server_is_found_again_and_ended(home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    first = local_servers.prefect_api(said.append)
    os.environ.pop("PREFECT_API_URL")
    assert local_servers.prefect_api(said.append) == first
    os.environ.pop("PREFECT_API_URL")
    assert len(said) <= 1
    assert "ended" in darkroom("down", cwd=tmp_path).stdout
    assert not local_servers.answers(f"{first}/health")
    assert "no server of darkroom's is running" in darkroom("down", cwd=tmp_path).stdout


class Pages:
    """A real browser, without a window."""

    def __init__(self, folder: Path) -> None:
        self.driver, self.folder = chromium.opened(1500, 1300), folder

    def open(self, address: str) -> None:
        self.driver.get("about:blank")
        self.driver.get(address)

    def all(self, css: str) -> list[Any]:
        return self.driver.find_elements("css selector", css)

    def shown(self, text: str) -> None:
        eventually(lambda: text in self.driver.find_element("css selector", "body").text, 60)

    def press(self, name: str) -> None:
        def pressed() -> bool:
            found = [one for one in self.all("button") if one.is_displayed() and one.text.strip() == name]
            if found:
                found[-1].click()
            return bool(found)

        eventually(pressed, 60)

    def submit(self, until: Callable[[], bool]) -> None:
        """Press Submit until it is taken: what is pressed while the page settles goes nowhere."""
        for _ in range(4):
            self.press("Submit")
            end = time.monotonic() + 20
            while time.monotonic() < end:
                if until():
                    return
                time.sleep(0.5)
        raise AssertionError(f"the form stays: {self.driver.find_element('css selector', 'body').text[-1500:]}")

    def write(self, field: Any, text: str) -> None:
        from selenium.webdriver.common.keys import Keys

        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(text, Keys.TAB)
        time.sleep(0.5)  # the form takes a change over after a moment without typing

    def picture(self, name: str) -> None:
        self.driver.save_screenshot(str(self.folder / f"{name}.png"))


def pids(word: str, workspace: Path) -> list[str]:
    """Processes of `darkroom WORD` on a workspace."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if word in command and str(workspace) in command:
            found.append(place.name)
    return found


def eventually(look: Callable[[], Seen], seconds: float, log: Path | None = None) -> Seen:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            found = look()
        except (httpx.HTTPError, json.JSONDecodeError):
            found = None  # type: ignore[assignment]
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not seen within {seconds} s\n{log.read_text(encoding='utf-8')[-4000:] if log else ''}")
