"""The page of the miniature: one HTML file that loads nothing and runs no script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from judge.report import content_security_policy, page_environment, page_style
from sft.miniature._plots import STYLES, exact_match_plot, loss_plot
from sft.miniature._settings import BASE, DOMAINS, TUNED
from sft.miniature._statistics import share_of, written
from sft.miniature._table import cells, heads

Fields = Mapping[str, Any]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_HOUSE = _TEMPLATES.parent.parent / "data_report" / "templates"
"""Where the style of all pages of `sft` lies."""


def render_page(results: Fields) -> str:
    """The page, a function of what ``results.json`` holds."""
    summary = results["summary"]
    return (
        _environment()
        .get_template("miniature.html.j2")
        .render(
            results=results,
            exact=exact_match_plot(summary),
            losses=[loss_plot(summary, domain) for domain in DOMAINS],
            styles=STYLES,
            heads=heads(),
            rows=[(entry["blend"], entry["epoch"], cells(entry)) for entry in summary],
            kinds=_kinds(results["measurements"]),
            blends=(BASE, *TUNED),
            held_out={
                domain: results["measurements"][0]["points"][0][domain]["of"] for domain in DOMAINS
            },
            style=page_style(
                _TEMPLATES,
                *(str(_HOUSE / name) for name in ("data_report.css", "charts.css", "media.css")),
                "miniature.css",
            ),
            policy=content_security_policy(),
        )
    )


def _kinds(measurements: list[Fields]) -> list[tuple[str, list[str]]]:
    """(kind of task, exact match of base and of every blend after its last epoch)."""
    last = max(point["epoch"] for point in measurements[0]["points"])
    ends = {
        blend: [
            point
            for measurement in measurements
            for point in measurement["points"]
            if point["blend"] == blend and point["epoch"] == (0 if blend == BASE else last)
        ]
        for blend in (BASE, *TUNED)
    }
    kinds = [(d, task) for d in DOMAINS for task in ends[BASE][0][d]["by_task"]]
    return [
        (task, [_share([p[domain]["by_task"][task] for p in ends[blend]]) for blend in ends])
        for domain, task in kinds
    ]


def _share(tallies: list[Fields]) -> str:
    return written(share_of([tally["right"] / tally["of"] for tally in tallies]), signed=False)


@cache
def _environment() -> Environment:
    return page_environment(_TEMPLATES)
