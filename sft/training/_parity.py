"""DeepSpeed against plain PyTorch, on a model so small that nothing is taken on trust.

The same steps are made twice from the same weights: by the engine, as training makes them (packs,
several passes, several processes, ZeRO), and by a reference that computes every sample alone, on
one process, in one sum, with torch's own AdamW. Losses, gradients and weights have to agree.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from sft.blending import Ints
from sft.errors import PlumblineError
from sft.export import Check
from sft.recipe import (
    DataSettings,
    ModelSettings,
    Offload,
    OptimizerSettings,
    TrainConfig,
    ZeroSettings,
)
from sft.tokenisation import Sample
from sft.training._engine import Process, set_learning_rate
from sft.training._model import weight_groups
from sft.training._schedule import learning_rate
from sft.training._setup import Core, assemble, attention_of
from sft.training._steps import Stepper

STEPS = 3
_VOCABULARY = 97
_BATCH = 5
"""Packs of a step: with two processes and two passes of them, places stay empty."""

BOUNDS = {torch.float32: (1e-5, 1e-5, 1e-3), torch.bfloat16: (1e-2, 5e-2, 2e-1)}
"""Of loss, gradient and weights. Weights are compared with how far they moved: AdamW turns small
differences of tiny gradients into whole steps, so that bound is wider."""


class ToyData:
    """Random samples of very unequal lengths in a few packs a step."""

    sources = ("toy",)
    length = 128

    def __init__(self, steps: int = STEPS, batch: int = _BATCH) -> None:
        draw = np.random.default_rng(7)
        self.batch = batch
        self.store: list[Sample] = []
        self._packs: list[list[Ints]] = []
        for _ in range(steps):
            packs = []
            for _ in range(batch):
                first = len(self.store)
                for length in draw.integers(3, 25, size=draw.integers(1, 4)):
                    supervised = np.zeros(length, dtype=np.bool_)
                    supervised[draw.integers(1, length) :] = True
                    tokens = draw.integers(_VOCABULARY, size=length).astype(np.uint32)
                    self.store.append(Sample(tokens, supervised))
                packs.append(np.arange(first, len(self.store)))
            self._packs.append(packs)
        self.source_of = np.zeros(len(self.store), dtype=np.int64)

    def packs(self, step: int) -> list[Ints]:
        """The sample numbers of a step's packs."""
        return self._packs[step]

    def epoch_of(self, step: int) -> int:
        """There is one epoch."""
        return 0

    def tokens(self, packs: Sequence[Ints]) -> int:
        """Tokens in packs."""
        return sum(len(self.store[n].tokens) for pack in packs for n in pack)

    def supervised_by_source(self, packs: Sequence[Ints]) -> Ints:
        """Supervised tokens in packs."""
        return np.array([sum(int(self.store[n].supervised.sum()) for p in packs for n in p)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What plain PyTorch gives."""

    losses: list[float]
    gradients: list[torch.Tensor]
    """Of every step, all weights in one vector, before clipping."""
    moved: torch.Tensor
    """How far the weights are at the end from where they began."""


def toy_model(attention: str, dtype: Any) -> Any:
    """A Llama of some ten thousand weights, with fewer heads for keys than for queries."""
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(3)
    return AutoModelForCausalLM.from_config(
        LlamaConfig(
            vocab_size=_VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
        ),
        dtype=dtype,
        attn_implementation=attention,
    )


def toy_config(*, stage: int, rows: int, offload: Offload = Offload.NONE) -> TrainConfig:
    """A configuration with clipping that bites and a schedule that moves."""
    return TrainConfig(
        name="parity",
        path=Path("parity"),
        epochs=1,
        micro_batch=rows,
        model=ModelSettings(scratch={}),
        data=DataSettings(folder=Path("parity")),
        optimizer=OptimizerSettings(learning_rate=1e-2, warmup=0.4, clip=0.5),
        zero=ZeroSettings(stage=stage, offload=offload),
    )


def reference(model: Any, data: ToyData, settings: OptimizerSettings, steps: int) -> Reference:
    """Train a model in place, sample by sample, with nothing but torch."""
    groups = weight_groups(model, settings.weight_decay)
    optimizer = torch.optim.AdamW(groups, betas=settings.betas, eps=settings.eps)
    weights = [p for group in groups for p in group["params"]]
    device = weights[0].device
    before = _vector(weights).clone()
    losses, gradients = [], []
    for step in range(steps):
        set_learning_rate(optimizer, learning_rate(step, steps, settings))
        samples = [data.store[n] for pack in data.packs(step) for n in pack]
        count = sum(int(s.supervised.sum()) for s in samples)
        total = torch.zeros((), device=device)
        for tokens, supervised in samples:
            ids = torch.from_numpy(tokens.astype(np.int64)).to(device)
            logits = model(input_ids=ids[None], use_cache=False).logits[0, :-1].float()
            wanted = torch.from_numpy(supervised[1:].copy()).to(device)
            total = total + functional.cross_entropy(
                logits[wanted], ids[1:][wanted], reduction="sum"
            )
        (total / count).backward()
        losses.append(float(total.detach()) / count)
        gradients.append(_vector([p.grad for p in weights]).clone())
        if settings.clip:
            torch.nn.utils.clip_grad_norm_(weights, settings.clip)
        optimizer.step()
        optimizer.zero_grad()
    return Reference(losses=losses, gradients=gradients, moved=_vector(weights) - before)


def _vector(tensors: Sequence[Any]) -> torch.Tensor:
    return torch.cat([t.detach().float().reshape(-1) for t in tensors])


def check_parity(
    process: Process, *, stage: int, dtype: Any, rows: int, offload: Offload = Offload.NONE
) -> list[Check]:
    """Make the same steps with the engine and without; every process takes part.

    ``rows`` are the packs of a forward pass. Gives the largest relative differences of losses,
    gradients and weights with their bounds.
    """
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_grad

    config = toy_config(stage=stage, rows=rows, offload=offload)
    data = ToyData()
    attention = attention_of(config, process, dtype)
    model = toy_model(attention, dtype).to(process.device)
    expected = reference(
        copy.deepcopy(model).float() if attention in {"sdpa", "eager"} else _plain(model),
        data, config.optimizer, STEPS,
    )  # fmt: skip
    groups = weight_groups(model, config.optimizer.weight_decay)
    weights = [p for group in groups for p in group["params"]]
    before = _vector(weights).clone()
    core = assemble(
        config, process, data, model, attention=attention, dtype=dtype, vocabulary=_VOCABULARY
    )
    stepper = _Watched(core, STEPS, lambda: _vector([safe_get_full_grad(w) for w in weights]))
    losses = [stepper.step(n)[0]["loss"] for n in range(STEPS)]
    whole = [safe_get_full_fp32_param(w) for w in weights] if core.stage else weights
    moved = _vector(whole) - before
    name = f"ZeRO {stage}, {str(dtype).removeprefix('torch.')}, {process.world} x {rows}"
    found = (
        max(abs(a - b) / abs(b) for a, b in zip(losses, expected.losses, strict=True)),
        max(map(_apart, stepper.gradients, expected.gradients)),
        _apart(moved, expected.moved),
    )
    core.engine.engine.destroy()
    return [
        Check(check=f"{name}: {what}", difference=value, bound=bound)
        for what, value, bound in zip(
            ("loss", "gradient", "weights"), found, BOUNDS[dtype], strict=True
        )
    ]


def _plain(model: Any) -> Any:
    """A copy in fp32 that computes attention without tricks."""
    copied = toy_model("eager", torch.float32).to(next(model.parameters()).device)
    copied.load_state_dict({k: v.float() for k, v in model.state_dict().items()})
    return copied


def _apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Length of the difference over that of the expected vector."""
    return float((found.cpu() - expected.cpu()).norm() / expected.cpu().norm())


def require_parity(checks: Sequence[Check]) -> None:
    """Raise PlumblineError if any difference is above its bound, or no number."""
    failed = [c for c in checks if not c.difference <= c.bound]
    if failed:
        lines = "; ".join(
            f"{c.check} differs by {c.difference:.3g} (bound {c.bound:g})" for c in failed
        )
        raise PlumblineError(
            f"DeepSpeed does not compute here what plain PyTorch does: {lines}. Don't train with "
            "it: use another ZeRO stage, or the versions in constraints.txt"
        )


class _Watched(Stepper):
    """A stepper that keeps every step's gradient as it is before clipping."""

    def __init__(self, setup: Core, steps: int, read: Any) -> None:
        super().__init__(setup, steps)
        self._read = read
        self.gradients: list[torch.Tensor] = []

    def before_update(self) -> None:
        """Called when the last pass of a step is done, before the weights change."""
        self.gradients.append(self._read())
