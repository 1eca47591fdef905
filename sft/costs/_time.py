"""How long an epoch would take at an assumed utilisation."""

from __future__ import annotations

from dataclasses import dataclass

from sft.costs._flops import flops_per_token, recomputed_flops
from sft.costs._job import Job
from sft.recipe import Recompute

UTILISATION = 0.4
"""Assumed share of the peak that the arithmetic reaches, recomputation included; good trainers
reach .35 to .6 on data-centre GPUs. An estimate, to be replaced by a measurement."""


@dataclass(frozen=True, slots=True)
class Duration:
    """The time that training would take."""

    tokens_per_second: float
    """Over all processes."""
    seconds: float
    """For the tokens asked about."""
    utilisation: float
    """What it assumes."""


def duration(
    job: Job, tokens: int, peak_flops: float, *, utilisation: float = UTILISATION
) -> Duration:
    """The time for so many tokens on ``job.processes`` GPUs of ``peak_flops`` FLOP/s each.

        seconds = tokens x (FLOPs per token + recomputed ones) / (P x peak x utilisation)

    FLOPs by convention A; a second forward pass adds a third of them where all weights are trained.
    Exchange between processes and offload are not counted, beyond what the utilisation allows for.
    Raises ValueError for a utilisation outside (0, 1].
    """
    if not 0 < utilisation <= 1:
        raise ValueError(f"utilisation {utilisation}, a share above 0")
    trained = None if job.lora is None else job.adapters
    each = flops_per_token(job.shape, job.length, trained=trained).a
    if job.recompute is Recompute.FULL:
        each += recomputed_flops(job.shape, job.length)
    rate = job.processes * peak_flops * utilisation / each
    return Duration(rate, tokens / rate, utilisation)
