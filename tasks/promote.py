"""The task `promote`: the gates, the comparison that a person sees, the move of the alias."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from prefect import task

from adapters import mlflow_registry, prefect_runs, promotions, workspace
from adapters.mlflow_registry import CHALLENGER, CHAMPION, Version
from adapters.promotions import Decision
from darkroom.evaluation.comparing import as_served
from darkroom.evaluation.evaluate import KEPT, evaluate
from darkroom.events import followed
from darkroom.gates import JUDGE, Interval, Scores, Verdict, against, verdicts
from darkroom.images import Pixels, contact_sheet
from darkroom.networks.saved import chosen_of, read_card
from darkroom.sampling import generate
from darkroom.shapes import core, in_words
from darkroom.stage import sentence
from tasks.beside import told, with_champion
from tasks.job import STEP, Done, Job, identities

FORGOTTEN = "it was trained on images since forgotten, or from such weights"
DRAWN = 32  # images of each model in the comparison


@dataclass(frozen=True)
class Comparison:
    """A version before its gates. `champion` None: there is none yet."""

    challenger: Version
    champion: Version | None
    found: list[Verdict]
    beside: str  # the two from the same noise, in Markdown

    @property
    def refusals(self) -> str:
        """What the gates refuse, in words; empty where all pass."""
        return "; ".join(one.text for one in self.found if not one.passed)


@task(task_run_name="promote, if the gates agree", **STEP)
def promote(job: Job) -> Done:
    """Make the challenger the champion where every gate passes and nobody is to be asked; otherwise say why not."""
    started = time.perf_counter()
    compared = compare(job, None)
    if compared is None:
        return Done("promote", "unchanged", "it is the champion already", time.perf_counter() - started)
    number = {"version": compared.challenger.number}
    if compared.refusals:
        prefect_runs.say(f"version {compared.challenger.number} is not promoted: {compared.refusals}")
        return Done("promote", "refused", compared.refusals, time.perf_counter() - started, number)
    if job.settings.promote.approval == "person":
        why = "all gates passed; it waits for a person's approval in the Prefect UI, or for `darkroom promote`"
        asked = prefect_runs.start_flow("promotion", job.workspace)
        prefect_runs.say(why if asked else f"{why} (the flow `promotion` is not served: `darkroom up` serves it)")
        return Done("promote", "waiting", why, time.perf_counter() - started, number)
    move(job, compared, Decision("promoted", "all gates passed"))
    return Done("promote", "computed", "all gates passed", time.perf_counter() - started, number)


@task(task_run_name="compare challenger and champion", **STEP)
def prepare(job: Job, wanted: str | None) -> Comparison | None:
    """The comparison, for a flow that asks a person afterwards."""
    return compare(job, wanted)


def compare(job: Job, wanted: str | None) -> Comparison | None:
    """Every gate's verdict on a version (None: the challenger), shown beside the champion. None where it is the champion.

    Both are scored on the data the workspace has now: a version scored on other data, or by other settings, is scored again.
    """
    at, name = job.workspace, job.settings.register_.name
    tell_of_a_move_made_elsewhere(job)
    if wanted is None and mlflow_registry.version_at(at, name, CHALLENGER) is None:
        raise LookupError(f"no version of {name} is `challenger`; the flow `tuned model` registers one")
    challenger = mlflow_registry.version_named(at, name, wanted or CHALLENGER)
    champion = mlflow_registry.version_at(at, name, CHAMPION)
    if champion is not None and champion.number == challenger.number:
        return None
    samples = _samples(job, challenger)
    scores = _scores_on_this_data(job, challenger)
    shapes = read_card(mlflow_registry.model_folder(at, challenger)).shapes
    found = verdicts(job.settings.promote, scores, core(samples, shapes))
    if "forgotten" in challenger.tags:
        found.append(Verdict("forgotten images", False, FORGOTTEN))
    beaten: Scores = {}
    paired, beside = _beside(job, challenger, champion) if champion is not None else (None, "")
    if champion is not None and "forgotten" in champion.tags:
        found.append(
            Verdict("against the champion", True, "the champion was trained on images since forgotten: any version may follow")
        )
    elif champion is not None and (apart := _other_shapes(job, challenger, champion)):
        found.append(Verdict("against the champion", False, apart))
    elif champion is not None:
        beaten = _scores_on_this_data(job, champion)
        found.append(against(job.settings.promote, scores, beaten, paired))
    compared = Comparison(challenger, champion, found, beside)
    mlflow_registry.note(at, challenger, "gates", compared.refusals or "passed")
    _show(job, compared, samples, scores, beaten)
    return compared


def move(job: Job, compared: Comparison, decision: Decision) -> None:
    """Make the compared version the champion. Raises PromotionError where another became champion meanwhile."""
    promotions.promote(job.workspace, compared.challenger, compared.champion, decision)
    prefect_runs.say(f"{compared.challenger.name} version {compared.challenger.number} is the champion: {decision.why}")


@task(task_run_name="look where the champion is", **STEP)
def check_champion(job: Job) -> Done:
    """Notice a champion that was moved elsewhere, for a flow that does nothing else."""
    started = time.perf_counter()
    said = tell_of_a_move_made_elsewhere(job)
    how, why = ("computed", said) if said else ("unchanged", "the champion is where it was last moved to")
    return Done("check", how, why, time.perf_counter() - started)


def tell_of_a_move_made_elsewhere(job: Job) -> str:
    """Where someone moved `champion` in the MLflow UI: respect it, record it, and warn if the version fails its gates."""
    moved = promotions.noticed(job.workspace, job.settings.register_.name)
    if moved is None:
        return ""
    version, before = moved
    refusals = [one.text for one in verdicts(job.settings.promote, version.scores, None) if not one.passed]
    verdict = f"**It fails its gates**: {'; '.join(refusals)}" if refusals else "It passes its gates."
    text = f"{version.name} version {version.number} was made champion outside darkroom (before: {before or 'none'}). {verdict}"
    prefect_runs.show_page("champion-moved", f"{'⚠ ' if refusals else ''}{text}", "The champion was moved elsewhere")
    prefect_runs.say(text.replace("**", ""))
    return text


def _samples(job: Job, version: Version) -> Pixels:
    """Images drawn from the registered files, always with the same seeds: what serves must draw, not what was trained."""
    folder = mlflow_registry.model_folder(job.workspace, version)
    card, section = read_card(folder), job.settings.evaluate
    names = card.focus or card.labels
    labels = sorted(card.labels.index(names[index % len(names)]) for index in range(DRAWN))
    return np.asarray(followed(generate(folder, labels, DRAWN, section.seed, card.drawing, section.batch)))


def _other_shapes(job: Job, challenger: Version, champion: Version) -> str:
    """Why two versions cannot be measured on the same images; empty where they can."""
    shapes = [read_card(mlflow_registry.model_folder(job.workspace, one)).shapes for one in (challenger, champion)]
    draws, other = (" or ".join(map(in_words, one)) for one in shapes)
    if shapes[0] == shapes[1]:
        return ""
    return (
        f"the champion draws images of {other} pixels, this version of {draws}: no scores compare; look at both, then use --force"
    )


def _scores_on_this_data(job: Job, version: Version) -> Scores:
    """A version's scores on this data, drawn as it draws: its tags' where data, settings and code were these; else measured
    anew, and kept."""
    folder = mlflow_registry.model_folder(job.workspace, version)
    section = job.settings.evaluate.model_copy(update={"drawing": chosen_of(read_card(folder).drawing)})
    settings, code = section.model_dump_json(), workspace.code_digest("evaluate")
    registered = mlflow_registry.report_folder(job.workspace, version) / "params.yaml"
    data = identities(job)["data.md5"]
    same = version.tags.get("data.md5") == data and version.tags.get("evaluated_by") == code
    if same and _evaluated_with(registered) == json.loads(settings):
        return version.scores
    kept = job.workspace / ".darkroom/evaluated" / f"{version.name}-{version.number}-{data}-{code}"
    if not (kept / "scores.json").exists() or (kept / "settings.json").read_text(encoding="utf-8") != settings:
        prefect_runs.say(
            f"scoring version {version.number} again: it was scored on other data, with other settings or by other code"
        )
        data_set, keep = job.workspace / "data/curated", job.workspace / KEPT
        followed(evaluate(section, data_set, {"version": folder}, kept, keep=keep))
        (kept / "settings.json").write_text(settings, encoding="utf-8")
    fresh: Scores = json.loads((kept / "scores.json").read_text(encoding="utf-8"))["version"]
    return {**{name: one for name, one in version.scores.items() if name == "held_out_loss"}, **fresh}


def _evaluated_with(params: Path) -> object:
    from darkroom.sections import SettingsError, read_yaml

    try:
        return read_yaml(params).get("evaluate")
    except SettingsError:  # an older version kept none
        return None


def _show(job: Job, compared: Comparison, samples: Pixels, scores: Scores, beaten: Scores) -> None:
    challenger, champion = compared.challenger, compared.champion
    title = f"{challenger.name}: version {challenger.number}"
    rows = [f"## {title} {'against champion ' + champion.number if champion else '(no champion yet)'}\n"]
    rows += [f"- {'passed' if one.passed else '**refused**'}: {one.gate}: {one.text}" for one in compared.found]
    rows += ["\n| score (95 % interval) | challenger | champion | real images |", "|---|---|---|---|"]
    for name, one in scores.items():
        floor = f"{one['floor']:.4g}" if "floor" in one else ""
        rows.append(f"| {name} | {_figure(scores, name)} | {_figure(beaten, name)} | {floor} |")
    sheet = job.workspace / ".darkroom/compared-challenger.png"
    contact_sheet(samples, columns=8, scale=max(1, 96 // samples.shape[1])).save(sheet)
    rows += [f"\n### Challenger, version {challenger.number}\n", prefect_runs.embedded(sheet, "drawn by the challenger")]
    rows.append(compared.beside)
    prefect_runs.show_page("promotion", "\n".join(rows), "Challenger and champion, from the same seeds")


def _beside(job: Job, challenger: Version, champion: Version) -> tuple[Interval | None, str]:
    """The champion beside the challenger, from the same noise: how their kernel distances differ, and all in Markdown."""
    rival = as_served(f"challenger {challenger.number}", mlflow_registry.model_folder(job.workspace, challenger))
    notes: list[str] = []
    found = followed(with_champion(job, champion, rival), lambda event: notes.append(sentence(event)))
    if found is None:
        return None, f"\n{notes[-1]}"
    apart = next(one.difference for one in found.contests if one.metric == JUDGE)
    return (apart.value, apart.low, apart.high), told(job, found, (rival.name, f"champion {champion.number}"))


def _figure(scores: Scores, name: str) -> str:
    if name not in scores:
        return ""
    one = scores[name]
    interval = f" ({one['low']:.4g} to {one['high']:.4g})" if "low" in one and "high" in one else ""
    return f"{one['value']:.4g}{interval}"


@task(task_run_name="draw from the champion", **STEP)
def draw_champion(job: Job) -> Done:
    """A sheet of images from the registered champion: reports/champion.png."""
    started = time.perf_counter()
    champion = mlflow_registry.version_at(job.workspace, job.settings.register_.name, CHAMPION)
    sheet = job.workspace / "reports/champion.png"
    if champion is None:
        return Done("draw", "unchanged", "there is no champion yet", time.perf_counter() - started)
    drawn_from, drawn = sheet.with_suffix(".version"), {"picture": str(sheet)}
    if sheet.exists() and drawn_from.exists() and drawn_from.read_text(encoding="utf-8") == champion.number:
        return Done("draw", "unchanged", "drawn already", time.perf_counter() - started, drawn)
    pixels = _samples(job, champion)
    contact_sheet(pixels, columns=8, scale=max(1, 96 // pixels.shape[1])).save(sheet)
    drawn_from.write_text(champion.number, encoding="utf-8")
    prefect_runs.show_picture("champion", sheet, f"{champion.name} version {champion.number}")
    return Done("draw", "computed", "", time.perf_counter() - started, drawn)
