"""Geometry of line charts.

As everywhere in Plumbline's pages, places across are per cent of the width, so that one SVG fits a
phone and a page without its text shrinking, and places down are CSS pixels. Curves, for which SVG
knows no per cent, are drawn `WIDTH` units wide and stretched, their strokes left as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sft.data_report._charts import Tick, place
from sft.run_report._curves import MOST_POINTS, thin
from sft.run_report._log import Floats

COLOURS = 6
"""Colours of lines in the style sheet."""
DASHES = 3
"""Kinds of dashes there; with the colours, they tell 18 lines apart."""

WIDTH = 1000
"""Units of a curve's places across."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """A line to draw; ``x`` does not fall, and where ``y`` is NaN the line has a gap."""

    name: str
    """As in the legend; "" for one that the legend leaves out."""
    x: Floats
    y: Floats
    style: str
    """Classes of the style sheet, e.g. "c0" or "c1 faint"."""
    dots: tuple[tuple[float, float, str], ...] = ()
    """(x, y, words) of points that are marked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A vertical line at ``x``, or a horizontal one at ``y``."""

    at: float
    style: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A marked point and, where there is room for it, its value beside it."""

    x: str
    y: float
    style: str
    words: str
    label: str = ""
    label_y: float = 0.0
    anchor: str = "middle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A line chart as its template draws it."""

    id: str
    title: str
    words: str
    """What its numbers are, for those who do not see it."""
    caption: str
    height: int
    levels: tuple[tuple[float, str], ...]
    """(y, label) of the horizontal lines."""
    ticks: tuple[Tick, ...]
    across: str
    """What the horizontal axis counts."""
    verticals: tuple[tuple[str, str, str], ...]
    """(x, style, words)."""
    horizontals: tuple[tuple[float, str, str], ...]
    """(y, style, words)."""
    paths: tuple[tuple[str, str], ...]
    """(style, path)."""
    dots: tuple[Dot, ...]
    legend: tuple[tuple[str, str], ...]
    """(style, name)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A vertical axis from ``low`` (at the bottom) to ``high``, linear or of logarithms."""

    low: float
    high: float
    height: int
    log: bool = False
    margin: int = 6
    """Pixels between the plot's edges and the lowest and highest value."""

    def y(self, values: Floats) -> Floats:
        """Pixels from the top, (n,); NaN for what the axis has no place for."""
        low, high = self.low, self.high
        if self.log:
            positive = values > 0
            values = np.log10(values, out=np.full(len(values), np.nan), where=positive)
            low, high = math.log10(low), math.log10(high)
        room = self.height - 2 * self.margin
        return np.asarray(self.margin + room * (high - values) / (high - low), np.float64)

    def levels(self) -> list[float]:
        """Round values within the axis, a handful of them."""
        if not self.log:
            return _round_values(self.low, self.high, max(3, self.height // 38))
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = max(1, math.ceil(len(decades) / 6))
        factors = (1, 2, 5) if len(decades) <= 3 else (1,)
        values = [factor * 10.0**decade for decade in decades[::every] for factor in factors]
        return [value for value in values if self.low <= value <= self.high]


def style_of(index: int) -> str:
    """Classes of the line of that number: its colour and its dashes."""
    return f"c{index % COLOURS} d{(index + index // COLOURS) % DASHES}"


def decimals(levels: Sequence[float]) -> Callable[[float], str]:
    """How the levels of an axis are written: in as many decimals as tell them apart."""
    step = min((b - a for a, b in pairwise(levels)), default=0.1)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return (lambda v: f"{v:,.{digits}f}") if digits <= 6 else (lambda v: f"{v:.3g}")


def axis(
    curves: Sequence[Floats], height: int, *, zero: bool = False, log: bool = False
) -> Axis | None:
    """The axis on which the values of all curves have a place; None if they have no number.

    ``zero`` lets it begin at 0. ``log`` asks for logarithms; it is linear nevertheless where the
    largest positive value is less than 30 times the smallest.
    """
    known = np.concatenate([curve[np.isfinite(curve)] for curve in curves] or [np.empty(0)])
    if not len(known):
        return None
    low, high = float(known.min()), float(known.max())
    positive = known[known > 0]
    if log and len(positive) and float(positive.max()) >= 30 * float(positive.min()):
        return Axis(low=float(positive.min()), high=high, height=height, log=True)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if high - low <= 1e-9 * max(abs(high), abs(low)):  # one value, to rounding
        spread = abs(high) / 10 or 1.0
        low, high = (low if zero and low == 0 else low - spread), high + spread
    return Axis(low=low, high=high, height=height)


def _round_values(low: float, high: float, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten between two values, at most ``most`` of them."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    factor = next(f for f in (1, 2, 5, 10, 20, 50) if (high - low) / (f * step) < most)
    step *= factor
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def path(x: Floats, y: Floats, most: int = MOST_POINTS) -> str:
    """The path of an SVG through points (units, pixels) without those that a page cannot show.

    NaN makes a gap; a point between two gaps becomes a line without length, drawn as a dot.
    """
    chosen = thin(y, most)
    parts: list[str] = []
    pen, length = "M", 0
    for across, down in zip(x[chosen].tolist(), y[chosen].tolist(), strict=True):
        if math.isnan(down):
            parts += ["h0"] if length == 1 else []
            pen, length = "M", 0
            continue
        parts.append(f"{pen}{_short(across)} {_short(down)}")
        pen, length = "L", length + 1
    return "".join(parts + (["h0"] if length == 1 else []))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def step_ticks(last: int, most: int = 4) -> tuple[Tick, ...]:
    """Labels of an axis of steps: 0, at most ``most`` - 1 round numbers, and ``last``.

    Numbers near the last one are left out, for on a phone their labels would touch.
    """
    chosen = [v for v in _round_values(0, last, most) if v == round(v) and v <= 0.75 * last]
    return tuple(
        Tick(
            x=place(value / last),
            label=f"{value:,.0f}",
            anchor="start" if value == 0 else "end" if value == last else "middle",
        )
        for value in [*chosen, last]
    )


def chart(
    *,
    id: str,
    title: str,
    words: str,
    caption: str,
    curves: Sequence[Curve],
    axis: Axis,
    level: Callable[[float], str],
    ticks: Sequence[Tick],
    across: str,
    share: Callable[[Floats], Floats],
    verticals: Sequence[Mark] = (),
    horizontals: Sequence[Mark] = (),
    labels: Callable[[float], str] | None = None,
    points: int = MOST_POINTS,
) -> Chart:
    """The chart of some curves.

    Args:
        id: Its name within the page.
        title: What it shows.
        words: Its numbers, for those who do not see it.
        caption: What stands above it.
        curves: Its lines, the first at the bottom.
        axis: Its vertical axis.
        level: How a value of that axis is written.
        ticks: Labels of the horizontal axis.
        across: What that axis counts.
        share: Places of its values, from 0 (left) to 1.
        verticals: Vertical lines.
        horizontals: Horizontal lines; those beyond the axis are left out.
        labels: How values are written beside marked points; None: not at all.
        points: Most points of a curve.
    """
    lines = [mark for mark in horizontals if axis.low <= mark.at <= axis.high]
    return Chart(
        id=id,
        title=title,
        words=words,
        caption=caption,
        height=axis.height,
        levels=tuple(zip(_pixels(axis, axis.levels()), map(level, axis.levels()), strict=True)),
        ticks=tuple(ticks),
        across=across,
        verticals=tuple(
            (place(at), mark.style, mark.words)
            for at, mark in zip(
                share(np.array([m.at for m in verticals])).tolist(), verticals, strict=True
            )
        ),
        horizontals=tuple(
            (at, mark.style, mark.words)
            for at, mark in zip(_pixels(axis, [m.at for m in lines]), lines, strict=True)
        ),
        paths=tuple(
            (curve.style, path(WIDTH * share(curve.x), axis.y(curve.y), points)) for curve in curves
        ),
        dots=_dots(curves, axis, share, labels),
        legend=tuple((curve.style, curve.name) for curve in curves if curve.name),
    )


def _pixels(axis: Axis, values: Sequence[float]) -> list[float]:
    return [round(y, 1) for y in axis.y(np.array(values, np.float64)).tolist()]


def _dots(
    curves: Sequence[Curve],
    axis: Axis,
    share: Callable[[Floats], Floats],
    labels: Callable[[float], str] | None,
) -> tuple[Dot, ...]:
    """The marked points of all curves.

    Of those at one place across, the highest has its value above it and the lowest below.
    """
    points = [(x, y, words, c.style) for c in curves for x, y, words in c.dots if not math.isnan(y)]
    found = []
    for x, y, words, style in points:
        at = float(share(np.array([x]))[0])
        rivals = [other for place_, other, *_ in points if place_ == x]
        (down,) = _pixels(axis, [y])
        above = y == max(rivals)
        found.append(
            Dot(
                x=place(at),
                y=down,
                style=style,
                words=words,
                label=labels(y) if labels and (above or y == min(rivals)) else "",
                label_y=round(down - 10 if above else down + 20, 1),
                anchor="middle",
            )
        )
    return tuple(found)
