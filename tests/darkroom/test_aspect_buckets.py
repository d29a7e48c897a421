"""Aspect buckets: nothing of a wide or tall image is cut to a square, from the file to the drawn image and its scores."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import torch
from PIL import Image

from darkroom.augmentation import AugmentSection, Recipe
from darkroom.curation.curate import curate
from darkroom.evaluation.evaluate import evaluate
from darkroom.evaluation.subjects import EvaluationError, check_drawn, read_data
from darkroom.events import followed
from darkroom.generating import GeneratingError, Wish, generate_folder, source_of
from darkroom.images import Rows, read_split, write_split
from darkroom.networks.denoiser import Condition
from darkroom.networks.saved import build, read_card, save_model
from darkroom.randomness import BucketOrder
from darkroom.sampling import generate, label_at, labels_for, noise_for, shape_at
from darkroom.shapes import AspectBuckets, Shape, canvas_of, core, framed, inside, shape_for, shape_named
from darkroom.training.batches import Batches
from darkroom.training.course import Materials, Sheet
from darkroom.training.coverage import times_seen
from darkroom.training.held_out import held_out_loss
from darkroom.training.monitor import collapsed
from darkroom.training.session import Places
from darkroom.training.train_base import train_base
from tests.darkroom.curation.made_pictures import section_with
from tests.darkroom.evaluation.rig import section as evaluate_section
from tests.darkroom.tiny import NETWORK, base_section, card, finished, painted, stirred, write_recipe

CPU = torch.device("cpu")
TWICE = AspectBuckets(most=2.0, multiple=4)
SHAPES = TWICE.shapes(16)  # height, width
KINDS = {"wide": (120, 72), "tall": (72, 120), "square": (96, 96)}  # width, height
CUT_TO = {"wide": (12, 20), "tall": (20, 12), "square": (16, 16)}  # height, width
LEVELS = {"wide": 20, "tall": 220, "square": 120}
UNET = {"kind": "unet", "width": 32, "widening": [1, 1], "depth": 1, "attention": 0}


def test_shapes_have_the_area_of_the_square_and_sides_that_can_be_halved() -> None:
    assert AspectBuckets(most=1.0, multiple=8).shapes(30) == ((30, 30),)
    assert AspectBuckets(most=2.0, multiple=8).shapes(32) == ((32, 32), (24, 40), (40, 24))
    for size, most in ((64, 1.5), (64, 4.0), (512, 2.0), (100, 3.0)):
        shapes = AspectBuckets(most=most, multiple=8).shapes(size)
        assert shapes[0] == (size, size) and len(set(shapes)) == len(shapes)
        assert {(width, height) for height, width in shapes} == set(shapes)
        for height, width in shapes[1:]:
            assert height % 8 == width % 8 == 0
            assert max(height, width) <= most * min(height, width)
            assert 0.6 * size**2 < height * width <= size**2


def test_an_image_goes_where_least_of_it_is_cut_off() -> None:
    shapes = AspectBuckets(most=2.0, multiple=8).shapes(64)
    chance = np.random.default_rng(0)
    for width, height in chance.integers(1, 4000, (200, 2)).tolist():
        lost = {
            shape: 1 - min(width / shape[1], height / shape[0]) ** 2 * shape[0] * shape[1] / width / height for shape in shapes
        }
        assert lost[shape_for(width, height, shapes)] == pytest.approx(min(lost.values()), abs=1e-9)
    assert shape_for(0, 0, shapes) == (64, 64)


def test_a_shape_is_typed_as_width_and_height() -> None:
    assert shape_named("40x24") == (24, 40) and shape_named("8X8") == (8, 8)
    for words in ("wide", "40", "40x", "-4x8", "4\u00b2x8"):
        with pytest.raises(ValueError, match="such as 40x24"):
            shape_named(words)


def picture(kind: str, seed: int) -> Image.Image:
    """Grain between a red first and a blue last tenth of the longer side."""
    width, height = KINDS[kind]
    chance = np.random.default_rng(seed)
    small = chance.integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).copy()
    along = pixels if width >= height else pixels.transpose(1, 0, 2)
    tenth = max(width, height) // 10
    along[:, :tenth], along[:, -tenth:] = (255, 0, 0), (0, 0, 255)
    return Image.fromarray(pixels)


def folder_of(folder: Path, each: int) -> Path:
    for kind in KINDS:
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            picture(kind, 1000 * list(KINDS).index(kind) + number).save(folder / kind / f"{number}.png")
    return folder


def curated(source: Path, at: Path, buckets: AspectBuckets = TWICE, memory: Path | None = None) -> Path:
    split = {"validation": 0.2, "test": 0.2}
    section = section_with(source=str(source), image_size=16, aspect_buckets=buckets.model_dump(), filters=[], split=split)
    followed(curate(section, source, at / "data", at / "report", memory))
    return at / "data"


def shards_of(data: Path) -> set[str]:
    return {file.name for file in (data / "shards").iterdir()}


def test_both_ends_of_every_image_are_kept(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "images", 14)
    images = read_split(curated(source, tmp_path), "train")
    assert images.buckets == SHAPES and images.size == 16 and images.pixels.shape[1:] == (20, 20, 3)
    seen = Counter[str]()
    for row, (path, shape) in enumerate(zip(images.paths, images.shapes.tolist(), strict=True)):
        kind = path.split("/")[0]
        seen[kind] += 1
        assert tuple(shape) == CUT_TO[kind]
        exact = images.exact(np.array([row]))[0]
        assert exact.shape == (*CUT_TO[kind], 3)
        along = exact if kind != "tall" else exact.transpose(1, 0, 2)
        assert (along[:, 0, 0] > 200).all() and (along[:, -1, 2] > 200).all()  # red, and blue
        np.testing.assert_array_equal(framed(exact[None], 20)[0], images.pixels[row])
        np.testing.assert_array_equal(images.pixels[np.array([row, 0])][0], images.pixels[row])
    assert set(seen) == set(KINDS)
    about = json.loads((tmp_path / "data/dataset.json").read_text())
    assert sum(about["kept_by_shape"].values()) == about["kept"]
    assert "Aspect buckets" in (tmp_path / "report/index.html").read_text()

    squares = read_split(curated(source, tmp_path / "other", AspectBuckets(most=1.0, multiple=8)), "train")
    cut = squares.pixels[next(row for row, path in enumerate(squares.paths) if path.startswith("wide"))]
    assert not (cut[:, 0, 0] > 200).all()


def test_a_split_that_holds_none_joins_the_others(tmp_path: Path) -> None:
    data = curated(folder_of(tmp_path / "images", 14), tmp_path)
    index = json.loads((data / "test.json").read_text(encoding="utf-8"))
    (data / "test.json").write_text(json.dumps(index | {"shards": []}), encoding="utf-8")
    train, none = (cast(Rows, read_split(data, split).pixels) for split in ("train", "test"))
    joined = Rows.joined([train, none])
    assert len(none) == 0 and len(joined) == len(train)
    np.testing.assert_array_equal(joined[:], train[:])


def test_adding_images_rewrites_the_last_shard_of_their_shape_alone(tmp_path: Path) -> None:
    source, memory = folder_of(tmp_path / "images", 40), tmp_path / "memory"
    before = shards_of(curated(source, tmp_path, memory=memory))
    whole = read_split(tmp_path / "data", "train")
    assert shards_of(curated(source, tmp_path, memory=memory)) == before
    picture("wide", 77).save(source / "wide/new.png")
    after = shards_of(curated(source, tmp_path, memory=memory))
    assert len(after - before) == 2  # pixels, and what is said of them
    grown = [read_split(tmp_path / "data", split) for split in ("train", "validation", "test")]
    assert sum(map(len, grown)) == 121
    assert set(whole.paths) <= set(grown[0].paths)
    without = curated(source, tmp_path / "again")
    for split in ("train", "validation", "test"):
        one, other = read_split(tmp_path / "data", split), read_split(without, split)
        assert one.paths == other.paths
        np.testing.assert_array_equal(one.pixels[:], other.pixels[:])
    manifest = pq.read_table(without / "manifest.parquet").to_pylist()
    assert sum(row["kept"] for row in manifest) == 121


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Places:
    """A data set in which wide images are dark, tall ones light and squares grey, each with its label."""
    top = tmp_path_factory.mktemp("buckets")
    chance = np.random.default_rng(5)
    for kind, level in LEVELS.items():
        for number in range(30):
            (top / "images" / kind).mkdir(parents=True, exist_ok=True)
            width, height = KINDS[kind]
            pixels = level + chance.integers(-20, 20, (height // 12, width // 12, 3))
            image = Image.fromarray(pixels.astype(np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
            image.save(top / "images" / kind / f"{number}.png")
    curated(top / "images", top)
    write_recipe(top / "augmented", [{"kind": "affine", "probability": 0.3, "shift": 0.1, "scale": 0.0, "degrees": 0.0}])
    return Places(top / "data", top / "augmented", top / "model", top / "reports", top / "checkpoints")


def test_every_batch_is_of_one_shape_and_every_image_has_its_turn(places: Places) -> None:
    images = read_split(places.data, "train")
    recipe = Recipe(AugmentSection.model_validate({"seed": 0, "transforms": []}))
    batch, passes = 8, 6
    batches = Batches(base_section(), Materials(images, images, recipe, Path(), lambda *_: Sheet(Path(), images.pixels)), CPU)
    counts, shapes = Counter[int](), Counter[Shape]()
    for seen in range(0, passes * len(images) // batch * batch, batch):
        one = batches.at(seen, batch)
        shape = {tuple(shape) for shape in images.shapes[one.rows].tolist()}
        assert len(shape) == 1 and shape == {tuple(one.images.shape[2:])}
        counts.update(one.rows.tolist())
        shapes.update(shape)
    batches.close()
    assert set(shapes) == set(SHAPES)
    assert all(passes - 1 <= counts[row] <= passes for row in range(len(images)))


def test_a_rare_shape_is_not_seen_more_often_than_others() -> None:
    buckets = np.array([0] * 39 + [1] + [2] * 25)
    order = BucketOrder(buckets, 3, 32)
    seen = 100 * len(buckets) // 32 * 32
    times = np.bincount(order.take(0, seen), minlength=len(buckets))
    assert times.min() >= 68 and times.max() <= 101 and abs(times[39] - 96) < 5  # in batches of 32, so 96 or 64
    assert all(len(set(buckets[order.take(start, 32)])) == 1 for start in range(0, seen, 32))
    for upto in (0, 5, 32, 33, 640, seen):
        assert order.times(upto).tolist() == np.bincount(order.take(0, upto), minlength=len(buckets)).tolist()
        assert order.take(upto, 40).tolist() == BucketOrder(buckets, 3, 32).take(0, upto + 40)[upto:].tolist()
    skipped = times_seen(order, 96, 32, [32]) + np.bincount(order.take(32, 32), minlength=len(buckets))
    assert (skipped == order.times(96)).all()
    assert BucketOrder(buckets, 4, 32).take(0, 640).tolist() != order.take(0, 640).tolist()


def test_held_out_images_keep_their_shapes_where_models_are_judged(places: Places) -> None:
    data = followed(read_data(places.data))
    splits = [read_split(places.data, split) for split in ("validation", "test")]
    assert {tuple(shape) for shape in data.held_out.shapes.tolist()} <= set(SHAPES)
    np.testing.assert_array_equal(data.held_out.shapes, np.concatenate([one.shapes for one in splits]))
    np.testing.assert_array_equal(data.held_out.pixels[:], np.concatenate([one.pixels[:] for one in splits]))


def test_frames_hide_no_flat_images_and_no_collapse() -> None:
    flat = np.concatenate([framed(np.full((8, *shape, 3), 90, np.uint8), 20) for shape in SHAPES])
    with pytest.raises(EvaluationError, match="every image it generated is one flat colour"):
        list(check_drawn("base", flat, flat.shape, SHAPES))
    real = np.random.default_rng(0).integers(0, 256, flat.shape, np.uint8)
    assert collapsed(core(flat, SHAPES), core(real, SHAPES), 1e-3) is not None
    assert collapsed(flat, real, 1e-3) is None  # what the frames would hide
    assert core(flat, SHAPES).shape == (24, 12, 12, 3) and core(real, [(20, 20)]).shape == real.shape


def test_a_data_set_of_many_shards_is_read_where_few_files_may_be_open(tmp_path: Path) -> None:
    images = painted(32 * 60, seed=1, size=4)
    write_split(tmp_path, "train", images, list(range(len(images))))
    script = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (40, 4096))\n"
        "from pathlib import Path; from darkroom.images import read_split\n"
        "print(int(read_split(Path(sys.argv[1]), 'train').pixels[:].sum()))"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == int(images.pixels.sum())


@pytest.mark.parametrize("network", [NETWORK, UNET], ids=["transformer", "unet"])
def test_a_model_draws_what_it_saw_in_each_shape(places: Places, tmp_path: Path, network: dict[str, Any]) -> None:
    there = Places(places.data, places.augmented, tmp_path / "model", tmp_path / "reports", tmp_path / "checkpoints")
    section = base_section(network=network, images=2400, held_out_every=1200, samples_every=1200, checkpoint_every=2400)
    finished(train_base(section, there))
    about = read_card(there.out)
    assert about.shapes == SHAPES and sum(map(sum, about.bucket_counts)) == len(read_split(places.data, "train"))
    drawing = about.drawing.model_copy(update={"steps": 8})
    made = followed(generate(there.out, None, 48, 0, drawing, 16))
    assert made.shape == (48, 20, 20, 3)
    levels: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for label, image in zip(labels_for(about, 0, 48), made, strict=True):
        kind = about.labels[label]
        inner = inside(image, CUT_TO[kind])
        np.testing.assert_array_equal(framed(inner[None], 20)[0], image)
        levels[kind].append(inner.mean())
    wide, square, tall = (np.mean(levels[kind]) for kind in ("wide", "square", "tall"))
    assert wide + 20 < tall and wide < square < tall

    scores = evaluate_section(images=24, seeds=1)
    finished(evaluate(scores, places.data, {"base": there.out}, tmp_path / "out"))
    found = json.loads((tmp_path / "out/scores.json").read_text())
    assert found["base"]["kernel_distance"]["n"] == 24
    one_size = tmp_path / "squares"
    one_size.mkdir()
    squares = card(image_size=16, labels=about.labels, label_counts=about.label_counts)
    save_model(one_size, stirred(build(squares)).state_dict(), squares)
    with pytest.raises(EvaluationError, match=r"draws images of 16 x 16 pixels, and .* have 16 x 16 or 20 x 12 or 12 x 20"):
        finished(evaluate(scores, places.data, {"base": one_size}, tmp_path / "none"))


def test_a_stopped_course_goes_on_bit_for_bit(places: Places, tmp_path: Path) -> None:
    finals = []
    for name in ("whole", "stopped"):
        there = Places(
            places.data, places.augmented, tmp_path / name / "model", tmp_path / name / "reports", tmp_path / name / "checkpoints"
        )
        section = base_section(images=200)
        if name == "stopped":
            steps = train_base(section, there)
            for _ in range(9):
                next(steps)
            steps.close()
        finished(train_base(section, there))
        finals.append((there.out / "weights.safetensors").read_bytes())
    assert finals[0] == finals[1]


def test_held_out_images_are_measured_in_their_own_shapes(places: Places) -> None:
    images = read_split(places.data, "validation")
    model = build(card(image_size=16, buckets=SHAPES, bucket_counts=((1, 1, 1), (1, 1, 1))))
    seen = Counter[Shape]()
    model.network.register_forward_pre_hook(lambda _, given: seen.update([tuple(given[0].shape[2:])] * len(given[0])))
    recipe = Recipe(AugmentSection.model_validate({"seed": 0, "transforms": []}))
    materials = Materials(images, images, recipe, Path(), lambda *_: Sheet(Path(), images.pixels))
    loss, _ = held_out_loss(model, base_section(batch_size=2), materials)
    assert seen == Counter(map(tuple, images.shapes.tolist())) and len(seen) > 1
    assert loss > 0 and held_out_loss(model, base_section(batch_size=2), materials)[0] == loss
    assert sorted(np.concatenate(list(images.runs(2))).tolist()) == list(range(len(images)))


def test_a_square_is_answered_as_ever_and_other_shapes_by_their_places() -> None:
    about = card(image_size=16)
    model = stirred(build(about))
    wide = noise_for(0, range(2), (12, 20))
    told = Condition(torch.zeros(2, dtype=torch.long), torch.zeros(2, 0))
    answer = model(wide, torch.ones(2), told)
    assert answer.shape == wide.shape and answer.isfinite().all()
    turned = model(wide.transpose(2, 3).contiguous(), torch.ones(2), told)
    assert not torch.allclose(turned, answer.transpose(2, 3))
    with pytest.raises(
        ValueError, match=r"network\.patch \(4\) does not divide a side of an image in curate\.aspect_buckets \(18\)"
    ):
        build(card(image_size=16, buckets=((16, 16), (12, 18)), bucket_counts=((1, 1), (1, 1))))
    assert canvas_of(((16, 16), (12, 20))) == 20


def test_a_folder_has_images_of_their_own_shapes(tmp_path: Path) -> None:
    about = card(image_size=16, buckets=SHAPES, bucket_counts=((4, 3, 3), (0, 0, 5)))
    torch.manual_seed(0)
    (tmp_path / "model").mkdir()
    save_model(tmp_path / "model", stirred(build(about)).state_dict(), about)
    source = source_of(tmp_path / "model")

    def sizes(folder: Path) -> list[tuple[int, int]]:
        found = []
        for file in sorted(folder.glob("seed*.png")):
            with Image.open(file) as image:
                found.append(image.size)
        return found

    every = Wish(12, 3, None, None, about.drawing)
    finished(generate_folder(source, every, tmp_path / "all", 5))
    wanted = [shape_at(about, 3, index, label_at(about, 3, index)) for index in range(12)]
    assert sizes(tmp_path / "all") == [(width, height) for height, width in wanted] and len(set(wanted)) > 1
    whole = [file.read_bytes() for file in sorted((tmp_path / "all").glob("seed*.png"))]
    finished(generate_folder(source, every, tmp_path / "one_by_one", 1))
    assert [file.read_bytes() for file in sorted((tmp_path / "one_by_one").glob("seed*.png"))] == whole

    focused = about.model_copy(update={"label_counts": (10, 0)})  # tuned on dark images: the shapes of light ones are kept
    assert {shape_at(focused, 0, index, 1) for index in range(20)} == {SHAPES[2]}
    assert {shape_at(focused, 0, index, -1) for index in range(60)} == set(SHAPES)
    assert Counter(shape_at(focused, 0, index, -1) for index in range(60))[SHAPES[2]] < 25
    light = Wish(6, 3, "light", None, about.drawing)
    finished(generate_folder(source, light, tmp_path / "light", 5))
    assert set(sizes(tmp_path / "light")) == {SHAPES[2][::-1]}  # the only shape that light images had
    chosen = Wish(3, 3, None, None, about.drawing, shape=(12, 20))
    finished(generate_folder(source, chosen, tmp_path / "wide", 5))
    assert set(sizes(tmp_path / "wide")) == {(20, 12)}
    with pytest.raises(GeneratingError, match="shape was null, now"):
        finished(generate_folder(source, chosen, tmp_path / "all", 5))
    with pytest.raises(GeneratingError, match="draws no images of 8 x 8 pixels; it draws: 16 x 16, 20 x 12, 12 x 20"):
        finished(generate_folder(source, Wish(1, 3, None, None, about.drawing, shape=(8, 8)), tmp_path / "no", 5))
