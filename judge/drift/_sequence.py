"""A confidence sequence: an interval of the mean difference that is valid on all nights at once.

The mean of t nights' differences from a baseline is θ + (the baseline's error) + (the mean of t
nights' noise). Testing θ by the ratio of two normal mixtures, of the drift with and without θ's
prior, gives a non-negative martingale of mean 1 (Ville), and its inversion the half-width

    √( (σ² + t·v₁)(σ² + t·v₀) / (t²·(v₁ - v₀)) · (2·log(1/α) + log((σ² + t·v₁)/(σ² + t·v₀))) )

with σ² the variance of one night, v₀ that of the baseline's error and v₁ = v₀ + ρ². Without a
baseline error (v₀ = 0) it is the asymptotic confidence sequence of arXiv 2103.06476, whose
argument for estimated variances and other than normal noise holds here as it does there.
"""

from __future__ import annotations

import math

import numpy as np

from judge.drift._records import Floats

TIGHT_AT = 30
"""The number of nights at which the sequence is narrowest for its level."""


def half_widths(
    t: Floats, variance: Floats, baseline_se: Floats, confidence: float = 0.95
) -> Floats:
    """Half the width of the confidence sequence after ``t`` nights, of the broadcast shape.

    ``variance`` is the mean variance of one night's difference (without the baseline's error),
    ``baseline_se`` the baseline's standard error.
    """
    alpha = 1 - confidence
    log_level = -2 * math.log(alpha)
    prior = variance * (log_level + math.log(log_level + 1)) / TIGHT_AT
    known = baseline_se**2
    narrow, wide = variance + t * known, variance + t * (known + prior)
    tiny = np.finfo(np.float64).tiny
    ratio = np.log(np.maximum(wide, tiny) / np.maximum(narrow, tiny))
    square = wide * narrow / np.maximum(t**2 * prior, tiny) * (log_level + ratio)
    found: Floats = np.sqrt(square)
    return found


def sequence(
    differences: Floats, ses: Floats, baseline_se: Floats, confidence: float = 0.95
) -> tuple[Floats, Floats, Floats]:
    """The mean difference so far with its confidence sequence: (value, low, high), each (..., T).

    ``differences`` (..., T) are nights' differences from the baseline, NaN for a night that was not
    measured, ``ses`` (..., T) their standard errors without the baseline's, ``baseline_se`` (...)
    the baseline's. NaN before the first measured night.
    """
    measured = ~np.isnan(differences)
    t = measured.cumsum(axis=-1).astype(np.float64)
    safe = np.maximum(t, 1.0)
    value = np.where(measured, differences, 0.0).cumsum(axis=-1) / safe
    variance = np.where(measured, ses**2, 0.0).cumsum(axis=-1) / safe
    half = half_widths(safe, variance, np.asarray(baseline_se)[..., None], confidence)
    hide = np.where(t > 0, 0.0, np.nan)
    return value + hide, value - half + hide, value + half + hide
