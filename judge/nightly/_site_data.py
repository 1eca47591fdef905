"""The content of the site as plain objects: what ``series.json`` holds and pages are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from judge import __version__
from judge.drift import (
    AgainSummary,
    Alarm,
    Baseline,
    Bridge,
    CanaryLine,
    DriftSettings,
    Effect,
    MetricNight,
    Night,
    Watch,
)
from judge.records import OVERALL

Fields: TypeAlias = Mapping[str, Any]
Json: TypeAlias = dict[str, Any]
Floats: TypeAlias = NDArray[np.float64]

MOVED = 8
"""Questions shown per night: those whose overall fell the most."""

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """What the site shows that no night's record holds.

    ``names`` gives a metric's name for people where it has one. ``facts`` are lines of provenance
    (judge, question set, rubric ...), ``notes`` sentences that must be read with the numbers.
    ``pages`` is the number of latest nights that have a page of their own; None: all.
    ``synthetic`` says that the nights were made up.
    """

    settings: DriftSettings = field(default_factory=DriftSettings)
    baselines: Sequence[Baseline] = ()
    bridges: Sequence[Bridge] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
    pages: int | None = None
    synthetic: bool = False


def series_body(
    series: str, watches: Sequence[Watch], nights: Sequence[Night], extra: SiteFacts
) -> Json:
    """The whole series as plain objects, nights in the order of their dates.

    What is not known is null, NaN included. ``log_detector`` and ``evidence`` (the logarithm of the
    mean of the metrics' statistics) are "nothing" where the statistic is exactly 0.
    """
    measured = {night.date: night for night in nights}
    ordered = sorted(watches, key=lambda watch: watch.date)
    metrics = list(dict.fromkeys(one.metric for watch in ordered for one in watch.metrics))
    metrics.sort(key=lambda metric: metric != OVERALL)
    return {
        "series": series,
        "plumbline": __version__,
        "synthetic": extra.synthetic,
        "notes": list(extra.notes),
        "facts": dict(extra.facts),
        "metrics": metrics,
        "names": {one: extra.names.get(one, _named(one)) for one in metrics},
        "settings": asdict(extra.settings),
        "threshold": math.log(extra.settings.nights / extra.settings.detector_alpha),
        "baselines": [asdict(one) | {"nights": list(one.nights)} for one in extra.baselines],
        "bridges": [_record(one) for one in extra.bridges],
        "nights": [_night(watch, measured, extra) for watch in ordered],
    }


def _named(metric: str) -> str:
    return "Overall" if metric == OVERALL else metric


def watch_body(watch: Watch) -> Json:
    """What follows from a night as plain objects, "overall" before the criteria."""
    metrics = sorted(watch.metrics, key=lambda one: one.metric != OVERALL)
    return {
        "date": watch.date,
        "epoch": watch.epoch,
        "state": watch.state.value,
        "decision": None if watch.decision is None else watch.decision.value,
        "cause": watch.cause.value,
        "baseline": watch.baseline,
        "reasons": list(watch.reasons),
        "evidence": _log(_family([one.log_detector for one in metrics])),
        "metrics": [_metric(one) for one in metrics],
        "alarms": [_alarm(one) for one in watch.alarms],
        "spent": _plain(watch.spent),
        "left": _plain(watch.left),
        "again": None if watch.again is None else _record(watch.again),
        "canaries": [_record(one) for one in watch.canaries],
    }


def _night(watch: Watch, nights: Mapping[str, Night], extra: SiteFacts) -> Json:
    night = nights.get(watch.date)
    measured = None if night is None else _measured(night, watch, nights, extra)
    return watch_body(watch) | {"measured": measured}


def _metric(one: MetricNight) -> Json:
    return _record(one) | {"log_detector": _log(one.log_detector)}


def _alarm(one: Alarm) -> Json:
    return {
        "kind": one.kind,
        "since": one.since,
        "onset": one.onset,
        "metrics": list(one.metrics),
        "cause": one.cause.value,
        "effect": None if one.effect is None else _record(one.effect),
    }


def _record(one: AgainSummary | Bridge | CanaryLine | Effect | MetricNight) -> Json:
    return {name: _plain(value) for name, value in asdict(one).items()}


def _plain(value: Any) -> Any:
    """The value with plain floats (numpy's are a kind of them), null where one is no number."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value


def _log(value: float) -> float | str | None:
    if value == -math.inf:
        return "nothing"
    return float(value) if math.isfinite(value) else None


def _family(logs: Sequence[float]) -> float:
    """The logarithm of the mean of statistics that are given as logarithms."""
    if not logs or any(math.isnan(log) for log in logs):
        return math.nan
    return float(np.logaddexp.reduce(np.asarray(logs, float))) - math.log(len(logs))


def _measured(night: Night, watch: Watch, nights: Mapping[str, Night], extra: SiteFacts) -> Json:
    past, bridge = _past(night, watch, nights, extra)
    return {
        "questions": len(night.question_ids),
        "bridge": None if bridge is None else bridge.since,
        "complete": night.complete,
        "anchors": _pairs(
            night.metrics, _means(past, "anchor_ids", "anchors", night.anchor_ids), night.anchors
        ),
        "slice": _pairs(night.metrics, night.slice_before, night.slice_now),
        "again": [] if night.again is None else _pairs(night.metrics, night.candidate, night.again),
        "moved": _moved(
            night, _means(past, "question_ids", "candidate", night.question_ids), bridge
        ),
    }


def _past(
    night: Night, watch: Watch, nights: Mapping[str, Night], extra: SiteFacts
) -> tuple[Sequence[Night], Bridge | None]:
    """The baseline's nights, and the bridge that leads from them to tonight.

    No nights where their scores cannot stand beside tonight's. A bridge starts from the scores of
    the baseline itself, so that the latest alone counts.
    """
    baseline = next((one for one in reversed(extra.baselines) if one.since == watch.baseline), None)
    if baseline is None:
        return (), None
    bridges = [one for one in extra.bridges if baseline.since <= one.since <= night.date]
    bridge = max(bridges, key=lambda one: one.since, default=None)
    if (baseline.epoch if bridge is None else bridge.new) != night.epoch:
        return (), None
    found = [nights[date] for date in baseline.nights if date in nights]
    return [one for one in found if one.metrics == night.metrics], bridge


def _means(nights: Sequence[Night], ids: str, scores: str, wanted: Sequence[str]) -> Floats:
    """Means over nights per id, in the order wanted, (k, c); NaN where there is none."""
    width = len(nights[0].metrics) if nights else 0
    total, count = np.zeros((len(wanted), width)), np.zeros((len(wanted), width))
    for night in nights:
        rows = {name: at for at, name in enumerate(getattr(night, ids))}
        mine = [at for at, name in enumerate(wanted) if name in rows]
        values = getattr(night, scores)[[rows[wanted[at]] for at in mine]].reshape(len(mine), width)
        known = np.isfinite(values)
        total[mine] += np.where(known, values, 0.0)
        count[mine] += known
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)


def _pairs(metrics: Sequence[str], before: Floats, now: Floats) -> list[Json]:
    """Means per metric over the rows that have both scores; of ``now`` alone without ``before``."""
    if not now.size:
        return []
    rows = []
    for at, metric in enumerate(metrics):
        known = np.isfinite(now[:, at])
        if before.shape == now.shape and (both := known & np.isfinite(before[:, at])).any():
            first, second = float(before[both, at].mean()), float(now[both, at].mean())
            rows.append(_row(metric, int(both.sum()), first, second))
        else:
            mean = float(now[known, at].mean()) if known.any() else None
            rows.append(_row(metric, int(known.sum()), None, mean))
    return sorted(rows, key=lambda row: row["metric"] != OVERALL)


def _row(metric: str, n: int, before: float | None, now: float | None) -> Json:
    gap = None if before is None or now is None else now - before
    return {"metric": metric, "n": n, "before": before, "now": now, "difference": gap}


def _moved(night: Night, before: Floats, bridge: Bridge | None) -> list[Json]:
    """The questions whose overall fell the most against the baseline's nights, bridged."""
    if OVERALL not in night.metrics or not before.size:
        return []
    at = night.metrics.index(OVERALL)
    then, now = before[:, at], night.candidate[:, at]
    if bridge is not None:
        if (line := bridge.metrics.get(OVERALL)) is None:
            return []
        then = line.intercept + line.slope * then
    gaps = now - then
    order = [int(row) for row in np.argsort(gaps, kind="stable") if gaps[row] < -_ROUNDING]
    return [
        {
            "question": night.question_ids[row],
            "before": float(then[row]),
            "now": float(now[row]),
            "difference": float(gaps[row]),
        }
        for row in order[:MOVED]
    ]
