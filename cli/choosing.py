"""The command choose: the library's search over a model of a workspace, and what becomes of its answer."""

import argparse
import shutil
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adapters import workspace
from cli.judging import CURATED, model_named, opened
from cli.run import say
from cli.train import shown

if TYPE_CHECKING:
    from darkroom.evaluation.choosing import Choice, Measured
    from darkroom.networks.saved import ModelCard
    from darkroom.networks.weights import AsTrained, Average

CHOICES = Path(".darkroom/choices")
CHOSEN = Path("reports/choose")  # what the choice in params.yaml rests on
SAMPLERS: tuple[dict[str, Any], ...] = (
    {"kind": "euler"},
    {"kind": "heun"},
    {"kind": "dpmpp", "order": 2},
    {"kind": "unipc", "order": 2},
    {"kind": "ipndm"},
)
TOLD = 12  # candidates in the table


def choose(given: argparse.Namespace) -> int:
    """Search, say, plot, and keep the choice where asked."""
    from darkroom.evaluation import choosing
    from darkroom.evaluation.generating import CODE
    from darkroom.evaluation.keeping import code_of
    from darkroom.images import SPLITS, read_split
    from darkroom.networks.saved import read_card
    from darkroom.refs import digest_of

    if given.minutes <= 0:
        raise ValueError(f"--minutes {given.minutes:g}: the budget must be more than nothing")
    found, settings = opened(given.workspace)
    folder = model_named(found, settings.register_.name, given.model)
    card, weights = read_card(folder), _weights(folder, given.widths)
    if folder.is_relative_to(found / "models"):  # not yet registered: params.yaml says how it is drawn
        card = card.model_copy(update={"drawing": settings.evaluate.drawing.of(card)})
    if len(weights) == 1:
        say(f"{folder} keeps no averages to choose among: set averaging.snapshots above 0, and train")
    real, *held_out = (read_split(found / CURATED, split).only(card.focus) for split in SPLITS)
    search = choosing.Search(
        candidates=tuple(_candidates(card, weights, given)),
        real=real,
        held_out=tuple(held_out),
        features=settings.evaluate.features,
        seed=given.seed,
        minutes=given.minutes,
        most=given.images,
    )
    facts = {
        "model": digest_of(folder),
        "code": code_of(*CODE),
        "data": [digest_of(found / CURATED / f"{split}.json") for split in SPLITS],
        "features": settings.evaluate.features.model_dump(mode="json"),
        "seed": given.seed,
        "most": given.images,
    }
    at = found / CHOICES / choosing.identity(facts)
    say(f"{len(search.candidates)} candidates, {given.minutes:g} minutes; measurements are kept in {at}")
    choice = shown(choosing.choose(search, _loader(folder), at))
    choosing.write_choice(choice, digest_of(folder / "weights.safetensors"), at)
    _say(choice, at)
    taken = choice.quickest if given.quickest else choice.best
    _keep(given, (found, folder, at), taken)
    return 0


def _candidates(card: "ModelCard", weights: "list[AsTrained | Average]", given: argparse.Namespace) -> "list[Any]":
    from pydantic import TypeAdapter

    from darkroom.evaluation.choosing import grid
    from darkroom.samplers import Sampler

    adapter: TypeAdapter[Any] = TypeAdapter(Sampler)
    drawing = card.drawing
    if given.away and not card.keeps_weaker:
        raise ValueError(
            "--away: the model keeps no earlier weights to be led away from; set averaging.weaker above 0, and train"
        )
    scales = given.guidance if given.guidance else sorted({1.0, 1.5, drawing.guidance})
    aways = (given.away if given.away else sorted({1.0, 2.0, drawing.away})) if card.keeps_weaker else [1.0]
    return list(grid(drawing, weights, [adapter.validate_python(one) for one in SAMPLERS], given.steps, scales, aways))


def _weights(folder: Path, widths: list[float]) -> "list[AsTrained | Average]":
    """Those of the model, averages of other lengths, and those tracked at earlier times, where snapshots were kept."""
    from darkroom.networks.profiles import WIDTHS, snapshots_of
    from darkroom.networks.weights import AsTrained, Average

    times = snapshots_of(folder)
    ended = [Average(kind="average", width=width, images_seen=0) for width in widths if times]
    earlier = [Average(kind="average", width=width, images_seen=time) for time in times[:-1] for width in WIDTHS]
    return [AsTrained(kind="as_trained"), *ended, *earlier]


def _loader(folder: Path) -> Any:
    from darkroom.networks.saved import device_named, load_model

    model, card = load_model(folder, device_named("auto"))

    @lru_cache(maxsize=1)
    def loaded(weights: "AsTrained | Average") -> Any:
        model.load_state_dict(weights.of(folder))
        return model, card

    return loaded


def _say(choice: "Choice", at: Path) -> None:
    say(f"{'':2}{'kernel distance (95 % interval)':<36}{'n':>6}{'images/s':>10}{'asked':>7}   drawn with")
    for one in choice.measured[:TOLD]:
        score = f"{one.score.value:.4g} ({one.score.low:.4g} to {one.score.high:.4g})"
        mark = "*" if one in choice.level else " "
        say(f"{mark:2}{score:<36}{one.n:>6}{one.images_per_second:>10.1f}{one.evaluations:>7}   {one.candidate.words}")
    if len(choice.measured) > TOLD:
        say(f"  ... {len(choice.measured) - TOLD} more in {at / 'choice.json'}")
    say("* cannot be told from the best with these images")
    say(f"best        {choice.best.candidate.words}")
    if choice.quickest is not choice.best:
        faster = choice.quickest.images_per_second / choice.best.images_per_second
        say(f"as good     {choice.quickest.candidate.words}: {faster:.1f} times as fast (--quickest takes it)")
    say(f"curve       {at / 'curve.png'}")


def _keep(given: argparse.Namespace, places: tuple[Path, Path, Path], taken: "Measured") -> None:
    """Where asked. `places`: the workspace, the model, what was measured."""
    from darkroom.networks.saved import encoder_in, read_card, save_model, weaker_in
    from darkroom.refs import replaced

    found, folder, at = places
    card = read_card(folder).model_copy(update={"drawing": taken.candidate.drawing})
    if given.out is not None:
        with replaced(given.out) as fresh:
            save_model(fresh, taken.candidate.weights.of(folder), card, encoder_in(folder, card), weaker_in(folder, card))
        say(f"model       {given.out}")
    if given.apply:
        _apply(found, at, taken)
    elif given.out is None:
        say("nothing was changed; --apply keeps the choice, --out DIR writes a model folder that draws so")


def _apply(found: Path, at: Path, taken: "Measured") -> None:
    """The choice into params.yaml, where it calls for no training, and what it rests on to where the next version finds it."""
    from darkroom.networks.saved import chosen_of
    from darkroom.refs import replaced

    chosen = {"drawing": chosen_of(taken.candidate.drawing), "weights": taken.candidate.weights}
    changes = {name: one.model_dump(mode="json") for name, one in chosen.items()}
    changed = workspace.change_params(found, {"evaluate": changes})
    say(f"params.yaml {', '.join(changed) or 'evaluate.drawing and evaluate.weights were so already'}")
    with replaced(found / CHOSEN) as fresh:
        for name in ("choice.json", "curve.png"):
            shutil.copyfile(at / name, fresh / name)
    say("`darkroom run` scores with it, and registers a version that draws so wherever it serves; nothing is trained again")
