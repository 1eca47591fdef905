"""Geometry and steps of the heat map, the differences and the scatter plots.

Places across are per cent of the width, as in the dot plot. The template draws what is computed
here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

STEPS = 10
"""Shades of the heat map between 0 and 1 (``h0``..``h10``), and of a difference on either side."""

_SPANS = (0.05, 0.1, 0.2, 0.25, 0.5, 1.0)
_SIGNS = {"unscored": "u", "open": "o", "not_applicable": "n", "absent": "a"}
_LENGTH_TICKS = (1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
WIDTH, HEIGHT = 200, 110
"""Size of a scatter plot in its own units."""

Fields = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell of the heat map: its class, and its value or None."""

    shade: str
    value: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatRow:
    """One question of a heat map."""

    question_id: str
    number: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """One view: of a model (by index), of the mean of all, or of the difference of the first two.

    ``groups`` are (category or None, rows).
    """

    kind: str
    model: int | None
    groups: tuple[tuple[str | None, tuple[HeatRow, ...]], ...]


def heat_maps(heatmap: Fields) -> list[HeatMap]:
    """The views of the heat map: mean and difference where there are several models, then each."""
    rows, n = heatmap["rows"], len(heatmap["models"])
    views: list[tuple[str, int | None]] = [("mean", None), ("difference", None)] if n > 1 else []
    views += [("model", at) for at in range(n)]
    return [
        HeatMap(kind=kind, model=model, groups=_grouped(rows, kind, model)) for kind, model in views
    ]


def _grouped(
    rows: Sequence[Fields], kind: str, model: int | None
) -> tuple[tuple[str | None, tuple[HeatRow, ...]], ...]:
    groups: dict[str | None, list[HeatRow]] = {}
    for row in rows:
        scores, states = row["scores"], row["states"]
        if kind == "mean":
            cells = [
                _mean_cell([of[at] for of in scores], [of[at] for of in states])
                for at in range(len(scores[0]))
            ]
        elif kind == "difference":
            pairs = zip(scores[0], scores[1], states[0], states[1], strict=True)
            cells = [_difference_cell(*pair) for pair in pairs]
        else:
            assert model is not None
            cells = [
                _score_cell(score, state)
                for score, state in zip(scores[model], states[model], strict=True)
            ]
        groups.setdefault(row["category"], []).append(
            HeatRow(question_id=row["question_id"], number=row["number"], cells=tuple(cells))
        )
    return tuple((category, tuple(members)) for category, members in groups.items())


def _score_cell(score: float | None, state: str) -> Cell:
    if score is None:
        return Cell(shade=_SIGNS[state], value=None)
    partly = " p" if state == "partly" else ""
    return Cell(shade=f"h{round(STEPS * score)}{partly}", value=score)


def _mean_cell(scores: Sequence[float | None], states: Sequence[str]) -> Cell:
    """The mean of the models that have a score; marked where one that should have one lacks it."""
    known = [score for score in scores if score is not None]
    complete = all(state in ("scored", "not_applicable") for state in states)
    if known:
        return _score_cell(sum(known) / len(known), "scored" if complete else "partly")
    order = ("unscored", "open", "not_applicable", "absent")
    return _score_cell(None, next(state for state in order if state in states))


def _difference_cell(one: float | None, other: float | None, state: str, beside: str) -> Cell:
    if one is None or other is None:
        order = ("unscored", "open", "absent", "not_applicable")
        return Cell(shade=_SIGNS[next(s for s in order if s in (state, beside))], value=None)
    value = one - other
    step = math.copysign(math.ceil(abs(value) * 5 - 1e-9), value) if value else 0
    partly = " p" if "partly" in (state, beside) else ""
    return Cell(shade=f"d{step:.0f}{partly}".replace("d-0", "d0"), value=value)


def shade_of(value: float | None) -> str:
    """The class of a correlation or difference in [-1, 1]."""
    return "a" if value is None else _difference_cell(value, 0.0, "scored", "scored").shade


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A difference on its axis from -span to span; ``x`` is None where there is none."""

    x: str | None
    low: str | None
    high: str | None


def span_of(entries: Sequence[Fields], name: str = "value") -> float:
    """Half the width of an axis that shows all these values and their intervals."""
    values = [
        abs(entry[field]) for entry in entries for field in (name, "low", "high")
        if entry[field] is not None
    ]  # fmt: skip
    largest = max(values, default=0.0)
    return next((span for span in _SPANS if span >= largest), math.ceil(largest))


def bar(entry: Fields, span: float, name: str = "value") -> Bar:
    """Where a difference and its interval stand on the axis from -span to span."""

    def place(value: float | None) -> str | None:
        if value is None:
            return None
        share = min(max((value + span) / (2 * span), 0.0), 1.0)
        return f"{100 * share:.2f}".rstrip("0").rstrip(".") + "%"

    return Bar(x=place(entry[name]), low=place(entry["low"]), high=place(entry["high"]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scatter:
    """The scores on one criterion against the length: a path of dots and a line per model.

    ``dots`` and ``lines`` are (model index, path); a line is there where the slope is known.
    """

    criterion: str
    dots: tuple[tuple[int, str], ...]
    lines: tuple[tuple[int, str], ...]


def length_ticks(words: Sequence[int]) -> list[tuple[float, int]]:
    """(place, words) of the ticks across, for a scale of log(words) over these lengths."""
    low, high = _length_range(words)
    inside = [tick for tick in _LENGTH_TICKS if low <= math.log(tick) <= high]
    kept = inside[:: max(1, math.ceil(len(inside) / 4))]
    return [(round(_across(math.log(tick), low, high), 1), tick) for tick in kept]


def scatters(report: Fields) -> list[Scatter]:
    """One scatter plot per criterion, over all scored answers."""
    answers = [answer for question in report["questions"] for answer in question["answers"]]
    low, high = _length_range([answer["words"] for answer in answers])
    plots = []
    for at, slope in enumerate(report["length"]["slopes"]):
        dots, lines = [], []
        for index, model in enumerate(report["models"]):
            points = np.array(
                [
                    (math.log(answer["words"]), answer["verdicts"][at]["score"])
                    for answer in answers
                    if answer["model"] == model
                    and answer["words"]
                    and answer["verdicts"][at]["score"] is not None
                ]
            )
            if not len(points):
                continue
            dots.append((index, "".join(_dot(x, y, low, high) for x, y in points)))
            if slope["slope"] is not None:
                lines.append((index, _line(points, slope, low, high)))
        plots.append(Scatter(criterion=slope["criterion"], dots=tuple(dots), lines=tuple(lines)))
    return plots


def _length_range(words: Sequence[int]) -> tuple[float, float]:
    logs = [math.log(count) for count in words if count] or [0.0]
    low, high = min(logs), max(logs)
    margin = max(0.05 * (high - low), 0.1)
    return low - margin, high + margin


def _across(x: float, low: float, high: float) -> float:
    return WIDTH * (x - low) / (high - low)


def _up(score: float) -> float:
    return HEIGHT - 5 - (HEIGHT - 10) * score


def _dot(x: float, y: float, low: float, high: float) -> str:
    return f"M{_across(x, low, high):.1f} {_up(y):.1f}h0"


def _line(points: Any, slope: Fields, low: float, high: float) -> str:
    """The line of the common slope through a model's mean, over the lengths that it has."""
    x, y = points.mean(axis=0)
    ends = (points[:, 0].min(), points[:, 0].max())
    path = []
    for end in ends:
        value = y + slope["slope"] / slope["spread"] * (end - x)
        path.append(f"{_across(end, low, high):.1f} {_up(min(max(value, 0.0), 1.0)):.1f}")
    return f"M{path[0]}L{path[1]}"
