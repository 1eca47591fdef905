"""What was measured, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sft.bench._settings import SHAPES, BenchSettings
from sft.costs import TokenFlops, utilisation

FORM = 1


@dataclass(frozen=True, slots=True)
class Machine:
    """What it was measured on."""

    device: str
    memory_bytes: int
    peak_flops: float | None
    """Of the data sheet, dense; None for a device that is not in the list."""
    threads: int
    driver: str | None
    cuda: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchResult:
    """A measurement. Rates are over all timed steps together, from the first to the last."""

    date: str
    settings: BenchSettings
    attention: str
    """The implementation that was used."""
    machine: Machine
    versions: Mapping[str, str]
    git: str | None
    parameters: int
    flops: TokenFlops
    gemm_flops: float
    """FLOP/s of the product of two large matrices, measured just before."""
    fill: float
    """Share of all positions that held documents; the rest was padding."""
    mean_length: float
    """Of the documents, in tokens."""
    tokens: int
    """In the timed steps, without padding."""
    seconds: float
    """Of the timed steps."""
    step_seconds: Sequence[float]
    losses: Sequence[float]
    """Mean loss per supervised token of every timed step, in nats."""
    memory_bytes: int
    """Most memory in use: of the GPU; on a CPU the process's largest resident size."""
    estimated_bytes: int
    """What the dry run says of the same settings."""
    leak: float
    """How far packed documents changed each other's logits (see the trainer's check)."""

    @property
    def tokens_per_second(self) -> float:
        """Real tokens, without padding, per second."""
        return self.tokens / self.seconds

    @property
    def median_step(self) -> float:
        """Median of the steps' seconds."""
        return float(np.median(self.step_seconds))

    @property
    def p95_step(self) -> float:
        """95th percentile of the steps' seconds, interpolated."""
        return float(np.percentile(self.step_seconds, 95))

    def mfu(self) -> dict[str, float | None]:
        """Share of the data sheet's peak by convention; None without a peak."""
        return self._shares(self.machine.peak_flops)

    def of_gemm(self) -> dict[str, float | None]:
        """Share of the measured matrix product by convention."""
        return self._shares(self.gemm_flops)

    def _shares(self, bound: float | None) -> dict[str, float | None]:
        by_name = {"A": self.flops.a, "B": self.flops.b, "documents": self.flops.documents}
        return {
            name: None if flops is None else utilisation(flops, self.tokens_per_second, bound)
            for name, flops in by_name.items()
        }

    def to_json(self) -> dict[str, Any]:
        """All of it as plain values."""
        settings = asdict(self.settings)
        return {
            "form": FORM,
            "date": self.date,
            "shape": self.settings.shape,
            "model": {**SHAPES[self.settings.shape], "parameters": self.parameters},
            "settings": {**settings, "batch": self.settings.batch},
            "attention": self.attention,
            "machine": asdict(self.machine),
            "versions": dict(self.versions),
            "git": self.git,
            "data": {"fill": self.fill, "mean_length": self.mean_length},
            "flops_per_token": {
                "A": self.flops.a,
                "B": self.flops.b,
                "documents": self.flops.documents,
            },
            "gemm": {"size": self.settings.gemm, "flops": self.gemm_flops},
            "tokens": self.tokens,
            "seconds": self.seconds,
            "tokens_per_second": self.tokens_per_second,
            "mfu": self.mfu(),
            "of_gemm": self.of_gemm(),
            "step_seconds": {
                "median": self.median_step,
                "p95": self.p95_step,
                "all": list(self.step_seconds),
            },
            "losses": list(self.losses),
            "memory_bytes": self.memory_bytes,
            "estimated_bytes": self.estimated_bytes,
            "leak": self.leak,
        }
