"""Geometry of the dot plot: where each estimate stands on an axis from 0 to 1.

One row per criterion, in it one lane per model. Places across are per cent of the width, so that
the same SVG fits a phone and a page without its text shrinking; places down are CSS pixels. The
template draws what is computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
COLOURS = 6
"""Distinct model colours (``m0``..``m5`` in the style sheet); shapes repeat hollow after them."""

SHAPES = (
    "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0 -10 0Z",  # circle
    "M-4.5 -4.5H4.5V4.5H-4.5Z",  # square
    "M0 -6.2L6.2 0L0 6.2L-6.2 0Z",  # diamond
    "M0 -5.8L5.6 4.4H-5.6Z",  # triangle
    "M0 5.8L5.6 -4.4H-5.6Z",  # triangle, point down
    "M-2 -6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",  # cross
)
"""Path of each model's mark around (0, 0): told apart without colour."""

_LANE = 17
_MARGIN = 8
_SHORT = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One estimate in the plot. ``x`` is None where nothing was scored; it is never drawn at 0.

    ``low`` and ``high`` are None where there is no interval. ``short`` is the model's name cut to
    what fits into a lane.
    """

    index: int
    model: str
    short: str
    y: int
    x: str | None
    low: str | None
    high: str | None
    estimate: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The marks of one criterion, one lane per model in the order of the report."""

    criterion: str
    name: str
    height: int
    marks: tuple[Mark, ...]


def dot_rows(
    models: Sequence[str],
    criteria: Sequence[tuple[str, str]],
    estimate: Callable[[str, str], Mapping[str, Any] | None],
) -> list[Row]:
    """The rows of the plot for ``criteria`` (id, name), in the order given.

    ``estimate`` finds the estimate of a model on a criterion; None where there is none.
    """
    height = 2 * _MARGIN + _LANE * len(models)
    return [
        Row(
            criterion=criterion,
            name=name,
            height=height,
            marks=tuple(
                _mark(index, model, estimate(model, criterion))
                for index, model in enumerate(models)
            ),
        )
        for criterion, name in criteria
    ]


def across(value: float) -> str:
    """The place of a value in [0, 1] on the axis, e.g. 0.812 is "81.2%"."""
    if not 0 <= value <= 1:
        raise ValueError(f"{value} does not lie on the axis from 0 to 1")
    return f"{100 * value:.2f}".rstrip("0").rstrip(".") + "%"


def _mark(index: int, model: str, estimate: Mapping[str, Any] | None) -> Mark:
    value, low, high = (
        None if estimate is None else estimate[name] for name in ("value", "low", "high")
    )
    bounds = None if value is None or low is None or high is None else (across(low), across(high))
    return Mark(
        index=index,
        model=model,
        short=model if len(model) <= _SHORT else f"{model[: _SHORT - 1]}…",
        y=_MARGIN + _LANE * index + _LANE // 2,
        x=None if value is None else across(value),
        low=bounds[0] if bounds else None,
        high=bounds[1] if bounds else None,
        estimate=estimate,
    )
