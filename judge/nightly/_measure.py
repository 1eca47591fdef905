"""From the verdicts of a night to its numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from judge.canonical import digest
from judge.drift import Night
from judge.drift._records import Floats
from judge.ledger import Ledger
from judge.records import OVERALL, Answer, Status
from judge.report import OFFLINE_PARTIAL_FROM
from judge.rubric import Rubric
from judge.scoring import Item
from judge.weights import Weights

Key = tuple[str, str, int, bytes]
"""Question, model, sample and hash of an answer's text: what a verdict is bound to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """What turns answers into scores: rulers per criterion, and the weights of the overall."""

    rubric: Rubric
    weights: Weights
    stage: str | None
    rulers: Mapping[str, str]
    samples: int
    offline: bool

    @property
    def metrics(self) -> tuple[str, ...]:
        """The criteria, then the overall."""
        return (*(one.criterion for one in self.rubric.criteria), OVERALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """The answers that are judged in one night, by what they are for.

    ``slice_before`` are the scores (s, c) that the slice's answers got on their own nights.
    ``canaries`` gives the planted answers by kind.
    """

    questions: tuple[str, ...]
    candidate: Sequence[Item]
    again: Sequence[Item] = ()
    anchors: Sequence[Item] = ()
    slice: Sequence[Item] = ()
    slice_before: Floats = field(default_factory=lambda: np.empty((0, 0)))
    canaries: Mapping[str, Sequence[Item]] = field(default_factory=dict)

    def shuffled(self, series: str, date: str) -> list[Item]:
        """All answers once, in an order that the series and the date decide.

        The judge meets anchors, slice and canaries at random places among the candidate's answers,
        so that a drift within the night falls on all of them alike.
        """
        planted = [item for items in self.canaries.values() for item in items]
        everything = {
            item.answer_id: item
            for item in (*self.candidate, *self.again, *self.anchors, *self.slice, *planted)
        }
        rng = seeded("order", series, date)
        items = list(everything.values())
        return [items[at] for at in rng.permutation(len(items))]


def seeded(*names: str) -> np.random.Generator:
    """A generator that names decide: the same night draws the same answers again."""
    return np.random.default_rng(int.from_bytes(digest(list(names)), "big"))


class Scores:
    """The scores of answers under a ruler on an occasion, criterion by criterion and overall."""

    def __init__(
        self,
        ledger: Ledger,
        ruler: Ruler,
        occasion: str,
        categories: Mapping[str, str | None],
        models: Sequence[str],
    ) -> None:
        """Read the verdicts on the models' answers.

        Raises LedgerError for what cannot be read.
        """
        import polars as pl

        from judge.aggregation import answer_scores, overall_scores

        verdicts = ledger.verdicts(
            rulers=sorted(set(ruler.rulers.values())), occasion=occasion, models=models
        ).filter(pl.col("sample") < ruler.samples)
        scores = answer_scores(verdicts)
        overalls = overall_scores(
            scores, categories, ruler.rubric, ruler.weights, ruler.stage,
            partial_from=OFFLINE_PARTIAL_FROM if ruler.offline else None,
        )  # fmt: skip
        self.metrics = ruler.metrics
        column = {name: at for at, name in enumerate(self.metrics)}
        self._values: dict[Key, Floats] = {}
        self._excluded: set[tuple[Key, int]] = set()
        self._lost: dict[tuple[Key, int], float] = {}
        for question, model, sample, text, criterion, status, score, k in scores.select(
            "question_id", "model", "answer_sample", "answer_hash", "criterion", "status", "score",
            "k",
        ).iter_rows():  # fmt: skip
            key, at = (question, model, sample, text), column.get(criterion)
            if at is None:
                continue
            if status == Status.SCORED.value:
                self._of(key)[at] = score
                self._lost[key, at] = 1 - k / ruler.samples
            elif status == Status.NOT_APPLICABLE.value:
                self._excluded.add((key, at))
        for question, model, sample, text, overall, status in overalls.select(
            "question_id", "model", "answer_sample", "answer_hash", "overall", "status"
        ).iter_rows():
            key = (question, model, sample, text)
            if overall is not None:
                self._of(key)[-1] = overall
            elif status == Status.NOT_APPLICABLE.value:
                self._excluded.add((key, len(self.metrics) - 1))

    def _of(self, key: Key) -> Floats:
        return self._values.setdefault(key, np.full(len(self.metrics), np.nan))

    def rows(self, items: Sequence[Item]) -> Floats:
        """The scores (n, c) of answers, NaN where one is missing or does not apply."""
        empty = np.full(len(self.metrics), np.nan)
        found = [self._values.get(_key(item), empty) for item in items]
        return np.array(found, np.float64).reshape(len(items), len(self.metrics))

    def by_answer(self, items: Sequence[Item]) -> dict[str, list[float]]:
        """The scores of each answer by `answer_key`, in the order of the metrics."""
        rows = self.rows(items).tolist()
        return {answer_key(item.answer): row for item, row in zip(items, rows, strict=True)}

    def by_question(self, items: Sequence[Item], questions: Sequence[str]) -> Floats:
        """The mean scores (q, c) of each question's answers, over those that are scored."""
        at = {name: number for number, name in enumerate(questions)}
        rows = self.rows(items)
        places = np.array([at[item.question.question_id] for item in items], np.int64)
        there = ~np.isnan(rows)
        shape = (len(questions), len(self.metrics))
        sums, counts = np.zeros(shape), np.zeros(shape)
        np.add.at(sums, places, np.where(there, rows, 0.0))
        np.add.at(counts, places, there)
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def missing(self, items: Sequence[Item], wanted: int) -> dict[str, float]:
        """The share of wanted verdicts without a score, per metric.

        ``wanted`` is how many answers there should be: one that is not there misses everything. A
        score that rests on k of m samples of the judge misses the others' share.
        """
        rows, shares = self.rows(items), {}
        keys = [_key(item) for item in items]
        for at, name in enumerate(self.metrics):
            apply = [(key, at) not in self._excluded for key in keys]
            asked = sum(apply) + max(0, wanted - len(items))
            scored = float((~np.isnan(rows[:, at])).sum())
            scored -= sum(self._lost.get((key, at), 0.0) for key in keys)
            shares[name] = 1 - scored / asked if asked else 0.0
        return shares


def measured(
    arms: Arms, scores: Scores, *, date: str, epoch: str, wanted: int, trouble: str
) -> Night:
    """The night of these answers. ``wanted`` answers of the candidate were planned."""
    questions = arms.questions
    again = scores.by_question(arms.again, questions) if arms.again else None
    return Night(
        date=date,
        epoch=epoch,
        metrics=scores.metrics,
        question_ids=questions,
        candidate=scores.by_question(arms.candidate, questions),
        again=again,
        anchor_ids=tuple(_name(item) for item in arms.anchors),
        anchors=scores.rows(arms.anchors),
        slice_ids=tuple(_name(item) for item in arms.slice),
        slice_before=arms.slice_before.reshape(len(arms.slice), len(scores.metrics)),
        slice_now=scores.rows(arms.slice),
        canaries={kind: _mean(scores.rows(items)[:, -1]) for kind, items in arms.canaries.items()},
        missing=scores.missing(arms.candidate, wanted),
        complete=not trouble,
        trouble=trouble,
    )


def answer_key(answer: Answer) -> str:
    """What names an answer of the candidate within its night."""
    return f"{answer.question_id}|{answer.sample}"


def _mean(values: Floats) -> float:
    there = values[~np.isnan(values)]
    return float(there.mean()) if there.size else float("nan")


def _key(item: Item) -> Key:
    answer = item.answer
    return (answer.question_id, answer.model, answer.sample, item.answer_hash)


def _name(item: Item) -> str:
    answer = item.answer
    return f"{answer.question_id}|{answer.model}|{answer.sample}|{answer.occasion}"
