"""How far the logits of a saved model may be from those of the model that was trained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

UNITS = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}
"""Unit roundoff: the largest relative error of one rounding to a number of that type."""
_PER_LAYER, _OUTSIDE = 16, 4
"""Roundings that a number goes through one after another, counted in a pre-norm transformer.

Of a layer, for attention and for the feed-forward part each: the norm and its scaling, the
projection in, the rotation or the activation, the product with the values or the gate, the
weighting, the projection out, the addition; 16 at most. Outside: embedding, last norm and its
scaling, head.
"""
_ENLARGED = 2
"""How much the layers behind an error may enlarge it, relative to what they add themselves."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probe:
    """What the trained model says to some tokens, to hold the saved one against."""

    ids: Sequence[int]
    """One text as token ids; a few dozen that occur in training."""
    logits: Any
    """torch.Tensor, shape (len(ids), rows of the head), without dropout."""
    dtype: str
    """What it was computed in: ``float32``, ``float16`` or ``bfloat16``."""


def tolerance(*, layers: int, width: int, dtype: str) -> float:
    """Largest allowed `distance` between two computations of the same logits; a plain number.

    Both round after every operation, in other places (other kernels, other orders of summation).
    Rounding errors of random sign add like the steps of a random walk (Higham and Mary, SIAM J.
    Sci. Comput. 41(5), 2019: sqrt(n) u instead of n u, with high probability): n roundings in one
    line leave a relative error of sqrt(n) u, and two independent computations are apart by
    sqrt(2 n) u. Here n = 16 per layer + 4, and u² = unit² + width · (2^-24)²: the rounding to the
    type itself, and the sums of ``width`` products, which are taken in fp32. Twice that is allowed,
    for the layers behind an error can enlarge it: a margin chosen by measuring, not derived. Of
    five random models, bf16 against fp32, four of 4 to 24 layers came to 7 to 14 % of the bound,
    and one of 32 layers with large weights (standard deviation 0.06) to 40 %; logits of other
    weights are of the order of 1 apart.

    Args:
        layers: Number of transformer layers.
        width: Terms of the longest sum of products (the widest layer).
        dtype: The coarser of the types that the two computations use.
    """
    unit = math.hypot(UNITS[dtype], math.sqrt(width) * UNITS["float32"])
    return _ENLARGED * unit * math.sqrt(2 * (_PER_LAYER * layers + _OUTSIDE))


def distance(found: Any, expected: Any) -> float:
    """How far two sets of logits are apart, at the position where they are so the most.

    Per position: the Euclidean length of the difference over that of the expected logits less
    their mean, since adding a number to all logits of a position changes no probability. Both have
    the shape (positions, vocabulary); inf for logits that are not finite.
    """
    import torch

    found, expected = found.double(), expected.double()
    if not (bool(torch.isfinite(found).all()) and bool(torch.isfinite(expected).all())):
        return math.inf
    apart = found - expected
    apart = (apart - apart.mean(-1, keepdim=True)).norm(dim=-1)
    size = (expected - expected.mean(-1, keepdim=True)).norm(dim=-1)
    same = torch.zeros_like(apart)
    return float(torch.where(apart == 0, same, apart / size).max())


def coarser(first: str, second: str) -> str:
    """Of two types, the one that rounds more."""
    return max(first, second, key=UNITS.__getitem__)
