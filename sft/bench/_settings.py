"""What is measured: the model's shape, the documents, and how the run is set up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeVar

from sft.errors import UsageError
from sft.recipe import Attention, Offload, Precision, Recompute

_Choice = TypeVar("_Choice", bound=StrEnum)


def chosen(kind: type[_Choice], text: str, option: str) -> _Choice:
    """The member of an enumeration that an option names. Raises UsageError if it has none such."""
    try:
        return kind(text)
    except ValueError:
        raise UsageError(f"{option} {text}: not known; one of {', '.join(kind)}") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchSettings:
    """A measurement. The defaults of a shape are those of `bench_settings`."""

    shape: str
    """Its name in `SHAPES`."""
    device: str
    """``cuda`` or ``cpu``."""
    length: int
    """Tokens of a pack."""
    micro_batch: int
    """Packs per forward pass."""
    accumulation: int
    """Forward passes per optimizer step."""
    steps: int
    """Optimizer steps that are timed."""
    warmup: int
    """Optimizer steps before them, in which kernels are chosen and compiled."""
    gemm: int
    """The sides of the matrices whose product is timed beside."""
    precision: Precision
    attention: Attention = Attention.AUTO
    recompute: Recompute = Recompute.NONE
    compile: bool = False
    stage: int = 2
    offload: Offload = Offload.NONE
    median: float = 300.0
    """Of the documents' lengths, which are log-normal, in tokens."""
    sigma: float = 1.0
    """Standard deviation of the lengths' logarithm."""
    supervised: float = 1.0
    """Share of a document's tokens, from its end, that the loss is taken over. Utilisation counts
    the head for every token, so with less than 1 it flatters."""
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        counts = (self.length, self.micro_batch, self.accumulation, self.steps, self.gemm)
        if min(counts) < 1 or self.warmup < 0 or self.length < 2:
            raise UsageError(
                "Steps, packs, passes and sizes are at least 1, a pack has at least 2 "
                f"tokens; found {counts} with {self.warmup} steps of warm-up"
            )
        if self.device == "cpu" and (self.compile or self.attention is Attention.VARLEN):
            raise UsageError("--compile and --attention varlen need --device cuda")
        if not (self.median > 0 and self.sigma >= 0 and 0 < self.supervised <= 1):
            raise UsageError(
                "Lengths have a median above 0 and a spread of at least 0, and a share "
                f"in (0, 1] is supervised; found {self.median}, {self.sigma}, {self.supervised}"
            )

    @property
    def batch(self) -> int:
        """Packs of an optimizer step."""
        return self.micro_batch * self.accumulation


def _llama(
    hidden: int, inner: int, layers: int, heads: int, kv_heads: int, vocabulary: int
) -> Mapping[str, int]:
    return MappingProxyType(
        {
            "vocab_size": vocabulary,
            "hidden_size": hidden,
            "intermediate_size": inner,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
        }
    )


SHAPES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "tiny": _llama(64, 176, 2, 4, 2, 512),
        "1b": _llama(2048, 5632, 22, 32, 4, 32000),
        "7b": _llama(4096, 11008, 32, 32, 32, 32000),
    }
)
"""Fields of Llama configurations: one for a CPU, TinyLlama 1.1B's (arXiv 2401.02385, section 2.2),
and Llama 2 7B's (arXiv 2307.09288)."""

_PASSES = {"tiny": (2, 2), "1b": (8, 4), "7b": (1, 18)}
"""Packs per forward pass and passes per step, for a GPU of 140 GiB."""


def bench_settings(shape: str, device: str) -> BenchSettings:
    """The settings with which a shape is measured on a device.

    On a GPU packs have 2048 tokens and numbers are bf16; on a CPU packs have 256, numbers are fp32
    and steps are few, which shows that everything works and nothing about speed.

    Raises UsageError for an unknown shape or device.
    """
    if shape not in SHAPES:
        raise UsageError(f"--shape {shape}: not known; one of {', '.join(SHAPES)}")
    if device not in {"cuda", "cpu"}:
        raise UsageError(f"--device {device}: not known; cuda or cpu")
    rows, passes = _PASSES[shape]
    settings = BenchSettings(
        shape=shape,
        device=device,
        length=2048,
        micro_batch=rows,
        accumulation=passes,
        steps=20,
        warmup=5,
        gemm=8192,
        precision=Precision.BF16,
    )
    if device == "cuda":
        return settings
    return replace(
        settings,
        length=256,
        steps=4,
        warmup=1,
        gemm=512,
        precision=Precision.FP32,
        median=40.0,
    )
