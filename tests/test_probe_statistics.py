"""Statistics of the probes: by hand where that is possible, and against planted biases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats  # type: ignore[import-untyped]

from judge.differences import (
    END_WEIGHT,
    paired_difference,
    paired_differences,
    question_means,
    questions_needed,
)
from judge.probes._catalogue import FALLS, NOT_UP, SAME
from judge.probes._findings import of_family
from judge.probes._statistics import (
    Outcome,
    Region,
    halo,
    null_score,
    shifts,
    slot_shifts,
    specificity,
    success_rate,
    wilson,
)
from tests.probe_simulation import (
    PLANTS,
    Plant,
    constant,
    halo_study,
    rotation,
    slot_study,
    study,
)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# Paired differences


def test_value_and_sd_are_those_of_the_question_means() -> None:
    """Question 4: (.2 + .4) / 2 = .3, question 9: -.1; mean .1, sd .4 / √2 = .2828."""
    found = paired_difference(np.array([0.2, -0.1, 0.4]), np.array([4, 9, 4]), rng=rng())
    assert found.value == pytest.approx(0.1)
    assert found.sd == pytest.approx(0.4 / math.sqrt(2))
    assert found.n_questions == 2
    assert found.low < 0.1 < found.high


def test_limits_where_nothing_moved_are_those_of_the_pseudo_observations() -> None:
    """40 zeros: a draw is (g1 - g2) / (40 + g1 + g2 + ...), whose tail is that of Gamma(.1) / 40.

    The exact law of a weight is Beta(.1, 40.1); two-sidedness and the other end change its 97.5 %
    point by less than a tenth.
    """
    found = paired_difference(np.zeros(40), rng=rng(1), draws=200_000)
    assert (found.value, found.sd) == (0, 0)
    wanted = stats.beta(END_WEIGHT, 40 + END_WEIGHT).isf(0.025)
    assert found.high == pytest.approx(wanted, rel=0.1)
    assert found.low == pytest.approx(-wanted, rel=0.1)


def test_limits_match_the_bayesian_bootstrap_of_a_two_point_sample() -> None:
    """30 questions at .5 and 30 at -.5: (2 B - 1) / 2 with B ~ Beta(30, 30), but for the ends."""
    found = paired_difference(np.repeat([0.5, -0.5], 30), rng=rng(2), draws=100_000)
    exact = stats.beta(30, 30).ppf([0.025, 0.975]) - 0.5
    assert (found.low, found.high) == pytest.approx(tuple(exact), abs=0.006)


@given(deltas=arrays(float, st.integers(1, 12), elements=st.floats(-1, 1)), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_turning_the_sides_round_mirrors_the_difference(deltas: np.ndarray, seed: int) -> None:
    one = paired_difference(deltas, rng=rng(seed), draws=400)
    other = paired_difference(-deltas, rng=rng(seed), draws=400)
    assert -1 <= one.low <= one.value <= one.high <= 1
    assert other.value == pytest.approx(-one.value)
    width = one.high - one.low
    assert other.high - other.low == pytest.approx(width, rel=0.6, abs=0.1)


def test_a_column_does_not_depend_on_its_neighbours() -> None:
    matrix = rng(3).uniform(-1, 1, (20, 3))
    matrix[5:, 1] = np.nan
    together = paired_differences(matrix, rng=rng(4))
    alone = paired_differences(matrix[:, :1], rng=rng(4))
    assert together[0] == pytest.approx(alone[0])
    assert together[1] is not None and together[1].n_questions == 5
    assert paired_differences(np.full((3, 1), np.nan), rng=rng()) == [None]


@pytest.mark.parametrize(
    ("deltas", "words"),
    [([], "at least one"), ([math.nan], "NaN"), ([1.2], "outside"), ([[0.1]], "shape")],
)
def test_what_is_no_difference_is_refused(deltas: list[float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        paired_difference(np.array(deltas), rng=rng())


def test_clusters_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        question_means(np.zeros(3), np.zeros(2, dtype=np.int64))


def test_questions_needed_by_hand() -> None:
    """SD 0: q / gap with q the 95 % point of Gamma(.1), .5804. SD .2, gap .1: about (z s / g)²."""
    assert questions_needed(0.02, 0.0, 0.90) == pytest.approx(0.58044 / 0.02, rel=1e-3)
    without_ends = (1.6449 * 0.2 / 0.1) ** 2
    assert without_ends < questions_needed(0.1, 0.2, 0.90) < 1.35 * without_ends
    assert questions_needed(0.0, 0.2, 0.90) == math.inf
    assert questions_needed(1e-6, 0.3, 0.90) > 1e9


def test_as_many_questions_as_needed_decide_half_of_the_time() -> None:
    """Shift .06 against a margin of .02 at SD .15: with `needed` questions half of studies fail."""
    n = round(questions_needed(0.04, 0.15, 0.90))
    matrix = rng(5).normal(0.06, 0.15, (n, 400)).clip(-1, 1)
    found = shifts(matrix, [SAME] * 400, rng=rng(6), draws=1000)
    decided = np.mean([each is not None and each.outcome is Outcome.FAIL for each in found])
    assert 0.35 < decided < 0.65


# Verdicts


@pytest.mark.parametrize(
    ("region", "low", "high", "outcome"),
    [
        (SAME, -0.02, 0.02, Outcome.PASS),
        (SAME, -0.03, 0.01, Outcome.INCONCLUSIVE),
        (SAME, 0.021, 0.3, Outcome.FAIL),
        (SAME, -0.3, -0.021, Outcome.FAIL),
        (FALLS, -0.5, -0.1, Outcome.PASS),
        (FALLS, -0.5, -0.09, Outcome.INCONCLUSIVE),
        (FALLS, -0.09, 0.2, Outcome.FAIL),
        (NOT_UP, -0.9, 0.02, Outcome.PASS),
        (NOT_UP, 0.03, 0.2, Outcome.FAIL),
    ],
)
def test_three_outcomes(region: Region, low: float, high: float, outcome: Outcome) -> None:
    assert region.outcome(low, high) is outcome


def test_words_for_what_is_wanted() -> None:
    assert [region.words() for region in (SAME, FALLS, NOT_UP)] == [
        "moves by less than 0.02",
        "falls by at least 0.10",
        "does not rise by more than 0.02",
    ]


def test_fewer_than_eight_questions_are_inconclusive_however_clear() -> None:
    clear = np.full((8, 2), -0.6)
    clear[7, 1] = np.nan
    eight, seven = shifts(clear, [SAME, SAME], rng=rng())
    assert eight is not None and eight.outcome is Outcome.FAIL and eight.needed is None
    assert seven is not None and seven.outcome is Outcome.INCONCLUSIVE
    assert seven.needed == 8


def test_no_region_no_verdict_and_no_pairs_no_shift() -> None:
    matrix = np.array([[0.1, np.nan]] * 10)
    first, second = shifts(matrix, [None, SAME], rng=rng())
    assert first is not None and first.outcome is None and first.needed is None
    assert second is None


def test_a_failure_has_to_stand_among_the_criteria_of_its_probe() -> None:
    """Mean .05 on 40 questions, SD .08 √(40/39) = .0810: t = (.05 - .02) / .0128 = 2.342.

    The one-sided tail at 39 degrees of freedom is .0122: below .025 for one criterion, above
    .025 / 8 for eight.
    """
    deltas = np.tile([0.13, -0.03], 20)[:, None]
    (alone,) = shifts(deltas, [SAME], rng=rng())
    (of_eight,) = shifts(deltas, [SAME], rng=rng(), family=8)
    assert alone is not None and of_eight is not None
    assert alone.outcome is of_eight.outcome is Outcome.FAIL
    assert alone.surely and not of_eight.surely
    rows = [{"outcome": "fail", "surely": False}, {"outcome": "pass", "surely": False}]
    assert of_family(rows) == "inconclusive"
    assert of_family([rows[1], {"outcome": None, "surely": False}]) == "pass"
    assert of_family([{"outcome": "fail", "surely": True}, rows[1]]) == "fail"
    assert of_family([{"outcome": None, "surely": False}]) is None


def test_eight_criteria_without_a_plant_fail_no_more_often_than_one() -> None:
    """400 probes of eight noisy criteria (SD .4, 40 questions): at most 5 %, and 2 SE of .011."""
    failed = 0
    for number in range(400):
        matrix = rng(number).normal(0, 0.4, (40, 8)).clip(-1, 1)
        found = shifts(matrix, [SAME] * 8, rng=rng(number), draws=1000, family=8)
        failed += any(each is not None and each.surely for each in found)
    assert failed / 400 <= 0.072


# Slots, specificity, halo


def test_slots_by_hand() -> None:
    """Two criteria, two samples; the first slot adds .1 and the second takes .1 from both.

    Criterion 0 (quality .5) stands first in sample 0, criterion 1 (quality .8) in sample 1.
    """
    slots = np.array([[0, 1], [1, 0]])
    scores = np.array([[[0.6, 0.7], [0.4, 0.9]]])
    assert slot_shifts(scores, slots) == pytest.approx(np.array([[0.1, -0.1]]))


def test_a_criterion_that_lacks_a_rotation_counts_for_nothing() -> None:
    slots = np.array([[0, 1], [1, 0]])
    scores = np.array([[[0.6, 0.0], [0.4, np.nan]], [[np.nan] * 2, [0.1, 0.2]]])
    found = slot_shifts(scores, slots)
    assert found[0] == pytest.approx([0.1, -0.1])
    assert np.isnan(found[1]).all()


def test_specificity_by_hand() -> None:
    """The target falls by .4, the others by .1: a difference of .3, and it is surely above .1."""
    target, others = np.full(30, -0.4), np.full(30, -0.1)
    found = specificity(target, others, rng=rng())
    assert found is not None
    assert found.difference == pytest.approx(0.3)
    assert found.outcome is Outcome.PASS
    unspecific = specificity(target, target, rng=rng())
    assert unspecific is not None and unspecific.outcome is Outcome.FAIL
    assert specificity(np.array([np.nan]), np.array([0.1]), rng=rng()) is None


def test_halo_by_hand() -> None:
    """Others follow by exactly a fourth; the jackknife of a constant ratio is that ratio."""
    target = np.linspace(-0.6, -0.2, 21)
    found = halo(target, target / 4, rng=rng())
    assert found is not None
    assert found.value == pytest.approx(0.25)
    assert found.low < 0.25 < found.high


def test_no_halo_of_a_target_that_did_not_surely_move() -> None:
    assert halo(np.tile([0.2, -0.2], 10), np.full(20, 0.1), rng=rng()) is None
    assert halo(np.array([]), np.array([]), rng=rng()) is None


# Attacks and null answers


def test_wilson_by_hand() -> None:
    """0 of 200 at 90 %: z² / (n + z²) = 2.7055 / 202.7055; 10 of 20 is symmetric about .5."""
    assert wilson(0, 200, 0.90) == pytest.approx((0.0, 2.70554 / 202.70554), rel=1e-4)
    low, high = wilson(10, 20, 0.95)
    assert low + high == pytest.approx(1)
    assert (low, high) == pytest.approx((0.2993, 0.7007), abs=1e-4)
    assert wilson(20, 20, 0.9)[1] == 1
    with pytest.raises(ValueError, match="one try"):
        wilson(0, 0, 0.9)


def test_success_rates() -> None:
    answers = np.repeat(np.arange(5), 40)
    none = success_rate(np.zeros(200, dtype=bool), answers, rng=rng())
    assert none is not None
    assert (none.successes, none.tries, none.n_answers) == (0, 200, 5)
    assert none.outcome is Outcome.PASS
    assert none.clustered_high > none.high
    half = success_rate(answers % 2 == 0, answers, rng=rng())
    assert half is not None and half.outcome is Outcome.FAIL and half.value == 0.6
    few = success_rate(np.zeros(5, dtype=bool), np.arange(5), rng=rng())
    assert few is not None and few.outcome is Outcome.INCONCLUSIVE
    assert success_rate(np.array([], dtype=bool), np.array([], dtype=np.int64), rng=rng()) is None


def test_null_scores() -> None:
    clusters = np.repeat(np.arange(30), 8)
    nothing = null_score(np.zeros(240), clusters, rng=rng())
    assert nothing is not None and nothing.outcome is Outcome.PASS and nothing.n_questions == 30
    paid = null_score(np.full(240, 0.4), clusters, rng=rng())
    assert paid is not None and paid.outcome is Outcome.FAIL
    few = null_score(np.zeros(7), np.arange(7), rng=rng())
    assert few is not None and few.outcome is Outcome.INCONCLUSIVE
    assert null_score(np.array([]), np.array([], dtype=np.int64), rng=rng()) is None


# A fake judge with planted biases. One standard error of a coverage of .95 over 1,000 studies is
# .0069, so .93 lies almost three of them below .95.

RUNS = 1000
BY_NAME = {plant.name: plant for plant in PLANTS}


@pytest.mark.parametrize("plant", [p for p in PLANTS if "ceiling" not in p.name], ids=str)
def test_plants_are_recovered(plant: Plant) -> None:
    cell = study(plant, 60, RUNS)
    assert abs(cell.error) < 0.005
    assert 0.93 <= cell.coverage[0.95] <= 0.975
    assert 0.87 <= cell.coverage[0.90] <= 0.935


@pytest.mark.parametrize("plant", [p for p in PLANTS if "ceiling" in p.name], ids=str)
def test_coverage_holds_on_ceilinged_scores(plant: Plant) -> None:
    """From below: where hardly anything moves, the pseudo-observations make intervals wide."""
    cell = study(plant, 45, RUNS)
    assert abs(cell.error) < 0.005
    assert cell.coverage[0.95] >= 0.93
    assert cell.coverage[0.90] >= 0.88


def test_nothing_planted_is_not_called_a_bias() -> None:
    for n in (30, 60):
        cell = study(BY_NAME["nothing planted"], n, RUNS)
        assert cell.outcomes["fail"] <= 0.05
        ceiling = study(BY_NAME["ceiling, nothing planted"], n, RUNS)
        assert ceiling.outcomes["fail"] <= 0.05


def test_enough_questions_pass_where_nothing_is_planted() -> None:
    calm = Plant("four samples", 0.0, constant(0.0, samples=4), SAME)
    assert study(calm, 600, 250).outcomes["pass"] >= 0.95
    assert study(BY_NAME["ceiling, nothing planted"], 200, 250).outcomes["pass"] >= 0.9


def test_a_bias_on_the_margin_is_called_either_way_at_most_as_often_as_nominal() -> None:
    """Two one-sided tests at 5 %, plus two standard errors (.007 each) of 1,000 studies."""
    edge = study(Plant("edge", 0.02, constant(0.02, samples=8), SAME), 200, RUNS)
    assert edge.outcomes["fail"] <= 0.065
    assert edge.outcomes["pass"] <= 0.065


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.8])
def test_a_planted_halo_is_recovered(factor: float) -> None:
    cell = halo_study(factor, 40, 400)
    assert cell.stated == 1
    assert abs(cell.error) < 0.005 + 2 * 0.12 / math.sqrt(400 * 40)
    assert 0.92 <= cell.coverage <= 0.98


def test_an_even_number_of_samples_cancels_an_order_bias() -> None:
    assert abs(rotation(0.05, 1).left) == pytest.approx(0.025, abs=0.003)
    for samples in (2, 4):
        assert abs(rotation(0.05, samples).left) < 0.005


def test_planted_slots_are_recovered_although_the_level_order_is_biased_too() -> None:
    planted, recovered = slot_study(0.1, 0.05, 30, 100)
    assert recovered == pytest.approx(planted, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("n", [30, 60, 200])
@pytest.mark.parametrize("plant", PLANTS, ids=str)
def test_plants_are_recovered_in_many_studies(plant: Plant, n: int) -> None:
    """5,000 studies: one standard error of the coverage is .003.

    Where shifts hardly vary, the pseudo-observations make the intervals of few questions wide.
    """
    cell = study(plant, n, 5000)
    assert abs(cell.error) < 0.005
    assert cell.coverage[0.95] >= 0.93
    calm = "ceiling" in plant.name or "4 samples" in plant.name
    assert calm or cell.coverage[0.95] <= 0.97
