"""What is to be trained, with what, on how many processes: what every estimate is made from."""

from __future__ import annotations

from dataclasses import dataclass

from sft.costs._accelerators import GIB
from sft.costs._shape import ModelShape, adapter_parameters
from sft.recipe import Attention, LoraSettings, Offload, Precision, Recompute

CHUNK = 2048
"""Supervised tokens whose logits are in memory at a time: 2048 rows of 32,000 in fp32, 262 MB."""
BUCKET = 500_000_000
"""Elements of a communication bucket."""
LIVE_WEIGHTS = 1_000_000_000
"""Weights that ZeRO 3 keeps gathered at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training run as far as its costs go. ``auto`` settings have to be resolved before."""

    shape: ModelShape
    length: int
    """Tokens of a pack."""
    processes: int = 1
    """One per GPU."""
    stage: int = 2
    """Of ZeRO, 0 to 3."""
    offload: Offload = Offload.NONE
    precision: Precision = Precision.BF16
    attention: Attention = Attention.VARLEN
    recompute: Recompute = Recompute.NONE
    micro_batch: int = 1
    """Packs per forward pass of a process."""
    lora: LoraSettings | None = None
    supervised: float = 1.0
    """Largest share of a forward pass's tokens that the loss is taken over."""
    mean_square_length: float | None = None
    """Mean squared length of the samples over their mean length, where it is known."""
    chunk: int = CHUNK
    """Supervised tokens whose logits are in memory at a time."""
    bucket: int = BUCKET
    """Elements of a communication bucket (``reduce_bucket_size`` of DeepSpeed)."""
    live_weights: int = LIVE_WEIGHTS
    """Weights that ZeRO 3 keeps gathered at most (``stage3_max_live_parameters``)."""
    reserve: int = 3 * GIB
    """Bytes for what no formula covers: the driver's context, libraries' workspaces, the
    communication library, and memory that is lost between tensors. An assumption."""

    def __post_init__(self) -> None:
        """Refuse what cannot be estimated; these are mistakes of the caller."""
        if self.stage not in range(4):
            raise ValueError(f"ZeRO stage {self.stage}")
        if Precision.AUTO is self.precision or Attention.AUTO is self.attention:
            raise ValueError("precision and attention have to be known")
        if min(self.processes, self.length, self.micro_batch, self.chunk) < 1:
            raise ValueError("processes, length, micro_batch and chunk are at least 1")
        if not 0 <= self.supervised <= 1:
            raise ValueError(f"supervised {self.supervised}, a share")
        if self.offload is not Offload.NONE and self.stage == 0:
            raise ValueError("ZeRO 0 offloads nothing")
        if self.offload is Offload.ALL and self.stage != 3:
            raise ValueError("weights are offloaded by ZeRO 3 alone")

    @property
    def width(self) -> int:
        """Bytes of a number that the model computes with."""
        return 2 if self.precision is Precision.BF16 else 4

    @property
    def zero(self) -> int:
        """The stage that is used: with bf16, 0 runs as 1."""
        return 1 if self.stage == 0 and self.precision is Precision.BF16 else self.stage

    @property
    def adapters(self) -> int:
        """Weights of the adapters; 0 without."""
        return 0 if self.lora is None else adapter_parameters(self.shape, self.lora)

    @property
    def trained(self) -> int:
        """Weights that are trained."""
        return self.shape.parameters if self.lora is None else self.adapters

    @property
    def held(self) -> int:
        """All weights, adapters included."""
        return self.shape.parameters + self.adapters

    @property
    def tokens(self) -> int:
        """Tokens of a forward pass."""
        return self.micro_batch * self.length
