"""The noise of a series: how one night's scores vary although nothing has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from judge.drift._baseline import aligned, baseline_stats, common_anchors, spread_of
from judge.drift._records import Floats, Night
from judge.errors import UsageError

OVERALL = "overall"
_ROUNDING = 1e-9
_NOTHING = "No question was scored on two of these nights, so they say nothing about noise."


def _scored(nights: Sequence[Night]) -> list[int]:
    """The columns of the metrics that some night has a score of."""
    width = len(nights[0].metrics) if nights else 0
    return [
        at for at in range(width) if any(not np.isnan(one.candidate[:, at]).all() for one in nights)
    ]  # fmt: skip


def _of_metrics(night: Night, columns: Sequence[int]) -> Night:
    """A night with some of its metrics, as far as its noise is concerned."""
    some = list(columns)
    return replace(
        night,
        metrics=tuple(night.metrics[at] for at in some),
        candidate=night.candidate[:, some],
        anchors=night.anchors[:, some] if night.anchors.size else night.anchors,
    )


class Draw(NamedTuple):
    """Nights' deviations from the questions' means (..., n, c), and the shocks (..., c) in them."""

    values: Floats
    shocks: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseModel:
    """How the scores of ``questions`` questions on ``metrics`` vary from night to night.

    Either normal, with ``sd`` the SD of a criterion's score and ``correlation`` that between two
    criteria of an answer; or drawn, question by question and all metrics together, from ``pool``
    (k, n, c), deviations that were seen. ``shock`` is the SD of the shock that all scores of a
    night share, per metric. ``weights`` (c,) say how much of a drop of the first criterion each
    metric shows: 1 for itself, its weight for the overall. ``anchors`` frozen answers, with a
    judge's noise of ``anchor_sd`` on each, help to find the shock; 0: there are none.
    """

    metrics: tuple[str, ...]
    questions: int
    sd: float = 0.0
    correlation: float = 0.0
    pool: Floats | None = None
    shock: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()
    anchors: int = 0
    anchor_sd: float = 0.05

    @classmethod
    def from_sd(
        cls,
        sd: float,
        questions: int,
        metrics: int = 9,
        correlation: float = 0.5,
        *,
        shock: float = 0.0,
        anchors: int = 0,
    ) -> NoiseModel:
        """Normal noise: ``metrics`` - 1 criteria with this SD of a score, and their plain mean.

        ``sd`` is the SD of one night's score of a question, its difference from the mean of a
        long baseline.

        Raises ValueError for fewer than two metrics and for an SD or a correlation out of range.
        """
        if metrics < 2 or sd <= 0 or not 0 <= correlation <= 1 or questions < 2:
            raise ValueError(
                f"noise of SD {sd}, {questions} questions, {metrics} metrics and correlation "
                f"{correlation} is not possible"
            )
        criteria = metrics - 1
        return cls(
            metrics=(*(f"criterion {at + 1}" for at in range(criteria)), OVERALL),
            questions=questions,
            sd=sd,
            correlation=correlation,
            shock=(shock,) * metrics,
            weights=(1.0, *[0.0] * (criteria - 1), 1 / criteria),
            anchors=anchors,
        )

    @classmethod
    def from_pool(
        cls, pool: Floats, metrics: Sequence[str], weights: Sequence[float] | None = None
    ) -> NoiseModel:
        """Noise drawn from scores (k, n, c) of the same questions, without gaps.

        The deviations from the question's mean over the k scores are taken as all there is.
        ``weights`` as in the class (None: a drop of the first metric shows in it alone).
        """
        pool = np.asarray(pool, np.float64)
        c = pool.shape[-1]
        return cls(
            metrics=tuple(metrics),
            questions=pool.shape[1],
            pool=pool - pool.mean(axis=0),
            weights=tuple(weights) if weights is not None else (1.0, *[0.0] * (c - 1)),
        )

    @classmethod
    def from_nights(
        cls, nights: Sequence[Night], weights: Sequence[float] | None = None
    ) -> NoiseModel:
        """The noise of a user's own nights: what their questions' scores did around their means.

        A night's deviations are drawn per question with all metrics together, widened by
        √(B/(B - 1)) for the mean that was fitted to them; the shared shock is taken out of them and
        drawn on its own, normal with the SD that the nights and their anchors show. Where a night
        lacks a score of a question, that night is not drawn for it. Anchors that all nights share
        are as many in the simulation, with the judge's typical noise on them.

        Metrics that were never scored are left out.

        Raises UsageError for fewer than two nights, and where a question was never scored twice.
        """
        alive = _scored(nights)
        if not alive:
            raise UsageError(_NOTHING)
        if weights is not None:
            weights = [weights[at] for at in alive]
        nights = [_of_metrics(night, alive) for night in nights]
        base = baseline_stats(nights)
        scores = np.stack([aligned(night, nights[0].question_ids) for night in nights])
        full = np.asarray(~np.isnan(scores).any(axis=-1))  # (B, n)
        kept = full.sum(axis=0) >= 2
        if not kept.any():
            raise UsageError(_NOTHING)
        scores, full = scores[:, kept], full[:, kept]
        held = np.where(full[..., None], scores, 0.0)
        counts = full.sum(axis=0)[:, None]
        residuals = np.where(full[..., None], held - held.sum(axis=0) / counts, 0.0)
        shocks = residuals.sum(axis=1) / np.maximum(full.sum(axis=1), 1)[:, None]
        residuals = np.where(full[..., None], residuals - shocks[:, None], 0.0)
        # What rounding leaves of a constant is no noise: as one, it would be the unit of all else.
        residuals = np.where(np.abs(residuals) < _ROUNDING, 0.0, residuals)
        # Where a night is missing, the question's other nights stand in, in turn.
        rows = np.argsort(~full, axis=0, kind="stable")
        turn = np.arange(len(nights))[:, None] % full.sum(axis=0)
        chosen = np.take_along_axis(rows, turn, axis=0)
        pool = np.take_along_axis(residuals, chosen[..., None], axis=0)
        questions = int(kept.sum())
        widen = np.sqrt(counts / (counts - 1)) * math.sqrt(questions / max(questions - 1, 1))
        metrics = nights[0].metrics
        c = len(metrics)
        anchors = common_anchors(nights)
        return cls(
            anchors=0 if anchors is None else anchors.shape[1],
            anchor_sd=0.0 if anchors is None else _typical_sd(anchors),
            metrics=metrics,
            questions=questions,
            pool=pool * widen,
            shock=tuple(base.night.tolist()),
            weights=tuple(weights) if weights is not None else (1.0, *[0.0] * (c - 1)),
        )

    def on_one(self) -> Floats:
        """How a drop of 1 on the first criterion shows in every metric, (c,)."""
        return np.array(self.weights)

    def draw(self, shape: tuple[int, ...], rng: np.random.Generator) -> Draw:
        """Nights of ``shape`` (...): deviations (..., n, c) with the nights' shocks in them."""
        values = self._normal(shape, rng) if self.pool is None else self._drawn(shape, rng)
        shocks = np.zeros((*shape, len(self.metrics)))
        if any(self.shock):
            shocks = rng.standard_normal(shocks.shape) * np.array(self.shock)
            values += shocks[..., None, :]
        return Draw(values, shocks)

    def draw_anchors(
        self, shape: tuple[int, ...], shocks: Floats, rng: np.random.Generator
    ) -> Floats | None:
        """The anchors (..., m, c) of nights that had these shocks; None where there are none."""
        if not self.anchors:
            return None
        noise = rng.standard_normal((*shape, self.anchors, len(self.metrics))) * self.anchor_sd
        found: Floats = noise + shocks[..., None, :]
        return found

    def _normal(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        criteria = len(self.metrics) - 1
        values = np.empty((*shape, self.questions, criteria + 1))
        own = rng.standard_normal((*shape, self.questions, criteria))
        common = rng.standard_normal((*shape, self.questions, 1))
        own *= math.sqrt(1 - self.correlation) * self.sd
        own += math.sqrt(self.correlation) * self.sd * common
        values[..., :criteria] = own
        values[..., criteria] = own.mean(axis=-1)
        return values

    def _drawn(self, shape: tuple[int, ...], rng: np.random.Generator) -> Floats:
        assert self.pool is not None
        chosen = rng.integers(0, len(self.pool), (*shape, self.questions))
        found: Floats = self.pool[chosen, np.arange(self.questions)]
        return found


def _typical_sd(anchors: Floats) -> float:
    """The SD of the judge's noise on an anchor (B, m, c), in the quadratic mean over metrics."""
    return math.sqrt(float(spread_of(anchors).variance.mean()))
