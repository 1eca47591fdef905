"""The static site of a series: an index with the trend, and a page per night.

Nothing is fetched and no script runs. Names, reasons and ids are hostile until shown otherwise;
what keeps them harmless is said in `judge.report.page_environment`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment

from judge.drift import Night, Watch
from judge.errors import UsageError
from judge.figures import number, signed
from judge.nightly import _site_plots as plots
from judge.nightly import _site_words as words
from judge.nightly._plots import BOX
from judge.nightly._site_data import Fields, SiteFacts, series_body
from judge.report import content_security_policy, page_environment, page_style

GENERATOR = "Plumbline nightly"
"""What every page names in ``<meta name="generator">``: by it a page is known as one of ours."""

SHOWN = 400
"""Latest nights in the plots and tables of the index; ``series.json`` holds all of them."""
CHART = 60
"""Latest nights in the control charts of a night's page."""

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def write_site(
    out: Path,
    series: str,
    watches: Sequence[Watch],
    nights: Sequence[Night],
    *,
    extra: SiteFacts,
) -> Path:
    """Write ``index.html``, ``nights/DATE.html`` and ``series.json``; return the index.

    The folder is created if it is missing. Each file is there whole or as it was, and the index
    comes last, so that it never links to what is not there; a file that would not change is left
    alone. The same input gives the same bytes. ``nights`` may lack some of the watches' nights;
    what they would have shown is then left out. Raises UsageError where a file cannot be written,
    and ValueError where a date is no ISO date or comes twice.
    """
    _check([watch.date for watch in watches])
    body = series_body(series, watches, nights, extra)
    pages = _pages(body, extra.pages)
    try:
        (out / "nights").mkdir(parents=True, exist_ok=True)
        for at, night in enumerate(body["nights"]):
            if night["date"] in pages:
                _replace(out / "nights" / f"{night['date']}.html", _night(body, at, pages).encode())
        _replace(out / "series.json", orjson.dumps(body))
        _replace(out / "index.html", _index(body, pages).encode())
    except OSError as error:
        raise UsageError(
            f"{out}: the site cannot be written ({error.strerror}). Name another folder under "
            "`out` of the configuration."
        ) from error
    return out / "index.html"


def _check(dates: Sequence[str]) -> None:
    for one in dates:
        if not _DATE.fullmatch(one):
            raise ValueError(f"{one!r} is no date like 2026-03-01")
    if len(set(dates)) < len(dates):
        raise ValueError("a date has two nights")


def _pages(body: Fields, most: int | None) -> frozenset[str]:
    dates = [night["date"] for night in body["nights"]]
    return frozenset(dates if most is None else dates[max(len(dates) - most, 0) :])


def _replace(path: Path, content: bytes) -> None:
    if path.is_file() and path.read_bytes() == content:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def _index(body: Fields, pages: frozenset[str]) -> str:
    shown = body["nights"][-SHOWN:]
    happened = plots.events(body, body["nights"])
    kinds = dict.fromkeys(c["kind"] for night in shown for c in night["canaries"])
    return _render(
        "index.html.j2",
        body,
        pages,
        shown=shown,
        night=shown[-1] if shown else None,
        events=happened,
        trends=plots.trends(shown, body["metrics"], happened),
        evidence=plots.evidence_plot(shown, body["threshold"], happened),
        strip=plots.cells(shown) if shown else [],
        dates=plots.date_ticks(shown) if shown else (),
        canaries={kind: plots.control_plot(shown, kind, happened) for kind in kinds},
    )


def _night(body: Fields, at: int, pages: frozenset[str]) -> str:
    nights = body["nights"]
    night = nights[at]
    past = nights[max(at + 1 - CHART, 0) : at + 1]
    happened = plots.events(body, nights[: at + 1])
    dates = [one["date"] for one in nights]
    return _render(
        "night.html.j2",
        body,
        pages,
        night=night,
        span=plots.span_of(night["metrics"]),
        before=next((day for day in reversed(dates[:at]) if day in pages), None),
        after=next((day for day in dates[at + 1 :] if day in pages), None),
        canaries={
            one["kind"]: plots.control_plot(past, one["kind"], happened)
            for one in night["canaries"]
        },
        charted=len(past),
    )


def _render(template: str, body: Fields, pages: frozenset[str], **values: Any) -> str:
    return (
        _environment()
        .get_template(template)
        .render(
            body=body,
            names=body["names"],
            pages=pages,
            generator=GENERATOR,
            policy=content_security_policy(),
            style=page_style(_TEMPLATES, "nightly.css"),
            **values,
        )
    )


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.filters |= {
        "bounds": words.bounds,
        "day": words.day,
        "number": number,
        "percent": words.percent,
        "probability": words.probability,
        "ratio": words.ratio,
        "signed": signed,
    }
    environment.globals |= {"words": words, "plots": plots, "box": BOX}
    return environment
