"""Two checks on the instrument itself: canaries as control charts, and the A/A arm.

Neither decides anything. A canary beyond its limits says that the judge treats a planted answer
otherwise than it did; the A/A arm shows how often the gate's test calls a model worse than itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from judge.drift._records import AgainSummary, CanaryLine, DriftSettings, Effect, Floats, Night

CHART_TAIL = 0.00135
"""On either side: what lies beyond three standard deviations of a normal."""
LEAST_HALF = 0.05
"""Limits are at least this far from the centre: a canary that never moved has no spread."""
LEAST_NIGHTS = 5
"""Fewer baseline nights give no limits."""
NOMINAL = 0.05

_CONFIDENCE = 0.95
_EDGE = 1e-9


def canary_limits(baseline: Sequence[Mapping[str, float]]) -> dict[str, tuple[float, float, float]]:
    """Per kind of canary its centre and its limits, from the baseline's nights.

    The limits hold a further night's value with the probability 99.73 % where values are normal:
    mean ± t(B - 1) · s · √(1 + 1/B) for B nights, at least 0.05 away and inside [0, 1]. A kind with
    fewer than 5 nights has none.
    """
    from scipy import special  # type: ignore[import-untyped]  # slow to load

    found = {}
    for kind in sorted({kind for night in baseline for kind in night}):
        values = np.array([night[kind] for night in baseline if kind in night], np.float64)
        values = values[~np.isnan(values)]
        n = len(values)
        if n < LEAST_NIGHTS:
            continue
        factor = float(special.stdtrit(n - 1, 1 - CHART_TAIL))
        half = max(LEAST_HALF, factor * float(values.std(ddof=1)) * (1 + 1 / n) ** 0.5)
        centre = float(values.mean())
        found[kind] = (centre, max(0.0, centre - half), min(1.0, centre + half))
    return found


def canary_lines(
    tonight: Mapping[str, float], limits: Mapping[str, tuple[float, float, float]]
) -> tuple[CanaryLine, ...]:
    """Tonight's canaries against their limits, in the order of their kinds."""
    lines = []
    for kind in sorted({*tonight, *limits}):
        found = tonight.get(kind, np.nan)
        value = None if np.isnan(found) else float(found)
        centre, low, high = limits.get(kind, (None, None, None))
        outside = False
        if value is not None and low is not None and high is not None:
            outside = not low <= value <= high
        lines.append(
            CanaryLine(kind=kind, value=value, centre=centre, low=low, high=high, outside=outside)
        )
    return tuple(lines)


def again_p_values(nights: Sequence[Night], settings: DriftSettings) -> tuple[Floats, Floats]:
    """How unlikely it is that one set of answers looks so much worse than its twin, (t, c).

    The t test of the questions' differences without a margin, and never below what their signs
    allow, as tonight's gate has it; NaN without an A/A arm, and where all scores of the twins are
    the same: such a test could not have found anything. Also the level (t,) that this gate has
    for the first of a night's metrics.
    """
    from scipy import special  # slow to load

    width = max((len(night.metrics) for night in nights), default=1)
    found = np.full((len(nights), width), np.nan)
    for row, night in enumerate(nights):
        if night.again is None:
            continue
        drops = night.again - night.candidate
        there = ~np.isnan(drops)
        n, filled = there.sum(axis=0), np.where(there, drops, 0.0)
        safe = np.maximum(n, 2)
        mean = filled.sum(axis=0) / safe
        own = np.maximum((filled**2).sum(axis=0) - safe * mean**2, 0.0) / (safe - 1)
        moved = (np.abs(filled) > _EDGE).sum(axis=0)
        t = mean / np.sqrt(np.maximum(own / safe, _EDGE**2))
        p = np.maximum(special.stdtr(safe - 1, -t), 0.5**moved)
        found[row, : len(p)] = np.where((n >= 2) & (moved > 0), p, np.nan)
    sizes = np.array([max(1, len(night.metrics)) for night in nights], np.float64)
    return found, settings.gate_alpha / settings.nights / sizes


def again_summaries(p_values: Floats, levels: Floats) -> list[AgainSummary | None]:
    """The A/A arm up to each night; None before the first night that has one.

    ``p_values`` (t, c) are one-sided: the probability, if nothing differs, that one set of answers
    looks so much worse than the other set of the same candidate. NaN where there is none. Findings
    at 5 % are counted, and those at ``levels`` (t,), tonight's gate's. Both are false. Where there
    is no p-value there is no test, and no night without one counts.

    The rate's interval allows for metrics that move together: the variance of the nights' rates
    gives the number of independent tests that the metric-nights are worth, and that number goes
    into the Clopper-Pearson interval (Korn and Graubard 1998).
    """
    from scipy import special  # slow to load

    there = ~np.isnan(p_values)
    filled = np.where(there, p_values, 1.0)
    tests = there.sum(axis=1)
    found = (filled <= NOMINAL).sum(axis=1)
    nights, n, x = (tests > 0).cumsum(), tests.cumsum(), found.cumsum()
    strict = (filled <= levels[:, None]).sum(axis=1).cumsum()
    safe, nights_safe = np.maximum(n, 1), np.maximum(nights, 2)
    rate = x / safe
    # The linearised variance of a ratio of totals, nights as clusters.
    squares = (found**2).cumsum() - 2 * rate * (found * tests).cumsum()
    squares = squares + rate**2 * (tests**2).cumsum()
    variance = np.maximum(squares, 0.0) * nights_safe / (nights_safe - 1)
    single = n * rate * (1 - rate)
    effect = np.divide(variance, single, out=np.ones(len(n)), where=single > 0)
    most = np.maximum.accumulate(np.maximum(tests, 1))
    effect = np.clip(np.where(nights > 1, effect, most), 1.0, most)
    # Without a finding there is no variance: the metrics of a night then count as one test.
    effect = np.where(x == 0, np.maximum(n / np.maximum(nights, 1), 1.0), effect)
    units, hits = n / effect, x / effect
    tail = (1 - _CONFIDENCE) / 2
    low = np.where(hits > 0, special.betaincinv(np.maximum(hits, 1e-9), units - hits + 1, tail), 0)
    open_ = np.maximum(units - hits, 1e-9)
    high = np.where(units - hits > 1e-9, special.betaincinv(hits + 1, open_, 1 - tail), 1.0)
    return [
        AgainSummary(
            nights=int(nights[at]),
            tests=int(n[at]),
            at_nominal=int(x[at]),
            rate=Effect(value=float(rate[at]), low=float(low[at]), high=float(high[at])),
            at_level=int(strict[at]),
        )
        if n[at]
        else None
        for at in range(len(n))
    ]
