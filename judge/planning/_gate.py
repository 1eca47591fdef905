"""What a gate can see: detectable drops, attainable margins, and the design that they take.

A gate compares two models on the same questions. Its unit is the difference d of a question, the
candidate's mean score less the baseline's; everything here follows from the standard deviation of
d, the number of questions n, and, where the pilot can tell them apart, the components of Var(d):

    Var(d) = interaction + 2·(answer + judge / J) / K

with K answers per question and model and J judge samples per answer. ``interaction`` is how
differently the two models fare on different questions: only more questions help against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from judge.differences import END_WEIGHT
from judge.study import Floats, Indices

POWER = 0.80
ASSUMED_SD = 0.12
"""Of the differences between two versions of a model, where no pilot tells."""
ASSUMED_NOISE = 0.5
"""The assumed share of their variance that is sampling of answers and judge, not questions."""
LEAST_FREEDOM = 10
"""Degrees of freedom within answers below which their variance is not told apart."""

_MOST = 10**9
_ANSWERS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20)
_JUDGE_SAMPLES = (1, 2, 3, 5, 8)


def detectable_drop(
    sd: float, questions: int, *, alpha: float = 0.05, power: float = POWER
) -> float:
    """The smallest true drop that a one-sided test at ``alpha`` sees with probability ``power``.

    `normal_drop`, but never below the reach of the interval where no question moved, which the
    pseudo-observations of `judge.differences` give: an SD of 0 proves nothing.
    """
    normal = normal_drop(sd, questions, alpha=alpha, power=power)
    return max(normal, _floor(alpha) / questions)


def normal_drop(sd: float, questions: int, *, alpha: float = 0.05, power: float = POWER) -> float:
    """(z_alpha + z_power)·sd/√n: the minimum detectable effect of a normal mean."""
    return (_normal_point(alpha) + _normal_point(1 - power)) * sd / math.sqrt(questions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attainability:
    """Whether a candidate that is exactly as good as the baseline can pass a margin.

    ``bound`` is how far below 0 the lower bound of its difference is expected, ``chance`` the
    probability that it passes. ``needed`` questions make that chance a half, ``needed_80`` make it
    80 %; None where no number does.
    """

    margin: float
    questions: int
    sd: float
    bound: float
    chance: float
    needed: int | None
    needed_80: int | None

    @property
    def attainable(self) -> bool:
        """The expected bound stays within the margin."""
        return self.bound < self.margin


def attainability(
    margin: float, sd: float, questions: int, *, confidence: float = 0.90
) -> Attainability:
    """What a margin takes, from the standard deviation of the questions' differences.

    The expected bound is `half_width`; the probability that of a normal mean above bound - margin.
    """
    return Attainability(
        margin=margin,
        questions=questions,
        sd=sd,
        bound=half_width(sd, questions, confidence),
        chance=chance_to_pass(margin, sd, questions, confidence=confidence),
        needed=questions_for(margin, sd, confidence),
        needed_80=_needed_for_chance(margin, sd, confidence),
    )


def half_width(sd: float, questions: float, confidence: float) -> float:
    """The expected half-width of the interval of a mean difference.

    √((z·sd/√n)² + (q/n)²): the questions' part, and that of the pseudo-observations, whose
    difference (two Gamma(END_WEIGHT) variables) has the upper point q.
    """
    tail = (1 - confidence) / 2
    return math.hypot(_normal_point(tail) * sd / math.sqrt(questions), _floor(tail) / questions)


def chance_to_pass(
    margin: float, sd: float, questions: float, *, confidence: float = 0.90, truth: float = 0.0
) -> float:
    """The probability that the lower bound of a candidate of true difference ``truth`` clears."""
    room = margin + truth - half_width(sd, questions, confidence)
    if sd == 0:
        return float(room > 0)
    return _normal_below(room * math.sqrt(questions) / sd)


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """Variances of single answers' scores on one criterion, on the scale of the scores.

    ``interaction`` is that of the true differences between two models over questions, ``answer``
    that between answers of one model to one question, ``judge`` that between samples of the judge
    on one answer. ``answer`` is None where no question was answered twice, ``judge`` None where
    the judge's samples are not known: each is then contained in the one before it.
    ``questions``, ``answers``, ``judge_samples`` are those of the pilot, ``pairs`` the number of
    pairs of models that the interaction is a mean over. ``assumed``: nothing was measured;
    ``noise_assumed``: the split into questions and answers was not (see `with_noise`).
    """

    interaction: float
    answer: float | None
    judge: float | None
    questions: int
    answers: float
    judge_samples: int | None
    pairs: int
    assumed: bool = False
    noise_assumed: bool = False

    def variance(self, answers: float, judge_samples: float | None = None) -> float:
        """Var(d) of a design; what was not told apart does not shrink with it."""
        judge = self.judge or 0.0
        samples = judge_samples or self.judge_samples or 1
        per_answer = judge / samples + (self.answer or 0.0)
        # With the answers' variance unknown, new answers are known to average the judge's noise.
        return self.interaction + 2 * per_answer / answers

    def sd(self, answers: float, judge_samples: float | None = None) -> float:
        """The standard deviation of a question's difference in a design."""
        return math.sqrt(self.variance(answers, judge_samples))

    def with_noise(self) -> Components:
        """These, with `ASSUMED_NOISE` of the variance as answers' where nothing tells it apart.

        With one answer per question and no samples of the judge all variance looks like that of
        questions, and no further answer would be of any use.
        """
        if self.answer is not None or self.judge is not None:
            return self
        total = self.variance(self.answers)
        return replace(
            self,
            interaction=total * (1 - ASSUMED_NOISE),
            answer=total * ASSUMED_NOISE * self.answers / 2,
            noise_assumed=True,
        )

    def table(self) -> list[tuple[str, float, float]]:
        """The D-study's rows: component, its part of Var(d) in the pilot's design, its share."""
        samples = self.judge_samples or 1
        parts = [("question × model", self.interaction)]
        if self.answer is not None:
            name = "answer sampling (assumed)" if self.noise_assumed else "answer sampling"
            parts.append((name, 2 * self.answer / self.answers))
        if self.judge is not None:
            parts.append(("judge noise", 2 * self.judge / samples / self.answers))
        total = sum(part for _, part in parts)
        return [(name, part, part / total if total else 0.0) for name, part in parts]


def assumed_components(sd: float = ASSUMED_SD, noise: float = ASSUMED_NOISE) -> Components:
    """Components from a standard deviation of single-answer differences and its noise share."""
    return Components(
        interaction=sd**2 * (1 - noise), answer=sd**2 * noise / 2, judge=None, questions=0,
        answers=1, judge_samples=None, pairs=0, assumed=True, noise_assumed=True,
    )  # fmt: skip


def gate_components(
    values: Floats,
    questions: Indices,
    models: Indices,
    *,
    judge_variances: Floats | None = None,
    judge_samples: int | None = None,
) -> Components | None:
    """The components of differences between the models of a pilot; None without two models.

    ``values`` (n,) are scores of answers, NaN where missing; ``questions`` and ``models`` (n,) say
    whose. ``judge_variances`` (n,) are variances between single samples of the judge on an answer,
    each score being the mean of ``judge_samples`` of them. Method of moments: within cells for
    answers, and Var(d) less what sampling explains for the interaction, averaged over the pairs of
    models that share at least 2 questions; what comes out below 0 is 0.
    """
    there = ~np.isnan(values)
    values, questions, models = values[there], questions[there], models[there]
    within, freedom = _within(values, questions, models)
    judge = None
    if judge_variances is not None and judge_samples:
        known = judge_variances[there]
        known = known[~np.isnan(known)]
        judge = float(known.mean()) if known.size else None
    # What differs between answers holds the judge's noise of their scores as well.
    sampling = within if freedom >= LEAST_FREEDOM else None
    noise = (judge or 0.0) / (judge_samples or 1)
    if sampling is None:
        answer, per_answer = None, noise if judge is not None else 0.0
    else:
        answer, per_answer = max(0.0, sampling - noise), max(sampling, noise)
    interactions, counts = [], []
    for first, second in _pairs(np.unique(models)):
        one, other = (
            _cells(values, questions, models, first),
            _cells(values, questions, models, second),
        )
        common = sorted(one.keys() & other.keys())
        if len(common) < 2:
            continue
        deltas = np.array([other[q][0] - one[q][0] for q in common])
        inverse = float(np.mean([1 / one[q][1] + 1 / other[q][1] for q in common]))
        interactions.append(float(deltas.var(ddof=1)) - per_answer * inverse)
        counts.append((len(common), 2 / inverse))
    if not interactions:
        return None
    return Components(
        interaction=max(0.0, float(np.mean(interactions))),
        answer=answer,
        judge=judge,
        questions=max(n for n, _ in counts),
        answers=float(np.mean([k for _, k in counts])),
        judge_samples=judge_samples,
        pairs=len(interactions),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What one of each costs, in any unit: a model's answer, a judge's sample, a new question.

    A new question is dearer by default, since a person writes and checks it.
    """

    answer: float = 1.0
    judgment: float = 1.0
    question: float = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """Questions × answers per question and model × judge samples per answer, and what it sees."""

    questions: int
    answers: int
    judge_samples: int
    sd: float
    drop: float
    cost: float

    def sentence(self) -> str:
        """The design as people read it."""
        return (
            f"{_count(self.questions, 'question')}, {_count(self.answers, 'answer')} each, "
            f"{_count(self.judge_samples, 'judge sample')} per answer: sees a drop of "
            f"{self.drop:.3f}, cost {self.cost:,.0f}"
        )


def design(
    components: Components, questions: int, answers: int, judge_samples: int, prices: Prices,
    *, alpha: float = 0.05, power: float = POWER,
) -> Design:  # fmt: skip
    """What one design sees and costs; both models are answered and judged, ``questions`` in all."""
    sd = components.sd(answers, judge_samples)
    each = 2 * answers * (prices.answer + judge_samples * prices.judgment) + prices.question
    return Design(
        questions=questions, answers=answers, judge_samples=judge_samples, sd=sd,
        drop=detectable_drop(sd, questions, alpha=alpha, power=power), cost=questions * each,
    )  # fmt: skip


def cheapest_designs(
    components: Components, drop: float, prices: Prices, *, alpha: float = 0.05,
    power: float = POWER, most_questions: int | None = None, shown: int = 5,
) -> Sequence[Design]:  # fmt: skip
    """The cheapest designs that see ``drop``, the cheapest first; empty where none does.

    Per number of answers and judge samples the fewest questions are taken. Answers and judge
    samples that the components cannot tell the use of are not varied.
    """
    found = sorted(
        _designs(components, drop, prices, alpha, power, most_questions),
        # Of equally cheap ones, more questions: they rest least on the components being right.
        key=lambda one: (round(one.cost, 6), -one.questions),
    )
    return found[:shown]


def _designs(
    components: Components, drop: float, prices: Prices, alpha: float, power: float,
    most: int | None,
) -> Iterator[Design]:  # fmt: skip
    varied = components.answer is not None or components.judge is not None
    given = components.judge_samples or 1
    for answers in _ANSWERS if varied else (max(1, round(components.answers)),):
        for samples in _JUDGE_SAMPLES if components.judge is not None else (given,):
            normal = _normal_point(alpha) + _normal_point(1 - power)
            spread = normal * components.sd(answers, samples) / drop
            questions = max(2, math.ceil(spread**2 - 1e-9), math.ceil(_floor(alpha) / drop - 1e-9))
            if most is None or questions <= most:
                yield design(
                    components, questions, answers, samples, prices, alpha=alpha, power=power
                )


def _within(values: Floats, questions: Indices, models: Indices) -> tuple[float, int]:
    """The pooled variance within (question, model), and its degrees of freedom."""
    keys = np.stack([questions, models], axis=1)
    _, cell, sizes = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    cell = cell.reshape(-1)
    means = np.bincount(cell, weights=values) / sizes
    freedom = int(len(values) - len(sizes))
    return float(((values - means[cell]) ** 2).sum()) / max(freedom, 1), freedom


def _cells(
    values: Floats, questions: Indices, models: Indices, model: int
) -> dict[int, tuple[float, int]]:
    """Question → mean score and number of answers of one model."""
    rows = models == model
    numbers, index, sizes = np.unique(questions[rows], return_inverse=True, return_counts=True)
    means = np.bincount(index, weights=values[rows]) / sizes if rows.any() else np.zeros(0)
    return {int(q): (float(mean), int(k)) for q, mean, k in zip(numbers, means, sizes, strict=True)}


def _pairs(numbers: Indices) -> Iterator[tuple[int, int]]:
    for at, first in enumerate(numbers):
        for second in numbers[at + 1 :]:
            yield int(first), int(second)


def questions_for(gap: float, sd: float, confidence: float) -> int | None:
    """The fewest questions whose interval is expected to reach less than ``gap``; None beyond."""
    return _fewest(lambda n: half_width(sd, n, confidence) < gap) if gap > 0 else None


def _needed_for_chance(margin: float, sd: float, confidence: float) -> int | None:
    """The fewest questions at which an unchanged candidate passes with 80 % probability."""
    if margin <= 0:
        return None
    return _fewest(lambda n: chance_to_pass(margin, sd, n, confidence=confidence) >= POWER)


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The smallest number that is enough, where every larger one is too; None beyond 10^9."""
    low, high = 0, 1
    while not enough(high):
        low, high = high, 2 * high
        if high > _MOST:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


@lru_cache
def _normal_point(tail: float) -> float:
    from scipy import stats  # type: ignore[import-untyped]  # slow to load

    return float(stats.norm.isf(tail))


def _normal_below(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))


@lru_cache
def _floor(tail: float) -> float:
    """How far, times n, the interval of n unmoved questions reaches: about 0.53 at 5 %.

    The upper point of the difference of two Gamma(END_WEIGHT) variables. With u uniform and
    g = ppf(u), P(g' - g > x) is the mean of sf(x + g) over u, which is smooth.
    """
    from scipy import optimize, stats

    gamma = stats.gamma(END_WEIGHT)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    base = gamma.ppf((nodes + 1) / 2)

    def excess(x: float) -> float:
        return float(weights @ gamma.sf(x + base)) / 2 - tail

    return float(optimize.brentq(excess, 0.0, 200.0)) if tail < 0.5 else 0.0
