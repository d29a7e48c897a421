"""The API: images that say what made them, jobs, states; what is wrong is told as problem details, never as a 500."""

import gc
import json
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
from PIL import Image

from darkroom.images import digest_of_images, write_split
from darkroom.provenance import read_provenance
from darkroom.refs import digest_of
from serving.asked import LARGEST_SEED, _check_grid
from serving.engine import Engine
from serving.problems import Problem
from tests.darkroom.tiny import card, painted
from tests.serving.service import CAPTIONED, Gate, Registry, Running, model_at, offer, running
from tests.serving.test_engine import until


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    (folder / "data").mkdir()
    for split in ("train", "validation"):
        write_split(folder / "data", split, painted(12, seed=1))
    model_at(folder / "1", data_digest=digest_of_images(folder / "data"))
    model_at(folder / "2", seed=2)
    model_at(folder / "reads", network=CAPTIONED | {"image": card().network.model_dump()})
    return folder


@pytest.fixture(scope="module")
def up(folders: Path) -> Any:
    registry = Registry(offer(folders / "1", "1"), offer(folders / "2", "2"))
    with running(registry, data=folders / "data") as service:
        yield service


def pixels_of(image: str | bytes) -> Any:
    return np.asarray(Image.open(BytesIO(b64decode(image) if isinstance(image, str) else image)))


def test_every_image_says_what_made_it_and_its_recipe_draws_it_again(up: Running, folders: Path) -> None:
    told = up.images(count=3, seed=7, guidance=1.5, preset="draft", turns=[{"seed": 3, "amount": 0.2}])
    digest = digest_of_images(folders / "data")
    assert (told["model"], told["version"], told["seed"], told["data_digest"]) == ("tiny", "1", 7, digest)
    assert told["drawing"]["steps"] == 9 and told["drawing"]["guidance"] == 1.5
    for place, image in enumerate(told["images"]):
        made = read_provenance(b64decode(image["image"])).made
        assert (made.seed, made.index, made.label, made.version) == (7, place, image["label"], "1")
        assert made.data_digest == digest and made.weights_digest == digest_of(folders / "1/weights.safetensors")
        assert made.drawing["steps"] == 9 and made.turns[0].amount == 0.2
        assert up.files(**image["recipe"]) == [image["image"]]


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(up: Running) -> None:
    first = up.files(count=5, seed=3)
    assert up.files(count=5, seed=3) == first
    assert up.files(count=2, seed=3, first=3) == first[3:]
    assert len({*first, *up.files(count=5, seed=4)}) == 10
    chosen = up.images(count=2)
    assert up.files(count=2, seed=chosen["seed"]) == [one["image"] for one in chosen["images"]]


def test_variations_grow_with_their_strength_and_a_way_ends_at_its_ends(up: Running) -> None:
    one = pixels_of(up.files(seed=5, first=2, label="light")[0]).astype(int)

    def distance(strength: float) -> float:
        varied = up.files(count=6, seed=5, first=2, label="light", variation={"seed": 8, "strength": strength})
        assert len(set(varied)) == 6
        return float(np.mean([np.abs(pixels_of(image) - one).mean() for image in varied]))

    assert distance(0.05) < distance(0.3) < distance(0.9)
    same = up.files(seed=5, first=2, label="light", variation={"seed": 8, "strength": 0})
    assert (pixels_of(same[0]) == one).all()
    way = up.images(count=4, seed=5, first=2, label="light", between={"seed": 6, "index": 1})["images"]
    assert (pixels_of(way[0]["image"]) == one).all()
    assert (pixels_of(way[-1]["image"]) == pixels_of(up.files(seed=6, first=1, label="light")[0])).all()
    assert up.files(**way[2]["recipe"]) == [way[2]["image"]]
    onward = {"seed": 6, "index": 1, "turns": way[1]["recipe"]["turns"]}
    assert len(up.files(count=3, seed=5, label="light", between=onward)) == 3


@pytest.mark.parametrize("kind", ["png", "webp"])
def test_pictures_are_grids_and_tell_the_same_in_their_headers(up: Running, kind: str) -> None:
    answer = up.client.post("/v1/images", json={"count": 5, "seed": 2, "columns": 3, "format": kind})
    assert answer.headers["content-type"] == f"image/{kind}"
    image = Image.open(BytesIO(answer.content))
    assert image.size == (3 * 8 + 4, 2 * 8 + 2)
    assert (np.asarray(image.convert("RGB"))[:8, :8] == pixels_of(up.files(seed=2)[0])).all()
    assert read_provenance(answer.content).made.version == answer.headers["darkroom-version"] == "1"
    assert json.loads(answer.headers["darkroom-settings"])["count"] == 5
    assert len(answer.headers["darkroom-data"]) == 64


def test_models_and_states(up: Running) -> None:
    models = up.client.get("/v1/models").json()
    assert models["models"]["champion"]["labels"] == ["dark", "light"]
    assert models["compares"] is True
    assert models["models"]["challenger"]["tags"] == {"data.md5": "data of 2"}
    assert up.client.get("/healthz").json() == {"status": "alive"}
    assert up.client.get("/readyz").json() == {"ready": True, "serving": {"champion": "1", "challenger": "2"}, "detail": ""}
    assert up.files(seed=1, model="challenger") != up.files(seed=1)
    text = up.client.get("/metrics").text
    assert 'darkroom_serving{alias="champion",version="1"} 1.0' in text
    assert 'darkroom_requests_total{route="/v1/images",status="200"}' in text
    assert "darkroom_batch_images_bucket" in text and "darkroom_images_waiting 0.0" in text


def test_a_model_is_led_away_from_its_earlier_weights_as_far_as_is_asked(up: Running, folders: Path) -> None:
    with running(Registry(offer(model_at(folders / "led", weaker=True), "1"))) as service:
        assert service.client.get("/v1/models").json()["models"]["champion"]["weaker_digest"] == digest_of(
            folders / "led/weaker.safetensors"
        )
        led, plain = (service.images(seed=3, away=away)["images"][0] for away in (3.0, 1.0))
        assert led["image"] != plain["image"]
        assert service.files(**led["recipe"]) == [led["image"]]
        made = read_provenance(b64decode(led["image"])).made
        assert made.drawing["away"] == 3.0 and made.weaker_digest == digest_of(folders / "led/weaker.safetensors")
        assert read_provenance(b64decode(plain["image"])).made.weaker_digest is None
    assert up.client.get("/v1/models").json()["models"]["champion"]["weaker_digest"] is None
    assert "keeps none to be led away from; leave `away` out" in up.images(422, seed=3, away=3.0)["detail"]
    assert up.files(seed=3, away=1.0) == up.files(seed=3)


def test_images_come_in_the_shapes_of_the_model(folders: Path) -> None:
    shapes = {"buckets": ((8, 8), (4, 12), (12, 4)), "bucket_counts": ((1, 5, 0), (1, 0, 5))}
    with running(Registry(offer(model_at(folders / "shapes", **shapes), "1")), data=folders / "data") as service:
        model = service.client.get("/v1/models").json()["models"]["champion"]
        assert model["shapes"] == [[8, 8], [12, 4], [4, 12]]
        told = service.images(count=24, seed=2)["images"]
        sizes = [pixels_of(one["image"]).shape for one in told]
        assert set(sizes) == {(8, 8, 3), (4, 12, 3), (12, 4, 3)}
        for one, (height, width, _) in zip(told, sizes, strict=True):
            assert one["recipe"]["shape"] == [width, height]
            assert (height, width) != ((12, 4) if one["label"] == "dark" else (4, 12))
        for one in told[:6]:
            assert service.files(**one["recipe"]) == [one["image"]]  # alone as among others of other shapes
        assert {pixels_of(image).shape for image in service.files(count=5, shape=[12, 4])} == {(4, 12, 3)}
        turned = service.files(seed=1, shape=[12, 4], turns=[{"seed": 5, "amount": 0.5}])
        assert pixels_of(turned[0]).shape == (4, 12, 3)
        grid = service.client.post("/v1/images", json={"count": 6, "seed": 2, "format": "png", "columns": 3})
        assert pixels_of(grid.content).shape == (2 * 12 + 2, 3 * 12 + 4, 3)
        assert "it draws 8 x 8, 12 x 4, 4 x 12 pixels" in service.images(422, shape=[12, 12])["detail"]
        assert service.client.post("/v1/nearest", json={"seed": 1}).status_code == 409  # the data hold squares only


def test_the_nearest_training_images(up: Running, folders: Path) -> None:
    told = up.client.post("/v1/nearest", json={"seed": 4}).json()
    assert told["same_data"] is True and len(told["nearest"]) == 4
    distances = [one["distance"] for one in told["nearest"]]
    assert distances == sorted(distances) and 0 < distances[0] < 1
    training = painted(12, seed=1)
    made = pixels_of(up.files(seed=4)[0]).astype(float)
    by_hand = sorted(range(12), key=lambda row: float(((training.pixels[row] - made) ** 2).sum()))
    assert [one["path"] for one in told["nearest"]] == [training.paths[row] for row in by_hand[:4]]
    assert distances[0] == pytest.approx(((training.pixels[by_hand[0]] - made) ** 2).mean() ** 0.5 / 255)
    assert up.client.post("/v1/nearest", json={"seed": 4, "model": "challenger"}).json()["same_data"] is False


def events_of(text: str) -> list[tuple[str, Any]]:
    parts = [dict(line.split(": ", 1) for line in part.split("\n")) for part in text.strip().split("\n\n")]
    return [(part["event"], json.loads(part["data"])) for part in parts]


def test_a_job_is_seen_as_it_forms_and_gives_the_images_of_a_request(up: Running) -> None:
    job = up.client.post("/v1/jobs", json={"count": 3, "seed": 7, "steps": 4})
    assert job.status_code == 202
    address = f"/v1/jobs/{job.json()['id']}"
    seen = events_of(up.client.get(f"{address}/events").text)
    assert seen[-1][1]["state"] == "done" and seen[-1][1]["done"] == 1
    forming = [told for kind, told in seen if kind == "forming"]
    assert {told["place"] for told in forming} <= {0, 1, 2} and all(1 <= told["step"] <= told["steps"] == 4 for told in forming)
    assert up.client.get(address).json()["state"] == "done"
    assert up.client.get(f"{address}/images").json() == up.images(count=3, seed=7, steps=4)


def test_a_job_can_be_cancelled(folders: Path) -> None:
    with running(Registry(offer(folders / "1", "1"))) as up:
        model = up.service.model("champion")
        gate = Gate(model.denoiser)
        object.__setattr__(model, "denoiser", gate)
        job = up.client.post("/v1/jobs", json={"count": 8, "steps": 100}).json()
        until(lambda: gate.asked)
        address = f"/v1/jobs/{job['id']}"
        assert up.client.get(f"{address}/images").status_code == 409
        assert up.client.delete(address).json()["state"] == "cancelled"
        gate.open.set()
        assert events_of(up.client.get(f"{address}/events").text)[-1][1]["state"] == "cancelled"
        assert up.client.get(f"{address}/images").status_code == 409
        until(lambda: up.service.engine.waiting == 0)
        assert gate.asked < 10
        assert up.client.get("/v1/jobs/nonsense").status_code == 404


def test_prompts_are_read_by_models_that_read(folders: Path) -> None:
    with running(Registry(offer(folders / "reads", "1"))) as up:
        assert up.client.get("/v1/models").json()["models"]["champion"]["prompt_bytes"] == 24
        told = up.images(count=2, seed=1, prompt="a dark cat \u732b \U0001f63a")
        assert up.files(**told["images"][1]["recipe"]) == [told["images"][1]["image"]]
        assert read_provenance(b64decode(told["images"][0]["image"])).made.caption == "a dark cat \u732b \U0001f63a"
        assert pixels_of(up.files(seed=1, prompt="dark")[0]).tolist() == pixels_of(up.files(seed=1, label="dark")[0]).tolist()
        assert len(set(up.files(seed=1, prompt="light") + up.files(seed=1, prompt="dark") + up.files(seed=1, prompt=""))) == 3
        picture = up.client.post("/v1/images", json={"prompt": "\u732b\r\nX: y", "format": "png"})
        assert picture.status_code == 200 and "x" not in picture.headers


def test_a_grid_that_no_webp_holds_is_refused_before_it_is_drawn() -> None:
    _check_grid([(255, 253)] * 64, 64)  # 64 x 255 - 2 pixels
    for shape, columns in (((256, 256), 64), ((256, 256), 1)):
        with pytest.raises(Problem, match=r"16,383 pixels a side at most"):
            _check_grid([shape] * 64, columns)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"count": -1}, "count"),
    ({"count": 0}, "count"),
    ({"count": 10**30}, "count"),
    ({"count": 2.0}, "count"),
    ({"count": "4"}, "count"),
    ({"count": True}, "count"),
    ({"seed": -1}, "seed"),
    ({"seed": LARGEST_SEED + 1}, "seed"),
    ({"steps": 100_000}, "steps"),
    ({"steps": 201}, "draws in 200 steps at most"),
    ({"guidance": 1e9}, "guidance"),
    ({"label": "drak"}, "did you mean `dark`"),
    ({"label": "../../etc/passwd"}, "it knows: dark, light"),
    ({"prompt": "a cat"}, "trained without text"),
    ({"prompt": "a" * 1001}, "prompt"),
    ({"prompt": None, "label": ["dark"]}, "label"),
    ({"model": "/etc/passwd"}, "model"),
    ({"sampler": {"kind": "magic"}}, "sampler"),
    ({"sampler": {"kind": "unipc", "order": 99}}, "order"),
    ({"variation": {"seed": 1}, "between": {"seed": 2}}, "do not go together"),
    ({"variation": {"seed": 1, "strength": 2}}, "strength"),
    ({"turns": [{"seed": 1, "amount": 0.1}] * 17}, "turns"),
    ({"turns": [{"seed": 1, "amount": 0.1}] * 16, "variation": {"seed": 2}}, "16 turns at most"),
    ({"turns": [{"seed": 1, "amount": 0.1, "turns": [{"seed": 1, "amount": 0.1}] * 9}] * 2}, "16 turns at most"),
    ({"colour": "red"}, "colour"),
]


@pytest.mark.parametrize(("asked", "says"), BAD, ids=[f"{says}-{place}" for place, (_, says) in enumerate(BAD)])
def test_what_cannot_be_asked_is_told(up: Running, asked: dict[str, Any], says: str) -> None:
    answer = up.client.post("/v1/images", json=asked)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert says in answer.json()["detail"]
    assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"guidance": NaN}', b'{"guidance": Infinity}', b'{"guidance": 1e999}'),
        *(b'{"seed": ' + b"9" * 5000 + b"}", b'{"prompt": "\\ud800"}', b'{"\\ud800": 1}', b'{"label": "\\u0000"}'),
        *(b'{"turns":[' * 3000 + b"]}" * 3000, b"[" * 60_000),
    ],
    ids=range(14),
)
def test_bodies_that_are_no_request_are_refused(up: Running, body: bytes) -> None:
    answer = up.client.post("/v1/images", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert len(answer.content) < 3000


def test_a_queue_that_is_full_says_so(folders: Path) -> None:
    with running(Registry(offer(folders / "1", "1")), engine=Engine(4)) as up:
        answer = up.client.post("/v1/images", json={"count": 5})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert up.client.post("/v1/images", json={"count": 4}).status_code == 200


def test_what_takes_too_long_is_given_up(folders: Path) -> None:
    with running(Registry(offer(folders / "1", "1")), patience=0.2) as up:
        model = up.service.model("champion")
        gate = Gate(model.denoiser)
        object.__setattr__(model, "denoiser", gate)
        answer = up.client.post("/v1/images", json={"count": 2})
        assert answer.status_code == 504 and "0.2 s" in answer.json()["detail"]
        gate.open.set()
        until(lambda: up.service.engine.waiting == 0)
        object.__setattr__(model, "denoiser", gate.denoiser)
        assert up.client.post("/v1/images", json={"count": 2}).status_code == 200


def test_no_model_yet_is_a_page_that_helps_and_it_serves_by_itself_once_there_is_one(folders: Path) -> None:
    with running(Registry()) as up:
        assert up.client.get("/").status_code == 200
        assert "darkroom run --data FOLDER" in up.client.get("/readyz").json()["detail"]
        refused = up.client.post("/v1/images", json={})
        assert refused.status_code == 503 and "darkroom run" in refused.json()["detail"]
        assert up.client.get("/v1/models").json() == {"models": {}, "trouble": [], "compares": False}
        up.registry.champion = offer(folders / "1", "1")
        up.look()
        assert len(up.files(count=2)) == 2
        assert up.client.post("/v1/images", json={"model": "challenger"}).status_code == 404
        up.registry.champion = None  # somebody deletes the alias
        up.look()
        assert up.client.get("/readyz").json()["ready"] is True
        assert "gone from the registry" in up.client.get("/readyz").json()["detail"]
        assert len(up.files(count=2)) == 2
        up.registry.champion = offer(folders / "2", "2")
        up.look()
        assert up.images()["version"] == "2"


def test_a_full_disk_does_not_stop_it(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """It writes nothing: not while it draws, not for a job."""

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    for name in ("write_bytes", "write_text", "mkdir", "touch"):
        monkeypatch.setattr(Path, name, full)
    monkeypatch.setattr("os.open", full)
    monkeypatch.setattr("tempfile.mkstemp", full)
    assert len(up.files(count=2, seed=1)) == 2
    job = up.client.post("/v1/jobs", json={"count": 2}).json()
    assert events_of(up.client.get(f"/v1/jobs/{job['id']}/events").text)[-1][1]["state"] == "done"


def test_an_ended_job_does_not_keep_an_old_version_in_memory(folders: Path) -> None:
    with running(Registry(offer(folders / "1", "1"))) as up:
        job = up.client.post("/v1/jobs", json={"seed": 7}).json()["id"]
        up.client.get(f"/v1/jobs/{job}/events")
        old = ref(up.service.model("champion"))
        up.registry.champion = offer(folders / "2", "2")
        up.look()
        until(lambda: gc.collect() >= 0 and old() is None)  # though nobody draws or asks about jobs any more
        assert up.client.get(f"/v1/jobs/{job}/images").json()["version"] == "1"


def test_ended_jobs_are_forgotten_in_time(up: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.jobs.KEPT", 3)
    jobs = [up.client.post("/v1/jobs", json={"seed": seed}).json()["id"] for seed in range(6)]
    for job in jobs:
        up.client.get(f"/v1/jobs/{job}/events")
    assert up.client.get(f"/v1/jobs/{jobs[-1]}").status_code == 200
    assert [up.client.get(f"/v1/jobs/{job}").status_code for job in jobs[:3]] == [404] * 3
    monkeypatch.setattr("serving.jobs.KEPT_FOR", 0.0)
    assert up.client.get(f"/v1/jobs/{jobs[-1]}").status_code == 404
