"""Shares with intervals: how often a judge agrees with itself, and which place it favours.

All shares are ratios of sums over questions: hits over trials. Position consistency counts pairs
of verdicts that agree over pairs of verdicts; the direction counts choices of the first place over
choices. The interval is the Bayesian bootstrap over questions (Rubin 1981) of that ratio, with one
pseudo-question of half weight all of whose trials hit, and one none of whose trials do. Where every
question is one trial this is exactly the Jeffreys interval of a binomial share, Beta(hits + 1/2,
misses + 1/2), which stays honest at 0 and 1 (Brown, Cai and DasGupta 2001); with several trials to
a question (answer samples, judge samples, criteria, the two orders) it keeps them together as one
cluster, which a binomial interval cannot.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
_END_WEIGHT = 0.5
_ROUNDING = 1e-9
"""Weights that sum to 1 but for rounding leave trials of 1e-16, which are none."""

Floats = NDArray[np.float64]


class Share(NamedTuple):
    """A share with its interval, all in [0, 1]; ``low <= value <= high`` always holds."""

    value: float
    low: float
    high: float


def share_interval(
    hits: NDArray[np.floating],
    trials: NDArray[np.floating],
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> Share | None:
    """The share of trials that hit, sum(hits) / sum(trials) over questions, and its interval.

    ``hits`` and ``trials`` are (n_questions,), 0 <= hits <= trials <= 1: what one question
    contributes, a share where it has several. None where there is no trial at all.

    Raises ValueError for NaN and for values out of that order.
    """
    matrix = (np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if matrix[0].ndim != 1 or matrix[0].shape != matrix[1].shape:
        raise ValueError(f"hits have the shape {matrix[0].shape}, trials {matrix[1].shape}")
    (share,) = share_intervals(
        matrix[0][:, None], matrix[1][:, None], confidence=confidence, draws=draws, rng=rng
    )
    return share


def share_intervals(
    hits: NDArray[np.floating],
    trials: NDArray[np.floating],
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> list[Share | None]:
    """As `share_interval`, for many columns under common draws.

    Both are (n_questions, n_columns), NaN in both where a column lacks a question. A column's
    interval does not depend on the other columns.
    """
    hits, trials = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    if hits.ndim != 2 or hits.shape != trials.shape:
        raise ValueError(f"hits have the shape {hits.shape}, trials {trials.shape}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} lies outside (0, 1)")
    present = ~np.isnan(trials)
    if (np.isnan(hits) != ~present).any():
        raise ValueError("hits and trials must lack the same questions")
    hits, trials = np.where(present, hits, 0.0), np.where(present, trials, 0.0)
    ordered = (hits >= -_ROUNDING) & (hits <= trials + _ROUNDING) & (trials <= 1 + _ROUNDING)
    if not ordered.all():
        raise ValueError("expected 0 <= hits <= trials <= 1 for every question")

    totals = trials.sum(axis=0)
    values = np.clip(hits.sum(axis=0) / np.where(totals > _ROUNDING, totals, 1.0), 0.0, 1.0)
    weights = rng.standard_exponential((draws, len(hits)))
    ends = rng.standard_gamma(_END_WEIGHT, (draws, 2))
    shares = (weights @ hits + ends[:, 1:]) / (weights @ trials + ends.sum(axis=1, keepdims=True))
    tail = (1 - confidence) / 2
    lows, highs = np.clip(np.quantile(shares, [tail, 1 - tail], axis=0), 0.0, 1.0)
    return [
        Share(float(value), float(min(low, value)), float(max(high, value)))
        if total > _ROUNDING
        else None
        for value, low, high, total in zip(values, lows, highs, totals, strict=True)
    ]


def question_means(rows: Floats, question: NDArray[np.intp], n_questions: int) -> Floats:
    """The mean of each question's rows, (n_questions, n_columns); NaN where all of them lack.

    ``rows`` is (n_rows, n_columns) with NaN for what is missing; ``question`` is (n_rows,).
    """
    present = ~np.isnan(rows)
    sums = np.zeros((n_questions, rows.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, question, np.where(present, rows, 0.0))
    np.add.at(counts, question, present)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
