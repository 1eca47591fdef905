"""What a report is made from: a run, its judges' verdicts, and the scores that follow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from judge.aggregation import answer_scores, overall_scores, panel_scores
from judge.canonical import text_hash
from judge.ledger import Ledger, Run, StoredAnswer
from judge.questions import question_hash
from judge.records import Question
from judge.rubric import Rubric, rubric_from_dict
from judge.runs import in_order, member_runs, scored_run
from judge.weights import Weights, load_profile

OFFLINE_PARTIAL_FROM = 6
"""The baseline's verdicts enter an overall where at least so many criteria were assessed."""

_ANSWER = ("question_id", "question_hash", "model", "answer_sample", "answer_hash")


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One judge of a run: its own run, its verdicts and the scores that they give."""

    run: Run
    judge: str
    verdicts: pl.DataFrame
    scores: pl.DataFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A run with all that its report is computed from.

    ``members`` holds one judge, or those of a panel in its order; ``scores`` are the judge's or the
    panel's. ``samples`` is the number of verdicts that a score wants: the judge's samples, or one
    per judge of a panel.
    """

    ledger: Ledger
    run: Run
    rubric: Rubric
    weights: Weights
    stage: str | None
    rows: Sequence[StoredAnswer]
    questions: Mapping[str, Question]
    answers: pl.DataFrame
    members: tuple[Member, ...]
    scores: pl.DataFrame
    overalls: pl.DataFrame
    samples: int

    @property
    def panel(self) -> bool:
        """Whether several judges sit on the run."""
        return self.run.kind == "panel"

    @property
    def offline(self) -> bool:
        """Whether the judge is the baseline that calls no model."""
        return not self.panel and self.members[0].judge == "offline"

    @property
    def verdicts(self) -> pl.DataFrame:
        """The verdicts of all judges."""
        return pl.concat([member.verdicts for member in self.members])

    @property
    def models(self) -> list[str]:
        """The models whose answers were judged, in the order of the answers."""
        return list(dict.fromkeys(row.answer.model for row in self.rows))

    @property
    def categories(self) -> dict[str, str | None]:
        """The category of every question."""
        return {name: question.category for name, question in self.questions.items()}

    def overalls_of(self, member: Member) -> pl.DataFrame:
        """The overalls that one judge's scores give under the report's weights."""
        return overall_scores(
            member.scores,
            self.categories,
            self.rubric,
            self.weights,
            self.stage,
            partial_from=OFFLINE_PARTIAL_FROM if member.judge == "offline" else None,
        )


def load_source(ledger: Ledger, run_id: str | None, weights_name: str, stage: str | None) -> Source:
    """Read a run with everything that belongs to it; the newest run if ``run_id`` is None.

    Raises LedgerError if there is no such run, UsageError for weights that do not fit and for a
    run that has no scores of single answers.
    """
    run = scored_run(ledger, run_id)
    rubric = rubric_from_dict(ledger.document(bytes.fromhex(run.body["rubric"])))
    weights = load_profile(weights_name, rubric)
    weights.vector(stage=stage)
    rows = in_order(ledger.run_answers(run.run))
    answers = _answer_frame(rows)
    members = tuple(_member(ledger, of, answers) for of in member_runs(ledger, run))
    if run.kind == "panel":
        scores = panel_scores(
            [member.scores for member in members], run.body["rulers"], run.body["judge"]
        )
    else:
        scores = members[0].scores
    questions = {row.answer.question_id: question_of(row) for row in rows}
    offline = run.kind != "panel" and run.body["judge"] == "offline"
    return Source(
        ledger=ledger,
        run=run,
        rubric=rubric,
        weights=weights,
        stage=stage,
        rows=rows,
        questions=questions,
        answers=answers,
        members=members,
        scores=scores,
        overalls=overall_scores(
            scores,
            {name: question.category for name, question in questions.items()},
            rubric,
            weights,
            stage,
            partial_from=OFFLINE_PARTIAL_FROM if offline else None,
        ),
        samples=len(members) if run.kind == "panel" else wanted_samples(run),
    )


def question_of(row: StoredAnswer) -> Question:
    """The question of a run's answer."""
    assert row.question is not None  # a run records the question of every answer
    return row.question


def wanted_samples(run: Run) -> int:
    """How many verdicts a judge was asked for, per answer and criterion."""
    return int(run.body["samples"])


def _member(ledger: Ledger, run: Run, answers: pl.DataFrame) -> Member:
    """A judge's verdicts on the answers: its rulers, occasion and samples."""
    verdicts = (
        ledger.verdicts(rulers=list(run.body["rulers"].values()), occasion=run.body["occasion"])
        .filter(pl.col("sample") < wanted_samples(run))
        .join(answers, on=list(_ANSWER), how="semi")
    )
    return Member(
        run=run, judge=run.body["judge"], verdicts=verdicts, scores=answer_scores(verdicts)
    )


def _answer_frame(rows: Sequence[StoredAnswer]) -> pl.DataFrame:
    return pl.DataFrame(
        [
            (
                row.answer.question_id,
                question_hash(question_of(row)),
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
