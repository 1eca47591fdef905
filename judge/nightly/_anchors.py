"""Anchors: rated answers that are set aside and judged again every night.

Nothing but the judge can move them. They are chosen once, spread over the levels that people gave
and over the questions' categories, and are used for nothing else from then on: neither to fit a
calibration nor as examples in a prompt.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from judge.ledger import Ledger
from judge.nightly._measure import seeded
from judge.records import Question
from judge.rubric import Rubric
from judge.scoring import Item, item_of
from judge.tables import completed

MOST = 0.5
"""The largest share of the rated answers that is set aside: calibrations need the others."""

_LEVELS = 4


def chosen_anchors(
    ledger: Ledger, rubric: Rubric, questions: Mapping[str, Question], series: str, n: int
) -> dict[str, Any] | None:
    """Up to ``n`` of the rated answers, as the body of an event; None where there are none.

    They are taken in turn from the strata that category and mean human level make, so that rare
    levels are there too. Answers whose text is not certain (the same question, model and sample on
    several occasions with different texts) are left out.
    """
    means = _human_means(ledger, rubric)
    stored = ledger.answers()
    texts: dict[tuple[str, str, int], set[str]] = defaultdict(set)
    for row in stored:
        texts[row.answer.question_id, row.answer.model, row.answer.sample].add(row.answer.answer)
    strata: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    seen = set()
    for row in stored:
        key = (row.answer.question_id, row.answer.model, row.answer.sample)
        question = completed(row.question, questions.get(row.answer.question_id))
        if key in seen or key not in means or len(texts[key]) > 1 or question is None:
            continue
        seen.add(key)
        human = means[key]
        level = min(_LEVELS - 1, int(np.mean(list(human.values())) * _LEVELS))
        strata[question.category or "", level].append(
            {"answer_id": row.answer_id, "human": dict(sorted(human.items()))}
        )
    total = len(seen)
    wanted = min(n, int(total * MOST))
    if not wanted:
        return None
    rng = seeded("anchors", series)
    piles = [[pile[at] for at in rng.permutation(len(pile))] for _, pile in sorted(strata.items())]
    picked: list[dict[str, Any]] = []
    while len(picked) < wanted:
        for pile in piles:
            if pile and len(picked) < wanted:
                picked.append(pile.pop())
    return {"answers": picked, "rated": total}


def anchor_items(
    ledger: Ledger, body: Mapping[str, Any], questions: Mapping[str, Question]
) -> list[Item]:
    """The frozen answers as items, in the order of the event."""
    ids = [one["answer_id"] for one in body["answers"]]
    stored = {row.answer_id: row for row in ledger.answers(ids=ids)}
    items = []
    for at in ids:
        row = stored[at]
        question = completed(row.question, questions.get(row.answer.question_id))
        assert question is not None  # it had one when it was frozen, and nothing is deleted
        items.append(item_of(at, row.answer, question))
    return items


def _human_means(ledger: Ledger, rubric: Rubric) -> dict[tuple[str, str, int], dict[str, float]]:
    """Per rated answer and criterion, the mean of people's ratings in [0, 1]."""
    names = {one.criterion for one in rubric.criteria}
    found: dict[tuple[str, str, int], dict[str, list[float]]] = defaultdict(
        lambda: defaultdict(list)
    )
    columns: Sequence[str] = (
        "question_id", "model", "sample", "criterion", "rating", "scale_min", "scale_max",
    )  # fmt: skip
    for question, model, sample, criterion, rating, low, high in (
        ledger.ratings().select(columns).iter_rows()
    ):
        if criterion in names:
            found[question, model, sample][criterion].append((rating - low) / (high - low))
    return {
        key: {name: float(np.mean(values)) for name, values in of.items()}
        for key, of in found.items()
    }
