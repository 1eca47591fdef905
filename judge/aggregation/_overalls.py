"""The overall of an answer: the weighted mean over its applicable criteria."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from judge.aggregation._shared import (
    ANSWER,
    OPEN,
    require_one_ruler_each,
    require_unique,
)
from judge.records import Status
from judge.rubric import Rubric
from judge.weights import Weights

_OVERALL_SCHEMA = {
    "question_id": pl.String(),
    "model": pl.String(),
    "answer_sample": pl.Int64(),
    "answer_hash": pl.Binary(),
    "overall": pl.Float64(),
    "status": pl.String(),
    "reason": pl.String(),
    "n_applicable": pl.Int64(),
    "n_scored": pl.Int64(),
    "capped": pl.Boolean(),
    "renormalised": pl.Boolean(),
    "missing": pl.String(),
}
# A mean of three scores of 0.4 is 0.4000000000000001, and still "at or below 0.4".
_ROUNDING = 1e-9

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


def overall_scores(
    scores: pl.DataFrame,
    categories: Mapping[str, str | None],
    rubric: Rubric,
    weights: Weights,
    stage: str | None = None,
    *,
    partial_from: int | None = None,
) -> pl.DataFrame:
    """One row per answer in ``scores`` (see `answer_scores`): the weighted mean of its criteria.

    ``categories`` gives the category of each question_id; a question without one is weighed by the
    general weights. Criteria that the rubric does not name are left aside. A criterion applies
    unless its verdict says not_applicable or, where there is no verdict, the rubric excludes the
    question's category.

    The overall is the mean over the applicable criteria, with the weights renormalised over them.
    If one of them that weighs, or that a cap of the profile looks at, is unscored or has no
    verdict, the overall is missing. ``partial_from`` (the offline baseline, whose criteria may be
    beyond what it can assess) relaxes that: from min(partial_from, number of criteria of the
    rubric) scored criteria on, the overall is the weighted mean over those that are scored, and an
    unscored criterion caps nothing. Then each cap holds: if a scored criterion of its priority has
    a score at or below ``at_or_below``, the overall is at most ``cap``.

    Columns: question_id, model, answer_sample, answer_hash;
    ``overall`` in [0, 1], null if missing;
    ``status``: scored; unscored, with ``reason``, the most frequent one of the unscored criteria
    that it misses; open, if more verdicts may complete it; not_applicable, if no applicable
    criterion weighs anything;
    ``n_applicable``, ``n_scored``: numbers of criteria;
    ``capped``: a cap lowered the overall;
    ``renormalised``: the overall leaves out a criterion that weighs something;
    ``missing``: in words, what a missing overall lacks. Rows are sorted by answer.

    Raises UsageError for scores of several rulers, an answer's criterion that is there twice, and
    a stage that the profile does not define.
    """
    require_one_ruler_each(scores)
    require_unique(scores, [*ANSWER, "criterion"], "scores")
    cells = _cells(scores, categories, rubric)
    vectors = _vectors(cells.categories, rubric, weights, stage)
    result = _overall_values(cells, vectors, rubric, weights, partial_from)
    words = [
        _missing_words(cells, row, result, rubric, partial_from)
        for row in range(cells.answers.height)
    ]
    return cells.answers.with_columns(
        pl.Series("overall", [_number(value) for value in result.overall], pl.Float64),
        pl.Series("status", [word.status for word in words], pl.String),
        pl.Series("reason", [word.reason for word in words], pl.String),
        pl.Series("n_applicable", cells.applicable.sum(axis=1)),
        pl.Series("n_scored", cells.scored.sum(axis=1)),
        pl.Series("capped", result.capped),
        pl.Series("renormalised", result.renormalised),
        pl.Series("missing", [word.missing for word in words], pl.String),
    ).select(pl.col(name).cast(kind) for name, kind in _OVERALL_SCHEMA.items())


class _Cells(NamedTuple):
    """Answers × criteria of the rubric; every array is (n_answers, n_criteria)."""

    answers: pl.DataFrame
    categories: list[str | None]
    scores: Floats  # NaN where not scored; never leaves this module
    scored: Flags
    applicable: Flags
    unscored: Flags
    reasons: NDArray[np.object_]  # of unscored cells, else None


def _cells(scores: pl.DataFrame, categories: Mapping[str, str | None], rubric: Rubric) -> _Cells:
    answers = scores.select(ANSWER).unique().sort(ANSWER)
    columns = {criterion.criterion: at for at, criterion in enumerate(rubric.criteria)}
    shape = (answers.height, len(columns))
    of_questions = [categories.get(question) for question in answers["question_id"]]
    applies = {
        category: [criterion.applies_to(category) for criterion in rubric.criteria]
        for category in set(of_questions)
    }
    cells = _Cells(
        answers=answers,
        categories=of_questions,
        scores=np.full(shape, np.nan),
        scored=np.zeros(shape, bool),
        applicable=np.array([applies[name] for name in of_questions], bool).reshape(shape),
        unscored=np.zeros(shape, bool),
        reasons=np.full(shape, None, object),
    )
    known = scores.filter(pl.col("criterion").is_in(list(columns))).join(
        answers.with_row_index("row"), on=ANSWER, how="left", nulls_equal=True
    )
    if known.is_empty():
        return cells
    rows = known["row"].to_numpy()
    at = np.array([columns[name] for name in known["criterion"]])
    status = known["status"].to_numpy()
    cells.scored[rows, at] = status == Status.SCORED.value
    cells.applicable[rows, at] = status != Status.NOT_APPLICABLE.value
    cells.unscored[rows, at] = status == Status.UNSCORED.value
    cells.reasons[rows, at] = known["reason"].to_list()
    cells.scores[rows, at] = known["score"].to_numpy()
    return cells


def _vectors(
    categories: Sequence[str | None], rubric: Rubric, weights: Weights, stage: str | None
) -> Floats:
    """The weights of every answer's criteria, (n_answers, n_criteria), not normalised."""
    names = [criterion.criterion for criterion in rubric.criteria]
    by_category = {}
    for category in {None, *categories}:
        vector = weights.vector(category, stage)
        by_category[category] = [vector.get(name, 0.0) for name in names]
    return np.array([by_category[name] for name in categories], float).reshape(-1, len(names))


class _Overalls(NamedTuple):
    overall: Floats  # (n_answers,), NaN where missing; never leaves this module
    weighed: Flags  # (n_answers,): at least one applicable criterion weighs
    needed: Flags  # (n_answers, n_criteria): what the overall cannot do without
    capped: Flags
    renormalised: Flags


def _overall_values(
    cells: _Cells,
    vectors: Floats,
    rubric: Rubric,
    weights: Weights,
    partial_from: int | None,
) -> _Overalls:
    watched = _watched(rubric, weights)
    needed = cells.applicable & ((vectors > 0) | watched)
    usable = ~(needed & ~cells.scored).any(axis=1)
    if partial_from is not None:
        usable |= cells.scored.sum(axis=1) >= min(partial_from, len(rubric.criteria))
    used = np.where(cells.scored, vectors, 0.0)
    total = used.sum(axis=1)
    usable &= total > 0

    safe_total = np.where(usable, total, 1.0)
    filled = np.where(cells.scored, cells.scores, 0.0)
    mean = (used * filled).sum(axis=1) / safe_total
    # Rounding must not carry a mean of ones past one.
    counted = used > 0
    mean = np.clip(
        mean,
        np.where(counted, filled, 1.0).min(axis=1, initial=1.0),
        np.where(counted, filled, 0.0).max(axis=1, initial=0.0),
    )
    capped = np.zeros(len(mean), bool)
    for cap in weights.caps:
        failed = cells.scored & (filled <= cap.at_or_below + _ROUNDING)
        holds = (failed & _of_priority(rubric, cap.priority)).any(axis=1)
        capped |= usable & holds & (mean > cap.cap)
        mean = np.where(holds, np.minimum(mean, cap.cap), mean)
    return _Overalls(
        overall=np.where(usable, mean, np.nan),
        weighed=np.asarray((cells.applicable & (vectors > 0)).any(axis=1)),
        needed=needed,
        capped=capped,
        renormalised=usable & ((vectors > 0) & ~cells.scored).any(axis=1),
    )


def _of_priority(rubric: Rubric, priority: str) -> Flags:
    return np.array([criterion.priority == priority for criterion in rubric.criteria], bool)


def _watched(rubric: Rubric, weights: Weights) -> Flags:
    """Criteria, (n_criteria,), that a cap looks at: whether it holds cannot be told without."""
    watched = np.zeros(len(rubric.criteria), bool)
    for cap in weights.caps:
        watched |= _of_priority(rubric, cap.priority)
    return watched


class _Words(NamedTuple):
    status: str
    reason: str | None = None
    missing: str | None = None


def _missing_words(
    cells: _Cells, row: int, result: _Overalls, rubric: Rubric, partial_from: int | None
) -> _Words:
    """What became of one answer's overall, and what it lacks."""
    if not np.isnan(result.overall[row]):
        return _Words(Status.SCORED.value)
    if not result.weighed[row]:
        return _Words(Status.NOT_APPLICABLE.value, missing="no criterion that applies has a weight")
    lacking = result.needed[row] & ~cells.scored[row]
    reasons = [reason for reason in cells.reasons[row][lacking] if reason is not None]
    parts = [
        f"{criterion.criterion}: {cells.reasons[row, at] or OPEN}"
        for at, criterion in enumerate(rubric.criteria)
        if lacking[at]
    ]
    missing = "; ".join(parts)
    n_scored = int(cells.scored[row].sum())
    n_open = int((cells.applicable[row] & ~cells.scored[row] & ~cells.unscored[row]).sum())
    may_come = not reasons
    if partial_from is not None:
        enough = min(partial_from, len(rubric.criteria))
        may_come |= n_open > 0 and n_scored + n_open >= enough
        missing = f"{n_scored} of at least {enough} criteria scored; {missing}"
    if may_come:
        return _Words(OPEN, missing=missing)
    return _Words(Status.UNSCORED.value, _most_frequent(reasons), missing)


def _most_frequent(reasons: Iterable[str]) -> str:
    """The most frequent reason; of equally frequent ones the first in the alphabet."""
    counts = Counter(reasons)
    return min(counts, key=lambda reason: (-counts[reason], reason))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
