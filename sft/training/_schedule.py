"""The learning rate as a function of the step alone, so that it needs no state of its own."""

from __future__ import annotations

import math

from sft.recipe import OptimizerSettings


def learning_rate(step: int, steps: int, settings: OptimizerSettings) -> float:
    """The rate of a step (from 0) of ``steps``.

    With w = ceil(warmup * steps) warm-up steps, step t < w has the share (t + 1) / w of the highest
    rate. After it, with p = (t - w) / (steps - w), the cosine has the share
    floor + (1 - floor) * (1 + cos(pi p)) / 2 (arXiv 1608.03983, equation 5, without restarts).
    """
    warmup = math.ceil(settings.warmup * steps)
    if step < warmup:
        share = (step + 1) / warmup
    elif settings.schedule == "constant":
        share = 1.0
    else:
        progress = (step - warmup) / max(1, steps - warmup)
        share = settings.floor + (1 - settings.floor) * (1 + math.cos(math.pi * progress)) / 2
    return settings.learning_rate * share
