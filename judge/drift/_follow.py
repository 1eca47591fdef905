"""A series of nights, folded from its events: what follows after every night.

Nothing is kept between calls: the same events give the same `Watch`es, and a night that is added
later changes none of the earlier ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from judge.drift import _detector as detector
from judge.drift._attribute import attribute, is_still, tolerance, worse_besides
from judge.drift._charts import again_p_values, again_summaries, canary_limits
from judge.drift._records import (
    Baseline,
    Bridge,
    Cause,
    DriftSettings,
    Floats,
    Night,
    Watch,
)
from judge.drift._recovery import recovery
from judge.drift._scales import Scale, Scales
from judge.drift._shift import Parts
from judge.drift._stretch import Stretch
from judge.drift._watching import Open, Standing, watch
from judge.errors import UsageError

CLOSING_LEVEL = 0.05
"""With this probability at most an alarm ever closes while what raised it lasts."""
STILL_LOWER = 0.05
"""Behind a bridge an alarm that the judge explained stays open where its metric is lower still."""

TONIGHT, DETECTOR, JUDGE = "tonight", "detector", "judge"


def follow(
    nights: Sequence[Night],
    baselines: Sequence[Baseline],
    bridges: Sequence[Bridge],
    settings: DriftSettings,
) -> list[Watch]:
    """What follows after each night, in the order of dates.

    The events may come in any order; of two baselines with the same ``since`` the one given later
    holds. A year of nights takes well under two seconds.

    Raises UsageError for two nights of one date, for a question that a night has twice, and for a
    baseline whose nights are not there, too few (fewer than 2) or of different metrics.
    """
    nights = sorted(nights, key=lambda night: night.date)
    _check(nights)
    scales = Scales(nights, baselines, bridges, settings)
    placed = [scales.of(night) for night in nights]
    members: dict[Scale, list[int]] = {}
    for at, scale in enumerate(placed):
        if scale.comparable:
            members.setdefault(scale, []).append(at)
    stretches: dict[Scale, Stretch] = {}
    rows: dict[int, int] = {}
    limits = [
        canary_limits([night.canaries for night in scales.base_nights(at)])
        for at in range(len(scales.baselines))
    ]
    again = again_summaries(*again_p_values(nights, settings))
    fold = _Fold(settings=settings)
    watches = []
    for at, night in enumerate(nights):
        scale = placed[at]
        if scale.comparable and scale not in stretches:
            lead = fold.lead(nights[:at], placed[:at], scale)
            there = [*range(at - lead, at), *members[scale]]
            stretches[scale] = Stretch(
                [nights[one] for one in there], scales.reference(scale), settings
            )
            rows.update({one: lead + row for row, one in enumerate(members[scale])})
        stretch = stretches.get(scale)
        fold.step(night, scale, stretch, rows.get(at, 0))
        standing = Standing(
            night=night,
            scale=scale,
            baseline=None if scale.baseline is None else scales.baselines[scale.baseline],
            stretch=stretch,
            row=rows.get(at, 0),
            log_detector=fold.log_metric(),
            alarms=tuple(fold.alarms),
            looks=dict(fold.looks),
            again=again[at],
            limits={} if scale.baseline is None else limits[scale.baseline],
            complete_nights=sum(one.complete for one in nights[: at + 1]),
        )
        watches.append(watch(standing, settings))
    return watches


def _check(nights: Sequence[Night]) -> None:
    for one, other in pairwise(nights):
        if one.date == other.date:
            raise UsageError(
                f"The series has two nights of {one.date}. A date has one night. "
                "Remove one of the two."
            )
    for night in nights:
        if len(set(night.question_ids)) < len(night.question_ids):
            raise UsageError(
                f"The night {night.date} has a question twice. Give each question once."
            )


@dataclass(slots=True)
class _Fold:
    """Where the series stands; it lives for one pass over the events."""

    settings: DriftSettings
    scale: Scale | None = None
    baseline: int | None = None
    begin: int = 0
    """The row from which the candidate's detectors have counted."""
    judge_begin: int = 0
    candidate: Floats = field(default_factory=lambda: detector.start(0))
    judge: Floats = field(default_factory=lambda: detector.start(0))
    alarms: list[Open] = field(default_factory=list)
    looks: dict[str, int] = field(default_factory=lambda: {TONIGHT: 0, DETECTOR: 0, JUDGE: 0})

    def log_metric(self) -> Floats:
        """Each metric's statistic as a logarithm, (c,)."""
        return detector.per_metric(self.candidate)

    def step(self, night: Night, scale: Scale, stretch: Stretch | None, row: int) -> None:
        if scale.baseline != self.baseline:
            self.baseline, self.alarms = scale.baseline, []
            self.scale = None
        if stretch is None:
            return
        if scale != self.scale:
            self._resume(scale, stretch, row)
        if not self._frozen():
            self._look(night, stretch, row)
        self._settle(stretch, row)

    def lead(self, before: Sequence[Night], placed: Sequence[Scale], scale: Scale) -> int:
        """How many nights just before a new scale's first stand on it as well.

        They were scored by the rulers to which the bridge leads: nights of the new epoch that stood
        beside nothing, and those since the judge's alarm was raised. Nothing was decided on them.
        """
        if scale.baseline != self.baseline:
            return 0
        judge = next((one for one in self.alarms if one.kind == JUDGE), None)
        count = 0
        for night, stood in zip(reversed(before), reversed(placed), strict=True):
            moved = judge is not None and night.date >= judge.since
            same = night.epoch == scale.epoch and stood.baseline == scale.baseline
            if not same or (stood.comparable and not moved):
                break
            count += 1
        return count

    def _resume(self, scale: Scale, stretch: Stretch, row: int) -> None:
        """A new scale: what the judge had caused is behind us; what the model had caused is not.

        The nights before it that stand on the scale as well feed the candidate's detectors now, as
        so many looks.
        """
        metrics = len(stretch.base.metrics)
        self.scale, self.begin, self.judge_begin = scale, 0, row
        self.candidate, self.judge = detector.start(metrics), detector.start(2 * metrics)
        for early in range(row):
            self.candidate = detector.step(self.candidate, stretch.night.z[early])
            self.looks[DETECTOR] += bool(stretch.measured[early].any())
        judge = next((one for one in self.alarms if one.kind == JUDGE), None)
        others = [one for one in self.alarms if one is not judge]
        if judge is not None and judge.cause is Cause.BOTH:
            others = _with_proven(others, judge)
        self.alarms = [one for one in others if self._stays(one, stretch, row)]
        for one in self.alarms:
            self._carry(one, stretch, row)

    def _stays(self, one: Open, stretch: Stretch, row: int) -> bool:
        """An alarm that the judge's shift explained stays where its scores are lower still."""
        if one.cause is not Cause.JUDGE:
            return True
        p = stretch.window(0, row).difference.p_below(-stretch.base.candidate.margin)
        columns = [stretch.base.metrics.index(name) for name in one.metrics]
        return bool(np.nanmin(np.append(p[columns], 1.0)) <= STILL_LOWER)

    def _carry(self, one: Open, stretch: Stretch, row: int) -> None:
        """Read an alarm again on a new scale."""
        if one.cause is Cause.JUDGE:
            one.cause = Cause.PENDING
        elif one.cause is Cause.BOTH:
            one.cause, one.bridged = Cause.MODEL, True
        one.waited = 0
        one.raised = sum(date <= one.since for date in stretch.dates[: row + 1]) - 1
        one.start = min(sum(date < one.onset for date in stretch.dates[:row]), row)
        found = self._onset(stretch.night.z[:, stretch.base.metrics.index(one.metrics[0])], row)
        if one.start < found < row:
            one.start, one.onset = found, stretch.dates[found]

    def _frozen(self) -> bool:
        return any(one.kind == JUDGE for one in self.alarms)

    def _look(self, night: Night, stretch: Stretch, row: int) -> None:
        settings = self.settings
        measured = bool(stretch.measured[row].any())
        self.looks[TONIGHT] += measured
        self.looks[DETECTOR] += measured
        self.looks[JUDGE] += not np.isnan(stretch.judge_z[row]).all()
        self.judge = detector.step(self.judge, stretch.judge_z[row])
        self.candidate = detector.step(self.candidate, stretch.night.z[row])
        judge = detector.per_metric(self.judge)
        if detector.family(judge) >= detector.threshold(settings.nights, settings.judge_alpha):
            self._raise_judge(night, stretch, row, judge)
        raised = {one.kind for one in self.alarms}
        log_metric = self.log_metric()
        level = detector.threshold(settings.nights, settings.detector_alpha)
        for one in self.alarms:
            if one.kind == DETECTOR:
                one.metrics = _joined(one.metrics, stretch, log_metric, level)
        if DETECTOR not in raised and detector.family(log_metric) >= level:
            named = [int(at) for at in np.argsort(-log_metric) if log_metric[at] >= level]
            start = self._onset(stretch.night.z[:, named[0]], row)
            self.alarms.append(self._open(DETECTOR, night, stretch, row, start, named))
        if TONIGHT not in raised and stretch.rejected[row].any():
            named = [int(at) for at in np.argsort(stretch.p[row]) if stretch.rejected[row, at]]
            self.alarms.append(self._open(TONIGHT, night, stretch, row, row, named))

    def _onset(self, z: Floats, row: int, *, judge: bool = False) -> int:
        begin = self.judge_begin if judge else self.begin
        return begin + detector.onset(z[begin : row + 1])

    def _open(
        self, kind: str, night: Night, stretch: Stretch, row: int, start: int, named: list[int]
    ) -> Open:
        return Open(
            kind=kind,
            since=night.date,
            onset=stretch.dates[start],
            metrics=tuple(stretch.base.metrics[at] for at in named),
            raised=row,
            start=start,
        )

    def _raise_judge(self, night: Night, stretch: Stretch, row: int, logs: Floats) -> None:
        count = len(stretch.base.metrics)
        level = detector.threshold(self.settings.nights, self.settings.judge_alpha)
        columns = [int(at) for at in np.argsort(-logs) if logs[at] >= level]
        start = self._onset(stretch.judge_z[:, columns[0]], row, judge=True)
        named = list(dict.fromkeys(at % count for at in columns))
        found = self._open(JUDGE, night, stretch, row, start, named)
        found.cause = Cause.JUDGE
        self.alarms.append(found)

    def _settle(self, stretch: Stretch, row: int) -> None:
        judge = next((one for one in self.alarms if one.kind == JUDGE), None)
        windows: dict[int, Parts] = {}
        for one in self.alarms:
            if not stretch.measured[row].any():
                continue
            one.waited += row > one.raised
            if one.start not in windows:
                windows[one.start] = stretch.window(one.start, row)
            found = windows[one.start]
            metric = stretch.base.metrics.index(one.metrics[0])
            if one.kind != JUDGE and np.isnan(found.difference.value[metric]):
                continue
            confidence = self.settings.confidence
            part = found.judge if one.kind == JUDGE else found.difference
            one.effect = part.effect(metric, confidence)
            one.judge = found.judge.effect(metric, confidence)
            one.model = found.model.effect(metric, confidence)
            margins = stretch.base.candidate.margin
            if judge is None:
                if one.cause in (Cause.PENDING, Cause.UNKNOWN):
                    finding = attribute(
                        found, metric, float(margins[metric]), self.settings, waited=one.waited
                    )
                    one.cause, one.published = finding.cause, one.published or finding.published
                continue
            worse = [stretch.base.metrics[at] for at in worse_besides(found, margins)]
            limits = [
                (at, tolerance(float(margins[at]), self.settings))
                for at in map(stretch.base.metrics.index, one.metrics)
            ]
            still = all(is_still(found.model, at, limit) for at, limit in limits)
            one.unmoved = max(limit for _, limit in limits) if still else None
            self._beside_judge(one, judge, worse)
        if judge is None:
            self._close(stretch, row)

    def _beside_judge(self, one: Open, judge: Open, worse: list[str]) -> None:
        """Name the cause of an alarm while the judge's is open."""
        if one.kind == JUDGE:
            one.worse = tuple(dict.fromkeys([*one.worse, *worse]))
            if worse:
                one.cause, one.published = Cause.BOTH, True
        elif one.cause is Cause.BOTH:
            return
        elif one.cause is Cause.MODEL:
            if judge.start <= one.raised + self.settings.guard:
                one.cause = Cause.BOTH
        elif one.cause is Cause.PENDING and one.published:
            one.cause = Cause.BOTH
        else:
            one.published = bool(set(one.metrics) & set(worse))
            one.cause = Cause.BOTH if one.published else Cause.JUDGE

    def _close(self, stretch: Stretch, row: int) -> None:
        kept = [one for one in self.alarms if not self._recovered(one, stretch, row)]
        if len(kept) < len(self.alarms) and not kept:
            self.candidate, self.begin = detector.start(len(stretch.base.metrics)), row + 1
        self.alarms = kept

    def _recovered(self, one: Open, stretch: Stretch, row: int) -> bool:
        """Whether all the nights since show every metric of an alarm within its margin again.

        A metric that stays worse than its margin gets there with a probability of at most 5 % over
        all the nights to come, not on each of them.
        """
        columns = [stretch.base.metrics.index(name) for name in one.metrics]
        if not stretch.measured[row, columns].all():
            return False
        evidence = recovery(stretch.night.z[one.raised + 1 : row + 1, columns])
        return bool((evidence >= -np.log(CLOSING_LEVEL)).all())


def _joined(
    metrics: tuple[str, ...], stretch: Stretch, log_metric: Floats, level: float
) -> tuple[str, ...]:
    """An alarm's metrics and, behind them, those whose own evidence has reached the threshold."""
    found = [stretch.base.metrics[at] for at in np.argsort(-log_metric) if log_metric[at] >= level]
    return tuple(dict.fromkeys([*metrics, *found]))


def _with_proven(others: list[Open], judge: Open) -> list[Open]:
    """The candidate's alarms, with what was shown of the model beside a judge that moved.

    It joins the alarm of its detector, or becomes one.
    """
    for one in others:
        if one.kind == DETECTOR and one.published:
            one.metrics = tuple(dict.fromkeys([*one.metrics, *judge.worse]))
            return others
    proven = replace(judge, kind=DETECTOR, metrics=judge.worse, worse=(), unmoved=None)
    return [*others, proven]
