"""Studies of two models for tests of the gate: scores in arrays, one judge, one answer each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from judge.gate import GateResult, GateSettings, gate, missing_bounds
from judge.records import OVERALL
from judge.study import Flags, Floats, Ratings, Study


def mean_overall(values: Floats, applicable: Flags) -> Floats:
    """The plain mean over the applicable criteria; NaN where one of them is missing."""
    lacking = (np.isnan(values) & applicable).any(axis=1)
    filled = np.where(applicable, np.nan_to_num(values), 0.0)
    means = filled.sum(axis=1) / np.maximum(applicable.sum(axis=1), 1)
    return np.where(lacking, np.nan, means)


def study_of_two(
    base: Floats,
    candidate: Floats,
    *,
    criteria: Sequence[str] | None = None,
    categories: Sequence[str | None] | None = None,
    base_questions: Sequence[int] | None = None,
    candidate_questions: Sequence[int] | None = None,
    order: Sequence[int] | None = None,
) -> Study:
    """The scores (n, c) of "base" and "cand"; row r answers question r unless numbers are given.

    Several rows of one question are several answers. The overall is not in it.
    """
    names = tuple(criteria or [f"c{at}" for at in range(base.shape[1])])
    of_base = np.arange(len(base)) if base_questions is None else np.asarray(base_questions)
    of_cand = np.arange(len(candidate)) if candidate_questions is None else candidate_questions
    questions = np.concatenate([of_base, np.asarray(of_cand)]).astype(np.int64)
    models = np.repeat([0, 1], [len(base), len(candidate)])
    scores = np.concatenate([base, candidate])[:, :, None]
    rows = np.arange(len(scores)) if order is None else np.asarray(order)
    shape = scores.shape[:2]
    number = int(questions.max()) + 1
    empty = np.zeros(0, np.int64)
    return Study(
        criteria=names,
        judges=("judge",),
        question_ids=tuple(f"q{at:04d}" for at in range(number)),
        model_names=("base", "cand"),
        questions=questions[rows],
        models=models[rows],
        samples=np.arange(len(scores))[rows],
        scores=scores[rows],
        sds=np.full_like(scores, np.nan),
        human=np.full(shape, np.nan),
        n_raters=np.zeros(shape, np.int64),
        applicable=np.ones(shape, bool),
        ratings=Ratings(answers=empty, criteria=empty, raters=empty, values=np.zeros(0), names=()),
        steps=(None,) * shape[1],
        words=np.full(shape[0], np.nan),
        probability=np.full(shape, np.nan),
        categories=tuple(categories) if categories else (None,) * number,
    )


def settings_of(study: Study, *, overall: float = 0.03, **changes: object) -> GateSettings:
    """Margins of 0.04 per criterion, 0.01 for one named safety, unless ``margins`` is given."""
    safety = frozenset({"safety"} & set(study.criteria))
    margins = {name: 0.01 if name in safety else 0.04 for name in study.criteria}
    fields = {"margins": {**margins, OVERALL: overall}, "safety": safety, **changes}
    return GateSettings(**fields)  # type: ignore[arg-type]


def gate_of(study: Study, *, swapped: bool = False, **changes: object) -> GateResult:
    """The gate on a study without overall; ``swapped`` exchanges the two models."""
    settings = settings_of(study, **changes)  # type: ignore[arg-type]
    whole = study.with_overall(mean_overall)
    names = ("cand", "base") if swapped else ("base", "cand")
    return gate(
        whole,
        missing_bounds(whole, mean_overall),
        baseline=names[0],
        candidate=names[1],
        settings=settings,
    )


def noise(n: int, columns: int, sd: float, seed: int) -> Floats:
    rng = np.random.default_rng(seed)
    found = rng.normal(0, sd, (n, columns))
    return found - found.mean(axis=0)


def two(n: int, drops: list[float], sd: float = 0.05, seed: int = 0) -> tuple[Floats, Floats]:
    """Scores whose mean differences are exactly the drops."""
    base = np.full((n, len(drops)), 0.6)
    return base, base + noise(n, len(drops), sd, seed) - np.array(drops)


def with_lost(study: Study, row: int, criterion: int, k: int, wanted: int) -> Study:
    """The study with a score that is the mean of ``k`` of ``wanted`` samples of the judge."""
    lowest, highest = (
        (study.scores if known is None else known).copy() for known in (study.lowest, study.highest)
    )
    at = (row, criterion, 0)
    lowest[at] = k * study.scores[at] / wanted
    highest[at] = (k * study.scores[at] + wanted - k) / wanted
    return replace(study, lowest=lowest, highest=highest)
