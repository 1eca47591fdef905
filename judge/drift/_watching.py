"""One night's `Watch`: the decision, the numbers behind it, and the reasons in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from judge.drift._charts import canary_lines
from judge.drift._records import (
    AgainSummary,
    Alarm,
    Baseline,
    CanaryLine,
    Cause,
    DriftSettings,
    Effect,
    Floats,
    MetricNight,
    Night,
    State,
    Watch,
)
from judge.drift._scales import Scale
from judge.drift._stretch import Stretch
from judge.drift._watch_words import (
    alarm_reasons,
    anchor_reasons,
    canary_reasons,
    collecting_reason,
    measurement_reasons,
    rulers_reason,
)
from judge.gate import Decision

JUDGE = "judge"


@dataclass(slots=True, kw_only=True)
class Open:
    """An alarm while it is open.

    ``raised`` and ``start`` are rows of the stretch: when it was raised and when the change began.
    On another scale they are the nearest that it has; ``raised`` is then -1 where all its nights
    are later. ``bridged``: raised on another scale, beside a judge that moved. ``waited`` counts
    the measured nights since it was raised, or since the bridge. ``effect``, ``judge`` and
    ``model`` are the parts on its strongest metric since the onset. For a judge's alarm ``worse``
    are the metrics on which the model is worse besides; ``unmoved`` is by how much at most it is
    shown to have moved on the alarm's metrics.
    """

    kind: str
    since: str
    onset: str
    metrics: tuple[str, ...]
    raised: int
    start: int
    cause: Cause = Cause.PENDING
    published: bool = False
    waited: int = 0
    effect: Effect | None = None
    judge: Effect | None = None
    model: Effect | None = None
    worse: tuple[str, ...] = ()
    unmoved: float | None = None
    bridged: bool = False

    def record(self) -> Alarm:
        """The alarm as others see it."""
        return Alarm(
            kind=self.kind,
            since=self.since,
            onset=self.onset,
            metrics=self.metrics,
            cause=self.cause,
            effect=self.effect,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where the series stands after a night, and what the night measured.

    ``row`` is the night's in ``stretch``, which is None where it cannot be compared. ``looks``
    counts the nights on which each mechanism looked.
    """

    night: Night
    scale: Scale
    baseline: Baseline | None
    stretch: Stretch | None
    row: int
    log_detector: Floats
    alarms: tuple[Open, ...]
    looks: Mapping[str, int]
    again: AgainSummary | None
    limits: Mapping[str, tuple[float, float, float]]
    complete_nights: int


def watch(standing: Standing, settings: DriftSettings) -> Watch:
    """What follows after a night.

    The decision is regress while an alarm is published; pass where the night was complete, no alarm
    is open and no metric that should have been measured was not (`Stretch.blocked`); otherwise
    inconclusive.
    """
    night, stretch, alarms = standing.night, standing.stretch, standing.alarms
    canaries = canary_lines(night.canaries, standing.limits)
    spent, left = _budget(standing.looks, settings)
    metrics = _metrics(standing, settings)
    frozen = any(one.kind == JUDGE for one in alarms)
    state = State.WATCHING
    if standing.baseline is None:
        state = State.COLLECTING
    elif stretch is None or frozen:
        state = State.FROZEN
    decision: Decision | None = None
    if any(one.published for one in alarms):
        decision = Decision.REGRESS
    elif state is not State.COLLECTING:
        fine = state is State.WATCHING and not alarms and night.complete
        fine = fine and stretch is not None and not stretch.blocked[standing.row].any()
        decision = Decision.PASS if fine else Decision.INCONCLUSIVE
    return Watch(
        date=night.date,
        epoch=night.epoch,
        state=state,
        decision=decision,
        cause=_cause(alarms),
        metrics=metrics,
        alarms=tuple(one.record() for one in alarms),
        spent=spent,
        left=left,
        baseline=None if standing.baseline is None else standing.baseline.since,
        again=standing.again,
        canaries=canaries,
        reasons=_reasons(standing, canaries, settings),
    )


def _cause(alarms: Sequence[Open]) -> Cause:
    """One name for all open alarms; a judge and a model that moved are both."""
    found = {one.cause for one in alarms}
    if Cause.BOTH in found or {Cause.MODEL, Cause.JUDGE} <= found:
        return Cause.BOTH
    for cause in (Cause.MODEL, Cause.JUDGE, Cause.UNKNOWN, Cause.PENDING):
        if cause in found:
            return cause
    return Cause.NONE


def _budget(
    looks: Mapping[str, int], settings: DriftSettings
) -> tuple[dict[str, float], dict[str, float]]:
    """What each mechanism has spent of its yearly level, and what is left of it.

    Every look costs alpha/nights; after a year of looks the next one begins.
    """
    levels = {
        "gate": (settings.gate_alpha, looks["tonight"]),
        "detector": (settings.detector_alpha, looks["detector"]),
        "judge": (settings.judge_alpha, looks["judge"]),
    }
    spent = {}
    for name, (alpha, count) in levels.items():
        this_year = (count - 1) % settings.nights + 1 if count else 0
        spent[name] = alpha * this_year / settings.nights
    return spent, {name: alpha - spent[name] for name, (alpha, _) in levels.items()}


def _metrics(standing: Standing, settings: DriftSettings) -> tuple[MetricNight, ...]:
    night, stretch = standing.night, standing.stretch
    if stretch is None:
        return tuple(_alone(night, name) for name in night.metrics)
    known = stretch.base.metrics
    values = _values(night)
    row, logs = standing.row, standing.log_detector.tolist()
    level = settings.gate_alpha / settings.nights / max(1, int(stretch.measured[row].sum()))
    compared = [
        _metric(stretch, row, at, values.get(name), logs[at], level)
        for at, name in enumerate(known)
    ]
    return (*compared, *(_alone(night, name) for name in night.metrics if name not in known))


def _alone(night: Night, metric: str) -> MetricNight:
    """A metric that stands beside nothing."""
    return MetricNight(
        metric=metric, value=_values(night)[metric], baseline=None, difference=None, low=None,
        high=None, se=None, margin=None, p=None, level=None, can_fire=False,
        log_detector=-np.inf, trend=None, model=None, judge=None, noise=None,
        missing=night.missing.get(metric, 0.0),
    )  # fmt: skip


def _metric(
    stretch: Stretch, row: int, at: int, value: float | None, log_detector: float, level: float
) -> MetricNight:
    shown = stretch.shown

    def number(name: str) -> float | None:
        found = shown[name][row][at]
        return None if math.isnan(found) else found

    def effect(value: str, low: str, high: str) -> Effect | None:
        found = shown[value][row][at]
        if math.isnan(found):
            return None
        return Effect(value=found, low=shown[low][row][at], high=shown[high][row][at])

    return MetricNight(
        metric=stretch.base.metrics[at],
        value=value,
        baseline=number("baseline"),
        difference=number("difference"),
        low=number("low"),
        high=number("high"),
        se=number("se"),
        margin=number("margin"),
        p=number("p"),
        level=number("level"),
        can_fire=shown["least p"][row][at] <= level,
        log_detector=log_detector,
        trend=effect("trend", "trend low", "trend high"),
        model=effect("model", "model low", "model high"),
        judge=effect("judge", "judge low", "judge high"),
        noise=number("noise"),
        missing=shown["missing"][row][at],
    )


def _values(night: Night) -> dict[str, float | None]:
    """The candidate's mean per metric; None where nothing was scored."""
    there = ~np.isnan(night.candidate)
    n = there.sum(axis=0)
    means = np.where(there, night.candidate, 0.0).sum(axis=0) / np.maximum(n, 1)
    pairs = zip(night.metrics, means.tolist(), n.tolist(), strict=True)
    return {name: mean if count else None for name, mean, count in pairs}


def _reasons(
    standing: Standing, canaries: Sequence[CanaryLine], settings: DriftSettings
) -> tuple[str, ...]:
    night, stretch = standing.night, standing.stretch
    found = []
    if standing.baseline is None:
        found.append(collecting_reason(standing.complete_nights, settings))
    elif stretch is None:
        found.append(rulers_reason(standing.baseline, night))
    elif len(standing.baseline.nights) < settings.baseline_nights:
        found.append(
            f"The baseline has only {len(standing.baseline.nights)} nights. "
            f"{settings.baseline_nights} are wanted."
        )
    for one in standing.alarms:
        found.extend(alarm_reasons(one, settings))
    if not night.complete:
        why = f": {night.trouble.rstrip('.')}" if night.trouble else ""
        found.append(f"The night ended early{why}. It decides nothing by itself.")
    if stretch is not None and night.complete:
        found.extend(measurement_reasons(stretch, standing.row, settings))
    found.extend(canary_reasons(canaries))
    if not found:
        found.append("Nothing shows that a metric got worse by more than its margin.")
    if stretch is not None:
        found.extend(anchor_reasons(stretch, standing.row))
    return tuple(found)
