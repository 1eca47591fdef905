"""Simulated years: what a series with this noise would alarm at, and how soon it would find a drop.

A simulated year keeps the same questions and draws fresh noise every night; its baseline is drawn
as well, once per year, so that the baseline's error stays for the whole year as it does in life.
The nights run through the same functions as those of a real series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from judge.drift._baseline import BaselineStats, joined, stats_of
from judge.drift._detector import family, per_metric, start, step, threshold
from judge.drift._noise import NoiseModel
from judge.drift._records import DriftSettings, Floats
from judge.drift._tonight import standardise, tails, tonight

YEARS = 2000
_CELLS = 4_000_000
"""Scores that are held at a time."""
_SLACK = 0.5
"""Far more than `normal_score` is off by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DropFound:
    """How soon a drop was found that began on one night and stayed.

    ``spread`` is ``one`` (one criterion, and the overall by its weight) or ``all``. ``found`` is
    the share of years in which it was found before the year's end, among those without an alarm
    before it; ``by_gate`` the share in which tonight's gate was the first or at once with the
    detector. ``median``, ``early`` and ``late`` are the 50, 10 and 90 % points of the delay in
    nights (1: found on its first night), inf where it was not found.
    """

    spread: str
    drop: float
    found: float
    by_gate: float
    median: float
    early: float
    late: float


@dataclass(frozen=True, slots=True, kw_only=True)
class FalseAlarms:
    """False alarms of years in which nothing changed.

    ``gate``, ``detector`` and ``either`` are shares of years with at least one; ``low`` and
    ``high`` the 95 % Clopper-Pearson interval of ``either``. ``per_year`` is the mean number of
    alarms where the detector starts anew after each, with its 95 % interval.
    """

    years: int
    gate: float
    detector: float
    either: float
    low: float
    high: float
    per_year: float
    per_year_low: float
    per_year_high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class YearsReport:
    """What simulated years showed.

    ``margins`` gives per metric the median margin of the drawn baselines: about what a drop must
    exceed to be found at all. ``errors`` gives per metric the median standard error of a night.
    """

    metrics: tuple[str, ...]
    questions: int
    margins: dict[str, float]
    errors: dict[str, float]
    false_alarms: FalseAlarms
    drops: tuple[DropFound, ...]


class _Nights(NamedTuple):
    """Years of nights without a drop: arrays (Y, T, c), baselines with leading axes (Y, 1)."""

    drop: Floats
    own: Floats
    moved: Floats
    base: BaselineStats


class _First(NamedTuple):
    """Per year the first night (index) on which each fired, T where it did not."""

    gate: Floats
    detector: Floats


def simulate_years(
    noise: NoiseModel,
    settings: DriftSettings,
    *,
    years: int = YEARS,
    drops: Sequence[float] = (0.02, 0.03, 0.05, 0.08),
    rng: np.random.Generator,
    begins: int = 30,
) -> YearsReport:
    """Simulate years without a change, and with drops that begin after ``begins`` nights.

    Every drop of ``drops`` is tried on one criterion (the first, its share on the overall too) and
    on all metrics at once; a drop lowers every question alike. The same noise serves the years
    with and without a drop. Time grows with years · nights · questions · metrics: about a
    minute for 2,000 years of nine metrics and 45 questions.

    Raises ValueError for fewer than one year, and for drops that would begin after the year's end.
    """
    if years < 1 or not 0 <= begins < settings.nights:
        raise ValueError(f"{years} years with drops after {begins} nights cannot be simulated")
    nights = _joined(list(_drawn(noise, settings, years, rng)))
    quiet = _first(nights, settings, np.zeros(len(noise.metrics)), 0)
    found = tuple(
        _delays(_first(nights, settings, drop * pattern, begins), begins, settings, spread, drop)
        for spread, pattern in (("one", noise.on_one()), ("all", np.ones(len(noise.metrics))))
        for drop in drops
    )
    errors = np.sqrt(np.median(nights.base.s**2, axis=(0, 1)) / noise.questions)
    margins = np.median(nights.base.margin, axis=(0, 1))
    return YearsReport(
        metrics=noise.metrics,
        questions=noise.questions,
        margins=dict(zip(noise.metrics, margins.tolist(), strict=True)),
        errors=dict(zip(noise.metrics, errors.tolist(), strict=True)),
        false_alarms=_false_alarms(quiet, _counts(nights, settings), settings),
        drops=found,
    )


def _drawn(
    noise: NoiseModel, settings: DriftSettings, years: int, rng: np.random.Generator
) -> Iterator[_Nights]:
    """Years in chunks that fit in memory."""
    per_year = settings.nights * noise.questions * len(noise.metrics)
    chunk = max(1, _CELLS // per_year)
    for first in range(0, years, chunk):
        size = min(chunk, years - first)
        scores = noise.draw((size, settings.baseline_nights), rng)
        anchors = noise.draw_anchors((size, settings.baseline_nights), scores.shocks, rng)
        base = stats_of(scores.values, anchors, least_margin=settings.least_margin)
        base = base.beside_nights()
        found = tonight(noise.draw((size, settings.nights), rng).values, base)
        yield _Nights(found.drop, found.own, found.moved, base)


def _joined(chunks: list[_Nights]) -> _Nights:
    return _Nights(
        drop=np.concatenate([chunk.drop for chunk in chunks]),
        own=np.concatenate([chunk.own for chunk in chunks]),
        moved=np.concatenate([chunk.moved for chunk in chunks]),
        base=joined([chunk.base for chunk in chunks]),
    )


def _first(nights: _Nights, settings: DriftSettings, shift: Floats, begins: int) -> _First:
    """When each mechanism first fires with a drop of ``shift`` (c,) from night ``begins`` on."""
    z, fired = _evidence(nights, settings, shift, begins)
    limit = threshold(settings.nights, settings.detector_alpha)
    years, length, metrics = z.shape
    log_r = start(years, metrics)
    detector = np.full(years, float(length))
    for night in range(length):
        log_r = step(log_r, z[:, night])
        over = family(per_metric(log_r)) >= limit
        detector = np.where(over & (detector == length), night, detector)
    gate = np.where(fired.any(axis=1), fired.argmax(axis=1), length).astype(np.float64)
    return _First(gate, detector)


def _evidence(
    nights: _Nights, settings: DriftSettings, shift: Floats, begins: int
) -> tuple[Floats, NDArray[np.bool_]]:
    """The nights' z (Y, T, c), and whether tonight's gate fired (Y, T)."""
    drop = nights.drop.copy()
    drop[:, begins:] += shift
    base = nights.base
    n = np.full(drop.shape, float(base.means.shape[-2]))
    found = standardise(drop, nights.own, n=n, base=base)
    level = settings.gate_alpha / settings.nights
    # Holm rejects something exactly where the smallest p is below the level over the family. The
    # tail is worked out only where z comes near that level: elsewhere no p can be that small.
    from scipy import special  # type: ignore[import-untyped]  # slow to load

    far = found.z > -special.ndtri(min(level / drop.shape[-1], 0.5)) - _SLACK
    p = np.ones(drop.shape)
    p[far] = tails(found.t[far], found.df[far], nights.moved[far])
    return found.z, p.min(axis=-1) <= level / drop.shape[-1]


def _counts(nights: _Nights, settings: DriftSettings) -> Floats:
    """The number of alarms per year (Y,) where the detectors start anew after each."""
    z, fired = _evidence(nights, settings, np.zeros(nights.drop.shape[-1]), 0)
    limit = threshold(settings.nights, settings.detector_alpha)
    log_r = start(len(z), z.shape[-1])
    counts = np.zeros(len(z))
    for night in range(z.shape[1]):
        log_r = step(log_r, z[:, night])
        alarm = (family(per_metric(log_r)) >= limit) | fired[:, night]
        counts += alarm
        log_r[alarm] = -np.inf
    return counts


def _false_alarms(first: _First, counts: Floats, settings: DriftSettings) -> FalseAlarms:
    years = len(counts)
    gate, detector = first.gate < settings.nights, first.detector < settings.nights
    either = gate | detector
    low, high = clopper_pearson(int(either.sum()), years)
    half = 1.96 * float(counts.std()) / math.sqrt(years)
    mean = float(counts.mean())
    return FalseAlarms(
        years=years,
        gate=float(gate.mean()),
        detector=float(detector.mean()),
        either=float(either.mean()),
        low=low,
        high=high,
        per_year=mean,
        per_year_low=max(0.0, mean - half),
        per_year_high=mean + half,
    )


def _delays(
    first: _First, begins: int, settings: DriftSettings, spread: str, drop: float
) -> DropFound:
    alarm = np.minimum(first.gate, first.detector)
    clean = alarm >= begins
    alarm, gate = alarm[clean], first.gate[clean]
    there = alarm < settings.nights
    delays = np.where(there, alarm - begins + 1, np.inf)
    if not len(delays):
        return DropFound(
            spread=spread, drop=drop, found=0.0, by_gate=0.0, median=math.inf, early=math.inf,
            late=math.inf,
        )  # fmt: skip
    early, median, late = np.quantile(delays, [0.1, 0.5, 0.9], method="higher")
    return DropFound(
        spread=spread,
        drop=drop,
        found=float(there.mean()),
        by_gate=float((there & (gate == alarm)).mean()),
        median=float(median),
        early=float(early),
        late=float(late),
    )


def clopper_pearson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The two-sided Clopper-Pearson interval of a probability."""
    from scipy import special  # slow to load

    tail = (1 - confidence) / 2
    low = float(special.betaincinv(successes, n - successes + 1, tail)) if successes else 0.0
    high = (
        float(special.betaincinv(successes + 1, n - successes, 1 - tail)) if successes < n else 1.0
    )
    return low, high
