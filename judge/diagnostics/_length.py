"""The slope of a score on the length of the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judge.checks import words
from judge.diagnostics._shared import (
    FLAT,
    MIN_QUESTIONS,
    NO_VARIANCE,
    TOO_FEW,
    Floats,
    Indices,
    centred,
    numbered,
    require_rows,
    t_quantile,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSlope:
    """By how much a score rises where an answer is one standard deviation longer (in log length).

    ``slope``, ``low`` and ``high`` are in score units (the scale from 0 to 1); ``spread`` is the
    standard deviation of log(words) within a model: one SD is a factor of exp(spread) in
    length. ``df`` are the interval's degrees of freedom. ``note`` says why there is no slope
    (no_variance) or no interval (too_few_questions).
    """

    slope: float | None
    low: float | None
    high: float | None
    confidence: float
    spread: float
    df: float | None
    n_answers: int
    n_questions: int
    n_models: int
    note: str | None


def word_count(text: str) -> int:
    """Words of a text; a CJK character counts as one, for Chinese has no spaces to go by.

    Never the tokens of a tokenizer, which count the same text differently for every model.
    """
    return len(words(text))


def log_length(counts: Sequence[int] | NDArray[np.integer]) -> Floats:
    """The natural logarithm of the numbers of words, (n,).

    Raises ValueError for a text without words: it has no place on this scale, and says nothing on
    whether longer answers are preferred. Leave such answers out.
    """
    words_of = np.asarray(counts, np.float64)
    if (words_of < 1).any():
        raise ValueError("a text without words has no logarithm of length; leave it out")
    result: Floats = np.log(words_of)
    return result


def length_slope(
    scores: NDArray[np.floating],
    lengths: NDArray[np.floating],
    models: Sequence[object] | NDArray[np.generic],
    questions: Sequence[object] | NDArray[np.generic],
    *,
    confidence: float = 0.95,
) -> LengthSlope:
    """The slope of the score on the log length within models, with a question-cluster interval.

    ``scores``, ``lengths`` (see `log_length`), ``models`` and ``questions`` are (n,), one entry per
    scored answer. The model is score = a(model) + b z + e with z the log length less its mean
    within the model, over its pooled standard deviation; b is the least-squares slope. Its
    variance is the CR2 estimate with questions as clusters, and the interval a t interval with
    Bell and McCaffrey's degrees of freedom (Pustejovsky and Tipton 2018, "Small-sample methods for
    cluster-robust variance estimation"): ordinary cluster-robust errors are too short at 45
    questions when a few answers are much longer than the rest.

    A slope is not by itself a bias: people, too, tend to rate longer answers higher, often with
    reason. Raises ValueError for columns of different lengths and values that are not finite.
    """
    y = np.asarray(scores, np.float64)
    x = np.asarray(lengths, np.float64)
    require_rows(len(y), lengths=x, models=models, questions=questions)
    if not (np.isfinite(y).all() and np.isfinite(x).all()):
        raise ValueError("a score or a length is not finite; leave out what was not scored")
    model, question = numbered(models), numbered(questions)
    n_models = int(model.max()) + 1 if len(y) else 0
    n_questions = int(question.max()) + 1 if len(y) else 0
    x, y = centred(x, model), centred(y, model)
    freedom = len(y) - n_models
    spread = float(np.sqrt((x @ x) / freedom)) if freedom > 0 else 0.0

    def result(
        slope: float | None,
        bounds: tuple[float, float] | None,
        df: float | None,
        note: str | None,
    ) -> LengthSlope:
        return LengthSlope(
            slope=slope,
            low=None if bounds is None else bounds[0],
            high=None if bounds is None else bounds[1],
            confidence=confidence,
            spread=spread,
            df=df,
            n_answers=len(y),
            n_questions=n_questions,
            n_models=n_models,
            note=note,
        )

    if spread**2 < FLAT or y @ y < FLAT:
        return result(None, None, None, NO_VARIANCE)
    z = x / spread
    slope = float(z @ y / (z @ z))
    if n_questions < MIN_QUESTIONS:
        return result(slope, None, None, TOO_FEW)
    variance, df = _cr2(z, y - slope * z, model, question)
    half = t_quantile(0.5 + confidence / 2, df) * float(np.sqrt(variance))
    return result(slope, (slope - half, slope + half), df, None)


def _cr2(z: Floats, residuals: Floats, model: Indices, question: Indices) -> tuple[float, float]:
    """Variance of the slope and its degrees of freedom, under questions as clusters.

    Within cluster g the residuals are multiplied by (I - H_gg)^(-1/2), where H is the hat matrix of
    the model effects and z; a direction that the cluster alone determines is left out. The degrees
    of freedom are those of the sum of squares under equal, independent errors.
    """
    sizes = np.bincount(model)
    power = float(z @ z)
    order = np.argsort(question, kind="stable")
    starts = np.flatnonzero(np.diff(question[order], prepend=-1))
    members = np.split(order, starts[1:])
    totals = np.empty(len(members))
    # Column g of `carried` is (I - H)' restricted to the rows of cluster g, times A_g z_g: what
    # the errors of all answers add to the cluster's total. Inner products give df.
    inner = np.zeros((len(members), len(members)))
    model_sums = np.zeros((len(members), len(sizes)))
    z_sums = np.empty(len(members))
    for at, rows in enumerate(members):
        same = (model[rows][:, None] == model[rows]) / sizes[model[rows]]
        hat = same + np.outer(z[rows], z[rows]) / power
        values, vectors = np.linalg.eigh(np.eye(len(rows)) - hat)
        kept = values > 1e-9
        root = (vectors[:, kept] / np.sqrt(values[kept])) @ vectors[:, kept].T
        weight = root @ z[rows]
        totals[at] = weight @ residuals[rows]
        inner[at, at] = weight @ weight
        model_sums[at] = np.bincount(model[rows], weights=weight, minlength=len(sizes))
        z_sums[at] = weight @ z[rows]
    # H is the sum of the projections on the model effects and on z, which are orthogonal.
    inner -= (model_sums / sizes) @ model_sums.T + np.outer(z_sums, z_sums) / power
    variance = float(totals @ totals) / power**2
    df = float(np.trace(inner) ** 2 / (inner**2).sum())
    return variance, df
