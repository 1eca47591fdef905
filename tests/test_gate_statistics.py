"""The gate's statistics: posterior, families, sign flips; hand-derived and by properties."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from judge.differences import paired_difference
from judge.gate import first_levels, holm, interval, rejections, sign_flip, tails
from judge.study import Floats

# The posterior


def test_the_posterior_of_symmetric_differences_is_split_in_half_at_their_mean() -> None:
    for deltas in (np.zeros(45), np.array([-1.0, 1.0]), np.array([-0.2, -0.2, 0.2, 0.2, 0.0])):
        assert tails(deltas, 0.0).below == pytest.approx(0.5, abs=1e-9)


def test_the_posterior_agrees_with_its_draws() -> None:
    rng = np.random.default_rng(0)
    draws = 400_000
    for deltas in (np.zeros(30), np.repeat([0.0, -0.2, 0.4], [24, 4, 2]), np.array([0.3, -0.1])):
        weights = rng.standard_exponential((draws, len(deltas)))
        ends = rng.standard_gamma(0.1, (draws, 2))
        means = (weights @ deltas + ends[:, 1] - ends[:, 0]) / (weights.sum(1) + ends.sum(1))
        for at in (-0.3, -0.04, -0.01, 0.02, 0.2):
            drawn, found = (means <= at).mean(), tails(deltas, at).below
            se = math.sqrt(max(found * (1 - found), 1 / draws) / draws)
            assert abs(drawn - found) < 4 * se


def test_the_posterior_of_one_question_is_a_beta_integral() -> None:
    # One difference of 1 with the ends: the mean is 2B - 1, B ~ Beta(1.1, 0.1).
    from scipy import stats

    for at in (-0.99, -0.5, 0.0, 0.9):
        exact = stats.beta(1.1, 0.1).cdf((at + 1) / 2)
        assert tails(np.array([1.0]), at).below == pytest.approx(exact, rel=1e-6)


def test_the_tail_keeps_its_relative_accuracy_far_out() -> None:
    # 40 differences of 1: B ~ Beta(40.1, 0.1), down to 1e-12 and beyond.
    from scipy import stats

    for at in (-0.9, -0.5, 0.0):
        exact = stats.beta(40.1, 0.1).cdf((at + 1) / 2)
        assert exact < 1e-12
        assert tails(np.ones(40), at).below == pytest.approx(exact, rel=1e-6)


def test_the_interval_is_that_of_paired_difference_without_its_draws() -> None:
    rng = np.random.default_rng(1)
    deltas = rng.choice([-0.4, -0.2, 0.0, 0.2], 45, p=[0.1, 0.2, 0.5, 0.2])
    drawn = paired_difference(deltas, confidence=0.9, draws=200_000, rng=rng)
    low, high = interval(deltas, 0.9)
    assert (low, high) == pytest.approx((drawn.low, drawn.high), abs=3e-4)
    # No question moved: still about 0.53 / n on either side.
    low, high = interval(np.zeros(45), 0.9)
    assert high == -low == pytest.approx(0.53 / 45, rel=0.01)


@given(hnp.arrays(np.float64, st.integers(1, 12), elements=st.floats(-1, 1)), st.floats(-0.9, 0.9))
@settings(max_examples=60, deadline=None)
def test_the_posterior_mirrors_and_ignores_order(deltas: Floats, at: float) -> None:
    found, mirrored = tails(deltas, at), tails(-deltas, -at)
    assert found.below == pytest.approx(mirrored.above, abs=1e-9)
    assert found.below + found.above == pytest.approx(1)
    assert tails(deltas[::-1], at) == found
    low, high = interval(deltas, 0.9)
    assert low <= deltas.mean() <= high
    assert interval(-deltas, 0.9) == (-high, -low)


@given(
    hnp.arrays(np.float64, 8, elements=st.floats(-1, 1)),
    st.integers(0, 7),
    st.floats(0, 1),
    st.floats(-0.5, 0.5),
)
@settings(max_examples=60, deadline=None)
def test_a_lower_difference_never_makes_the_candidate_look_better(
    deltas: Floats, which: int, down: float, at: float
) -> None:
    lower = deltas.copy()
    lower[which] = max(-1.0, lower[which] - down)
    assert tails(lower, at).below >= tails(deltas, at).below - 1e-9


@pytest.mark.parametrize("deltas", [[], [np.nan], [1.2]])
def test_differences_that_cannot_be_are_refused(deltas: list[float]) -> None:
    with pytest.raises(ValueError, match=r"a delta is NaN|at least one pair"):
        tails(np.array(deltas), 0.0)
    with pytest.raises(ValueError, match="confidence"):
        interval(np.zeros(3), 1.0)


# Families


def test_holm_steps_down_and_stops() -> None:
    # 0.05 / 3 = 0.0167, 0.05 / 2 = 0.025: the second fails, and the third with it.
    assert [rejected for rejected, _ in holm([0.03, 0.01, 0.04], 0.05)] == [False, True, False]
    assert holm([0.03, 0.01, 0.04], 0.05)[0][1] == pytest.approx(0.025)
    # All: 0.01 <= 0.0167, 0.02 <= 0.025, 0.04 <= 0.05.
    assert all(rejected for rejected, _ in holm([0.02, 0.01, 0.04], 0.05))


def test_levels_add_up_to_the_family_wise_error() -> None:
    every = {"overall": 1, "criteria": 7, "categories": 5, "safety_criteria": 1}
    assert first_levels(every, 0.05) == pytest.approx(
        {"overall": 0.02, "criteria": 0.02, "categories": 0.0, "safety_criteria": 0.01}
    )
    assert first_levels({"overall": 1, "safety_criteria": 1}, 0.05) == pytest.approx(
        {"overall": 0.04, "safety_criteria": 0.01}
    )
    for present in itertools.product((0, 2), repeat=4):
        sizes = dict(zip(every, present, strict=True))
        assert sum(first_levels(sizes, 0.05).values()) <= 0.05 + 1e-12


def test_a_rejected_overall_hands_its_level_on() -> None:
    criteria = {"a": 0.02, "b": 0.9}
    families = {"overall": {"o": 0.001}, "criteria": criteria, "categories": {"x": 0.02}}
    found = rejections(families, 0.05)
    # Overall 0.025 rejects; half of it goes to each: criteria 0.0375 / 2 = 0.01875 < 0.02.
    assert found["overall"]["o"][0]
    assert found["criteria"]["a"] == (False, pytest.approx(0.01875))
    assert found["categories"]["x"] == (False, pytest.approx(0.0125))
    # A category that is rejected hands that 0.0125 on to the criteria: 0.05 / 2 > 0.02.
    found = rejections({**families, "categories": {"x": 0.01}}, 0.05)
    assert found["categories"]["x"] == (True, pytest.approx(0.0125))
    assert found["criteria"]["a"] == (True, pytest.approx(0.025))
    # With an overall that stands, the categories have no level at all.
    standing = rejections({**families, "overall": {"o": 0.5}}, 0.05)
    assert standing["categories"]["x"] == (False, 0.0)


def test_criteria_that_are_all_rejected_hand_theirs_to_the_overall() -> None:
    found = rejections({"overall": {"o": 0.04}, "criteria": {"a": 0.01}}, 0.05)
    assert found["overall"]["o"] == (True, pytest.approx(0.05))


def test_safety_shares_with_nobody() -> None:
    found = rejections(
        {"overall": {"o": 1e-9}, "criteria": {"a": 1e-9}, "safety_criteria": {"s": 0.0101}}, 0.05
    )
    assert found["safety_criteria"]["s"] == (False, pytest.approx(0.01))
    found = rejections(
        {"overall": {"o": 0.9}, "criteria": {"a": 0.9}, "safety_criteria": {"s": 0.0099}}, 0.05
    )
    assert found["safety_criteria"]["s"][0]


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**4 - 1))
@settings(max_examples=20, deadline=None)
def test_the_family_wise_error_holds_whichever_hypotheses_are_true(seed: int, truth: int) -> None:
    # Uniform p-values where the hypothesis holds, 0 where it does not: 4 SE above 5 % of 1500.
    rng = np.random.default_rng(seed)
    names = ("o", "a", "b", "x")
    false = 0
    for draw in rng.random((1500, 4)):
        p = {name: draw[at] if truth >> at & 1 else 0.0 for at, name in enumerate(names)}
        found = rejections(
            {"overall": {"o": p["o"]}, "criteria": {"a": p["a"], "b": p["b"]},
             "categories": {"x": p["x"]}}, 0.05,
        )  # fmt: skip
        named = {name for family in found.values() for name, (yes, _) in family.items() if yes}
        false += any(truth >> at & 1 and name in named for at, name in enumerate(names))
    assert false / 1500 < 0.05 + 4 * math.sqrt(0.05 * 0.95 / 1500)


# Signs


def test_sign_flips_are_counted_exactly() -> None:
    # Four drops of equal size: 1 of 16 sign patterns is as low.
    found = sign_flip(np.array([-0.2, -0.2, -0.2, -0.2, 0.0, 0.0]))
    assert (found.p, found.moved, found.least) == (1 / 16, 4, 1 / 16)
    assert not found.can_fire(0.05)
    # Five can: 1 / 32.
    assert sign_flip(np.full(5, -0.2)).can_fire(0.05)
    # -0.4, -0.2, +0.2: sums <= -0.4 are -0.8, -0.4, -0.4 of 8.
    assert sign_flip(np.array([-0.4, -0.2, 0.2])).p == 3 / 8
    # 17 non-zero differences are the fewest that reach 1.5e-5.
    assert sign_flip(np.full(17, -0.1)).can_fire(1.5e-5)
    assert not sign_flip(np.full(16, -0.1)).can_fire(1.5e-5)
    assert sign_flip(np.zeros(3)).p == 1.0


@given(hnp.arrays(np.float64, st.integers(1, 10), elements=st.sampled_from([-0.4, -0.2, 0, 0.2])))
@settings(max_examples=50, deadline=None)
def test_convolution_is_enumeration(deltas: Floats) -> None:
    moved = deltas[deltas != 0]
    sums = [sum(a * s for a, s in zip(np.abs(moved), signs, strict=True))
            for signs in itertools.product((-1, 1), repeat=len(moved))]  # fmt: skip
    expected = np.mean([total <= moved.sum() + 1e-9 for total in sums])
    assert sign_flip(deltas).p == pytest.approx(expected, abs=1e-12)


def test_the_saddlepoint_is_near_the_exact_tail() -> None:
    rng = np.random.default_rng(2)
    for shift in (0.0, -0.05, -0.1, 0.05):
        lattice = np.round(rng.normal(shift, 0.15, 40), 3)
        exact = sign_flip(lattice)
        near = sign_flip(lattice + rng.normal(0, 1e-8, 40))
        assert (exact.method, near.method) == ("convolution", "saddlepoint")
        assert near.p == pytest.approx(exact.p, rel=0.03)
