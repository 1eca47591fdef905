"""Geometry that the site's plots share: an axis of dates, a scale, lines and bands over nights.

Places across are per cent of the width (paths: of a box 1,000 wide that is stretched to it), places
down are CSS pixels, so that a plot fits a phone and a year of nights without its text shrinking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from judge.nightly._site_words import short_day

BOX = 1000
"""Units across of the box in which paths are drawn."""
LANES = {"alarm": 7, "judge": 7, "baseline": 21, "bridge": 21, "epoch": 21}
"""How far down the sign of each kind of event stands."""
_TOP, _BOTTOM = 34, 6
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25)

Points = Sequence[tuple[float, float]]
"""(share of the width, pixels down)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A place on an axis and what it says; across it is per cent, else pixels down."""

    at: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One night's mark, per cent across and pixels down; ``text`` says what it is."""

    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to the series on a date; ``kind`` is one of `LANES`.

    ``metrics`` are those that an alarm names; empty: it concerns all.
    """

    date: str
    kind: str
    text: str
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """An event in a plot, per cent across and pixels down."""

    x: float
    y: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """A plot over the nights. ``band``, ``centre``, ``edge`` and ``line`` are path data.

    ``dots`` are the nights' values as strokes without length, ``hot`` those of them that an alarm
    concerns; ``marks`` say which these are. ``shaded`` are (start, width) of nights without
    decision, in per cent.
    """

    height: int
    dots: str = ""
    hot: str = ""
    band: str = ""
    centre: str = ""
    edge: str = ""
    line: str = ""
    marks: tuple[Mark, ...] = ()
    signs: tuple[Sign, ...] = ()
    shaded: tuple[tuple[float, float], ...] = ()
    up: tuple[Tick, ...] = ()
    across: tuple[Tick, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """The axis of dates: every date from the first night to the last has the same width."""

    first: int
    days: int

    @classmethod
    def of(cls, dates: Sequence[str]) -> Calendar:
        """The axis that holds these dates, at least one."""
        found = [date.fromisoformat(one).toordinal() for one in dates]
        return cls(first=min(found), days=max(found) - min(found) + 1)

    @property
    def half(self) -> float:
        """Half the width of a date, as a share of the axis."""
        return 0.5 / self.days

    def at(self, day: str) -> float:
        """The middle of a date as a share of the axis."""
        return (date.fromisoformat(day).toordinal() - self.first + 0.5) / self.days

    def ticks(self) -> tuple[Tick, ...]:
        """A few dates, or firsts of months where there are many nights."""
        long = self.days > 100
        days = [date.fromordinal(self.first + at) for at in range(self.days)]
        if long:
            firsts = [day for day in days if day.day == 1]
            every = next((n for n in (1, 2, 3, 6, 12) if len(firsts) <= 4 * n), 24)
            shown = [day for day in firsts if (day.month - 1 + 12 * day.year) % every == 0]
        else:
            shown = days[:: max(1, math.ceil(self.days / 4))]
        return tuple(
            Tick(at=percent(self.at(day.isoformat())), text=short_day(day, month=long))
            for day in shown
        )

    def signs(self, events: Iterable[Event]) -> tuple[Sign, ...]:
        """The events that happened on these dates."""
        ends = [date.fromordinal(self.first + at).isoformat() for at in (0, self.days - 1)]
        return tuple(
            Sign(x=percent(self.at(one.date)), y=LANES[one.kind], kind=one.kind, text=one.text)
            for one in events
            if ends[0] <= one.date <= ends[1]
        )


@dataclass(frozen=True, slots=True)
class Scale:
    """Values up and down a plot; what lies beyond the axis is drawn at its end."""

    low: float
    high: float
    height: int

    def at(self, value: float) -> float:
        """How far down a value stands, in pixels."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return round(self.height - _BOTTOM - share * (self.height - _BOTTOM - _TOP), 1)


def step_of(ranges: Iterable[tuple[float, float]]) -> tuple[float, int]:
    """The step between ticks, and the number of steps, that suit the widest range."""
    widest = max(high - low for low, high in ranges)
    step = next((step for step in _STEPS if widest <= 4 * step), _STEPS[-1])
    return step, max(4, math.ceil(widest / step - 1e-9) + 1)


def ticks_of(low: float, high: float, step: float, steps: int) -> list[float]:
    """Ticks that hold a range, its middle near theirs; from 0 to 1 at most."""
    last = round(1 / step)
    steps = min(steps, last)
    first = round((low + high) / (2 * step) - steps / 2)
    first = min(first, math.floor(low / step + 1e-9))
    first = max(first, math.ceil(high / step - 1e-9) - steps)
    first = min(max(first, 0), last - steps)
    return [round((first + at) * step, 4) for at in range(steps + 1)]


def score_ticks(ticks: Sequence[float], scale: Scale) -> tuple[Tick, ...]:
    """The ticks of an axis of scores."""
    return tuple(Tick(at=scale.at(tick), text=f"{tick:.2f}") for tick in ticks)


def percent(share: float) -> float:
    """A share of the width in per cent."""
    return round(100 * share, 3)


def dots(points: Iterable[tuple[float, float]]) -> str:
    """Path data of a dot per point: strokes without length, which round caps make visible."""
    return "".join(f"M{_across(x)} {y}h0" for x, y in points)


def line(points: Points, half: float) -> str:
    """Path data of a line that begins and ends half a night beside its points."""
    return "M" + "L".join(f"{_across(x)} {y}" for x, y in _ends(points, half)) if points else ""


def area(upper: Points, lower: Points, half: float) -> str:
    """Path data of what lies between two lines over the same nights."""
    back = "".join(f"L{_across(x)} {y}" for x, y in reversed(_ends(lower, half)))
    return f"{line(upper, half)}{back}Z" if upper else ""


def _across(share: float) -> float:
    return round(BOX * share, 1)


def _ends(points: Points, half: float) -> list[tuple[float, float]]:
    if not points:
        return []
    (first, start), (last, end) = points[0], points[-1]
    return [(first - half, start), *points, (last + half, end)]
