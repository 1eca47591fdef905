"""What a report says, as one JSON-ready mapping; HTML and JSON are made from it."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from judge import __version__
from judge.aggregation import estimates, grouped_estimates
from judge.ledger import Ledger
from judge.report._diagnosis import differences, halo_block, heatmap, length, panel
from judge.report._drill import drill_down
from judge.report._facts import criteria, is_demo, notes, run_facts
from judge.report._flags import flags
from judge.report._source import Source, load_source
from judge.report._spending import spending
from judge.report._texts import Texts, texts

Json = dict[str, Any]


def build_summary(
    ledger: Ledger, run_id: str | None, weights_name: str, stage: str | None, *, lang: str = "en"
) -> Json:
    """The heart of a report, quickly: ``report``, ``run``, ``notes``, ``models``, ``estimates``...

    See `build_report`; what needs the texts of the answers is left out.
    """
    return _summary(load_source(ledger, run_id, weights_name, stage), texts(lang))


def build_report(
    ledger: Ledger, run_id: str | None, weights_name: str, stage: str | None, *, lang: str = "en"
) -> Json:
    """Everything a report on a run says. The newest run if ``run_id`` is None.

    ``lang`` is the language of its title and notes, and of the page that is made from it; the
    names of the fields are the same in every language.

    Raises LedgerError if there is no such run and UsageError for weights that do not fit, for a run
    without scores of single answers, and for a language that reports are not written in.
    """
    words = texts(lang)
    source = load_source(ledger, run_id, weights_name, stage)
    questions = drill_down(source, words)
    names = [criterion.criterion for criterion in source.rubric.criteria]
    return {
        **_summary(source, words),
        "groups": _groups(source),
        "differences": differences(source),
        "panel": panel(source),
        "heatmap": heatmap(questions, names, source.models),
        "length": length(questions, names),
        "halo": halo_block(questions, names),
        "spending": spending(source),
        "flags": flags(source),
        "questions": questions,
    }


def _summary(source: Source, words: Texts) -> Json:
    title = words.get(
        "page.title_panel" if source.panel else "page.title",
        rubric=source.rubric.name,
        judge=source.run.body["judge"],
        judges=len(source.members),
        n=len(source.questions),
    )
    return {
        "report": {
            "title": title,
            "language": words.language,
            "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "plumbline_version": __version__,
        },
        "run": run_facts(source),
        "demo": is_demo(source),
        "notes": notes(source, words),
        "criteria": criteria(source),
        "models": source.models,
        "estimates": [
            asdict(estimate)
            for estimate in estimates(
                source.answers,
                source.scores,
                source.overalls,
                source.rubric,
                categories=source.categories,
                samples=source.samples,
            )
        ],
    }


def _groups(source: Source) -> list[Json]:
    """The overall within domains and categories."""
    groups = []
    for by in ("domain", "category"):
        values = {name: getattr(question, by) for name, question in source.questions.items()}
        for value, estimate in grouped_estimates(
            source.answers,
            source.scores,
            source.overalls,
            source.rubric,
            by=values,
            categories=source.categories,
            samples=source.samples,
        ):
            if estimate.criterion == "overall" and value is not None:
                groups.append({"by": by, "group": value, **asdict(estimate)})
    return groups
