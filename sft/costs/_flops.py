"""How much arithmetic a token of training takes."""

from __future__ import annotations

from dataclasses import dataclass

from sft.costs._shape import ModelShape


@dataclass(frozen=True, slots=True)
class TokenFlops:
    """Floating-point operations of the forward and backward pass, per token.

    Two conventions are in use, and a utilisation means little without the name of its own.
    """

    a: float
    """Attention over the whole sequence, as if it were not causal."""
    b: float
    """Attention halved, since a token sees only those before it."""
    documents: float | None
    """As B, with the true lengths of the documents in a pack; None where they are unknown."""


def flops_per_token(
    shape: ModelShape,
    length: int,
    *,
    trained: int | None = None,
    mean_square_length: float | None = None,
) -> TokenFlops:
    """FLOPs per token of a forward and backward pass; recomputed activations don't count.

    A weight takes part in one multiplication and one addition of the forward pass, and in as many
    for the gradient of its input and for its own gradient: 6 operations per token (arXiv
    2001.08361, section 2.1). Attention compares a token's queries with all keys and sums the
    values, 4 s w operations per layer with sequence length s and width w = heads x head size,
    thrice with the backward pass (arXiv 2204.02311, appendix B):

        A = 6 M + 12 L w s,    B = 6 M + 6 L w s

    with M = `ModelShape.multiplied`. A frozen weight needs no gradient of its own, 4 operations.

    Args:
        shape: The model.
        length: Tokens of a sequence (of a pack), s.
        trained: Weights of adapters, if only these are trained; None: all weights are.
        mean_square_length: Mean squared length of the documents over their mean length, i.e. the
            tokens that the average token's document has. It stands for s in `documents`.
    """
    matrices = 6.0 * shape.multiplied if trained is None else 4.0 * shape.multiplied + 6.0 * trained
    attention = 12.0 * shape.layers * shape.attention_width
    return TokenFlops(
        a=matrices + attention * length,
        b=matrices + attention * length / 2,
        documents=None
        if mean_square_length is None
        else matrices + attention * mean_square_length / 2,
    )


def recomputed_flops(shape: ModelShape, length: int) -> float:
    """FLOPs per token that a second forward pass takes: 2 M + 4 L w s, a third of convention A."""
    return 2.0 * shape.multiplied + 4.0 * shape.layers * shape.attention_width * length


def utilisation(flops: float, tokens_per_second: float, peak: float | None) -> float | None:
    """Model FLOPs utilisation (arXiv 2204.02311, appendix B); None without a peak.

    The share of a peak (FLOP/s) that a rate of tokens with ``flops`` each makes use of.
    """
    return None if peak is None else flops * tokens_per_second / peak
