"""Baselines, one night against them, the e-detector and the confidence sequence."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from judge.drift._baseline import (
    BaselineStats,
    baseline_stats,
    shock_variance,
    spread_of,
    stats_of,
)
from judge.drift._detector import (
    LAMBDAS,
    family,
    follow_z,
    onset,
    per_metric,
    shares,
    start,
    step,
    threshold,
)
from judge.drift._records import Floats, Night
from judge.drift._sequence import TIGHT_AT, half_widths, sequence
from judge.drift._tonight import (
    difference_interval,
    holm_levels,
    normal_score,
    p_values,
    standardise,
    tonight,
)
from judge.errors import UsageError
from judge.gate import holm, sign_flip

Z = st.lists(st.floats(-4, 4) | st.just(math.nan), min_size=2, max_size=30)


def base_of(
    means: list[float],
    *,
    nights: int = 10,
    s: float = 0.1,
    night: float = 0.0,
    se: float = 0.0,
    margin: float = 0.01,
) -> BaselineStats:
    """A baseline of one metric with these questions' means."""
    return BaselineStats(
        means=np.array(means)[:, None],
        counts=np.full((len(means), 1), float(nights)),
        value=np.array([np.mean(means)]),
        s=np.array([s]),
        night=np.array([night]),
        se=np.array([se]),
        margin=np.array([margin]),
        nights=nights,
    )


def scores_of(
    rng: np.random.Generator, shape: tuple[int, ...], *, sd: float = 0.1, shock: float = 0.0
) -> Floats:
    """Normal scores (..., B, n, c) around 0 with a shock per night and metric."""
    shocks = rng.standard_normal((*shape[:-2], 1, shape[-1])) * shock
    found: Floats = rng.standard_normal(shape) * sd + shocks
    return found


# The e-detector


def test_two_nights_by_hand() -> None:
    # Night 1, z = 1, from R = 0: R = exp(λ - λ²/2) = e^.375, e^.5, e^0, e^-1.5
    #   = 1.454991, 1.648721, 1, 0.223130; mean 1.081711.
    # Night 2, z = 0: (1 + R)·exp(-λ²/2), the factors .882497, .606531, .135335, .011109:
    #   2.166522, 1.606531, 0.270671, 0.013588; mean 1.014328.
    assert LAMBDAS == (0.5, 1.0, 2.0, 3.0)
    first = step(start(1), np.array([1.0]))
    np.testing.assert_allclose(np.exp(per_metric(first)), [1.081711], rtol=1e-5)
    second = step(first, np.array([0.0]))
    np.testing.assert_allclose(np.exp(second[0]), [2.166522, 1.606531, 0.270671, 0.013588], 1e-4)
    np.testing.assert_allclose(np.exp(per_metric(second)), [1.014328], rtol=1e-5)


def test_an_unmeasured_metric_stays_as_it_is_and_others_go_on() -> None:
    before = step(start(2), np.array([1.0, 0.3]))
    after = step(before, np.array([np.nan, 0.3]))
    np.testing.assert_array_equal(after[0], before[0])
    assert (after[1] > before[1]).any()
    assert np.isneginf(step(start(1), np.array([np.nan]))).all()


def test_ten_thousand_nights_of_strong_evidence_do_not_overflow() -> None:
    # At z = 10 the largest λ gains 3·10 - 4.5 = 25.5 a night, and R is the sum of a geometric
    # series: log R = 25.5·T + log(1/(1 - e^-25.5)), less log 4 for the mean over λ.
    found = follow_z(np.full((10_000, 1), 10.0))
    assert np.isfinite(found).all()
    assert found[-1, 0] == pytest.approx(255_000 - math.log(4), rel=1e-9)
    weak = follow_z(np.full((10_000, 1), -40.0))
    # Strong evidence against leaves R at about exp(λz - λ²/2) of λ = .5, no matter how long.
    assert weak[-1, 0] == pytest.approx(-20.125 - math.log(4), abs=1e-6)


@given(Z, st.integers(1, 29))
def test_a_replay_from_anywhere_gives_the_same(values: list[float], cut: int) -> None:
    z = np.array(values)[:, None]
    whole = follow_z(z)
    state = start(1)
    for night in z[:cut]:
        state = step(state, night)
    np.testing.assert_array_equal(follow_z(z[cut:], state), whole[cut:])
    np.testing.assert_array_equal(follow_z(z), whole)


@given(st.lists(Z, min_size=1, max_size=4))
def test_leading_axes_do_not_mix(rows: list[list[float]]) -> None:
    length = min(len(row) for row in rows)
    z = np.array([row[:length] for row in rows])[..., None]
    together = follow_z(z)
    for at in range(len(rows)):
        np.testing.assert_array_equal(follow_z(z[at]), together[at])


def test_the_mean_over_metrics_alarms_whenever_one_metric_would_alone() -> None:
    limit = threshold(365, 0.04)
    assert limit == pytest.approx(math.log(9125))
    alone = np.full(9, -50.0)
    alone[3] = limit + math.log(9)
    assert family(alone) >= limit
    # And where several metrics together reach it, although none does by itself.
    assert family(np.full(9, limit)) == pytest.approx(limit)
    parts = shares(alone)
    assert parts.argmax() == 3
    assert parts.sum() == pytest.approx(1)
    np.testing.assert_array_equal(shares(np.full(3, -np.inf)), np.zeros(3))


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_it_alarms_within_T_nights_with_probability_at_most_T_over_c(correlation: float) -> None:
    # Without any change and without a margin: the bound is .2, and the truth is not far below.
    rng = np.random.default_rng(5)
    runs, nights, metrics, alpha = 2000, 100, 4, 0.2
    z = rng.standard_normal((runs, nights, metrics)) * math.sqrt(1 - correlation)
    z += rng.standard_normal((runs, nights, 1)) * math.sqrt(correlation)
    alarms = (family(follow_z(z)) >= threshold(nights, alpha)).any(axis=1).mean()
    se = math.sqrt(alpha * (1 - alpha) / runs)
    assert 0.05 < alarms <= alpha + 3 * se


def test_the_onset_is_where_a_planted_change_begins() -> None:
    rng = np.random.default_rng(6)
    found = []
    for _ in range(200):
        z = rng.standard_normal(60) - 0.6
        z[40:] += 2.6
        found.append(onset(z))
    assert abs(np.median(found) - 40) <= 1
    assert np.mean(np.abs(np.array(found) - 40) <= 3) > 0.8
    assert onset(np.empty(0)) == 0
    assert onset(np.array([np.nan, np.nan])) == 0
    assert onset(np.array([-1.0, -1.0, np.nan, 3.0, 3.0])) == 3


# Baselines


def test_questions_by_nights_are_taken_apart_by_hand() -> None:
    # Two questions on two nights: .8 .6 / .4 .6. Question means .6 and .6; residuals .2 0 / -.2 0;
    # the nights' shocks .1 and -.1; what is left ±.1: .04 over one degree of freedom.
    # Between nights .02/1; the noise in it .04/2: the shock is .02 - .02 = 0.
    spread = spread_of(np.array([[0.8, 0.6], [0.4, 0.6]])[..., None])
    np.testing.assert_allclose(spread.means[:, 0], [0.6, 0.6])
    np.testing.assert_allclose(spread.variance, [0.04])
    np.testing.assert_allclose(spread.shock_error, [0.02])
    np.testing.assert_allclose(spread.shock, [0.0], atol=1e-12)


def test_a_baselines_error_is_what_other_nights_would_show() -> None:
    # Its standard error is estimated from its own nights; the truth is s²/(nB) + shock²/B.
    rng = np.random.default_rng(7)
    scores = scores_of(rng, (2000, 10, 12, 9), sd=0.1, shock=0.03)
    found = stats_of(scores)
    truth = 0.1**2 / 120 + 0.03**2 / 10
    assert found.value.var() == pytest.approx(truth, rel=0.05)
    assert (found.se**2).mean() == pytest.approx(truth, rel=0.06)
    assert (found.s**2).mean() == pytest.approx(0.01, rel=0.01)
    np.testing.assert_allclose(found.margin, np.maximum(0.01, 2 * found.se))


def test_the_shock_is_better_known_with_anchors_and_from_many_metrics() -> None:
    rng = np.random.default_rng(8)
    shape, truth = (600, 10, 45, 9), 0.02**2
    shocks = rng.standard_normal((600, 10, 1, 9)) * 0.02
    nights = spread_of(rng.standard_normal(shape) * 0.12 + shocks)
    anchors = spread_of(rng.standard_normal((600, 10, 60, 9)) * 0.05 + shocks)
    alone, both = shock_variance([nights]), shock_variance([nights, anchors])
    single = np.maximum(nights.shock, 0.0)
    assert alone.mean() == pytest.approx(truth, rel=0.1)
    assert both.mean() == pytest.approx(truth, rel=0.1)
    errors = [np.sqrt(((found - truth) ** 2).mean()) for found in (both, alone, single)]
    assert errors[0] < 0.9 * errors[1]
    assert errors[1] < 0.85 * errors[2]


def test_a_shock_of_one_metric_is_not_lost_among_calm_ones() -> None:
    rng = np.random.default_rng(9)
    scores = scores_of(rng, (1000, 10, 45, 9), sd=0.12)
    scores[..., 2] += rng.standard_normal((1000, 10, 1)) * 0.04
    found = shock_variance([spread_of(scores)]).mean(axis=0)
    assert found[2] > 0.7 * 0.04**2
    assert np.delete(found, 2).max() < 0.15 * 0.04**2


def test_metrics_without_any_spread_do_not_disturb_the_others() -> None:
    rng = np.random.default_rng(10)
    scores = scores_of(rng, (10, 45, 3), shock=0.03)
    still = np.concatenate([scores, np.ones((10, 45, 1))], axis=-1)
    np.testing.assert_allclose(stats_of(still).night[:3], stats_of(scores).night)
    assert stats_of(still).s[3] == stats_of(still).night[3] == stats_of(still).se[3] == 0
    assert stats_of(still).margin[3] == 0.01
    # All scores of a night move as one: that is the shock itself.
    together = np.broadcast_to(rng.standard_normal((10, 1, 1)) * 0.1, (10, 5, 1))
    expected = np.sqrt(together[:, 0, 0].var(ddof=1))
    assert stats_of(np.array(together)).night[0] == pytest.approx(expected, rel=1e-6)


def test_missing_scores_are_left_out_and_a_metric_without_any_has_no_value() -> None:
    rng = np.random.default_rng(11)
    scores = scores_of(rng, (10, 200, 2), sd=0.1)
    gaps = scores.copy()
    gaps[rng.random(gaps.shape) < 0.3] = np.nan
    gaps[..., 1] = np.nan
    found, full = stats_of(gaps), stats_of(scores)
    assert found.s[0] == pytest.approx(full.s[0], rel=0.1)
    # Fewer scores: a larger error, by about √(1/.7).
    assert found.se[0] == pytest.approx(full.se[0] * math.sqrt(1 / 0.7), rel=0.15)
    assert np.isnan(found.value[1])
    assert np.isnan(tonight(scores[0], found).z[1])


def test_a_bridge_maps_the_baseline_and_adds_its_error() -> None:
    base = base_of([0.5, 0.7], s=0.1, se=0.006)
    bridged = base.bridged(np.array([0.1]), np.array([0.5]), np.array([0.004]), 0.01)
    np.testing.assert_allclose(bridged.means[:, 0], [0.35, 0.45])
    np.testing.assert_allclose([bridged.value[0], bridged.s[0]], [0.4, 0.05])
    # √(.003² + .004²) = .005; twice that is the least margin, .01.
    np.testing.assert_allclose([bridged.se[0], bridged.margin[0]], [0.005, 0.01])


def nights_of(scores: Floats, *, anchors: Floats | None = None) -> list[Night]:
    ids = tuple(f"q{at}" for at in range(scores.shape[1]))
    return [
        Night(
            date=f"2026-01-{at + 1:02d}",
            epoch="e",
            metrics=tuple(f"m{one}" for one in range(scores.shape[2])),
            question_ids=ids,
            candidate=scores[at],
            anchor_ids=() if anchors is None else tuple(f"a{i}" for i in range(anchors.shape[1])),
            anchors=np.empty((0, 0)) if anchors is None else anchors[at],
        )
        for at in range(len(scores))
    ]


def test_a_baseline_of_nights_puts_questions_in_the_order_of_the_first() -> None:
    scores = scores_of(np.random.default_rng(12), (4, 6, 2))
    nights = nights_of(scores)
    order = [3, 1, 5, 0]
    nights[2] = replace(
        nights[2],
        question_ids=tuple(f"q{at}" for at in order),
        candidate=scores[2][order],
    )
    scores[2, [2, 4]] = np.nan
    np.testing.assert_allclose(baseline_stats(nights).means, stats_of(scores).means)


def test_anchors_take_part_only_where_all_nights_have_the_same() -> None:
    rng = np.random.default_rng(13)
    scores, anchors = scores_of(rng, (5, 6, 2)), scores_of(rng, (5, 8, 2), sd=0.01, shock=0.05)
    nights = nights_of(scores, anchors=anchors)
    np.testing.assert_allclose(baseline_stats(nights).night, stats_of(scores, anchors).night)
    nights[1] = replace(nights[1], anchor_ids=tuple("abcdefgh"))
    np.testing.assert_allclose(baseline_stats(nights).night, stats_of(scores).night)


def test_a_baseline_that_cannot_be_one_is_refused() -> None:
    nights = nights_of(np.zeros((2, 3, 2)))
    with pytest.raises(UsageError, match="at least 2"):
        baseline_stats(nights[:1])
    with pytest.raises(UsageError, match="different metrics"):
        baseline_stats([nights[0], replace(nights[1], metrics=("m0", "other"))])


# One night


def test_one_night_by_hand() -> None:
    # Drops .3 .1 .1 -.1: mean .1, variance (.04 + 0 + 0 + .04)/3 = .026667; 10 baseline nights hold
    # a tenth of it: .024242, more than s² = .01 and than the floor 1/41 = .024390? No: the floor.
    # se = √(.024390/4) = .078087; t = (.1 - .01)/.078087 = 1.152565.
    night = tonight(np.array([[0.5], [0.7], [0.6], [0.9]]), base_of([0.8, 0.8, 0.7, 0.8]))
    np.testing.assert_allclose(night.drop, [0.1])
    np.testing.assert_allclose(night.own, [0.0266667], rtol=1e-5)
    np.testing.assert_allclose(night.se, [0.078087], rtol=1e-4)
    np.testing.assert_allclose(night.t, [1.152565], rtol=1e-4)
    assert (night.n[0], night.moved[0], night.df[0]) == (4, 4, pytest.approx(3))
    # The tail of t with 3 degrees of freedom at 1.1526 is .1663: more than 2^-4.
    np.testing.assert_allclose(p_values(night), [stats.t.sf(night.t[0], 3)])
    difference, low, high = difference_interval(night, 0.95)
    half = stats.t.ppf(0.975, 3) * 0.078087
    np.testing.assert_allclose([difference[0], low[0], high[0]], [-0.1, -0.1 - half, -0.1 + half],
                               rtol=1e-3)  # fmt: skip


@pytest.mark.parametrize(
    ("drops", "s", "variance"),
    [
        ([0.2] * 45, 0.1, 0.01),  # all alike: the baseline's variance stands in
        ([0.2] * 45, 0.0, 1 / 451),  # and where that is 0 too, one failure unseen in 450 scores
        ([0.9] * 5 + [0.0] * 40, 0.1, 0.9**2 * 5 * 40 / 45 / 44 / 1.1),  # tonight's own
    ],
)
def test_the_variance_is_the_largest_that_the_data_allow(
    drops: list[float], s: float, variance: float
) -> None:
    night = tonight(0.95 - np.array(drops)[:, None], base_of([0.95] * 45, s=s))
    assert night.se[0] == pytest.approx(math.sqrt(variance / 45))
    assert np.isfinite(night.z[0])


def test_a_shock_widens_and_lowers_the_degrees_of_freedom() -> None:
    rng = np.random.default_rng(14)
    scores = 0.8 + 0.1 * rng.standard_normal((45, 1))
    calm = tonight(scores, base_of([0.9] * 45, s=0.2))
    moody = tonight(scores, base_of([0.9] * 45, s=0.2, night=0.03))
    assert moody.se[0] == pytest.approx(math.hypot(calm.se[0], 0.03))
    # (A + N)²/(A²/44 + N²/9) with A = .2²/45 = .000889 and N = .0009.
    assert moody.df[0] == pytest.approx(0.001789**2 / (0.000889**2 / 44 + 0.0009**2 / 9), rel=1e-3)
    assert moody.z[0] < calm.z[0]


def test_a_night_of_many_metrics_and_years_is_that_of_each() -> None:
    rng = np.random.default_rng(15)
    base = stats_of(scores_of(rng, (3, 10, 12, 4)))
    nights = scores_of(rng, (3, 5, 12, 4))
    nights[1, 2, :4, 1] = np.nan
    together = tonight(nights, base.beside_nights())
    for year in range(3):
        one = BaselineStats(
            **{
                name: getattr(base, name)[year]
                for name in ("means", "counts", "value", "s", "night", "se", "margin")
            },
            nights=10,
        )
        for at in range(5):
            alone = tonight(nights[year, at], one)
            for name in ("drop", "se", "se_all", "df", "t", "z", "n", "moved"):
                np.testing.assert_allclose(
                    getattr(alone, name), getattr(together, name)[year, at], rtol=1e-9
                )


def test_standardising_with_a_margin_of_the_callers() -> None:
    base = base_of([0.5] * 10, s=0.1, night=0.05, margin=0.02)
    drop, own, n = np.array([0.06]), np.array([0.0]), np.array([10.0])
    plain = standardise(drop, own, n=n, base=base)
    none = standardise(drop, own, n=n, base=base, margin=np.zeros(1), shock=False)
    # s² = .01 = 1/101 floored: .01/10 = .001; with the shock .0035.
    assert plain.t[0] == pytest.approx(0.04 / math.sqrt(0.0035))
    assert none.t[0] == pytest.approx(0.06 / math.sqrt(0.001))


@given(st.floats(-6, 6), st.floats(9, 400))
def test_the_normal_score_is_close_to_the_exact_one(t: float, df: float) -> None:
    exact = stats.norm.isf(stats.t.sf(t, df))
    found = normal_score(np.array([t]), np.array([df]))[0]
    assert abs(found - exact) < 0.02


def test_p_is_never_below_what_the_signs_allow() -> None:
    # Three of 45 questions fall from 1 to 0, the others stay: the sign-flip test of those can reach
    # 2^-3 at the least.
    scores = np.ones((45, 1))
    scores[:3] = 0
    night = tonight(scores, base_of([1.0] * 45, s=0.0, margin=-1.0))
    assert night.moved[0] == 3
    assert p_values(night)[0] == sign_flip(scores[:, 0] - 1).least == 0.125


@settings(max_examples=200)
@given(
    st.lists(
        st.sampled_from([1e-6, 1e-3, 0.004, 0.006, 0.012, 0.3, math.nan]), min_size=1, max_size=9
    )
)
def test_holm_over_arrays_is_holm(p: list[float]) -> None:
    measured = [one for one in p if not math.isnan(one)]
    expected = iter(holm(measured, 0.02))
    rejected, levels = holm_levels(np.array(p), 0.02)
    for at, one in enumerate(p):
        if math.isnan(one):
            assert not rejected[at]
            assert math.isnan(levels[at])
        else:
            assert (bool(rejected[at]), levels[at]) == pytest.approx(next(expected))


def test_nights_without_a_change_are_standard_normal_less_the_margin() -> None:
    # Estimated variances, a fixed baseline each; the margin taken out again. The larger of two
    # variances makes the tail lighter than normal, never heavier.
    rng = np.random.default_rng(16)
    base = stats_of(scores_of(rng, (400, 10, 45, 2), sd=0.12)).beside_nights()
    nights = tonight(scores_of(rng, (400, 50, 45, 2), sd=0.12), base)
    clean = nights.t + base.margin / nights.se
    clean -= (base.means.mean(axis=-2) - 0.0) / nights.se  # the baseline's own error
    z = normal_score(clean, nights.df)
    assert 0.85 < z.std() < 1.0
    for lamb in LAMBDAS:
        assert np.exp(lamb * z - lamb**2 / 2).mean() < 1.02
    assert (z > 3).mean() < stats.norm.sf(3) * 1.3


# The confidence sequence


def test_without_a_baseline_error_it_is_the_asymptotic_one() -> None:
    # arXiv 2103.06476: s·√((tρ² + 1)/(t²ρ²)·log((tρ² + 1)/α²)), ρ² in units of the variance.
    t, s = np.array([1.0, 10.0, 300.0]), 0.02
    log_level = -2 * math.log(0.05)
    rho = (log_level + math.log(log_level + 1)) / TIGHT_AT
    expected = s * np.sqrt((t * rho + 1) / (t**2 * rho) * np.log((t * rho + 1) / 0.05**2))
    found = half_widths(t, np.array(s**2), np.array(0.0))
    np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize("baseline_se", [0.0, 0.4])
def test_it_holds_on_all_nights_at_once(baseline_se: float) -> None:
    rng = np.random.default_rng(17)
    runs, nights, truth = 2000, 300, 0.7
    fixed = baseline_se * rng.standard_normal((runs, 1))
    noise = rng.standard_normal((runs, nights))
    value, low, high = sequence(
        truth + fixed + noise, np.ones((runs, nights)), np.full(runs, baseline_se)
    )
    missed = ((low > truth) | (high < truth)).any(axis=1).mean()
    # At most 5 % over all nights (3 SE above); and not for being endlessly wide. With an error of
    # the baseline most of the 5 % belong to nights far beyond these.
    assert 0 < missed < 0.05 + 3 * math.sqrt(0.05 * 0.95 / runs)
    assert (high - low)[:, -1].mean() / 2 < 4 * math.hypot(baseline_se, 1 / math.sqrt(nights))
    np.testing.assert_allclose(value[:, -1], truth + fixed[:, 0] + noise.mean(axis=1))


def test_nights_that_were_not_measured_leave_it_as_it_was() -> None:
    differences = np.array([np.nan, 0.1, np.nan, 0.3])
    value, low, high = sequence(differences, np.full(4, 0.1), np.array(0.02))
    assert np.isnan([value[0], low[0], high[0]]).all()
    np.testing.assert_allclose(value[1:], [0.1, 0.1, 0.2])
    assert (low[1], high[1]) == (low[2], high[2])
    assert high[3] - low[3] < high[1] - low[1]
