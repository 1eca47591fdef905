"""The calibration report as one HTML file: nothing is fetched, and it holds no script.

Names and texts are hostile until shown otherwise; what keeps them harmless is said in
`judge.report.page_environment`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

import judge.report
from judge.calibration import Doubt
from judge.calibration_report import _plots as plots
from judge.calibration_report import _view as view
from judge.calibration_report import _words as words
from judge.figures import signed
from judge.records import OVERALL
from judge.report import (
    COLOURS,
    SHAPES,
    Written,
    across,
    content_security_policy,
    dot_rows,
    page_environment,
    page_style,
    write_page,
)

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_HOUSE = Path(judge.report.__file__).resolve().parent / "templates"
_STYLES = (
    *(str(_HOUSE / name) for name in ("report.css", "charts.css", "narrow.css", "print.css")),
    "calibration.css",
)


def write_report(out: Path, data: Mapping[str, Any]) -> Written:
    """Write ``report.html`` and ``report.json`` into a folder, which is created if missing.

    ``data`` is that of `report_data`. Raises UsageError where they cannot be written.
    """
    return write_page(out, "report", render(data), data)


def render(data: Mapping[str, Any]) -> str:
    """The page of `report_data`; a function of it alone.

    A missing field raises jinja2.UndefinedError or KeyError.
    """
    names = {one["criterion"]: one["name"] for one in data["criteria"]}
    places = view.by_place(data["estimates"])
    ordered = sorted(names.items(), key=lambda one: one[0] != OVERALL)
    whole, others = view.budgets(data["estimates"])
    people = data["raters"]["people"]
    return (
        _environment()
        .get_template("calibration.html.j2")
        .render(
            data=data,
            names=names,
            doubts=_DOUBTS,
            models=data["models"],
            places=places,
            dots=dot_rows(data["models"], ordered, lambda m, c: places.get((m, c))),
            ticks=[(across(tick), f"{tick:g}") for tick in plots.TICKS],
            shapes=SHAPES,
            colours=COLOURS,
            plots=plots,
            view=view,
            kinds=view.kinds_of(data["maps"]),
            tables=view.residual_tables(data["residuals"]),
            parts=view.part_names(data["estimates"]),
            budgets=whole,
            other_budgets=others,
            severity_span=plots.span_of(people),
            most=view.MOST_ROWS,
            style=page_style(_TEMPLATES, *_STYLES),
            policy=content_security_policy(),
        )
    )


_DOUBTS = {
    Doubt.THRESHOLD: "the interval crosses a score that decides",
    Doubt.JUDGES_APART: "the judges lie farther apart than on 99 % of answers",
    Doubt.GUARD: "the answer is empty or tries to steer the judge",
    Doubt.SPLIT: "the judges are not of one mind on a criterion that must not fail",
    Doubt.EXTRAPOLATED: "the score lies outside the calibrated range",
}


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.globals |= {"counted": words.counted, "words": words}
    environment.filters |= {
        "bounds": words.bounds,
        "number": words.number,
        "percent": words.percent,
        "reason": words.reason,
        "signed": signed,
        "thousands": lambda n: f"{n:,}",
        "why": view.known_reason,
    }
    return environment
