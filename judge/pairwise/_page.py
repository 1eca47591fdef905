"""A pairwise result as one HTML file: nothing is fetched, and there is no script.

Every value that the template prints is escaped, with hidden characters made visible, as in every
page (see `judge.report.page_environment`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from judge import figures
from judge.report import content_security_policy, page_environment, page_style

TICKS = (-1.0, -0.5, 0.0, 0.5, 1.0)

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def render_page(report: Mapping[str, Any]) -> str:
    """The result (see `comparison`) as a self-contained page.

    A missing field raises jinja2.UndefinedError or KeyError.
    """
    first, second = report["run"]["models"]
    names = {entry["criterion"]: entry["name"] for entry in report["criteria"]}
    return (
        _environment()
        .get_template("pairwise.html.j2")
        .render(
            report=report,
            run=report["run"],
            first=first,
            second=second,
            names=names | {"overall": "Overall"},
            entries=[*report["pairwise"][-1:], *report["pairwise"][:-1]],
            ticks=TICKS,
            policy=content_security_policy(),
            style=page_style(_TEMPLATES, "pairwise.css"),
        )
    )


def signed(value: float | None, digits: int = 3) -> str:
    """A preference or direction with its sign, e.g. "+0.250"; zero has none."""
    return "none" if value is None else figures.signed(value, digits)


def share(value: float | None) -> str:
    """A share in per cent; 100.0 and 0.0 are printed only where they are exact."""
    if value is None:
        return "none"
    tenths = round(1000 * value)
    if 0 < value < 1:
        tenths = min(max(tenths, 1), 999)
    return f"{tenths // 10}.{tenths % 10}\u202f%"


def across(value: float) -> str:
    """The place of a value in [-1, 1] on the axis of the plot, e.g. 0.5 is "75%"."""
    if not -1 <= value <= 1:
        raise ValueError(f"{value} does not lie on the axis from -1 to 1")
    return f"{50 * (value + 1):.2f}".rstrip("0").rstrip(".") + "%"


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.filters |= {
        "signed": signed,
        "share": share,
        "across": across,
        "words": lambda name: name.replace("_", " "),
    }
    return environment
