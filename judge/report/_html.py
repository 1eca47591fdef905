"""The report as one HTML file: nothing is fetched, and it reads without JavaScript.

What keeps hostile texts harmless is said, and done, in `judge.report._page`; the policy of this
page lets exactly one script run.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment
from markupsafe import Markup

from judge.records import Reason
from judge.report import _charts as charts
from judge.report._drill import is_gap
from judge.report._formats import Formats
from judge.report._marking import absent, distinct, is_long, marked, passages, quotes
from judge.report._page import content_security_policy, page_environment, page_style
from judge.report._plot import COLOURS, SHAPES, TICKS, across, dot_rows
from judge.report._texts import LANGUAGES, texts

Fields: TypeAlias = Mapping[str, Any]

LOW_COVERAGE = 0.95
"""Below this share of scored answers, a table flags the estimate."""

REASONS = (*(reason.value for reason in Reason), "open")
"""Why a verdict can be missing, in the order in which tables show the reasons."""

MOST_TEXT = 24_000_000
"""Characters of answers and verdicts that a page carries; beyond, questions show scores only."""

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_STYLES = ("report.css", "charts.css", "narrow.css", "print.css")


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
    """The report as a self-contained HTML page, in the language that the report names.

    ``report`` is what the JSON report holds. Models keep the order of ``report["models"]`` in every
    table and plot. A missing field raises jinja2.UndefinedError or KeyError.
    """
    formats = Formats(texts(report["report"]["language"]))
    overall = formats.words.get("words.overall")
    estimates = {(e["model"], e["criterion"]): e for e in report["estimates"]}
    ordered = [("overall", overall), *((c["criterion"], c["name"]) for c in report["criteria"])]

    def estimate(model: str, criterion: str) -> Fields | None:
        return estimates.get((model, criterion))

    script = (_TEMPLATES / "report.js").read_text("utf-8")
    missing = _missing_rows(report, estimates)
    page = _environment(formats.words.language).get_template("report.html.j2")
    return page.render(
        report=report,
        run=report["run"],
        models=report["models"],
        ordered=ordered,
        names=dict(ordered),
        estimate=estimate,
        plot=dot_rows(report["models"], ordered, estimate),
        shapes=SHAPES,
        ticks=[(across(tick), f"{tick:g}") for tick in TICKS],
        colours=COLOURS,
        charts=charts,
        pairs=_by_pair(report["differences"]),
        answer_of=_answers(report),
        panel_estimates=_panel_estimates(report),
        missing=missing,
        reasons=[r for r in REASONS if any(row.counts.get(r) for row in missing)],
        low_coverage=LOW_COVERAGE,
        categories=distinct(q["category"] for q in report["questions"]),
        flagged=_flagged(report),
        brief_from=_brief_from(report["questions"]),
        repeated=any(e["n_answers"] != e["n_questions"] for e in report["estimates"]),
        rated=any(e["n_ratings"] for e in report["estimates"]),
        standing=_standing(report, formats),
        html_lang=LANGUAGES[formats.words.language],
        style=page_style(_TEMPLATES, *_STYLES),
        script=Markup(script),  # noqa: S704 - a file of ours, pinned by the policy
        policy=content_security_policy(script),
    )


def _standing(report: Fields, formats: Formats) -> list[str]:
    """The notes near the top; without a calibration, what the intervals lack comes first."""
    notes = list(report["notes"])
    uncalibrated = formats.words.get("notes.uncalibrated")
    if report.get("calibration") is None and uncalibrated not in notes:
        notes.insert(0, uncalibrated)
    return notes


def _by_pair(entries: Iterable[Fields]) -> dict[tuple[str, str], list[Fields]]:
    """The entries of every pair (of models, of judges), in the order of the report."""
    table: dict[tuple[str, str], list[Fields]] = defaultdict(list)
    for entry in entries:
        table[entry["first"], entry["second"]].append(entry)
    return dict(table)


def _panel_estimates(report: Fields) -> dict[tuple[str, str, str], Fields]:
    """(judge, model, criterion) → the estimate that a judge of a panel gives on its own."""
    if report["panel"] is None:
        return {}
    return {
        (member["judge"], entry["model"], entry["criterion"]): entry
        for member in report["panel"]["judges"]
        for entry in member["estimates"]
    }


def _flagged(report: Fields) -> dict[tuple[str, str, int], Fields]:
    """The flags that the page shows, by answer: suspicious ones and null answers."""
    return {
        (entry["question_id"], entry["model"], entry["sample"]): entry
        for entry in report["flags"]
        if entry["suspicious"] or entry["null"]
    }


def _answers(report: Fields) -> dict[tuple[str, str, int], str]:
    """The text of every answer."""
    return {
        (question["question_id"], answer["model"], answer["sample"]): answer["answer"]
        for question in report["questions"]
        for answer in question["answers"]
    }


def _brief_from(questions: Sequence[Fields]) -> int:
    """The number of the first question of which the page shows no texts; past the last if none."""
    total = 0
    for number, question in enumerate(questions, 1):
        total += sum(
            len(answer["answer"])
            + sum(
                len(said["rationale"]) + len(said["detail"]) + sum(map(len, said["evidence"]))
                for verdict in answer["verdicts"]
                for said in (verdict, *verdict["judges"])
            )
            for answer in question["answers"]
        )
        if total > MOST_TEXT:
            return number
    return len(questions) + 1


def _missing(verdicts: Iterable[Fields]) -> list[Fields]:
    """The verdicts that were wanted and carry no score."""
    return [verdict for verdict in verdicts if is_gap(verdict)]


def _counts(entry: Fields) -> dict[str, int]:
    """Reason → number of missing verdicts, "open" included, none left at 0."""
    counts = {**entry["unscored"], "open": entry["open"]}
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


def _by_group(groups: Sequence[Fields], by: str) -> dict[str, dict[str, Fields]]:
    """Group → model → estimate, for the groups of one kind."""
    table: dict[str, dict[str, Fields]] = {}
    for entry in groups:
        if entry["by"] == by:
            table.setdefault(entry["group"], {})[entry["model"]] = entry
    return table


@cache
def _environment(language: str) -> Environment:
    formats = Formats(texts(language))
    environment = page_environment(_TEMPLATES)
    environment.globals["t"] = formats.text
    environment.filters |= {
        "absent_from": absent,
        "by_pair": _by_pair,
        "bounds": formats.bounds,
        "confidence": formats.confidence,
        "counts": _counts,
        "called": lambda ids, names: [names.get(name, name) for name in ids],
        "duration": formats.duration,
        "exp": math.exp,
        "grouped": _by_group,
        "interval": formats.interval,
        "is_long": is_long,
        "listed": formats.listed,
        "marked": marked,
        "missing": _missing,
        "money": formats.money,
        "passages": passages,
        "percent": formats.percent,
        "quotes": quotes,
        "reason": formats.reason,
        "reasons": formats.reasons,
        "score": formats.score,
        "signed": formats.signed,
        "status": formats.status,
        "thousands": lambda number: f"{number:,}",
        "when": formats.when,
    }
    return environment
