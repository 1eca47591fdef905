"""What a training run is made of: the settings of `sft train`, typed and frozen.

The file's fields are described in docs/training.md; their form is ``schemas/train.schema.json``.
Here every default stands next to its reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Precision(StrEnum):
    """The numbers that the model computes with."""

    AUTO = "auto"
    """bf16 on a GPU, fp32 on a CPU."""
    BF16 = "bf16"
    """Weights and activations in bfloat16; master weights, moments and gradient sums in fp32."""
    FP32 = "fp32"


class Attention(StrEnum):
    """How attention is computed; all of them keep the samples of a pack apart."""

    AUTO = "auto"
    """``varlen`` on a GPU that can, else ``sdpa``."""
    VARLEN = "varlen"
    """torch's own variable-length flash attention; CUDA and bf16 only."""
    SDPA = "sdpa"
    EAGER = "eager"


class Recompute(StrEnum):
    """Whether activations are computed again in the backward pass instead of being kept."""

    NONE = "none"
    """Fastest, where memory allows."""
    FULL = "full"
    """Every layer: about a third more arithmetic, and a fraction of the memory."""


class Offload(StrEnum):
    """What ZeRO keeps in the memory of the host."""

    NONE = "none"
    OPTIMIZER = "optimizer"
    """Master weights and moments (ZeRO 1 to 3)."""
    ALL = "all"
    """The model's weights too (ZeRO 3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSettings:
    """The model that is trained."""

    path: str = ""
    """A folder with weights, or the name of a model on a hub; "" with ``scratch``."""
    scratch: Mapping[str, Any] | None = None
    """Fields of a Llama configuration (``hidden_size``, ...) for a model with random weights;
    the vocabulary comes from the data's tokenizer."""
    precision: Precision = Precision.AUTO
    attention: Attention = Attention.AUTO
    recompute: Recompute = Recompute.NONE
    compile: bool = False
    """Whether `torch.compile` is applied to every layer; CUDA only."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters instead of all weights (arXiv 2106.09685)."""

    rank: int = 16
    alpha: float = 32.0
    """The adapter's product is scaled by alpha / rank."""
    dropout: float = 0.0
    targets: tuple[str, ...] | str = "all-linear"
    """Names of modules; all linear layers but the head by default."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """What the model is trained on, and what it is tried on."""

    folder: Path
    """What `sft blend` wrote."""
    blend: str = "main"
    held_out: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Domain → files of conversations; the loss on them is taken after every epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizerSettings:
    """AdamW and its schedule (arXiv 2310.04945, section 3.3: cosine, 3e-5, weight decay 0.1)."""

    learning_rate: float = 3e-5
    """The highest, reached at the end of the warm-up."""
    schedule: str = "cosine"
    """``cosine`` or ``constant``, after the warm-up."""
    warmup: float = 0.03
    """Share of all steps in which the rate rises in a straight line."""
    floor: float = 0.0
    """Where the cosine ends, as a share of the highest rate."""
    weight_decay: float = 0.1
    """Not on norms, biases and other vectors."""
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    clip: float = 1.0
    """Largest norm of the gradient; 0: no clipping."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroSettings:
    """How DeepSpeed divides the training state over processes (arXiv 1910.02054)."""

    stage: int = 2
    """0: nothing; 1: optimizer states; 2: gradients too; 3: weights too."""
    offload: Offload = Offload.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveSettings:
    """What stays on disk."""

    every_steps: int | None = 500
    """Training state between epochs' ends; None: at epochs' ends only."""
    keep_states: int = 2
    """Newest training states that stay; 0 keeps all."""
    keep_epochs: tuple[int, ...] | None = None
    """Exported epochs that stay when the run is done; None: all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """When a run is ended because it goes wrong."""

    heartbeat_seconds: float = 60.0
    """A process that gives no sign of life for so long counts as frozen; 0: not watched."""
    stall_seconds: float = 1800.0
    """No optimizer step for so long ends the run; 0: never."""
    explosion: float = 3.0
    """Ends the run: a loss this many times the median of the last 100 steps (and above the loss
    of a uniform guess), for ``patience`` steps on end."""
    patience: int = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """All that `sft train` is asked to do."""

    name: str
    path: Path
    """The file that it was read from; relative paths in it start at its folder."""
    description: str = ""
    preset: str | None = None
    """The shipped settings that it starts from."""
    seed: int = 0
    epochs: int = 3
    """arXiv 2310.04945, section 3.3: 1 to 5."""
    batch: int | None = None
    """Packs per optimizer step, over all processes; None: as the blend was planned."""
    micro_batch: int = 1
    """Packs per forward pass of a process; what memory allows."""
    deterministic: bool = False
    """Same bits from the same GPUs, at a price; on a CPU it is so anyway."""
    max_steps: int | None = None
    """Ends the run after so many optimizer steps; for trying things out."""
    model: ModelSettings
    lora: LoraSettings | None = None
    data: DataSettings
    optimizer: OptimizerSettings = OptimizerSettings()
    zero: ZeroSettings = ZeroSettings()
    save: SaveSettings = SaveSettings()
    guards: GuardSettings = GuardSettings()
