"""What the gate makes of what is missing: verdicts, samples, rows, and failures nobody saw."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from judge.gate import (
    Decision,
    facts,
    gate,
    interval,
    junit_of,
    markdown_of,
    missing_bounds,
    total_failures,
)
from judge.records import OVERALL
from judge.study import Flags, Floats, overall_function, plain_rubric
from judge.weights import equal_weights
from tests.gate_fixture import gate_of, mean_overall, settings_of, study_of_two, two, with_lost


def test_missing_verdicts_are_evidence() -> None:
    base, candidate = two(100, [0.0, 0.0])
    candidate[:2, 0] = np.nan
    found = gate_of(study_of_two(base, candidate))
    one = found.criteria[0]
    # Two of the candidate's at 0 instead of about 0.6: a mean lower by about 0.012.
    assert one.low is not None and one.worst_low is not None and one.best_high is not None
    assert one.worst_low < one.low
    assert one.best_high > one.high  # type: ignore[operator]
    assert (one.missing.candidate, one.missing.baseline, one.n_questions) == (2, 0, 98)
    assert found.failures.candidate_more == 2
    assert found.failures.p == 0.25
    # The overall of these answers is missing too; its bounds are those of the missing criterion.
    assert found.overall.missing.candidate == 2
    assert found.overall.worst_low is not None
    assert found.overall.worst_low > one.worst_low


def test_lost_judge_samples_are_missing_in_part() -> None:
    base, candidate = np.full((100, 2), 0.6), np.full((100, 2), 0.6)
    study = study_of_two(base, candidate)
    for row in (100, 101):
        study = with_lost(study, row, 0, k=2, wanted=3)
    found = gate_of(study)
    one, other = found.criteria
    # Each of two answers may be worse by .6 / 3 = .2 or better by .4 / 3: no score is known less.
    assert one.difference == other.difference == 0.0
    assert one.worst_low == pytest.approx(interval(np.repeat([0.0, -0.2], [98, 2]), 0.9)[0])
    assert one.best_high == pytest.approx(interval(np.repeat([0.0, 0.4 / 3], [98, 2]), 0.9)[1])
    # The overall has two criteria of equal weight: half of that.
    assert found.overall.worst_low == pytest.approx(
        interval(np.repeat([0.0, -0.1], [98, 2]), 0.9)[0]
    )
    assert (one.missing.candidate, one.missing.candidate_partly, one.missing.total) == (0, 2, 2)
    # A third of each of two verdicts, and a sixth of each of two overalls, of a hundred.
    assert one.missing.share == pytest.approx(2 / 3 / 100)
    assert found.overall.missing.share == pytest.approx(2 / 6 / 100)
    assert other.missing.total == 0
    assert other.worst_low == other.low
    assert (found.failures.candidate_more, found.failures.baseline_more) == (2, 0)
    assert one.note is not None
    assert "0 of the baseline and 2 of the candidate lack some of their judge samples" in one.note
    mirrored = gate_of(study, swapped=True).criteria[0]
    assert one.worst_low is not None and one.best_high is not None
    assert (mirrored.worst_low, mirrored.best_high) == pytest.approx(
        (-one.best_high, -one.worst_low), abs=1e-7
    )


def test_many_lost_judge_samples_are_too_much_missing() -> None:
    # One of two samples of 11 of 100 answers: 5.5 % of the verdicts.
    for lost, decision in ((11, Decision.INCONCLUSIVE), (10, Decision.PASS)):
        study = study_of_two(np.full((100, 1), 0.6), np.full((100, 1), 0.6))
        for row in range(lost):
            study = with_lost(study, 100 + row, 0, k=1, wanted=2)
        found = gate_of(study, margins={"c0": 0.1, OVERALL: 0.1})
        assert found.criteria[0].decision is decision
        told = "too much is missing" in str(found.criteria[0].note)
        assert told == (decision is Decision.INCONCLUSIVE)


def test_an_overall_without_some_of_its_criteria_is_open_by_their_weight() -> None:
    # Two criteria of equal weight. The candidate's second is missing on two answers of twenty, and
    # the overall is made from the first alone: .6. With the second at 0 it is .3, at 1 it is .8.
    base, candidate = np.full((20, 2), 0.6), np.full((20, 2), 0.6)
    candidate[:2, 1] = np.nan
    study = study_of_two(base, candidate)
    rubric = plain_rubric(study.criteria)
    overall = overall_function(study, rubric, equal_weights(rubric), partial_from=1)
    whole = study.with_overall(overall)
    assert whole.scores[20, -1, 0] == pytest.approx(0.6)
    bounds = missing_bounds(whole, overall)
    np.testing.assert_allclose((bounds.low[20, -1], bounds.high[20, -1]), (0.3, 0.8))
    np.testing.assert_array_equal(bounds.low[22:, -1], whole.panel[22:, -1])
    found = gate(
        whole, bounds, baseline="base", candidate="cand", settings=settings_of(study)
    ).overall
    assert found.difference == pytest.approx(0.0)
    assert found.n_questions == 20
    assert found.worst_low == pytest.approx(interval(np.repeat([0.0, -0.3], [18, 2]), 0.9)[0])
    # Half of the weight of two of twenty answers is missing.
    assert (found.missing.candidate, found.missing.candidate_partly) == (0, 2)
    assert found.missing.share == pytest.approx(0.05)


def test_rows_that_are_gone_are_as_missing_as_verdicts_that_are() -> None:
    base, candidate = two(100, [0.0])
    unscored = candidate.copy()
    unscored[96:] = np.nan
    kept = gate_of(study_of_two(base, unscored)).criteria[0]
    gone = gate_of(study_of_two(base, candidate[:96])).criteria[0]
    assert kept.missing.candidate == gone.missing.candidate == 4
    assert kept.decision is gone.decision is Decision.INCONCLUSIVE
    assert gone.worst_low == pytest.approx(kept.worst_low)


def test_answers_of_which_a_model_gave_fewer_to_some_questions_are_missing() -> None:
    base, candidate = two(100, [0.0])
    twice = np.tile(np.arange(100), 2)
    found = gate_of(
        study_of_two(
            np.tile(base, (2, 1)), np.tile(candidate, (2, 1))[:140],
            base_questions=twice, candidate_questions=twice[:140],
        )  # type: ignore[arg-type]
    ).criteria[0]  # fmt: skip
    assert found.missing.candidate == 60
    assert found.missing.candidate_wanted == 200
    assert found.decision is Decision.INCONCLUSIVE


def test_what_applies_to_one_model_only_is_missing_for_the_other() -> None:
    base, candidate = two(100, [0.0])
    study = study_of_two(base, candidate)
    study.applicable[100:160] = False
    found = gate_of(study).criteria[0]
    assert found.missing.candidate == 60
    assert found.decision is Decision.INCONCLUSIVE
    study.applicable[:60] = False
    assert gate_of(study).criteria[0].missing.total == 0


def test_not_applicable_is_not_missing() -> None:
    base, candidate = two(30, [0.0, 0.0])
    base[:5, 1] = candidate[:5, 1] = np.nan
    study = study_of_two(base, candidate)
    study = replace(study, applicable=~np.isnan(study.panel))
    found = gate_of(study)
    assert (found.criteria[1].n_questions, found.criteria[1].missing.total) == (25, 0)
    assert found.overall.missing.total == 0
    assert found.failures.candidate_more == found.failures.baseline_more == 0


def test_too_much_missing_is_inconclusive_even_where_the_rest_is_worse() -> None:
    base, candidate = two(100, [0.2, 0.0])
    candidate[:6, 0] = np.nan
    found = gate_of(study_of_two(base, candidate), overall=0.5)
    assert found.criteria[0].decision is Decision.INCONCLUSIVE
    assert found.decision is Decision.INCONCLUSIVE
    assert found.remedy is not None
    assert found.remedy.kind == "rescore"
    assert gate_of(study_of_two(base, candidate), max_unscored=0.06).decision is Decision.REGRESS


def test_answers_that_can_have_no_overall_are_left_out_of_it() -> None:
    base, candidate = two(20, [0.0, 0.0])
    study = study_of_two(base, candidate)

    def weightless(values: Floats, applicable: Flags) -> Floats:
        found = mean_overall(values, applicable)
        found[study.questions == 3] = np.nan
        return found

    whole = study.with_overall(weightless)
    found = gate(
        whole, missing_bounds(whole, weightless), baseline="base", candidate="cand",
        settings=settings_of(study),
    )  # fmt: skip
    assert (found.overall.n_questions, found.overall.missing.total) == (19, 0)
    assert found.criteria[0].n_questions == 20


def test_what_questions_rule_out_of_total_failures() -> None:
    # None of 53: (1 - p)^53 = .05 at p = 1 - .05^(1 / 53) = .0550.
    none = total_failures(np.zeros(53), np.zeros(53))
    assert none is not None
    assert (none.observed, none.possible, none.questions) == (0, 0, 53)
    assert none.upper == pytest.approx(1 - 0.05 ** (1 / 53))
    assert none.upper == pytest.approx(0.0550, abs=5e-5)
    # 299 are the fewest that rule out 1 %: .99^299 = .0495, .99^298 = .0500.
    least = total_failures(np.zeros(299), np.zeros(299))
    assert least is not None and least.upper < 0.01
    # A fall of exactly half counts, one of .49 does not. Of two questions with one failure:
    # P(at most 1 of 2) = 1 - p^2 = .05 at p = .9747.
    one = total_failures(np.array([-0.5, -0.49]), np.array([-0.5, -0.49]))
    assert one is not None
    assert (one.observed, one.upper) == (1, pytest.approx(math.sqrt(0.95)))
    # All of one.
    every = total_failures(np.array([-1.0]), np.array([-1.0]))
    assert every is not None and every.upper == 1.0
    # On a scale that spans .4, half is .2.
    narrow = total_failures(np.array([-0.2, 0.0]), np.array([-0.2, 0.0]), span=0.4)
    assert narrow is not None and narrow.observed == 1
    # A question of which the candidate's verdict is missing may be one.
    unsure = total_failures(np.zeros(9), np.array([*np.zeros(9), -0.8]))
    assert unsure is not None
    assert (unsure.observed, unsure.possible, unsure.questions) == (0, 1, 10)
    # P(at most 1 of 10) = (1 - p)^10 + 10 p (1 - p)^9.
    p = unsure.upper
    assert (1 - p) ** 10 + 10 * p * (1 - p) ** 9 == pytest.approx(0.05)
    assert total_failures(np.zeros(0), np.zeros(0)) is None


def test_a_pass_of_safety_says_what_it_cannot_rule_out() -> None:
    base, candidate = two(60, [0.0, 0.0])
    base[:, 1] = candidate[:, 1] = 1.0
    found = gate_of(study_of_two(base, candidate, criteria=["tact", "safety"]))
    assert found.decision is Decision.PASS
    tact, safety = found.criteria
    assert tact.total_failures is None
    assert safety.total_failures is not None
    words = "0 of 60 questions failed: failures on up to 4.9 % of questions could have gone unseen"
    assert f"total failures on safety: {words}" in facts(found)
    assert words in markdown_of(found)
    assert words in junit_of(found)
    candidate[0, 1] = 0.0
    found = gate_of(study_of_two(base, candidate, criteria=["tact", "safety"]))
    # P(at most 1 of 60) = .05 at p = .0767.
    assert "1 of 60 questions failed: failures on up to 7.7 % of questions are not ruled out" in (
        " ".join(facts(found))
    )
    silent = gate_of(
        study_of_two(base, candidate, criteria=["tact", "safety"]), silent={"safety": "no signal"}
    )
    assert silent.criteria[1].total_failures is None


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_a_missing_verdict_never_turns_inconclusive_into_a_pass(data: st.DataObject) -> None:
    n = data.draw(st.sampled_from([20, 40]))
    level = st.sampled_from([0.4, 0.6, 0.8])
    base = data.draw(hnp.arrays(np.float64, (n, 2), elements=level, fill=st.just(0.6)))
    candidate = data.draw(hnp.arrays(np.float64, (n, 2), elements=level, fill=st.just(0.6)))
    margin = data.draw(st.sampled_from([0.02, 0.05, 0.1, 0.2]))
    wide = {"margins": {"c0": margin, "c1": margin, OVERALL: margin}, "max_unscored": 0.5}
    whole = study_of_two(base, candidate)
    before = gate_of(whole, **wide)
    # Of a score that is the mean of some samples, one is lost: the score is that of the others.
    row, column = data.draw(st.integers(0, 2 * n - 1)), data.draw(st.integers(0, 1))
    wanted = data.draw(st.integers(2, 4))
    mean = whole.scores[row, column, 0]
    gone = data.draw(st.floats(max(0.0, wanted * mean - wanted + 1), min(1.0, wanted * mean)))
    others = whole.scores.copy()
    others[row, column, 0] = np.clip((wanted * mean - gone) / (wanted - 1), 0.0, 1.0)
    lost = with_lost(replace(whole, scores=others), row, column, k=wanted - 1, wanted=wanted)
    if before.decision is not Decision.PASS:
        assert gate_of(lost, **wide).decision is not Decision.PASS
    for _ in range(data.draw(st.integers(1, 3))):
        side = data.draw(st.sampled_from([base, candidate]))
        side[data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, 1))] = np.nan
    after = gate_of(study_of_two(base, candidate), **wide)
    if before.decision is not Decision.PASS:
        assert after.decision is not Decision.PASS
