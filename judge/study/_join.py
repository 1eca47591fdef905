"""Frames of scores and ratings, joined into a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from judge.errors import UsageError
from judge.records import Status
from judge.study._study import Flags, Floats, Indices, Ratings, Study

if TYPE_CHECKING:
    import polars as pl

_ROUNDING = 1e-9


def study_of(
    scores: pl.DataFrame,
    ratings: pl.DataFrame,
    *,
    criteria: Sequence[str],
    categories: Mapping[str, str | None] | None = None,
    words: Mapping[tuple[str, str, int], int] | None = None,
    probabilities: Mapping[tuple[str, str, int, str], float] | None = None,
) -> Study:
    """Join scores and ratings by answer.

    ``scores`` has question_id, model, answer_sample, criterion, judge, status, score in [0, 1] and
    sd, and may have k and k_wanted, the judge's samples that the score is the mean of and those
    that were wanted; ``ratings`` has question_id, model, sample, criterion, rater, rating,
    scale_min and scale_max.
    Only the named criteria are kept. The answers are those of the scores; ``words`` are per
    (question_id, model, sample), ``probabilities`` also per criterion. A criterion that was rated
    on several scales has no steps. Ratings of cells to which the criterion does not apply are left
    out.

    Raises UsageError where there is no score at all, where a rating is of an answer without any
    score, and where one rater rated an answer twice.
    """
    import polars as pl

    wanted = list(criteria)
    scores = scores.filter(pl.col("criterion").is_in(wanted))
    ratings = ratings.filter(pl.col("criterion").is_in(wanted))
    if scores.is_empty():
        raise UsageError("There is no score to calibrate: score the answers first (judge score).")
    keys = sorted(set(scores.select("question_id", "model", "answer_sample").iter_rows()))
    row_of = {key: at for at, key in enumerate(keys)}
    question_ids = tuple(sorted({key[0] for key in keys}))
    model_names = tuple(sorted({key[1] for key in keys}))
    judges = tuple(sorted(scores["judge"].unique()))
    cells, sds, applicable = _score_cells(scores, row_of, wanted, judges)
    ends = _sample_ends(scores, cells, row_of, wanted, judges)
    rows, human, n_raters, steps = _rating_cells(ratings, row_of, wanted)
    chances = np.full(human.shape, np.nan)
    for (question, model, sample, criterion), chance in (probabilities or {}).items():
        at = row_of.get((question, model, sample))
        if at is not None and criterion in wanted:
            chances[at, wanted.index(criterion)] = chance
    of_question = {name: at for at, name in enumerate(question_ids)}
    of_model = {name: at for at, name in enumerate(model_names)}
    study = Study(
        criteria=tuple(wanted),
        judges=judges,
        question_ids=question_ids,
        model_names=model_names,
        questions=np.array([of_question[key[0]] for key in keys], np.int64),
        models=np.array([of_model[key[1]] for key in keys], np.int64),
        samples=np.array([key[2] for key in keys], np.int64),
        scores=cells,
        sds=sds,
        human=human,
        n_raters=n_raters,
        applicable=applicable,
        ratings=rows,
        steps=steps,
        words=np.array([(words or {}).get(key, np.nan) for key in keys], np.float64),
        probability=chances,
        categories=tuple((categories or {}).get(name) for name in question_ids),
        lowest=None if ends is None else ends[0],
        highest=None if ends is None else ends[1],
    )
    excluded = ~applicable & ~np.isnan(human)
    return study.without_ratings(excluded) if excluded.any() else study


def _score_cells(
    scores: pl.DataFrame,
    row_of: Mapping[tuple[str, str, int], int],
    criteria: Sequence[str],
    judges: Sequence[str],
) -> tuple[Floats, Floats, Flags]:
    shape = (len(row_of), len(criteria), len(judges))
    cells, sds = np.full(shape, np.nan), np.full(shape, np.nan)
    applicable = np.ones(shape[:2], bool)
    columns = ("question_id", "model", "answer_sample", "criterion", "judge", "status", "score")
    for question, model, sample, criterion, judge, status, score, sd in scores.select(
        *columns, "sd"
    ).iter_rows():
        at = (row_of[question, model, sample], criteria.index(criterion), judges.index(judge))
        if status == Status.SCORED.value:
            cells[at], sds[at] = score, np.nan if sd is None else sd
        elif status == Status.NOT_APPLICABLE.value:
            applicable[at[:2]] = False
    return cells, sds, applicable


def _sample_ends(
    scores: pl.DataFrame,
    cells: Floats,
    row_of: Mapping[tuple[str, str, int], int],
    criteria: Sequence[str],
    judges: Sequence[str],
) -> tuple[Floats, Floats] | None:
    """The scores with every lost sample of a judge at 0, and at 1; None without the counts.

    A mean of k of k_wanted samples lies between k·score / k_wanted and that plus the lost share.
    """
    import polars as pl

    if not {"k", "k_wanted"} <= set(scores.columns):
        return None
    lowest, highest = cells.copy(), cells.copy()
    lost = scores.filter(
        (pl.col("status") == Status.SCORED.value) & (pl.col("k") < pl.col("k_wanted"))
    )
    names = ("question_id", "model", "answer_sample", "criterion", "judge", "k", "k_wanted")
    for question, model, sample, criterion, judge, k, wanted in lost.select(names).iter_rows():
        at = (row_of[question, model, sample], criteria.index(criterion), judges.index(judge))
        lowest[at] = cells[at] * k / wanted
        highest[at] = (cells[at] * k + wanted - k) / wanted
    return lowest, highest


def _rating_cells(
    ratings: pl.DataFrame, row_of: Mapping[tuple[str, str, int], int], criteria: Sequence[str]
) -> tuple[Ratings, Floats, Indices, tuple[int | None, ...]]:
    names = tuple(sorted(ratings["rater"].unique()))
    of_rater = {name: at for at, name in enumerate(names)}
    found: dict[tuple[int, int, int], float] = {}
    scales: dict[str, tuple[float, float]] = {}
    whole = dict.fromkeys(criteria, True)
    columns = ("question_id", "model", "sample", "criterion", "rater", "rating")
    for question, model, sample, criterion, rater, rating, low, high in ratings.select(
        *columns, "scale_min", "scale_max"
    ).iter_rows():
        row = row_of.get((question, model, sample))
        place = f"{question} × {model} × {criterion} (sample {sample})"
        if row is None:
            raise UsageError(
                f"{place} was rated by {rater}, but no judge scored that answer. Score it, or "
                "leave its ratings out."
            )
        whole[criterion] &= scales.setdefault(criterion, (low, high)) == (low, high)
        key = (row, criteria.index(criterion), of_rater[rater])
        if key in found:
            raise UsageError(f"{place} was rated twice by {rater}. Keep one of the two.")
        found[key] = (rating - low) / (high - low)
        whole[criterion] &= abs(rating - low - round(rating - low)) < _ROUNDING
    keys = np.array(sorted(found), np.int64).reshape(-1, 3)
    values = np.array([found[row, at, rater] for row, at, rater in keys.tolist()], np.float64)
    counts = np.zeros((len(row_of), len(criteria)), np.int64)
    totals = np.zeros(counts.shape)
    np.add.at(counts, (keys[:, 0], keys[:, 1]), 1)
    np.add.at(totals, (keys[:, 0], keys[:, 1]), values)
    human = np.where(counts > 0, totals / np.maximum(counts, 1), np.nan)
    steps = tuple(_steps(scales.get(name), whole[name]) for name in criteria)
    rows = Ratings(
        answers=keys[:, 0], criteria=keys[:, 1], raters=keys[:, 2], values=values, names=names
    )
    return rows, human, counts, steps


def _steps(scale: tuple[float, float] | None, whole: bool) -> int | None:
    if scale is None or not whole:
        return None
    span = scale[1] - scale[0]
    return round(span) if abs(span - round(span)) < _ROUNDING else None
