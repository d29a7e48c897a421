"""The flow `promotion`: compare, ask a person where the settings say so, move the alias."""

from pathlib import Path
from typing import Annotated

from prefect import flow
from pydantic import Field

from darkroom.params import Params
from tasks.deciding import concluded, decided
from tasks.job import FLOW, Done, opened
from tasks.promote import draw_champion, prepare


@flow(name="promotion", flow_run_name="promotion in {workspace.name}", **FLOW)
def promotion(
    workspace: Path,
    settings: Params | None = None,
    version: str = "challenger",
    force: bool = False,
    reason: Annotated[str, Field(max_length=1000)] = "",
) -> list[Done]:
    """Show a version beside the champion, ask for approval where params.yaml says so, and make it the champion.

    Args:
        workspace: The folder of the workspace on the machine that runs the flow.
        settings: Settings to write to the workspace's params.yaml first; none leaves it as it is.
        version: The version to promote: a number, or an alias such as challenger.
        force: Promote it although a gate refuses it; a reason is needed, and is recorded.
        reason: Why; kept in the audit log. Whoever gives one has decided: nobody is asked for approval again.
    """
    with opened(workspace, settings) as job:
        compared = prepare(job, version)
    decision = decided(job, compared, force, reason)  # outside the lock: a person may take days
    with opened(workspace, None) as job:
        return [concluded(job, compared, decision), draw_champion(job)]
