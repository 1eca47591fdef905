"""What becomes of the runs of ``judge score``, one judge's or a panel's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from judge.cli._outcome import account_object, end_if_interrupted, require_complete
from judge.cli._scoring_job import ScoreJob, ScoreOptions
from judge.scoring import ScoreRun


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


def _sum(counts: Iterable[Mapping[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for count in counts:
        total.update(count)
    return total


def _judge_object(outcome: ScoreRun, judge: str, priced: bool) -> dict[str, Any]:
    return {
        "run": outcome.run,
        "judge": judge,
        **account_object(
            outcome,
            scored=outcome.scored,
            not_applicable=outcome.not_applicable,
            repaired=outcome.repaired,
            priced=priced,
        ),
    }


def end(outcomes: Sequence[ScoreRun], options: ScoreOptions) -> None:
    """End with 130 after an interrupt, with 12 where too much is missing."""
    end_if_interrupted(*outcomes)
    for outcome in outcomes:
        remedies = [_unscored_remedy(outcome, options)] if outcome.unscored else []
        require_complete(outcome, options.max_unscored, remedies)


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
