"""All that a run needs before its first step: data, model, engine, and the checks on them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from sft.errors import UsageError
from sft.export import require_tokenizer
from sft.recipe import Attention, TrainConfig
from sft.tokenisation import Vocabulary
from sft.training._attention import choose_attention, decoder, require_apart
from sft.training._batches import micro_batch
from sft.training._data import TrainingData
from sft.training._engine import (
    Engine,
    Process,
    build_engine,
    deepspeed_settings,
    make_optimizer,
    passes_per_step,
    precision_of,
    zero_stage,
)
from sft.training._held_out import HeldOut, data_vocabulary, read_held_out
from sft.training._loss import Objective, head_is_plain
from sft.training._model import load_model, weight_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A check before the first step: how far off, and how far it may be."""

    check: str
    difference: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """A run that is ready for its first step."""

    config: TrainConfig
    process: Process
    data: TrainingData
    vocabulary: Vocabulary
    held_out: Mapping[str, HeldOut]
    objective: Objective
    engine: Engine
    dtype: Any
    stage: int
    attention: str
    passes: int
    checks: tuple[Check, ...]

    @property
    def model(self) -> Any:
        """The transformers model (with adapters, if it has any)."""
        return self.objective.model

    @property
    def row_length(self) -> int | None:
        """Tokens of a row: fixed on a GPU, where shapes that change cost more than padding."""
        return self.data.length if self.process.device.type == "cuda" else None


def prepare(
    config: TrainConfig, process: Process, data: TrainingData, *, universal: bool = False
) -> Setup:
    """Load the model, start the engine and run the checks. Every process takes part.

    Raises UsageError for a configuration that cannot be trained here, LeakError if the samples of
    a pack would see each other.
    """
    device = process.device
    _require_possible(config, device)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    vocabulary = data_vocabulary(data)
    held_out = read_held_out(config.data.held_out, data, vocabulary)
    dtype = precision_of(config, device)
    stage = zero_stage(config, dtype)
    attention = choose_attention(
        config.model.attention, device, dtype, deterministic=config.deterministic
    )
    settings = deepspeed_settings(config, process, dtype, data.batch, universal=universal)
    model = _load(config, vocabulary, settings, dtype=dtype, attention=attention)
    require_tokenizer(model, data.tokenizer)
    objective = Objective(model, attention=attention)
    groups = weight_groups(model, config.optimizer.weight_decay)
    optimizer = make_optimizer(groups, config.optimizer, device=device, offload=config.zero.offload)
    engine = build_engine(objective, optimizer, settings, groups=groups)
    difference, bound = require_apart(model, attention, device, vocabulary.size)
    objective.direct = head_is_plain(objective, _probe(data).to(device))
    if config.model.compile:
        for layer in decoder(model).layers:
            layer.compile()
    return Setup(
        config=config,
        process=process,
        data=data,
        vocabulary=vocabulary,
        held_out=held_out,
        objective=objective,
        engine=engine,
        dtype=dtype,
        stage=stage,
        attention=attention,
        passes=passes_per_step(data.batch, process.world, config.micro_batch),
        checks=(Check(check="samples apart", difference=difference, bound=bound),),
    )


def _require_possible(config: TrainConfig, device: Any) -> None:
    """Refuse what this machine cannot do."""
    on_cuda = device.type == "cuda"
    for wanted, name in (
        (config.model.compile, "model.compile: true"),
        (config.model.attention is Attention.VARLEN, "model.attention: varlen"),
    ):
        if wanted and not on_cuda:
            raise UsageError(
                f"{config.path}: {name} needs a CUDA GPU, and there is none here. Leave it out"
            )


def _load(
    config: TrainConfig,
    vocabulary: Vocabulary,
    settings: dict[str, Any],
    *,
    dtype: Any,
    attention: str,
) -> Any:
    """The model; under ZeRO 3 partitioned while its weights are read.

    Random weights are made whole and partitioned by the engine, so that a seed gives the same ones
    at every stage.
    """
    zero3 = settings["zero_optimization"]["stage"] == 3 and config.model.scratch is None
    if not zero3:
        return load_model(config, vocabulary, dtype=dtype, attention=attention, zero3=False)
    from transformers.integrations import HfDeepSpeedConfig, unset_hf_deepspeed_config

    # transformers partitions models while this object is alive.
    alive = HfDeepSpeedConfig(settings)
    try:
        return load_model(config, vocabulary, dtype=dtype, attention=attention, zero3=True)
    finally:
        unset_hf_deepspeed_config()
        del alive


def _probe(data: TrainingData) -> Any:
    """A few tokens of the first sample, as a batch."""
    from sft.tokenisation import Sample

    tokens, supervised = data.store[0]
    first = Sample(tokens[:16], supervised[:16])
    return micro_batch([[first]], [[0]], rows=1, length=None)
