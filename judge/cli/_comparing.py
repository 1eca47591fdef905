"""``judge compare``: the numbers, the page beside them, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from judge.cli._evidence import Wanted, evidence_of
from judge.cli._options import names_of
from judge.errors import UsageError
from judge.terminal import console, print_json, say

if TYPE_CHECKING:
    from judge.comparison import Calibrated, ModelFacts, Setting
    from judge.evidence import Evidence
    from judge.records import Question

_MOST_SENTENCES = 10
_NAME = 16
"""Columns of a criterion's name at most; longer ones are folded."""
_FILES_ONLY = "goes with --verdicts FILE: a ledger knows its answers and questions."


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What the options of the command name beside the scores."""

    answers: Path | None
    questions: str | None
    models: str | None
    meta: Path | None
    cards: str | None
    benchmarks: str | None


def compare(
    wanted: Wanted,
    beside: Beside,
    *,
    table: str | None,
    weights: str | None,
    region: float,
    confidence: float,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Compare, write the files, and print what was found."""
    from judge.comparison import write_comparison

    how = {"region": region, "confidence": confidence, "seed": seed}
    if table is not None:
        body = _published(wanted, beside, table, weights, how)
    else:
        body = _compared(wanted, beside, how)
    written = write_comparison(out, body)
    if body["synthetic"]:
        say("SYNTHETIC RATINGS: simulated raters; these numbers show the path, nothing else.")
    show(body)
    for line in sentences(body):
        say(line)
    if as_json:
        texts = ("questions", "questions_left_out")
        told = {name: value for name, value in body.items() if name not in texts}
        print_json({"comparison": told, **written.object()})
    say(f"Comparison: {written.html.resolve()}")


def _published(
    wanted: Wanted, beside: Beside, table: str, weights: str | None, how: Mapping[str, Any]
) -> dict[str, Any]:
    from judge.comparison import Setting, analyse_table, load_table, table_body

    for name, value in (
        ("--run", wanted.run), ("--verdicts", wanted.verdicts), ("--ratings", wanted.ratings),
        ("--rubric", wanted.rubric), ("--answers", beside.answers),
        ("--questions", beside.questions), ("--models", beside.models), ("--meta", beside.meta),
        ("--cards", beside.cards), ("--benchmarks", beside.benchmarks),
    ):  # fmt: skip
        if value is not None:
            raise UsageError(f"{name} and --table do not go together: a table brings its numbers.")
    analysis = analyse_table(
        load_table(table), weights=weights, stage=wanted.stage, region=how["region"],
        rng=np.random.default_rng(how["seed"]),
    )  # fmt: skip
    return table_body(analysis, Setting(questions={}, answers={}, facts={}, **how))


def _compared(wanted: Wanted, beside: Beside, how: Mapping[str, Any]) -> dict[str, Any]:
    from judge.comparison import (
        Setting,
        compared_models,
        comparison_body,
        facts_of,
        read_benchmarks,
        read_cards,
        read_metadata,
    )

    if wanted.verdicts is None:
        for name, value in (("--answers", beside.answers), ("--questions", beside.questions)):
            if value is not None:
                raise UsageError(f"{name} {_FILES_ONLY}")
    evidence = evidence_of(wanted, unrated=True)
    known = evidence.study.model_names
    models = compared_models(evidence.study, names_of(beside.models))
    by_card = read_cards(names_of(beside.cards) or (), known)
    by_file = {} if beside.meta is None else read_metadata(beside.meta, known)
    facts = {one.model: one for one in facts_of(known, by_card, by_file)}
    questions, answers = _texts(wanted, beside)
    if beside.answers is not None:
        _require_answers(beside.answers, answers, evidence)
    setting = Setting(
        models=models,
        questions=questions,
        answers=answers,
        facts=facts,
        benchmarks=read_benchmarks(names_of(beside.benchmarks) or (), known),
        **how,
    )
    return comparison_body(evidence, setting, _calibrated(evidence, facts, setting))


def _require_answers(
    path: Path, answers: Mapping[tuple[str, str, int], str], evidence: Evidence
) -> None:
    """Raise UsageError where a file has no answer that was judged; say how many were not."""
    from judge.comparison import answer_keys

    foreign = set(answers) - set(answer_keys(evidence.study))
    if answers and len(foreign) == len(answers):
        question, model, _ = min(foreign)
        raise UsageError(
            f"--answers {path}: none of its answers was judged here (its first is of {model} to "
            f"{question}). Name the file with the answers of these verdicts."
        )
    if foreign:
        say(
            f"{len(foreign)} of {len(answers)} answers in {path} are of other questions, models or "
            "samples than the verdicts, and are left aside."
        )


def _calibrated(
    evidence: Evidence, facts: Mapping[str, ModelFacts], setting: Setting
) -> Calibrated | None:
    """Estimates on the scale of people's ratings; None where there is no rating.

    All models of the evidence take part in the calibration, compared or not; those of one base are
    a family.
    """
    from judge.calibration import fit_with_overall
    from judge.calibration_report import predictions_of
    from judge.comparison import Calibrated
    from judge.estimation import model_differences, model_estimates

    study = evidence.study
    if not len(study.ratings.values):
        return None
    fitted = fit_with_overall(study, seed=setting.seed, confidence=setting.confidence)
    predictions = predictions_of(study, fitted)
    rng = np.random.default_rng(setting.seed)
    estimates = model_estimates(
        study, predictions, confidence=setting.confidence, judge_samples=evidence.judge_samples,
        rng=rng,
    )  # fmt: skip
    families = {name: one.base for name, one in facts.items() if one.base is not None}
    return Calibrated(
        estimates=[one.estimate for one in estimates],
        differences=model_differences(
            study, predictions, families=families, confidence=setting.confidence, rng=rng
        ),
    )


def _texts(
    wanted: Wanted, beside: Beside
) -> tuple[dict[str, Question], dict[tuple[str, str, int], str]]:
    """The questions, and the answers' texts by (question, model, sample), where they are known."""
    if wanted.verdicts is None:
        return _ledger_texts(wanted)
    from judge.questions import load_questions, question_from_dict
    from judge.tables import read_answers

    questions = {}
    if beside.questions is not None:
        questions = {one.question_id: one for one in load_questions(beside.questions)}
    if beside.answers is None:
        return questions, {}
    file = read_answers(beside.answers)
    for name, row in file.questions.items():
        if name not in questions:
            said = {key: value for key, value in row.items() if value is not None}
            questions[name] = question_from_dict({"question": "", **said, "question_id": name})
    texts: dict[tuple[str, str, int], str] = {}
    for one in file.answers:
        texts.setdefault((one.question_id, one.model, one.sample), one.answer)
    return questions, texts


def _ledger_texts(
    wanted: Wanted,
) -> tuple[dict[str, Question], dict[tuple[str, str, int], str]]:
    from judge.ledger import open_ledger
    from judge.runs import in_order, scored_run

    ledger = open_ledger(wanted.ledger_url, create=False)
    try:
        rows = in_order(ledger.run_answers(scored_run(ledger, wanted.run).run))
    finally:
        ledger.close()
    questions = {row.answer.question_id: row.question for row in rows if row.question is not None}
    texts = {
        (row.answer.question_id, row.answer.model, row.answer.sample): row.answer.answer
        for row in rows
    }
    return questions, texts


def show(body: Mapping[str, Any]) -> None:
    """Print the table: value and interval per criterion and model, the best within noise marked.

    Where the terminal is too narrow for all models they follow in tables below each other, and
    where it is too narrow for intervals these are left to the page.
    """
    from rich.table import Table
    from rich.text import Text

    if body["offline"]:
        from judge.comparison import OFFLINE

        say(OFFLINE)
    kind = {
        "judge": "Mean score of the judge, not calibrated",
        "calibrated": "Mean score on the human scale",
        "printed": body["published"] and body["published"]["title"],
    }[body["basis"]]
    names = [one["criterion"] for one in body["criteria"]]
    models = [one["model"] for one in body["models"]]
    room = console.width - min(max(map(len, names)), _NAME) - 2
    for layout in _Layout:
        cells = _cells(body, layout)
        lines = (line for cell in cells.values() for line in cell.splitlines())
        width = max(_NAME // 2, *map(len, lines)) + 2
        if width * len(models) <= room:
            break
    each = max(1, room // width)
    for start in range(0, len(models), each):
        title = f"{kind} (0 to 1)" if not start else None
        table = Table(title=title and Text(visible_text(title)), box=None, padding=(0, 1))
        table.add_column("criterion", overflow="fold", max_width=_NAME)
        shown = models[start : start + each]
        for model in shown:
            header = Text(visible_text(model), overflow="fold")
            table.add_column(header, justify="right", overflow="fold", min_width=width - 2)
        for name in names:
            row = (cells.get((name, model), "n/a") for model in shown)
            table.add_row(Text(visible_text(name)), *row)
        console.print(table)
    if body["kind"] == "study":
        say("* the best within noise: its paired interval against the highest includes 0.")


def visible_text(text: str) -> str:
    """A name from elsewhere with what could move the cursor shown as signs."""
    from judge.report import visible

    return str(visible(text))


class _Layout(Enum):
    """What a cell holds, the fullest first."""

    ONE_LINE, TWO_LINES, VALUE = range(3)


def _cells(body: Mapping[str, Any], layout: _Layout) -> dict[tuple[str, str], str]:
    marks = {(one["criterion"], one["model"]): one["best"] for one in body["standings"]}
    return {
        (one["criterion"], one["model"]): _cell(
            one, marks.get((one["criterion"], one["model"])), layout
        )
        for one in body["estimates"]
    }


def _cell(one: Mapping[str, Any], best: bool | None, layout: _Layout) -> str:
    if one["value"] is None:
        return "not stated"
    if one["low"] is None:
        return f"{one['value']:.3f}"
    star = "*" if best else " "
    if layout is _Layout.VALUE:
        return f"{one['value']:.3f}{star}"
    between = " " if layout is _Layout.ONE_LINE else "\n"
    coverage = "" if one["coverage"] == 1 else f"{between}({one['coverage']:.0%} scored)"
    return f"{one['value']:.3f} ({one['low']:.3f} to {one['high']:.3f}){star}{coverage}"


def sentences(body: Mapping[str, Any]) -> Sequence[str]:
    """What was found beyond the table, a line each."""
    from judge.comparison import findings

    return findings(body)[:_MOST_SENTENCES]
