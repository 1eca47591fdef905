"""A difference in parts: hand-derived numbers, coverage, and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from judge.drift import Bridge, DriftSettings, Equating, Night
from judge.drift._baseline import stats_of
from judge.drift._records import Floats
from judge.drift._reference import chain_map, reference
from judge.drift._shift import Estimate, _moods, change, combined, judge_z, parts
from judge.drift._stretch import Stretch

MANY = 1e9


def estimate(value: float, se: float, df: float = MANY) -> Estimate:
    return Estimate(value=np.array([value]), se=np.array([se]), df=np.array([df]))


def test_change_is_the_items_mean_and_their_standard_error() -> None:
    items = np.array([[-0.1], [-0.3], [-0.2], [-0.2]])
    found = change(items, np.array([1.0]), floor=0.0, fixed=0.1)
    # Mean -0.2; the sum of squares around it is 0.02, so the variance is 0.02/3.
    assert found.value[0] == pytest.approx(-0.2)
    assert found.se[0] == pytest.approx((0.02 / 3 / 4) ** 0.5)
    assert found.df[0] == 3


def test_items_that_are_alike_do_not_make_a_change_exact() -> None:
    items = np.full((4, 1), -0.2)
    found = change(items, np.array([0.5]), floor=0.04, fixed=0.1)
    # Two nights of single scores with the variance 0.04, against a tenth of one: 0.04 · 0.6 / 4.
    assert found.se[0] == pytest.approx((0.04 * 0.6 / 4) ** 0.5)


def test_a_change_leaves_out_what_is_missing() -> None:
    items = np.array([[-0.1, np.nan], [-0.3, np.nan], [np.nan, -0.5], [-0.2, np.nan]])
    found = change(items, np.ones(2), floor=0.0, fixed=0.1)
    assert found.value[0] == pytest.approx(-0.2)
    assert found.df[0] == 2
    assert np.isnan(found.value[1])  # one item has no spread


def test_two_estimates_of_the_judge_are_weighed_by_their_precision() -> None:
    found, p = combined([estimate(0.02, 0.01), estimate(0.05, 0.02)])
    # Weights 10,000 and 2,500: (200 + 125)/12,500 and 1/√12,500. The gap of 0.03 is 1.342 standard
    # errors of √(0.0001 + 0.0004), which a normal exceeds on either side in 18.0 % of cases.
    assert found.value[0] == pytest.approx(0.026)
    assert found.se[0] == pytest.approx(12_500**-0.5)
    assert p[0] == pytest.approx(0.1797, abs=1e-4)


def test_estimates_that_disagree_are_trusted_less() -> None:
    found, p = combined([estimate(0.0, 0.01), estimate(0.1, 0.01)])
    # Gap² = 0.01, its expectation 0.0002: 0.0049 joins either variance, 0.0001. Half of 0.005 is
    # left for their mean.
    assert p[0] < 1e-6
    assert found.value[0] == pytest.approx(0.05)
    assert found.se[0] == pytest.approx(0.05)


@pytest.mark.parametrize("turned", [False, True])
def test_where_one_estimate_is_missing_the_other_stands(turned: bool) -> None:
    both = [estimate(0.02, 0.01, 59), estimate(np.nan, np.nan, np.nan)]
    found, p = combined(both[::-1] if turned else both)
    assert (found.value[0], found.se[0], found.df[0]) == (0.02, 0.01, 59)
    assert np.isnan(p[0])


def test_the_models_part_is_what_the_judge_leaves() -> None:
    found = parts(estimate(-0.05, 0.02, 44), [estimate(-0.03, 0.01, 59)])
    assert found.model.value[0] == pytest.approx(-0.02)
    assert found.model.se[0] == pytest.approx(0.0005**0.5)
    # Welch: 0.0005² / (0.0004²/44 + 0.0001²/59)
    assert found.model.df[0] == pytest.approx(65.69, abs=0.01)


def test_without_anchors_and_slice_there_are_no_parts() -> None:
    found = parts(estimate(-0.05, 0.02), [])
    assert np.isnan(found.model.value).all()
    assert np.isnan(found.judge.value).all()


METRICS = ("clarity", "overall")
QUESTIONS, ANCHORS, SLICE = 30, 40, 20


def series(
    rng: np.random.Generator,
    *,
    nights: int,
    judge: float = 0.0,
    model: float = 0.0,
    baseline: int = 10,
) -> list[Night]:
    """A baseline, then nights after both have moved; the noise of an item is 0.1 and 0.05."""
    levels = {n: rng.uniform(0.4, 0.9, (n, 2)) for n in (QUESTIONS, ANCHORS, SLICE)}
    before = levels[SLICE] + rng.normal(0, 0.05, (SLICE, 2))
    found = []
    for at in range(baseline + nights):
        shift = judge if at >= baseline else 0.0
        drop = model if at >= baseline else 0.0
        found.append(
            night(
                at,
                levels[QUESTIONS] + shift - drop + rng.normal(0, 0.1, (QUESTIONS, 2)),
                levels[ANCHORS] + shift + rng.normal(0, 0.05, (ANCHORS, 2)),
                before,
                levels[SLICE] + shift + rng.normal(0, 0.05, (SLICE, 2)),
            )
        )
    return found


def night(at: int, candidate: Floats, anchors: Floats, before: Floats, now: Floats) -> Night:
    return Night(
        date=f"2026-01-{at + 1:02d}",
        epoch="one",
        metrics=METRICS,
        question_ids=tuple(f"q{row}" for row in range(len(candidate))),
        candidate=candidate,
        anchor_ids=tuple(f"a{row}" for row in range(len(anchors))),
        anchors=anchors,
        slice_ids=tuple(f"s{row}" for row in range(len(before))),
        slice_before=before,
        slice_now=now,
    )


def stretch(nights: list[Night], baseline: int = 10) -> Stretch:
    settings = DriftSettings()
    base = reference(nights[:baseline], [[]] * baseline, settings)
    return Stretch(nights[baseline:], base, settings)


def test_planted_shifts_lie_in_their_intervals() -> None:
    judge, model, inside = -0.03, 0.04, {"judge": 0, "model": 0}
    runs = 200
    for seed in range(runs):
        rng = np.random.default_rng([3, seed])
        found = stretch(series(rng, nights=4, judge=judge, model=model)).window(0, 3)
        for name, part, truth in (("judge", found.judge, judge), ("model", found.model, -model)):
            effect = part.effect(0, 0.95)
            assert effect is not None
            inside[name] += effect.low <= truth <= effect.high
    # Four standard errors of a coverage of 95 % in 200 runs are 6 points. It may exceed 95:
    # the slice's old scores are part of the baseline's noise in the interval, not in the data here.
    assert inside["judge"] / runs >= 0.89
    assert inside["model"] / runs >= 0.89
    assert inside["model"] / runs <= 0.995


def test_a_night_that_the_judge_judges_harshly_is_no_change_of_the_model() -> None:
    nights = series(np.random.default_rng(1), nights=3)
    harsh = night(
        10,
        nights[10].candidate - 0.07,
        nights[10].anchors - 0.07,
        nights[10].slice_before,
        nights[10].slice_now - 0.07,
    )
    calm, moody = stretch(nights), stretch([*nights[:10], harsh, *nights[11:]])
    assert moody.nightly.model.value[0] == pytest.approx(calm.nightly.model.value[0], abs=1e-12)
    assert moody.nightly.model.se[0] == pytest.approx(calm.nightly.model.se[0], abs=1e-12)
    assert moody.nightly.judge.value[0] == pytest.approx(calm.nightly.judge.value[0] - 0.07)
    np.testing.assert_array_equal(moody.nightly.judge.value[1], calm.nightly.judge.value[1])


def test_a_window_of_one_night_is_that_night() -> None:
    found = stretch(series(np.random.default_rng(2), nights=3))
    one = found.window(1, 1)
    for name in ("difference", "judge", "model"):
        single, nightly = getattr(one, name), getattr(found.nightly, name)
        np.testing.assert_allclose(single.value, nightly.value[1], atol=1e-12)
        np.testing.assert_allclose(single.se, nightly.se[1], atol=1e-9)


def test_the_error_of_the_baseline_does_not_average_out() -> None:
    nights = series(np.random.default_rng(5), nights=190)
    found = stretch(nights)
    se = found.window(0, 189).difference.se[0]
    # 0.1 of noise on 30 questions: 0.1²/30 · (1/190 + 1/10), so never below 0.1/√300.
    assert se == pytest.approx((0.1**2 / 30 * (1 / 190 + 1 / 10)) ** 0.5, rel=0.25)


def test_bridges_one_after_the_other_are_one_map() -> None:
    def bridge(intercept: float, slope: float, se: float) -> Bridge:
        found = Equating(
            intercept=intercept, slope=slope, se=se, shift=0.0, low=0.0, high=0.0, n=50
        )
        return Bridge(since="2026-01-05", old="a", new="b", metrics={"clarity": found}, by="me")

    intercept, slope, se = chain_map([bridge(0.1, 0.5, 0.03), bridge(0.2, 2.0, 0.04)], METRICS)
    # 0.2 + 2 · (0.1 + 0.5 x) = 0.4 + x; errors 2 · 0.03 and 0.04.
    assert intercept[0] == pytest.approx(0.4)
    assert slope[0] == pytest.approx(1.0)
    assert se[0] == pytest.approx((0.06**2 + 0.04**2) ** 0.5)
    assert np.isnan(intercept[1])  # the bridges do not map the overall


def test_the_moods_of_a_judge_are_known_from_the_changes_before_each_night() -> None:
    past = np.array([[0.0], [0.1]])
    now = np.array([[0.0], [0.2], [np.nan], [0.1]])
    variance, df = _moods(past, now, np.array([0.001]))
    # Half the squared changes: 0.005; 0.005; 0.02; the last one is not known before its night.
    # Before the third and the fourth night there are three, with two degrees of freedom; a fourth
    # of a chi-squared variable with two lies below 0.57536.
    assert df[2, 0] == pytest.approx(2.0)
    assert variance[2, 0] == pytest.approx(0.01 * 2 / 0.57536 - 0.001, rel=1e-4)
    assert variance[3, 0] == variance[2, 0]
    later, _ = _moods(past, np.vstack([now, [[0.9]]]), np.array([0.001]))
    np.testing.assert_array_equal(later[:4], variance)


def test_a_moody_judge_raises_no_evidence_and_one_that_moved_does() -> None:
    rng = np.random.default_rng(8)
    level, nights = rng.uniform(0.3, 0.9, (60, 1)), 60
    mood = rng.normal(0, 0.015, (10 + nights, 1, 1))
    scores = level + mood + rng.normal(0, 0.05, (10 + nights, 60, 1))
    base = stats_of(scores[:10], least_margin=0.005)
    z = judge_z(scores[:10], scores[10:], base, 0.0, 0.005)
    assert z.shape == (nights, 2)
    assert z.mean() < 0  # the margin
    assert z.max() < 3.5
    moved = judge_z(scores[:10], scores[10:] + 0.06, base, 0.0, 0.005)
    assert moved[:, 1].mean() > 1.5
    assert moved[:, 0].max() < 0
