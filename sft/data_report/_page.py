"""The data report as one HTML file: nothing is fetched, and it holds no script.

Names, paths, texts and notes are hostile until shown otherwise; what keeps them harmless is said
in `judge.report.page_environment`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment

from judge.report import content_security_policy, page_environment, page_style
from sft.data_report import _formats as formats
from sft.data_report import _tables as tables
from sft.data_report._blends import blend_views, comparison
from sft.data_report._charts import (
    HEIGHT,
    UNKNOWN,
    Group,
    Series,
    flow_bars,
    groups,
    histograms,
    language_names,
    language_stacks,
)
from sft.data_report._flow import flow, sums
from sft.data_report._texts import differences, revealed

Fields: TypeAlias = Mapping[str, Any]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_STYLES = ("data_report.css", "charts.css", "media.css")

_EMPTY: Mapping[str, Any] = {
    "personal_data": None,
    "duplicates": (),
    "contamination": (),
    "languages": (),
    "lengths": None,
    "blends": (),
    "tokeniser": None,
    "quarantine": None,
    "notes": (),
}
"""What parts of a report count as where they are null or missing: steps that did not run."""


def render_data_report(report: Mapping[str, Any]) -> str:
    """The data report as a self-contained HTML page.

    ``report`` is what ``report.json`` holds. Its ``report``, ``sources`` and ``steps`` must be
    there; parts of steps that did not run may be null or missing. Where numbers that should agree
    do not, the page says so at its top. The page is a function of ``report`` alone. A missing
    field raises KeyError or jinja2.UndefinedError.
    """
    report = {**report, **{n: report.get(n) or empty for n, empty in _EMPTY.items()}}
    names = [source["name"] for source in report["sources"]]
    steps = flow(report)
    views = blend_views(report)
    length = report["tokeniser"] and report["tokeniser"]["length"]
    stacks, legend = language_stacks(report["languages"], names)
    page = _environment().get_template("data_report.html.j2")
    return page.render(
        report=report,
        run=report["report"],
        sources=report["sources"],
        names=names,
        steps=steps,
        by_step={step.name: step for step in steps},
        sums=sums(report, steps),
        flow=flow_bars(steps),
        finds=_finds(report, names),
        twins=tables.twins(report["duplicates"], names),
        stacks=stacks,
        legend=legend,
        languages=_languages(report, names),
        histograms=histograms(report["lengths"], names, length) if report["lengths"] else [],
        histogram_height=HEIGHT,
        length=length,
        views=views,
        compared=comparison(views, names),
        cost=[(view, _hours(view.fields["estimate"])) for view in views if view.fields["estimate"]],
        kept=sum(source["kept"] for source in report["sources"]),
        style=page_style(_TEMPLATES, *_STYLES),
        policy=content_security_policy(),
    )


def _finds(report: Fields, names: Sequence[str]) -> tables.Matrix | None:
    found = report["personal_data"]
    return found and tables.finds(found["by_source"], found["kinds"], names)


def _languages(report: Fields, names: Sequence[str]) -> tables.Matrix:
    """Kept rows by source and language, with shares of the source's rows."""
    entries = [{**e, "language": e["language"] or UNKNOWN} for e in report["languages"]]
    kept = {source["name"]: source["kept"] for source in report["sources"]}
    matrix = tables.by_source(entries, "language", "rows", names, kept)
    order = language_names(entries)
    assert set(order) == set(matrix.columns)
    return matrix


def _hours(estimate: Sequence[Fields]) -> list[Group]:
    """One bar of hours per model and accelerator."""
    return groups(
        [
            Series(
                name="",
                short="",
                values={
                    f"{e['model']}, {e['count']} × {e['accelerator']}": (
                        e["hours"],
                        formats.hours(e["hours"]),
                        None,
                    )
                    for e in estimate
                },
            )
        ]
    )


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.globals |= {
        "by_source": tables.by_source,
        "counted": formats.counted,
        "differences": differences,
        "share_of": formats.share_of,
    }
    environment.filters |= {
        "compact": formats.compact,
        "duration": formats.duration,
        "hours": formats.hours,
        "number": formats.number,
        "points": formats.points,
        "revealed": revealed,
        "share": formats.share,
        "size": formats.size,
        "when": formats.when,
        "words": formats.words,
    }
    return environment
