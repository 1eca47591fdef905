"""What a series is compared with: the means of some nights, and how well those nights know them.

A night's score of a question is its long-run mean, plus a shock that all questions of the night
share (the judge's mood), plus noise of its own. Baseline nights separate the three by a two-way
analysis of variance, questions by nights.

A baseline of B nights has an error that never averages out, however long the series is watched:
a sequential test of "no worse than the baseline" would find that error sooner or later. So the
tests are of "worse by more than a margin", and the margin is never below twice the baseline's
standard error.

All functions work over any leading axes (..., nights, questions, metrics).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judge.drift._records import Floats, Night
from judge.errors import UsageError

LEAST_MARGIN = 0.01
"""The smallest margin where nothing else is said (`DriftSettings.least_margin`)."""
MARGIN_ERRORS = 2.0
"""How many standard errors of the baseline the margin covers at least."""

_OWN_SHARE = 0.5
"""The least weight of a metric's own estimate of the shock against the mean over metrics."""
_ROUNDS = 3


_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class BaselineStats:
    """A baseline in numbers; (...) are leading axes, n questions, c metrics.

    ``means`` (..., n, c) are the questions' means, ``counts`` (..., n, c) over how many nights.
    ``value`` (..., c) is the mean over the questions. ``s`` (..., c) is the SD of one night's score
    of a question around its mean, the shared shock taken out; ``night`` (..., c) the SD of that
    shock. ``se`` (..., c) is the standard error of ``value`` for these questions, ``margin``
    (..., c) the margin of the tests. ``nights`` is the number of nights.
    """

    means: Floats
    counts: Floats
    value: Floats
    s: Floats
    night: Floats
    se: Floats
    margin: Floats
    nights: int

    def bridged(
        self, intercept: Floats, slope: Floats, se: Floats, least_margin: float
    ) -> BaselineStats:
        """The baseline on another scale: means mapped by intercept + slope · mean, per metric.

        ``se`` (..., c) is the standard error of the map at the baseline's mean; it is as fixed as
        the baseline's own error and joins it in the margin.
        """
        steep = np.abs(slope)
        error = np.hypot(steep * self.se, se)
        return BaselineStats(
            means=intercept + slope * self.means,
            counts=self.counts,
            value=intercept + slope * self.value,
            s=steep * self.s,
            night=steep * self.night,
            se=error,
            margin=margins(error, least_margin),
            nights=self.nights,
        )

    def beside_nights(self) -> BaselineStats:
        """Baselines (...) as (..., 1), so that each stands beside its nights (..., T, n, c)."""
        return BaselineStats(
            means=self.means[..., None, :, :],
            counts=self.counts[..., None, :, :],
            **{name: getattr(self, name)[..., None, :] for name in _PER_METRIC},
            nights=self.nights,
        )


_PER_METRIC = ("value", "s", "night", "se", "margin")


def joined(baselines: Sequence[BaselineStats]) -> BaselineStats:
    """Baselines with one leading axis after each other, all of as many nights."""
    return BaselineStats(
        **{
            name: np.concatenate([getattr(base, name) for base in baselines])
            for name in ("means", "counts", *_PER_METRIC)
        },
        nights=baselines[0].nights,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Questions by nights taken apart; arrays (..., c) but for ``means`` and ``counts``.

    ``variance`` is the noise of a single score, ``shock`` the moment estimate of the shared
    shock's variance (it may be negative), ``shock_error`` the noise part of a night's mean:
    ``variance`` over the questions. ``nights`` is the number of nights.
    """

    means: Floats
    counts: Floats
    variance: Floats
    shock: Floats
    shock_error: Floats
    nights: int


def margins(se: Floats, least_margin: float = LEAST_MARGIN) -> Floats:
    """The margin per metric: at least ``least_margin``, and two standard errors of the baseline."""
    found: Floats = np.maximum(least_margin, MARGIN_ERRORS * se)
    return found


def spread_of(scores: Floats) -> Spread:
    """Take scores (..., B, n, c) apart into questions' means, nights' shocks and noise.

    NaN where a score is missing. The noise variance has (n - 1)(B - 1) degrees of freedom where
    nothing is missing; it is 0 where there are none.
    """
    present = ~np.isnan(scores)
    filled = np.where(present, scores, 0.0)
    counts = present.sum(axis=-3).astype(np.float64)
    means = np.where(counts > 0, filled.sum(axis=-3) / np.maximum(counts, 1), np.nan)
    residuals = _exact(np.where(present, filled - np.nan_to_num(means)[..., None, :, :], 0.0))
    per_night = present.sum(axis=-2).astype(np.float64)  # (..., B, c)
    shocks = residuals.sum(axis=-2) / np.maximum(per_night, 1)
    left = _exact(np.where(present, residuals - shocks[..., None, :], 0.0))

    questions = (counts > 0).sum(axis=-2)
    nights = (per_night > 0).sum(axis=-2)
    df = counts.sum(axis=-2) - questions - nights + 1
    variance = np.where(df > 0, (left**2).sum(axis=(-3, -2)) / np.maximum(df, 1), 0.0)
    inverse = np.where(per_night > 0, 1 / np.maximum(per_night, 1), 0.0).sum(axis=-2)
    noise = variance * inverse / np.maximum(nights, 1)
    between = (shocks**2).sum(axis=-2) / np.maximum(nights - 1, 1)
    return Spread(
        means=means,
        counts=counts,
        variance=variance,
        shock=np.where(nights > 1, between - noise, 0.0),
        shock_error=noise,
        nights=scores.shape[-3],
    )


def _exact(deviations: Floats) -> Floats:
    """Deviations without what rounding leaves of a constant: it would be taken for noise."""
    return np.where(np.abs(deviations) < _ROUNDING, 0.0, deviations)


def shock_variance(spreads: Sequence[Spread]) -> Floats:
    """The variance of the shared shock, (..., c), from the candidate's nights and the anchors'.

    A baseline has few nights, so that one metric's moment estimate is hardly better than a guess:
    from ten nights without any shock it is above 0 in four of nine cases, and from ten nights with
    one it is often far too small. Three things make it better. The first of ``spreads`` is the
    candidate's and sets the unit, the noise part of its nights' means.

    - The anchors' estimate joins by its precision. A night's mean has the variance
      ``shock_error`` + shock, and the variance of the estimate goes with the square of that. The
      shock in it is that of all metrics: an estimate must not gain weight by being small.
    - The metrics' estimates are drawn towards their mean (empirical Bayes), at most half of the
      way: one metric may have a shock that the others lack.
    - The result is floored at 0, only at the end.

    Metrics without noise (all scores of a question alike) say nothing about the others; theirs is
    their own estimate.
    """
    first = spreads[0]
    live = first.shock_error > 0
    unit = np.where(live, first.shock_error, 1.0)
    errors = np.stack([np.where(live, spread.shock_error, 1.0) for spread in spreads]) / unit
    shocks = np.stack([np.where(live, spread.shock, 0.0) for spread in spreads]) / unit
    df = np.array([max(spread.nights - 1.0, 1.0) for spread in spreads])
    mean = np.zeros((*unit.shape[:-1], 1))
    for _ in range(_ROUNDS):
        variances = 2 * (errors + np.maximum(mean, 0.0)) ** 2
        precisions = df.reshape(-1, *[1] * unit.ndim) / variances
        total = precisions.sum(axis=0)
        own = (precisions * shocks).sum(axis=0) / total
        mean = _mean_of(own, live)
    noise = _mean_of(1 / total, live)
    others = np.maximum(live.sum(axis=-1, keepdims=True) - 1, 1)
    seen = np.where(live, (own - mean) ** 2, 0.0).sum(axis=-1, keepdims=True) / others
    between = np.maximum(seen - noise, 0.0)
    keep = np.divide(between, between + noise, out=np.zeros_like(noise), where=noise > 0)
    drawn = mean + np.maximum(keep, _OWN_SHARE) * (own - mean)
    found: Floats = np.maximum(np.where(live, drawn * unit, first.shock), 0.0)
    return found


def _mean_of(values: Floats, live: NDArray[np.bool_]) -> Floats:
    """The mean over the live metrics, (..., 1); 0 where there are none."""
    total = np.where(live, values, 0.0).sum(axis=-1, keepdims=True)
    found: Floats = total / np.maximum(live.sum(axis=-1, keepdims=True), 1)
    return found


def stats_of(
    scores: Floats,
    anchors: Floats | None = None,
    *,
    least_margin: float = LEAST_MARGIN,
) -> BaselineStats:
    """A baseline from scores (..., B, n, c) and, where there are any, anchors (..., B, m, c).

    The standard error is that of the mean over *these* questions on other nights:
    variance/(n·B) + shock/B (with B a question's own number of nights where some are missing).
    """
    spread = spread_of(scores)
    spreads = [spread] if anchors is None else [spread, spread_of(anchors)]
    night = shock_variance(spreads)
    has = spread.counts > 0
    n = np.maximum(has.sum(axis=-2), 1)
    inverse = np.where(has, 1 / np.maximum(spread.counts, 1), 0.0).sum(axis=-2)
    se = np.sqrt(spread.variance * inverse / n**2 + night / spread.nights)
    value = np.where(has, np.nan_to_num(spread.means), 0.0).sum(axis=-2) / n
    return BaselineStats(
        means=spread.means,
        counts=spread.counts,
        value=np.where(has.any(axis=-2), value, np.nan),
        s=np.sqrt(spread.variance),
        night=np.sqrt(night),
        se=se,
        margin=margins(se, least_margin),
        nights=spread.nights,
    )


def baseline_stats(nights: Sequence[Night], *, least_margin: float = LEAST_MARGIN) -> BaselineStats:
    """The baseline of some nights of one epoch, over the questions and metrics of the first.

    A question that a night lacks is missing there. Anchors help to find the nights' shock where
    every night has the same ones.

    Raises UsageError for fewer than two nights, and for nights with other metrics.
    """
    if len(nights) < 2:
        raise UsageError(
            f"A baseline of {len(nights)} night has no spread between nights; it needs at least 2, "
            "better 10."
        )
    first = nights[0]
    for night in nights[1:]:
        if night.metrics != first.metrics:
            raise UsageError(
                f"The nights {first.date} and {night.date} have different metrics, so they cannot "
                "be one baseline: "
                f"{', '.join(first.metrics)} against {', '.join(night.metrics)}."
            )
    scores = np.stack([aligned(night, first.question_ids) for night in nights])
    return stats_of(scores, common_anchors(nights), least_margin=least_margin)


def common_anchors(nights: Sequence[Night]) -> Floats | None:
    """The anchors of nights (B, m, c) where all have the same ones, else None."""
    ids = nights[0].anchor_ids
    if not ids or any(night.anchor_ids != ids for night in nights):
        return None
    return np.stack([night.anchors for night in nights])


def aligned(night: Night, question_ids: Sequence[str]) -> Floats:
    """The candidate's scores of a night in the order of ``question_ids``, NaN for absent ones."""
    if night.question_ids == tuple(question_ids):
        return night.candidate
    rows = {question: row for row, question in enumerate(night.question_ids)}
    found = np.full((len(question_ids), len(night.metrics)), np.nan)
    for at, question in enumerate(question_ids):
        if question in rows:
            found[at] = night.candidate[rows[question]]
    return found
