"""What an alarm may say about who moved.

An alarm of the candidate says that its scores fell. Either the model got worse or the judge got
stricter, and a wrong name is dearer than a few nights of waiting. So each name needs its own
evidence, over the nights since the change most likely began:

- the *model* is named where its part is below 0 beyond doubt and the judge's part is shown to be
  small, or where the judge's part is shown to be small when the guard window has passed;
- the *judge* is named by its own detector, which the anchors feed;
- *both* are named where, besides that, the model's part is worse than the margin beyond doubt;
- otherwise the alarm waits. It is published while it waits as soon as the model's part alone is
  below 0 beyond doubt: what is then open is only whether the judge moved as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from judge.drift._records import Cause, DriftSettings, Floats
from judge.drift._shift import Estimate, Parts

SURE = 0.001
"""The model's part is below 0 beyond doubt where chance alone would do it with this probability."""
STILL_TAIL = 0.001
"""Nobody moved is shown by an interval that misses the truth so often on either side."""
STILL = 2.0
"""Times the least margin: what moved by less is not told from what did not move."""
BOTH = 0.01
"""The model is called worse besides the judge with at most this probability, over all metrics."""
PATIENCE = 4
"""Guard windows after which an alarm that nothing explains is published as unexplained."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Who moved, and whether the alarm is published (the decision is then regress)."""

    cause: Cause
    published: bool


def attribute(
    found: Parts, metric: int, margin: float, settings: DriftSettings, *, waited: int
) -> Finding:
    """Who moved, for an alarm on one metric while the judge's own detector is silent.

    ``found`` are the parts of the mean difference since the onset, arrays (c,); ``margin`` is the
    metric's; ``waited`` counts the nights since the alarm was raised.
    """
    if np.isnan(found.judge.value[metric]):
        return Finding(cause=Cause.UNKNOWN, published=True)
    worse = bool(found.model.p_below(0.0)[metric] <= SURE)
    still = is_still(found.judge, metric, tolerance(margin, settings))
    if still and (worse or waited >= settings.guard):
        return Finding(cause=Cause.MODEL, published=True)
    if worse:
        return Finding(cause=Cause.PENDING, published=True)
    if waited >= PATIENCE * settings.guard:
        return Finding(cause=Cause.UNKNOWN, published=True)
    return Finding(cause=Cause.PENDING, published=False)


def tolerance(margin: float, settings: DriftSettings) -> float:
    """The shift up to which the judge, or the model beside a judge that moved, counts as still.

    A margin is not enough: it is about two standard errors of the baseline, and no estimate could
    be shown to lie within it.
    """
    return max(margin, STILL * settings.least_margin)


def is_still(estimate: Estimate, metric: int, within: float) -> bool:
    """Whether a shift is shown to lie within ±``within``."""
    reach = abs(estimate.value[metric]) + estimate.half(STILL_TAIL)[metric]
    return bool(reach <= within)


def worse_besides(found: Parts, margins: Floats) -> list[int]:
    """The metrics on which the model is worse than its margin, whatever the judge did.

    One-sided, at 1 % over all metrics (Bonferroni); the strongest evidence first.
    """
    p = found.model.p_below(-margins)
    level = BOTH / len(margins)
    return [int(at) for at in np.argsort(p) if p[at] <= level]
