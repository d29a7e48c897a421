"""Who decides on a promotion: the gates alone, a person in the Prefect UI, or a person who forces it with a reason."""

import time
from datetime import timedelta

from prefect.flow_runs import pause_flow_run
from prefect.input import RunInput
from pydantic import Field

from adapters import mlflow_registry, prefect_runs, promotions
from adapters.promotions import Decision, PromotionError
from tasks.job import Done, Job
from tasks.promote import FORGOTTEN, Comparison, move

PATIENCE = timedelta(days=14)


class Approval(RunInput):
    """What a person answers in the Prefect UI."""

    approve: bool = Field(default=False, title="Promote it", description="off: the champion stays")
    reason: str = Field(default="", title="Why", description="kept in the audit log", max_length=1000)
    decided_by: str = Field(default="", title="Your name", description="kept in the audit log", max_length=100)


def decided(job: Job, compared: Comparison | None, force: bool, reason: str) -> Decision | None:
    """The decision to promote; None to leave the champion. Waits for a person where the settings say so.

    Call it outside the workspace's lock: a person may take days, and no device is held meanwhile. Raises PromotionError for
    a forced promotion without a reason.
    """
    if force and not reason.strip():
        raise PromotionError("a promotion against the gates needs a reason, which is recorded: add --reason TEXT")
    if compared is None or (compared.refusals and not force):
        return None
    if force and compared.refusals:
        return Decision("forced", f"{reason} (refused: {compared.refusals})")
    if job.settings.promote.approval == "automatic" or reason:
        return Decision("promoted", reason or "all gates passed")
    form = Approval.with_initial_data(description=_question(compared), approve=False)
    answer = pause_flow_run(wait_for_input=form, timeout=int(PATIENCE.total_seconds()), poll_interval=2)
    if not answer.approve:
        who, why = answer.decided_by or "a person in the Prefect UI", answer.reason or "no reason given"
        promotions.decline(job.workspace, compared.challenger, compared.champion, why, who)
        prefect_runs.say(f"not approved by {who}: {why}")
        return None
    return Decision("promoted", answer.reason or "approved in the Prefect UI", answer.decided_by or "a person in the Prefect UI")


def concluded(job: Job, compared: Comparison | None, decision: Decision | None) -> Done:
    """Move the alias where it was decided so; say what came of it."""
    started = time.perf_counter()
    if compared is None:
        return Done("promote", "unchanged", "it is the champion already", time.perf_counter() - started)
    number = {"version": compared.challenger.number}
    if decision is None:
        why = compared.refusals or "not approved"
        return Done("promote", "refused", why, time.perf_counter() - started, number)
    now = mlflow_registry.version_named(job.workspace, compared.challenger.name, compared.challenger.number)
    if "forgotten" in now.tags and "forgotten" not in compared.challenger.tags:
        return Done("promote", "refused", f"while it waited for a decision: {FORGOTTEN}", time.perf_counter() - started, number)
    move(job, compared, decision)
    return Done("promote", "computed", decision.why, time.perf_counter() - started, number)


def _question(compared: Comparison) -> str:
    passed = "\n".join(f"- {one.gate}: {one.text}" for one in compared.found)
    champion = f"champion is version {compared.champion.number}" if compared.champion else "there is no champion yet"
    return (
        f"**Make {compared.challenger.name} version {compared.challenger.number} the champion?** The {champion}. "
        f"Every gate passed; the pictures of both are in this run's artifact `promotion`.\n\n{passed}"
    )
