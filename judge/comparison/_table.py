"""The table of models by criteria, and the paired differences between its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from judge.differences import DRAWS, Difference, paired_differences
from judge.intervals import METHOD, mean_intervals
from judge.records import Estimate
from judge.study import Flags, Floats, Study

JUDGE = "judge"
"""Basis of a difference: the judge's scores, question by question."""
CALIBRATED = "calibrated"
"""Basis of a difference: two estimates on the people's scale, under common draws."""
PRINTED = "printed"
"""Basis of a published table, which has no differences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """How far ``model`` lies above ``other`` on a criterion, on the questions that both answered.

    ``value``, ``low`` and ``high`` are differences of scores in [-1, 1], None where no question has
    a score of both; ``sd`` is that of the question means. ``left_out`` counts the questions that
    only one of the two has a score on. ``basis`` is `JUDGE` or `CALIBRATED`.
    """

    criterion: str
    model: str
    other: str
    value: float | None
    low: float | None
    high: float | None
    sd: float | None
    n_questions: int
    left_out: int
    basis: str

    @property
    def clear(self) -> bool | None:
        """Whether the interval excludes 0; None without one."""
        if self.low is None or self.high is None:
            return None
        return self.low > 0 or self.high < 0

    def turned(self) -> Gap:
        """The same difference seen from the other model."""
        return replace(
            self,
            model=self.other,
            other=self.model,
            value=_minus(self.value),
            low=_minus(self.high),
            high=_minus(self.low),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a model stands on a criterion.

    ``best``: it has the highest value, or its paired interval against the model that has includes
    0. None where that cannot be said: no value, or no difference on the basis of the table. That
    holds for the highest as well: it is best of others that it can be compared with.
    """

    criterion: str
    model: str
    top: bool
    best: bool | None


def question_scores(study: Study, values: Floats) -> Floats:
    """Means over a model's answers to a question: (n, c) to (questions, models, c).

    NaN where no answer of the model to the question has a value; of several answers those that
    have one count, each alike. A criterion that does not apply gives NaN as well.
    """
    shape = (len(study.question_ids), len(study.model_names), values.shape[1])
    present = ~np.isnan(values) & study.applicable[:, : values.shape[1]]
    sums, counts = np.zeros(shape), np.zeros(shape)
    place = (study.questions, study.models)
    np.add.at(sums, place, np.where(present, values, 0.0))
    np.add.at(counts, place, present.astype(np.float64))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def raw_estimates(study: Study, *, confidence: float, seed: int) -> tuple[Estimate, ...]:
    """Every model's mean judge score per criterion with its interval; nothing is calibrated.

    Drawn as `judge.aggregation.estimates` draws, per model and from the seed, so that a comparison
    and a report of the same scores give the same intervals.
    """
    cube = question_scores(study, study.panel)
    found = []
    for model in range(cube.shape[1]):
        rows = study.models == model
        intervals = mean_intervals(
            cube[np.unique(study.questions[rows]), model],
            confidence=confidence,
            rng=np.random.default_rng(seed),
        )
        for at, criterion in enumerate(study.criteria):
            wanted = rows & study.applicable[:, at]
            if not wanted.any():
                continue
            interval = intervals[at]
            scored = wanted & ~np.isnan(study.panel[:, at])
            found.append(
                Estimate(
                    model=study.model_names[model],
                    criterion=criterion,
                    value=None if interval is None else interval.value,
                    low=None if interval is None else interval.low,
                    high=None if interval is None else interval.high,
                    confidence=confidence,
                    method=METHOD,
                    estimand="population",
                    n_questions=len(np.unique(study.questions[scored])),
                    n_answers=int(scored.sum()),
                    n_ratings=0,
                    coverage=float(scored.sum() / wanted.sum()),
                    not_applicable=int((rows & ~study.applicable[:, at]).sum()),
                )
            )
    return tuple(found)


def paired_gaps(
    cube: Floats,
    models: Sequence[str],
    criteria: Sequence[str],
    *,
    confidence: float,
    draws: int = DRAWS,
    rng: np.random.Generator,
) -> tuple[Gap, ...]:
    """The differences of all pairs of models on all criteria, (questions, models, criteria).

    Pairs stand in the order of the models, the earlier one first. A limit is the mean of the two
    that the difference and its mirror image give under the same draws, so that turning a pair
    round turns its interval round exactly.
    """
    pairs = list(combinations(range(len(models)), 2))
    if not pairs:
        return ()
    first, second = np.array(pairs).T
    deltas = cube[:, first] - cube[:, second]  # (questions, pairs, criteria)
    flat = deltas.reshape(len(cube), -1)
    both = mirrored_differences(flat, confidence=confidence, draws=draws, rng=rng)
    present = ~np.isnan(cube)
    one_sided = (present[:, first] ^ present[:, second]).sum(axis=0)
    return tuple(
        gap_of(
            both[at * len(criteria) + column],
            criterion=criterion,
            model=models[one],
            other=models[two],
            left_out=int(one_sided[at, column]),
            basis=JUDGE,
        )
        for at, (one, two) in enumerate(pairs)
        for column, criterion in enumerate(criteria)
    )


def mirrored_differences(
    matrix: Floats, *, confidence: float, draws: int = DRAWS, rng: np.random.Generator,
    reach: float = 1.0,
) -> list[Difference | None]:  # fmt: skip
    """As `judge.differences.paired_differences`, with limits that turn round with their column."""
    columns = matrix.shape[1]
    found = paired_differences(
        np.hstack([matrix, -matrix]), confidence=confidence, draws=draws, rng=rng, reach=reach
    )
    result: list[Difference | None] = []
    for plain, turned in zip(found[:columns], found[columns:], strict=True):
        if plain is None or turned is None:
            result.append(None)
            continue
        result.append(
            plain._replace(
                low=(plain.low - turned.high) / 2,
                high=(plain.high - turned.low) / 2,
            )
        )
    return result


def gap_of(
    found: Difference | None, *, criterion: str, model: str, other: str, left_out: int, basis: str
) -> Gap:
    """A difference as a gap of two models; None as a gap without a number."""
    return Gap(
        criterion=criterion,
        model=model,
        other=other,
        value=None if found is None else found.value,
        low=None if found is None else found.low,
        high=None if found is None else found.high,
        sd=None if found is None else found.sd,
        n_questions=0 if found is None else found.n_questions,
        left_out=left_out,
        basis=basis,
    )


def gap_between(
    gaps: Mapping[tuple[str, str, str], Gap], criterion: str, model: str, other: str
) -> Gap | None:
    """The gap of ``model`` over ``other``, whichever way round it was computed."""
    if (found := gaps.get((criterion, model, other))) is not None:
        return found
    found = gaps.get((criterion, other, model))
    return None if found is None else found.turned()


def by_pair(gaps: Sequence[Gap]) -> dict[tuple[str, str, str], Gap]:
    """Gaps by (criterion, model, other)."""
    return {(gap.criterion, gap.model, gap.other): gap for gap in gaps}


def standings(
    estimates: Sequence[Estimate], gaps: Sequence[Gap], *, basis: str
) -> tuple[Standing, ...]:
    """Which models are the best of each criterion within noise.

    Several models may share the highest value; the others are held against the first of them.
    A gap counts only on ``basis``, that of the table; of a printed one the highest
    value decides alone. No correction is made for the number of
    models.
    """
    known = by_pair([gap for gap in gaps if gap.basis == basis])
    found = []
    for criterion in dict.fromkeys(one.criterion for one in estimates):
        of = [one for one in estimates if one.criterion == criterion]
        values = [one.value for one in of if one.value is not None]
        highest = max(values, default=None)
        leader = next((one for one in of if one.value is not None and one.value == highest), None)
        against = {
            one.model: None if leader is None else gap_between(
                known, criterion, leader.model, one.model
            )
            for one in of
        }  # fmt: skip
        compared = {name for name, gap in against.items() if gap and gap.clear is not None}
        for one in of:
            top = one.value is not None and one.value == highest
            gap = against[one.model]
            best: bool | None = None
            if one is leader:
                best = True if compared or basis == PRINTED else None
            elif one.value is not None and gap is not None and gap.clear is not None:
                best = not gap.clear
            elif top and basis == PRINTED:
                best = True
            found.append(Standing(criterion=criterion, model=one.model, top=top, best=best))
    return tuple(found)


def complete(cube: Floats) -> Flags:
    """The questions on which every model has a score, (questions,) of (questions, models)."""
    return np.asarray(~np.isnan(cube).any(axis=1))


def _minus(value: float | None) -> float | None:
    return None if value is None else 0.0 - value
