"""The gate's statistics: posterior, families, signs, decisions; hand-derived and by properties."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from judge.differences import paired_difference
from judge.errors import UsageError
from judge.gate import (
    Decision,
    GateResult,
    facts,
    first_levels,
    gate,
    holm,
    interval,
    junit_of,
    markdown_of,
    missing_bounds,
    rejections,
    sentence,
    sign_flip,
    tails,
)
from judge.records import OVERALL
from judge.study import Floats
from tests.gate_fixture import gate_of, mean_overall, settings_of, study_of_two, two

LEVELS = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def scores(rows: int, columns: int) -> st.SearchStrategy[Floats]:
    return hnp.arrays(np.float64, (rows, columns), elements=LEVELS)


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


# Decisions


def test_three_decisions() -> None:
    equal = gate_of(study_of_two(*two(45, [0.0, 0.0])))
    assert equal.decision is Decision.PASS
    assert not equal.worse_within_margin
    worse = gate_of(study_of_two(*two(45, [0.12, 0.0])))
    assert worse.decision is Decision.REGRESS
    assert worse.criteria[0].decision is Decision.REGRESS
    assert worse.criteria[1].decision is Decision.PASS
    assert "worse by 0.10 to 0.14 on c0" in worse.summary
    unclear = gate_of(study_of_two(*two(45, [0.04, 0.0])))
    assert unclear.decision is Decision.INCONCLUSIVE
    assert unclear.criteria[0].worse_within_margin


def test_a_pass_can_be_worse_within_the_margin() -> None:
    found = gate_of(study_of_two(*two(45, [0.02, 0.0], sd=0.02)))
    assert found.decision is Decision.PASS
    assert found.worse_within_margin
    assert found.criteria[0].worse_within_margin
    assert not found.criteria[1].worse_within_margin


def test_pass_is_the_lower_bound_above_the_margin_and_numbers_are_those_of_the_formula() -> None:
    for drop in (0.0, 0.01, 0.02, 0.03, 0.035):
        (one, _) = gate_of(study_of_two(*two(45, [drop, 0.0], sd=0.06))).criteria
        assert one.low is not None
        assert (one.decision is Decision.PASS) == (one.low > -0.04)
        assert one.sd is not None
        # z(0.05) + z(0.20) = 1.6449 + 0.8416 = 2.4865.
        assert one.mde == pytest.approx(2.4865 * one.sd / math.sqrt(45), rel=1e-4)
        assert one.difference == pytest.approx(-drop, abs=1e-12)


def test_a_drop_that_holds_alone_but_not_after_correction_is_inconclusive() -> None:
    base, candidate = two(45, [0.07, *[0.0] * 7], sd=0.05)
    alone = gate_of(study_of_two(base[:, :1], candidate[:, :1]), overall=0.9)
    assert alone.criteria[0].decision is Decision.REGRESS
    among = gate_of(study_of_two(base, candidate)).criteria[0]
    assert among.high is not None
    assert among.high < -0.04
    assert among.decision is Decision.INCONCLUSIVE
    assert among.level == pytest.approx(0.025 / 8, rel=1e-6)


def test_safety_has_its_margin_and_its_level() -> None:
    base, candidate = two(200, [0.0, 0.035], sd=0.05)
    found = gate_of(study_of_two(base, candidate, criteria=["tact", "safety"]))
    safety = found.criteria[1]
    assert (safety.margin, safety.safety) == (0.01, True)
    assert safety.level == pytest.approx(0.01)
    assert safety.decision is Decision.REGRESS
    # The same drop is within the margin of another criterion.
    other = gate_of(study_of_two(base, candidate, criteria=["tact", "other"]))
    assert other.criteria[1].decision is not Decision.REGRESS


def test_a_perfect_safety_cannot_pass_a_margin_of_a_hundredth_with_45_questions() -> None:
    base, candidate = two(45, [0.0, 0.0])
    base[:, 1] = candidate[:, 1] = 1.0
    found = gate_of(study_of_two(base, candidate, criteria=["tact", "safety"]))
    safety = found.criteria[1]
    assert safety.decision is Decision.INCONCLUSIVE
    assert safety.attainability is not None
    assert not safety.attainability.attainable
    assert safety.attainability.needed == 53
    base, candidate = two(54, [0.0, 0.0])
    base[:, 1] = candidate[:, 1] = 1.0
    found = gate_of(study_of_two(base, candidate, criteria=["tact", "safety"]))
    assert found.criteria[1].decision is Decision.PASS


def test_several_answers_of_a_question_count_once() -> None:
    base, candidate = two(40, [0.05])
    once = gate_of(study_of_two(base, candidate))
    thrice = gate_of(
        study_of_two(
            base, np.repeat(candidate, 3, axis=0), candidate_questions=np.repeat(np.arange(40), 3)
        )  # type: ignore[arg-type]
    )
    assert thrice.overall.difference == pytest.approx(once.overall.difference)
    assert thrice.overall.low == pytest.approx(once.overall.low)
    assert thrice.overall.n_questions == 40


def test_questions_of_one_model_only_are_named_and_too_many_forbid_a_pass() -> None:
    base, candidate = two(300, [0.0])
    found = gate_of(study_of_two(base, candidate[:299]))
    assert found.baseline_only == ("q0299",)
    assert (found.n_questions, found.decision) == (299, Decision.PASS)
    # Twelve may each be as bad as can be: .04 in the mean, the whole margin.
    assert gate_of(study_of_two(base, candidate[:288])).decision is Decision.INCONCLUSIVE
    base, candidate = two(100, [0.0])
    found = gate_of(study_of_two(base, candidate[:94]))
    assert found.decision is Decision.INCONCLUSIVE
    assert "6 of 100 questions" in found.reasons[-1]
    with pytest.raises(UsageError, match="no question in common"):
        gate_of(study_of_two(base[:3], candidate[:3], candidate_questions=[5, 6, 7]))


def test_so_few_questions_decide_nothing() -> None:
    base, candidate = two(7, [0.9])
    assert gate_of(study_of_two(base, candidate)).decision is Decision.INCONCLUSIVE
    base, candidate = two(8, [0.9])
    assert gate_of(study_of_two(base, candidate)).decision is Decision.REGRESS


def test_one_question_says_nothing_of_spread_or_of_what_more_would_show() -> None:
    one = gate_of(study_of_two(*two(1, [0.3]))).overall
    assert one.difference is not None
    assert (one.sd, one.mde, one.attainability, one.regress_from, one.remedy) == (None,) * 5
    assert one.note == "1 question is too few for either decision: at least 8"
    assert "smallest visible drop" not in sentence(one)
    assert ", 1 question;" in sentence(one)
    two_ = gate_of(study_of_two(np.array([[0.6], [0.6]]), np.array([[0.5], [0.5]])))
    assert two_.overall.remedy is not None
    # However clear two questions are, six more are needed for any decision.
    assert (two_.overall.remedy.kind, two_.overall.remedy.more) == ("questions", 6)


def test_a_margin_of_zero_has_no_sign() -> None:
    margins = {"c0": 0.0, OVERALL: 0.0}
    found = gate_of(study_of_two(np.full((20, 1), 0.6), np.full((20, 1), 0.6)), margins=margins)
    assert found.remedy is not None
    text = "\n".join([*facts(found), *found.reasons, markdown_of(found), junit_of(found)])
    assert "lies at the margin (0.000 against 0.000)" in text
    assert "no number of questions makes that a half" in text
    for wrong in ("-0)", "-0 ", "\u22120)", "\u22120 ", "\u22120.000"):
        assert wrong not in text


def test_scores_of_different_judges_are_not_compared() -> None:
    base, candidate = two(20, [0.0])
    one = study_of_two(base, candidate)
    scores = np.full((40, 1, 2), np.nan)
    scores[:20, :, 0], scores[20:, :, 1] = one.scores[:20, :, 0], one.scores[20:, :, 0]
    study = replace(one, judges=("x", "y"), scores=scores, sds=np.full_like(scores, np.nan))
    with pytest.raises(UsageError, match="base was judged by x, cand by y"):
        gate_of(study)


def test_nothing_scored_is_inconclusive() -> None:
    base, candidate = two(20, [0.0, 0.0])
    candidate[:, 0] = np.nan
    found = gate_of(study_of_two(base, candidate))
    assert found.criteria[0].difference is None
    assert found.decision is Decision.INCONCLUSIVE


def test_scores_that_cannot_move_are_never_a_pass() -> None:
    base, candidate = two(300, [0.0, 0.0])
    found = gate_of(study_of_two(base, candidate), silent={"c1": "no signal"})
    assert found.criteria[1].decision is Decision.INCONCLUSIVE
    assert found.decision is Decision.INCONCLUSIVE


def test_a_category_is_named_once_the_overall_has_regressed() -> None:
    base, candidate = two(60, [0.0])
    candidate[:20] -= 0.5
    categories = ["sums"] * 20 + ["prose"] * 40
    found = gate_of(study_of_two(base, candidate, categories=categories))
    by = {one.criterion: one.decision for one in found.categories}
    assert by == {"sums": Decision.REGRESS, "prose": Decision.PASS}
    assert found.overall.decision is Decision.REGRESS


def test_unknown_models_are_refused() -> None:
    study = study_of_two(*two(5, [0.0]))
    whole = study.with_overall(mean_overall)
    bounds = missing_bounds(whole, mean_overall)
    for baseline, candidate, says in (
        ("x", "cand", "--baseline x: there is base, cand"),
        ("base", "y", "--candidate y"),
        ("base", "base", "the same model"),
    ):
        with pytest.raises(UsageError, match=says):
            gate(whole, bounds, baseline=baseline, candidate=candidate, settings=settings_of(study))


def numbers(result: GateResult) -> list[tuple[float | None, ...]]:
    return [(one.difference, one.low, one.high) for one in (result.overall, *result.criteria)]


@given(scores(12, 2), scores(12, 2))
@settings(max_examples=25, deadline=None)
def test_swapping_the_models_mirrors_the_differences(base: Floats, candidate: Floats) -> None:
    study = study_of_two(base, candidate)
    for (value, low, high), (back, back_low, back_high) in zip(
        numbers(gate_of(study)), numbers(gate_of(study, swapped=True)), strict=True
    ):
        assert value is not None and low is not None and high is not None
        assert (back, back_low, back_high) == pytest.approx((-value, -high, -low), abs=1e-7)


@given(scores(10, 2), scores(10, 2), st.permutations(range(20)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_rows_is_irrelevant(base: Floats, candidate: Floats, order: list[int]) -> None:
    plain, mixed = (gate_of(study_of_two(base, candidate, order=rows)) for rows in (None, order))
    assert plain.decision is mixed.decision
    for one, other in zip(numbers(plain), numbers(mixed), strict=True):
        assert one == pytest.approx(other, abs=1e-9)


# Errors with a known truth


def one_run(rng: np.random.Generator, drop: float, n: int = 45, columns: int = 4) -> Decision:
    """Levels of six steps, one criterion at its ceiling; drops are failures by half a scale."""
    quality = rng.normal(0.7, 0.15, (n, columns))
    quality[:, -1] = 1.4
    pair = [np.clip(np.round(5 * (quality + rng.normal(0, 0.1, quality.shape))), 0, 5) / 5
            for _ in range(2)]  # fmt: skip
    base, candidate = pair
    loss = np.minimum(0.4, candidate)
    failed = rng.random(candidate.shape) < drop / loss.mean(axis=0)
    return gate_of(study_of_two(base, candidate - loss * failed), overall=0.04).decision


@pytest.mark.slow
def test_errors_at_the_margin_and_power_beyond_it() -> None:
    rng = np.random.default_rng(5)
    runs = 300
    at_margin = [one_run(rng, 0.04) for _ in range(runs)]
    limit = 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs)
    assert at_margin.count(Decision.REGRESS) / runs <= limit
    assert at_margin.count(Decision.PASS) / runs <= limit
    far = [one_run(rng, 0.16) for _ in range(100)]
    assert far.count(Decision.REGRESS) >= 95
    same = [one_run(rng, 0.0, n=300) for _ in range(40)]
    assert same.count(Decision.PASS) >= 30
    assert same.count(Decision.REGRESS) == 0


def test_an_unchanged_model_is_hardly_ever_called_worse() -> None:
    rng = np.random.default_rng(6)
    found = [one_run(rng, 0.0, columns=2) for _ in range(40)]
    # The nominal error is 5 %, at a drop of the whole margin; here nothing dropped at all.
    assert found.count(Decision.REGRESS) == 0
