"""Who moved: a difference in parts, of the model and of the judge, each with its uncertainty.

Only the judge can move the scores of answers that stay as they are. The anchors are such answers,
and so is the slice of baseline answers; both estimate the same shift of the judge. The candidate's
difference from the baseline is the model's change plus the judge's shift, so that

    model = difference - judge,   Var(model) = Var(difference) + Var(judge).

What the judge does to a whole night (its mood) moves anchors and candidate alike and drops out of
the model's part: it belongs to the judge and is in neither standard error. A stretch of several
nights is reduced to the means of its items first, so that what does not average out over nights,
the error of the baseline and of the scores that the slice had before, stays in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from judge.drift._baseline import MARGIN_ERRORS, BaselineStats
from judge.drift._records import Effect, Floats
from judge.drift._tonight import normal_score, tonight

DISAGREE = 0.01
"""Anchors and slice disagree where chance alone would part them as far with this probability."""
MOOD_LIMIT = 0.75
"""The variance of a judge's moods is taken at this upper limit of its estimate."""

_FEWEST = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Per metric a value, its standard error and degrees of freedom; arrays (..., c), NaN: none."""

    value: Floats
    se: Floats
    df: Floats

    def half(self, tail: float) -> Floats:
        """How far a one-sided limit with this tail probability lies from the value."""
        from scipy import special  # type: ignore[import-untyped]  # slow to load

        found: Floats = special.stdtrit(self.df, 1 - tail) * self.se
        return found

    def p_below(self, at: Floats | float) -> Floats:
        """The one-sided probability of so low a value if the truth were ``at``."""
        from scipy import special  # slow to load

        found: Floats = special.stdtr(self.df, (self.value - at) / self.se)
        return found

    def effect(self, metric: int, confidence: float) -> Effect | None:
        """One metric's estimate with its interval, of arrays (c,); None where there is none."""
        value = float(self.value[metric])
        if np.isnan(value):
            return None
        half = float(self.half((1 - confidence) / 2)[metric])
        return Effect(value=value, low=value - half, high=value + half)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """A difference taken apart; ``disagreement`` (..., c) is the p-value of anchors v slice."""

    difference: Estimate
    judge: Estimate
    model: Estimate
    disagreement: Floats


def change(items: Floats, variance: Floats, *, floor: Floats | float, fixed: float) -> Estimate:
    """The mean over items of their differences, for these items' population.

    ``items`` (..., n, c) is each item's mean over w nights less what it was, NaN where it has none;
    ``variance`` (..., c) is 1/w. The variance of a difference is the items' own, and at least
    ``floor`` · (1/w + ``fixed``): ``floor`` (..., c) is the variance of a single score, ``fixed``
    the number of scores, inverted, that went into what it was. Items that happen to be alike do not
    make an estimate exact.
    """
    present = ~np.isnan(items)
    n = present.sum(axis=-2).astype(np.float64)
    safe = np.maximum(n, _FEWEST)
    filled = np.where(present, items, 0.0)
    value = filled.sum(axis=-2) / safe
    own = np.maximum((filled**2).sum(axis=-2) - safe * value**2, 0.0) / (safe - 1)
    total = np.maximum(own, floor * (variance + fixed))
    hide = np.where(n >= _FEWEST, 0.0, np.nan)
    return Estimate(value=value + hide, se=np.sqrt(total / safe) + hide, df=safe - 1 + hide)


def judge_z(
    before: Floats, now: Floats, base: BaselineStats, bridge: Floats | float, least_margin: float
) -> Floats:
    """The z of the anchors per night in both directions, (..., T, 2c): lower, then higher.

    ``before`` (..., B, m, c) are the anchors on the baseline's nights and ``now`` (..., T, m, c) on
    those that are watched; ``base`` is the baseline of the former (its leading axes broadcast over
    nights), ``bridge`` the standard error of a map between them.

    A judge has moods: shifts common to a night's verdicts that come and go. Their variance is
    estimated from the changes from each night to the next, which a lasting shift enters once, over
    all nights before tonight: a baseline alone knows it from too few nights, and one that happens
    to be calm would make every later night look like evidence. See `_moods`. The margin covers two
    standard errors of the baseline, moods included.
    """
    calm = replace(base, night=np.zeros_like(base.night))
    judged = tonight(now, calm)
    past, _ = _means(before - base.means)
    noise = single_variance(base) / np.maximum((base.counts > 0).sum(axis=-2), 1)
    mood, df = _moods(past, -judged.drop, noise)
    fixed = np.maximum(base.se**2 - base.night**2 / base.nights, 0.0)
    error = np.sqrt(fixed + mood / base.nights + np.square(bridge))
    margin = np.maximum(least_margin, MARGIN_ERRORS * error)
    own = judged.se**2
    se = np.sqrt(own + mood)
    freedom = (own + mood) ** 2 / (own**2 / judged.df + mood**2 / df)
    ways = [normal_score((sign * judged.drop - margin) / se, freedom) for sign in (1.0, -1.0)]
    return np.concatenate(ways, axis=-1)


def _moods(past: Floats, now: Floats, noise: Floats) -> tuple[Floats, Floats]:
    """The variance of the moods as known before each night, (..., T, c), with its df.

    ``past`` (..., B, c) and ``now`` (..., T, c) are nights' mean shifts, NaN where not measured;
    ``noise`` (..., c) is what verdicts alone do to them. Half the mean squared change from a night
    to the next is noise plus mood (von Neumann 1941), with 2/3 as many degrees of freedom as there
    are changes. It is raised to its upper 75 % limit, since all later nights share its error.
    """
    from scipy import special  # slow to load

    series = np.concatenate([past, now], axis=-2)
    seen = ~np.isnan(series)
    nights = series.shape[-2]
    order = np.arange(nights)[:, None]
    last = np.maximum.accumulate(np.where(seen, order, -1), axis=-2)
    earlier = np.concatenate([np.full_like(last[..., :1, :], -1), last[..., :-1, :]], axis=-2)
    previous = np.take_along_axis(series, np.maximum(earlier, 0), axis=-2)
    usable = seen & (earlier >= 0)
    squares = np.where(usable, (series - previous) ** 2 / 2, 0.0)
    first = past.shape[-2]
    # What is known before a night: the sums up to the night before.
    total = squares.cumsum(axis=-2)[..., first - 1 : -1, :]
    count = usable.cumsum(axis=-2)[..., first - 1 : -1, :]
    df = np.maximum(count * 2 / 3, 1.0)
    raised = df / special.chdtri(df, MOOD_LIMIT)
    variance = total / np.maximum(count, 1) * raised
    return np.maximum(variance - noise, 0.0), df


def _means(items: Floats) -> tuple[Floats, Floats]:
    """The mean over items (..., n, c), NaN where there is none, and their number."""
    there = ~np.isnan(items)
    n = there.sum(axis=-2)
    total = np.where(there, items, 0.0).sum(axis=-2)
    return np.where(n > 0, total / np.maximum(n, 1), np.nan), n.astype(np.float64)


def single_variance(base: BaselineStats) -> Floats:
    """The variance of a single score, (c,), and at least what a baseline cannot exclude.

    Items that never differed over B nights leave room for one wholly different score in all those
    that were seen, 1/(n·B + 1).
    """
    n = (base.counts > 0).sum(axis=-2)
    found: Floats = np.maximum(base.s**2, 1 / (n * base.nights + 1))
    return found


def combined(estimates: Sequence[Estimate]) -> tuple[Estimate, Floats]:
    """One or two estimates of the same shift, by inverse variance; and the p-value of their gap.

    Where two disagree at 1 %, what lies between them is added to the variance of both (half of the
    excess of the squared gap over its expectation, DerSimonian and Laird 1986): then neither
    is trusted as far as it trusts itself. Where only one exists it is taken as it is. The p-value
    is NaN without two.
    """
    first = estimates[0]
    if len(estimates) == 1:
        return first, np.full_like(first.value, np.nan)
    from scipy import special  # slow to load

    second = estimates[1]
    variances = first.se**2 + second.se**2
    gap = first.value - second.value
    df = _welch(first, second)
    p = 2 * special.stdtr(df, -np.abs(gap) / np.sqrt(variances))
    between = np.where(p < DISAGREE, np.maximum(gap**2 - variances, 0.0) / 2, 0.0)
    one, two = 1 / (first.se**2 + between), 1 / (second.se**2 + between)
    both = Estimate(
        value=(one * first.value + two * second.value) / (one + two),
        se=1 / np.sqrt(one + two),
        df=(one + two) ** 2 / (one**2 / first.df + two**2 / second.df),
    )
    if np.isnan(both.value).any():
        both = _or_else(_or_else(both, first), second)
    return both, p


def _or_else(estimate: Estimate, other: Estimate) -> Estimate:
    there = ~np.isnan(estimate.value)
    return Estimate(
        value=np.where(there, estimate.value, other.value),
        se=np.where(there, estimate.se, other.se),
        df=np.where(there, estimate.df, other.df),
    )


def parts(difference: Estimate, judge: Sequence[Estimate]) -> Parts:
    """The difference in parts; without any estimate of the judge both parts are NaN.

    The degrees of freedom of the model's part are Welch's.
    """
    if not judge:
        nothing = np.full_like(difference.value, np.nan)
        empty = Estimate(value=nothing, se=nothing, df=nothing)
        return Parts(difference=difference, judge=empty, model=empty, disagreement=nothing)
    shift, disagreement = combined(judge)
    model = Estimate(
        value=difference.value - shift.value,
        se=np.hypot(difference.se, shift.se),
        df=_welch(difference, shift),
    )
    return Parts(difference=difference, judge=shift, model=model, disagreement=disagreement)


def _welch(first: Estimate, second: Estimate) -> Floats:
    one, two = first.se**2, second.se**2
    found: Floats = (one + two) ** 2 / (one**2 / first.df + two**2 / second.df)
    return found
