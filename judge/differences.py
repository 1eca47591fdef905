"""Paired differences: how far two conditions lie apart on the same questions, with an interval.

Every comparison of two conditions (an answer and its altered copy, two models, two nights) is
reduced to differences of scores on the same questions. Most of them are 0 where a criterion sits
at its ceiling, and there the t interval and the percentile bootstrap are too short. The interval
here is the Bayesian bootstrap (Rubin 1981) over questions with pseudo-observations at both ends of
the range: a draw weighs the n question means by Dirichlet(1, ..., 1) and one pseudo-observation
each at -1 and at +1 by a further 0.1.

The pseudo-observations say that n unmoved questions do not prove that no question moves: with every
difference 0, the 90 % interval still reaches about ±0.53 / n and the 95 % interval ±0.92 / n.

The estimand is the mean difference over questions like these (the population).
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

END_WEIGHT = 0.1
"""Weight of each pseudo-observation, where a question has the weight 1."""
DRAWS = 2000

Floats = NDArray[np.float64]

_ROUNDING = 1e-9


class Difference(NamedTuple):
    """A mean difference with its interval; ``low <= value <= high`` always holds.

    ``sd`` is the standard deviation of the question means (0 for one question).
    """

    value: float
    low: float
    high: float
    sd: float
    n_questions: int


def paired_difference(
    deltas: NDArray[np.floating],
    clusters: NDArray[np.integer] | None = None,
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
    reach: float = 1.0,
) -> Difference:
    """The mean difference over questions and its interval.

    ``deltas`` is (n,), each the score in one condition minus the score in the other, in
    [-reach, reach]; ``clusters`` is (n,) and says which question each delta belongs to (None: every
    delta has a question of its own). A question counts once, however many pairs it has. ``reach``
    is 1 for differences of scores and 2 for differences of such differences; the
    pseudo-observations stand at ±reach.

    The interval always includes the value. One question works and is very wide.

    Raises ValueError without deltas, and for one that is NaN or out of range: pairs of which one
    side is missing are to be left out, and counted, by the caller.
    """
    values: Floats = np.asarray(deltas, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"deltas have the shape {values.shape}, not (n,)")
    if values.size == 0:
        raise ValueError("a difference needs at least one pair")
    if np.isnan(values).any():
        raise ValueError("a delta is NaN; leave out the pairs of which one side is missing")
    means = values if clusters is None else question_means(values, clusters)
    (found,) = paired_differences(
        means[:, None], confidence=confidence, draws=draws, rng=rng, reach=reach
    )
    assert found is not None
    return found


def paired_differences(
    matrix: NDArray[np.floating],
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    rng: np.random.Generator,
    reach: float = 1.0,
) -> list[Difference | None]:
    """As `paired_difference`, for many columns of question means under common draws.

    ``matrix`` is (n_questions, n_columns), NaN where a column lacks a question; a column without
    any question gives None. A column's interval does not depend on the other columns.

    Raises ValueError for deltas out of range, a confidence outside (0, 1) and draws below 1.
    """
    matrix = np.asarray(matrix, dtype=np.float64)
    if matrix.ndim != 2:
        raise ValueError(f"the matrix has the shape {matrix.shape}, not (n_questions, n_columns)")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} lies outside (0, 1)")
    if draws < 1:
        raise ValueError(f"{draws} draws; at least 1 is needed")
    present = ~np.isnan(matrix)
    filled = np.where(present, matrix, 0.0)
    if (np.abs(filled) > reach + _ROUNDING).any():
        raise ValueError(f"a delta lies outside [-{reach:g}, {reach:g}]")

    counts = present.sum(axis=0)
    safe = np.maximum(counts, 1)
    values = filled.sum(axis=0) / safe
    squares = (np.where(present, matrix - values, 0.0) ** 2).sum(axis=0)
    sds = np.sqrt(squares / np.maximum(counts - 1, 1))

    weights = rng.standard_exponential((draws, len(filled)))
    ends = rng.standard_gamma(END_WEIGHT, (draws, 2))
    totals = present.T.astype(np.float64) @ weights.T + ends.sum(axis=1)
    means = (filled.T @ weights.T + reach * (ends[:, 1] - ends[:, 0])) / totals
    tail = (1 - confidence) / 2
    lows, highs = np.quantile(means, [tail, 1 - tail], axis=1)
    return [
        Difference(float(value), float(min(low, value)), float(max(high, value)), float(sd), int(n))
        if n
        else None
        for value, low, high, sd, n in zip(values, lows, highs, sds, counts, strict=True)
    ]


def question_means(deltas: NDArray[np.floating], clusters: NDArray[np.integer]) -> Floats:
    """The mean delta of every question, (n_questions,), in the order of the cluster numbers.

    Raises ValueError where the two do not have the same shape.
    """
    clusters = np.asarray(clusters)
    if clusters.shape != deltas.shape:
        raise ValueError(f"clusters have the shape {clusters.shape}, deltas {deltas.shape}")
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    means: Floats = np.bincount(index, weights=deltas) / sizes
    return means


def questions_needed(gap: float, sd: float, confidence: float) -> float:
    """About how many questions make half the interval as short as ``gap``; inf where it is 0.

    The two parts of the width add in squares: z·sd/√n of the questions, and q/n of the
    pseudo-observations, where z and q are the upper (1 - confidence)/2 points of the standard
    normal and of Gamma(0.1). With u = 1/n this asks for q²u² + z²sd²u = gap², a quadratic in u.
    An approximation: for differences on a scale of six levels it lies within a fifth of the
    number at which half of repeated studies come to a decision.
    """
    if gap <= 0:
        return math.inf
    normal, floor = _upper_points((1 - confidence) / 2)
    spread = normal * sd
    root = math.sqrt(spread**4 + 4 * floor**2 * gap**2)
    return (spread**2 + root) / (2 * gap**2)


@lru_cache
def _upper_points(tail: float) -> tuple[float, float]:
    """The points that a standard normal and a Gamma(0.1) variable exceed with this probability."""
    from scipy import stats  # type: ignore[import-untyped]  # slow to load

    return float(stats.norm.isf(tail)), float(stats.gamma(END_WEIGHT).isf(tail))
