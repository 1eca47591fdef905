"""Equating two rulers: how scores that were given under the old one read under the new one.

The same stored answers are scored under both rulers (the single-group design of test equating).
The map is the linear one that gives the old scores the mean and the spread of the new ones,

    new = mean_new + (sd_new / sd_old) · (old - mean_old)

(Kolen and Brennan, Test Equating, Scaling, and Linking, 3rd ed., ch. 4). Unlike a regression it is
symmetric and does not pull scores towards the mean because both rulers have noise. Where the data
do not bear a slope (too few questions, too little spread, scores that hardly agree, a slope beyond
its limits), the map only shifts: slope 1.
"""

from __future__ import annotations

import numpy as np

from judge.differences import DRAWS, paired_differences, question_means
from judge.drift._records import Equating, Floats
from judge.errors import UsageError
from judge.study import Indices

LEAST_QUESTIONS = 8
"""Fewer questions do not bear an interval."""
SLOPE_QUESTIONS = 20
"""Fewer questions only bear a shift."""
LEAST_SPREAD = 0.02
"""A standard deviation below this says nothing about a slope."""
LEAST_AGREEMENT = 0.3
"""Below this correlation the ratio of two spreads is a ratio of noises."""
SLOPES = (0.5, 2.0)

_CONFIDENCE = 0.95
_NORMAL = 1.959964


def equate(
    old: Floats,
    new: Floats,
    questions: Indices,
    baseline_mean: Floats,
    rng: np.random.Generator,
    *,
    draws: int = DRAWS,
) -> tuple[Equating, ...]:
    """The map old → new of every metric, with its uncertainty.

    ``old`` and ``new`` (k, c) are the scores of the same k answers under the two rulers, NaN where
    one is missing; an answer counts for a metric where both are there. ``questions`` (k,) says
    which question an answer belongs to; a question counts once, however many answers it has.
    ``baseline_mean`` (c,) is where the map is going to be used.

    ``shift`` is the mean of new - old over questions, with the interval of
    `judge.differences.paired_differences`. ``se`` is the standard deviation of the mapped mean at
    ``baseline_mean`` over Bayesian-bootstrap draws of the questions (Rubin 1981), and at least what
    the shift's interval implies: answers that all agree do not prove that every answer would.

    Raises UsageError where a metric has fewer than 8 questions with both scores, and ValueError for
    shapes that do not fit.
    """
    old, new = np.asarray(old, np.float64), np.asarray(new, np.float64)
    if old.ndim != 2 or old.shape != new.shape:
        raise ValueError(f"old scores have the shape {old.shape}, new ones {new.shape}")
    if np.shape(questions) != (len(old),) or np.shape(baseline_mean) != (old.shape[1],):
        raise ValueError("questions must be (k,) and baseline_mean (c,) of scores that are (k, c)")
    return tuple(
        _equate(old[:, at], new[:, at], questions, float(baseline_mean[at]), rng, draws)
        for at in range(old.shape[1])
    )


def _equate(
    old: Floats, new: Floats, questions: Indices, where: float, rng: np.random.Generator, draws: int
) -> Equating:
    both = ~np.isnan(old) & ~np.isnan(new)
    old, new, clusters = old[both], new[both], np.asarray(questions)[both]
    n_questions = len(np.unique(clusters))
    if n_questions < LEAST_QUESTIONS:
        raise UsageError(
            f"only {n_questions} questions have a score under both rulers. A bridge needs at least "
            f"{LEAST_QUESTIONS}. Score more stored answers again."
        )
    moved = question_means(new - old, clusters)
    (shift,) = paired_differences(moved[:, None], confidence=_CONFIDENCE, draws=draws, rng=rng)
    assert shift is not None
    _, index, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    weights = (1 / sizes)[index]  # every question counts once
    sloped = _bears_slope(old, new, weights, n_questions)
    once, slope_once = _mapped(old, new, weights[None, :], where, sloped)
    value, slope = float(once[0]), float(slope_once[0])
    drawn = rng.standard_exponential((draws, n_questions))[:, index] * weights
    mapped, _ = _mapped(old, new, drawn, where, sloped)
    least = (shift.high - shift.low) / 2 / _NORMAL
    return Equating(
        intercept=value - slope * where,
        slope=slope,
        se=max(float(mapped.std()), least),
        shift=shift.value,
        low=shift.low,
        high=shift.high,
        n=len(old),
    )


def _mapped(
    old: Floats, new: Floats, weights: Floats, where: float, sloped: bool
) -> tuple[Floats, Floats]:
    """What ``where`` becomes under each row of weights (draws, k), and the slope of each row."""
    total = weights.sum(axis=1)
    mean_old, mean_new = weights @ old / total, weights @ new / total
    slope = np.ones(len(weights))
    if sloped:
        var_old = np.maximum(weights @ old**2 / total - mean_old**2, 1e-12)
        var_new = np.maximum(weights @ new**2 / total - mean_new**2, 0.0)
        slope = np.clip(np.sqrt(var_new / var_old), *SLOPES)
    mapped: Floats = mean_new + slope * (where - mean_old)
    return mapped, slope


def _bears_slope(old: Floats, new: Floats, weights: Floats, n_questions: int) -> bool:
    if n_questions < SLOPE_QUESTIONS:
        return False
    share = weights / weights.sum()
    off_old, off_new = old - share @ old, new - share @ new
    sd_old, sd_new = np.sqrt(share @ off_old**2), np.sqrt(share @ off_new**2)
    if min(sd_old, sd_new) < LEAST_SPREAD:
        return False
    if not SLOPES[0] <= sd_new / sd_old <= SLOPES[1]:
        return False
    return bool(share @ (off_old * off_new) / (sd_old * sd_new) >= LEAST_AGREEMENT)
