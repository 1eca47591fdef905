"""The gate's decisions: hand-derived, by properties, and its errors with a known truth."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from judge.errors import UsageError
from judge.gate import (
    Decision,
    GateResult,
    facts,
    flag_of,
    gate,
    junit_of,
    markdown_of,
    missing_bounds,
    sentence,
    undecided,
)
from judge.planning import assumed_components
from judge.records import OVERALL
from judge.study import Floats
from tests.gate_fixture import gate_of, mean_overall, settings_of, study_of_two, two

LEVELS = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])


def scores(rows: int, columns: int) -> st.SearchStrategy[Floats]:
    return hnp.arrays(np.float64, (rows, columns), elements=LEVELS)


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


def test_a_criterion_that_is_worse_is_called_by_how_much_is_known() -> None:
    within = gate_of(study_of_two(*two(45, [0.02, 0.0], sd=0.02))).criteria[0]
    assert (within.worse_within_margin, flag_of(within)) == (True, "worse within margin")
    # [-0.052, -0.028] or so: on both sides of the margin of 0.04.
    unclear = gate_of(study_of_two(*two(45, [0.04, 0.0]))).criteria[0]
    assert unclear.low is not None and unclear.low < -0.04
    assert flag_of(unclear) == "worse, size unclear"
    assert "worse, size unclear" in sentence(unclear)
    # A drop of 0.6 on all questions, but a third of the candidate's scores missing.
    base, cand = two(45, [0.6, 0.0])
    cand[:15, 0] = np.nan
    lost = gate_of(study_of_two(base, cand)).criteria[0]
    assert lost.decision is Decision.INCONCLUSIVE
    assert flag_of(lost) == "worse, not decided"
    assert "within" not in sentence(lost)
    equal = gate_of(study_of_two(*two(45, [0.0, 0.0]))).criteria[0]
    assert flag_of(equal) == ""


def test_words_of_chance_say_what_a_p_value_is() -> None:
    worse = gate_of(study_of_two(*two(45, [0.12, 0.0])))
    told = " ".join(worse.reasons)
    assert "shown to be worse than the margin of 0.04" in told
    assert "beyond doubt" not in told
    assert "the level after correction being" in told
    # The overall has not regressed, so that no category was tested: there is no level to name.
    study = study_of_two(*two(60, [0.03, 0.03]), categories=["a"] * 30 + ["b"] * 30)
    found = gate_of(study)
    assert found.overall.decision is not Decision.REGRESS
    for one in found.categories:
        assert one.level == 0
        assert undecided(one) == (
            "not tested: a category is looked at once the overall has regressed"
        )
    base, cand = two(45, [0.0, 0.0])
    cand[0, 0] = np.nan
    # One question of the candidate only: by chance half of the time.
    assert "as many or more of the candidate would be seen with probability 0.500" in " ".join(
        facts(gate_of(study_of_two(base, cand)))
    )


def test_margins_out_of_reach_are_a_line_each() -> None:
    lines = [line for line in facts(gate_of(study_of_two(*two(12, [0.0] * 4, sd=0.2))))
             if "not attainable" in line]  # fmt: skip
    assert len(lines) == 5
    assert all(len(line) < 250 for line in lines)


@pytest.mark.parametrize("here", [True, False])
def test_missing_verdicts_of_files_are_not_asked_for_here(here: bool) -> None:
    base, cand = two(45, [0.0, 0.0])
    cand[:9, 0] = np.nan
    remedy = gate_of(study_of_two(base, cand), rescored_here=here).remedy
    assert remedy is not None and remedy.kind == "rescore"
    assert ("--retry-unscored" in remedy.text) is here
    assert ("where the file comes from" in remedy.text) is not here


def test_without_any_spread_known_a_gate_assumes_what_a_plan_assumes() -> None:
    """One answer per question: half of the variance is noise, as in `judge plan gate`."""
    result = gate_of(study_of_two(*two(45, [0.015, 0.0], sd=0.1)))
    remedy = result.criteria[0].remedy
    assert remedy is not None and remedy.assumed
    sd = result.criteria[0].sd
    assert sd is not None
    known = assumed_components(sd)
    assert known.variance(1) == pytest.approx(sd**2)
    assert known.variance(10**9) == pytest.approx(sd**2 / 2)
    # 1 for each answer and judgment of both models, 10 for a new question.
    if remedy.kind == "questions":
        assert remedy.cost == pytest.approx(remedy.more * (2 * 2 + 10))
    else:
        assert remedy.cost == pytest.approx(2 * 45 * remedy.more * 2)
