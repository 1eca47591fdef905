"""Answers of baseline nights, drawn for the judge to score again."""

from __future__ import annotations

from typing import Any

import numpy as np

from judge.drift import Baseline
from judge.ledger import Ledger
from judge.nightly._events import Series
from judge.nightly._measure import answer_key, seeded
from judge.nightly._plan import Plan
from judge.scoring import Item, item_of


def baseline_of(series: Series, date: str) -> Baseline | None:
    """The baseline that holds on a date: the one accepted last of those that hold by then."""
    held = sorted(
        (one for one in series.baselines if one.since <= date), key=lambda one: one.since
    )  # fmt: skip
    return held[-1] if held else None


def drawn_answers(
    ledger: Ledger, plan: Plan, series: Series, baseline: Baseline, n: int, *purpose: str
) -> tuple[list[Item], np.ndarray[Any, Any]]:
    """``n`` answers of baseline nights, at random, one per question while there are enough.

    With the scores (n, c) that they got on their own nights, as those nights noted them: rulers,
    weights and samples of then. ``purpose`` seeds the draw.
    """
    nights = [one for one in series.nights if one.night.date in baseline.nights]
    stored = ledger.answers(models=sorted({one.candidate for one in nights}))
    dates = [one.night.date for one in nights]
    held = {one.night.date: one.answers for one in nights}
    pool: dict[tuple[str, str], list[Item]] = {}
    for row in stored:
        question = plan.questions.get(row.answer.question_id)
        if question is not None and answer_key(row.answer) in held.get(row.answer.occasion, ()):
            place = (row.answer.question_id, row.answer.occasion)
            pool.setdefault(place, []).append(item_of(row.answer_id, row.answer, question))
    rng = seeded("draw", plan.config.series, *purpose)
    chosen: list[Item] = []
    while len(chosen) < n and dates:
        before = len(chosen)
        for name in rng.permutation(list(plan.questions)).tolist():
            night = dates[int(rng.integers(len(dates)))]
            items = pool.get((name, night), [])
            if items and len(chosen) < n:
                chosen.append(items.pop(int(rng.integers(len(items)))))
        if len(chosen) == before and not any(pool.values()):
            break
    rows = [held[item.answer.occasion][answer_key(item.answer)] for item in chosen]
    return chosen, np.array(rows, np.float64).reshape(len(chosen), len(plan.metrics))
