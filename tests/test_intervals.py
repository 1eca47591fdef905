"""Intervals for mean scores: their edges by hand, their coverage against planted truths."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy import stats  # type: ignore[import-untyped]

from judge.intervals import Interval, mean_interval, mean_intervals

Floats = NDArray[np.float64]
Population = Callable[[np.random.Generator, tuple[int, ...]], Floats]

FIFTHS = np.arange(6) / 5
DATA_SETS = 5000
BLOCKS = 20
# Two standard errors of a coverage near .95 measured on that many data sets: .006.
MONTE_CARLO = 2 * np.sqrt(0.95 * 0.05 / DATA_SETS)


def rng(seed: int = 0) -> np.random.Generator:
    """A generator."""
    return np.random.default_rng(seed)


def interval_of(
    matrix: Floats, generator: np.random.Generator, confidence: float = 0.95
) -> list[Interval]:
    """`mean_intervals` of columns that all have scores."""
    found = mean_intervals(matrix, confidence=confidence, rng=generator)
    return [interval for interval in found if interval is not None]


# --- Values and edges --------------------------------------------------------------------------


def test_value_is_the_mean_of_question_means() -> None:
    """Question 7 has the mean (1 + .4) / 2 = .7, question 3 has .2: together .45, not 1.6 / 3."""
    found = mean_interval(np.array([1.0, 0.2, 0.4]), np.array([7, 3, 7]), rng=rng())
    assert found.value == pytest.approx(0.45)
    assert found.low < found.value < found.high


def test_answers_share_the_weight_of_their_question() -> None:
    """Five equal answers to each question say no more than one."""
    once = np.array([0.2, 0.6, 1.0, 0.8])
    repeated = mean_interval(np.repeat(once, 5), np.repeat([4, 5, 6, 7], 5), rng=rng(3))
    assert repeated == pytest.approx(mean_interval(once, rng=rng(3)))


def test_all_perfect_is_one_sided() -> None:
    """45 times 1: the draws are 1 minus the weight of the pseudo-observation at 0.

    That weight is Beta(1/2, 45 + 1/2); its 97.5 % point is .0540, so low is .9460, give or take
    .0025 at 2000 draws (the density there is 1.38, and √(.025 × .975 / 2000) / 1.38 = .0025).
    """
    found = mean_interval(np.ones(45), rng=rng())
    assert found.value == 1
    assert found.high == 1
    assert found.low < 1
    assert found.low == pytest.approx(1 - stats.beta(0.5, 45.5).ppf(0.975), abs=0.008)


def test_all_zero_mirrors_all_perfect() -> None:
    """At the floor the bound is one-sided the other way."""
    found = mean_interval(np.zeros(45), rng=rng())
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(stats.beta(0.5, 45.5).ppf(0.975), abs=0.008)


def test_limits_match_the_exact_posterior_of_a_two_point_sample() -> None:
    """12 ones and 8 zeros: the draws are Beta(12.5, 8.5), whose percentiles are known."""
    scores = np.repeat([1.0, 0.0], [12, 8])
    found = mean_interval(scores, draws=200_000, rng=rng())
    assert found.value == pytest.approx(0.6)
    exact = stats.beta(12.5, 8.5).ppf([0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(tuple(exact), abs=0.003)


def test_one_question_is_wide() -> None:
    """One perfect question leaves nearly everything open: low is 1 - .853.

    The weight of the pseudo-observation at 0 is Beta(1/2, 3/2), with the 97.5 % point .853.
    """
    found = mean_interval(np.array([1.0]), rng=rng())
    assert found.high == 1
    assert found.low == pytest.approx(1 - stats.beta(0.5, 1.5).ppf(0.975), abs=0.03)
    middle = mean_interval(np.array([0.5, 0.5]), np.array([1, 1]), rng=rng())
    assert middle.high - middle.low > 0.5


def test_width_follows_confidence_and_number_of_questions() -> None:
    """More confidence is wider; four times the questions is about half as wide."""
    scores = np.tile(FIFTHS, 5)
    wide, narrow = (mean_interval(scores, confidence=level, rng=rng()) for level in (0.99, 0.8))
    assert wide.low < narrow.low < narrow.high < wide.high
    small, large = (
        mean_interval(np.tile(scores, times), draws=20_000, rng=rng()) for times in (1, 4)
    )
    assert (large.high - large.low) / (small.high - small.low) == pytest.approx(0.5, abs=0.03)


def test_a_table_of_models_takes_milliseconds() -> None:
    """8 criteria × 20 models × 45 questions in one call; about 15 ms, allowed half a second."""
    matrix = rng().random((45, 160))
    matrix[matrix < 0.1] = np.nan
    started = time.perf_counter()
    mean_intervals(matrix, rng=rng())
    assert time.perf_counter() - started < 0.5


def test_same_seed_same_interval() -> None:
    """The generator decides everything."""
    scores = np.linspace(0, 1, 15)
    assert mean_interval(scores, rng=rng(8)) == mean_interval(scores, rng=rng(8))
    assert mean_interval(scores, rng=rng(8)) != mean_interval(scores, rng=rng(9))


@pytest.mark.parametrize(
    ("scores", "clusters", "words"),
    [
        ([], None, "at least one score"),
        ([0.5, np.nan], None, "NaN or lies outside"),
        ([0.5, 1.01], None, "NaN or lies outside"),
        ([0.5, np.inf], None, "NaN or lies outside"),
        ([-0.1, 0.5], [1, 1], "NaN or lies outside"),
        ([[0.5]], None, r"not \(n,\)"),
        ([0.5, 0.5], [1], "clusters have the shape"),
    ],
)
def test_impossible_scores_are_refused(
    scores: list[float], clusters: list[int] | None, words: str
) -> None:
    """No number is made of nothing, and none of nonsense."""
    with pytest.raises(ValueError, match=words):
        mean_interval(np.array(scores), None if clusters is None else np.array(clusters), rng=rng())


def test_impossible_settings_are_refused() -> None:
    """Also where they would give an interval of some kind."""
    for confidence in (0, 1, 1.5):
        with pytest.raises(ValueError, match="confidence"):
            mean_interval(np.ones(3), confidence=confidence, rng=rng())
    with pytest.raises(ValueError, match="draws"):
        mean_interval(np.ones(3), draws=0, rng=rng())
    with pytest.raises(ValueError, match="n_questions"):
        mean_intervals(np.ones(3), rng=rng())
    with pytest.raises(ValueError, match="outside"):
        mean_intervals(np.array([[2.0]]), rng=rng())


# --- Many columns ------------------------------------------------------------------------------


def test_columns_are_as_alone() -> None:
    """Full columns give what `mean_interval` gives with the same generator."""
    matrix = rng(1).choice(FIFTHS, (30, 4))
    for column, found in zip(matrix.T, mean_intervals(matrix, rng=rng(2)), strict=True):
        assert found == pytest.approx(mean_interval(column, rng=rng(2)), abs=1e-12)


def test_missing_questions_are_left_out_not_filled() -> None:
    """A column with half of its questions missing is a sample of the other half."""
    scores = rng(1).choice(FIFTHS, 20)
    column = np.full(40, np.nan)
    column[::2] = scores
    (found,) = mean_intervals(column[:, None], draws=100_000, rng=rng(2))
    assert found is not None
    assert found.value == pytest.approx(scores.mean())
    alone = mean_interval(scores, draws=100_000, rng=rng(3))
    assert found == pytest.approx(alone, abs=0.004)


def test_an_empty_column_has_no_interval() -> None:
    """None, not NaN; its neighbours are untouched."""
    matrix = np.column_stack([np.full(10, np.nan), np.linspace(0, 1, 10)])
    empty, full = mean_intervals(matrix, rng=rng())
    assert empty is None
    assert full == pytest.approx(mean_interval(matrix[:, 1], rng=rng()), abs=1e-12)
    assert mean_intervals(np.empty((0, 1)), rng=rng()) == [None]
    assert mean_intervals(np.empty((5, 0)), rng=rng()) == []


@settings(deadline=None)
@given(
    arrays(np.float64, st.tuples(st.integers(1, 12), st.integers(1, 4)), elements=st.floats(0, 1)),
    st.floats(0.5, 0.99),
)
def test_intervals_lie_in_the_scale_and_hold_their_value(matrix: Floats, confidence: float) -> None:
    """0 <= low <= value <= high <= 1, whatever the scores, and the value is the plain mean."""
    for column, found in zip(
        matrix.T, mean_intervals(matrix, confidence=confidence, draws=50, rng=rng()), strict=True
    ):
        assert found is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.value == pytest.approx(column.mean())


# --- Coverage ----------------------------------------------------------------------------------


def ceilinged(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """87 % of the scores are 1, the others .2, .4, .6 or .8: the mean is .87 + .13 × .5 = .935."""
    rest = generator.choice(FIFTHS[1:5], shape)
    return np.where(generator.random(shape) < 0.87, 1.0, rest)


def uniform(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Each of 0, .2, ..., 1 alike: the mean is .5."""
    return generator.choice(FIFTHS, shape)


def two_answers(
    population: Population, generator: np.random.Generator, shape: tuple[int, ...]
) -> Floats:
    """Two answers to each question with an ICC of .5, (2, *shape), each distributed as given.

    Each answer repeats the value of its question with probability √.5, and is else drawn anew; both
    repeat it with probability .5, which is their correlation.
    """
    of_question = population(generator, shape)
    keeps = generator.random((2, *shape)) < np.sqrt(0.5)
    return np.where(keeps, of_question, population(generator, (2, *shape)))


def percentile_bootstrap(matrix: Floats, generator: np.random.Generator) -> list[Interval]:
    """What is usually done: resample the questions, take the percentiles of the means."""
    n = len(matrix)
    counts = generator.multinomial(n, np.full(n, 1 / n), 1000)
    lows, highs = np.quantile(counts / n @ matrix, [0.025, 0.975], axis=0)
    return [Interval(*row) for row in np.column_stack([matrix.mean(axis=0), lows, highs])]


def coverage(
    method: Callable[[Floats, np.random.Generator], list[Interval]],
    draw: Callable[[np.random.Generator, tuple[int, ...]], Floats],
    n_questions: int,
    truth: float,
    seed: int,
) -> float:
    """The share of simulated data sets whose interval holds the planted truth.

    The data sets come in blocks, each with its own draws of the bootstrap weights.
    """
    generator = rng(seed)
    hits = 0
    for _ in range(BLOCKS):
        intervals = method(draw(generator, (n_questions, DATA_SETS // BLOCKS)), generator)
        # Rounding: a mean of scores that are all .2 is .2 up to the last digit.
        hits += sum(low - 1e-12 <= truth <= high + 1e-12 for _, low, high in intervals)
    return hits / DATA_SETS


@pytest.mark.parametrize("n_questions", [15, 30, 45])
@pytest.mark.parametrize(("population", "truth"), [(ceilinged, 0.935), (uniform, 0.5)])
def test_nominal_95_percent_covers_the_planted_mean(
    population: Population, truth: float, n_questions: int
) -> None:
    """Scores of one answer to each question, at the ceiling and in the middle of the scale."""
    assert coverage(interval_of, population, n_questions, truth, seed=1) >= 0.93 - MONTE_CARLO


def test_the_percentile_bootstrap_does_not() -> None:
    """Why it is not used: at the ceiling, 15 questions, it covers 80 % and says 95 %.

    One sample in eight is all perfect (.87 ** 15 = .12); its bootstrap interval is [1, 1].
    """
    naive = coverage(percentile_bootstrap, ceilinged, 15, 0.935, seed=1)
    honest = coverage(interval_of, ceilinged, 15, 0.935, seed=1)
    assert naive < 0.90
    assert honest >= 0.93 - MONTE_CARLO


@pytest.mark.parametrize("n_questions", [15, 30, 45])
@pytest.mark.parametrize(("population", "truth"), [(ceilinged, 0.935), (uniform, 0.5)])
def test_coverage_holds_with_clustered_answers(
    population: Population, truth: float, n_questions: int
) -> None:
    """Two answers to each question, ICC .5: the question is the unit, not the answer."""

    def question_means(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        means: Floats = two_answers(population, generator, shape).mean(axis=0)
        return means

    assert coverage(interval_of, question_means, n_questions, truth, seed=2) >= 0.93 - MONTE_CARLO


def test_answers_taken_for_questions_do_not_cover() -> None:
    """The same data with every answer as its own question: the variance is 1.5 times too small."""

    def answers(generator: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        return two_answers(uniform, generator, shape).reshape(-1, shape[1])

    assert coverage(interval_of, answers, 45, 0.5, seed=2) < 0.90


def test_two_answers_have_the_planted_icc() -> None:
    """The simulation plants what it says."""
    for population, truth in ((ceilinged, 0.935), (uniform, 0.5)):
        first, second = two_answers(population, rng(5), (200_000,))
        assert first.mean() == pytest.approx(truth, abs=0.003)
        assert np.corrcoef(first, second)[0, 1] == pytest.approx(0.5, abs=0.01)


def test_other_confidences_cover_too() -> None:
    """80 % and 99 % mean what they say as well (30 questions, uniform scores)."""
    for level in (0.8, 0.99):

        def method(
            matrix: Floats, generator: np.random.Generator, level: float = level
        ) -> list[Interval]:
            return interval_of(matrix, generator, level)

        found = coverage(method, uniform, 30, 0.5, seed=3)
        assert found == pytest.approx(level, abs=0.02)
