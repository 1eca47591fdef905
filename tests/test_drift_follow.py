"""The fold over a series: what it finds, what it says, and that it keeps nothing in between."""

from __future__ import annotations

import datetime
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge.drift import (
    Baseline,
    Bridge,
    Cause,
    DriftSettings,
    Equating,
    Night,
    State,
    Watch,
)
from judge.drift._charts import again_summaries, canary_limits, canary_lines
from judge.drift._follow import follow
from judge.errors import UsageError
from judge.gate import Decision

METRICS = ("clarity", "accuracy", "overall")
QUESTIONS, ANCHORS, SLICE = 30, 40, 20
CLARITY = np.array([1.0, 0.0, 0.0])
SETTINGS = DriftSettings()


def date(at: int) -> str:
    return (datetime.date(2026, 1, 1) + datetime.timedelta(days=at)).isoformat()


def series(
    nights: int = 40,
    *,
    seed: int = 0,
    judge: tuple[int, float] = (99, 0.0),
    model: tuple[int, float] = (99, 0.0),
    back: int = 999,
    anchors: bool = True,
    again: bool = False,
) -> list[Night]:
    """Nights with a planted shift of the judge and drop of the model, each (first night, size).

    On clarity alone; the model's drop ends with the night ``back``.
    """
    rng = np.random.default_rng([11, seed])
    levels = {n: rng.uniform(0.4, 0.9, (n, 3)) for n in (QUESTIONS, ANCHORS, SLICE)}
    before = levels[SLICE] + rng.normal(0, 0.05, (SLICE, 3))
    found = []
    for at in range(nights):
        shift = CLARITY * (judge[1] if at >= judge[0] else 0.0)
        drop = CLARITY * (model[1] if model[0] <= at < back else 0.0)
        one = Night(
            date=date(at),
            epoch="one",
            metrics=METRICS,
            question_ids=tuple(f"q{row}" for row in range(QUESTIONS)),
            candidate=levels[QUESTIONS] + shift - drop + rng.normal(0, 0.1, (QUESTIONS, 3)),
            canaries={"praise": 0.2 + 0.01 * rng.normal()},
        )
        if again:
            fresh = rng.normal(0, 0.1, (QUESTIONS, 3))
            one = replace(one, again=levels[QUESTIONS] + shift - drop + fresh)
        if anchors:
            one = replace(
                one,
                anchor_ids=tuple(f"a{row}" for row in range(ANCHORS)),
                anchors=levels[ANCHORS] + shift + rng.normal(0, 0.05, (ANCHORS, 3)),
                slice_ids=tuple(f"s{row}" for row in range(SLICE)),
                slice_before=before,
                slice_now=levels[SLICE] + shift + rng.normal(0, 0.05, (SLICE, 3)),
            )
        found.append(one)
    return found


def baseline(since: int = 10, first: int = 0, nights: int = 10, epoch: str = "one") -> Baseline:
    dates = tuple(date(first + at) for at in range(nights))
    return Baseline(since=date(since), nights=dates, epoch=epoch, by="me")


def bridge(since: int, shift: float, *, old: str = "one", new: str = "one") -> Bridge:
    def equating(size: float) -> Equating:
        return Equating(
            intercept=size, slope=1.0, se=0.004, shift=size, low=size - 0.01, high=size + 0.01, n=60
        )

    sizes = dict(zip(METRICS, shift * CLARITY, strict=True))
    maps = {name: equating(float(size)) for name, size in sizes.items()}
    return Bridge(since=date(since), old=old, new=new, metrics=maps, by="me")


def watched(
    nights: list[Night], *bridges: Bridge, baselines: tuple[Baseline, ...] = ()
) -> list[Watch]:
    return follow(nights, baselines or (baseline(),), bridges, SETTINGS)


def test_before_there_is_a_baseline_nothing_is_decided() -> None:
    watches = follow(series(3), [], [], SETTINGS)
    assert [one.state for one in watches] == [State.COLLECTING] * 3
    assert [one.decision for one in watches] == [None] * 3
    assert watches[2].reasons == (
        "There is no baseline yet. 3 of the 10 nights that it needs are there.",
    )
    assert watches[2].metrics[0].value is not None
    assert watches[2].metrics[0].difference is None


def test_an_unchanged_series_passes_every_night() -> None:
    watches = watched(series())
    assert {one.state for one in watches[10:]} == {State.WATCHING}
    assert {one.decision for one in watches[10:]} == {Decision.PASS}
    assert {one.cause for one in watches} == {Cause.NONE}
    last = watches[-1]
    # 30 looks of 365, of a level of 0.04 a year.
    assert last.spent["detector"] == pytest.approx(0.04 * 30 / 365)
    assert last.left["detector"] == pytest.approx(0.04 * 335 / 365)
    assert last.baseline == date(10)
    clarity = last.metrics[0]
    assert clarity.difference == pytest.approx(clarity.value - clarity.baseline)  # type: ignore[operator]
    assert clarity.model is not None and clarity.judge is not None
    assert clarity.difference == pytest.approx(clarity.model.value + clarity.judge.value)


def test_a_planted_drop_of_the_model_is_named() -> None:
    watches = watched(series(model=(20, 0.1)))
    found = next(one for one in watches if one.decision is Decision.REGRESS)
    assert date(20) <= found.date <= date(24)
    assert watches[-1].cause is Cause.MODEL
    assert {one.cause for one in watches} <= {Cause.NONE, Cause.PENDING, Cause.MODEL}
    alarm = watches[-1].alarms[0]
    assert alarm.metrics[0] == "clarity"
    assert date(18) <= alarm.onset <= date(21)
    assert alarm.effect is not None
    assert alarm.effect.low <= -0.1 <= alarm.effect.high
    assert watches[-1].decision is Decision.REGRESS


def test_a_planted_shift_of_the_judge_freezes_the_series() -> None:
    watches = watched(series(judge=(20, -0.06)))
    frozen = [one for one in watches if one.state is State.FROZEN]
    assert date(20) <= frozen[0].date <= date(24)
    assert {one.decision for one in frozen} == {Decision.INCONCLUSIVE}
    assert {one.cause for one in frozen} == {Cause.JUDGE}
    assert watches[-1].state is State.FROZEN
    alarm = watches[-1].alarms[-1]
    assert alarm.kind == "judge"
    assert alarm.metrics == ("clarity",)
    assert alarm.effect is not None and alarm.effect.high < 0
    # The budget is not spent on nights on which nothing is decided.
    assert watches[-1].spent["gate"] == pytest.approx(0.01 / 365 * (frozen_at(watches) - 9))


def frozen_at(watches: list[Watch]) -> int:
    return next(at for at, one in enumerate(watches) if one.state is State.FROZEN)


def test_a_judge_that_became_kinder_is_found_as_well() -> None:
    watches = watched(series(judge=(20, 0.06)))
    assert watches[-1].state is State.FROZEN
    assert watches[-1].cause is Cause.JUDGE


def test_when_both_moved_both_are_named() -> None:
    watches = watched(series(judge=(20, -0.05), model=(20, 0.12)))
    assert watches[-1].cause is Cause.BOTH
    assert watches[-1].decision is Decision.REGRESS
    assert watches[-1].state is State.FROZEN
    assert Cause.MODEL not in {one.cause for one in watches}


def test_a_kinder_judge_does_not_hide_a_drop() -> None:
    watches = watched(series(judge=(20, 0.06), model=(20, 0.06)))
    assert abs(np.mean([one.metrics[0].difference or 0.0 for one in watches[20:]])) < 0.03
    assert watches[-1].cause is Cause.BOTH


def test_a_bridge_resumes_watching() -> None:
    nights = series(60, judge=(20, -0.06))
    watches = watched(nights, bridge(26, -0.06))
    assert watches[25].state is State.FROZEN
    assert {one.state for one in watches[26:]} == {State.WATCHING}
    assert {one.decision for one in watches[26:]} == {Decision.PASS}
    before, after = watches[15].metrics[0], watches[30].metrics[0]
    assert after.baseline == pytest.approx(before.baseline - 0.06)  # type: ignore[operator]
    # The map's error of 0.004 joins the baseline's.
    assert after.margin is not None and before.margin is not None
    assert after.margin > before.margin


def test_behind_a_bridge_a_drop_of_the_model_is_found() -> None:
    watches = watched(series(60, judge=(20, -0.06), model=(40, 0.1)), bridge(26, -0.06))
    assert {one.decision for one in watches[26:40]} == {Decision.PASS}
    assert watches[-1].cause is Cause.MODEL
    assert watches[-1].state is State.WATCHING


def test_a_baseline_of_nights_behind_a_bridge_is_not_mapped() -> None:
    nights = series(60, judge=(20, -0.06))
    later = baseline(since=45, first=30)
    watches = watched(nights, bridge(26, -0.06), baselines=(baseline(), later))
    assert {one.decision for one in watches[45:]} == {Decision.PASS}
    here = np.mean([one.candidate[:, 0].mean() for one in nights[30:40]])
    assert watches[50].metrics[0].baseline == pytest.approx(here)


def test_a_new_baseline_closes_an_alarm() -> None:
    nights = series(50, model=(20, 0.1))
    watches = watched(nights, baselines=(baseline(), baseline(since=38, first=28)))
    assert watches[37].decision is Decision.REGRESS
    assert {one.decision for one in watches[38:]} == {Decision.PASS}
    assert watches[38].alarms == ()
    assert watches[38].baseline == date(38)


def test_a_baseline_does_not_hold_on_its_own_nights() -> None:
    watches = watched(series(20), baselines=(baseline(since=5),))
    assert [one.state for one in watches[:10]] == [State.COLLECTING] * 10
    assert watches[10].state is State.WATCHING


def test_an_alarm_closes_when_the_scores_are_back() -> None:
    watches = watched(series(90, seed=4, model=(20, 0.1), back=30))
    assert watches[29].decision is Decision.REGRESS
    closed = next(at for at in range(30, 90) if not watches[at].alarms)
    # Back at 0 lies half a night's standard error above the margin: that takes some weeks to show.
    assert 35 <= closed <= 80
    assert {one.decision for one in watches[closed:]} == {Decision.PASS}
    assert watches[closed + 1].metrics[0].log_detector < 5


def test_other_rulers_freeze_the_series_until_they_are_bridged() -> None:
    nights = [replace(one, epoch="two") if at >= 20 else one for at, one in enumerate(series())]
    watches = watched(nights)
    assert {one.state for one in watches[20:]} == {State.FROZEN}
    assert {one.decision for one in watches[20:]} == {Decision.INCONCLUSIVE}
    assert watches[20].metrics[0].difference is None
    assert "no bridge leads" in watches[20].reasons[0]
    bridged = watched(nights, bridge(23, 0.0, old="one", new="two"))
    assert {one.state for one in bridged[20:23]} == {State.FROZEN}
    assert {one.decision for one in bridged[23:]} == {Decision.PASS}


def test_a_missing_night_is_no_night() -> None:
    nights = series()
    gap = [one for at, one in enumerate(nights) if at not in (15, 16, 22)]
    watches = watched(gap)
    assert [one.date for one in watches] == [one.date for one in gap]
    assert {one.decision for one in watches[10:]} == {Decision.PASS}
    assert watches[-1].spent["gate"] == pytest.approx(0.01 / 365 * 27)


def test_an_incomplete_night_decides_nothing_and_leaves_the_detectors() -> None:
    nights = series()
    bad = replace(nights[20], candidate=nights[20].candidate - 0.4, complete=False)
    watches = watched([*nights[:20], bad, *nights[21:]])
    assert watches[20].decision is Decision.INCONCLUSIVE
    assert "The night ended early. It decides nothing by itself." in watches[20].reasons
    assert watches[20].metrics[0].difference is None
    assert watches[20].metrics[0].log_detector == watches[19].metrics[0].log_detector
    assert watches[21].decision is Decision.PASS


def test_a_metric_with_too_much_missing_is_not_measured() -> None:
    nights = series()
    nights[20] = replace(nights[20], missing={"clarity": 0.2, "accuracy": 0.04})
    watch = watched(nights)[20]
    assert watch.decision is Decision.INCONCLUSIVE
    assert watch.metrics[0].difference is None
    assert watch.metrics[1].difference is not None
    assert watch.reasons == (
        "clarity was not measured: 20 % of its verdicts are missing, 5 % may be. See why they "
        "failed; max_unscored is the share that may.",
    )


def test_a_night_with_half_the_questions_is_not_measured() -> None:
    nights = series()
    half = nights[20].candidate.copy()
    half[:15] = np.nan
    nights[20] = replace(nights[20], candidate=half)
    watch = watched(nights)[20]
    assert watch.decision is Decision.INCONCLUSIVE
    assert "too few of the baseline's questions" in watch.reasons[0]


def test_without_anchors_nobody_can_be_named() -> None:
    watches = watched(series(model=(20, 0.1), anchors=False))
    assert {one.cause for one in watches} == {Cause.NONE, Cause.UNKNOWN}
    assert watches[-1].decision is Decision.REGRESS
    assert any("cannot be told from the judge" in one for one in watches[-1].reasons)


def test_the_slice_alone_finds_a_judge_that_moved() -> None:
    nights = [
        replace(one, anchor_ids=(), anchors=np.empty((0, 0)))
        for one in series(60, judge=(20, -0.12))
    ]
    watches = watched(nights)
    assert watches[-1].state is State.FROZEN
    assert watches[-1].cause is Cause.JUDGE


def test_an_alarm_of_a_model_whose_judge_is_unsure_waits() -> None:
    rng = np.random.default_rng(4)
    nights = [
        replace(one, anchors=one.anchors + rng.normal(0, 0.25, one.anchors.shape), slice_ids=())
        for one in series(30, model=(20, 0.08))
    ]
    watches = watched(nights)
    first = next(one for one in watches if one.alarms)
    assert first.cause is Cause.PENDING
    assert first.decision in (Decision.INCONCLUSIVE, Decision.REGRESS)


def test_a_canary_outside_its_limits_is_said() -> None:
    nights = series()
    nights[20] = replace(nights[20], canaries={"praise": 0.6})
    watches = watched(nights)
    (line,) = watches[20].canaries
    assert line.outside and line.centre == pytest.approx(0.2, abs=0.02)
    assert "outside its limits" in watches[20].reasons[0]
    assert not watches[21].canaries[0].outside


def test_canary_limits_by_hand() -> None:
    values = [0.1, 0.2, 0.3, 0.2, 0.2]
    (centre, low, high) = canary_limits([{"praise": one} for one in values])["praise"]
    # s = √(0.02/4); the 99.865 % point of t with 4 degrees of freedom is 6.620; √(1 + 1/5).
    assert centre == pytest.approx(0.2)
    assert high - centre == pytest.approx(6.620 * 0.005**0.5 * 1.2**0.5, rel=1e-3)
    assert low == 0.0  # 0.2 - 0.513 is below the scale
    still = canary_limits([{"praise": 0.0}] * 5)["praise"]
    assert still == (0.0, 0.0, 0.05)
    assert canary_limits([{"praise": 0.0}] * 4) == {}
    (line,) = canary_lines({}, {"praise": still})
    assert line.value is None and not line.outside


def test_the_a_a_arm_by_hand() -> None:
    p = np.array([[np.nan, np.nan], [0.01, 0.5], [0.5, 0.5], [0.04, 0.0000001]])
    found = again_summaries(p, np.full(4, 1e-5))
    assert found[0] is None
    second, last = found[1], found[3]
    assert second is not None and last is not None
    assert (second.nights, second.tests, second.at_nominal) == (1, 2, 1)
    assert (last.nights, last.tests, last.at_nominal, last.at_level) == (3, 6, 3, 1)
    assert last.rate is not None
    assert last.rate.value == pytest.approx(0.5)
    # Findings come in pairs (0 or 2 of 2 on two of three nights), so six tests are worth three.
    assert last.rate.high - last.rate.low > 0.75


def test_an_a_a_arm_without_change_is_called_worse_in_one_of_twenty_tests() -> None:
    watches = watched(series(200, again=True))
    summary = watches[-1].again
    assert summary is not None and summary.rate is not None
    assert (summary.nights, summary.tests) == (200, 600)
    # Three standard errors of 5 % in 600 independent tests are 2.7 points.
    assert abs(summary.rate.value - 0.05) < 0.027
    assert summary.rate.low < 0.05 < summary.rate.high
    assert summary.at_level == 0


def test_two_nights_of_one_date_are_refused() -> None:
    nights = series(12)
    with pytest.raises(UsageError, match="two nights of 2026-01-03"):
        watched([*nights, replace(nights[5], date=date(2))])


def test_a_question_that_comes_twice_is_refused() -> None:
    nights = series(12)
    nights[3] = replace(nights[3], question_ids=("q0",) * QUESTIONS)
    with pytest.raises(UsageError, match="has a question twice"):
        watched(nights)


def test_a_baseline_of_nights_that_are_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match="2026-01-09, 2026-01-10, which the series does not have"):
        watched(series(8))


def test_a_baseline_of_one_night_is_refused() -> None:
    with pytest.raises(UsageError, match="no spread between nights"):
        watched(series(12), baselines=(baseline(nights=1),))


def test_a_series_without_nights_has_nothing_to_say() -> None:
    assert follow([], [], [], SETTINGS) == []


def test_the_order_of_questions_and_anchors_does_not_matter() -> None:
    nights = series(30, model=(20, 0.1))
    order, turn = np.random.default_rng(1).permutation(QUESTIONS), np.arange(ANCHORS)[::-1]
    mixed = [
        replace(
            one,
            question_ids=tuple(one.question_ids[at] for at in order),
            candidate=one.candidate[order],
            anchor_ids=one.anchor_ids[::-1],
            anchors=one.anchors[turn],
        )
        if at % 3
        else one
        for at, one in enumerate(nights)
    ]
    for one, other in zip(watched(nights), watched(mixed), strict=True):
        assert (one.decision, one.cause, one.state) == (other.decision, other.cause, other.state)
        if one.metrics[0].difference is not None:
            assert one.metrics[0].difference == pytest.approx(other.metrics[0].difference)


EVENTS = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 50),
        "judge": st.tuples(st.integers(8, 25), st.sampled_from([0.0, -0.08, 0.06])),
        "model": st.tuples(st.integers(8, 25), st.sampled_from([0.0, 0.05, 0.12])),
        "back": st.sampled_from([22, 999]),
        "anchors": st.booleans(),
        "again": st.booleans(),
    }
)


@settings(max_examples=15)
@given(EVENTS, st.integers(12, 29), st.randoms(use_true_random=False))
def test_later_nights_change_nothing_and_the_order_of_events_does_not_matter(
    events: dict[str, object], cut: int, random: object
) -> None:
    nights = series(30, **events)  # type: ignore[arg-type]
    baselines = [baseline(), baseline(since=26, first=14)]
    bridges = [bridge(19, -0.08), bridge(24, 0.01)]
    whole = follow(nights, baselines, bridges, SETTINGS)
    early = [one for one in baselines if max(one.nights) <= nights[cut - 1].date]
    assert follow(nights[:cut], early, bridges, SETTINGS) == whole[:cut]
    shuffled = list(nights)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert follow(shuffled, baselines[::-1], bridges[::-1], SETTINGS) == whole


@pytest.mark.slow
@pytest.mark.parametrize(
    ("judge", "model"), [(0.0, 0.05), (-0.05, 0.0), (-0.05, 0.05), (0.04, 0.05)]
)
def test_planted_changes_are_rarely_named_wrongly(judge: float, model: float) -> None:
    from tests.bench.nightly._attribution import Cell, attribution_row

    row = attribution_row(Cell(judge=judge, model=model, judge_sd=0.05), series=40, seed=5)
    # At 1 % a series, more than two of forty wrong ones come by chance in 0.7 % of cases.
    assert row.wrong <= 2 / 40
    assert row.last.get("silent", 0.0) <= 0.1


@pytest.mark.slow
def test_a_judge_that_does_not_move_rarely_raises_its_alarm() -> None:
    from tests.bench.nightly._attribution import judge_years

    found = judge_years(0.05, shock=0.01, years=60, seed=3)
    # At 5 % a year, more than eight of 60 come by chance in 0.4 % of cases.
    assert found.rate <= 8 / 60
