"""Hashes against ImageHash, the join against brute force, and what is and is not a duplicate."""

from dataclasses import replace
from io import BytesIO

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw

from darkroom.curation.duplicates import (
    DuplicateSettings,
    Fingerprint,
    difference_hash,
    find_duplicates,
    pairs_within,
    perceptual_hash,
    small_picture,
    worst_patch_correlations,
)
from tests.darkroom.curation.made_pictures import encoded, picture

SETTINGS = DuplicateSettings(hash_distance=8, least_correlation=0.9)


def photograph(seed: int, width: int = 200, height: int = 160) -> Image.Image:
    """Smooth noise: all hash bits matter."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 15, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def print_of(path: str, image: Image.Image, **changes: object) -> Fingerprint:
    one = Fingerprint(
        path=path,
        file_digest=path,
        pixel_digest=str(hash(image.tobytes())),
        perceptual_hash=perceptual_hash(image),
        difference_hash=difference_hash(image),
        small=small_picture(image),
        resolution=image.width * image.height,
        sharpness=100.0,
        bytes=1000,
    )
    return replace(one, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(20))
def test_hashes_are_bit_for_bit_those_of_imagehash(seed: int) -> None:
    image = photograph(seed, 90 + 17 * seed, 300 - 11 * seed)
    assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(image))
    assert f"{difference_hash(image):016x}" == str(imagehash.dhash(image))


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_the_join_finds_exactly_the_pairs_within_the_distance(block: int) -> None:
    random = np.random.default_rng(block)
    hashes = random.integers(0, 2**63, 150).astype(np.uint64)
    hashes[100:] = hashes[:50] ^ (np.uint64(1) << random.integers(0, 63, 50).astype(np.uint64))
    expected = [[i, j] for i in range(150) for j in range(i + 1, 150) if (int(hashes[i]) ^ int(hashes[j])).bit_count() <= 9]
    assert pairs_within(hashes, 9, block).tolist() == expected
    assert len(expected) >= 50


@pytest.mark.parametrize("distance", [0, 8])
def test_the_join_of_nothing_is_nothing(distance: int) -> None:
    assert pairs_within(np.empty(0, np.uint64), distance).shape == (0, 2)
    assert find_duplicates([], SETTINGS) == []


def copies_of(image: Image.Image) -> dict[str, Image.Image]:
    half = image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS)
    return {
        "jpeg": Image.open(BytesIO(encoded(image, "JPEG", quality=60))).convert("RGB"),
        "webp": Image.open(BytesIO(encoded(image, "WEBP", quality=60))).convert("RGB"),
        "smaller": half,
        "larger": image.resize((300, 240), Image.Resampling.BICUBIC),
        "smaller jpeg": Image.open(BytesIO(encoded(half, "JPEG", quality=75))).convert("RGB"),
        "darker": Image.fromarray((np.asarray(image) * 0.9).astype(np.uint8)),
    }


def test_copies_agree_and_other_pictures_do_not() -> None:
    for seed in range(5):
        image = photograph(seed)
        others = [*copies_of(image).values(), photograph(seed + 100), image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]
        small = np.stack([small_picture(one) for one in [image, *others]])
        scores = worst_patch_correlations(small, np.array([[0, row] for row in range(1, len(small))]))
        assert (scores[:-2] >= 0.9).all(), dict(zip(copies_of(image), scores, strict=False))
        assert (scores[-2:] < 0.5).all()


def test_one_small_changed_feature_is_no_duplicate_though_the_hashes_agree() -> None:
    face, winking = picture(3, 128), picture(3, 128)
    ImageDraw.Draw(face).ellipse((60, 60, 70, 70), fill=(0, 0, 0))
    ImageDraw.Draw(winking).line((60, 65, 70, 65), fill=(0, 0, 0), width=2)
    assert (perceptual_hash(face) ^ perceptual_hash(winking)).bit_count() <= SETTINGS.hash_distance
    assert find_duplicates([print_of("a", face), print_of("b", winking)], SETTINGS) == []


def test_the_best_stays_by_resolution_then_sharpness_then_bytes_then_path() -> None:
    image = picture(1, 128)
    half = image.resize((64, 64), Image.Resampling.LANCZOS)
    assert [one.of for one in find_duplicates([print_of("a", half), print_of("b", image)], SETTINGS)] == ["b"]
    blurred = print_of("a", image, sharpness=20.0)
    for better in (
        print_of("b", image),
        print_of("b", image, sharpness=20.0, bytes=2000),
    ):
        (found,) = find_duplicates([blurred, better], SETTINGS)
        assert (found.path, found.of, found.reason) == ("a", "b", "same_pixels")
    (found,) = find_duplicates([print_of("b", image), print_of("a", image)], SETTINGS)
    assert (found.path, found.of) == ("b", "a")


def test_equal_files_equal_pixels_and_near_duplicates_are_told_apart() -> None:
    image = picture(2, 128)
    one = print_of("a", image, bytes=5000)
    found = find_duplicates(
        [one, replace(one, path="b"), print_of("c", image), print_of("d", copies_of(image)["jpeg"])], SETTINGS
    )
    assert [(item.path, item.of, item.reason) for item in found] == [
        ("b", "a", "exact_copy"),
        ("c", "a", "same_pixels"),
        ("d", "a", "near_duplicate"),
    ]


def test_there_are_no_chains() -> None:
    """a ~ b and b ~ c but not a ~ c: c is not rejected for b, which does not stay itself."""
    base = np.asarray(photograph(4, 128, 128)).astype(float)
    steps = [Image.fromarray(base.astype(np.uint8))]
    steps += [Image.blend(steps[0], photograph(5, 128, 128), share) for share in (0.07, 0.14)]
    prints = [print_of(name, image, bytes=size) for name, image, size in zip("abc", steps, (3000, 2000, 1000), strict=True)]
    small = np.stack([one.small for one in prints])
    ab, bc, ac = worst_patch_correlations(small, np.array([[0, 1], [1, 2], [0, 2]]))
    least = (min(ab, bc) + ac) / 2
    assert ac < least < min(ab, bc)
    settings = DuplicateSettings(hash_distance=24, least_correlation=float(least))
    assert [(one.path, one.of) for one in find_duplicates(prints, settings)] == [("b", "a")]


def test_a_copy_of_a_rejected_image_names_the_one_that_stays() -> None:
    image = picture(6, 128)
    half = print_of("b", image.resize((64, 64), Image.Resampling.LANCZOS))
    found = find_duplicates([print_of("a", image), half, replace(half, path="c")], SETTINGS)
    assert [(one.path, one.of) for one in found] == [("b", "a"), ("c", "a")]
