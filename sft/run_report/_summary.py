"""The numbers of a run's report: what came of it, by epoch and by stretch of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from sft.costs import utilisation
from sft.run_report._curves import window
from sft.run_report._log import Evaluation, Floats, RunLog, Steps

Fields: TypeAlias = Mapping[str, Any]

STEADY = 0.01
"""Nats by which a held-out loss may move without being called changed: 1 % of the perplexity."""

_STRETCHES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """The held-out losses of a domain over a run, mean nats per supervised token."""

    domain: str
    tokens: int
    """Supervised tokens of its last evaluation."""
    losses: Mapping[int, float]
    """Epoch → loss; 0 is before training."""

    @property
    def last(self) -> int:
        """The last epoch with a loss."""
        return max(self.losses)

    @property
    def best(self) -> int | None:
        """The epoch, of those after training began, with the lowest loss; the first of equals."""
        known = {e: v for e, v in self.losses.items() if e and not math.isnan(v)}
        return min(known, key=lambda e: (known[e], e)) if known else None

    def change(self, epoch: int) -> float | None:
        """Loss after an epoch less that before training; None where one was not taken."""
        if epoch == 0 or epoch not in self.losses or 0 not in self.losses:
            return None
        return self.losses[epoch] - self.losses[0]

    @property
    def moved(self) -> str:
        """What became of the loss: ``fell``, ``rose`` or ``stayed`` (within `STEADY`).

        Or ``broken``, if the last one is no number; ``first``, if it is that before training;
        ``alone``, if there is nothing to compare it with.
        """
        if math.isnan(self.losses[self.last]):
            return "broken"
        if self.last == 0:
            return "first"
        change = self.change(self.last)
        if change is None or math.isnan(change):
            return "alone"
        if abs(change) <= STEADY:
            return "stayed"
        return "fell" if change < 0 else "rose"


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochRow:
    """An epoch in numbers; the one numbered 0 stands for the model before training."""

    epoch: int
    steps: int
    planned: int
    """Steps that it is to have."""
    tokens: int
    seconds: float
    """Of its optimizer steps; NaN where one is unknown."""
    loss: float
    """Mean training loss per supervised token; NaN where it is no number."""
    held_out: Mapping[str, tuple[float, float | None]]
    """Domain → loss, and its difference to the loss before training."""
    export: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Consecutive steps in numbers; what is unknown is NaN."""

    first: int
    last: int
    loss: float
    """Mean per supervised token."""
    learning_rate: float
    """Of its last step."""
    gradient_norm: float
    """Its largest."""
    tokens_per_second: float
    memory_bytes: float
    """Its largest."""
    losses: Mapping[str, float]
    """Source → mean over the steps that have it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in numbers."""

    state: str
    """``finished``, ``ended`` (badly or by a signal) or ``open`` (under way, or killed)."""
    done: int
    """Optimizer steps."""
    epochs_done: int
    held_out: tuple[HeldOut, ...]
    epochs: tuple[EpochRow, ...]
    stretches: tuple[Stretch, ...]
    window: int
    """Steps of the running means."""
    first_loss: float
    """Mean training loss of the first ``window`` steps, per supervised token."""
    last_loss: float
    """That of the last ones."""
    not_numbers: tuple[int, ...]
    """Steps whose training loss is no number."""
    missing: tuple[tuple[int, int], ...]
    """First and last step of every gap in the log."""
    tokens: int
    seconds: float
    tokens_per_second: float
    """Real tokens per second of optimizer steps; NaN where unknown."""
    utilisation: Mapping[str, float]
    """Formula → share of the accelerators' peak; empty where the peak or the rate is not known."""


def summarise(run: Fields, log: RunLog) -> Summary:
    """A run in numbers, from what it was and what it wrote down."""
    steps = log.steps
    width = window(len(steps))
    rate = _rate(steps)
    held_out = _held_out(log.evaluations)
    finished = run["finished"] is not None and run["ended"] is None
    return Summary(
        state="ended" if run["ended"] is not None else "finished" if finished else "open",
        done=int(steps.step[-1]) if len(steps) else 0,
        epochs_done=len({e.epoch for e in log.epochs}),
        held_out=held_out,
        epochs=_epochs(run, log, held_out),
        stretches=_stretches(steps),
        window=width,
        first_loss=_mean(steps.loss[:width], steps.supervised_tokens[:width]),
        last_loss=_mean(steps.loss[-width:], steps.supervised_tokens[-width:]),
        not_numbers=tuple(steps.step[np.isnan(steps.loss)].tolist()),
        missing=_missing(steps),
        tokens=int(steps.tokens.sum()),
        seconds=float(steps.seconds.sum()),
        tokens_per_second=rate,
        utilisation={
            name: rate * factor
            for name, factor in utilisation_factors(run).items()
            if not math.isnan(rate)
        },
    )


def utilisation_factors(run: Fields) -> dict[str, float]:
    """Formula → what a rate of tokens per second is multiplied with to give the utilisation.

    The utilisation is tokens/s x FLOPs per token ÷ (peak x processes), see
    `sft.costs.flops_per_token`. Empty where the peak is not known.
    """
    hardware = run["hardware"]
    if not hardware["peak_flops"] or not hardware["processes"]:
        return {}
    peak = hardware["peak_flops"] * hardware["processes"]
    factors = {name: utilisation(each, 1.0, peak) for name, each in run["flops_per_token"].items()}
    return {name: factor for name, factor in factors.items() if factor is not None}


def _held_out(evaluations: Sequence[Evaluation]) -> tuple[HeldOut, ...]:
    """By domain, in the order of their first appearance; of one epoch the last loss stands."""
    domains = dict.fromkeys(domain for each in evaluations for domain in each.losses)
    found = []
    for domain in domains:
        own = [each for each in evaluations if domain in each.losses]
        found.append(
            HeldOut(
                domain=domain,
                tokens=own[-1].tokens[domain],
                losses={each.epoch: each.losses[domain] for each in own},
            )
        )
    return tuple(found)


def _epochs(run: Fields, log: RunLog, held_out: Sequence[HeldOut]) -> tuple[EpochRow, ...]:
    """The epochs that were begun, after the state before training where that was evaluated."""
    steps, planned = log.steps, run["steps_per_epoch"]
    exports = {end.epoch: end.export for end in log.epochs}
    evaluated = {epoch for domain in held_out for epoch in domain.losses}
    rows = []
    for epoch in sorted({*steps.epoch.tolist(), *exports, *evaluated}):
        own = steps.epoch == epoch
        rows.append(
            EpochRow(
                epoch=epoch,
                steps=int(own.sum()),
                planned=planned[epoch - 1] if 0 < epoch <= len(planned) else 0,
                tokens=int(steps.tokens[own].sum()),
                seconds=float(steps.seconds[own].sum()),
                loss=_mean(steps.loss[own], steps.supervised_tokens[own]),
                held_out={
                    domain.domain: (domain.losses[epoch], domain.change(epoch))
                    for domain in held_out
                    if epoch in domain.losses
                },
                export=exports.get(epoch),
            )
        )
    return tuple(rows)


def _stretches(steps: Steps) -> tuple[Stretch, ...]:
    """The steps in at most `_STRETCHES` stretches, as equal as can be."""
    bounds = np.linspace(0, len(steps), min(_STRETCHES, len(steps)) + 1).round().astype(int)
    found = []
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        part = slice(start, stop)
        seconds = float(steps.seconds[part].sum())
        found.append(
            Stretch(
                first=int(steps.step[start]),
                last=int(steps.step[stop - 1]),
                loss=_mean(steps.loss[part], steps.supervised_tokens[part]),
                learning_rate=float(steps.learning_rate[stop - 1]),
                gradient_norm=_largest(steps.gradient_norm[part]),
                tokens_per_second=int(steps.tokens[part].sum()) / seconds if seconds else math.nan,
                memory_bytes=_largest(steps.memory_bytes[part]),
                losses={
                    source: _mean(losses[part][np.isfinite(losses[part])])
                    for source, losses in steps.losses.items()
                },
            )
        )
    return tuple(found)


def _missing(steps: Steps) -> tuple[tuple[int, int], ...]:
    """Gaps in the numbering of the steps, which begins at 1."""
    before = np.concatenate(([0], steps.step))
    return tuple(
        (int(before[at]) + 1, int(steps.step[at]) - 1)
        for at in np.flatnonzero(np.diff(before) > 1).tolist()
    )


def _rate(steps: Steps) -> float:
    seconds = float(steps.seconds.sum())
    return int(steps.tokens.sum()) / seconds if seconds else math.nan


def _mean(values: Floats, weights: Any = None) -> float:
    """The weighted mean; NaN if there is nothing, or any value is NaN."""
    if not len(values):
        return math.nan
    weight = np.ones(len(values)) if weights is None else np.asarray(weights, np.float64)
    whole = float(weight.sum())
    return float((values * weight).sum()) / whole if whole else math.nan


def _largest(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else math.nan
