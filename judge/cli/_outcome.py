"""What becomes of scoring runs in words, in JSON, and as an exit code."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from judge.cli._console import say
from judge.cli._display import traffic_summary
from judge.cli._scoring_job import ScoreJob, ScoreOptions
from judge.errors import ExitCode, Incomplete
from judge.execution import INTERRUPTED
from judge.scoring import ScoreRun


def summary(run: ScoreRun) -> str:
    """A run in two sentences."""
    missing = ", ".join(f"{count} {reason}" for reason, count in run.unscored.most_common())
    return (
        f"{run.progress.planned} units: {run.scored} scored, {run.not_applicable} not applicable, "
        f"{run.unscored.total()} unscored"
        + (f" ({missing})" if missing else "")
        + f", {run.progress.open} open. {traffic_summary(run)}"
    )


def troubles(run: ScoreRun) -> str:
    """What the progress bar says of missing verdicts."""
    return f"{run.unscored.total()} unscored" if run.unscored else ""


def run_object(run: str, outcomes: Sequence[ScoreRun], job: ScoreJob) -> dict[str, Any]:
    """The ``run`` object of ``--json``; of a panel, sums, and each judge's under ``runs``."""
    each = [
        _judge_object(outcome, spec.identity, job.sending.prices_of(number) is not None)
        for number, (outcome, (spec, _)) in enumerate(zip(outcomes, job.judges, strict=False))
    ]
    if len(job.judges) == 1:
        return each[0]
    costs = [judge["cost"] for judge in each]
    totals = {
        name: sum(judge[name] for judge in each)
        for name in (
            "planned", "sent", "from_ledger", "scored", "not_applicable", "open", "repaired",
        )
    }  # fmt: skip
    return {
        "run": run,
        "judge": job.name,
        **totals,
        "unscored": dict(sorted(_sum(judge["unscored"] for judge in each).items())),
        "open_why": dict(_sum(judge["open_why"] for judge in each)),
        "tokens": dict(_sum(judge["tokens"] for judge in each)),
        "cost": None if None in costs else round(sum(costs), 6),
        "stopped": next((judge["stopped"] for judge in each if judge["stopped"]), None),
        "runs": each,
    }


def _sum(counts: Any) -> Counter[str]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return total


def _judge_object(outcome: ScoreRun, judge: str, priced: bool) -> dict[str, Any]:
    progress = outcome.progress
    return {
        "run": outcome.run,
        "judge": judge,
        "planned": progress.planned,
        "sent": outcome.sent,
        "from_ledger": progress.from_ledger,
        "scored": outcome.scored,
        "not_applicable": outcome.not_applicable,
        "unscored": dict(sorted(outcome.unscored.items())),
        "open": progress.open,
        "open_why": progress.open_why,
        "repaired": outcome.repaired,
        "tokens": {
            "prompt": progress.prompt_tokens,
            "cached": progress.cached_tokens,
            "completion": progress.completion_tokens,
        },
        "cost": round(progress.cost, 6) if priced and not progress.unpriced else None,
        "stopped": progress.stopped or None,
    }


def end(outcomes: Sequence[ScoreRun], options: ScoreOptions) -> None:
    """End with 130 after an interrupt, with 12 where too much is missing."""
    if any(outcome.progress.stopped == INTERRUPTED for outcome in outcomes):
        say("Interrupted; finished work is kept. Run the same command again to go on.")
        sys.exit(ExitCode.INTERRUPTED)
    for outcome in outcomes:
        if outcome.missing_share > options.max_unscored or outcome.progress.stopped:
            raise Incomplete(_incomplete_text(outcome, options))


def _incomplete_text(outcome: ScoreRun, options: ScoreOptions) -> str:
    progress = outcome.progress
    parts, remedies = [], []
    if progress.stopped:
        parts.append(f"stopped early: {progress.stopped}")
    if progress.open:
        left = dict(progress.open_why)
        if unreached := progress.open - sum(left.values()):
            left["not reached"] = unreached
        listed = "; ".join(f"{count} {reason}" for reason, count in left.items())
        parts.append(f"{progress.open} open ({listed})")
        remedies.append("the same command goes on with open units")
    if progress.last_rejection:
        parts.append(f"the last rejection said: {progress.last_rejection}")
    if outcome.unscored:
        why = ", ".join(f"{count} {reason}" for reason, count in outcome.unscored.most_common())
        parts.append(f"{outcome.unscored.total()} unscored ({why})")
        remedies.append(_unscored_remedy(outcome, options))
    return (
        f"incomplete: {'; '.join(parts)}. {outcome.missing_share:.1%} of the wanted verdicts are "
        f"missing, {options.max_unscored:.1%} are allowed (--max-unscored). To go on: "
        f"{'; '.join(remedies)}."
    )


def _unscored_remedy(outcome: ScoreRun, options: ScoreOptions) -> str:
    """What can be done about verdicts that are missing for good."""
    if options.judge == "offline":
        return (
            "the offline baseline needs a reference, required facts or checks to assess some "
            "criteria (columns of the answers, or a question set): add them, use a model as the "
            "judge, or allow more missing"
        )
    reason = outcome.unscored.most_common(1)[0][0]
    return f"--retry-unscored {reason} asks again"
