"""What the diagnostics share: names of gaps, cluster numbers, sums per model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]

NO_VARIANCE = "no_variance"
"""Why there is no number: within every model, a side of the comparison is constant."""
TOO_FEW = "too_few_questions"
"""Why there is no interval: fewer questions than `MIN_QUESTIONS`."""
MIN_QUESTIONS = 10
"""Below so many questions an interval from clusters is more guess than statistics."""

FLAT = 1e-12
"""A mean square below this is rounding, not variance."""


def numbered(names: Sequence[object] | NDArray[np.generic]) -> Indices:
    """Numbers 0, 1, ... for equal names, (n,)."""
    if len(names) == 0:
        return np.zeros(0, np.int64)
    _, index = np.unique(np.asarray(names), return_inverse=True)
    return index.reshape(-1).astype(np.int64)


def centred(values: Floats, groups: Indices) -> Floats:
    """The values less the mean of their group, (n,)."""
    if values.size == 0:
        return values
    sizes = np.bincount(groups)
    means = np.bincount(groups, weights=values) / np.maximum(sizes, 1)
    result: Floats = values - means[groups]
    return result


def require_rows(n: int, **columns: Sequence[object] | NDArray[np.generic]) -> None:
    """Raise ValueError where a column has not ``n`` rows."""
    for name, column in columns.items():
        if len(column) != n:
            raise ValueError(f"{name} has {len(column)} rows, scores have {n}")


def t_quantile(level: float, df: float) -> float:
    """The quantile of Student's t distribution."""
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # quick, unlike scipy.stats

    return float(stdtrit(df, level))
