"""What the site says in words and numbers, before it is a page."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.drift import Alarm, Baseline, Bridge, Cause, Equating, Night, State
from judge.gate import Decision
from judge.nightly import _site_words as words
from judge.nightly._plots import Calendar, step_of, ticks_of
from judge.nightly._site_data import SiteFacts, series_body, watch_body
from tests.nightly_site_fixture import day, make_series


def test_the_evidence_is_the_mean_of_the_statistics() -> None:
    watch = make_series(11)[0][-1]
    two = tuple(
        replace(one, log_detector=math.log(value))
        for one, value in zip(watch.metrics, (1.0, 3.0), strict=False)
    )
    # The mean of 1 and 3 is 2; of nothing at all it is nothing; a NaN makes it unknown.
    assert watch_body(replace(watch, metrics=two))["evidence"] == pytest.approx(math.log(2))
    for value, said in ((-math.inf, "nothing"), (math.nan, None)):
        one = replace(watch.metrics[0], log_detector=value)
        assert watch_body(replace(watch, metrics=(one,)))["evidence"] == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (10, "There is no baseline yet, so that nothing is compared."),
        (11, "Nothing happened: no sign that a metric fell by more than its margin."),
        (
            13,
            "The judge's scores of the same answers fell by 0.031 [0.023, 0.039] on overall since "
            "12 Mar 2026, with clarity. No decision until a bridge or a new baseline.",
        ),
        (
            22,
            "accuracy fell by 0.061 [0.048, 0.074] since 20 Mar 2026, with completeness: who "
            "moved is not settled yet.",
        ),
        (
            30,
            "accuracy fell by 0.061 [0.048, 0.074] since 20 Mar 2026, with completeness: the model "
            "moved, not the judge.",
        ),
    ],
)
def test_the_headline_says_what_happened(number: int, said: str) -> None:
    watch = make_series(number)[0][-1]
    assert words.headline(watch_body(watch), {}) == said


def test_an_alarm_without_effect_and_a_freeze_without_alarm() -> None:
    watch = make_series(30)[0][-1]
    bare = Alarm(kind="tonight", since=day(30), onset=day(30), metrics=(), cause=Cause.UNKNOWN,
                 effect=None)  # fmt: skip
    assert words.headline(watch_body(replace(watch, alarms=(bare,))), {}) == (
        "The candidate got worse since 30 Mar 2026: nothing tells the judge from the model."
    )
    frozen = replace(watch, state=State.FROZEN, decision=Decision.INCONCLUSIVE, alarms=())
    assert words.headline(watch_body(frozen), {}).startswith("Tonight's scores cannot stand beside")
    rise = {"value": 0.02, "low": -0.01, "high": 0.05}
    assert words.moved(rise) == "rose by 0.020 [−0.010, 0.050]"


def test_questions_that_fell_are_measured_against_the_bridged_baseline() -> None:
    def night(date: str, scores: list[float]) -> Night:
        return Night(
            date=date, epoch="e", metrics=("overall",), question_ids=("a", "b", "c"),
            candidate=np.array(scores)[:, None],
        )  # fmt: skip

    nights = [
        night("2026-03-01", [0.8, 0.5, 0.4]),
        night("2026-03-02", [0.6, 0.5, math.nan]),
        night("2026-03-03", [0.5, 0.6, 0.3]),
    ]
    watch = replace(make_series(11)[0][-1], date="2026-03-03", baseline="2026-03-03")
    base = Baseline(since="2026-03-03", nights=("2026-03-01", "2026-03-02"), epoch="e", by="x")
    plain = SiteFacts(baselines=[base])
    (one,) = series_body("s", [watch], nights, plain)["nights"]
    # a: mean 0.7, tonight 0.5; c: 0.4 in the only night that has it, tonight 0.3; b rose.
    assert [(row["question"], round(row["difference"], 9)) for row in one["measured"]["moved"]] == [
        ("a", -0.2), ("c", -0.1)
    ]  # fmt: skip
    line = Equating(intercept=-0.1, slope=1.0, se=0.0, shift=-0.1, low=-0.1, high=-0.1, n=3)
    bridge = Bridge(since="2026-03-03", old="e", new="e", metrics={"overall": line}, by="x")
    (one,) = series_body("s", [watch], nights, replace(plain, bridges=[bridge]))["nights"]
    assert [(row["question"], round(row["difference"], 9)) for row in one["measured"]["moved"]] == [
        ("a", -0.1)
    ]
    other = replace(bridge, new="f")
    (one,) = series_body("s", [watch], nights, replace(plain, bridges=[other]))["nights"]
    assert one["measured"]["moved"] == []


def test_numbers_for_people() -> None:
    # 365 nights at 0.04 a year: an alarm at 9,125.
    assert words.ratio(math.log(365 / 0.04)) == "9,125"
    logs = (None, "nothing", 0.0, math.log(0.01), math.log(3.2e7))
    assert [words.ratio(one) for one in logs] == [
        "–", "0", "1", "< 0.1", "10⁷"
    ]  # fmt: skip
    assert [words.probability(one) for one in (None, 0.0321, 3.24e-6)] == [
        "–", "0.032", "3.2 × 10⁻⁶"
    ]  # fmt: skip
    assert [words.percent(one, 1) for one in (None, 0.0, 0.0004, 0.9996, 1.0)] == [
        "–", "0.0 %", "< 0.1 %", "> 99.9 %", "100.0 %"
    ]  # fmt: skip
    assert words.listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"


def test_nights_that_were_left_out_leave_a_gap() -> None:
    calendar = Calendar.of(["2026-03-01", "2026-03-02", "2026-03-10"])
    assert [calendar.at(f"2026-03-{n:02d}") for n in (1, 2, 10)] == [0.05, 0.15, 0.95]


@given(st.floats(0, 1), st.floats(0, 1))
def test_an_axis_holds_its_range_and_no_score_that_cannot_be(one: float, two: float) -> None:
    low, high = sorted((one, two))
    ticks = ticks_of(low, high, *step_of([(low, high)]))
    assert ticks[0] - 1e-4 <= low and high <= ticks[-1] + 1e-4
    assert 0 <= ticks[0] < ticks[-1] <= 1
