"""The loss: cross entropy per supervised token, summed, over the head's output at these alone.

A step's loss is the sum over all its supervised tokens, on all processes and in all forward passes,
divided by their number. DeepSpeed averages gradients over processes, so every process gives

    sum of its tokens' losses * processes / supervised tokens of the whole step

to ``backward`` with ``scale_wrt_gas=False``, which holds for every ZeRO stage.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from sft.costs import CHUNK
from sft.training._attention import attention_arguments, hidden_states
from sft.training._batches import MicroBatch, Tensor


class Losses(NamedTuple):
    """What a forward pass gives."""

    total: Tensor
    """Sum of the losses, in nats; 0 with a gradient of zeros where nothing is supervised."""
    tokens: Tensor
    """(n,), float32, without gradient: the loss of every supervised token."""


class Objective(nn.Module):  # type: ignore[misc]  # torch is not typed here
    """A causal language model with the loss on top, as DeepSpeed drives it."""

    def __init__(self, model: Any, *, attention: str, chunk: int = CHUNK) -> None:
        super().__init__()
        self.model = model
        self.attention = attention
        self.direct = True
        """Whether the head alone turns hidden states into logits (see `head_is_plain`); otherwise
        the model itself does, for all supervised tokens at once."""
        self._chunk = chunk

    def forward(self, batch: MicroBatch) -> Losses:
        """The losses of a forward pass."""
        empty = len(batch.labels) == 0
        # A pass without supervised tokens takes part all the same: the others wait for its
        # gradients, which are zeros.
        places = batch.places if not empty else batch.input_ids.new_zeros(1)
        labels = batch.labels if not empty else batch.input_ids.new_zeros(1)
        if self.direct:
            hidden = hidden_states(self.model, batch, self.attention)
            tokens = self._chunked(hidden.reshape(-1, hidden.shape[-1])[places], labels)
        else:
            tokens = _cross_entropy(self._logits(batch, places), labels)
        if empty:
            tokens = tokens * 0.0
        return Losses(tokens.sum(), tokens.detach()[: len(batch.labels)])

    def all_logits(self, batch: MicroBatch) -> Tensor:
        """(rows, length, vocabulary): every token's logits, by the model's own forward."""
        logits: Tensor = self.model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            **attention_arguments(self.attention, batch),
        ).logits
        return logits

    def _chunked(self, hidden: Tensor, labels: Tensor) -> Tensor:
        head = self.model.get_output_embeddings()
        if len(labels) <= self._chunk:
            return _cross_entropy(head(hidden), labels)

        def losses(part: Tensor, wanted: Tensor) -> Tensor:
            return _cross_entropy(head(part), wanted)

        parts = zip(hidden.split(self._chunk), labels.split(self._chunk), strict=True)
        return torch.cat([checkpoint(losses, *part, use_reentrant=False) for part in parts])

    def _logits(self, batch: MicroBatch, places: Tensor) -> Tensor:
        """(n, vocabulary): through the model's own forward, at the columns that any row needs."""
        width = batch.input_ids.shape[1]
        columns, inverse = torch.unique(places % width, return_inverse=True)
        logits: Tensor = self.model(
            input_ids=batch.input_ids,
            position_ids=batch.position_ids,
            use_cache=False,
            logits_to_keep=columns,
            **attention_arguments(self.attention, batch),
        ).logits
        return logits[places // width, inverse]


def head_is_plain(objective: Objective, batch: MicroBatch) -> bool:
    """Whether the output embeddings alone turn the last hidden states into the model's logits.

    Some models scale or cap their logits, or have no decoder of their own; their forward is then
    used as it is.
    """
    model = objective.model
    if model.get_output_embeddings() is None:
        return False
    with torch.no_grad():
        hidden = hidden_states(model, batch, objective.attention)
        plain = model.get_output_embeddings()(hidden)
        own = objective.all_logits(batch)
    if plain.shape != own.shape:
        return False
    return bool(torch.allclose(plain.float(), own.float(), rtol=1e-3))


def _cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Per token, in fp32: bf16 sums over a vocabulary would be off in the third digit."""
    return functional.cross_entropy(logits.float(), labels, reduction="none")
