"""What a training would cost: tokens, steps, hours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sft.settings import EstimateSettings

FLOPS_PER_PARAMETER = 6
"""Floating-point operations per parameter and token: 2 forward, 4 backward (arXiv 2001.08361,
section 2.1).

Attention is left out. It adds 12 * layers * width * length operations to a token: at 7B, 8 % if a
sample fills 2048 tokens, and 1 % at 300 tokens, since samples in a pack do not see each other. The
embedding table is counted although it multiplies nothing (2 % at 7B).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """The training of one model on one kind of accelerator, over all epochs."""

    model: str
    parameters: float
    batch: int
    """Packs per optimizer step."""
    tokens: int
    steps: int
    accelerator: str
    count: int
    utilisation: float
    hours: float


def estimate(
    settings: EstimateSettings,
    *,
    tokens: Sequence[int],
    packs: Sequence[int],
    length: int,
    batch: int,
) -> tuple[Estimate, ...]:
    """The cost of every model on every accelerator.

    ``tokens`` and ``packs`` are given per epoch, since the last step of each epoch may be smaller.
    Packs are padded to ``length``, and the padding is computed too, so the hours are those of
    ``packs * length`` positions. ``batch`` applies to models that ``settings.batch`` does not name.

    Raises ValueError if ``tokens`` and ``packs`` differ in number.
    """
    positions = sum(packs) * length
    tokens_in_all = sum(count for count, _ in zip(tokens, packs, strict=True))
    result = []
    for model, parameters in settings.models.items():
        packs_per_step = settings.batch.get(model, batch)
        for accelerator, peak in settings.accelerators.items():
            seconds = (
                FLOPS_PER_PARAMETER
                * parameters
                * positions
                / (peak * settings.utilisation * settings.count)
            )
            result.append(
                Estimate(
                    model=model,
                    parameters=parameters,
                    batch=packs_per_step,
                    tokens=tokens_in_all,
                    steps=sum(-(-count // packs_per_step) for count in packs),
                    accelerator=accelerator,
                    count=settings.count,
                    utilisation=settings.utilisation,
                    hours=seconds / 3600,
                )
            )
    return tuple(result)
