"""What a model is made of, as far as its memory and arithmetic go: from its configuration alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sft.errors import UsageError
from sft.recipe import LoraSettings


@dataclass(frozen=True, slots=True)
class Linear:
    """A linear layer, the head not among them."""

    name: str
    """Its full name in the model, e.g. ``model.layers.0.mlp.up_proj``."""
    inputs: int
    outputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """The sizes of a decoder-only model."""

    kind: str
    """``model_type`` of its configuration."""
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    tied: bool
    """Whether input and output embeddings are one matrix."""
    parameters: int
    """All weights; a tied matrix counts once."""
    multiplied: int
    """Weights that a token is multiplied with: all but the input embedding, which is only looked
    up. A tied matrix is the head too, so it counts; of experts count those that a token visits."""
    largest: int
    """Elements of the largest weight."""
    linears: tuple[Linear, ...]

    @property
    def attention_width(self) -> int:
        """Heads times their size: the width of the queries."""
        return self.heads * self.head_dim


_BY_FORMULA = {"llama", "mistral", "qwen2", "qwen3"}
"""Families with the layers of Llama (arXiv 2302.13971, section 2.2), but for biases and norms."""


def model_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape of the model that a transformers configuration (``config.json``) describes.

    The Llama family is counted by formula: with hidden size h, layers L, H heads and K key heads
    of size d, intermediate size I and vocabulary V,

        N = V h (1 + untied) + L (2 H d h + 2 K d h + 3 h I + 2 h) + h

    plus what biases and norms of queries and keys add. Every other model is built without memory
    for its weights (torch's meta device) and counted, which needs torch and transformers.

    Raises UsageError if the configuration lacks a field, or describes no causal language model.
    """
    kind = config.get("model_type")
    if kind in _BY_FORMULA and "hidden_size" in config:
        return _by_formula(str(kind), config)
    return _by_counting(config)


def _field(config: Mapping[str, Any], name: str) -> int:
    value = config.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UsageError(
            f"The model's configuration: {name}: found {value!r}, expected a whole number above 0. "
            "Give the config.json of a model, or all its sizes"
        )
    return value


def _by_formula(kind: str, config: Mapping[str, Any]) -> ModelShape:
    hidden, layers = _field(config, "hidden_size"), _field(config, "num_hidden_layers")
    heads = _field(config, "num_attention_heads")
    kv_heads = _field(config, "num_key_value_heads") if config.get("num_key_value_heads") else heads
    default_dim = 128 if kind == "qwen3" else hidden // heads
    head_dim = _field(config, "head_dim") if config.get("head_dim") else default_dim
    inner, vocabulary = _field(config, "intermediate_size"), _field(config, "vocab_size")
    tied = bool(config.get("tie_word_embeddings", False))
    queries, keys = heads * head_dim, kv_heads * head_dim
    sizes = {
        "self_attn.q_proj": (hidden, queries),
        "self_attn.k_proj": (hidden, keys),
        "self_attn.v_proj": (hidden, keys),
        "self_attn.o_proj": (queries, hidden),
        "mlp.gate_proj": (hidden, inner),
        "mlp.up_proj": (hidden, inner),
        "mlp.down_proj": (inner, hidden),
    }
    vectors = 2 * hidden
    if kind == "qwen2" or config.get("attention_bias", False):
        vectors += queries + 2 * keys + (0 if kind == "qwen2" else hidden)
    if config.get("mlp_bias", False):
        vectors += 2 * inner + hidden
    if kind == "qwen3":
        vectors += 2 * head_dim
    layer = sum(a * b for a, b in sizes.values()) + vectors
    embedding = vocabulary * hidden
    parameters = embedding * (1 if tied else 2) + layers * layer + hidden
    return ModelShape(
        kind=kind,
        layers=layers,
        hidden=hidden,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        intermediate=inner,
        vocabulary=vocabulary,
        tied=tied,
        parameters=parameters,
        multiplied=parameters if tied else parameters - embedding,
        largest=max(embedding, *(a * b for a, b in sizes.values())),
        linears=tuple(
            Linear(f"model.layers.{i}.{name}", *size)
            for i in range(layers)
            for name, size in sizes.items()
        ),
    )


def _by_counting(config: Mapping[str, Any]) -> ModelShape:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    kind = config.get("model_type")
    try:
        fields = {k: v for k, v in config.items() if k != "model_type"}
        settings: Any = AutoConfig.for_model(str(kind), **fields)
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(settings)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(
            f"The model's configuration (model_type {kind!r}) describes no causal language model "
            f"that transformers can build: {' '.join(str(error).split())[:300]}"
        ) from None
    text = settings.get_text_config()
    heads, hidden = int(text.num_attention_heads), int(text.hidden_size)
    head = model.get_output_embeddings()
    embedding = model.get_input_embeddings().weight
    tied = head is not None and head.weight is embedding
    weights = dict(model.named_parameters())
    parameters = sum(w.numel() for w in weights.values())
    idle = _idle_experts(text, weights)
    return ModelShape(
        kind=str(kind),
        layers=int(text.num_hidden_layers),
        hidden=hidden,
        heads=heads,
        kv_heads=int(getattr(text, "num_key_value_heads", None) or heads),
        head_dim=int(getattr(text, "head_dim", None) or hidden // heads),
        intermediate=int(getattr(text, "intermediate_size", None) or 4 * hidden),
        vocabulary=int(text.vocab_size),
        tied=tied,
        parameters=parameters,
        multiplied=parameters - idle - (0 if tied else embedding.numel()),
        largest=max(w.numel() for w in weights.values()),
        linears=tuple(_linears(model, head)),
    )


def _idle_experts(settings: Any, weights: Mapping[str, Any]) -> int:
    """Weights of the experts that a token does not visit."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    experts = next((int(v) for n in names if (v := getattr(settings, n, None))), 0)
    visited = int(getattr(settings, "num_experts_per_tok", None) or experts)
    if not experts:
        return 0
    held = sum(w.numel() for name, w in weights.items() if ".experts." in name)
    return int(held * (experts - visited) // experts)


def _linears(model: Any, head: Any) -> Sequence[Linear]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    found = []
    for name, module in model.named_modules():
        if module is head:
            continue
        if isinstance(module, nn.Linear):
            found.append(Linear(name, module.in_features, module.out_features))
        elif isinstance(module, Conv1D):
            found.append(Linear(name, int(module.weight.shape[0]), int(module.weight.shape[1])))
    return found


def adapter_parameters(shape: ModelShape, lora: LoraSettings) -> int:
    """Weights of the adapters (arXiv 2106.09685, section 4.1).

    They are rank x (inputs + outputs) for every linear layer that is a target. Targets are matched
    as peft does it: ``all-linear`` is every linear layer but the head, another text a regular
    expression for the full name, and a list holds last parts of names.

    Raises UsageError if nothing in the model is a target.
    """
    matched = [layer for layer in shape.linears if _is_target(layer.name, lora.targets)]
    if not matched:
        raise UsageError(
            f"lora.targets: {lora.targets!r} names no linear layer of the model. Its layers end in "
            + ", ".join(sorted({layer.name.rsplit(".", 1)[-1] for layer in shape.linears}))
        )
    return lora.rank * sum(layer.inputs + layer.outputs for layer in matched)


def _is_target(name: str, targets: tuple[str, ...] | str) -> bool:
    if targets == "all-linear":
        return True
    if isinstance(targets, str):
        return re.fullmatch(targets, name) is not None
    return any(name == target or name.endswith(f".{target}") for target in targets)
