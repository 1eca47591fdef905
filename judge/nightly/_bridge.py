"""Bridging: baseline answers judged again, and what their scores of then are worth now."""

from __future__ import annotations

import numpy as np

from judge.drift import Bridge, State, baseline_stats, equate
from judge.errors import UsageError
from judge.ledger import Ledger
from judge.nightly._baselines import next_day
from judge.nightly._drawing import baseline_of, drawn_answers
from judge.nightly._events import add_bridge, read_series
from judge.nightly._lock import SeriesLock
from judge.nightly._measure import Arms, Scores, seeded
from judge.nightly._plan import Plan
from judge.nightly._run import Screen, score_items
from judge.nightly._watching import watched
from judge.scoring import expected_rulers


def bridged(
    ledger: Ledger, plan: Plan, date: str, screen: Screen, lock: SeriesLock, *, sample: int, by: str
) -> Bridge:
    """Score ``sample`` answers of baseline nights with the judge of now; note the bridge.

    It holds from ``date``, or from the day after if that night was measured already. Raises
    UsageError without a baseline and where too little was scored; NightInterrupted.
    """
    config = plan.config
    series = read_series(ledger, config.series)
    newest = series.nights[-1].night.date if series.nights else ""
    since = date if date > newest else next_day(newest)
    baseline = baseline_of(series, since)
    if baseline is None:
        raise UsageError(
            f"The series {config.series} has no baseline yet, so there is nothing to bridge to."
        )
    of_then = [one.night for one in series.nights if one.night.date in baseline.nights]
    then = series.night(baseline.nights[-1])
    if then is None or then.made_by["questions"] != plan.questions_hash:
        raise UsageError(
            "The questions changed since the baseline. A bridge equates rulers, not questions: "
            "collect new nights and accept them (judge baseline accept)."
        )
    if of_then[-1].metrics != plan.metrics:
        raise UsageError(
            "The criteria changed since the baseline, and a criterion that was not scored then has "
            "nothing to be equated with: collect new nights and accept them (judge baseline "
            "accept)."
        )
    rulers = expected_rulers(ledger, plan.rubric, plan.judge, plan.judging(since))
    watches = watched(series, config)
    frozen = bool(watches) and watches[-1].state is State.FROZEN
    if plan.epoch(rulers) == baseline.epoch and not frozen:
        raise UsageError(
            "There is nothing to bridge: the rulers are those of the baseline, and there is no "
            "alarm of the judge. A bridge has an error of its own, which would only widen the "
            "margins."
        )
    items, old = drawn_answers(ledger, plan, series, baseline, sample, "bridge", since)
    troubles: list[str] = []
    arms = Arms(questions=tuple(plan.questions), candidate=items)
    outcome = score_items(
        ledger, plan, arms.shuffled(config.series, since), f"{since} bridge", screen, troubles
    )
    if not items:
        raise UsageError("The ledger holds no answers of the baseline's nights that were scored.")
    if outcome is None or troubles:
        raise UsageError(
            f"The answers could not all be judged ({'; '.join(troubles)}). Run the same command "
            "again to go on."
        )
    scores = Scores(
        ledger, plan.ruler(outcome.rulers), f"{since} bridge", plan.categories,
        sorted({item.answer.model for item in items}),
    )  # fmt: skip
    place = {name: at for at, name in enumerate(plan.questions)}
    stats = baseline_stats(of_then)
    equatings = equate(
        old,
        scores.rows(items),
        np.array([place[item.question.question_id] for item in items], np.int64),
        np.nanmean(stats.means, axis=0),
        seeded("bridge", config.series, since),
    )
    bridge = Bridge(
        since=since,
        old=baseline.epoch,
        new=plan.epoch(outcome.rulers),
        metrics=dict(zip(plan.metrics, equatings, strict=True)),
        by=by,
    )
    lock.require_held()
    add_bridge(ledger, config.series, bridge)
    return bridge
