"""From the verdicts of a study to its findings: one mapping, which the page and the JSON show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from judge.probes import _catalogue as catalogue
from judge.probes import _statistics as statistics
from judge.probes._catalogue import SAME, Probe
from judge.probes._hostile import flagged_findings, injection_findings, null_findings
from judge.probes._plan import Study, fully_judged, rotations
from judge.probes._run import Collected, Scores
from judge.probes._statistics import CONFIDENCE, Outcome
from judge.records import Question
from judge.rubric import Rubric

Floats: TypeAlias = NDArray[np.float64]
Found: TypeAlias = dict[str, Any]
BySample: TypeAlias = Mapping[int, float]


@dataclass(frozen=True, slots=True)
class Compared:
    """The scores before and after a change, by criterion and then by sample."""

    question: Question
    before: Mapping[str, BySample]
    after: Mapping[str, BySample]


@dataclass(slots=True)
class Cell:
    """The shifts of one criterion under one probe, by question, and what is missing."""

    shifts: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    planned: int = 0
    missing_original: int = 0
    missing_variant: int = 0

    @property
    def n_pairs(self) -> int:
        """Pairs of which both sides were scored."""
        return sum(map(len, self.shifts.values()))

    def means(self) -> dict[str, float]:
        """The mean shift of every question that has a pair."""
        return {question: float(np.mean(found)) for question, found in self.shifts.items()}


def shift(before: BySample, after: BySample) -> float | None:
    """The mean shift over the samples that both sides have; None where they share none.

    Sample by sample, because a sample's index decides the order in which levels are listed.
    """
    common = before.keys() & after.keys()
    if not common:
        return None
    return sum(after[sample] - before[sample] for sample in sorted(common)) / len(common)


def cells(compared: Iterable[Compared], rubric: Rubric) -> dict[str, Cell]:
    """Criterion → its shifts. Pairs that lack a side are counted, never filled in."""
    table = {criterion.criterion: Cell() for criterion in rubric.criteria}
    for pair in compared:
        for criterion in rubric.criteria:
            if not criterion.applies_to(pair.question.category):
                continue
            name = criterion.criterion
            cell = table[name]
            cell.planned += 1
            moved = shift(pair.before[name], pair.after[name])
            if moved is not None:
                cell.shifts[pair.question.question_id].append(moved)
            elif not pair.before[name]:
                cell.missing_original += 1
            else:
                cell.missing_variant += 1
    return table


def generator(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one statistic: the same whatever else the study holds."""
    return np.random.default_rng([seed, crc32(name.encode())])


def findings(study: Study, collected: Collected, seed: int) -> Found:
    """All findings of a study; `docs/probes.md` describes the mapping."""
    scores = collected.scores
    criteria = [criterion.criterion for criterion in study.rubric.criteria]
    tables: dict[str, dict[str, Cell]] = {}
    probes = []
    for probe in study.probes:
        entry = _entry(probe, study)
        match probe.name:
            case catalogue.CRITERION_ORDER if probe.name not in study.skipped:
                entry |= _criterion_order(study, collected.rotated, seed)
            case catalogue.NULL_ANSWERS if study.nulls:
                entry |= null_findings(study, scores, generator(seed, probe.name))
            case catalogue.INJECTION if probe.name not in study.skipped:
                entry |= injection_findings(study, scores, generator(seed, probe.name))
            case catalogue.FLAGGED if study.suspects:
                entry |= flagged_findings(study, scores, collected.canaries)
            case _ if probe.name not in study.skipped:
                table = cells(_compared(probe, study, scores), study.rubric)
                tables[probe.name] = table
                entry["criteria"] = _criteria(probe, table, seed)
                entry["outcome"] = of_family(entry["criteria"])
        probes.append(entry)
    return {
        "confidence": CONFIDENCE,
        "criteria": [{"criterion": c.criterion, "name": c.name} for c in study.rubric.criteria],
        "probes": probes,
        **_specificity(study, tables, criteria, seed),
        "elsewhere": dict(catalogue.ELSEWHERE),
    }


def overall(outcomes: Sequence[str | None]) -> str | None:
    """Fail if one part fails, pass if all pass; None where nothing was asked."""
    asked = [outcome for outcome in outcomes if outcome is not None]
    if not asked:
        return None
    if Outcome.FAIL in asked:
        return Outcome.FAIL.value
    return (Outcome.PASS if set(asked) == {Outcome.PASS} else Outcome.INCONCLUSIVE).value


def of_family(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The outcome of a probe: as `overall`, but a failure has to stand among all of its criteria.

    Passing needs no such correction, because every criterion has to pass.
    """
    return overall(
        [
            Outcome.INCONCLUSIVE if row["outcome"] == Outcome.FAIL and not row["surely"]
            else row["outcome"]
            for row in rows
        ]
    )  # fmt: skip


def _entry(probe: Probe, study: Study) -> Found:
    return {
        "probe": probe.name,
        "family": probe.family.value,
        "title": probe.title,
        "what": probe.what,
        "target": probe.target,
        "skipped": study.skipped.get(probe.name),
        "left_out": dict(study.left_out.get(probe.name, {})),
        "outcome": None,
    }


def _compared(probe: Probe, study: Study, scores: Scores) -> list[Compared]:
    """What a probe compares, as far as it was judged."""
    names = [criterion.criterion for criterion in study.rubric.criteria]
    if probe.name in catalogue.OF_THE_PROMPT:
        other = 1 if probe.name == catalogue.LEVEL_ORDER else 2
        return [
            Compared(
                item.question,
                {name: _one(scores.scored(item, name), 0) for name in names},
                {name: _one(scores.scored(item, name), other) for name in names},
            )
            for item in study.originals
        ]
    wanted = range(study.samples)
    return [
        Compared(
            pair.base.question,
            {name: _some(scores.scored(pair.base, name), wanted) for name in names},
            {name: _some(scores.scored(pair.variant, name), wanted) for name in names},
        )
        for pair in study.pairs
        if pair.probe == probe.name
    ]


def _one(by_sample: BySample, sample: int) -> BySample:
    """The score of one sample, under the index 0, so that two samples can be compared."""
    return {0: by_sample[sample]} if sample in by_sample else {}


def _some(by_sample: BySample, wanted: range) -> BySample:
    return {sample: score for sample, score in by_sample.items() if sample in wanted}


def _matrix(columns: Sequence[Mapping[str, float]]) -> Floats:
    """Columns of question means as a matrix, (n_questions, n_columns), NaN where missing."""
    questions = sorted(set().union(*columns)) if columns else []
    return np.array(
        [[column.get(question, np.nan) for column in columns] for question in questions]
    ).reshape(len(questions), len(columns))


def _criteria(probe: Probe, table: Mapping[str, Cell], seed: int) -> list[Found]:
    names = list(table)
    regions = [probe.region(name) for name in names]
    matrix = _matrix([table[name].means() for name in names])
    judged = sum(region is not None for region in regions)
    found = statistics.shifts(matrix, regions, rng=generator(seed, probe.name), family=judged)
    rows = []
    for name, region, result in zip(names, regions, found, strict=True):
        cell = table[name]
        row: Found = {
            "criterion": name,
            "wanted": None if region is None else region.words(),
            "margin": None if region is None else [region.low, region.high],
            "planned": cell.planned,
            "n_pairs": cell.n_pairs,
            "missing_original": cell.missing_original,
            "missing_variant": cell.missing_variant,
        }
        if result is None:
            empty = dict.fromkeys(("value", "low", "high", "sd", "needed"))
            inconclusive = Outcome.INCONCLUSIVE.value if region and cell.planned else None
            row |= {**empty, "n_questions": 0, "outcome": inconclusive, "surely": False}
        else:
            row |= asdict(result)
        rows.append(row)
    return rows


def _criterion_order(study: Study, rotated: Scores, seed: int) -> Found:
    """What each slot of a call with all criteria adds to the score of what stands there."""
    items = fully_judged(study)
    names = [criterion.criterion for criterion in study.rubric.criteria]
    n, samples = len(names), rotations(len(names))
    values = np.full((len(items), samples, n), np.nan)
    for row, item in enumerate(items):
        for column, name in enumerate(names):
            for sample, score in rotated.scored(item, name).items():
                values[row, sample, column] = score
    slots = (np.arange(n)[None, :] - np.arange(samples)[:, None]) % n
    effects = statistics.slot_shifts(values, slots)
    questions = [item.question.question_id for item in items]
    columns = []
    for slot in range(n):
        cell = Cell()
        for question, effect in zip(questions, effects[:, slot], strict=True):
            if not np.isnan(effect):
                cell.shifts[question].append(float(effect))
        columns.append(cell.means())
    found = statistics.shifts(
        _matrix(columns), [SAME] * n, rng=generator(seed, catalogue.CRITERION_ORDER), family=n
    )
    rows = [
        {"slot": slot + 1, "wanted": SAME.words(), **(asdict(result) if result else {})}
        for slot, result in enumerate(found)
        if result is not None
    ]
    return {
        "slots": rows,
        "planned": values.size,
        "missing": int(np.isnan(values).sum()),
        "outcome": of_family(rows) or Outcome.INCONCLUSIVE.value,
    }


def _specificity(
    study: Study, tables: Mapping[str, Mapping[str, Cell]], criteria: Sequence[str], seed: int
) -> Found:
    """The matrix of targeted changes × criteria, how specific each is, and the halo over all.

    Criteria that a change touches legitimately (no region) are shown and left out of the others.
    """
    rows: list[Found] = []
    targeted: dict[str, list[float]] = defaultdict(list)
    spilled: dict[str, list[float]] = defaultdict(list)
    for probe in study.probes:
        aim = probe.target
        if aim is None or aim not in tables.get(probe.name, ()):
            continue
        means = {name: cell.means() for name, cell in tables[probe.name].items()}
        if not means[aim]:
            continue
        others = [name for name in criteria if name != aim and probe.region(name) is not None]
        target, rest = means[aim], _mean_of(means[name] for name in others)
        for question, (moved, beside) in _both(target, rest).items():
            targeted[question].append(moved)
            spilled[question].append(beside)
        matrix = _matrix([target, rest])
        specific = statistics.specificity(
            matrix[:, 0], matrix[:, 1], rng=generator(seed, f"specificity {probe.name}")
        )
        rows.append(
            {
                "probe": probe.name,
                "title": probe.title,
                "target": aim,
                "cells": [_matrix_cell(name, means[name], probe) for name in criteria],
                "specificity": None if specific is None else asdict(specific),
            }
        )
    questions = sorted(targeted)
    found = statistics.halo(
        np.array([np.mean(targeted[question]) for question in questions]),
        np.array([np.mean(spilled[question]) for question in questions]),
        rng=generator(seed, "halo"),
    )
    outcomes = [row["specificity"]["outcome"] for row in rows if row["specificity"] is not None]
    return {
        "specificity": {"rows": rows, "outcome": overall(outcomes)},
        "halo": None if found is None else asdict(found),
    }


def _matrix_cell(criterion: str, means: Mapping[str, float], probe: Probe) -> Found:
    return {
        "criterion": criterion,
        "value": float(np.mean(list(means.values()))) if means else None,
        "n_questions": len(means),
        "touched": criterion != probe.target and probe.region(criterion) is None,
    }


def _mean_of(columns: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """The mean over columns of question means, by question."""
    rest: dict[str, list[float]] = defaultdict(list)
    for column in columns:
        for question, value in column.items():
            rest[question].append(value)
    return {question: float(np.mean(values)) for question, values in rest.items()}


def _both(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    return {question: (one[question], other[question]) for question in one.keys() & other.keys()}
