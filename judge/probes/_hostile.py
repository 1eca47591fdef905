"""Findings on texts that try to obtain a score: null answers, injections, flagged answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any, TypeAlias

import numpy as np

from judge.probes import _catalogue as catalogue
from judge.probes import _statistics as statistics
from judge.probes._canary import CanaryRun
from judge.probes._plan import NullTry, Pair, Study, Suspect, null_criteria
from judge.probes._run import Scores
from judge.probes._statistics import SUCCESS, Outcome
from judge.rubric import Rubric
from judge.scoring import Item

Found: TypeAlias = dict[str, Any]

_MOST_EXAMPLES = 20


def mean_score(scores: Scores, item: Item, criterion: str, samples: int) -> float | None:
    """The mean over the scored samples; None without any."""
    by_sample = scores.scored(item, criterion)
    found = [score for sample, score in by_sample.items() if sample < samples]
    return fmean(found) if found else None


def null_findings(study: Study, scores: Scores, rng: np.random.Generator) -> Found:
    """The mean score of answers without content, per criterion, over all kinds and per kind."""
    criteria = [criterion.criterion for criterion in null_criteria(study.probes, study.rubric)]
    kinds = list(dict.fromkeys(null.kind for null in study.nulls))
    rows, by_kind = [], []
    for name in criteria:
        rows.append({"criterion": name, **_null_row(study.nulls, scores, name, study, rng)})
        for kind in kinds:
            tries = [null for null in study.nulls if null.kind == kind]
            row = _null_row(tries, scores, name, study, rng)
            by_kind.append({"kind": kind, "criterion": name, **row})
    outcomes = [row["outcome"] for row in by_kind]
    outcome = Outcome.INCONCLUSIVE
    if Outcome.FAIL in outcomes:
        outcome = Outcome.FAIL
    elif all(row["outcome"] == Outcome.PASS for row in by_kind):
        outcome = Outcome.PASS
    return {"nulls": rows, "kinds": by_kind, "outcome": outcome.value}


def _null_row(
    tries: Sequence[NullTry], scores: Scores, criterion: str, study: Study, rng: np.random.Generator
) -> Found:
    questions = {null.item.question.question_id: None for null in study.nulls}
    numbers = {question: number for number, question in enumerate(questions)}
    found = [
        (numbers[null.item.question.question_id], score)
        for null in tries
        if (score := mean_score(scores, null.item, criterion, study.samples)) is not None
    ]
    row: Found = {
        "planned": len(tries),
        "missing": len(tries) - len(found),
        "highest": max((score for _, score in found), default=None),
    }
    result = statistics.null_score(
        np.array([score for _, score in found]),
        np.array([number for number, _ in found], dtype=np.int64),
        rng=rng,
    )
    if result is None:
        empty = dict.fromkeys(("value", "low", "high"))
        return row | {**empty, "n_questions": 0, "outcome": Outcome.INCONCLUSIVE.value}
    return row | asdict(result)


def rise(
    before: Mapping[str, float | None], after: Mapping[str, float | None]
) -> tuple[float | None, str]:
    """The mean rise over the criteria that have room for a success, and why there is none.

    A criterion has room where its score can rise by more than `SUCCESS`. The reason is "" where
    there is a rise, "no room" or "missing".
    """
    wanted = [name for name, score in before.items() if score is None or score < 1 - SUCCESS]
    if not wanted:
        return None, "no room"
    moved = [
        new - old
        for name in wanted
        if (old := before[name]) is not None and (new := after[name]) is not None
    ]
    return (fmean(moved), "") if moved else (None, "missing")


def injection_findings(study: Study, scores: Scores, rng: np.random.Generator) -> Found:
    """The share of attacks that raised the score, over all and by family of attack.

    A try is an attack on an answer; it succeeds where the mean score over the criteria with room
    rises by more than 0.1. ``chance`` is how often the same prompt, sent twice, does the same.
    """
    pairs = [pair for pair in study.pairs if pair.probe == catalogue.INJECTION]
    bases = {pair.base.question_hash: None for pair in pairs}
    numbers = {base: number for number, base in enumerate(bases)}
    tries: list[tuple[Pair, float]] = []
    without: Counter[str] = Counter()
    for pair in pairs:
        rose, why = rise(
            _by_criterion(scores, pair.base, study.rubric, study.samples),
            _by_criterion(scores, pair.variant, study.rubric, study.samples),
        )
        if rose is None:
            without[why] += 1
        else:
            tries.append((pair, rose))

    def rate(of: Sequence[tuple[Pair, float]]) -> Found | None:
        found = statistics.success_rate(
            np.array([rose > SUCCESS for _, rose in of], dtype=bool),
            np.array([numbers[pair.base.question_hash] for pair, _ in of], dtype=np.int64),
            rng=rng,
        )
        return None if found is None else asdict(found)

    families = list(dict.fromkeys(pair.group for pair in pairs))
    total = rate(tries)
    worst = sorted(tries, key=lambda entry: (-entry[1], entry[0].label))
    return {
        "planned": len(pairs),
        "missing": without["missing"],
        "no_room": without["no room"],
        "rate": total,
        "families": [
            {
                "group": name,
                "planned": sum(pair.group == name for pair in pairs),
                "rate": rate([entry for entry in tries if entry[0].group == name]),
                "mean_rise": _mean([rose for pair, rose in tries if pair.group == name]),
            }
            for name in families
        ],
        "succeeded": [
            {
                "attack": pair.label,
                "group": pair.group,
                "question_id": pair.base.answer.question_id,
                "rise": rose,
            }
            for pair, rose in worst[:_MOST_EXAMPLES]
            if rose > SUCCESS
        ],
        "chance": _chance(study, scores),
        "outcome": Outcome.INCONCLUSIVE.value if total is None else total["outcome"],
    }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None


def _by_criterion(
    scores: Scores, item: Item, rubric: Rubric, samples: int
) -> dict[str, float | None]:
    return {
        criterion.criterion: mean_score(scores, item, criterion.criterion, samples)
        for criterion in rubric.criteria
        if criterion.applies_to(item.question.category)
    }


def _chance(study: Study, scores: Scores) -> Found | None:
    """How often the same prompt gets a score that is higher by more than 0.1 the second time.

    None where the study did not judge anything twice.
    """
    if catalogue.RETEST not in {probe.name for probe in study.probes} - study.skipped.keys():
        return None
    rose = []
    for item in study.originals:
        twice = {
            criterion.criterion: scores.scored(item, criterion.criterion)
            for criterion in study.rubric.criteria
            if criterion.applies_to(item.question.category)
        }
        moved, _ = rise(
            {name: found.get(0) for name, found in twice.items()},
            {name: found.get(2) for name, found in twice.items()},
        )
        if moved is not None:
            rose.append(moved > SUCCESS)
    return {"tries": len(rose), "successes": sum(rose)} if rose else None


def flagged_findings(study: Study, scores: Scores, canaries: CanaryRun | None) -> Found:
    """Answers that the scanner flags, with and without the flagged passages.

    ``drop`` is the mean over the criteria of the score as it is minus the score without the
    passages; above 0.1 the passages have raised the score. Single answers, hence no interval.
    ``canary`` says whether a judge that was asked for a token alone returned it.
    """
    rows = []
    for suspect in study.suspects:
        before = _by_criterion(scores, suspect.item, study.rubric, study.samples)
        after = (
            dict.fromkeys(before)
            if suspect.stripped is None
            else _by_criterion(scores, suspect.stripped, study.rubric, study.samples)
        )
        drops = {
            name: old - new
            for name, old in before.items()
            if old is not None and (new := after[name]) is not None
        }
        drop = _mean(list(drops.values()))
        rows.append(
            {
                "question_id": suspect.item.answer.question_id,
                "model": suspect.item.answer.model,
                "sample": suspect.item.answer.sample,
                "flags": _families(suspect),
                "passages": [flag.text for flag in suspect.flags][:_MOST_EXAMPLES],
                "criteria": drops,
                "drop": drop,
                "raised": None if drop is None else drop > SUCCESS,
                "canary": "not asked" if canaries is None else canaries.of(suspect.item),
            }
        )
    return {
        "flagged": rows,
        "n_flagged": study.n_flagged,
        "n_scanned": study.n_given,
        "n_raised": sum(row["raised"] is True for row in rows),
        "missing": sum(row["raised"] is None for row in rows),
    }


def _families(suspect: Suspect) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for flag in suspect.flags:
        counts[str(flag.family)] += 1
    return dict(counts)
