"""The report as one HTML file: nothing is fetched, and it reads without JavaScript.

Texts of models, judges and question sets are hostile until shown otherwise. Every value that the
templates print passes two steps that no template can forget: `visible` (control characters and
direction overrides become signs one can see) and HTML escaping. The content security policy lets
exactly one script run, named by its hash, and nothing load.
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from unicodedata import normalize

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from judge.records import Reason
from judge.report._data import UNCALIBRATED
from judge.report._plot import COLOURS, SHAPES, TICKS, across, dot_rows

Fields: TypeAlias = Mapping[str, Any]

LOW_COVERAGE = 0.95
"""Below this share of scored answers, a table flags the estimate."""

REASONS: Mapping[str, str] = {
    Reason.REFUSED: "the judge declined to judge",
    Reason.FILTERED: "a content filter of the endpoint stepped in",
    Reason.TRUNCATED: "the judge's reply reached the token limit",
    Reason.INVALID: "the reply was not a verdict in the required form",
    Reason.OUT_OF_RANGE: "the reply named a level that the rubric does not have",
    Reason.FABRICATED_EVIDENCE: "the reply quoted words that the answer does not contain",
    Reason.LOW_ALLOWED_MASS: "the judge put too little probability on the rubric's levels",
    Reason.CANNOT_ASSESS: "the judge said that it cannot tell from what it was given",
    "open": "no reply yet; run the same command again",
}
"""What each reason for a missing verdict means, in the order in which tables show them."""

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_LONG_CHARACTERS, _LONG_LINES = 900, 14
_HIDDEN = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"  # controls, but not tab and line ends
    "\u202a-\u202e\u2066-\u2069"  # direction embeddings, overrides and isolates
    "\ufff9-\ufffb\ufffe\uffff\ud800-\udfff"  # annotation marks, noncharacters, lone surrogates
    "\U000e0000-\U000e007f]"  # tags: invisible letters
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of an answer and the names of the criteria whose evidence covers it."""

    text: str
    criteria: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRow:
    """How many verdicts of a model on a criterion are missing, and in which questions.

    ``counts`` is reason → number, "open" included; ``places`` holds (number, id) of questions.
    """

    model: int
    criterion: str
    counts: Mapping[str, int]
    places: tuple[tuple[int, str], ...]


def render_html(report: Mapping[str, Any]) -> str:
    """The report as a self-contained HTML page.

    ``report`` is what the JSON report holds. Models keep the order of ``report["models"]`` in every
    table and plot. A missing field raises jinja2.UndefinedError or KeyError.
    """
    estimates = {(e["model"], e["criterion"]): e for e in report["estimates"]}
    names = {c["criterion"]: c["name"] for c in report["criteria"]} | {"overall": "Overall"}
    ordered = [("overall", "Overall"), *((c["criterion"], c["name"]) for c in report["criteria"])]

    def estimate(model: str, criterion: str) -> Fields | None:
        return estimates.get((model, criterion))

    script = _source("report.js")
    missing = _missing_rows(report, estimates)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            report=report,
            run=report["run"],
            models=report["models"],
            names=names,
            estimate=estimate,
            plot=dot_rows(report["models"], ordered, estimate),
            shapes=SHAPES,
            ticks=[(across(tick), f"{tick:g}") for tick in TICKS],
            colours=COLOURS,
            missing=missing,
            reasons=[r for r in REASONS if any(row.counts.get(r) for row in missing)],
            explained=REASONS,
            low_coverage=LOW_COVERAGE,
            categories=_distinct(q["category"] for q in report["questions"]),
            repeated=any(e["n_answers"] != e["n_questions"] for e in report["estimates"]),
            rated=any(e["n_ratings"] for e in report["estimates"]),
            standing=_standing(report),
            style=Markup(_source("report.css")),  # noqa: S704 - a file of ours
            script=Markup(script),  # noqa: S704 - a file of ours, pinned by the policy
            policy=content_security_policy(script),
        )
    )


def _standing(report: Fields) -> list[str]:
    """The notes near the top; without a calibration, what the intervals lack comes first."""
    notes = list(report["notes"])
    if report.get("calibration") is None and UNCALIBRATED not in notes:
        notes.insert(0, UNCALIBRATED)
    return notes


def content_security_policy(script: str) -> str:
    """The policy under which only this inline script runs and nothing is loaded."""
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"
    )


def visible(value: object) -> object:
    """A text with its hidden characters shown, e.g. NUL as "⟦U+0000⟧".

    Other values, and markup made by the templates, are returned as they are.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _HIDDEN.sub(_sign, value)


def _sign(match: re.Match[str]) -> str:
    return f"⟦U+{ord(match[0]):04X}⟧"


def marked(answer: str, quotes: Sequence[tuple[str, str]]) -> list[Piece]:
    """The answer in pieces, so that evidence in it can be marked.

    ``quotes`` are (criterion name, quote). A quote is marked where it first stands in the answer,
    white space and Unicode composition not counting (the rule by which verdicts accept evidence).
    Quotes that the answer lacks mark nothing; quotes may overlap.
    """
    text = normalize("NFC", answer)
    spans = []
    folded, places = _folded(text) if quotes else ("", [])
    for name, quote in quotes:
        wanted = _plain(quote)
        at = folded.find(wanted)
        if wanted and at >= 0:
            spans.append((places[at], places[at + len(wanted) - 1] + 1, name))
    cuts = sorted({0, len(text), *(edge for span in spans for edge in span[:2])})
    return [
        Piece(
            text=text[start:end],
            criteria=tuple(_distinct(n for low, high, n in spans if low <= start and end <= high)),
        )
        for start, end in pairwise(cuts)
    ]


def _plain(text: str) -> str:
    """The text composed (NFC), every run of white space one space."""
    return " ".join(normalize("NFC", text).split())


def _folded(text: str) -> tuple[str, list[int]]:
    """The text with every run of white space one space, and where each character stood."""
    parts: list[str] = []
    places: list[int] = []
    for match in re.finditer(r"\S+|\s+", text):
        if match[0].isspace():
            parts.append(" ")
            places.append(match.start())
        else:
            parts.append(match[0])
            places.extend(range(match.start(), match.end()))
    return "".join(parts), places


def _quotes(answer: Fields, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """(criterion name, quote) of all evidence that the verdicts on an answer give."""
    return [
        (names.get(verdict["criterion"], verdict["criterion"]), quote)
        for verdict in answer["verdicts"]
        for quote in verdict["evidence"]
    ]


def _absent(quote: str, answer: str) -> bool:
    """Whether the answer lacks a quote (possible only in imported verdicts)."""
    return _plain(quote) not in _plain(answer)


def _missing(verdicts: Iterable[Fields]) -> list[Fields]:
    """The verdicts that were wanted and carry no score."""
    return [v for v in verdicts if v["status"] not in ("scored", "not_applicable")]


def _counts(estimate: Fields) -> dict[str, int]:
    """Reason → number of missing verdicts of an estimate, "open" included, none left at 0."""
    counts = {**estimate["unscored"], "open": estimate["open"]}
    return {reason: n for reason, n in counts.items() if n}


def _missing_rows(
    report: Fields, estimates: Mapping[tuple[str, str], Fields]
) -> tuple[MissingRow, ...]:
    """One row for each model and criterion that lacks verdicts, in the order of the report."""
    places: dict[tuple[str, str], dict[tuple[int, str], None]] = defaultdict(dict)
    for number, question in enumerate(report["questions"], 1):
        for answer in question["answers"]:
            for verdict in _missing(answer["verdicts"]):
                at = (answer["model"], verdict["criterion"])
                places[at][number, question["question_id"]] = None
    return tuple(
        MissingRow(
            model=index,
            criterion=criterion["name"],
            counts=counts,
            places=tuple(places[model, criterion["criterion"]]),
        )
        for index, model in enumerate(report["models"])
        for criterion in report["criteria"]
        if (found := estimates.get((model, criterion["criterion"]))) and (counts := _counts(found))
    )


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The values without repetition and without None, in the order of their first appearance."""
    return list(dict.fromkeys(value for value in values if value is not None))


def _grouped(groups: Sequence[Fields], by: str) -> dict[str, dict[str, Fields]]:
    """Group → model → estimate, for the groups of one kind."""
    table: dict[str, dict[str, Fields]] = {}
    for entry in groups:
        if entry["by"] == by:
            table.setdefault(entry["group"], {})[entry["model"]] = entry
    return table


def _score(value: float | None, digits: int = 3) -> str:
    return "unscored" if value is None else f"{value:.{digits}f}"


def _bounds(estimate: Fields) -> str:
    """The interval, e.g. "[0.761, 0.853]"; "no interval" where there is none."""
    if estimate["low"] is None or estimate["high"] is None:
        return "no interval"
    return f"[{estimate['low']:.3f}, {estimate['high']:.3f}]"


def _interval(estimate: Fields | None) -> str:
    """Value and interval in words for a screen reader or a tooltip."""
    if estimate is None or estimate["value"] is None:
        return "unscored"
    return f"{_score(estimate['value'])} {_bounds(estimate)}"


def _percent(share: float) -> str:
    """A share in per cent, rounded down: 100 % is printed only where nothing is missing."""
    tenths = math.floor(1000 * share + 1e-9)
    return f"{tenths // 10}.{tenths % 10}\u202f%" if tenths % 10 else f"{tenths // 10}\u202f%"


def _confidence(estimates: Sequence[Fields]) -> list[str]:
    """What the intervals are, one line for each kind that occurs."""
    about = {
        "population": "about questions like these",
        "fixed_set": "about exactly these questions",
    }
    return _distinct(
        f"{_percent(e['confidence'])} intervals, method {e['method']}, estimand {e['estimand']}"
        + (f" ({about[e['estimand']]})" if e["estimand"] in about else "")
        for e in estimates
    )


def _when(stamp: str) -> str:
    """An ISO date-time for people, e.g. "21 November 2026, 00:30 UTC"; other text as it is."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    if moment.tzinfo is None:
        return f"{moment.day} {moment:%B %Y, %H:%M}"
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def _is_long(text: str) -> bool:
    """Whether a text is clamped until the reader asks for all of it."""
    return len(text) > _LONG_CHARACTERS or text.count("\n") > _LONG_LINES


@cache
def _source(name: str) -> str:
    return (_TEMPLATES / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "absent_from": _absent,
        "bounds": _bounds,
        "confidence": _confidence,
        "counts": _counts,
        "grouped": _grouped,
        "interval": _interval,
        "is_long": _is_long,
        "marked": marked,
        "missing": _missing,
        "percent": _percent,
        "quotes": _quotes,
        "score": _score,
        "thousands": lambda number: f"{number:,}",
        "when": _when,
        "words": lambda name: name.replace("_", " "),
    }
    return environment
