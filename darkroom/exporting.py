"""Exporting: a model as a folder for others, which draws where Darkroom is not installed.

The loader and the modules it needs are the library's own files, renamed and otherwise as they are: there is no second copy of a
network to keep alike. Which ones follows from their imports.
"""

import ast
import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from darkroom import __version__
from darkroom.events import Event, Noted
from darkroom.generating import ORIGIN, SHEET, Source, Wish, generate_folder
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.pretrained_text import copy_encoder
from darkroom.networks.saved import WEAKER, WEIGHTS, ModelCard, encoder_in, read_card, weaker_digest
from darkroom.refs import digest_of, replaced, write_whole
from darkroom.shapes import in_words

LIBRARY, CARRIED = "darkroom", "darkroom_model"
LOADER, ONNX = "darkroom.loader", "denoiser.onnx"
REQUIREMENTS = ("torch>=2.10,<2.14", "numpy>=2.0", "pillow>=11.3", "pydantic>=2.11", "pyyaml>=6", "safetensors>=0.5")
TEXT = "transformers>=5,<6"
SAMPLES = 16


class ExportError(ValueError):
    """A model that cannot be exported, or not to there. The text says why and what to do."""


@dataclass(frozen=True)
class Known:
    """What is known of a version beyond its folder: scores with what real images reach, identities, licence of its data."""

    scores: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    identities: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""


def export_folder(source: Source, out: Path, known: Known, onnx: bool) -> Generator[Event, None, None]:
    """Write `out` whole: the model, the loader, samples, a page that describes it; `onnx` adds the denoiser in that form.

    An earlier export there is replaced. Raises ExportError where `out` holds anything else, ModelError, OSError.
    """
    if out.exists() and not (out.is_dir() and ((out / ORIGIN).exists() or not any(out.iterdir()))):
        raise ExportError(f"{out} holds something that is not an earlier export; choose another folder")
    if source.folder.resolve() == out.resolve():
        raise ExportError(f"{out} is the model itself; choose another folder")
    card = read_card(source.folder)
    with replaced(out) as fresh:
        for name in ("model.json", WEIGHTS, *([WEAKER] if card.keeps_weaker else [])):
            (fresh / name).write_bytes((source.folder / name).read_bytes())
        encoder = encoder_in(source.folder, card)
        if encoder:
            copy_encoder(encoder, fresh / encoder.name)
        origin = {"model": source.name, "version": source.version, "darkroom": __version__}
        write_whole(fresh / ORIGIN, (json.dumps(origin, indent=1) + "\n").encode())
        _carry(fresh, REQUIREMENTS if encoder is None else (*REQUIREMENTS, TEXT))
        if onnx:
            from darkroom.onnx_form import write_onnx

            write_onnx(fresh, fresh / ONNX)
            yield Noted(f"{ONNX} answers as the model does, on images it had not seen")
        wish = Wish(SAMPLES, 0, None, None, card.drawing)
        yield from generate_folder(source, wish, fresh / "samples", batch=SAMPLES)
        (fresh / "samples" / SHEET).replace(fresh / "samples.png")
        (fresh / "README.md").write_text(_page(source, card, known, fresh, onnx), encoding="utf-8")


def carried_modules() -> list[Path]:
    """The library's files that the loader imports, directly or not, relative to the library; sorted."""
    waiting, found = [LOADER], set[Path]()
    while waiting:
        file = _file_of(waiting.pop())
        if file is None or file in found:
            continue
        found.add(file)
        for node in ast.walk(ast.parse((_top() / file).read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == LIBRARY:
                waiting += [node.module or "", *(f"{node.module}.{one.name}" for one in node.names)]
    packages = {parent / "__init__.py" for file in found for parent in file.parents}
    return sorted(found | packages)


def _file_of(module: str) -> Path | None:
    """The file of a module of the library, relative to it; None for a name that is no module."""
    path = Path(*module.split(".")[1:])
    if (_top() / path).is_dir():
        return path / "__init__.py"
    return path.with_suffix(".py") if path.name and (_top() / path).with_suffix(".py").is_file() else None


def _top() -> Path:
    return Path(__file__).parent


def _carry(out: Path, requirements: Sequence[str]) -> None:
    loader = _file_of(LOADER)
    for file in carried_modules():
        text = re.sub(rf"^(\s*)from {LIBRARY}\b", rf"\1from {CARRIED}", (_top() / file).read_text(encoding="utf-8"), flags=re.M)
        there = out / "draw.py" if file == loader else out / CARRIED / file
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text(text, encoding="utf-8")
    (out / "requirements.txt").write_text("\n".join(requirements) + "\n", encoding="utf-8")


def _page(source: Source, card: ModelCard, known: Known, folder: Path, onnx: bool) -> str:
    """README.md: the model card."""
    labels = ", ".join(f"{name} ({count:,})" for name, count in zip(card.labels, card.label_counts, strict=True) if count)
    facts = {
        "model": f"{source.name} version {source.version}" if source.version else source.name,
        "draws": f"{' or '.join(map(in_words, card.shapes))} pixels; classes and images trained on: {labels}",
        "network": f"{card.network.kind}, {card.preconditioning.kind} preconditioning, {card.images_seen:,} images seen",
        "weights (SHA-256)": digest_of(folder / WEIGHTS),
        "earlier weights (SHA-256)": weaker_digest(folder, card) or "none: it is led away from nothing",
        "data (SHA-256)": card.data_digest or "not known",
        "started from (SHA-256)": card.parent_digest or "nothing: trained from scratch",
        **known.identities,
    }
    return "\n\n".join(
        [
            f"# {facts['model']}",
            f"A diffusion model made with Darkroom {__version__}. Below, the first {SAMPLES} images of seed 0, none left out.",
            "![samples](samples.png)",
            "\n".join(f"- {name}: {value}" for name, value in facts.items()),
            _run(card, onnx),
            _scores(known.scores),
            f"## Licence\n\nOf the images it was trained on: {known.licence or 'not stated; ask who trained it'}. The code in "
            f"`{CARRIED}` and `draw.py` is Darkroom's, Apache-2.0.\n",
        ]
    )


def _run(card: ModelCard, onnx: bool) -> str:
    prompted = isinstance(card.network, ReadsCaptions)
    told = '--prompt "a picture"' if prompted else f"--class {json.dumps((card.focus or card.labels)[0], ensure_ascii=False)}"
    text = f"""## Run

```sh
pip install -r requirements.txt
python draw.py --count 16 {told} --out images
```

or in a program, beside this file:

```python
from pathlib import Path
import torch
from {CARRIED}.networks.saved import load_model
from {CARRIED}.sampling import draw, noise_for

model, card = load_model(Path("."), torch.device("cpu"))
pixels = draw(model, card, torch.tensor([0]), noise_for(0, [0], card.image_size), card.drawing)  # uint8 [1, side, side, 3]
```

Weights are safetensors, settings are JSON; nothing is unpickled. Every image that `draw.py` writes names this model, the seed and
the settings: `darkroom inspect IMAGE` reads them."""
    if onnx:
        asked = "`text` int64 [n, length], bytes plus one" if prompted else "`label` int64 [n], -1 for none"
        text += (
            f"\n\n`{ONNX}` is the denoiser alone: `noisy` float32 [n, 3, side, side] = image + sigma * noise, `sigma` float32 "
            f"[n], {asked}; it answers the expected clean image. How to walk with it: `{CARRIED}/samplers.py`."
        )
    return text


def _scores(scores: Mapping[str, Mapping[str, Any]]) -> str:
    if not scores:
        return "## Scores\n\nNone were measured."
    rows = ["## Scores\n", "| score | value | interval | real against real | n |", "|---|---|---|---|---|"]
    for name, one in scores.items():
        interval = f"{one['low']:.4g} to {one['high']:.4g}" if "low" in one and "high" in one else ""
        rows.append(f"| {name} | {one['value']:.4g} | {interval} | {_short(one.get('floor'))} | {one.get('n', '')} |")
    return "\n".join(rows)


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
