"""A model ready to draw: read from its folder, tried out, and measured for how it may be batched."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
import torch
from torch import Tensor

from darkroom.images import Pixels
from darkroom.networks.captioned import ReadsCaptions
from darkroom.networks.denoiser import Denoiser
from darkroom.networks.saved import WEIGHTS, Drawing, ModelCard, ModelError, device_named, load_model, weaker_digest
from darkroom.provenance import Turn
from darkroom.refs import digest_of
from darkroom.sampling import draw_forming, noise_for, told_of, turned
from darkroom.shapes import Shape, by_shape


@dataclass(frozen=True)
class Offer:
    """A version that could be served; `fetch` brings its folder here, and may take long."""

    name: str
    version: str
    fetch: Callable[[], Path]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """One image to draw. `label` is a place in the card's labels; `caption` is for models that read."""

    seed: int
    index: int
    label: int
    caption: str | None = None
    turns: tuple[Turn, ...] = ()
    shape: Shape | None = None  # None: the model's square


@dataclass(frozen=True, eq=False)
class Loaded:
    """A version in memory. `sizes` are the batch sizes at which an image has the same bits as in the last and largest of them."""

    name: str
    version: str
    tags: Mapping[str, str]
    card: ModelCard
    denoiser: Denoiser | None  # None: only the facts are left, see `facts`
    device: torch.device
    weights_digest: str
    weaker_digest: str | None  # of its weights of less training; None where it keeps none
    sizes: tuple[int, ...]

    @property
    def reads(self) -> int:
        """How many bytes of a caption it reads; 0 where it reads none."""
        return self.card.network.length if isinstance(self.card.network, ReadsCaptions) else 0

    def facts(self) -> "Loaded":
        """The same without its network: what an image needs to say, once it is drawn."""
        return replace(self, denoiser=None)

    def forming(self, rows: Sequence[Row], drawing: Drawing) -> Iterator[list[Pixels]]:
        """The images of up to `sizes[-1]` rows as they form; the last are the result. uint8 [h, w, 3] each. Raises ModelError."""
        groups = by_shape([row.shape or self.card.shapes[0] for row in rows]).values()
        order = np.argsort([place for places in groups for place in places])
        walks = [self._forming([rows[place] for place in places], drawing) for places in groups]
        for parts in zip(*walks, strict=True):
            formed = [pixels for part in parts for pixels in part]
            yield [formed[place] for place in order]

    def _forming(self, rows: Sequence[Row], drawing: Drawing) -> Iterator[Pixels]:
        """Those of one shape. uint8 [rows, h, w, 3]

        Rows are filled up to the next of `sizes`, so that an image is the same bytes whoever is drawn beside it.
        """
        assert self.denoiser is not None
        size = next(size for size in self.sizes if size >= len(rows))
        filled = [*rows, *[rows[-1]] * (size - len(rows))]
        shape = rows[0].shape or self.card.shapes[0]
        noise = torch.cat([self._noise(row, shape) for row in filled]).to(self.device)
        labels = torch.tensor([row.label for row in filled], device=self.device)
        for pixels in draw_forming(self.denoiser, self.card, labels, noise, drawing, self._captions(filled)):
            yield pixels[: len(rows)]

    def _noise(self, of: Row | Turn, shape: Shape) -> Tensor:
        noise = noise_for(of.seed, [of.index], shape)
        for turn in of.turns:
            noise = turned(noise, self._noise(turn, shape), turn.amount)
        return noise

    def _captions(self, rows: Sequence[Row]) -> list[str] | None:
        """What the model reads: a label's name stands for its caption, as in training."""
        if not self.reads:
            return None
        names = (*self.card.labels, "")  # label -1, told nothing, reads nothing
        return [names[row.label] if row.caption is None else row.caption for row in rows]


class Loading:
    """Loads offers onto one device; a version that is still in use anywhere is not loaded twice."""

    def __init__(self, device: str, batch: int) -> None:
        self.device, self.batch = device_named(device), batch
        self._there: WeakValueDictionary[tuple[str, str], Loaded] = WeakValueDictionary()

    def __call__(self, offer: Offer) -> Loaded:
        """The version, warm and tried. Raises ModelError where its folder cannot be used or what it draws cannot be right."""
        known = self._there.get((offer.name, offer.version))
        if known is not None:
            return known
        folder = offer.fetch()
        denoiser, card = load_model(folder, self.device)
        digests = digest_of(folder / WEIGHTS), weaker_digest(folder, card)
        sizes = agreeing_sizes(denoiser, card, self.device, self.batch)
        loaded = Loaded(offer.name, offer.version, offer.tags, card, denoiser, self.device, *digests, sizes)
        try_out(loaded)
        self._there[offer.name, offer.version] = loaded
        return loaded


def try_out(loaded: Loaded) -> None:
    """Draw a batch in two steps. Raises ModelError where it is not finite, or all the same whatever the noise."""
    rows = [Row(0, index, index % len(loaded.card.labels)) for index in range(loaded.sizes[-1])]
    for pixels in loaded.forming(rows, loaded.card.drawing.model_copy(update={"steps": 2})):
        last = np.stack(pixels)
    if len(rows) > 1 and not np.ptp(last, axis=0).any():
        raise ModelError(f"{loaded.name} version {loaded.version} draws the same image from every noise; it is not served")


@torch.inference_mode()
def agreeing_sizes(denoiser: Denoiser, card: ModelCard, device: torch.device, batch: int) -> tuple[int, ...]:
    """The batch sizes, powers of two up to `batch`, at which the model answers the same bits as at `batch`, rising.

    A product of few rows is summed in another order than one of many, so that the last bits of an answer may depend on how many
    are asked for at once - not on who they are, nor on their places. Which sizes agree is a matter of the network, the device and
    its libraries; so it is measured, on every row and at three noise levels: 10^5 numbers that all agree do not do so by chance.
    """
    sizes = [_agreeing_sizes(denoiser, card, shape, device, batch) for shape in card.shapes]
    return tuple(size for size in sizes[0] if all(size in others for others in sizes))


def _agreeing_sizes(denoiser: Denoiser, card: ModelCard, shape: Shape, device: torch.device, batch: int) -> tuple[int, ...]:
    noise = noise_for(0, range(batch), shape).to(device)
    labels = torch.arange(batch, device=device) % len(card.labels)
    captions = [card.labels[label] for label in labels.tolist()] if isinstance(card.network, ReadsCaptions) else None
    levels = (0.1, 1.0, 10.0)

    def answers(rows: slice) -> Tensor:
        told = told_of(card, labels[rows], noise[rows], captions[rows] if captions else None)
        ones = noise.new_ones(len(labels[rows]))
        return torch.stack([denoiser(level * noise[rows], level * ones, told) for level in levels])

    whole = answers(slice(None))
    sizes = [1 << power for power in range(batch.bit_length()) if 1 << power < batch]
    return (*(size for size in sizes if torch.equal(answers(slice(size)), whole[:, :size])), batch)
