"""Hashes against ImageHash, and what is and is not a duplicate."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import imagehash
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance

from darkroom.curation.duplicates import find_duplicates
from darkroom.curation.fingerprints import (
    CROPS,
    MIRRORED,
    Fingerprint,
    Kind,
    fingerprint,
    hashes,
    kind_of,
    small_picture,
)
from darkroom.curation.likeness import Floats, Pixels, Small, agreements
from darkroom.curation.pairs import Compared, DuplicateSettings, Pair
from tests.darkroom.curation.made_pictures import encoded, picture
from tests.darkroom.curation.made_pictures import photograph as grainy

SETTINGS = DuplicateSettings(hash_distance=10, least_correlation=0.85, mirrored=False, same_content=None)


def photograph(seed: int, width: int = 200, height: int = 160) -> Image.Image:
    """Smooth noise: all hash bits matter."""
    noise = np.random.default_rng(seed).integers(0, 256, (12, 15, 3), np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def print_of(path: str, image: Image.Image, **changes: object) -> Fingerprint:
    one = fingerprint(image, image.width, image.height, bytes(1000), digest=path)
    return replace(one, **{"path": path, "sharpness": 100.0, **changes})  # type: ignore[arg-type]


def of_drawings(first: Pixels, second: Pixels) -> Floats:
    plain = np.zeros(first.shape[:3], np.uint8)
    whole = np.tile(np.array([0, 0, 1, 1], np.float32), (len(first), 1))
    scores, _ = agreements(Small(first, plain), Small(second, plain), whole, np.full(len(first), Kind.DRAWING))
    return scores


@pytest.mark.parametrize("seed", range(20))
def test_hashes_are_those_of_imagehash(seed: int) -> None:
    """But for a bit or two: it rounds the small picture to whole levels, which decides where a wave lies near the median."""
    image = photograph(seed, 90 + 17 * seed, 300 - 11 * seed)
    perceptual, difference = hashes(image)
    assert (int(perceptual[0]) ^ int(str(imagehash.phash(image)), 16)).bit_count() <= 2
    assert (difference ^ int(str(imagehash.dhash(image)), 16)).bit_count() <= 1
    mirrored, _ = hashes(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    assert perceptual[1 + MIRRORED] == mirrored[0]


@pytest.mark.parametrize("view", range(len(CROPS)))
def test_hashes_of_crops_are_those_of_cropped_images(view: int) -> None:
    for seed in range(5):
        image = photograph(seed, 400, 200)
        left, top, width, height = CROPS[view] * np.array([400, 200, 400, 200])
        cropped = image.crop((round(left), round(top), round(left + width), round(top + height)))
        assert (int(hashes(image)[0][1 + view]) ^ int(hashes(cropped)[0][0])).bit_count() <= 2


def test_what_is_the_same_on_both_sides_has_one_hash_in_every_size() -> None:
    """Half of its waves are nothing: no rounding may decide which side of the median they lie on."""
    whole = Image.new("RGB", (256, 256), (255, 255, 255))
    ImageDraw.Draw(whole).ellipse((60, 40, 195, 215), fill=(200, 30, 30), outline=(0, 0, 0), width=9)
    first, *others = (hashes(whole.resize((side, side), Image.Resampling.LANCZOS))[0] for side in (256, 128, 96, 64))
    assert first[0] == first[1 + MIRRORED]
    for other in others:
        assert (int(first[0]) ^ int(other[0])).bit_count() <= 2


def test_nothing_has_no_duplicates() -> None:
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
        scores = of_drawings(np.repeat(small[:1], len(small) - 1, axis=0), small[1:])
        assert (scores[:-2] >= 0.9).all(), dict(zip(copies_of(image), scores, strict=False))
        assert (scores[-2:] < 0.5).all()


def test_one_small_changed_feature_is_no_duplicate_though_the_hashes_agree() -> None:
    face, winking = picture(3, 128), picture(3, 128)
    ImageDraw.Draw(face).ellipse((60, 60, 70, 70), fill=(0, 0, 0))
    ImageDraw.Draw(winking).line((60, 65, 70, 65), fill=(0, 0, 0), width=2)
    assert int(np.bitwise_count(hashes(face)[0] ^ hashes(winking)[0])[0]) <= SETTINGS.hash_distance
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
    ab, bc, ac = of_drawings(small[[0, 1, 0]], small[[1, 2, 2]])
    least = (min(ab, bc) + ac) / 2
    assert ac < least < min(ab, bc)
    prints = [replace(one, kind=Kind.DRAWING) for one in prints]  # as drawings
    settings = DuplicateSettings(hash_distance=16, least_correlation=float(least), mirrored=False, same_content=None)
    assert [(one.path, one.of) for one in find_duplicates(prints, settings)] == [("b", "a")]


def test_a_copy_of_a_rejected_image_names_the_one_that_stays() -> None:
    image = picture(6, 128)
    half = print_of("b", image.resize((64, 64), Image.Resampling.LANCZOS))
    found = find_duplicates([print_of("a", image), half, replace(half, path="c")], SETTINGS)
    assert [(one.path, one.of) for one in found] == [("b", "a"), ("c", "a")]


def cropped(image: Image.Image) -> Image.Image:
    return image.crop((round(image.width * 0.08), 0, image.width, round(image.height * 0.93)))


def marked(image: Image.Image) -> Image.Image:
    whole = image.copy()
    ImageDraw.Draw(whole).text((8, image.height - 20), "(c) Ada", fill=(255, 255, 255), font_size=14)
    return whole


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "cropped": cropped,
    "marked": marked,
    "gamma": lambda image: image.point([round(255 * (value / 255) ** 1.5) for value in range(256)] * 3),
    "clipped": lambda image: image.point([min(255, round(1.3 * value)) for value in range(256)] * 3),
    "less colour": lambda image: Image.blend(image.convert("L").convert("RGB"), image, 0.6),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_photographs_are_found_and_only_they(change: str) -> None:
    photographs = [grainy(seed, 240, 180) for seed in range(12)]
    prints = [print_of(f"{number:02d}", one, bytes=2000) for number, one in enumerate(photographs)]
    prints += [print_of(f"{number:02d}-copy", CHANGES[change](one)) for number, one in enumerate(photographs)]
    found = find_duplicates(prints, SETTINGS)
    assert all(one.path[:2] == one.of[:2] for one in found)
    assert len(found) >= 10  # of noise, of which each frequency matters, one crop in nine is missed
    if change == "cropped":
        assert all("% of it" in one.detail for one in found)


def test_crops_of_drawings_are_found_by_the_hash_of_what_they_show() -> None:
    drawings = [picture(seed, 160) for seed in range(12)]
    prints = [print_of(f"{number:02d}", one, bytes=2000) for number, one in enumerate(drawings)]
    prints += [print_of(f"{number:02d}-copy", one.crop((0, 0, 144, 144))) for number, one in enumerate(drawings)]
    assert not any(one.kind == Kind.PHOTOGRAPH for one in prints)
    found = find_duplicates(prints, SETTINGS)
    assert all(one.path[:2] == one.of[:2] for one in found)
    assert len(found) >= 10  # whole pictures have near hashes in one pair only


def test_mirrored_copies_are_found_where_asked_for() -> None:
    image = grainy(3)
    prints = [print_of("a", image, bytes=2000), print_of("b", image.transpose(Image.Transpose.FLIP_LEFT_RIGHT))]
    assert find_duplicates(prints, SETTINGS) == []
    (found,) = find_duplicates(prints, SETTINGS.model_copy(update={"mirrored": True}))
    assert (found.path, found.of) == ("b", "a") and found.detail.endswith(", mirrored")


def test_photographs_drawings_and_flat_colours_are_told_apart() -> None:
    assert kind_of(grainy(1)) == Kind.PHOTOGRAPH
    assert kind_of(picture(1)) == kind_of(head()) == Kind.FLAT
    shade = Image.radial_gradient("L").resize((200, 200)).convert("RGB")
    shaded = Image.blend(picture(1, 200), shade, 0.5)
    assert kind_of(shaded) == Kind.DRAWING
    cut_out = Image.new("RGB", (400, 400), (255, 255, 255))
    cut_out.paste(grainy(1), (100, 100))
    assert kind_of(cut_out) == Kind.PHOTOGRAPH
    cut_out.paste(shaded, (100, 100))
    assert kind_of(cut_out) == Kind.DRAWING
    assert kind_of(Image.new("RGB", (9, 9))) == Kind.FLAT


def head(skin: tuple[int, int, int] = (243, 210, 162), hair: tuple[int, int, int] = (90, 60, 40)) -> Image.Image:
    """An icon of flat colours on white, its edges smooth."""
    large = Image.new("RGB", (512, 512), (255, 255, 255))
    draw = ImageDraw.Draw(large)
    draw.ellipse((130, 90, 382, 402), fill=skin, outline=(0, 0, 0), width=14)
    draw.chord((130, 90, 382, 402), 200, 340, fill=hair, outline=(0, 0, 0), width=14)
    for left in (200, 284):
        draw.ellipse((left, 230, left + 28, 258), fill=(0, 0, 0))
    return large.reduce(4)


@pytest.mark.parametrize("skin", [(247, 222, 206), (213, 171, 136)])
def test_an_icon_in_another_colour_is_no_duplicate(skin: tuple[int, int, int]) -> None:
    """The skins of Unicode's emoji (UTR 51): a fitted gamma would make a lighter one of a darker one."""
    grey = (70, 70, 70)
    prints = [print_of("a", head(hair=grey)), print_of("b", head(skin, grey))]
    assert find_duplicates(prints, SETTINGS) == []
    assert len(find_duplicates([replace(one, kind=Kind.DRAWING) for one in prints], SETTINGS)) == 1  # shaded, with one colour
    brown = [print_of("a", head()), print_of("b", head(skin))]
    assert find_duplicates([replace(one, kind=Kind.DRAWING) for one in brown], SETTINGS) == []  # the hair shows that none changed


def test_an_icon_with_one_small_thing_more_is_no_duplicate() -> None:
    toothed = head()
    ImageDraw.Draw(toothed).ellipse((61, 81, 67, 87), fill=(255, 255, 255))
    assert find_duplicates([print_of("a", head()), print_of("b", toothed)], SETTINGS) == []


def test_copies_of_an_icon_are_found_though_its_ground_is_darker_too() -> None:
    icon = head()
    copies = {**copies_of(icon), "darker": ImageEnhance.Brightness(icon).enhance(0.7)}
    prints = [print_of("a", icon, bytes=2000, sharpness=500.0), *(print_of(name, copy) for name, copy in copies.items())]
    assert len(find_duplicates(prints, SETTINGS)) == len(copies)


def test_drawings_of_which_none_come_near_are_scored_too() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    scores = of_drawings(noise[:2], noise[2:])
    assert scores.shape == (2,) and (scores < 0.5).all()


def test_pale_drawings_that_differ_are_told_apart() -> None:
    """Faint rings on white: all that there is to see lies below what noise may do to a picture of full contrast."""
    rings = []
    for inner in (20, 44):
        ring = Image.new("RGB", (128, 128), (255, 255, 255))
        ImageDraw.Draw(ring).ellipse((14, 14, 114, 114), outline=(240, 240, 240), width=50 - inner)
        rings.append(small_picture(ring))
    assert of_drawings(rings[0][None], rings[1][None])[0] < SETTINGS.least_correlation


def test_two_small_things_in_an_empty_sky_are_no_copies_though_most_of_both_is_black() -> None:
    chance, skies = np.random.default_rng(0), []
    for corners in ((55, 46, 73, 82), (46, 55, 82, 73)):
        sky = Image.fromarray(chance.integers(0, 14, (128, 128, 3), np.uint8))
        ImageDraw.Draw(sky).ellipse(corners, fill=(190, 170, 210))
        skies.append(sky)
    one, other = (print_of(name, sky) for name, sky in zip("ab", skies, strict=True))
    assert one.kind == other.kind == Kind.PHOTOGRAPH
    assert find_duplicates([one, replace(other, perceptual_hash=one.perceptual_hash)], SETTINGS) == []
    brighter = print_of("c", ImageEnhance.Brightness(skies[0]).enhance(1.2))
    assert [copy.path for copy in find_duplicates([one, brighter], SETTINGS)] == ["c"]


def test_what_a_person_keeps_stays_and_others_are_compared_with_it() -> None:
    kept, also, copy = (print_of(name, photograph(seed)) for name, seed in (("a", 1), ("b", 2), ("d", 3)))
    pairs = (Pair(kept.pixel_digest, also.pixel_digest, 0.95, ""), Pair(also.pixel_digest, copy.pixel_digest, 0.95, ""))
    digests = np.array(sorted(one.pixel_digest for one in (kept, also, copy)), np.bytes_)
    found = find_duplicates([kept, also, copy], SETTINGS, {"a", "b"}, Compared(digests, pairs))
    assert [(one.path, one.of) for one in found] == [("d", "b")]
    twin = print_of("b", photograph(1))
    assert find_duplicates([kept, twin], SETTINGS, {"a", "b"}) == []
    assert [one.path for one in find_duplicates([kept, twin], SETTINGS, {"b"})] == ["a"]
