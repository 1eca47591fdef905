"""The e-detector: evidence of many nights that a metric got worse by more than its margin.

A Shiryaev-Roberts statistic per size of change λ: R ← (1 + R)·exp(λz - λ²/2), with z the night's
standardised drop. Under "no worse than the margin" every factor has an expectation of at most 1,
so that E[R after t nights] <= t whatever went before, and the probability that R reaches c within
T nights is at most T/c (Doob; e-detectors, arXiv 2203.03532). An average of such statistics has the
same property, however they depend on each other: the mean over λ stands in for not knowing how
large a change will be, the mean over metrics for not knowing which metric it will hit.

Everything is kept in logarithms: evidence of a long change overflows within weeks. All functions
work over any leading axes; nothing here keeps a state.
"""

from __future__ import annotations

import math

import numpy as np

from judge.drift._records import Floats

LAMBDAS = (0.5, 1.0, 2.0, 3.0)
"""Sizes of change, in standard errors of one night, for which the detector is laid out."""

_TINY_LOG = -math.inf


def start(*shape: int) -> Floats:
    """The detectors before the first night: log R = -inf, of ``shape`` (..., c) and λ last."""
    return np.full((*shape, len(LAMBDAS)), _TINY_LOG)


def step(log_r: Floats, z: Floats) -> Floats:
    """The detectors (..., c, λ) after a night with z (..., c); NaN: not measured, left as it is."""
    lambdas = np.array(LAMBDAS)
    gain = np.nan_to_num(z)[..., None] * lambdas - lambdas**2 / 2
    after = np.logaddexp(0.0, log_r) + gain
    found: Floats = np.where(np.isnan(z)[..., None], log_r, after)
    return found


def per_metric(log_r: Floats) -> Floats:
    """The logarithm of each metric's statistic, (..., c): the mean over λ."""
    return _log_mean(log_r)


def family(log_metric: Floats) -> Floats:
    """The logarithm of the family's statistic, (...): the mean over the metrics."""
    return _log_mean(log_metric)


def threshold(nights: int, alpha: float) -> float:
    """The logarithm of what a family reaches within ``nights`` with probability <= ``alpha``."""
    return math.log(nights / alpha)


def follow_z(z: Floats, log_r: Floats | None = None) -> Floats:
    """The metrics' statistics after every night, (..., T, c), from z (..., T, c).

    ``log_r`` (..., c, λ) are the detectors before the first of these nights (None: fresh ones).
    """
    state = start(*z.shape[:-2], z.shape[-1]) if log_r is None else log_r
    found = np.empty(z.shape)
    for night in range(z.shape[-2]):
        state = step(state, z[..., night, :])
        found[..., night, :] = per_metric(state)
    return found


def shares(log_metric: Floats) -> Floats:
    """Which part of the family's statistic each metric holds, (..., c); 0 while all are 0."""
    most = log_metric.max(axis=-1, keepdims=True)
    parts = np.exp(log_metric - np.where(np.isfinite(most), most, 0.0))
    total = parts.sum(axis=-1, keepdims=True)
    found: Floats = np.divide(parts, total, out=np.zeros_like(parts), where=total > 0)
    return found


def onset(z: Floats) -> int:
    """The night (index) on which a change most likely began, from one metric's z (T,).

    The mean over λ of exp(Σ λz - λ²/2) from a night to the last is the likelihood ratio of "a
    change began on that night"; the most likely night is returned, 0 for an empty series.
    """
    if not len(z):
        return 0
    lambdas = np.array(LAMBDAS)
    measured = ~np.isnan(z)
    gains = np.where(measured, np.nan_to_num(z), 0.0)[:, None] * lambdas
    gains -= np.where(measured[:, None], lambdas**2 / 2, 0.0)
    ratios = _log_mean(gains[::-1].cumsum(axis=0)[::-1])
    # A night that was not measured ties with the next one, on which the change is first seen.
    return int(np.where(measured, ratios, -np.inf).argmax()) if measured.any() else 0


def _log_mean(logs: Floats) -> Floats:
    """The logarithm of the mean of exp(logs) over the last axis; -inf where all are."""
    # Reducing over the first of the axes is several times as fast where the last is short.
    parts = np.ascontiguousarray(np.moveaxis(logs, -1, 0))
    most = parts.max(axis=0)
    safe = np.where(np.isfinite(most), most, 0.0)
    total = np.exp(parts - safe).mean(axis=0)
    found: Floats = np.log(total, out=np.full_like(total, -np.inf), where=total > 0)
    found += safe
    return found
