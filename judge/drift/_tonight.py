"""One night against the baseline: the standardised drop, and the gate of a single night.

The drop of a metric is the mean over the questions of (baseline's mean - tonight's score). Its
standard error is tonight's alone (the baseline's error is in the margin). The variance of a single
score is the larger of two estimates:

- tonight's own, from the questions' drops. Where a criterion sits at its ceiling, the few nights
  with several bad answers are also the nights with a large variance; dividing by tonight's own
  keeps those nights from looking like evidence.
- the baseline's, pooled over its nights: a night whose drops happen to be alike, or all equal,
  would otherwise have a standard error near 0 and an unbounded z.

And never below what the baseline cannot exclude: one wholly failed answer in all it has seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from judge.drift._baseline import BaselineStats
from judge.drift._records import Floats

_EDGE = 1e-9
_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Tonight:
    """One night per metric, arrays (..., c), NaN where a metric was not measured.

    ``drop`` is the baseline's mean less tonight's over the questions that both have (positive:
    worse), ``se`` the standard error of tonight's part of it, ``df`` its degrees of freedom,
    ``se_all`` the standard error with the baseline's, ``own`` the variance of the
    questions' drops. ``moved`` is the number of questions whose
    drop is not 0, ``n`` the number of questions. ``t`` is (drop - margin)/se and ``z`` the same on
    the scale of a standard normal variable.
    """

    drop: Floats
    own: Floats
    se: Floats
    se_all: Floats
    df: Floats
    t: Floats
    z: Floats
    n: Floats
    moved: Floats

    @property
    def measured(self) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Which metrics were measured, (..., c)."""
        return ~np.isnan(self.drop)


def tonight(candidate: Floats, base: BaselineStats) -> Tonight:
    """Tonight's scores (..., n, c), in the order of the baseline's questions, against it.

    NaN for a missing score. Leading axes of the two broadcast: a baseline of many simulated years
    (years, 1, n, c) stands beside their nights (years, nights, n, c). A metric with fewer than two
    scored questions is not measured.
    """
    drops = base.means - candidate
    missing = np.isnan(drops)
    gaps = bool(missing.any())
    n = (~missing).sum(axis=-2).astype(np.float64)
    measured = n >= _FEWEST
    divisor = np.maximum(n, _FEWEST)
    if gaps:
        drops = np.where(missing, 0.0, drops)
    drop = drops.sum(axis=-2) / divisor
    squares = np.einsum("...qc,...qc->...c", drops, drops)
    own = np.maximum(squares - divisor * drop**2, 0.0) / (divisor - 1)
    moved = (np.abs(drops) > _EDGE).sum(axis=-2).astype(np.float64)
    found = standardise(drop, own, n=divisor, base=base)
    hide = np.where(measured, 0.0, np.nan)
    return Tonight(
        drop=drop + hide,
        own=own + hide,
        se=found.se + hide,
        se_all=np.hypot(found.se, base.se) + hide,
        df=found.df + hide,
        t=found.t + hide,
        z=found.z + hide,
        n=n,
        moved=moved,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standardised:
    """Drops on the scale of their standard errors; arrays of the shape of the drops."""

    se: Floats
    df: Floats
    t: Floats
    z: Floats


def standardise(
    drop: Floats,
    own: Floats,
    *,
    n: Floats,
    base: BaselineStats,
    margin: Floats | None = None,
    shock: bool = True,
) -> Standardised:
    """Drops (..., c) less their margin in standard errors.

    ``own`` (..., c) is tonight's variance of the n questions' drops, which holds the baseline's
    noise too: with B baseline nights it is 1 + 1/B times that of a score. ``margin`` replaces the
    baseline's; without ``shock`` the night's shared shock is not part of the standard error.

    The degrees of freedom are those of tonight's variance, n - 1 (the larger of two estimates has a
    lighter tail than either); the shock's variance, known from few nights, lowers them
    (Satterthwaite).
    """
    variance = np.maximum.reduce(
        [
            own / (1 + 1 / base.nights),
            np.broadcast_to(base.s**2, own.shape),
            np.broadcast_to(1 / (n * base.nights + 1), own.shape),
        ]
    )
    noise = variance / n
    night = base.night**2 if shock else np.zeros_like(base.night)
    total = noise + night
    se = np.sqrt(total)
    df = total**2 / (noise**2 / (n - 1) + night**2 / (base.nights - 1))
    t = (drop - (base.margin if margin is None else margin)) / se
    return Standardised(se=se, df=df, t=t, z=normal_score(t, df))


def normal_score(t: Floats, df: Floats) -> Floats:
    """The standard normal quantile that a t statistic stands at, by Wallace's formula (1959).

    z = sign(t)·(8ν + 1)/(8ν + 3)·√(ν·log(1 + t²/ν)): within 0.02 of the exact one for ν >= 9 and
    |t| <= 6, and finite for every t.
    """
    size: Floats = (8 * df + 1) / (8 * df + 3) * np.sqrt(df * np.log1p(t * t / df))
    return np.copysign(size, t)


def p_values(night: Tonight) -> Floats:
    """Tonight's one-sided probability (..., c) under a drop of exactly the margin.

    The tail of a t variable, but never below the least that the signs of the moved questions allow,
    2 ** -moved: with few differing questions no test without assumptions about the shape of the
    noise could give less. NaN where a metric was not measured.
    """
    return tails(night.t, night.df, night.moved)


def tails(t: Floats, df: Floats, moved: Floats) -> Floats:
    """As `p_values`, from the statistics themselves."""
    from scipy import special  # type: ignore[import-untyped]  # slow to load

    tail: Floats = np.maximum(special.stdtr(df, -t), 0.5**moved)
    return np.where(np.isnan(t), np.nan, tail)


def holm_levels(p: Floats, level: float) -> tuple[Any, Floats]:
    """Holm's procedure over the last axis: (rejected, the level that each was compared with).

    ``p`` is (..., c) with NaN for what was not measured, which is not part of the family: it is not
    rejected, and its level is NaN. The level of those that are not rejected is that of the step at
    which the procedure stopped.
    """
    measured = ~np.isnan(p)
    order = np.argsort(np.where(measured, p, np.inf), axis=-1, kind="stable")
    ranked = np.take_along_axis(np.where(measured, p, np.inf), order, axis=-1)
    size = measured.sum(axis=-1, keepdims=True)
    allowed = level / np.maximum(size - np.arange(p.shape[-1]), 1)
    passed = np.logical_and.accumulate(ranked <= allowed, axis=-1)
    stopped = np.minimum(passed.sum(axis=-1, keepdims=True), p.shape[-1] - 1)
    at_stop = np.take_along_axis(allowed, stopped, axis=-1)
    used = np.where(passed, allowed, at_stop)
    back = np.argsort(order, axis=-1, kind="stable")
    rejected = np.take_along_axis(passed, back, axis=-1) & measured
    levels = np.where(measured, np.take_along_axis(used, back, axis=-1), np.nan)
    return rejected, levels


def difference_interval(night: Tonight, confidence: float) -> tuple[Floats, Floats, Floats]:
    """Tonight less the baseline, with its two-sided interval: (difference, low, high), (..., c).

    A t interval with the baseline's error in it.
    """
    from scipy import special  # slow to load

    half = special.stdtrit(night.df, 0.5 + confidence / 2) * night.se_all
    return -night.drop, -night.drop - half, -night.drop + half
