"""Running means of curves, and curves thinned out to as many points as a page can show."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sft.run_report._log import Floats, Ints

MOST_POINTS = 1000
"""Points of a curve on the page."""


def window(count: int) -> int:
    """Steps that a running mean goes over: the square root of their number.

    It grows with the run, so that a curve of 30 steps still moves (5) and one of 100,000 is calm
    (316).
    """
    return max(1, round(math.sqrt(count)))


def running_mean(values: Floats, weights: Floats, width: int) -> Floats:
    """Weighted mean of ``width`` values around each, fewer at both ends, (n,).

    Centred, so that a falling curve does not seem to lag behind its steps. Values that are NaN do
    not count; a mean over none is NaN. A loss weighted by its supervised tokens stays a mean per
    supervised token, and a rate weighted by its seconds one per second.
    """
    known = np.isfinite(values) & np.isfinite(weights)
    weight = np.where(known, weights, 0.0)
    total = _window_sums(np.where(known, values, 0.0) * weight, width)
    whole = _window_sums(weight, width)
    counted = _window_sums(known & (weight > 0), width) > 0.5
    mean = np.full(len(values), np.nan)
    np.divide(total, whole, out=mean, where=counted)
    return mean


def _window_sums(values: NDArray[Any], width: int) -> Floats:
    """Sums of ``width`` values around each, fewer at both ends, (n,)."""
    sums = np.concatenate(([0.0], np.cumsum(values, dtype=np.float64)))
    at = np.arange(len(values))
    ends = np.minimum(at + (width - 1) // 2 + 1, len(values))
    return np.asarray(sums[ends] - sums[np.maximum(at - width // 2, 0)], np.float64)


def thin(values: Floats, most: int = MOST_POINTS) -> Ints:
    """Which points of a curve to draw, in order: at most ``most`` of them, which must be 8 or more.

    The curve is cut into pieces of equal length, and of each are kept the lowest and the highest
    point, so that no spike is lost; where a piece has a value that is NaN, one such is kept too, so
    that the gap is seen. The first and the last point always stay.
    """
    count = len(values)
    if count <= most:
        return np.arange(count, dtype=np.int64)
    kept = {0, count - 1}
    bounds = np.linspace(0, count, (most - 2) // 3 + 1).astype(np.int64)
    for start, stop in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        piece = values[start:stop]
        unknown = np.isnan(piece)
        if unknown.any():
            kept.add(start + int(np.argmax(unknown)))
        if not unknown.all():
            kept.add(start + int(np.nanargmin(piece)))
            kept.add(start + int(np.nanargmax(piece)))
    return np.array(sorted(kept), np.int64)
