"""What evaluation costs: describing beside the network alone, Frechet distance beside SciPy's square root, nearest neighbours.

In a workspace with a trained model also a default evaluation, beside what it said it would take.
"""

import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from pydantic import TypeAdapter
from scipy import linalg

from benchmarks.turns import SETTINGS, in_turns, seconds
from darkroom.evaluation import frechet
from darkroom.evaluation.evaluate import EvaluateSection, evaluate
from darkroom.evaluation.examining import Making
from darkroom.evaluation.metrics import KernelDistance
from darkroom.evaluation.nearest import nearest_training
from darkroom.evaluation.neighbourhoods import TwoSets, neighbourhoods
from darkroom.events import Event, Noted
from darkroom.features import pretrained
from darkroom.features.features import EfficientNetLite0, raw
from darkroom.images import Pixels
from darkroom.stage import sentence

MODEL, DATA = Path("models/base"), Path("data/curated")


def run() -> None:
    """Print every figure of this room."""
    describing()
    distances()
    sets()
    neighbours()
    if MODEL.is_dir():
        whole()
    else:
        print(f"whole evaluation: no {MODEL} here; `darkroom run` makes one")


def describing() -> None:
    """Images a second, decoded pixels to features, against the network's own forward pass on tensors that are ready."""
    features, batch = EfficientNetLite0(kind="efficientnet_lite0", side=64), 50
    network = features.opened()
    pixels = np.random.default_rng(0).integers(0, 256, (4 * batch, 32, 32, 3), dtype=np.uint8)
    bare, ready = pretrained.lite0(), torch.rand(batch, 3, 64, 64) * 2 - 1

    @torch.inference_mode()
    def alone() -> None:
        for _ in range(4):
            bare.extract_features(ready).mean((2, 3))

    ours, other = in_turns(lambda: raw(network, pixels, batch), alone)
    print(f"describing: {len(pixels) / ours:.0f} images/s, {other / ours:.2f} of the network's own rate (n = 200, 32 to 64 px)")


def distances() -> None:
    """Frechet distance of 2,048 numbers from 5,000 images each, against the matrix square root of the same covariances."""
    chance = np.random.default_rng(0)
    mixing = chance.normal(size=(2048, 2048)) / 45
    real, made = ((chance.normal(size=(5000, 2048)) @ mixing).astype(np.float32) for _ in range(2))
    started = time.perf_counter()
    (first,), (second,) = frechet.in_groups(real, made, 1)
    value = frechet.distance(first, second)
    ours = time.perf_counter() - started
    roots = []
    other = seconds(lambda: roots.append(linalg.sqrtm(first.covariance @ second.covariance)))
    apart = first.mean - second.mean
    expected = apart @ apart + np.trace(first.covariance + second.covariance) - 2 * np.trace(roots[0]).real
    print(
        f"Frechet distance, 2,048 numbers, n = 5,000: {ours:.1f} s with its moments; the square root alone {other:.1f} s "
        f"(values {value:.6f} and {expected:.6f}; one turn)"
    )


def sets() -> None:
    """Kernel distance with its interval, and neighbourhoods, of 5,000 images each in 1,280 numbers."""
    chance = np.random.default_rng(0)
    real, made = (chance.normal(size=(5000, 1280)).astype(np.float32) / 36 for _ in range(2))
    kernel = seconds(lambda: KernelDistance(kind="kernel_distance").estimate(TwoSets(real, made), 1000, chance))
    near = seconds(lambda: neighbourhoods(real, made, 5))
    print(
        f"n = 5,000, 1,280 numbers: kernel distance with 1,000 resamplings {kernel:.1f} s, neighbourhoods {near:.1f} s (one turn)"
    )


def neighbours() -> None:
    """10,000 images among 100,000 training images of 32 pixels, and the memory that it took; plain noise is the hardest case."""
    for kind, make in (("as smooth as photographs", _octaves), ("plain noise", _noise)):
        training, asked = make(100_000, 0), make(10_000, 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        used = time.process_time()
        took = seconds(lambda asked=asked, training=training: nearest_training(asked, training))
        used = time.process_time() - used
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(
            f"nearest of 100,000 training images for 10,000, {kind}: {took:.0f} s ({used:.0f} s of processors), "
            f"{most / 2**20:.2f} GiB in all, {(most - before) / 2**20:.2f} GiB more than before (one turn)"
        )


def _noise(n: int, seed: int) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)


def _octaves(n: int, seed: int) -> Pixels:
    """Each octave of detail half as strong as the one before, as in photographs. uint8 [n, 32, 32, 3]"""
    chance, whole = np.random.default_rng(seed), np.empty((n, 32, 32, 3), np.uint8)
    for at in range(0, n, 1000):  # in parts: the memory measured shall be the search's
        made = np.zeros((len(whole[at : at + 1000]), 32, 32, 3), np.float32)
        for side in (2, 4, 8, 16, 32):
            coarse = chance.normal(size=(len(made), side, side, 3)).astype(np.float32)
            made += coarse.repeat(32 // side, 1).repeat(32 // side, 2) * (120 / side)
        whole[at : at + 1000] = (made + 128).clip(0, 255)
    return whole


def whole() -> None:
    """A default evaluation of the models in this workspace; its last line compares what it took with what it said."""
    section = TypeAdapter(EvaluateSection).validate_python(SETTINGS["evaluate"])
    with tempfile.TemporaryDirectory() as scratch:
        models = {"base": MODEL, "tuned": MODEL.with_name("tuned")}
        making = Making(Path("data/augmented"), SETTINGS, {"base": "train_base", "tuned": "finetune"})

        def evaluated() -> Iterator[Event]:
            return evaluate(section, DATA, models, Path(scratch) / "out", keep=Path(scratch) / "kept", making=making)

        used = time.process_time()
        for event in evaluated():
            if isinstance(event, Noted):
                print(f"whole evaluation: {sentence(event)}")
        print(f"whole evaluation: {time.process_time() - used:.0f} s of processors")
        again = seconds(lambda: list(evaluated()))
        print(f"whole evaluation, again with everything kept: {again:.0f} s")
