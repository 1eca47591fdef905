"""From verdicts to counts: per pair and criterion, what both orders together say."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from judge.pairwise._plan import BOTH, Better, Pair, PairVerdict
from judge.pairwise._statistics import Floats
from judge.records import Status
from judge.rubric import Criterion
from judge.weights import Weights

OPEN = "open"
"""Stands where a reason stands, for what a further run may still bring."""
OVERALL = "overall"

_CHOICE: Mapping[Better | None, int] = {Better.FIRST: 1, Better.SECOND: -1, Better.TIE: 0}


@dataclass(slots=True)
class Cell:
    """One pair on one criterion, over the judge's samples; all counts are of samples.

    ``preference`` lies in [-1, 1] and is the mean over the ``complete`` samples (both orders
    scored), seen from the model whose name sorts last; None if there is none. ``decisive`` and
    ``first`` count verdicts (two per sample): those that are no tie, and those that chose the
    first place. ``missing`` counts the samples that lack an order, by reason or "open".
    """

    applies: bool
    verdicts: list[PairVerdict] = field(default_factory=list)
    preference: float | None = None
    complete: int = 0
    agree: int = 0
    decisive: int = 0
    first: int = 0
    disagree_first: int = 0
    missing: Counter[str] = field(default_factory=Counter)

    @property
    def reason(self) -> str | None:
        """Why there is no preference: the most frequent reason; None where there is one."""
        if not self.applies or self.preference is not None:
            return None
        return self.missing.most_common(1)[0][0]


def cells_of(
    pairs: Sequence[Pair],
    criteria: Sequence[Criterion],
    samples: int,
    verdicts: Iterable[PairVerdict],
) -> list[list[Cell]]:
    """One cell for each pair (row) and criterion (column)."""
    found: dict[tuple[str, int, str], dict[tuple[str, int], PairVerdict]] = defaultdict(dict)
    for verdict in verdicts:
        place = found[verdict.question_id, verdict.answer_sample, verdict.criterion]
        place[verdict.first, verdict.sample] = verdict
    return [
        [
            _cell(
                pair,
                criterion.applies_to(pair.question.category),
                samples,
                found[pair.question.question_id, pair.sample, criterion.criterion],
            )
            for criterion in criteria
        ]
        for pair in pairs
    ]


def _cell(
    pair: Pair, applies: bool, samples: int, given: Mapping[tuple[str, int], PairVerdict]
) -> Cell:
    cell = Cell(applies=applies, verdicts=list(given.values()))
    if not applies:
        return cell
    low, high = (item.answer.model for item in pair.items)
    total = 0
    for sample in range(samples):
        orders = [given.get((model, sample)) for model in (low, high)]
        scored = [v for v in orders if v is not None and v.status is Status.SCORED]
        if len(scored) < len(BOTH):
            final = [v.reason.value for v in orders if v is not None and v.reason is not None]
            cell.missing[final[0] if final else OPEN] += 1
            continue
        # +1: the answer in the first place is better. It is the low model's in the first order.
        low_first, high_first = (_CHOICE[v.better] for v in scored)
        total += high_first - low_first
        cell.complete += 1
        cell.decisive += abs(low_first) + abs(high_first)
        cell.first += (low_first > 0) + (high_first > 0)
        agrees = low_first == -high_first
        cell.agree += agrees
        cell.disagree_first += not agrees and low_first + high_first > 0
    if cell.complete:
        cell.preference = total / len(BOTH) / cell.complete
    return cell


@dataclass(frozen=True, slots=True)
class Matrices:
    """Cells as numbers: every array is (n_pairs, n_criteria + 1), the last column the overall.

    NaN where a pair has no preference on a criterion. The others are shares in
    [0, 1]: ``agree``, ``disagree_first`` of a cell's samples, ``decisive`` and ``first`` of its
    verdicts. The overall is the weighted mean over a pair's applicable criteria; it is there where
    all of them that weigh anything are.
    """

    preference: Floats
    agree: Floats
    disagree_first: Floats
    decisive: Floats
    first: Floats
    weights: Floats
    """(n_pairs, n_criteria): what each criterion weighs in its pair's overall; 0 if not at all."""


def matrices_of(
    cells: Sequence[Sequence[Cell]],
    pairs: Sequence[Pair],
    criteria: Sequence[Criterion],
    weights: Weights,
    stage: str | None,
) -> Matrices:
    """The numbers of all cells, with the overall under a weight profile.

    Caps of the profile look at the scores of single answers and say nothing about preferences:
    they are left out.
    """
    vectors = np.array(
        [
            [
                weights.vector(pair.question.category, stage)[criterion.criterion] * cell.applies
                for criterion, cell in zip(criteria, row, strict=True)
            ]
            for pair, row in zip(pairs, cells, strict=True)
        ]
    ).reshape(len(pairs), len(criteria))
    totals = vectors.sum(axis=1, keepdims=True)
    vectors = vectors / np.where(totals > 0, totals, 1.0)

    def column(values: list[list[float]]) -> Floats:
        """A measure of the cells with its weighted mean as the last column."""
        matrix = np.array(values).reshape(len(pairs), len(criteria))
        filled = np.where(vectors > 0, matrix, 0.0)  # NaN stays where a criterion weighs
        overall = np.where(totals[:, 0] > 0, (vectors * filled).sum(axis=1), np.nan)
        return np.column_stack([matrix, overall])

    def shares(name: str, per_sample: int = 1) -> Floats:
        return column(
            [
                [
                    getattr(cell, name) / (per_sample * cell.complete) if cell.complete else np.nan
                    for cell in row
                ]
                for row in cells
            ]
        )

    return Matrices(
        preference=column(
            [
                [np.nan if cell.preference is None else cell.preference for cell in row]
                for row in cells
            ]
        ),
        agree=shares("agree"),
        disagree_first=shares("disagree_first"),
        decisive=shares("decisive", len(BOTH)),
        first=shares("first", len(BOTH)),
        weights=vectors,
    )


def _or_nan(value: float | None) -> float:
    return np.nan if value is None else value
