"""Geometry of the page's charts.

Places across are per cent of the width, so that the same SVG fits a phone and a page without its
text shrinking; places down are CSS pixels. The templates draw what is computed here. Every bar has
words that say its numbers, and so has every chart as a whole.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sft.data_report._formats import counted, number, share, share_of
from sft.data_report._tables import ordered

Fields: TypeAlias = Mapping[str, Any]

COLOURS = 6
"""Colours of parts (``c0``..``c5`` in the style sheet); the last is for "other"."""

OTHER, UNKNOWN = "other", "not known"

LANE = 15
"""Height of one bar of several for the same thing, with its space."""

_NARROW = 290
"""Width of a bar in pixels on a phone, by which labels inside it are fitted."""

_CHARACTER = 7.2
"""Width of a character of such a label in pixels."""

HEIGHT = 72
"""Height of a histogram in pixels, without its axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of a bar. ``label`` is empty where it would not fit on a phone."""

    x: str
    width: str
    colour: int
    label: str
    centre: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A bar made of parts that fill it."""

    name: str
    rows: int
    parts: tuple[Part, ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One bar; ``target`` is where its length ought to end, None where nothing was planned."""

    y: int
    width: str
    short: str
    value: str
    target: str | None
    colour: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The bars of one name, one below the other."""

    name: str
    height: int
    lanes: tuple[Lane, ...]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A label on an axis and on which side of its place it stands."""

    x: str
    label: str
    anchor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Bars (x, width, y, height, words) of equal width, one per bin, and what they say.

    ``mark`` is the place of the sequence length, None where the axis does not reach it.
    """

    name: str
    samples: int
    bars: tuple[tuple[str, str, float, float, str], ...]
    ticks: tuple[Tick, ...]
    mark: str | None
    caption: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Values of one bar in every group: name → (value, text, target or None)."""

    name: str
    short: str
    values: Mapping[str, tuple[float, str, float | None]]


def place(part: float) -> str:
    """A share of the width, e.g. 0.812 is "81.2%"."""
    return f"{100 * part:.2f}".rstrip("0").rstrip(".") + "%"


def flow_bars(steps: Sequence[Any]) -> list[tuple[Any, str, str]]:
    """(step, width of what stays, width of what is removed) of every step, of the rows read."""
    whole = max((step.rows_in for step in steps), default=0) or 1
    return [
        (step, place(max(step.rows_out, 0) / whole), place(step.removed / whole)) for step in steps
    ]


def language_names(entries: Sequence[Fields]) -> list[str]:
    """All languages, the most frequent first; null is "not known" and stands last."""
    rows: Counter[str] = Counter()
    for entry in entries:
        rows[entry["language"] or UNKNOWN] += entry["rows"]
    return sorted(rows, key=lambda name: (name == UNKNOWN, -rows[name], name))


def language_stacks(
    entries: Sequence[Fields], sources: Sequence[str]
) -> tuple[list[Stack], list[str]]:
    """One bar per source, of its rows' languages, and the names of the colours.

    The most frequent languages of all rows have a colour each, the others share one.
    """
    names = language_names(entries)
    shown = names if len(names) <= COLOURS else names[: COLOURS - 1]
    counts: dict[str, Counter[str]] = {}
    for entry in entries:
        name = entry["language"] or UNKNOWN
        name = name if name in shown else OTHER
        counts.setdefault(entry["source"], Counter())[name] += entry["rows"]
    legend = [*shown, OTHER] if len(shown) < len(names) else list(shown)
    stacks = [_stack(name, counts[name], legend) for name in ordered(counts, sources)]
    return stacks, legend


def _stack(name: str, counts: Counter[str], legend: Sequence[str]) -> Stack:
    whole = counts.total()
    parts = []
    start = 0
    for colour, part in enumerate(legend):
        rows = counts[part]
        if not rows:
            continue
        percent = share_of(rows, whole)
        label = f"{part} {percent}"
        if len(label) * _CHARACTER + 6 > rows / whole * _NARROW:
            label = ""
        parts.append(
            Part(
                x=place(start / whole),
                width=place(rows / whole),
                colour=colour,
                label=label,
                centre=place((start + rows / 2) / whole),
                words=f"{part}: {counted(rows, 'row')}, {percent}",
            )
        )
        start += rows
    return Stack(
        name=name,
        rows=whole,
        parts=tuple(parts),
        words=f"{name}, {counted(whole, 'row')}. " + "; ".join(part.words for part in parts),
    )


def groups(series: Sequence[Series]) -> list[Group]:
    """Bars side by side: one group per name, in it one bar per series, all on one scale."""
    names = list(dict.fromkeys(name for one in series for name in one.values))
    largest = max(
        (max(value, target or 0.0) for s in series for value, _, target in s.values.values()),
        default=0.0,
    )
    scale = 1 / largest if largest > 0 else 0.0
    found = []
    for name in names:
        lanes: list[Lane] = []
        for index, one in enumerate(series):
            if name not in one.values:
                continue
            value, text, target = one.values[name]
            lead = f"{one.name}: " if one.name else ""
            lanes.append(
                Lane(
                    y=LANE * len(lanes) + 2,
                    width=place(scale * value),
                    short=one.short,
                    value=text,
                    target=None if target is None else place(scale * target),
                    colour=index % (COLOURS - 1),
                    words=f"{lead}{text}"
                    + ("" if target is None else f" (planned {share(target, 2)})"),
                )
            )
        found.append(
            Group(
                name=name,
                height=LANE * len(lanes) + 4,
                lanes=tuple(lanes),
                words=f"{name}. " + "; ".join(lane.words for lane in lanes),
            )
        )
    return found


def histograms(lengths: Fields, sources: Sequence[str], length: int | None) -> list[Histogram]:
    """Tokens per sample: all sources together, then each; bins are drawn equally wide."""
    edges = lengths["edges"]
    counts: dict[str, Sequence[int]] = {e["source"]: e["counts"] for e in lengths["counts"]}
    names = ordered(counts, sources)
    drawn = [(name, counts[name]) for name in names]
    if len(drawn) > 1:
        together = [sum(column) for column in zip(*counts.values(), strict=True)]
        drawn.insert(0, ("All sources", together))
    return [_histogram(name, values, edges, length) for name, values in drawn]


def _histogram(
    name: str, counts: Sequence[int], edges: Sequence[int], length: int | None
) -> Histogram:
    n, highest, whole = len(counts), max(counts, default=0), sum(counts)
    bars = []
    for at, count in enumerate(counts):
        height = round(HEIGHT * count / highest, 1) if highest else 0.0
        height = max(height, 1.0) if count else 0.0
        words = f"{_bin(edges, at)}: {counted(count, 'sample')}, {share_of(count, whole)}"
        bars.append((place((at + 0.04) / n), place(0.92 / n), HEIGHT - height, height, words))
    if not whole:
        caption = "No samples."
    else:
        peak = max(range(n), key=lambda at: counts[at])
        half, at = 0, -1
        while 2 * half < whole:
            at += 1
            half += counts[at]
        caption = (
            f"{counted(whole, 'sample')}; half have at most {counted(edges[at + 1], 'token')}; "
            f"the highest bar is {share_of(counts[peak], whole)}, {_bin(edges, peak)}."
        )
    return Histogram(
        name=name,
        samples=whole,
        bars=tuple(bars),
        ticks=_ticks(edges),
        mark=None if (reach := _across(length, edges)) is None else place(reach),
        caption=caption,
        words=f"{name}. {caption} "
        + "; ".join(words for (*_, words), c in zip(bars, counts, strict=True) if c),
    )


def _bin(edges: Sequence[int], at: int) -> str:
    """A bin in words; it holds its upper edge, and the lower one belongs to the bin before."""
    low, high = edges[at] + 1, edges[at + 1]
    return f"{number(low)} to {number(high)} tokens" if low < high else counted(high, "token")


def _across(tokens: int | None, edges: Sequence[int]) -> float | None:
    """Where a number of tokens lies on the axis, whose bins are equally wide; None beyond it."""
    n = len(edges) - 1
    if tokens is None or not edges[0] <= tokens <= edges[-1]:
        return None
    at = min(bisect_right(edges, tokens), n) - 1
    return (at + (tokens - edges[at]) / (edges[at + 1] - edges[at])) / n


def _ticks(edges: Sequence[int]) -> tuple[Tick, ...]:
    """Labels of a few edges, the first and the last among them."""
    n = len(edges) - 1
    step = max(1, math.ceil(n / 4))
    chosen = [at for at in range(0, n, step) if n - at >= step or at == 0] + [n]
    return tuple(
        Tick(
            x=place(at / n),
            label=number(edges[at]),
            anchor="start" if at == 0 else "end" if at == n else "middle",
        )
        for at in chosen
    )
