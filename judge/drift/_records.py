"""The records of a series of nights: what was measured, what people settled, what follows.

A *series* is one candidate, watched night after night against a baseline of earlier nights. An
*epoch* is a stretch of nights with the same rulers. All scores are in [0, 1], NaN where one is
missing; columns are metrics: the criteria, then "overall".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from judge.gate import Decision

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """What one night measured.

    ``candidate`` (n, c) has a row per question: the mean over the answers of tonight. ``again``
    (n, c), if there is an A/A arm, is the same from a second set of answers of the same candidate.
    ``anchors`` (m, c) are frozen answers judged tonight, in the order of ``anchor_ids``.
    ``slice_before`` and ``slice_now`` (s, c) are answers of baseline nights: as they were scored
    then, and judged again tonight. ``canaries`` gives the overall of planted answers by kind.
    ``missing`` is the share of the candidate's wanted verdicts without a score, per metric.
    ``complete`` is False where a time limit, a budget or an outage ended the night early;
    ``trouble`` then says which.
    """

    date: str
    """ISO 8601, e.g. 2026-03-01; nights are in the order of their dates."""
    epoch: str
    metrics: tuple[str, ...]
    question_ids: tuple[str, ...]
    candidate: Floats
    again: Floats | None = None
    anchor_ids: tuple[str, ...] = ()
    anchors: Floats = field(default_factory=lambda: np.empty((0, 0)))
    slice_ids: tuple[str, ...] = ()
    slice_before: Floats = field(default_factory=lambda: np.empty((0, 0)))
    slice_now: Floats = field(default_factory=lambda: np.empty((0, 0)))
    canaries: Mapping[str, float] = field(default_factory=dict)
    missing: Mapping[str, float] = field(default_factory=dict)
    complete: bool = True
    trouble: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Nights that somebody accepted as what the candidate is compared with.

    It holds from the date ``since`` (inclusive) until another one does.
    """

    since: str
    nights: tuple[str, ...]
    epoch: str
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Equating:
    """The map old → new of one metric: new = intercept + slope · old.

    ``se`` is the standard error of the mapped mean at the mean of the baseline; ``shift`` with
    ``low`` and ``high`` is the mean difference new - old with its 95 % interval.
    """

    intercept: float
    slope: float
    se: float
    shift: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """Stored answers scored again by the rulers of now, so that old scores can stand beside new.

    From ``since`` on, the baseline is mapped by ``metrics`` (metric → `Equating`) from the epoch
    ``old`` to the epoch ``new`` (the same one, where the judge moved under the same rulers).
    """

    since: str
    old: str
    new: str
    metrics: Mapping[str, Equating]
    by: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSettings:
    """How a series is watched. Levels are per year of ``nights`` nights.

    ``gate_alpha`` is spent on tonight's gates, ``detector_alpha`` on the candidate's e-detector,
    ``judge_alpha`` on the judge's. ``least_margin`` is the smallest margin of the candidate's
    tests, ``judge_margin`` of the judge's. ``guard`` is the number of nights for which an alarm
    that the anchors cannot attribute waits for the judge's. ``baseline_nights`` is the least number
    of nights of a baseline.
    """

    nights: int = 365
    gate_alpha: float = 0.01
    detector_alpha: float = 0.04
    judge_alpha: float = 0.05
    least_margin: float = 0.01
    judge_margin: float = 0.005
    guard: int = 3
    baseline_nights: int = 10
    confidence: float = 0.95
    max_unscored: float = 0.05


class State(StrEnum):
    """Where a series stands after a night."""

    COLLECTING = "collecting"
    """There is no baseline yet."""
    WATCHING = "watching"
    FROZEN = "frozen"
    """The judge moved, or the rulers changed: no decision until a bridge or a new baseline."""


class Cause(StrEnum):
    """Who moved, as far as the anchors and the slice can tell."""

    NONE = "none"
    MODEL = "model"
    JUDGE = "judge"
    BOTH = "both"
    PENDING = "pending"
    """An alarm that waits out the guard window."""
    UNKNOWN = "unknown"
    """There is nothing that would tell the judge from the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricNight:
    """One metric on one night, against the baseline. None where it was not measured.

    ``difference`` is tonight less the baseline, ``low`` and ``high`` its two-sided interval, ``se``
    its standard error (night shock and baseline included). ``p`` is tonight's one-sided probability
    under a drop of exactly the margin, ``level`` what it needs, ``can_fire`` whether data with so
    few differing questions could reach the level at all. ``log_detector`` is the logarithm of the
    metric's Shiryaev-Roberts statistic after tonight. ``trend`` is the mean difference since the
    baseline with its confidence sequence, valid on all nights at once. ``model``, ``judge`` and
    ``noise``: tonight's difference in parts; ``noise`` is the part that neither explains, as the
    half-width of what chance alone does.
    """

    metric: str
    value: float | None
    baseline: float | None
    difference: float | None
    low: float | None
    high: float | None
    se: float | None
    margin: float | None
    p: float | None
    level: float | None
    can_fire: bool
    log_detector: float
    trend: Effect | None
    model: Effect | None
    judge: Effect | None
    noise: float | None
    missing: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """An alarm, raised or still open.

    ``kind``: ``tonight`` (one night's gate), ``detector`` (evidence of many nights) or ``judge``.
    ``since`` is the date on which it was raised, ``onset`` the night on which the change most
    likely began. ``metrics`` are those that raised it, the strongest first, then those that
    joined while it was open. ``effect`` is the mean
    difference since the onset of the strongest (for ``judge``: of the anchors and the slice).
    """

    kind: str
    since: str
    onset: str
    metrics: tuple[str, ...]
    cause: Cause
    effect: Effect | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AgainSummary:
    """The A/A arm so far: how often one set of answers was called worse than its twin.

    ``at_nominal`` counts one-sided findings at 5 % among ``tests`` metric-nights on which the twins
    differ at all, with the rate's 95 % interval; ``at_level`` counts those at the level of
    tonight's gate. Both are false.
    """

    nights: int
    tests: int
    at_nominal: int
    rate: Effect | None
    at_level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryLine:
    """A planted answer as a control chart: tonight's value and the limits from the baseline."""

    kind: str
    value: float | None
    centre: float | None
    low: float | None
    high: float | None
    outside: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What follows from a series up to one night.

    ``decision`` is pass, regress or inconclusive; None while no baseline is there. ``spent`` and
    ``left`` are the yearly alarm budget by mechanism (gate, detector, judge). ``baseline`` is the
    date from which the baseline of tonight holds. ``reasons`` say in words what stands behind the
    decision.
    """

    date: str
    epoch: str
    state: State
    decision: Decision | None
    cause: Cause
    metrics: tuple[MetricNight, ...]
    alarms: tuple[Alarm, ...]
    spent: Mapping[str, float]
    left: Mapping[str, float]
    baseline: str | None
    again: AgainSummary | None
    canaries: tuple[CanaryLine, ...]
    reasons: tuple[str, ...]
