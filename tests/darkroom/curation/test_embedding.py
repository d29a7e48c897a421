"""Outliers and images of the same content: against a search of all with all, and in whole runs with the real network."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.curation.embedding import Described, EmbeddingSettings, described, outlier_scores, same_content
from darkroom.curation.what_if import what_if
from darkroom.events import Progressed, followed
from darkroom.images import Rows
from tests.darkroom.curation.conftest import Run
from tests.darkroom.curation.made_pictures import encoded, photograph, picture
from tests.darkroom.curation.test_curate import manifest

SMALL = EmbeddingSettings(side=32)


def of(features: np.ndarray) -> Described:
    return Described(features.astype(np.float16), np.arange(len(features)))


def cosines(features: np.ndarray) -> np.ndarray:
    apart = features - features.mean(0)
    apart /= np.linalg.norm(apart, axis=1, keepdims=True)
    return apart @ apart.T


def test_pairs_of_the_same_content_are_those_that_a_comparison_of_all_with_all_finds() -> None:
    chance = np.random.default_rng(0)
    features = chance.normal(1, 1, (600, 1280))
    features[300:400] = features[:100] + chance.normal(0, 0.3, (100, 1280))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    every = cosines(features)
    wanted = {(i, j) for i, j in np.argwhere(np.triu(every > 0.9, 1)).tolist()}
    found = same_content(of(features), 0.9)
    assert len(wanted) == 100
    assert {(i, j) for i, j, _ in found} <= wanted and len(found) >= 98
    assert all(abs(cosine - every[i, j]) < 2e-3 for i, j, cosine in found)


def test_an_outlier_is_far_from_its_ten_nearest() -> None:
    chance = np.random.default_rng(0)
    features = chance.normal(0, 1, (5, 1280))[chance.integers(0, 5, 200)] + chance.normal(0, 0.5, (200, 1280))
    features[7] = chance.normal(0, 1, 1280)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    every = cosines(features)
    np.fill_diagonal(every, -1)
    scores = outlier_scores(of(features), [f"{number:064x}" for number in range(200)])
    np.testing.assert_allclose(scores, 1 - np.sort(every, axis=1)[:, -10:].mean(1), atol=2e-3)
    assert int(np.argmax(scores)) == 7 and sorted(scores)[-2] < 0.5 < scores[7]
    assert outlier_scores(of(features[:1]), ["0" * 64]) == [0.0]


def squares(count: int) -> tuple[Rows, list[str]]:
    pixels = np.stack([np.asarray(picture(seed, 32)) for seed in range(count)])
    rows = Rows([pixels], np.zeros(count, np.int32), np.arange(count), 32)
    return rows, [f"{number:064x}" for number in range(count)]


def test_only_what_is_new_is_described_and_what_a_killed_run_left_is_cut_off(tmp_path: Path) -> None:
    pixels, digests = squares(6)

    def seen(count: int) -> tuple[np.ndarray, int]:
        steps = described(digests[:count], pixels.only(np.arange(count)), SMALL, tmp_path)
        new = 0
        try:
            while True:
                event = next(steps)
                new = event.total if isinstance(event, Progressed) else new
        except StopIteration as end:
            return end.value[np.arange(count)], new

    first, new = seen(4)
    assert new == 4
    again, new = seen(4)
    assert new == 0 and (again == first).all()
    records = next(tmp_path.rglob("records"))
    with records.open("ab") as file:
        file.write(b"half a record")
    more, new = seen(6)
    assert new == 2 and (more[:4] == first).all()
    assert np.linalg.norm(more, axis=1) == pytest.approx(1, abs=1e-3)
    fresh = followed(described(digests, pixels, SMALL, tmp_path / "elsewhere"))
    np.testing.assert_allclose(fresh[np.arange(6)], more, atol=2e-3)


def test_a_run_rejects_outliers_and_answers_what_if_from_their_scores(images: Path, run: Run, tmp_path: Path) -> None:
    for file in images.rglob("*.png"):
        file.unlink()
    for number in range(40):
        (images / f"blocks-{number:02d}.png").write_bytes(encoded(picture(number)))
    (images / "odd.jpg").write_bytes(encoded(photograph(3).resize((96, 96)), "JPEG"))
    run(images, filters=[{"kind": "contrast", "least": 1.0}, {"kind": "outlier", "most": "2%"}])
    rows = manifest(tmp_path / "out")
    scores = {path: row["score_outlier"] for path, row in rows.items()}
    assert max(scores, key=lambda path: scores[path]) == "odd.jpg"
    assert [path for path, row in rows.items() if row["reason"] == "outlier"] == ["odd.jpg"]
    assert rows["odd.jpg"]["detail"].endswith("(`most: 2%` of all images)")
    assert "odd.jpg" in what_if(tmp_path / "out", {"outlier": 2.0}).coming
    second = sorted(scores.values())[-2]
    run(images, "other", filters=[{"kind": "contrast", "least": 1.0}, {"kind": "outlier", "most": second - 1e-6}])
    assert manifest(tmp_path / "other")["odd.jpg"]["detail"].startswith("unlike all others")
    assert len(what_if(tmp_path / "out", {"outlier": second - 1e-6}).leaving) == 1


def test_a_run_rejects_images_of_the_same_content_and_their_copies_name_the_one_that_stays(
    images: Path, run: Run, tmp_path: Path
) -> None:
    better = photograph(1, 200, 200)
    worse = better.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((90, 90))  # no near-duplicate: mirrored is off
    (images / "better.png").write_bytes(encoded(better))
    (images / "worse.png").write_bytes(encoded(worse))
    (images / "worse-again.png").write_bytes(encoded(worse, compress_level=0))
    plain = {"hash_distance": 10, "least_correlation": 0.85, "mirrored": False}
    run(images, filters=[], duplicates={**plain, "same_content": None})
    assert manifest(tmp_path / "out")["worse.png"]["kept"] or manifest(tmp_path / "out")["worse-again.png"]["kept"]
    run(images, "other", filters=[], duplicates={**plain, "same_content": 0.8})
    rows = manifest(tmp_path / "other")
    assert {rows[name]["duplicate_of"] for name in ("worse.png", "worse-again.png")} == {"better.png"}
    assert sorted(rows[name]["reason"] for name in ("worse.png", "worse-again.png")) == ["same_content", "same_pixels"]
    assert sum(row["reason"] == "same_content" for row in rows.values()) == 1
