"""From verdicts to numbers: scores of answers, overalls of answers, estimates of models.

Pure functions on polars frames. A missing verdict stays missing all the way: it has a status and a
reason, lowers a coverage, and never becomes a number. No frame or record holds NaN; a score that
does not exist is null (None).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from judge.errors import UsageError
from judge.intervals import METHOD, mean_intervals
from judge.records import Estimate, Status
from judge.rubric import Rubric
from judge.rulers import SAMPLES, require_one_ruler
from judge.weights import Weights

OVERALL = "overall"
"""Stands where a criterion stands, for the weighted mean over the criteria."""

OPEN = "open"
"""The status of a score or overall that a further run may still bring; it has no reason."""

POPULATION = "population"

_ANSWER = ("question_id", "model", "answer_sample", "answer_hash")
_SLOT = ("question_id", "model", "answer_sample")

_SCORE_SCHEMA = {
    "question_id": pl.String(),
    "model": pl.String(),
    "answer_sample": pl.Int64(),
    "answer_hash": pl.Binary(),
    "criterion": pl.String(),
    "ruler": pl.String(),
    "judge": pl.String(),
    "status": pl.String(),
    "reason": pl.String(),
    "score": pl.Float64(),
    "level": pl.Float64(),
    "k": pl.Int64(),
    "k_wanted": pl.Int64(),
    "sd": pl.Float64(),
    "kind": pl.String(),
}
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


# --- The score of an answer on a criterion ---------------------------------------------------


def answer_scores(verdicts: pl.DataFrame) -> pl.DataFrame:
    """One row per answer and criterion: the mean over the judge's samples.

    ``verdicts`` has the columns of the ledger's verdict frame. Columns of the result:
    question_id, model, answer_sample, answer_hash, criterion, ruler, judge;
    ``status``: scored if at least one sample is; else not_applicable if all are; else unscored;
    ``reason``: of an unscored row, the most frequent reason of its samples (the first in the
    alphabet of equally frequent ones);
    ``score`` in [0, 1] and ``level`` on the verdicts' scale: means over the scored samples;
    ``k``, ``k_wanted``: samples that are scored, and that are settled and not not_applicable (a
    sample that is still open has no row and is not counted);
    ``sd``: the sample standard deviation of the scores, null below two;
    ``kind``: samples. Rows are sorted by answer and criterion. No verdicts give no rows.

    Raises UsageError for verdicts of several rulers, judges or occasions (separate measurements:
    choose one first) and for a judge's sample that is there twice; ValueError for what no verdict
    can be, such as a scored one without a score in [0, 1].
    """
    _require_possible(verdicts)
    _require_one_measurement(verdicts)
    key = [*_ANSWER, "criterion"]
    scored = pl.col("status") == Status.SCORED.value
    excluded = pl.col("status") == Status.NOT_APPLICABLE.value
    # Sorting first makes the sums, and so the last digits, independent of the order of the rows.
    samples = verdicts.sort([*key, "sample"])
    rows = samples.group_by(key, maintain_order=True).agg(
        pl.col("ruler").first(),
        pl.col("judge").first(),
        _status(scored.any(), excluded.all()).alias("status"),
        pl.col("reason").drop_nulls().mode().sort().first().alias("reason"),
        pl.col("score").filter(scored).mean().alias("score"),
        pl.col("level").filter(scored).mean().alias("level"),
        scored.sum().cast(pl.Int64).alias("k"),
        (~excluded).sum().cast(pl.Int64).alias("k_wanted"),
        pl.col("score").filter(scored).std().alias("sd"),
    )
    unscored = pl.col("status") == Status.UNSCORED.value
    return rows.with_columns(
        pl.when(unscored).then(pl.col("reason")).alias("reason"),
        pl.lit(SAMPLES).alias("kind"),
    ).select(pl.col(name).cast(kind) for name, kind in _SCORE_SCHEMA.items())


def _status(scored: pl.Expr, excluded: pl.Expr) -> pl.Expr:
    return (
        pl.when(scored)
        .then(pl.lit(Status.SCORED.value))
        .when(excluded)
        .then(pl.lit(Status.NOT_APPLICABLE.value))
        .otherwise(pl.lit(Status.UNSCORED.value))
    )


def _require_possible(verdicts: pl.DataFrame) -> None:
    """Raise ValueError for rows that `judge.records.Verdict` would refuse."""
    status, score = pl.col("status"), pl.col("score")
    good = (
        (
            (status == Status.SCORED.value)
            & score.is_between(0, 1)
            & pl.col("level").is_finite()
            & pl.col("reason").is_null()
        )
        | (
            (status == Status.NOT_APPLICABLE.value)
            & score.is_null()
            & pl.col("level").is_null()
            & pl.col("reason").is_null()
        )
        | (
            (status == Status.UNSCORED.value)
            & score.is_null()
            & pl.col("level").is_null()
            & pl.col("reason").is_not_null()
        )
    )
    bad = verdicts.filter(~good.fill_null(value=False))
    if not bad.is_empty():
        row = bad.row(0, named=True)
        raise ValueError(
            f"{row['question_id']} × {row['model']} × {row['criterion']}: a {row['status']} "
            f"verdict with level {row['level']}, score {row['score']}, reason {row['reason']}"
        )


def _require_one_measurement(verdicts: pl.DataFrame) -> None:
    """Raise UsageError if the verdicts do not stem from one ruler, judge and occasion."""
    _require_one_ruler_each(verdicts)
    for (criterion,), rows in verdicts.group_by(["criterion"], maintain_order=True):
        judges = sorted(rows["judge"].unique())
        if len(judges) > 1:
            raise UsageError(
                f"{criterion}: verdicts of {len(judges)} judges ({', '.join(judges)}) cannot be "
                "averaged. Choose one judge."
            )
    occasions = sorted(verdicts["occasion"].unique())
    if len(occasions) > 1:
        names = ", ".join(repr(occasion) for occasion in occasions)
        raise UsageError(
            f"Verdicts of {len(occasions)} occasions ({names}) are separate measurements and "
            "cannot be averaged. Choose one occasion."
        )
    _require_unique(verdicts, [*_ANSWER, "criterion", "sample"], "verdicts")


def _require_one_ruler_each(rows: pl.DataFrame) -> None:
    for (criterion,), of_criterion in rows.group_by(["criterion"], maintain_order=True):
        require_one_ruler(str(criterion), of_criterion["ruler"].unique())


def _require_unique(rows: pl.DataFrame, key: Sequence[str], what: str) -> None:
    """Raise UsageError if two rows have the same key: one of them would count twice."""
    twice = rows.group_by(key).len().filter(pl.col("len") > 1).sort(key)
    if not twice.is_empty():
        first = twice.row(0, named=True)
        names = " × ".join(str(first[name]) for name in key if name != "answer_hash")
        raise UsageError(
            f"{twice.height} {what} are there more than once, the first on {names} "
            f"({', '.join(name for name in key if name != 'answer_hash')}). Keep one of each."
        )


# --- The overall of an answer ----------------------------------------------------------------


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
    _require_one_ruler_each(scores)
    _require_unique(scores, [*_ANSWER, "criterion"], "scores")
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
    answers = scores.select(_ANSWER).unique().sort(_ANSWER)
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
        answers.with_row_index("row"), on=_ANSWER, how="left", nulls_equal=True
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


# --- The estimate of a model -----------------------------------------------------------------


def estimates(
    answers: pl.DataFrame,
    scores: pl.DataFrame,
    overalls: pl.DataFrame,
    rubric: Rubric,
    *,
    categories: Mapping[str, str | None] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Estimate]:
    """Per model, in alphabetical order: an estimate per criterion of the rubric, then the overall.

    ``answers`` has one row per answer that was to be judged: question_id, model, answer_sample
    and, optionally, answer_hash. ``scores`` and ``overalls`` come from `answer_scores` and
    `overall_scores`; what they hold on other answers, or on another text of an answer, is left
    aside (a hash that is absent or null fits every text).

    The value is the mean of the question means, where a question's answers share its weight; see
    `judge.intervals.mean_intervals`. An estimate counts: ``n_questions`` with at least one scored
    answer, ``n_answers`` that are scored, ``unscored`` answers by reason, ``not_applicable`` ones,
    and ``open`` ones, which have no verdict. With ``categories`` (category per question_id), an
    answer without verdict on a criterion that the rubric excludes for it counts as not applicable
    rather than open. ``coverage`` is the share of the wanted (not not_applicable) answers that are
    scored; 1 if none is wanted. Where nothing is scored, value, low and high are None.

    The same seed gives the same numbers, whatever the order of the rows and whichever other models
    there are. No answers give no estimates. Raises UsageError for scores of several rulers and
    for anything that is there twice.
    """
    answers = _with_hash(answers)
    _require_unique(answers, _SLOT, "answers")
    _require_one_ruler_each(scores)
    found = pl.concat(
        [
            scores.select(*_ANSWER, "criterion", "status", "reason", "score"),
            overalls.select(
                *_ANSWER,
                pl.lit(OVERALL).alias("criterion"),
                "status",
                "reason",
                pl.col("overall").alias("score"),
            ),
        ]
    )
    rows = _wanted(answers, found, rubric, categories or {})
    return [
        estimate
        for _, of_model in rows.group_by(["model"], maintain_order=True)
        for estimate in _of_model(of_model, rubric, confidence, seed)
    ]


def grouped_estimates(
    answers: pl.DataFrame,
    scores: pl.DataFrame,
    overalls: pl.DataFrame,
    rubric: Rubric,
    *,
    by: Mapping[str, str | None],
    categories: Mapping[str, str | None] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[tuple[str | None, Estimate]]:
    """The `estimates` of every group of questions, in alphabetical order of the groups.

    ``by`` gives the group (domain, category, ...) of a question_id; questions without one form the
    group None, which comes last.
    """
    groups = [by.get(question) for question in answers["question_id"]]
    grouped = answers.with_columns(pl.Series("_group", groups, pl.String))
    return [
        (group, estimate)
        for group in sorted(set(groups), key=lambda name: (name is None, name or ""))
        for estimate in estimates(
            grouped.filter(pl.col("_group").eq_missing(pl.lit(group, pl.String))).drop("_group"),
            scores,
            overalls,
            rubric,
            categories=categories,
            confidence=confidence,
            seed=seed,
        )
    ]


def _with_hash(answers: pl.DataFrame) -> pl.DataFrame:
    if "answer_hash" not in answers.columns:
        answers = answers.with_columns(pl.lit(None).alias("answer_hash"))
    return answers.select(pl.col(name).cast(_SCORE_SCHEMA[name]) for name in _ANSWER)


def _wanted(
    answers: pl.DataFrame,
    found: pl.DataFrame,
    rubric: Rubric,
    categories: Mapping[str, str | None],
) -> pl.DataFrame:
    """One row per answer and criterion (and overall): status, reason, score; open if not found.

    Sorted by model, question, answer and criterion, so that sums run in one order.
    """
    key = [*_SLOT, "criterion"]
    fits = pl.col("answer_hash").eq(pl.col("_wanted_hash")).fill_null(value=True)
    bound = found.join(
        answers.rename({"answer_hash": "_wanted_hash"}), on=_SLOT, how="inner"
    ).filter(fits)
    _require_unique(bound, key, "scores")
    names = [*(criterion.criterion for criterion in rubric.criteria), OVERALL]
    excluded = [
        (question, criterion.criterion)
        for question in answers["question_id"].unique()
        for criterion in rubric.criteria
        if not criterion.applies_to(categories.get(question))
    ]
    exclusions = pl.DataFrame(
        excluded, schema={"question_id": pl.String, "criterion": pl.String}, orient="row"
    ).with_columns(pl.lit(Status.NOT_APPLICABLE.value).alias("_rule"))
    return (
        answers.select(_SLOT)
        .join(pl.DataFrame({"criterion": names, "at": range(len(names))}), how="cross")
        .join(bound.select(*key, "status", "reason", "score"), on=key, how="left")
        .join(exclusions, on=["question_id", "criterion"], how="left")
        .with_columns(pl.coalesce("status", "_rule", pl.lit(OPEN)).alias("status"))
        .drop("_rule")
        .sort("model", "question_id", "answer_sample", "at")
    )


def _of_model(rows: pl.DataFrame, rubric: Rubric, confidence: float, seed: int) -> list[Estimate]:
    """The estimates of one model, whose rows are those of `_wanted`."""
    names = [*(criterion.criterion for criterion in rubric.criteria), OVERALL]
    questions = rows.with_columns((pl.col("question_id").rank("dense") - 1).alias("row"))
    means = (
        questions.filter(pl.col("status") == Status.SCORED.value)
        .group_by(["row", "at"], maintain_order=True)
        .agg(pl.col("score").mean(), pl.len().alias("answers"))
    )
    matrix = np.full((rows["question_id"].n_unique(), len(names)), np.nan)
    matrix[means["row"].to_numpy(), means["at"].to_numpy()] = means["score"].to_numpy()
    # The same generator for every model: models on the same questions share their draws.
    intervals = mean_intervals(matrix, confidence=confidence, rng=np.random.default_rng(seed))
    counts: list[Counter[tuple[str, Any]]] = [Counter() for _ in names]
    for at, status, reason, number in (
        rows.group_by(["at", "status", "reason"]).len().sort("at", "status", "reason").iter_rows()
    ):
        counts[at][status, reason] = number

    result = []
    for at, (name, interval) in enumerate(zip(names, intervals, strict=True)):
        excluded = counts[at][Status.NOT_APPLICABLE.value, None]
        n_answers = counts[at][Status.SCORED.value, None]
        wanted = counts[at].total() - excluded
        result.append(
            Estimate(
                model=rows["model"][0],
                criterion=name,
                value=None if interval is None else interval.value,
                low=None if interval is None else interval.low,
                high=None if interval is None else interval.high,
                confidence=confidence,
                method=METHOD,
                estimand=POPULATION,
                n_questions=int(np.count_nonzero(~np.isnan(matrix[:, at]))),
                n_answers=n_answers,
                n_ratings=0,
                coverage=n_answers / wanted if wanted else 1.0,
                unscored={
                    reason: number
                    for (status, reason), number in counts[at].items()
                    if status == Status.UNSCORED.value
                },
                not_applicable=excluded,
                open=counts[at][OPEN, None],
            )
        )
    return result
