"""What a report says, as one JSON-ready mapping; HTML and JSON are made from it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import polars as pl

from judge import __version__
from judge.aggregation import answer_scores, estimates, grouped_estimates, overall_scores
from judge.canonical import text_hash
from judge.errors import LedgerError
from judge.ledger import Ledger, Run, StoredAnswer
from judge.questions import question_hash
from judge.records import Question
from judge.rubric import Rubric, rubric_from_dict
from judge.weights import Weights, load_profile

OFFLINE_PARTIAL_FROM = 6
"""The baseline's verdicts enter an overall where at least so many criteria were assessed."""

UNCALIBRATED = (
    "Intervals show what a different draw of questions could change. They do not contain the "
    "judge's own error: this judge has not been calibrated against human ratings."
)
"""Stands in every report without a calibration."""
DEMO_AUTHORS = "Plumbline authors"
"""What the shipped demo answers say under ``generation.written_by``."""

_ANSWER = ("question_id", "question_hash", "model", "answer_sample", "answer_hash")

Json = dict[str, Any]


def build_report(
    ledger: Ledger,
    run_id: str | None,
    weights_name: str,
    stage: str | None,
) -> Json:
    """Everything a report on a run says. The newest run if ``run_id`` is None.

    Raises LedgerError if there is no such run and UsageError for weights that do not fit.
    """
    run = ledger.run(run_id)
    if run is None:
        wanted = "no run yet" if run_id is None else f"no run {run_id}"
        raise LedgerError(f"{ledger.url}: {wanted}. Score some answers first (judge score).")
    rubric = rubric_from_dict(ledger.document(bytes.fromhex(run.body["rubric"])))
    weights = load_profile(weights_name, rubric)
    weights.vector(stage=stage)
    rows = ledger.run_answers(run.run)
    questions = {row.answer.question_id: _question(row) for row in rows}
    answers = _answer_frame(rows)
    verdicts = _verdicts_of(ledger, run, answers)
    scores = answer_scores(verdicts)
    offline = run.body["judge"] == "offline"
    samples = int(run.body["samples"])
    categories = {name: question.category for name, question in questions.items()}
    overalls = overall_scores(
        scores,
        categories,
        rubric,
        weights,
        stage,
        partial_from=OFFLINE_PARTIAL_FROM if offline else None,
    )
    groups = []
    for by in ("domain", "category"):
        values = {name: getattr(question, by) for name, question in questions.items()}
        for value, estimate in grouped_estimates(
            answers, scores, overalls, rubric, by=values, categories=categories, samples=samples
        ):
            if estimate.criterion == "overall" and value is not None:
                groups.append({"by": by, "group": value, **asdict(estimate)})
    return {
        "report": {
            "title": f"{rubric.name}: {len(questions)} questions, judged by {run.body['judge']}",
            "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "plumbline_version": __version__,
        },
        "run": _run_facts(ledger, run, rubric, weights, stage, verdicts, offline),
        "demo": _is_demo(rows),
        "notes": _notes(offline, rubric),
        "criteria": _criteria(rubric, weights, stage),
        "models": list(dict.fromkeys(row.answer.model for row in rows)),
        "estimates": [
            asdict(estimate)
            for estimate in estimates(
                answers, scores, overalls, rubric, categories=categories, samples=samples
            )
        ],
        "groups": groups,
        "questions": _drill_down(rows, questions, verdicts, scores, overalls, rubric),
    }


def _question(row: StoredAnswer) -> Question:
    assert row.question is not None  # a run records the question of every answer
    return row.question


def _answer_frame(rows: Sequence[StoredAnswer]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (
                row.answer.question_id,
                question_hash(_question(row)),
                row.answer.model,
                row.answer.sample,
                text_hash(row.answer.answer),
            )
            for row in rows
        ],
        schema={
            "question_id": pl.String,
            "question_hash": pl.Binary,
            "model": pl.String,
            "answer_sample": pl.Int64,
            "answer_hash": pl.Binary,
        },
        orient="row",
    )


def _verdicts_of(ledger: Ledger, run: Run, answers: pl.DataFrame) -> pl.DataFrame:
    """The verdicts that belong to a run: its rulers, occasion, samples and answers."""
    verdicts = ledger.verdicts(
        rulers=list(run.body["rulers"].values()), occasion=run.body["occasion"]
    )
    return verdicts.filter(pl.col("sample") < run.body["samples"]).join(
        answers, on=list(_ANSWER), how="semi"
    )


def _run_facts(
    ledger: Ledger,
    run: Run,
    rubric: Rubric,
    weights: Weights,
    stage: str | None,
    verdicts: pl.DataFrame,
    offline: bool,
) -> Json:
    statuses = dict(verdicts["status"].value_counts().iter_rows())
    reasons = dict(verdicts["reason"].drop_nulls().value_counts().sort("reason").iter_rows())
    keys = [key for key in verdicts["call_key"].drop_nulls().unique().to_list() if key]
    spent = None if offline else ledger.spending(keys)
    planned = int(run.body["planned"])
    return {
        "run": run.run,
        "started_at": run.started_at,
        "judge": run.body["judge"],
        "offline": offline,
        "mode": "per-criterion",
        "rubric": rubric.name,
        "rubric_version": rubric.version,
        "weights": weights.name,
        "stage": stage,
        "samples": run.body["samples"],
        "occasion": run.body["occasion"],
        "planned": planned,
        "scored": statuses.get("scored", 0),
        "not_applicable": statuses.get("not_applicable", 0),
        "unscored": reasons,
        "open": max(planned - len(verdicts), 0),
        "repaired": int(verdicts["repaired"].sum()),
        "tokens": None
        if spent is None
        else {name: int(spent[f"{name}_tokens"]) for name in ("prompt", "cached", "completion")},
        "cost": spent["cost"] if spent and 0 < spent["calls"] == spent["priced"] else None,
        "rulers": run.body["rulers"],
    }


def _is_demo(rows: Sequence[StoredAnswer]) -> bool:
    """Whether all answers are those that ship with the demo, by the mark that they carry."""
    marks = {(row.answer.generation or {}).get("written_by") for row in rows}
    return marks == {DEMO_AUTHORS}


def _notes(offline: bool, rubric: Rubric) -> list[str]:
    enough = min(OFFLINE_PARTIAL_FROM, len(rubric.criteria))
    notes = [UNCALIBRATED]
    if offline:
        notes.append(
            "An overall of the offline baseline is the mean over the criteria that it could "
            f"assess, where these are at least {enough}; other answers have none."
        )
    return notes


def _criteria(rubric: Rubric, weights: Weights, stage: str | None) -> list[Json]:
    vector = weights.vector(stage=stage)
    return [
        {
            "criterion": criterion.criterion,
            "name": criterion.name,
            "definition": criterion.definition,
            "priority": criterion.priority,
            "weight": vector[criterion.criterion],
            "levels": [
                {"level": step.level, "description": step.description, "score": step.score}
                for step in criterion.levels
            ],
        }
        for criterion in rubric.criteria
    ]


def _drill_down(
    rows: Sequence[StoredAnswer],
    questions: Mapping[str, Question],
    verdicts: pl.DataFrame,
    scores: pl.DataFrame,
    overalls: pl.DataFrame,
    rubric: Rubric,
) -> list[Json]:
    """Per question: its material, and per answer the text, checks and verdicts."""
    by_answer: dict[tuple[str, str, int], dict[str, list[Json]]] = {}
    for row in verdicts.iter_rows(named=True):
        at = (row["question_id"], row["model"], row["answer_sample"])
        by_answer.setdefault(at, {}).setdefault(row["criterion"], []).append(row)
    score_of = {
        (row["question_id"], row["model"], row["answer_sample"], row["criterion"]): row
        for row in scores.iter_rows(named=True)
    }
    overall_of = {
        (row["question_id"], row["model"], row["answer_sample"]): row
        for row in overalls.iter_rows(named=True)
    }
    sections: dict[str, Json] = {}
    for stored in rows:
        answer, question = stored.answer, questions[stored.answer.question_id]
        section = sections.setdefault(question.question_id, _question_facts(question))
        at = (answer.question_id, answer.model, answer.sample)
        overall = overall_of.get(at, {})
        section["answers"].append(
            {
                "model": answer.model,
                "sample": answer.sample,
                "answer": answer.answer,
                "overall": overall.get("overall"),
                "overall_note": overall.get("missing") or "",
                "checks": _checks(question, answer.answer),
                "verdicts": [
                    _verdict(
                        criterion.criterion,
                        by_answer.get(at, {}).get(criterion.criterion, []),
                        score_of.get((*at, criterion.criterion)),
                    )
                    for criterion in rubric.criteria
                ],
            }
        )
    return list(sections.values())


def _question_facts(question: Question) -> Json:
    return {
        "question_id": question.question_id,
        "question": question.question,
        "domain": question.domain,
        "category": question.category,
        "language": question.language,
        "reference": question.reference,
        "required_facts": [fact.fact for fact in question.required_facts],
        "answers": [],
    }


def _checks(question: Question, answer: str) -> list[Json]:
    results = []
    for check in question.checks:
        result = check.run(answer)
        results.append(
            {
                "wanted": check.describe(),
                "passed": result.passed,
                "found": result.found,
                "criteria": list(check.criteria),
            }
        )
    return results


def _verdict(criterion: str, samples: list[Json], score: Mapping[str, Any] | None) -> Json:
    """One criterion of one answer; ``status`` open where no verdict exists yet."""
    samples = sorted(samples, key=lambda row: row["sample"])
    scored = [row for row in samples if row["status"] == "scored"]
    shown = next(iter(scored or samples), None)
    return {
        "criterion": criterion,
        "status": "open" if score is None else score["status"],
        "reason": None if score is None else score["reason"],
        "score": None if score is None else score["score"],
        "sd": None if score is None else score["sd"],
        "levels": [row["level"] for row in scored],
        "evidence": json.loads(shown["evidence"]) if shown else [],
        "rationale": shown["rationale"] if shown else "",
        "detail": shown["detail"] if shown else "",
        "repaired": any(row["repaired"] for row in samples),
    }
