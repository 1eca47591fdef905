"""What becomes of a run in words, in JSON, and as an exit code; alike for every command."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Protocol

from judge.cli._display import tokens_object, traffic_summary
from judge.errors import ExitCode, Incomplete
from judge.execution import INTERRUPTED, Account, Progress
from judge.scoring import ScoreRun
from judge.terminal import say


class Outcome(Account, Protocol):
    """A run whose units can be missing for good."""

    unscored: Counter[str]
    """Units that are missing for good, by reason."""

    @property
    def missing_share(self) -> float:
        """Share of what was wanted that is missing for good or open."""
        ...


def summary(run: ScoreRun) -> str:
    """A run that gives verdicts, in two sentences."""
    missing = reasons(run.unscored)
    return (
        f"{run.progress.planned} units: {run.scored} scored, {run.not_applicable} not applicable, "
        f"{run.unscored.total()} unscored"
        + (f" ({missing})" if missing else "")
        + f", {run.progress.open} open. {traffic_summary(run)}"
    )


def troubles(run: Outcome) -> str:
    """What the progress bar says of missing verdicts."""
    return f"{run.unscored.total()} unscored" if run.unscored else ""


def reasons(unscored: Counter[str]) -> str:
    """Reasons with their numbers, the most frequent first."""
    return ", ".join(f"{count} {reason}" for reason, count in unscored.most_common())


def account_object(
    outcome: Outcome, *, scored: int, not_applicable: int = 0, priced: bool, **more: int
) -> dict[str, Any]:
    """The fields that the ``run`` objects of ``--json`` share; ``more`` are counts of a command.

    ``priced`` says whether the model's prices were given: without them the cost is unknown.
    """
    progress = outcome.progress
    return {
        "planned": progress.planned,
        "sent": outcome.sent,
        "from_ledger": progress.from_ledger,
        "scored": scored,
        "not_applicable": not_applicable,
        "unscored": dict(sorted(outcome.unscored.items())),
        "open": progress.open,
        "open_why": _open_why(progress),
        **more,
        "tokens": tokens_object(progress),
        "cost": round(progress.cost, 6) if priced and not progress.unpriced else None,
        "stopped": progress.stopped or None,
    }


def end_if_interrupted(*outcomes: Outcome) -> None:
    """End with 130 if a person or a supervisor ended one of the runs."""
    if any(outcome.progress.stopped == INTERRUPTED for outcome in outcomes):
        say("Interrupted; finished work is kept. Run the same command again to go on.")
        sys.exit(ExitCode.INTERRUPTED)


def require_complete(
    outcome: Outcome, allowed: float, remedies: Sequence[str] = (), *, wanted: str = "verdicts"
) -> None:
    """Raise Incomplete (exit code 12) for a run that stopped early or lacks more than is allowed.

    ``allowed`` is a share of what was wanted; ``remedies`` say what helps against what is missing
    for good.
    """
    progress = outcome.progress
    if outcome.missing_share <= allowed and not progress.stopped:
        return
    parts, ways = [], []
    if progress.stopped:
        parts.append(f"stopped early: {progress.stopped}")
    if progress.open:
        listed = "; ".join(f"{count} {reason}" for reason, count in _open_why(progress).items())
        parts.append(f"{progress.open} open ({listed})")
        ways.append("the same command goes on with open units")
    if progress.last_rejection:
        parts.append(f"the last rejection said: {progress.last_rejection}")
    if outcome.unscored:
        parts.append(f"{outcome.unscored.total()} unscored ({reasons(outcome.unscored)})")
        ways += remedies
    raise Incomplete(
        f"incomplete: {'; '.join(parts)}. {outcome.missing_share:.1%} of the wanted {wanted} are "
        f"missing, {allowed:.1%} are allowed (--max-unscored)."
        + (f" To go on: {'; '.join(ways)}." if ways else "")
    )


def _open_why(progress: Progress) -> dict[str, int]:
    """Why units are open; those that the run did not come to count as not reached."""
    why = dict(progress.open_why)
    if unreached := progress.open - sum(why.values()):
        why["not reached"] = unreached
    return why
