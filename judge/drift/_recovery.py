"""When an alarm may close: evidence that a metric is no longer worse than its margin.

The mirror image of the e-detector, but for the level. With z a night's drop less the margin in
standard errors, every factor exp(-λz - λ²/2) has an expectation of at most 1 while the metric is
worse than its margin by any size. A product of such factors may begin on any night s since the
alarm; the products are added with the weights 1/(s(s + 1)), whose sum is 1. The sum and the weights
still to come are then a non-negative supermartingale that starts at 1: it reaches 1/α on *any* of
the nights to come with a probability of at most α (Ville), however long the alarm stays open.
"""

from __future__ import annotations

import numpy as np

from judge.drift._records import Floats

LAMBDAS = (0.25, 0.5, 1.0, 2.0)
"""How far above its margin's edge a metric that recovered may lie, in standard errors of a night.

A full recovery lies by the margin above it, which is about half a standard error of a night.
"""


def recovery(z: Floats) -> Floats:
    """The logarithm of the evidence of a recovery after the last of T nights, (c,).

    ``z`` (T, c) are the nights since the alarm, the first one first; NaN: not measured, which is no
    evidence. -inf before the first night.
    """
    nights, metrics = z.shape
    if not nights:
        return np.full(metrics, -np.inf)
    lambdas = np.array(LAMBDAS)
    gains = np.where(np.isnan(z)[..., None], 0.0, -z[..., None] * lambdas - lambdas**2 / 2)
    products = gains[::-1].cumsum(axis=0)[::-1]  # from night s to the last
    s = np.arange(1, nights + 1)
    weighted = products - np.log(s * (s + 1.0))[:, None, None]
    found: Floats = np.logaddexp.reduce(weighted, axis=(0, 2)) - np.log(len(LAMBDAS))
    return found
