"""What several rooms' tests share: a folder of small images, settings that take seconds, a place of its own for servers."""

import os
import random
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from PIL import Image, ImageDraw

TOP = Path(__file__).parents[1]
LIVED = "tests/lifecycle"  # these tests share servers and a workspace


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """With `-n`: a file's tests in one process, those of the lifecycle in one too, and first, since they take longest."""
    from xdist.scheduler import LoadFileScheduling

    class SharedServers(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return LIVED if nodeid.startswith(LIVED) else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return SharedServers(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: not item.nodeid.startswith(LIVED))


def draw_images(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` small pictures with the labels `disc` and `square`, all different."""
    chance = random.Random(seed)
    for number in range(count):
        label = ("disc", "square")[number % 2]
        image = Image.new("RGB", (48, 48), tuple(chance.randrange(150, 256) for _ in range(3)))
        pen = ImageDraw.Draw(image)
        for _ in range(3):
            left, top, side = chance.randrange(30), chance.randrange(30), chance.randrange(10, 24)
            shape = pen.ellipse if label == "disc" else pen.rectangle
            shape((left, top, left + side, top + side), fill=tuple(chance.randrange(256) for _ in range(3)), outline="black")
        file = folder / label / f"{seed}-{number:03d}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        image.save(file)
    return folder


def tiny_settings(source: Path) -> dict[str, Any]:
    """The shipped settings, made small enough for a test."""
    settings = yaml.safe_load((TOP / "params.yaml").read_text(encoding="utf-8"))
    settings["curate"] |= {
        "source": str(source),
        "image_size": 16,
        "filters": [{"kind": "smallest_side", "least": 16}],
        "split": {"validation": 0.2, "test": 0.2},
    }
    settings["augment"]["transforms"] = [{"kind": "mirror", "probability": 0.5}]
    cadence = {"report_every": 16, "held_out_every": 32, "samples_every": 48, "checkpoint_every": 32}
    network = {"kind": "transformer", "patch": 4, "width": 32, "depth": 2, "heads": 2, "detail": 8}
    settings["train_base"] |= {"images": 96, "batch_size": 16, "device": "cpu", "network": network, **cadence}
    settings["train_base"]["drawing"]["steps"] = 3
    settings["finetune"] |= {"images": 48, "batch_size": 16, "device": "cpu", "focus": ["disc"], **cadence}
    settings["evaluate"] |= {"images": 16, "batch": 16, "bootstrap": 100, "shown": 4}
    settings["evaluate"]["drawing"]["steps"] = 3
    settings["evaluate"]["features"] = {"kind": "pixels", "side": 8}
    settings["evaluate"]["metrics"] = [{"kind": "kernel_distance"}, {"kind": "coverage", "k": 3}]
    settings["register"]["name"] = "tiny"
    settings["promote"] |= {"largest_kernel_distance": 1e9, "largest_copied_share": 1.0, "least_coverage": 0.0}
    settings["promote"] |= {"largest_held_out_loss": 1e9, "against_champion": "no_worse"}
    settings["retrain"] |= {"look_every": 1, "quiet": 2}
    return settings


def write_settings(workspace: Path, settings: dict[str, Any]) -> None:
    (workspace / "params.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")


def darkroom(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The command, called in this process: each process of its own would import Prefect, MLflow and torch again."""
    from adapters import local_servers
    from cli.main import main

    said, complained = StringIO(), StringIO()
    with patch.dict(os.environ), warnings.catch_warnings(), chdir(cwd):
        warnings.simplefilter("ignore")  # the products' own; ours are errors
        for package in ("darkroom", "adapters", "tasks", "flows", "serving", "cli"):
            warnings.filterwarnings("error", module=rf"{package}(\..*)?$")
        with redirect_stdout(said), redirect_stderr(complained), ExitStack() as settings:
            if words[0] in ("run", "tune", "promote", "forget"):  # what asks Prefect: it read its settings long ago
                url = local_servers.prefect_api(print)
                from prefect.settings import PREFECT_API_URL, temporary_settings

                settings.enter_context(temporary_settings({PREFECT_API_URL: url}))
            code = main([str(word) for word in words])
    return subprocess.CompletedProcess(words, code, said.getvalue(), complained.getvalue())


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """DARKROOM_HOME for this session's servers; they are ended with it."""
    folder = tmp_path_factory.mktemp("home")
    before = {name: os.environ.get(name) for name in ("DARKROOM_HOME", "PREFECT_API_URL", "MLFLOW_TRACKING_URI")}
    for name in before:
        os.environ.pop(name, None)
    os.environ["DARKROOM_HOME"] = str(folder)
    yield folder
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    from adapters.local_servers import stop_servers

    for worker in (EventsWorker, APILogWorker):  # else this process tries to send them for a minute when it ends
        worker.drain_all(timeout=5, at_exit=False)
    stop_servers()
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return draw_images(tmp_path / "images", 60)


@pytest.fixture(scope="session")
def git_identity() -> None:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
