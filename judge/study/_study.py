"""A study: the judges' scores of answers beside people's ratings of some of them.

Agreement, calibration and estimation all start from one `Study`: arrays over answers × criteria ×
judges, all on 0 to 1, NaN where there is no number. It is the only place where a missing score is
NaN; records and files say why it is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from judge.records import OVERALL

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratings:
    """Single ratings, one row each: who gave which answer what on which criterion.

    ``answers``, ``criteria``, ``raters`` are (m,) numbers of rows of the study, of its criteria and
    of ``names``; ``values`` are (m,) in [0, 1].
    """

    answers: Indices
    criteria: Indices
    raters: Indices
    values: Floats
    names: tuple[str, ...]

    def of(self, criterion: int) -> Ratings:
        """The ratings on one criterion (by number)."""
        return self.only(self.criteria == criterion)

    def only(self, keep: Flags) -> Ratings:
        """Some of the ratings; ``keep`` is (m,)."""
        return replace(
            self,
            answers=self.answers[keep],
            criteria=self.criteria[keep],
            raters=self.raters[keep],
            values=self.values[keep],
        )


@dataclass(frozen=True, kw_only=True)
class Study:
    """n answers × c criteria × j judges, with what people said of some of them.

    ``questions`` and ``models`` are (n,) numbers into ``question_ids`` and ``model_names``;
    ``samples`` (n,) says which of a model's answers to the question it is.
    ``scores`` is (n, c, j) in [0, 1], NaN where a judge gave none; ``sds`` is (n, c, j), the
    standard deviation between a judge's samples (or of its distribution), NaN where unknown.
    ``human`` is (n, c) in [0, 1], the mean of an answer's raters, NaN where nobody rated;
    ``n_raters`` is (n, c). ``applicable`` is (n, c), False where the rubric excludes the criterion
    (nothing is missing there). ``steps`` gives per criterion the number of steps of the people's
    scale (1 to 5 has 4), None where the ratings are no whole steps of one scale.
    ``lowest`` and ``highest`` are (n, c, j): what a score could have been with those of the judge's
    samples that gave none at the low or at the high end, equal to it where none is lost; None where
    the source does not know how many were wanted.
    ``words`` is (n,), the length of an answer, and ``probability`` (n, c), the chance with which a
    rated cell was drawn for rating: both NaN where unknown. ``categories`` gives each question's.
    """

    criteria: tuple[str, ...]
    judges: tuple[str, ...]
    question_ids: tuple[str, ...]
    model_names: tuple[str, ...]
    questions: Indices
    models: Indices
    samples: Indices
    scores: Floats
    sds: Floats
    human: Floats
    n_raters: Indices
    applicable: Flags
    ratings: Ratings
    steps: tuple[int | None, ...]
    words: Floats
    probability: Floats
    categories: tuple[str | None, ...]
    lowest: Floats | None = None
    highest: Floats | None = None

    def __len__(self) -> int:
        """The number of answers."""
        return len(self.questions)

    @cached_property
    def panel(self) -> Floats:
        """The mean over the judges, (n, c); NaN unless every judge gave a score."""
        return np.asarray(self.scores.mean(axis=2))

    @cached_property
    def rated(self) -> Flags:
        """Which cells have a human rating and a score of every judge, (n, c)."""
        return np.asarray(~np.isnan(self.human) & ~np.isnan(self.panel))

    def column(self, criterion: str) -> int:
        """The number of a criterion. Raises KeyError for one that the study does not hold."""
        try:
            return self.criteria.index(criterion)
        except ValueError:
            raise KeyError(criterion) from None

    def only(self, keep: Flags | Indices) -> Study:
        """The study of some answers (a mask or row numbers, none of them twice).

        Questions and models keep their numbers.
        """
        rows = np.flatnonzero(keep) if keep.dtype == np.bool_ else np.asarray(keep, np.int64)
        place = np.full(len(self), -1, np.int64)
        place[rows] = np.arange(len(rows))
        ratings = self.ratings.only(place[self.ratings.answers] >= 0)
        of_rows = {
            name: getattr(self, name)[rows]
            for name in (
                "questions", "models", "samples", "scores", "sds", "human", "n_raters",
                "applicable", "words", "probability",
            )
        }  # fmt: skip
        return replace(
            self,
            **of_rows,
            ratings=replace(ratings, answers=place[ratings.answers]),
            lowest=None if self.lowest is None else self.lowest[rows],
            highest=None if self.highest is None else self.highest[rows],
        )

    def of_criteria(self, names: Sequence[str]) -> Study:
        """The study of some criteria, in that order. Raises KeyError for one that is not there."""
        columns = np.array([self.column(name) for name in names], np.int64)
        place = np.full(len(self.criteria), -1, np.int64)
        place[columns] = np.arange(len(columns))
        ratings = self.ratings.only(place[self.ratings.criteria] >= 0)
        return replace(
            self,
            criteria=tuple(names),
            scores=self.scores[:, columns],
            sds=self.sds[:, columns],
            human=self.human[:, columns],
            n_raters=self.n_raters[:, columns],
            applicable=self.applicable[:, columns],
            probability=self.probability[:, columns],
            ratings=replace(ratings, criteria=place[ratings.criteria]),
            steps=tuple(self.steps[at] for at in columns),
            lowest=None if self.lowest is None else self.lowest[:, columns],
            highest=None if self.highest is None else self.highest[:, columns],
        )

    def without_ratings(self, hidden: Flags) -> Study:
        """The study as if the ratings of some cells, (n, c) or answers, (n,), did not exist."""
        cells = hidden if hidden.ndim == 2 else np.repeat(hidden[:, None], len(self.criteria), 1)
        kept = self.ratings.only(~cells[self.ratings.answers, self.ratings.criteria])
        return replace(
            self,
            human=np.where(cells, np.nan, self.human),
            n_raters=np.where(cells, 0, self.n_raters),
            ratings=kept,
        )

    def drawn(self) -> Study:
        """The study without the ratings that say more about some answers than about the others.

        Of a model and criterion with drawn answers (a chance below 1), those are left out that were
        rated with certainty, because someone had to look, and those of unknown chance. What is not
        weighted by chances (maps, agreement, shifts of models) is to be made from the rest.
        """
        rated = ~np.isnan(self.human)
        chance = self.probability < 1
        picked = np.zeros(rated.shape, bool)
        for model in range(len(self.model_names)):
            rows = self.models == model
            designed = (chance & rated)[rows].any(axis=0)
            picked[rows] = rated[rows] & ~chance[rows] & designed
        return self.without_ratings(picked) if picked.any() else self

    def _joint_probability(self) -> Floats:
        """The chance of an answer's overall, (n,): known where all its rated cells share one."""
        chance = np.where(np.isnan(self.human), np.nan, self.probability)
        known = ~np.isnan(chance)
        least = np.where(known, chance, np.inf).min(axis=1, initial=np.inf)
        most = np.where(known, chance, -np.inf).max(axis=1, initial=-np.inf)
        whole = (known == ~np.isnan(self.human)).all(axis=1) & (least == most)
        return np.where(whole & known.any(axis=1), least, np.nan)

    def with_overall(self, overall: Callable[[Floats, Flags], Floats]) -> Study:
        """The study with a last criterion ``overall``.

        ``overall(values, applicable)`` gives the (n,) overalls of (n, c) values, NaN where one is
        missing. It is applied to each judge's scores and to the means of the people's ratings, so
        that caps, which are not linear, act on single answers. The overall of answers that several
        people rated has no single ratings.
        """
        if OVERALL in self.criteria:
            raise ValueError("the study has an overall already")

        def judged(cells: Floats) -> Floats:
            whole = [overall(cells[:, :, at], self.applicable) for at in range(len(self.judges))]
            return np.concatenate([cells, np.stack(whole, axis=1)[:, None, :]], axis=1)

        scores = judged(self.scores)
        human = overall(self.human, self.applicable)
        counted = np.where(self.applicable, self.n_raters, np.iinfo(np.int64).max).min(axis=1)
        return replace(
            self,
            criteria=(*self.criteria, OVERALL),
            scores=scores,
            sds=np.concatenate([self.sds, np.full_like(scores[:, -1:], np.nan)], axis=1),
            human=np.column_stack([self.human, human]),
            n_raters=np.column_stack([self.n_raters, np.where(np.isnan(human), 0, counted)]),
            applicable=np.column_stack([self.applicable, self.applicable.any(axis=1)]),
            probability=np.column_stack([self.probability, self._joint_probability()]),
            steps=(*self.steps, None),
            lowest=None if self.lowest is None else judged(self.lowest),
            highest=None if self.highest is None else judged(self.highest),
        )
