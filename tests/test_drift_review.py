"""What a series must not do: forget, block, close or name without evidence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from judge.drift import Cause, DriftSettings, Floats, Night, State, Watch
from judge.drift._charts import again_p_values, again_summaries
from judge.drift._recovery import recovery
from judge.drift._reference import reference
from judge.drift._watch_words import collecting_reason
from judge.gate import Decision
from tests.test_drift_follow import (
    METRICS,
    QUESTIONS,
    SETTINGS,
    baseline,
    bridge,
    date,
    series,
    watched,
)


def without_anchors(night: Night) -> Night:
    return replace(night, anchor_ids=(), anchors=np.empty((0, 0)))


def masked(nights: list[Night], hide: Callable[[int], Floats]) -> list[Night]:
    """Nights whose candidate has no score where ``hide(night)`` (n, c) is true."""
    return [
        replace(one, candidate=np.where(hide(at), np.nan, one.candidate))
        for at, one in enumerate(nights)
    ]


# A bridge


@pytest.mark.parametrize("seed", range(4))
def test_a_bridge_does_not_turn_a_proven_drop_into_a_pass(seed: int) -> None:
    nights = series(60, seed=seed, judge=(15, 0.08), model=(15, 0.06))
    watches = watched(nights, bridge(35, 0.08))
    assert (watches[34].decision, watches[34].cause) == (Decision.REGRESS, Cause.BOTH)
    assert {one.decision for one in watches[35:]} == {Decision.REGRESS}
    assert {one.cause for one in watches[35:]} == {Cause.MODEL}
    assert {one.state for one in watches[35:]} == {State.WATCHING}
    (alarm,) = watches[40].alarms
    assert alarm.kind == "detector" and "clarity" in alarm.metrics
    # On the new scale the judge's shift is gone, and what is left is the model's drop.
    assert alarm.effect is not None
    assert alarm.effect.low <= -0.06 <= alarm.effect.high
    assert alarm.effect.high < 0
    assert any("The bridge has taken the judge's shift out" in one for one in watches[40].reasons)


def test_what_was_proven_beside_a_judge_stays_until_it_is_back_or_a_new_baseline() -> None:
    nights = series(110, seed=3, judge=(15, 0.08), model=(15, 0.06), back=45)
    watches = watched(nights, bridge(35, 0.08))
    assert {one.decision for one in watches[35:46]} == {Decision.REGRESS}
    assert watches[-1].alarms == () and watches[-1].decision is Decision.PASS
    later = baseline(since=70, first=36, nights=9)
    lower = series(110, judge=(15, 0.08), model=(15, 0.06))
    settled = watched(lower, bridge(35, 0.08), baselines=(baseline(), later))
    assert settled[69].decision is Decision.REGRESS
    assert settled[70].alarms == () and settled[70].decision is Decision.PASS


def test_the_nights_of_a_freeze_count_behind_the_bridge() -> None:
    # The kinder judge hides the drop, and the model is not yet named when the bridge comes.
    nights = series(45, seed=3, judge=(15, -0.08), model=(25, 0.05))
    watches = watched(nights, bridge(31, -0.08))
    assert watches[30].cause is Cause.JUDGE
    found = next(at for at in range(31, 45) if watches[at].alarms)
    fresh = watched([*nights[:16], *nights[31:]], bridge(31, -0.08))
    alone = next(one.date for one in fresh[16:] if one.alarms)
    assert watches[found].date < alone
    assert {one.cause for one in watches[found:]} <= {Cause.PENDING, Cause.MODEL}


def test_a_pending_alarm_stays_behind_a_bridge_to_other_rulers() -> None:
    rng = np.random.default_rng(4)
    nights = [
        replace(one, anchors=one.anchors + rng.normal(0, 0.25, one.anchors.shape), slice_ids=())
        for one in series(30, model=(20, 0.08))
    ]
    raised = next(at for at, one in enumerate(watched(nights)) if one.alarms)
    other = [replace(one, epoch="two") if at > raised else one for at, one in enumerate(nights)]
    watches = watched(other, bridge(raised + 1, 0.0, new="two"))
    assert watches[raised].alarms[0].cause is Cause.PENDING
    assert watches[raised + 1].alarms[0].since == watches[raised].date
    assert Decision.PASS not in {one.decision for one in watches[raised:]}


def test_a_bridge_after_a_shift_of_the_judge_alone_leaves_no_alarm() -> None:
    passed = 0
    for seed in range(20):
        watches = watched(series(45, seed=seed, judge=(15, -0.08)), bridge(35, -0.08))
        assert watches[34].state is State.FROZEN
        passed += {one.decision for one in watches[35:]} == {Decision.PASS}
    assert passed >= 19


@pytest.mark.parametrize("cut", [22, 33, 36, 40])
def test_a_bridge_changes_nothing_that_was_said_before(cut: int) -> None:
    nights = [
        replace(one, epoch="two") if at >= 32 else one
        for at, one in enumerate(series(45, judge=(15, 0.08), model=(15, 0.06)))
    ]
    bridges = (bridge(20, 0.08), bridge(35, 0.08, new="two"))
    assert watched(nights[:cut], *bridges) == watched(nights, *bridges)[:cut]


# What does not apply, and what the baseline does not know


def test_a_criterion_that_sometimes_applies_is_measured() -> None:
    rng = np.random.default_rng(2)
    hidden = rng.random((40, QUESTIONS, 3)) < [0.0, 0.1, 0.0]
    watches = watched(masked(series(), lambda at: hidden[at]))
    assert {one.decision for one in watches[10:]} == {Decision.PASS}
    assert all(one.metrics[1].difference is not None for one in watches[10:])


@pytest.mark.parametrize("share", [1.0, 0.97, 0.9])
def test_a_criterion_that_never_or_rarely_applies_blocks_nothing(share: float) -> None:
    rng = np.random.default_rng(3)
    hidden = rng.random((40, QUESTIONS, 3)) < [0.0, share, 0.0]
    watches = watched(masked(series(), lambda at: hidden[at]))
    assert {one.decision for one in watches[10:]} == {Decision.PASS}


def test_a_criterion_that_no_longer_applies_is_not_passed_over() -> None:
    gone = np.array([False, True, False])
    watches = watched(masked(series(25), lambda at: gone & (at >= 20)))
    assert {one.decision for one in watches[10:20]} == {Decision.PASS}
    assert {one.decision for one in watches[20:]} == {Decision.INCONCLUSIVE}
    assert (
        watches[20]
        .reasons[0]
        .startswith(
            "accuracy was not measured: too few of the baseline's questions have scores (0 of 30)"
        )
    )
    assert "accept a new baseline" in watches[20].reasons[0]


def test_questions_that_the_baseline_does_not_know_are_not_passed_over() -> None:
    # The baseline has 7 of 30 questions; later the drop is on the other ones.
    known = np.arange(QUESTIONS)[:, None] < 7
    nights = masked(series(25), lambda at: ~known & (at < 10))
    nights = [
        replace(one, candidate=one.candidate - 0.3 * ~known) if at >= 10 else one
        for at, one in enumerate(nights)
    ]
    watches = watched(nights)
    assert {one.decision for one in watches[10:]} == {Decision.INCONCLUSIVE}
    assert watches[12].reasons[0] == (
        "clarity is not watched on 23 of the 30 questions that have scores tonight: the baseline "
        "has none of them. Accept a baseline of nights that have."
    )


def test_one_new_question_blocks_nothing() -> None:
    first = np.arange(QUESTIONS)[:, None] == 0
    watches = watched(masked(series(25), lambda at: first & (at < 10)))
    assert {one.decision for one in watches[10:]} == {Decision.PASS}


# Closing


def test_recovery_by_hand() -> None:
    lambdas = np.array([0.25, 0.5, 1.0, 2.0])
    z = np.array([[1.0], [-2.0]])
    factors = np.exp(-lambdas * z - lambdas**2 / 2)  # (night, λ)
    # Begun on the first night with weight 1/2, on the second with 1/6.
    expected = np.mean(factors[0] * factors[1] / 2 + factors[1] / 6)
    assert recovery(z)[0] == pytest.approx(np.log(expected))
    assert recovery(np.empty((0, 2))).tolist() == [-np.inf, -np.inf]
    # A night that was not measured is no evidence.
    assert recovery(np.full((1, 1), np.nan))[0] == pytest.approx(np.log(0.5))


def test_a_metric_at_its_margin_recovers_in_at_most_one_of_twenty_series() -> None:
    rng = np.random.default_rng(5)
    z = rng.normal(size=(120, 400))
    ever = np.zeros(400, bool)
    for night in range(1, 121):
        ever |= recovery(z[:night]) >= np.log(20)
    # At 5 % more than 33 of 400 come by chance in 0.2 % of cases.
    assert 0 < ever.sum() <= 33


def test_a_lasting_drop_keeps_its_alarm() -> None:
    # Nine good nights in between: with a fresh 5 % on each of them an alarm is gone.
    lower = series(70, seed=4, model=(20, 0.08))
    lucky = [*lower[:40], *series(70, seed=4)[40:49], *lower[49:]]
    watches = watched(lucky)
    raised = next(at for at, one in enumerate(watches) if one.alarms)
    assert raised < 40
    assert all(one.alarms for one in watches[raised:])


# Anchors


def late_anchors(nights: list[Night], have: int) -> list[Night]:
    """Anchors on the last ``have`` of ten baseline nights and after."""
    return [without_anchors(one) if at < 10 - have else one for at, one in enumerate(nights)]


def unsliced(night: Night) -> Night:
    empty = np.empty((0, 0))
    return replace(night, slice_ids=(), slice_before=empty, slice_now=empty)


@pytest.mark.parametrize("have", [1, 2, 4])
def test_anchors_of_few_baseline_nights_have_no_chart(have: int) -> None:
    for seed in range(3):
        nights = [unsliced(one) for one in late_anchors(series(120, seed=seed), have)]
        watches = watched(nights)
        assert not any(one.alarms for one in watches)
        assert {one.state for one in watches[10:]} == {State.WATCHING}
        assert watches[-1].spent["judge"] == 0.0
        assert watches[-1].metrics[0].judge is None
        assert watches[-1].reasons == (
            "Nothing shows that a metric got worse by more than its margin.",
            "Tonight's anchors do not count yet: fewer than 5 of the baseline's nights have them. "
            "They count once a baseline is accepted that has them.",
        )


def test_meanwhile_the_slice_watches_the_judge() -> None:
    watches = watched(late_anchors(series(60, judge=(20, -0.12)), 2))
    assert watches[-1].state is State.FROZEN and watches[-1].cause is Cause.JUDGE


def test_anchors_of_five_baseline_nights_are_a_baseline_of_five() -> None:
    nights = late_anchors(series(60, judge=(20, -0.06)), 5)
    assert watched(nights)[-1].state is State.FROZEN
    found = reference(nights[:10], [[]] * 10, SETTINGS)
    alone = reference(nights[5:10], [[]] * 5, SETTINGS)
    assert found.anchors is not None and alone.anchors is not None
    assert found.anchors.nights == 5
    assert found.anchor_scores.shape[0] == 5
    assert found.anchors.se == pytest.approx(alone.anchors.se)


# Words and counts


def test_twins_that_never_differ_are_no_tests() -> None:
    nights = [replace(one, again=one.candidate) for one in series(20)]
    assert watched(nights)[-1].again is None
    some = [
        replace(one, again=np.column_stack([one.candidate[:, 0] + 0.01, one.candidate[:, 1:]]))
        for one in series(20)
    ]
    summary = watched(some)[-1].again
    assert summary is not None
    assert (summary.nights, summary.tests) == (20, 20)
    p, levels = again_p_values(some, SETTINGS)
    assert np.isnan(p[:, 1:]).all() and len(again_summaries(p, levels)) == 20


def test_enough_nights_become_the_baseline_by_themselves() -> None:
    assert collecting_reason(10, DriftSettings()) == (
        "There is no baseline yet. Enough nights are there: they are the baseline from the next "
        "night on."
    )


def test_later_metrics_join_an_open_alarm() -> None:
    second = np.array([0.0, 0.1, 0.0])
    nights = [
        replace(one, candidate=one.candidate - second) if at >= 35 else one
        for at, one in enumerate(series(60, model=(20, 0.1)))
    ]
    watches = watched(nights)

    def named(watch: Watch) -> tuple[str, ...]:
        return next(one.metrics for one in watch.alarms if one.kind == "detector")

    assert named(watches[34]) == ("clarity",)
    assert named(watches[-1]) == ("clarity", "accuracy")
    assert {METRICS[0]} == {named(one)[0] for one in watches if one.date >= date(30)}
