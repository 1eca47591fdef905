"""Runs that gave scores of single answers: one judge's, or a panel's."""

from __future__ import annotations

from judge.errors import LedgerError, UsageError
from judge.ledger import Ledger, Run

SCORED_KINDS = ("score", "panel")


def scored_run(ledger: Ledger, run_id: str | None) -> Run:
    """The run of that id, or the newest that has scores of single answers.

    Raises LedgerError if there is none, UsageError for a run of another kind.
    """
    run = ledger.run(run_id, kinds=SCORED_KINDS if run_id is None else None)
    if run is None:
        wanted = "no run yet" if run_id is None else f"no run {run_id}"
        raise LedgerError(f"{ledger.url}: {wanted}. Score some answers first (judge score).")
    if run.kind not in SCORED_KINDS:
        raise UsageError(
            f"Run {run.run} is of kind {run.kind}: it has no scores of single answers. Name a run "
            "of judge score with --run."
        )
    return run


def member_runs(ledger: Ledger, run: Run) -> list[Run]:
    """The runs of the judges: the run itself, or those of a panel in its order.

    Raises LedgerError if the ledger lacks one of them.
    """
    if run.kind != "panel":
        return [run]
    members = []
    for name in run.body["runs"]:
        member = ledger.run(name)
        if member is None:
            raise LedgerError(
                f"{ledger.url}: the panel run {run.run} names the run {name}, which the ledger "
                "does not hold. Score again with the whole panel."
            )
        members.append(member)
    return members
