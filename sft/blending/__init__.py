"""Blends: which samples an epoch trains on, in which shares, and what that costs.

`targets` turns the wished shares into units per epoch, `draw` picks the samples of an epoch,
`realised` says what came of it, `estimate` how long a training would take. All of it is a function
of its arguments: the same samples, settings and seed give the same draw anywhere.
"""

from __future__ import annotations

from sft.blending._draw import draw, draws
from sft.blending._estimate import Estimate, estimate
from sft.blending._keys import Ints, Keys, mixed, salt
from sft.blending._mixture import realised
from sft.blending._samples import Samples, samples_of
from sft.blending._shares import (
    RATIO_TOLERANCE,
    BlendError,
    BlendTargets,
    SourceTarget,
    apportion,
    checked_ratios,
    shares,
    targets,
)

__all__ = [
    "RATIO_TOLERANCE",
    "BlendError",
    "BlendTargets",
    "Estimate",
    "Ints",
    "Keys",
    "Samples",
    "SourceTarget",
    "apportion",
    "checked_ratios",
    "draw",
    "draws",
    "estimate",
    "mixed",
    "realised",
    "salt",
    "samples_of",
    "shares",
    "targets",
]
