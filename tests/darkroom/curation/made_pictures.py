"""Pictures and settings that the tests of this room share."""

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from darkroom.curation.curate import CurateSection


def picture(seed: int, side: int = 80) -> Image.Image:
    """A distinct picture of hard-edged coloured blocks."""
    blocks = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    return Image.fromarray(blocks).resize((side, side), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str = "PNG", **settings: Any) -> bytes:
    content = BytesIO()
    image.save(content, kind, **settings)
    return content.getvalue()


def section_with(**changes: Any) -> CurateSection:
    settings: dict[str, Any] = {
        "source": "images",
        "choices": "choices.yaml",
        "image_size": 32,
        "aspect_buckets": {"most": 1.0, "multiple": 8},
        "background": (255, 255, 255),
        "filters": [
            {"kind": "smallest_side", "least": 16},
            {"kind": "aspect_ratio", "most": 3.0},
            {"kind": "sharpness", "least": 40.0},
            {"kind": "contrast", "least": 6.0},
        ],
        "duplicates": {"hash_distance": 10, "least_correlation": 0.85, "mirrored": False, "same_content": None},
        "embedding": {"side": 64},
        "split": {"validation": 0.15, "test": 0.15},
    }
    return CurateSection.model_validate(settings | changes)


def photograph(seed: int, width: int = 200, height: int = 160) -> Image.Image:
    """Smooth colours and fine grain, as a camera sees them."""
    chance = np.random.default_rng(seed)
    smooth = Image.fromarray(chance.integers(0, 256, (12, 15, 3), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    grain = chance.normal(0, 3, (height, width, 1))
    return Image.fromarray((np.asarray(smooth) + grain).clip(0, 255).astype(np.uint8))
