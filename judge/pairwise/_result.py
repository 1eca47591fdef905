"""What a pairwise run says, as one JSON-ready mapping; the table, the page and JSON show it.

All is computed in one orientation, that of the models' names, and turned to the requested one at
the very end: naming the models the other way round flips signs exactly and changes nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from judge import __version__
from judge.differences import Difference, paired_differences
from judge.pairwise._plan import Pair, PairRun, PairSettings, PairVerdict
from judge.pairwise._statistics import Floats, Share, question_means, share_intervals
from judge.pairwise._tally import OPEN, OVERALL, Cell, Matrices, cells_of, matrices_of
from judge.rubric import Criterion, Rubric
from judge.weights import Weights

CONFIDENCE = 0.95
METHOD = "bayesian-bootstrap-questions"
_SEED = 0
_TIE = 1e-9  # a weighted sum of preferences that cancel out is 0 but for rounding

Json = dict[str, Any]
_Bounds: TypeAlias = tuple[float | None, float | None, float | None]
_NOTHING: _Bounds = (None, None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """How two models compare on a criterion (or "overall"), seen from the second one.

    ``preference`` is the mean over questions in [-1, 1]: +1 where the judge finds the second
    model's answer better in both orders, -1 where it finds the first model's better. ``wins``,
    ``ties`` and ``losses`` of the second model are shares of questions (of their answer pairs) by
    the sign of the preference and sum to 1. ``position_consistency`` is the share of verdict pairs
    whose two orders agree; ``direction`` is P(first place chosen | no tie) - 1/2, in [-0.5, 0.5];
    ``inconsistent_first`` is the share of the ``n_inconsistent`` inconsistent verdict pairs that
    favour the first place. Values are None where there was nothing to compute them from.

    ``coverage`` is the share of wanted verdict pairs with both orders scored (of the overall:
    answer pairs); ``unscored`` counts those that lack an order by reason, ``open`` those that lack
    one yet; ``not_applicable`` counts answer pairs.
    """

    criterion: str
    preference: float | None
    low: float | None
    high: float | None
    wins: float | None
    ties: float | None
    losses: float | None
    position_consistency: float | None
    pc_low: float | None
    pc_high: float | None
    direction: float | None
    direction_low: float | None
    direction_high: float | None
    inconsistent_first: float | None
    inconsistent_first_low: float | None
    inconsistent_first_high: float | None
    n_questions: int
    n_pairs: int
    n_inconsistent: int
    coverage: float
    confidence: float = CONFIDENCE
    method: str = METHOD
    not_applicable: int = 0
    unscored: dict[str, int] = field(default_factory=dict)
    open: int = 0


def comparison(
    run: PairRun,
    pairs: Sequence[Pair],
    rubric: Rubric,
    criteria: Sequence[Criterion],
    models: Sequence[str],
    weights: Weights,
    stage: str | None,
    *,
    judge: str,
    settings: PairSettings,
    unpaired: int = 0,
) -> Json:
    """Everything that a pairwise run says about ``models[1]`` against ``models[0]``.

    ``weights`` are renormalised over the applicable ones of ``criteria``.
    """
    sign = 1 if list(models) == sorted(models) else -1
    cells = cells_of(pairs, criteria, settings.samples, run.verdicts)
    numbers = matrices_of(cells, pairs, criteria, weights, stage)
    vector = weights.vector(stage=stage)
    return {
        "report": {
            "title": f"{rubric.name}: {models[1]} against {models[0]}",
            "generated_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "plumbline_version": __version__,
        },
        "run": {
            "run": run.run,
            "judge": judge,
            "models": list(models),
            "rubric": rubric.name,
            "rubric_version": rubric.version,
            "weights": weights.name,
            "stage": stage,
            "samples": settings.samples,
            "occasion": settings.occasion,
            "started_at": run.started_at,
            "n_pairs": len(pairs),
            "unpaired": unpaired,
            "planned": run.progress.planned,
            "scored": run.scored,
            "not_applicable": run.not_applicable,
            "unscored": dict(sorted(run.unscored.items())),
            "open": run.progress.open,
            "repaired": run.repaired,
            "rulers": dict(run.rulers),
        },
        "criteria": [
            {
                "criterion": criterion.criterion,
                "name": criterion.name,
                "definition": criterion.definition,
                "weight": vector[criterion.criterion],
            }
            for criterion in criteria
        ],
        "pairwise": [
            asdict(entry) for entry in preferences(cells, numbers, pairs, criteria, settings, sign)
        ],
        "questions": _drill_down(cells, numbers, pairs, criteria, models, sign),
    }


def preferences(
    cells: Sequence[Sequence[Cell]],
    numbers: Matrices,
    pairs: Sequence[Pair],
    criteria: Sequence[Criterion],
    settings: PairSettings,
    sign: int,
) -> list[Preference]:
    """One entry for each criterion, then the overall; ``sign`` is -1 to turn the point of view."""
    # Sorted: the draws that a question gets do not depend on the order of the input.
    names = sorted({pair.question.question_id for pair in pairs})
    place = {name: at for at, name in enumerate(names)}
    question = np.array([place[pair.question.question_id] for pair in pairs], dtype=np.intp)

    def by_question(rows: Floats) -> Floats:
        return question_means(rows, question, len(names))

    missing = np.isnan(numbers.preference)
    signs = np.where(missing, np.nan, np.sign(numbers.preference))
    signs = np.where(np.abs(numbers.preference) < _TIE, 0.0, signs)
    better, worse, even = (
        by_question(np.where(missing, np.nan, signs == side)) for side in (sign, -sign, 0)
    )
    agree, first = by_question(numbers.agree), by_question(numbers.first)
    favour, decisive = by_question(numbers.disagree_first), by_question(numbers.decisive)
    preference = paired_differences(
        by_question(numbers.preference), confidence=CONFIDENCE, rng=_rng()
    )
    whole = np.where(np.isnan(agree), np.nan, 1.0)
    consistency = share_intervals(agree, whole, confidence=CONFIDENCE, rng=_rng())
    direction = share_intervals(first, decisive, confidence=CONFIDENCE, rng=_rng())
    favoured = share_intervals(favour, whole - agree, confidence=CONFIDENCE, rng=_rng())

    result = []
    for at, name in enumerate([*(criterion.criterion for criterion in criteria), OVERALL]):
        mean, low, high = _seen(preference[at], sign)
        same, same_low, same_high = consistency[at] or _NOTHING
        towards, towards_low, towards_high = _centred(direction[at])
        fav, fav_low, fav_high = favoured[at] or _NOTHING
        if name == OVERALL:
            counts = _overall_counts(cells, numbers)
        else:
            counts = _counts([row[at] for row in cells], settings.samples)
        result.append(
            Preference(
                criterion=name,
                preference=mean,
                low=low,
                high=high,
                wins=_mean(better[:, at]),
                ties=_mean(even[:, at]),
                losses=_mean(worse[:, at]),
                position_consistency=same,
                pc_low=same_low,
                pc_high=same_high,
                direction=towards,
                direction_low=towards_low,
                direction_high=towards_high,
                inconsistent_first=fav,
                inconsistent_first_low=fav_low,
                inconsistent_first_high=fav_high,
                n_questions=int((~np.isnan(agree[:, at])).sum()),
                n_pairs=int((~missing[:, at]).sum()),
                n_inconsistent=counts.n_inconsistent,
                coverage=counts.coverage,
                not_applicable=counts.not_applicable,
                unscored=counts.unscored,
                open=counts.open,
            )
        )
    return result


class _Counts(NamedTuple):
    n_inconsistent: int
    coverage: float
    not_applicable: int
    unscored: dict[str, int]
    open: int


def _rng() -> np.random.Generator:
    """The same draws for every measure and run: the same verdicts give the same numbers."""
    return np.random.default_rng(_SEED)


def _mean(column: Floats) -> float | None:
    there = column[~np.isnan(column)]
    return float(there.mean()) if there.size else None


def _seen(difference: Difference | None, sign: int) -> _Bounds:
    """A mean preference with its interval, seen from the other side where ``sign`` is -1."""
    if difference is None:
        return _NOTHING
    value, low, high = difference.value, difference.low, difference.high
    # Not -value: there is no negative zero in a result.
    return (value, low, high) if sign > 0 else (0.0 - value, 0.0 - high, 0.0 - low)


def _centred(share: Share | None) -> _Bounds:
    """A share as a distance from one half."""
    if share is None:
        return _NOTHING
    return share.value - 0.5, share.low - 0.5, share.high - 0.5


def _counts(column: Sequence[Cell], samples: int) -> _Counts:
    """Coverage and what is missing, of one criterion."""
    missing: Counter[str] = sum((cell.missing for cell in column), Counter())
    wanted = samples * sum(cell.applies for cell in column)
    complete = sum(cell.complete for cell in column)
    still = missing.pop(OPEN, 0)
    return _Counts(
        n_inconsistent=sum(cell.complete - cell.agree for cell in column),
        coverage=complete / wanted if wanted else 1.0,
        not_applicable=sum(not cell.applies for cell in column),
        unscored=dict(sorted(missing.items())),
        open=still,
    )


def _overall_counts(cells: Sequence[Sequence[Cell]], numbers: Matrices) -> _Counts:
    """Coverage and what is missing, of the overall: in answer pairs, each by its first reason."""
    there = ~np.isnan(numbers.preference[:, -1])
    lacking: Counter[str] = Counter()
    weighed = numbers.weights > 0
    for row, has, weighs in zip(cells, there, weighed, strict=True):
        reasons = [cell.reason for cell, counts in zip(row, weighs, strict=True) if counts]
        if reasons and not has:
            lacking[next(reason for reason in reasons if reason is not None)] += 1
    wanted = int(weighed.any(axis=1).sum())
    still = lacking.pop(OPEN, 0)
    return _Counts(
        n_inconsistent=sum(
            cell.complete - cell.agree
            for row, has in zip(cells, there, strict=True)
            if has
            for cell in row
        ),
        coverage=int(there.sum()) / wanted if wanted else 1.0,
        not_applicable=len(cells) - wanted,
        unscored=dict(sorted(lacking.items())),
        open=still,
    )


def _drill_down(
    cells: Sequence[Sequence[Cell]],
    numbers: Matrices,
    pairs: Sequence[Pair],
    criteria: Sequence[Criterion],
    models: Sequence[str],
    sign: int,
) -> list[Json]:
    """Per question: its material, and per answer pair both texts and all verdicts."""
    sections: dict[str, Json] = {}
    for pair, row, overall in zip(pairs, cells, numbers.preference[:, -1], strict=True):
        question = pair.question
        section = sections.setdefault(
            question.question_id,
            {
                "question_id": question.question_id,
                "question": question.question,
                "category": question.category,
                "language": question.language,
                "reference": question.reference,
                "required_facts": [fact.fact for fact in question.required_facts],
                "pairs": [],
            },
        )
        texts = {item.answer.model: item.answer.answer for item in pair.items}
        section["pairs"].append(
            {
                "sample": pair.sample,
                "answers": [{"model": model, "answer": texts[model]} for model in models],
                "preference": None if np.isnan(overall) else _turned(float(overall), sign),
                "criteria": [
                    _criterion(criterion.criterion, cell, models, sign)
                    for criterion, cell in zip(criteria, row, strict=True)
                ],
            }
        )
    return list(sections.values())


def _criterion(name: str, cell: Cell, models: Sequence[str], sign: int) -> Json:
    """One criterion of one answer pair; ``status`` says whether it has a preference."""
    status = "scored" if cell.preference is not None else "unscored"
    if not cell.applies:
        status = "not_applicable"
    elif cell.reason == OPEN:
        status = OPEN
    ordered = sorted(cell.verdicts, key=lambda v: (v.sample, list(models).index(v.first)))
    return {
        "criterion": name,
        "status": status,
        "reason": None if status == OPEN else cell.reason,
        "preference": None if cell.preference is None else _turned(cell.preference, sign),
        "complete": cell.complete,
        "consistent": cell.agree,
        "verdicts": [_shown(verdict) for verdict in ordered] if cell.applies else [],
    }


def _shown(verdict: PairVerdict) -> Json:
    shown = asdict(verdict)
    for name in ("question_id", "answer_sample", "criterion"):
        del shown[name]
    return {**shown, "preferred": verdict.preferred}


def _turned(preference: float, sign: int) -> float:
    return preference if sign > 0 else 0.0 - preference
