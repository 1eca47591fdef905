"""The page of a probe study: self-contained, without script, readable in light and dark.

Names of judges and rubrics, ids of questions and passages of answers are hostile until shown
otherwise: every value that the template prints is escaped, with hidden characters made visible.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment

from judge.figures import signed
from judge.probes._catalogue import Family
from judge.report import content_security_policy, page_environment, page_style

Fields: TypeAlias = Mapping[str, Any]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_WIDTH, _LEFT, _RIGHT, _ROW, _HEAD = 760.0, 290.0, 28.0, 20.0, 26.0
_TICKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Whisker:
    """One criterion under one probe in the forest plot; places are SVG units.

    ``margin`` is the band in which the shift is to lie, cut to the axis. ``beyond`` says on which
    sides the interval leaves the axis.
    """

    y: float
    criterion: str
    x: float
    low: float
    high: float
    margin: tuple[float, float]
    beyond: tuple[bool, bool]
    outcome: str
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """The rows of one probe, under its title."""

    title: str
    y: float
    rows: tuple[Whisker, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Forest:
    """A forest plot: blocks, ticks (place, label) and size."""

    blocks: tuple[Block, ...]
    ticks: tuple[tuple[float, str], ...]
    zero: float
    width: float
    height: float
    reach: float


def render_html(report: Fields) -> str:
    """The page of what `probe.json` holds. A missing field raises jinja2.UndefinedError."""
    probes = report["probes"]
    return (
        _environment()
        .get_template("probe.html.j2")
        .render(
            report=report,
            study=report["study"],
            probes=probes,
            names={entry["criterion"]: entry["name"] for entry in report["criteria"]},
            forests=[
                (heading, forest)
                for family, heading in (
                    (Family.BIAS, "Changes that deserve nothing"),
                    (Family.SENSITIVITY, "Changes for the worse"),
                )
                if (forest := forest_of(probes, report["criteria"], family)) is not None
            ],
            by_name={entry["probe"]: entry for entry in probes},
            policy=content_security_policy(),
            style=page_style(_TEMPLATES, "probe.css"),
        )
    )


def forest_of(
    probes: Sequence[Fields], criteria: Sequence[Fields], family: Family
) -> Forest | None:
    """The forest plot of a family; None where no probe of it has a shift that is judged.

    The axis is symmetric and reaches to the farthest shift; intervals beyond it get an arrow.
    """
    shown = [
        (entry, rows)
        for entry in probes
        if entry["family"] == family
        and (rows := [row for row in entry.get("criteria", ()) if _is_judged(row)])
    ]
    if not shown:
        return None
    farthest = max(abs(row["value"]) for _, rows in shown for row in rows)
    reach = next(size for size in (0.1, 0.2, 0.4, 0.6, 1.0) if size >= min(1.0, 1.1 * farthest))
    names = {entry["criterion"]: entry["name"] for entry in criteria}
    blocks = []
    y = _HEAD
    for entry, rows in shown:
        top = y
        y += _ROW
        whiskers = []
        for row in rows:
            whiskers.append(_whisker(row, names[row["criterion"]], y, reach))
            y += _ROW
        blocks.append(Block(title=entry["title"], y=top, rows=tuple(whiskers)))
        y += _ROW / 2
    ticks = [reach * (2 * step / _TICKS - 1) for step in range(_TICKS + 1)]
    return Forest(
        blocks=tuple(blocks),
        ticks=tuple((_across(tick, reach), signed(tick, 2)) for tick in ticks),
        zero=_across(0.0, reach),
        width=_WIDTH,
        height=y + _HEAD,
        reach=reach,
    )


def _is_judged(row: Fields) -> bool:
    return row["value"] is not None and row["outcome"] is not None


def _whisker(row: Fields, name: str, y: float, reach: float) -> Whisker:
    low, high = row["margin"]
    return Whisker(
        y=y + _ROW / 2,
        criterion=name,
        x=_across(row["value"], reach),
        low=_across(row["low"], reach),
        high=_across(row["high"], reach),
        margin=(
            _across(-reach if low is None else low, reach),
            _across(reach if high is None else high, reach),
        ),
        beyond=(row["low"] < -reach, row["high"] > reach),
        outcome=row["outcome"],
        words=f"{signed(row['value'])} {bounds(row)}, {row['outcome']}; wanted: {row['wanted']}",
    )


def _across(value: float, reach: float) -> float:
    """The place of a shift on the axis, cut to its ends."""
    share = (min(max(value, -reach), reach) + reach) / (2 * reach)
    return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def bounds(row: Fields, digits: int = 3) -> str:
    """The interval of a shift."""
    if row["low"] is None:
        return "no interval"
    return f"[{signed(row['low'], digits)}, {signed(row['high'], digits)}]"


def share(value: float | None) -> str:
    """A share in per cent, to the tenth."""
    return "–" if value is None else f"{100 * value:.1f}\u202f%"


def heat(value: float | None) -> str:
    """The background of a heat-map cell: stronger the farther from 0; blue falls, red rises."""
    if value is None:
        return ""
    hue = "var(--fall)" if value < 0 else "var(--rise)"
    strength = round(100 * min(1.0, abs(value) / 0.6) ** 0.7)
    return f"background:color-mix(in srgb, {hue} {strength}%, transparent)"


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.filters |= {"signed": signed, "bounds": bounds, "share": share, "heat": heat}
    return environment
