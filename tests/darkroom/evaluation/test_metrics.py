"""Metrics against brute force, SciPy, known answers, and their own promise (unbiased, ordered, sound intervals)."""

from typing import get_args

import numpy as np
import pytest
from pydantic import TypeAdapter
from scipy import linalg, stats
from scipy.spatial.distance import cdist

from darkroom import kernels
from darkroom.evaluation import frechet, neighbourhoods
from darkroom.evaluation.figures import Estimate, Figure, jackknife, wilson
from darkroom.evaluation.metrics import (
    Cmmd,
    Coverage,
    Density,
    FrechetDistance,
    FrechetInfinite,
    KernelDistance,
    Metric,
    Precision,
    Recall,
    Vendi,
)
from darkroom.evaluation.neighbourhoods import Described, TwoSets, radii

DISTANCE = KernelDistance(kind="kernel_distance")
MEMBERS = get_args(get_args(Metric)[0])
ALL = [TypeAdapter(Metric).validate_python({"kind": member.model_fields["kind"].annotation.__args__[0]}
                                           | ({"k": 5} if "k" in member.model_fields else {})) for member in MEMBERS]  # fmt: skip


def unit(seed: int, n: int, shift: float = 0.0, wide: float = 1.0) -> Described:
    """Normal points in 8 dimensions, moved along the first, scaled to length 1. [n, 8]"""
    points = np.random.default_rng(seed).normal(0, wide, (n, 8))
    points[:, 0] += shift
    described: Described = (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32)
    return described


def test_kernel_distance_is_the_double_loop() -> None:
    real, made = unit(0, 13).astype(float), unit(1, 9, 0.7).astype(float)

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((np.dot(x, y) + 1) ** 3)

    total = 0.0
    for rows in (real, made):
        pairs = [kernel(x, y) for i, x in enumerate(rows) for j, y in enumerate(rows) if i != j]
        total += sum(pairs) / (len(rows) * (len(rows) - 1))
    total -= 2 * sum(kernel(x, y) for x in real for y in made) / (len(real) * len(made))
    assert DISTANCE.score(unit(0, 13), unit(1, 9, 0.7)) == pytest.approx(1000 * total, rel=1e-9)


def test_kernel_distance_has_the_known_value_for_two_points() -> None:
    """x is one of two opposite unit vectors, y always the first: k = 8 or 0, so 4 + 8 - 2 * 4 = 4 (times 1000)."""
    chance, made = np.random.default_rng(3), np.tile([1.0, 0.0], (20, 1)).astype(np.float32)
    values = []
    for _ in range(400):
        real = np.where(chance.random((20, 1)) < 0.5, 1, -1) * np.array([[1.0, 0.0]])
        values.append(DISTANCE.score(real.astype(np.float32), made))
    assert abs(np.mean(values) - 4000) < 4 * np.std(values) / 400**0.5


def test_kernel_distance_is_unbiased_for_equal_distributions() -> None:
    values = np.array([DISTANCE.score(unit(seed, 20), unit(10_000 + seed, 20)) for seed in range(400)])
    standard_error = values.std(ddof=1) / 20
    assert abs(values.mean()) < 4 * standard_error
    with_itself = 2 * (8000 - 1000) / 20  # what the diagonals would add: the bias that must not be there
    assert with_itself > 20 * standard_error


def test_bootstrap_does_not_compare_an_image_with_itself() -> None:
    """Resampled figures centre on the figure itself; counting a drawn-twice image against itself would move them."""
    real, made, rounds = unit(0, 30), unit(1, 30, 0.8), 4000
    chance = np.random.default_rng(2)
    weights = [chance.multinomial(30, np.full(30, 1 / 30), rounds).astype(float) for _ in range(2)]
    values = kernels.resampled(kernels.cubic, real, made, *weights)
    assert abs(values.mean() - DISTANCE.score(real, made)) < 0.1 * values.std()


def test_kernel_distance_interval_holds_the_truth_as_often_as_it_says() -> None:
    truth = np.mean([DISTANCE.score(unit(seed, 1500), unit(seed + 50, 1500, 1.5)) for seed in range(8)])
    within = 0
    for seed in range(200):
        real, made = unit(seed + 100, 150), unit(seed + 1000, 150, 1.5)
        _, low, high = DISTANCE.estimate(TwoSets(real, made), 200, np.random.default_rng(seed))
        within += bool(low <= truth <= high)
    assert 0.9 <= within / 200 <= 0.99


def test_kernel_distance_interval_is_careful_near_zero() -> None:
    """There it holds 0 at least as often as it says; an interval that is too narrow would invent differences."""
    within = 0
    for seed in range(100):
        sets = TwoSets(unit(seed, 40), unit(seed + 500, 40))
        _, low, high = DISTANCE.estimate(sets, 100, np.random.default_rng(seed))
        within += low <= 0 <= high
    assert within >= 95


@pytest.mark.parametrize("shift", [0.0, 0.6, 3.0])
def test_neighbourhood_metrics_are_their_definitions(shift: float) -> None:
    real, made, k = unit(0, 40), unit(1, 40, shift), 3
    of_real = np.sort(cdist(real, real), axis=1)[:, k]  # the first of each row is the image itself
    of_made = np.sort(cdist(made, made), axis=1)[:, k]
    apart = cdist(real, made)
    within = [[apart[i, j] <= of_real[i] for j in range(40)] for i in range(40)]
    expected = {
        "precision": np.mean([any(within[i][j] for i in range(40)) for j in range(40)]),
        "recall": np.mean([any(apart[i, j] <= of_made[j] for j in range(40)) for i in range(40)]),
        "density": sum(sum(row) for row in within) / (k * 40),
        "coverage": np.mean([any(row) for row in within]),
    }
    for metric in (Precision(kind="precision", k=k), Recall(kind="recall", k=k), Density(kind="density", k=k),
                   Coverage(kind="coverage", k=k)):  # fmt: skip
        assert metric.score(real, made) == pytest.approx(expected[metric.kind]), metric.kind


def test_precision_and_recall_see_different_faults() -> None:
    """A narrow model is precise and misses much; a wide one the other way round (Kynkaanniemi et al. 2019)."""
    chance = np.random.default_rng(0)
    real, narrow, wide = (chance.normal(0, s, (300, 2)).astype(np.float32) for s in (1.0, 0.15, 6.0))
    precision, recall = Precision(kind="precision", k=5), Recall(kind="recall", k=5)
    assert precision.score(real, narrow) > 0.95 > 0.5 > recall.score(real, narrow)
    assert recall.score(real, wide) > 0.8 > 0.5 > precision.score(real, wide)


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.kind)
def test_every_metric_prefers_the_same_distribution_and_repeats_itself(metric: Metric) -> None:
    real, same, other = unit(0, 80), unit(1, 80), unit(2, 80, 3.0, 0.5)
    good, bad = metric.score(real, same), metric.score(real, other)
    assert (good < bad) == (metric.better == "lower")
    first, again = (metric.estimate(TwoSets(real, other), 200, np.random.default_rng(4)) for _ in range(2))
    assert first == again
    assert first.value == pytest.approx(bad)
    assert first.low <= bad <= first.high
    assert metric.meaning and metric.short and metric.beyond


def test_intervals_shrink_with_the_root_of_n() -> None:
    widths = []
    for n in (50, 800):
        _, low, high = Density(kind="density", k=5).estimate(TwoSets(unit(0, n), unit(1, n)), 400, np.random.default_rng(0))
        widths.append(high - low)
    assert 2.5 < widths[0] / widths[1] < 6.5  # the root of 16 is 4


@pytest.mark.parametrize(("count", "n"), [(0, 7), (3, 7), (7, 7), (1, 200), (150, 150)])
def test_wilson_is_that_of_scipy(count: int, n: int) -> None:
    expected = stats.binomtest(count, n).proportion_ci(method="wilson")
    assert wilson(count, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_wilson_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no images"):
        wilson(0, 0)


def test_difference_is_that_of_newcombe() -> None:
    """56 of 70 against 48 of 80: 0.0524 to 0.3339 (Newcombe 1998, Statistics in Medicine 17:873, method 10)."""
    figure = Figure(70, 80, Estimate(56 / 70, *wilson(56, 70)), Estimate(48 / 80, *wilson(48, 80)), "higher", "")
    assert figure.difference == pytest.approx((0.0524, 0.3339), abs=5e-5)


@pytest.mark.parametrize(
    ("made", "better", "reading"),
    [(9.0, "lower", "worse"), (5.5, "lower", "level"), (1.0, "lower", "beyond"),
     (1.0, "higher", "worse"), (9.0, "higher", "beyond")],
)  # fmt: skip
def test_reading(made: float, better: str, reading: str) -> None:
    figure = Figure(10, 10, Estimate(made, made - 1, made + 1), Estimate(5.0, 4.0, 6.0), better, "")  # type: ignore[arg-type]
    assert figure.reading == reading


def test_too_few_images_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 5 images"):
        radii(unit(0, 5), 5)
    with pytest.raises(ValueError, match="at least 2"):
        DISTANCE.score(unit(0, 1), unit(1, 9))


def normal(seed: int, n: int, mean: np.ndarray, covariance: np.ndarray) -> Described:
    drawn: Described = np.random.default_rng(seed).multivariate_normal(mean, covariance, n).astype(np.float32)
    return drawn


@pytest.mark.parametrize("n", [60, 8])  # more images than dimensions, and fewer: the covariance is then singular
def test_frechet_distance_is_that_of_scipy(n: int) -> None:
    real, made = unit(0, n, wide=2.0) * 3, unit(1, n, 0.8)
    first, second = np.cov(real.astype(float), rowvar=False), np.cov(made.astype(float), rowvar=False)
    root = linalg.sqrtm(first @ second + 1e-15 * np.eye(8)).real
    apart = real.astype(float).mean(0) - made.astype(float).mean(0)
    expected = apart @ apart + np.trace(first + second - 2 * root)
    assert FrechetDistance(kind="frechet_distance").score(real, made) == pytest.approx(expected, abs=2e-6)


def test_frechet_distance_of_moved_and_widened_normals() -> None:
    """|m|^2 + sum of (s1 - s2)^2 for covariances along the axes; images far from 0 lose no digits."""
    one, two = np.array([1.0, 2.0, 0.5]), np.array([2.0, 2.0, 1.5])
    real = normal(0, 40_000, np.full(3, 500.0), np.diag(one**2))
    made = normal(1, 40_000, np.array([500.0, 503.0, 500.0]), np.diag(two**2))
    assert FrechetDistance(kind="frechet_distance").score(real, made) == pytest.approx(9 + 1 + 1, rel=0.02)


def test_frechet_distance_of_a_constant_set_is_its_distance_and_the_other_ones_spread() -> None:
    real, made = unit(0, 50), np.tile(unit(1, 1), (50, 1))
    expected = ((real.mean(0) - made[0]) ** 2).sum() + np.trace(np.cov(real.astype(float), rowvar=False))
    assert FrechetDistance(kind="frechet_distance").score(real, made) == pytest.approx(expected, rel=1e-5)


def test_infinitely_many_images_have_no_bias_and_its_interval_holds_the_truth() -> None:
    """Equal distributions: the distance at n is all bias, its extrapolation is near 0 (Chong & Forsyth 2020)."""
    at_n, infinite, within = [], [], 0
    for seed in range(20):
        real, made = (normal(seed + part, 400, np.zeros(12), np.eye(12)) for part in (0, 1000))
        at_n.append(FrechetDistance(kind="frechet_distance").score(real, made))
        found = FrechetInfinite(kind="frechet_infinite").estimate(TwoSets(real, made), 0, np.random.default_rng(0))
        infinite.append(found.value)
        within += found.low <= 0 <= found.high
    assert abs(np.mean(infinite)) < 0.15 * np.mean(at_n)
    assert within >= 16


def test_frechet_interval_has_the_width_of_the_spread_over_fresh_images() -> None:
    found = []
    for seed in range(30):
        real, made = normal(seed, 500, np.zeros(4), np.eye(4)), normal(seed + 99, 500, np.ones(4), np.eye(4))
        found.append(FrechetDistance(kind="frechet_distance").estimate(TwoSets(real, made), 0, np.random.default_rng(0)))
    half = np.mean([it.high - it.value for it in found])
    spread = np.std([it.value for it in found]) * 2.26
    assert 0.7 < half / spread < 1.4


def test_moments_add_up() -> None:
    rows, centre = unit(0, 37), np.zeros(8)
    whole = frechet.moments(rows, centre)
    parts = [frechet.moments(part, centre) for part in np.array_split(rows, 5)]
    np.testing.assert_allclose(sum(parts[1:], parts[0]).covariance, np.cov(rows.astype(float), rowvar=False), atol=1e-12)
    np.testing.assert_allclose((whole - parts[0]).mean, np.concatenate([rows[8:]]).astype(float).mean(0), atol=1e-12)


def test_cmmd_is_the_paper_s_without_the_likeness_to_oneself() -> None:
    """The paper's figure counts the n pairs of an image with itself; taking them out by hand gives ours."""
    real, made, n = unit(0, 12).astype(float), unit(1, 12, 0.7).astype(float), 12

    def mean(x: np.ndarray, y: np.ndarray) -> float:
        return float(np.exp(-cdist(x, y, "sqeuclidean") / (2 * 10**2)).mean())

    papers = 1000 * (mean(real, real) + mean(made, made) - 2 * mean(real, made))
    itself = sum((1 - mean(rows, rows)) / (n - 1) for rows in (real, made))
    assert Cmmd(kind="cmmd").score(unit(0, 12), unit(1, 12, 0.7)) == pytest.approx(papers - 1000 * itself, rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "expected"), [(np.eye(5), 5), (np.tile([[1.0, 0.0]], (6, 1)), 1), (np.repeat(np.eye(3), 4, 0), 3)]
)
def test_vendi_counts_wholly_different_images(rows: np.ndarray, expected: int) -> None:
    """The paper's own cases: all alike is 1, all orthogonal is n, three groups are 3."""
    assert Vendi(kind="vendi").score(rows, rows.astype(np.float32)) == pytest.approx(expected)


def test_vendi_is_the_entropy_of_the_kernel_s_eigenvalues() -> None:
    made = unit(3, 30)  # more images than dimensions: the smaller matrix has the same eigenvalues
    eigenvalues = np.linalg.eigvalsh(made.astype(float) @ made.T / 30)
    assert Vendi(kind="vendi").score(made, made) == pytest.approx(
        np.exp(stats.entropy(eigenvalues[eigenvalues > 1e-9])), rel=1e-5
    )


@pytest.mark.parametrize("metric", ALL, ids=lambda metric: metric.kind)
def test_blocks_change_nothing(metric: Metric, monkeypatch: pytest.MonkeyPatch) -> None:
    real, made = unit(0, 50), unit(1, 40, 0.5)
    whole = metric.estimate(TwoSets(real, made), 100, np.random.default_rng(0))
    for room in (neighbourhoods, kernels):
        monkeypatch.setattr(room, "BLOCK", 7)
    assert metric.estimate(TwoSets(real, made), 100, np.random.default_rng(0)) == pytest.approx(whole, rel=1e-9)


def test_the_interval_of_a_mean_left_out_by_tenths_is_student_s() -> None:
    """Each group one number: the jackknife of their mean is the textbook's t interval."""
    values = np.random.default_rng(0).normal(3, 2, 10)
    found = jackknife(values.mean(), 10, lambda group: np.delete(values, group).mean())
    low, high = stats.t.interval(0.95, 9, values.mean(), stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-4)
