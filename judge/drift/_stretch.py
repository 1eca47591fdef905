"""Nights that stand beside the same baseline on the same scale, in arrays.

All that does not depend on what went before is computed for all nights of a stretch at once; each
night's numbers depend on that night and on the baseline alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from judge.drift._records import DriftSettings, Floats, Night
from judge.drift._reference import Reference, anchors_of, columns_of, placed, rows_of, union
from judge.drift._sequence import sequence
from judge.drift._shift import Estimate, Parts, change, judge_z, parts, single_variance
from judge.drift._tonight import (
    Tonight,
    difference_interval,
    holm_levels,
    normal_score,
    p_values,
    tonight,
)

LEAST_ANCHORS = 0.5
"""A share of the anchors below this says nothing about the judge tonight."""
LEAST_SHARED = 0.75
"""So large a share of the questions that a baseline's night has is enough in any case."""
CHANCE_SDS = 5.0
"""So many standard deviations below its expectation a number of questions is not chance."""
NEW_SDS = 3.0
"""The same, upwards, for questions that have a score for the first time."""

_FEWEST = 2


class Stretch:
    """The numbers of some nights against one `Reference`; arrays (T, c) in the order of dates."""

    def __init__(self, nights: Sequence[Night], base: Reference, settings: DriftSettings) -> None:
        """``nights`` are T nights of the reference's scale, in the order of their dates."""
        self.base = base
        self.settings = settings
        self.dates = tuple(night.date for night in nights)
        self.candidate = np.stack(
            [
                columns_of(placed(night.candidate, night.question_ids, base.questions), night, base)
                for night in nights
            ]
        )
        self.missing = np.stack([_missing(night, base.metrics) for night in nights])
        self._questions(nights)
        self.tested = np.where(self.measured[:, None, :], self.candidate, np.nan)
        self.night: Tonight = tonight(self.tested, base.candidate)
        self.p = p_values(self.night)
        self.rejected, self.levels = holm_levels(self.p, settings.gate_alpha / settings.nights)
        self.difference, self.low, self.high = difference_interval(self.night, settings.confidence)
        self.trend = sequence(
            self.difference.T, self.night.se.T, base.candidate.se, settings.confidence
        )
        self.anchors = self._anchors(nights)
        self.slice = self._slice(nights)
        self.judge_z = self._judge_z()

    def _questions(self, nights: Sequence[Night]) -> None:
        """Which metrics were measured, and which were not though they should have been, (T, c).

        ``shared`` counts the questions that have a score tonight and in the baseline, ``unknown``
        those that have one tonight alone. A question to which a criterion does not apply has no
        score and misses nothing. A metric is *measured* on a complete night where

        - the share of missing verdicts is at most ``max_unscored``, and so is that of the
          baseline's questions that were not asked;
        - ``shared`` is at least 2 and *enough*: three quarters of what a baseline's night has, or
          within 5 standard deviations of it, as each question has a score on its own share of the
          baseline's nights;
        - it is not *strange*: at most ``max_unscored`` of the scored questions are unknown, or no
          more than chance brings where a criterion applies rarely. The unknown questions that a
          night is expected to bring are those with a single score in the baseline, divided by its
          nights (Good 1953); 3 standard deviations of that number and of the night's are allowed.

        *Blocked* is what fails one of these, but for a metric that applies so rarely, or never,
        that fewer than 2 questions are enough.
        """
        base, most = self.base.candidate, self.settings.max_unscored
        scored = ~np.isnan(self.candidate)
        known = ~np.isnan(base.means)
        self.shared = (scored & known).sum(axis=1).astype(np.float64)
        self.unknown = np.stack([_scored(night, self.base.metrics) for night in nights])
        self.unknown -= self.shared
        asked = np.stack([_asked(night, self.base.questions) for night in nights])
        absent = (known & ~asked[:, :, None]).sum(axis=1) / np.maximum(known.sum(axis=0), 1)
        often = np.where(known, base.counts / base.nights, 0.0)
        # A question that always had a score is taken to have one on nearly every night.
        likely = np.where(known, (base.counts + 0.5) / (base.nights + 1), 0.0)
        usual, spread = often.sum(axis=0), (likely * (1 - likely)).sum(axis=0)
        chance = likely.sum(axis=0) - CHANCE_SDS * np.sqrt(spread)
        enough = self.shared >= np.minimum(LEAST_SHARED * usual, chance)
        once = (base.counts == 1).sum(axis=0) + 1.0
        first = (once + NEW_SDS * np.sqrt(once)) / base.nights
        few = np.maximum(most * (self.shared + self.unknown), first + NEW_SDS * np.sqrt(first))
        self.strange: NDArray[np.bool_] = self.unknown > few
        complete = np.array([night.complete for night in nights])[:, None]
        fine = complete & (self.missing <= most) & (absent <= most) & enough & ~self.strange
        self.measured: NDArray[np.bool_] = fine & (self.shared >= _FEWEST)
        self.blocked: NDArray[np.bool_] = ~fine

    def _anchors(self, nights: Sequence[Night]) -> Floats | None:
        """The anchors (T, m, c) in the baseline's order; a metric with too few has none."""
        base = self.base.anchors
        self.new_anchors = np.array([bool(night.anchor_ids) for night in nights])
        if base is None:
            return None
        found = np.stack(
            [
                columns_of(anchors_of(night, self.base.anchor_ids), night, self.base)
                for night in nights
            ]
        )
        known = ~np.isnan(base.means)
        share = (~np.isnan(found) & known).sum(axis=1) / np.maximum(known.sum(axis=0), 1)
        usable = share >= LEAST_ANCHORS
        ids = {one for one, row in zip(self.base.anchor_ids, known, strict=True) if row.any()}
        overlap = [len(ids & {*night.anchor_ids}) for night in nights]
        self.new_anchors &= np.array(overlap) < LEAST_ANCHORS * len(ids)
        return np.where((usable & known.any(axis=0))[:, None, :], found, np.nan)

    def _slice(self, nights: Sequence[Night]) -> Floats | None:
        """Now less before, (T, s, c), over all answers that any of the nights judged again."""
        ids = union(night.slice_ids for night in nights)
        if not ids:
            return None
        found = []
        for night in nights:
            before, now = (
                columns_of(rows_of(scores, night.slice_ids, ids, night), night, self.base)
                for scores in (night.slice_before, night.slice_now)
            )
            found.append(now - (self.base.intercept + self.base.slope * before))
        return np.stack(found)

    def _judge_z(self) -> Floats:
        """The judge's z per night in both directions, (T, 2c): down (stricter), then up.

        From the anchors; from the slice for a metric without them.
        """
        shape = self.difference.shape
        down, up = np.full(shape, np.nan), np.full(shape, np.nan)
        if self.anchors is not None and self.base.anchors is not None:
            z = judge_z(
                self.base.anchor_scores,
                self.anchors,
                self.base.anchors,
                self.base.error,
                self.settings.judge_margin,
            )
            down, up = np.split(z, 2, axis=1)
        if self.slice is not None:
            again = self._slice_change
            # Half of the variance is that of the scores before: it never averages out.
            se = np.hypot(again.se / np.sqrt(2), self.base.candidate.night)
            margin = np.maximum(self.settings.judge_margin, 2 * again.se / np.sqrt(2))
            for into, sign in ((down, -1.0), (up, 1.0)):
                t = (sign * again.value - margin) / se
                np.copyto(into, normal_score(t, again.df), where=np.isnan(into))
        return np.concatenate([down, up], axis=1)

    @cached_property
    def _slice_change(self) -> Estimate:
        assert self.slice is not None
        one = np.ones(self.difference.shape)
        return change(self.slice, one, floor=self._judge_variance, fixed=1.0)

    @cached_property
    def _judge_variance(self) -> Floats:
        """The variance of a single verdict on the same answer, (c,)."""
        n = (self.base.candidate.counts > 0).sum(axis=0)
        found: Floats = 1.0 / (n * self.base.candidate.nights + 1)
        anchors = self.base.anchors
        if anchors is not None:
            found = np.where((anchors.counts > 0).any(axis=0), single_variance(anchors), found)
        return found

    @cached_property
    def nightly(self) -> Parts:
        """Every night's difference in parts, arrays (T, c)."""
        one = np.ones(self.difference.shape)
        return self._parts(
            self.tested - self.base.candidate.means,
            None if self.anchors is None else self._anchor_gaps,
            self.slice,
            one,
        )

    @cached_property
    def shown(self) -> Mapping[str, list[list[float]]]:
        """What a `MetricNight` shows, by name, as lists [night][metric]; NaN where there is none.

        ``least p`` is the smallest p-value that the signs of the moved questions allow.
        """
        base, shape = self.base.candidate, self.difference.shape
        moved = np.where(self.measured, self.night.moved, 0.0)
        found = {
            "baseline": np.broadcast_to(base.value, shape),
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
            "se": self.night.se_all,
            "margin": np.broadcast_to(base.margin, shape),
            "p": self.p,
            "level": self.levels,
            "least p": 0.5**moved,
            "noise": self.chance,
            "missing": self.missing,
            "trend": self.trend[0].T,
            "trend low": self.trend[1].T,
            "trend high": self.trend[2].T,
        }
        tail = (1 - self.settings.confidence) / 2
        for name, part in (("model", self.nightly.model), ("judge", self.nightly.judge)):
            half = part.half(tail)
            found[name] = part.value
            found[f"{name} low"], found[f"{name} high"] = part.value - half, part.value + half
        return {name: values.tolist() for name, values in found.items()}

    @cached_property
    def chance(self) -> Floats:
        """Half of what 95 % of unchanged nights would span, per night, (T, c).

        From the baseline's noise and night shock, for a difference of one night from the baseline.
        """
        from scipy import special  # type: ignore[import-untyped]  # slow to load

        base = self.base.candidate
        n = np.maximum(self.night.n, 1)
        more = 1 + 1 / base.nights
        se = np.sqrt(more * (base.s**2 / n + base.night**2))
        factor = special.stdtrit(max(1, base.nights - 1), 0.5 + self.settings.confidence / 2)
        return np.where(self.measured, factor * se, np.nan)

    def window(self, first: int, last: int) -> Parts:
        """The mean difference of the nights ``first`` to ``last`` (inclusive) in parts, (c,)."""
        rows, w = self._mean(self._sums, first, last), self._inverse(first, last)
        anchors = None if self.anchors is None else self._mean(self._anchor_sums, first, last)
        again = None if self.slice is None else self._mean(self._slice_sums, first, last)
        return self._parts(rows, anchors, again, w)

    def _parts(
        self, rows: Floats, anchors: Floats | None, again: Floats | None, inverse: Floats
    ) -> Parts:
        base = self.base
        fixed = 1 / base.candidate.nights
        whole = change(rows, inverse, floor=single_variance(base.candidate), fixed=fixed)
        judge = []
        if anchors is not None:
            judge.append(change(anchors, inverse, floor=self._judge_variance, fixed=fixed))
        if again is not None:
            judge.append(change(again, inverse, floor=self._judge_variance, fixed=1.0))
        return parts(whole, judge)

    @cached_property
    def _anchor_gaps(self) -> Floats:
        assert self.anchors is not None and self.base.anchors is not None
        gaps: Floats = self.anchors - self.base.anchors.means
        return gaps

    @cached_property
    def _sums(self) -> tuple[Floats, Floats]:
        return _cumulated(self.tested - self.base.candidate.means)

    @cached_property
    def _anchor_sums(self) -> tuple[Floats, Floats]:
        # Only nights on which the candidate was measured: both parts are of the same nights.
        return _cumulated(np.where(self.measured[:, None, :], self._anchor_gaps, np.nan))

    @cached_property
    def _slice_sums(self) -> tuple[Floats, Floats]:
        assert self.slice is not None
        return _cumulated(np.where(self.measured[:, None, :], self.slice, np.nan))

    def _inverse(self, first: int, last: int) -> Floats:
        found: Floats = 1 / np.maximum(self.measured[first : last + 1].sum(axis=0), 1)
        return found

    @staticmethod
    def _mean(sums: tuple[Floats, Floats], first: int, last: int) -> Floats:
        total, count = (one[last + 1] - one[first] for one in sums)
        means: Floats = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
        return means


def _missing(night: Night, metrics: Sequence[str]) -> Floats:
    return np.array([_share(night.missing, night.metrics, name) for name in metrics])


def _share(missing: Mapping[str, float], there: Sequence[str], metric: str) -> float:
    return missing.get(metric, 0.0) if metric in there else 1.0


def _asked(night: Night, questions: Sequence[str]) -> NDArray[np.bool_]:
    """Which of the baseline's questions the night has, (n,)."""
    if night.question_ids == tuple(questions):
        return np.ones(len(questions), np.bool_)
    asked = set(night.question_ids)
    return np.array([one in asked for one in questions], np.bool_)


def _scored(night: Night, metrics: Sequence[str]) -> Floats:
    """How many of a night's questions have a score, known or not, (c,)."""
    counts = dict(zip(night.metrics, (~np.isnan(night.candidate)).sum(axis=0), strict=True))
    return np.array([counts.get(name, 0) for name in metrics], np.float64)


def _cumulated(values: Floats) -> tuple[Floats, Floats]:
    """Sums and counts of the first 0, 1, ..., T nights, each (T + 1, n, c)."""
    present = ~np.isnan(values)
    start = np.zeros((1, *values.shape[1:]))
    total = np.concatenate([start, np.where(present, values, 0.0).cumsum(axis=0)])
    return total, np.concatenate([start, present.cumsum(axis=0).astype(np.float64)])
