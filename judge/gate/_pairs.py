"""The two models' scores, paired by question."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from judge.errors import UsageError
from judge.gate._result import Failures, Missing
from judge.study import Flags, Floats, Indices, Study

Overall = Callable[[Floats, Flags], Floats]

_OPEN = 1e-9
"""Of the scale; what a score leaves open below that is rounding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Scores (n, c) with every missing one at the low or at the high end of the scale."""

    low: Floats
    high: Floats


def missing_bounds(study: Study, overall: Overall) -> Bounds:
    """What each score of a study with overall could have been, given what is missing.

    A score is its own bound, unless it is the mean of fewer of the judge's samples than wanted:
    then the lost ones stand at the end as well. An overall lies between those of the criteria's
    ends, also one that was made without some of them: ``overall`` must not fall where a criterion
    rises. NaN where there can be no overall at all.
    """
    ends = []
    for end, known in ((0.0, study.lowest), (1.0, study.highest)):
        scores = study.scores if known is None else known
        filled = np.where(np.isnan(scores), end, scores)[:, :-1]
        of_judges = [
            overall(filled[:, :, at], study.applicable[:, :-1]) for at in range(filled.shape[2])
        ]
        whole = np.concatenate([filled, np.stack(of_judges, axis=1)[:, None]], axis=1)
        ends.append(whole.mean(axis=2))
    return Bounds(low=ends[0], high=ends[1])


@dataclass(frozen=True, kw_only=True)
class Column:
    """One criterion on the questions to which it applies for any of the two models' answers.

    ``deltas`` (m,) are the differences of the questions with a score of both, ``worst`` and
    ``best`` (at least m) those of all, with whatever is missing at the end that hurts or helps the
    candidate: verdicts, answers that a model gave to other questions, and questions that it lacks.
    ``means`` are the models' over the m questions. ``rows`` are the answers' in play.
    """

    deltas: Floats
    worst: Floats
    best: Floats
    means: tuple[float, float] | None
    missing: Missing
    rows: Indices


class Paired:
    """Two models of a study on their common questions."""

    def __init__(self, study: Study, bounds: Bounds, baseline: str, candidate: str) -> None:
        """Raises UsageError for a model that is not there, one named twice, and no question."""
        for option, name in (("--baseline", baseline), ("--candidate", candidate)):
            if name not in study.model_names:
                raise UsageError(f"{option} {name}: there is {', '.join(study.model_names)}.")
        if baseline == candidate:
            raise UsageError("--baseline and --candidate name the same model.")
        self.study, self._bounds = study, bounds
        self._baseline = study.models == study.model_names.index(baseline)
        self._candidate = study.models == study.model_names.index(candidate)
        first, second = (
            set(study.questions[rows].tolist()) for rows in (self._baseline, self._candidate)
        )
        names = study.question_ids
        self.baseline_only = tuple(sorted(names[at] for at in first - second))
        self.candidate_only = tuple(sorted(names[at] for at in second - first))
        self.common = np.array(sorted(first & second), np.int64)
        if not self.common.size:
            raise UsageError(
                f"{baseline} and {candidate} have no question in common: a gate compares answers "
                "to the same questions."
            )
        silent = [
            [
                name
                for at, name in enumerate(study.judges)
                if np.isnan(study.scores[rows, :, at]).all()
            ]
            for rows in (self._baseline, self._candidate)
        ]
        if silent[0] != silent[1]:
            whose = [set(study.judges) - set(names) for names in silent]
            raise UsageError(
                f"{baseline} was judged by {', '.join(sorted(whose[0])) or 'nobody'}, {candidate} "
                f"by {', '.join(sorted(whose[1])) or 'nobody'}: scores of different judges are not "
                "compared. Score both with the same."
            )
        self._shared = np.isin(study.questions, self.common)

    @cached_property
    def failures(self) -> Failures:
        """On how many questions each model misses the larger share of its verdicts."""
        from scipy import stats  # type: ignore[import-untyped]  # slow to load

        lacking = np.where(self.study.applicable, self._open, 0.0)[:, :-1].sum(axis=1)
        wanted = self.study.applicable[:, :-1].sum(axis=1)
        shares = [
            self._per_question(rows & self._shared, lacking)
            / np.maximum(self._per_question(rows & self._shared, wanted.astype(float)), 1)
            for rows in (self._baseline, self._candidate)
        ]
        apart = shares[1] - shares[0]
        more, less = int((apart > 1e-12).sum()), int((apart < -1e-12).sum())
        p = float(stats.binom.sf(more - 1, more + less, 0.5)) if more + less else 1.0
        return Failures(candidate_more=more, baseline_more=less, p=p)

    def column(self, criterion: int, category: str | None = None) -> Column:
        """One criterion by its number, on all questions or those of a category."""
        # An overall in which no applicable criterion weighs anything has no bounds either.
        low, high = self._bounds.low[:, criterion], self._bounds.high[:, criterion]
        rows = self.study.applicable[:, criterion] & ~np.isnan(low)
        if category is not None:
            inside = np.array([name == category for name in self.study.categories], bool)
            rows = rows & inside[self.study.questions]
        values = self.study.panel[:, criterion]
        sides = [rows & model for model in (self._baseline, self._candidate)]
        have = [self._per_question(side, np.ones(len(rows))) for side in sides]
        # What applies to one model's answers and is not there for the other's is missing.
        played = (have[0] > 0) | (have[1] > 0)
        ends = [
            self._ends(side, count, wanted, low, high)
            for side, count, wanted in zip(sides, have, self._answers, strict=True)
        ]
        base, cand = (self._means(side, values) for side in sides)
        both = ~np.isnan(base) & ~np.isnan(cand)
        in_play = np.isin(self.study.questions, np.flatnonzero(played))
        absent = [
            int((wanted - count)[played].clip(0).sum())
            for count, wanted in zip(have, self._answers, strict=True)
        ]
        lacking = [
            int((side & np.isnan(values)).sum()) + gone
            for side, gone in zip(sides, absent, strict=True)
        ]
        open_ = self._open[:, criterion]
        partly = [side & ~np.isnan(values) & (open_ > _OPEN) for side in sides]
        wanted = [
            int(np.maximum(count, wanted)[played].sum())
            for count, wanted in zip(have, self._answers, strict=True)
        ]
        means = (float(base[both].mean()), float(cand[both].mean())) if both.any() else None
        return Column(
            deltas=(cand - base)[both],
            worst=(ends[1][0] - ends[0][1])[played],
            best=(ends[1][1] - ends[0][0])[played],
            means=means,
            missing=Missing(
                baseline=lacking[0], candidate=lacking[1],
                baseline_wanted=wanted[0], candidate_wanted=wanted[1],
                baseline_partly=int(partly[0].sum()), candidate_partly=int(partly[1].sum()),
                baseline_open=lacking[0] + float(open_[partly[0]].sum()),
                candidate_open=lacking[1] + float(open_[partly[1]].sum()),
            ),
            rows=np.flatnonzero((sides[0] | sides[1]) & in_play),
        )  # fmt: skip

    @cached_property
    def _open(self) -> Floats:
        """The share of each score that is missing, (n, c): 1 of one that is not there.

        Of one that rests on some of what it should, it is the share of the scale that this leaves
        open: of judge samples the lost share, of an overall the weight of what is missing.
        """
        width = self._bounds.high - self._bounds.low
        return np.where(np.isnan(self.study.panel), 1.0, np.nan_to_num(width))

    @cached_property
    def _answers(self) -> tuple[int, int]:
        """How many answers each model gives to a question: as many as to the best supplied one."""
        counts = [
            self._per_question(model, np.ones(len(self.study)))
            for model in (self._baseline, self._candidate)
        ]
        return int(counts[0].max()), int(counts[1].max())

    def _ends(
        self, rows: Flags, have: Floats, wanted: int, low: Floats, high: Floats
    ) -> tuple[Floats, Floats]:
        """The least and the most that a model's mean per question can be, (q,) each.

        Of ``wanted`` answers it has ``have``, which lie between their bounds; the others may be 0
        or 1.
        """
        size = np.maximum(have, wanted)
        least = self._per_question(rows, low)
        most = self._per_question(rows, high) + (size - have)
        return least / size, most / size

    def _means(self, rows: Flags, values: Floats) -> Floats:
        """The mean over the answers of each question that have a value; NaN without any."""
        there = rows & ~np.isnan(values)
        counts = self._per_question(there, np.ones(len(values)))
        sums = self._per_question(there, np.where(there, values, 0.0))
        return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)

    def _per_question(self, rows: Flags, values: Floats) -> Floats:
        return np.asarray(
            np.bincount(
                self.study.questions[rows],
                weights=values[rows],
                minlength=len(self.study.question_ids),
            ),
            np.float64,
        )
