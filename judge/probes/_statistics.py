"""From paired scores to statements: shifts, order effects, specificity, halo, success rates.

All functions are pure and take arrays of question means: rows are questions, so that answers to
the same question count once together. Scores lie in [0, 1], shifts in [-1, 1], NaN marks a pair of
which one side is missing. A statement has three outcomes. With the interval of `CONFIDENCE` = 90 %,
each of its two sides is a one-sided bound at 95 %: a shift that lies on the edge of what is wanted
is called a pass, or a fail, in at most about 5 % of studies (two one-sided tests).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from judge.differences import (
    END_WEIGHT,
    paired_difference,
    paired_differences,
    questions_needed,
)
from judge.intervals import mean_interval

CONFIDENCE = 0.90
LEAST_QUESTIONS = 8
"""Below this many questions with a pair, a probe is inconclusive, whatever its interval."""
DRAWS = 20_000
"""More than elsewhere: where nothing moved, the bounds lie in a thin tail close to the margin."""
SUCCESS = 0.1
"""A rise of the score by more than this is an attack's success."""

_MOST_QUESTIONS = 100_000
_FAMILY_ERROR = 0.05

Floats = NDArray[np.float64]


class Outcome(StrEnum):
    """What a probe found about one criterion."""

    PASS = "pass"  # noqa: S105 - an outcome, no password
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True)
class Region:
    """Where a shift has to lie; None: no bound on that side."""

    low: float | None
    high: float | None

    def outcome(self, low: float, high: float) -> Outcome:
        """Pass if the interval lies inside, fail if it lies wholly outside."""
        if (self.low is None or low >= self.low) and (self.high is None or high <= self.high):
            return Outcome.PASS
        if (self.low is not None and high < self.low) or (
            self.high is not None and low > self.high
        ):
            return Outcome.FAIL
        return Outcome.INCONCLUSIVE

    def gap(self, value: float) -> float:
        """How far a value lies from the nearest edge of the region."""
        return min(abs(value - edge) for edge in (self.low, self.high) if edge is not None)

    def words(self) -> str:
        """What is wanted, in words."""
        if self.low is None:
            assert self.high is not None
            if self.high < 0:
                return f"falls by at least {-self.high:.2f}"
            return f"does not rise by more than {self.high:.2f}"
        return f"moves by less than {self.high:.2f}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """The mean shift of a criterion under a probe, with its interval and what follows from it.

    ``sd`` is the standard deviation of the question means. ``outcome`` is None where nothing is
    asked of the criterion. ``surely`` says whether a failure stands among all criteria that
    the probe is asked about (t test, 5 % over all of them).
    ``needed`` is about how many questions would decide an inconclusive probe, if the shift is what
    it looks like (None: decided, or more than 100,000).
    """

    value: float
    low: float
    high: float
    sd: float
    n_questions: int
    outcome: Outcome | None
    surely: bool
    needed: int | None


def shifts(
    matrix: NDArray[np.floating],
    regions: Sequence[Region | None],
    *,
    rng: np.random.Generator,
    confidence: float = CONFIDENCE,
    draws: int = DRAWS,
    family: int = 1,
) -> list[Shift | None]:
    """The shift of every column of question means, and whether it lies in the column's region.

    ``matrix`` is (n_questions, n_columns), NaN where a question lacks the pair; ``regions`` has an
    entry per column, None where nothing is asked; ``family`` is the number of columns whose
    failures are taken together. A column without pairs gives None.
    """
    found = paired_differences(matrix, confidence=confidence, draws=draws, rng=rng)
    results: list[Shift | None] = []
    for difference, region in zip(found, regions, strict=True):
        if difference is None:
            results.append(None)
            continue
        value, low, high, sd, n = difference
        outcome, needed, surely = None, None, False
        if region is not None:
            outcome = region.outcome(low, high)
            if n < LEAST_QUESTIONS:
                outcome = Outcome.INCONCLUSIVE
            if outcome is Outcome.INCONCLUSIVE:
                needed = _needed(region.gap(value), sd, n, confidence)
            if outcome is Outcome.FAIL:
                surely = _stands(region.gap(value), sd, n, family)
        results.append(
            Shift(
                value=value, low=low, high=high, sd=sd, n_questions=n,
                outcome=outcome, surely=surely, needed=needed,
            )
        )  # fmt: skip
    return results


def _jackknifed_ratio(above: Floats, below: Floats) -> float:
    """mean(above) / mean(below) without its bias of order 1/n (Quenouille 1956).

    A ratio of means is too large in size where the mean below is uncertain.
    """
    n = len(above)
    plain = float(above.mean() / below.mean())
    if n < 3:
        return plain
    without = (above.sum() - above) / (below.sum() - below)
    return float(n * plain - (n - 1) * without.mean())


def _stands(gap: float, sd: float, n: int, family: int) -> bool:
    """Whether a shift that lies ``gap`` outside its region does so among ``family`` criteria.

    A t test of the edge of the region at 5 % over the family and both sides (Bonferroni). The
    bootstrap cannot say this: its pseudo-observations rule so far out in the tail.
    """
    if sd == 0:
        return True
    from scipy import stats  # type: ignore[import-untyped]  # slow to load

    tail = float(stats.t.sf(gap * math.sqrt(n) / sd, n - 1))
    return tail <= _FAMILY_ERROR / (2 * max(family, 1))


def _needed(gap: float, sd: float, n: int, confidence: float) -> int | None:
    """Questions that would decide, at least one more than there are; None: beyond reason."""
    wanted = questions_needed(gap, sd, confidence)
    if not wanted <= _MOST_QUESTIONS:
        return None
    return max(LEAST_QUESTIONS, n + 1, math.ceil(wanted))


def slot_shifts(scores: NDArray[np.floating], slots: NDArray[np.integer]) -> Floats:
    """How far each slot of a prompt lifts the criterion that stands in it, per answer.

    ``scores`` is (n_answers, n_samples, n_criteria), NaN where missing, and ``slots`` of shape
    (n_samples, n_criteria) says in which slot a sample lists a criterion. Returns
    (n_answers, n_slots): the mean over criteria of the score in that slot minus the criterion's
    mean over all slots. An answer and criterion that lacks one of the samples is left out, because
    its mean would lean to the slots that are there. A plan in which every criterion visits every
    slot equally often, with as many ascending as descending level lists over the criteria, makes
    the level order cancel.
    """
    values = np.asarray(scores, dtype=np.float64)
    complete = ~np.isnan(values).any(axis=1, keepdims=True)
    centred = np.where(complete, values - values.mean(axis=1, keepdims=True), np.nan)
    n_slots = int(slots.max()) + 1
    out = np.full((len(values), n_slots), np.nan)
    for slot in range(n_slots):
        held = centred[:, slots == slot]
        present = ~np.isnan(held)
        counts = present.sum(axis=1)
        sums = np.where(present, held, 0.0).sum(axis=1)
        np.divide(sums, counts, out=out[:, slot], where=counts > 0)
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Specificity:
    """How much more a targeted change moves its own criterion than the others, in score units.

    ``difference`` is the fall of the target minus the mean fall of the others.
    """

    difference: float
    low: float
    high: float
    n_questions: int
    outcome: Outcome


def specificity(
    target: NDArray[np.floating], others: NDArray[np.floating], *, rng: np.random.Generator,
    confidence: float = CONFIDENCE, least: float = 0.1,
) -> Specificity | None:  # fmt: skip
    """Whether the target falls by ``least`` more than the other criteria do on average.

    ``target`` is (n_questions,), the shift of the targeted criterion; ``others`` is (n_questions,),
    the mean shift of the others. None where no question has both.
    """
    both = ~(np.isnan(target) | np.isnan(others))
    if not both.any():
        return None
    contrast = others[both] - target[both]
    found = paired_difference(contrast, confidence=confidence, rng=rng, reach=2.0)
    outcome = Region(least, None).outcome(found.low, found.high)
    if found.n_questions < LEAST_QUESTIONS:
        outcome = Outcome.INCONCLUSIVE
    return Specificity(
        difference=found.value, low=found.low, high=found.high,
        n_questions=found.n_questions, outcome=outcome,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Halo:
    """The spill-over: mean shift of the untargeted criteria as a share of the targeted shift."""

    value: float
    low: float
    high: float
    n_questions: int


def halo(
    target: NDArray[np.floating], others: NDArray[np.floating], *, rng: np.random.Generator,
    confidence: float = CONFIDENCE, draws: int = DRAWS,
) -> Halo | None:  # fmt: skip
    """The ratio of means mean(others) / mean(target) over questions, with its interval.

    0: a targeted change moves its own criterion alone; 1: it moves all alike. Bayesian bootstrap
    over questions, with pseudo-questions of weight 0.1 each at a halo of -1 and +1; the value is
    the jackknife estimate. None where the
    target did not surely move (its 95 % interval reaches 0): a share of nothing is no number.
    """
    both = ~(np.isnan(target) | np.isnan(others))
    moved, spilled = target[both], others[both]
    if not len(moved):
        return None
    certain = paired_difference(moved, confidence=0.95, draws=draws, rng=rng)
    if certain.low <= 0 <= certain.high:
        return None
    weights = rng.standard_exponential((draws, len(moved)))
    ends = rng.standard_gamma(END_WEIGHT, (draws, 2))
    mean = moved.mean()
    above = weights @ spilled + (ends[:, 1] - ends[:, 0]) * mean
    ratios = above / (weights @ moved + ends.sum(axis=1) * mean)
    plain = float(spilled.mean() / mean)
    value = _jackknifed_ratio(spilled, moved)
    tail = (1 - confidence) / 2
    # The draws lean to the same side as the plain ratio, and start from it: hence twice.
    low, high = np.quantile(ratios, [tail, 1 - tail]) - 2 * (plain - value)
    return Halo(
        value=value,
        low=float(min(low, value)),
        high=float(max(high, value)),
        n_questions=len(moved),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SuccessRate:
    """The share of tries in which an attack raised the score, with bounds.

    ``low`` and ``high`` are Wilson's (1927), as if tries were independent; ``outcome`` rests on
    them. Tries on the same answer are not independent: ``clustered_high`` is the upper bound with
    answers as clusters, which speaks about other answers too and is far wider with few of them.
    """

    successes: int
    tries: int
    value: float
    low: float
    high: float
    clustered_high: float
    n_answers: int
    outcome: Outcome


def success_rate(
    succeeded: NDArray[np.bool_], answers: NDArray[np.integer], *, rng: np.random.Generator,
    confidence: float = CONFIDENCE, most: float = 0.05,
) -> SuccessRate | None:  # fmt: skip
    """The success rate of tries, (n,), on ``answers``, (n,); it is to be at most ``most``.

    Pass where Wilson's upper bound lies below ``most``, fail where the lower bound lies above it.
    None without a try.
    """
    tries = len(succeeded)
    if not tries:
        return None
    successes = int(succeeded.sum())
    low, high = wilson(successes, tries, confidence)
    clustered = mean_interval(
        succeeded.astype(np.float64), answers, confidence=confidence, rng=rng
    ).high
    outcome = Outcome.INCONCLUSIVE
    if high <= most:
        outcome = Outcome.PASS
    elif low > most:
        outcome = Outcome.FAIL
    return SuccessRate(
        successes=successes, tries=tries, value=successes / tries, low=low, high=high,
        clustered_high=clustered, n_answers=len(np.unique(answers)), outcome=outcome,
    )  # fmt: skip


def wilson(successes: int, tries: int, confidence: float) -> tuple[float, float]:
    """Wilson's score interval for a proportion (Wilson 1927), for independent tries.

    Raises ValueError without tries.
    """
    if tries < 1:
        raise ValueError("a proportion needs at least one try")
    from scipy import stats  # slow to load

    z = float(stats.norm.isf((1 - confidence) / 2))
    share = successes / tries
    centre = (share + z**2 / (2 * tries)) / (1 + z**2 / tries)
    half = z / (1 + z**2 / tries) * math.sqrt(
        share * (1 - share) / tries + z**2 / (4 * tries**2)
    )  # fmt: skip
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == tries else centre + half
    return low, high


@dataclass(frozen=True, slots=True, kw_only=True)
class NullScore:
    """The mean score that answers without content got on one criterion."""

    value: float
    low: float
    high: float
    n_questions: int
    outcome: Outcome


def null_score(
    scores: NDArray[np.floating], clusters: NDArray[np.integer], *, rng: np.random.Generator,
    confidence: float = CONFIDENCE, most: float = 0.1,
) -> NullScore | None:  # fmt: skip
    """Whether the mean score, (n,) in [0, 1] by question, lies at or below ``most``."""
    if not len(scores):
        return None
    n = len(np.unique(clusters))
    found = mean_interval(scores, clusters, confidence=confidence, rng=rng)
    outcome = Region(None, most).outcome(found.low, found.high)
    if n < LEAST_QUESTIONS:
        outcome = Outcome.INCONCLUSIVE
    return NullScore(
        value=found.value, low=found.low, high=found.high, n_questions=n, outcome=outcome
    )
