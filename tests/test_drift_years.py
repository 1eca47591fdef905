"""Simulated years: their noise, their false alarms, and that they are what a series would do."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats  # type: ignore[import-untyped]

from judge.drift._baseline import stats_of
from judge.drift._detector import family, follow_z, threshold
from judge.drift._noise import NoiseModel
from judge.drift._records import DriftSettings, Floats, Night
from judge.drift._tonight import holm_levels, p_values, standardise, tonight
from judge.drift._years import clopper_pearson, simulate_years
from judge.errors import UsageError

SETTINGS = DriftSettings()
SHORT = DriftSettings(nights=60)


def night(at: int, scores: Floats) -> Night:
    return Night(
        date=f"2026-01-{at + 1:02d}",
        epoch="e",
        metrics=tuple(f"m{one}" for one in range(scores.shape[1])),
        question_ids=tuple(f"q{one}" for one in range(scores.shape[0])),
        candidate=scores,
    )


def rare(share: float, loss: float, questions: int = 45) -> NoiseModel:
    """Three criteria at the ceiling: an answer scores 1, or with a small probability 1 - loss."""
    rng = np.random.default_rng(3)
    pool = np.where(rng.random((300, questions, 3)) < share, 1 - loss, 1.0)
    return NoiseModel.from_pool(pool, ("a", "b", "c"))


def test_normal_noise_has_the_spread_and_the_correlation_that_were_asked_for() -> None:
    noise = NoiseModel.from_sd(0.12, 45, 9, 0.5)
    values = noise.draw((400,), np.random.default_rng(0)).values
    flat = values.reshape(-1, 9)
    np.testing.assert_allclose(flat[:, :8].std(axis=0), 0.12, rtol=0.03)
    assert np.corrcoef(flat[:, 0], flat[:, 5])[0, 1] == pytest.approx(0.5, abs=0.03)
    np.testing.assert_allclose(flat[:, 8], flat[:, :8].mean(axis=1))
    assert noise.on_one()[8] == 1 / 8


def test_noise_from_nights_has_their_spread_shock_and_correlation() -> None:
    rng = np.random.default_rng(1)
    sds = np.linspace(0.02, 0.2, 80)[:, None]
    shared = rng.standard_normal((40, 80, 1))
    scores = 0.5 + sds * (0.6 * rng.standard_normal((40, 80, 2)) + 0.8 * shared)
    scores += 0.04 * rng.standard_normal((40, 1, 2))
    noise = NoiseModel.from_nights([night(at, scores[at]) for at in range(28)])
    drawn = noise.draw((4000,), rng)
    inner = drawn.values - drawn.shocks[:, None, :]
    np.testing.assert_allclose(inner.std(axis=0)[:, 0], sds[:, 0], rtol=0.45)
    np.testing.assert_allclose((inner**2).mean(), (sds**2).mean(), rtol=0.06)
    assert np.corrcoef(inner[..., 0].ravel(), inner[..., 1].ravel())[0, 1] == pytest.approx(
        0.64, abs=0.05
    )
    np.testing.assert_allclose(drawn.shocks.std(axis=0), 0.04, rtol=0.4)
    assert abs(inner.mean()) < 1e-3


def test_anchors_of_the_nights_are_part_of_the_simulation() -> None:
    rng = np.random.default_rng(11)
    nights = [
        replace(
            night(at, 0.5 + 0.1 * rng.standard_normal((20, 2))),
            anchor_ids=tuple(f"a{one}" for one in range(50)),
            anchors=0.5 + 0.06 * rng.standard_normal((50, 2)),
        )
        for at in range(10)
    ]
    noise = NoiseModel.from_nights(nights)
    assert noise.anchors == 50
    assert noise.anchor_sd == pytest.approx(0.06, rel=0.1)
    drawn = noise.draw_anchors((3, 10), np.zeros((3, 10, 2)), rng)
    assert drawn is not None
    assert drawn.shape == (3, 10, 50, 2)
    other = [replace(nights[0], anchor_ids=(*nights[0].anchor_ids[:-1], "b")), *nights[1:]]
    assert NoiseModel.from_nights(other).anchors == 0


def test_noise_from_nights_with_gaps_uses_the_nights_that_are_there() -> None:
    rng = np.random.default_rng(2)
    scores = 0.5 + 0.1 * rng.standard_normal((10, 6, 2))
    scores[3, 1, 0] = np.nan
    scores[:, 5] = np.nan
    noise = NoiseModel.from_nights([night(at, scores[at]) for at in range(10)])
    assert noise.questions == 5
    assert noise.pool is not None
    assert np.isfinite(noise.pool).all()
    with pytest.raises(UsageError, match="scored on two"):
        NoiseModel.from_nights([night(at, np.full((3, 2), np.nan)) for at in range(3)])


@pytest.mark.parametrize(
    ("noise", "rate"),
    [
        (NoiseModel.from_sd(0.12, 45), 0.02),
        (NoiseModel.from_sd(0.12, 45, shock=0.01, anchors=60), 0.03),
        (rare(0.01, 1.0), 0.01),
        (rare(0.05, 0.75), 0.01),
    ],
    ids=["normal", "shock", "rare", "skewed"],
)
def test_years_without_a_change_alarm_no_oftener_than_the_budget(
    noise: NoiseModel, rate: float
) -> None:
    # The baseline is drawn and keeps its error all year; the variances are estimated. ``rate`` is
    # about what 2,000 years show (docs/nightly-method.md); the bound is 3 SE above it.
    found = simulate_years(noise, SETTINGS, years=100, drops=(), rng=np.random.default_rng(4))
    alarms = found.false_alarms
    assert alarms.either <= rate + 3 * math.sqrt(rate * (1 - rate) / 100)
    assert alarms.low <= alarms.either <= alarms.high
    assert max(alarms.gate, alarms.detector) <= alarms.either <= alarms.gate + alarms.detector
    assert alarms.per_year_low <= alarms.per_year <= alarms.per_year_high


def test_without_the_margin_a_fixed_baseline_would_alarm_far_too_often() -> None:
    # What the margin is for: the same years at a baseline whose error nothing covers.
    rng = np.random.default_rng(5)
    noise = NoiseModel.from_sd(0.12, 45)
    base = stats_of(noise.draw((40, 10), rng).values)
    bare = replace(base, margin=np.zeros_like(base.margin))
    nights = noise.draw((40, 365), rng).values
    limit = threshold(365, SETTINGS.detector_alpha)
    shares = [
        (family(follow_z(tonight(nights, one.beside_nights()).z)) >= limit).any(axis=1).mean()
        for one in (bare, base)
    ]
    assert shares[0] > 0.25
    assert shares[1] < 0.13


def test_at_the_ceiling_the_baselines_variance_alone_would_alarm_far_too_often() -> None:
    # What tonight's own variance is for: nights with two or three bad answers are no evidence.
    rng = np.random.default_rng(10)
    noise = rare(0.005, 1.0)
    base = stats_of(noise.draw((40, 10), rng).values).beside_nights()
    nights = tonight(noise.draw((40, 365), rng).values, base)
    pooled = standardise(nights.drop, np.zeros_like(nights.own), n=nights.n, base=base)
    limit = threshold(365, SETTINGS.detector_alpha)
    shares = [(family(follow_z(z)) >= limit).any(axis=1).mean() for z in (pooled.z, nights.z)]
    assert shares[0] > 0.2
    assert shares[1] < 0.05


def test_a_simulated_year_is_what_the_functions_of_a_series_say() -> None:
    # One year, one drop: drawn again from the same seed and followed night by night.
    noise = NoiseModel.from_sd(0.12, 20, 4)
    settings = DriftSettings(nights=50, detector_alpha=0.5, gate_alpha=0.5)
    drop, begins, delays = 0.06, 10, []
    for seed in range(12):
        report = simulate_years(
            noise, settings, years=1, drops=(drop,), rng=np.random.default_rng(seed), begins=begins
        )
        rng = np.random.default_rng(seed)
        base = stats_of(noise.draw((1, 10), rng).values)
        scores = noise.draw((1, 50), rng).values
        scores[:, begins:] -= drop
        found = tonight(scores, base.beside_nights())
        gate = holm_levels(p_values(found), 0.5 / 50)[0].any(axis=-1)[0]
        fired = (family(follow_z(found.z))[0] >= threshold(50, 0.5)) | gate
        expected = math.inf
        if fired.any() and fired.argmax() >= begins:
            expected = float(fired.argmax()) - begins + 1
        (on_all,) = [one for one in report.drops if one.spread == "all"]
        assert on_all.median == expected
        delays.append(expected)
    assert np.isfinite(delays).sum() >= 6


def test_larger_drops_are_found_sooner_and_wider_ones_too() -> None:
    report = simulate_years(
        NoiseModel.from_sd(0.12, 45, 5),
        SHORT,
        years=60,
        drops=(0.03, 0.06, 0.12),
        rng=np.random.default_rng(6),
        begins=5,
    )
    for spread in ("one", "all"):
        medians = [one.median for one in report.drops if one.spread == spread]
        assert medians == sorted(medians, reverse=True)
        assert medians[-1] <= 2
    one, everywhere = (
        next(one for one in report.drops if (one.spread, one.drop) == (spread, 0.03))
        for spread in ("one", "all")
    )
    assert everywhere.median < one.median
    assert one.early <= one.median <= one.late
    # At SD .12 and 45 questions ten nights' mean has a standard error of .0057: a margin of .0114.
    assert report.margins["criterion 1"] == pytest.approx(0.0114, rel=0.1)
    assert report.errors["criterion 1"] == pytest.approx(0.0179, rel=0.05)


def test_the_same_seed_gives_the_same_report_and_chunks_do_not_matter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noise = NoiseModel.from_sd(0.12, 20, 3)
    first, again = (
        simulate_years(noise, SHORT, years=20, drops=(0.05,), rng=np.random.default_rng(7))
        for _ in range(2)
    )
    assert first == again
    monkeypatch.setattr("judge.drift._years._CELLS", 5000)
    chunked = simulate_years(noise, SHORT, years=20, drops=(0.05,), rng=np.random.default_rng(7))
    assert chunked.margins["overall"] == pytest.approx(first.margins["overall"], rel=0.2)
    assert chunked.false_alarms.years == 20


def test_impossible_years_and_noise_are_refused() -> None:
    noise = NoiseModel.from_sd(0.12, 20, 3)
    rng = np.random.default_rng(8)
    with pytest.raises(ValueError, match="cannot be simulated"):
        simulate_years(noise, SHORT, years=0, rng=rng)
    with pytest.raises(ValueError, match="cannot be simulated"):
        simulate_years(noise, SHORT, years=1, begins=60, rng=rng)
    with pytest.raises(ValueError, match="not possible"):
        NoiseModel.from_sd(0.0, 20)


def test_clopper_pearson_is_the_exact_interval() -> None:
    low, high = clopper_pearson(30, 2000)
    assert stats.binom.sf(29, 2000, low) == pytest.approx(0.025)
    assert stats.binom.cdf(30, 2000, high) == pytest.approx(0.025)
    # None of 2,000: 1 - .025^(1/2000) = .18 %.
    assert clopper_pearson(0, 2000) == (0.0, pytest.approx(0.001843, rel=1e-3))
    assert clopper_pearson(5, 5)[1] == 1.0


@pytest.mark.slow
@pytest.mark.parametrize("sd", [0.08, 0.12, 0.16, 0.20])
def test_five_hundred_years_keep_the_budget_at_every_spread(sd: float) -> None:
    found = simulate_years(
        NoiseModel.from_sd(sd, 45), SETTINGS, years=500, drops=(), rng=np.random.default_rng(9)
    )
    assert found.false_alarms.high < 0.07


def test_constant_and_absent_metrics_of_a_user_s_nights_do_no_harm() -> None:
    rng = np.random.default_rng(5)
    nights = []
    for day in range(1, 15):
        scores = np.full((12, 4), 0.1 + 0.2)  # a constant whose mean is not it to the last bit
        scores[:, 0] = 0.7 + 0.1 * rng.normal(size=12)
        scores[:, 1] = np.nan
        scores[:, 3] = scores[:, [0, 2]].mean(axis=1)
        nights.append(
            Night(
                date=f"2026-03-{day:02}", epoch="e", metrics=("a", "never", "flat", "overall"),
                question_ids=tuple(f"q{n}" for n in range(12)), candidate=scores,
            )
        )  # fmt: skip
    noise = NoiseModel.from_nights(nights, [1.0, 0.0, 0.0, 0.5])
    assert noise.metrics == ("a", "flat", "overall") and noise.weights == (1.0, 0.0, 0.5)
    report = simulate_years(
        noise, DriftSettings(), years=20, drops=(0.05,), rng=np.random.default_rng(6)
    )
    assert all(margin < 0.1 for margin in report.margins.values())
