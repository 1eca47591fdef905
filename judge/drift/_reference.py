"""A baseline on the scale of some nights, and their scores in its order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from judge.drift._baseline import BaselineStats, stats_of
from judge.drift._records import Bridge, DriftSettings, Floats, Night
from judge.errors import UsageError

LEAST_ANCHOR_NIGHTS = 5
"""An anchor that fewer baseline nights have is not known: its mean is mostly noise and moods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A baseline on the scale of some nights.

    ``candidate`` (n, c) and ``anchors`` (m, c, or None) in numbers; ``anchor_scores`` (b, m, c) are
    those of the baseline's nights that have any; an anchor counts for a metric where at least 5
    nights have its score. ``intercept`` and ``slope`` (c,) are the map that brought the
    baseline's last night there, ``error`` (c,) the standard error of the maps.
    """

    metrics: tuple[str, ...]
    questions: tuple[str, ...]
    anchor_ids: tuple[str, ...]
    candidate: BaselineStats
    anchors: BaselineStats | None
    anchor_scores: Floats
    error: Floats
    intercept: Floats
    slope: Floats


def reference(
    nights: Sequence[Night], bridges: Sequence[Sequence[Bridge]], settings: DriftSettings
) -> Reference:
    """The baseline of ``nights``, each brought to another scale by its own chain of bridges.

    The error of the maps is the same for all scores, so it joins the baseline's standard error and
    with it the margin. A metric that a bridge does not map is missing afterwards.

    Raises UsageError for fewer than two nights and for nights of different metrics.
    """
    if len(nights) < 2:
        raise UsageError(
            f"A baseline of {len(nights)} night has no spread between nights. It needs at least 2, "
            f"better {settings.baseline_nights}."
        )
    metrics = nights[0].metrics
    for night in nights:
        if night.metrics != metrics:
            raise UsageError(
                f"The nights {nights[0].date} and {night.date} have different metrics, so they "
                "cannot be one baseline. Choose nights of one rubric."
            )
    maps = [chain_map(chain, metrics) for chain in bridges]
    error = np.mean([se for _, _, se in maps], axis=0)
    questions = union(night.question_ids for night in nights)
    anchor_ids = union(night.anchor_ids for night in nights)
    scores = np.stack(
        [
            intercept + slope * placed(night.candidate, night.question_ids, questions)
            for night, (intercept, slope, _) in zip(nights, maps, strict=True)
        ]
    )
    anchors = _known_anchors(
        [
            intercept + slope * anchors_of(night, anchor_ids)
            for night, (intercept, slope, _) in zip(nights, maps, strict=True)
        ]
    )
    zero, one = np.zeros(len(metrics)), np.ones(len(metrics))
    candidate = stats_of(scores, anchors, least_margin=settings.least_margin)
    judged = None
    if anchors is not None:
        judged = stats_of(anchors, least_margin=settings.judge_margin)
    return Reference(
        metrics=metrics,
        questions=questions,
        anchor_ids=anchor_ids,
        candidate=candidate.bridged(zero, one, error, settings.least_margin),
        anchors=judged,
        anchor_scores=anchors if anchors is not None else np.empty((len(nights), 0, len(metrics))),
        error=error,
        intercept=maps[-1][0],
        slope=maps[-1][1],
    )


def _known_anchors(nights: Sequence[Floats]) -> Floats | None:
    """The anchors (b, m, c) of the nights that have any, without scores that too few nights have.

    None where nothing is left. The number of nights b is what the anchors' own standard error and
    the judge's moods are computed from.
    """
    scores = np.stack(nights)
    there = ~np.isnan(scores)
    found = np.where(there.sum(axis=0) >= LEAST_ANCHOR_NIGHTS, scores, np.nan)
    some = ~np.isnan(found).all(axis=(1, 2))
    return found[some] if some.any() else None


def chain_map(chain: Sequence[Bridge], metrics: Sequence[str]) -> tuple[Floats, Floats, Floats]:
    """Bridges one after the other as one map per metric: (intercept, slope, se), each (c,).

    NaN for a metric that one of them does not map.
    """
    intercept, slope = np.zeros(len(metrics)), np.ones(len(metrics))
    se = np.zeros(len(metrics))
    for bridge in chain:
        found = [bridge.metrics.get(name) for name in metrics]
        a = np.array([np.nan if one is None else one.intercept for one in found])
        b = np.array([np.nan if one is None else one.slope for one in found])
        e = np.array([np.nan if one is None else one.se for one in found])
        intercept, slope, se = a + b * intercept, b * slope, np.hypot(b * se, e)
    return intercept, slope, se


def placed(values: Floats, ids: Sequence[str], wanted: Sequence[str]) -> Floats:
    """Rows (k, c) of ``ids`` in the order of ``wanted``; NaN for those that are not there."""
    if tuple(ids) == tuple(wanted):
        return values
    rows = {one: row for row, one in enumerate(ids)}
    found = np.full((len(wanted), values.shape[1]), np.nan)
    there = [(at, rows[one]) for at, one in enumerate(wanted) if one in rows]
    if there:
        into, out = (list(some) for some in zip(*there, strict=True))
        found[into] = values[out]
    return found


def anchors_of(night: Night, wanted: Sequence[str]) -> Floats:
    return rows_of(night.anchors, night.anchor_ids, wanted, night)


def rows_of(values: Floats, ids: Sequence[str], wanted: Sequence[str], night: Night) -> Floats:
    """As `placed`, for what a night may not have at all."""
    if not ids:
        return np.full((len(wanted), len(night.metrics)), np.nan)
    return placed(values, ids, wanted)


def columns_of(values: Floats, night: Night, base: Reference) -> Floats:
    if night.metrics == base.metrics:
        return values
    return placed(values.T, night.metrics, base.metrics).T


def union(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for group in groups for one in group))
