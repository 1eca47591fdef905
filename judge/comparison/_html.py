"""A comparison as one HTML file: nothing is fetched, and there is no script."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment

from judge.comparison import _words as words
from judge.comparison._plots import HEIGHT, WIDTH, balance_plot, curve_plot
from judge.comparison._words import Fields
from judge.figures import number, signed
from judge.records import OVERALL
from judge.report import content_security_policy, page_environment, page_style

_TEMPLATES = Path(__file__).resolve().parent / "templates"


def render_html(body: Fields) -> str:
    """The comparison (see `comparison_body`, `table_body`) as a self-contained page."""
    cells, names = words.cells(body), words.names_of(body)
    blends = body["trends"]["blends"]
    return (
        _environment()
        .get_template("comparison.html.j2")
        .render(
            body=body,
            names=names,
            models=[one["model"] for one in body["models"]],
            cells=cells,
            pairs=list(dict.fromkeys((d["model"], d["other"]) for d in body["differences"])),
            wide=[OVERALL, *(name for name in names if name != OVERALL)],
            gaps={(d["criterion"], d["model"], d["other"]): d for d in body["differences"]},
            curves=_curves(body, cells),
            balance=None if blends is None else balance_plot(blends),
            lead=words.lead(body),
            offline=words.OFFLINE if body["offline"] else None,
            decisions_basis=words.decisions_basis(body),
            banner=words.BANNER if body["synthetic"] else None,
            basis=words.BASES[body["basis"]],
            width=WIDTH,
            height=HEIGHT,
            policy=content_security_policy(),
            style=page_style(_TEMPLATES, "comparison.css"),
        )
    )


def _curves(body: Fields, cells: Mapping[tuple[str, str], Fields]) -> list[dict[str, Any]]:
    """Curves with their plot of the overall, by epoch and then by size."""
    found = []
    for kind in ("epochs", "sizes"):
        for curve in body["trends"][kind]:
            optimum = next((o for o in curve["optima"] if o["criterion"] == OVERALL), None)
            estimates = [cells.get((OVERALL, model)) for model in curve["models"]]
            plot = curve_plot(curve, estimates, sizes=kind == "sizes", optimum=optimum)
            found.append({"kind": kind, "curve": curve, "plot": plot, "optimum": optimum})
    return found


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.filters |= {
        "number": number,
        "signed": signed,
        "percent": words.percent,
    }
    environment.globals |= {
        "bounds": words.bounds,
        "counted": words.counted,
        "facts_line": words.facts_line,
        "optimum_sentence": words.optimum_sentence,
        "brevity_sentence": words.brevity_sentence,
        "pair_sentence": words.pair_sentence,
    }
    return environment
