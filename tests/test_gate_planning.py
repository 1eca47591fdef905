"""What a gate can see: detectable drops, margins, variance components, designs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from judge.gate import interval
from judge.planning import (
    Components,
    Prices,
    assumed_components,
    attainability,
    chance_to_pass,
    cheapest_designs,
    design,
    detectable_drop,
    gate_components,
    half_width,
    normal_drop,
    questions_for,
)


@pytest.mark.parametrize(
    ("sd", "alpha", "expected"),
    # (z_alpha + 0.8416)·sd/√45: for 0.12 and 5 %, 2.4865·0.12/6.7082 = 0.0445.
    [(0.12, 0.05, 0.044), (0.08, 0.025, 0.033), (0.16, 0.05 / 9, 0.081),
     (0.20, 0.05 / 365, 0.134), (0.25, 0.05 / 365 / 9, 0.187)],
)  # fmt: skip
def test_minimum_detectable_effects(sd: float, alpha: float, expected: float) -> None:
    assert normal_drop(sd, 45, alpha=alpha) == pytest.approx(expected, abs=5.1e-4)


def test_an_sd_of_zero_proves_nothing() -> None:
    assert detectable_drop(0.0, 45) == pytest.approx(0.53 / 45, rel=0.01)
    assert detectable_drop(0.12, 45) == normal_drop(0.12, 45)


def test_the_expected_width_is_that_of_real_intervals() -> None:
    rng = np.random.default_rng(0)
    for n, sd in ((45, 0.12), (45, 0.04), (200, 0.12)):
        halves = []
        for _ in range(40):
            low, high = interval(rng.normal(0, sd, n).clip(-1, 1), 0.9)
            halves.append((high - low) / 2)
        assert half_width(sd, n, 0.9) == pytest.approx(float(np.mean(halves)), rel=0.06)


def test_a_margin_that_is_not_attainable() -> None:
    # Normal part: 1.6449·0.12/√45 = 0.0294 alone would need (1.6449·6)² = 98 questions for 0.02.
    found = attainability(0.02, 0.12, 45)
    assert not found.attainable
    assert math.hypot(0.02943, 0.53 / 45) == pytest.approx(found.bound, rel=2e-3)
    assert found.needed is not None and 98 < found.needed < 110
    # 80 %: (2.4865·6)² = 223 without the pseudo-observations.
    assert found.needed_80 is not None and 223 <= found.needed_80 < 235
    assert chance_to_pass(0.02, 0.12, found.needed_80) >= 0.8
    assert chance_to_pass(0.02, 0.12, found.needed_80 - 1) < 0.8
    assert chance_to_pass(0.02, 0.12, found.needed) == pytest.approx(0.5, abs=0.01)
    assert attainability(0.0, 0.12, 45).needed is None
    assert questions_for(0.01, 0.0, 0.9) == 53


def planted(
    n: int, answers: int, interaction: float, answer: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    questions, models = np.meshgrid(np.arange(n), [0, 1], indexing="ij")
    level = rng.normal(0.5, 0.1, n)[:, None] + rng.normal(0, math.sqrt(interaction / 2), (n, 2))
    values = level[:, :, None] + rng.normal(0, math.sqrt(answer), (n, 2, answers))
    wide = (n, 2, answers)
    return (
        values.reshape(-1),
        np.broadcast_to(questions[:, :, None], wide).reshape(-1),
        np.broadcast_to(models[:, :, None], wide).reshape(-1),
    )


def test_planted_components_are_found() -> None:
    values, questions, models = planted(800, 3, 0.006, 0.004, 1)
    noise = np.full(len(values), 0.0015 * 2)
    found = gate_components(values, questions, models, judge_variances=noise, judge_samples=2)
    assert found is not None
    # Relative standard errors: about √(2/800) of Var(d) = 0.0087 -> 0.0004; √(2/3200) of 0.004.
    assert found.interaction == pytest.approx(0.006, abs=4 * 0.0005)
    assert found.answer == pytest.approx(0.004 - 0.0015, abs=4 * 0.0001)
    assert (found.judge, found.answers, found.pairs) == (
        pytest.approx(0.003),
        pytest.approx(3.0),
        1,
    )
    assert found.variance(3) == pytest.approx(0.006 + 2 * 0.004 / 3, rel=0.15)
    # Ten samples of the judge instead of two take 4/5 of its noise away.
    less = found.variance(3, 2) - found.variance(3, 10)
    assert less == pytest.approx(2 * 0.003 * (1 / 2 - 1 / 10) / 3)
    assert sum(share for _, _, share in found.table()) == pytest.approx(1)


def test_one_answer_each_cannot_tell_answers_from_questions() -> None:
    values, questions, models = planted(100, 1, 0.006, 0.004, 2)
    found = gate_components(values, questions, models)
    assert found is not None
    assert (found.answer, found.judge) == (None, None)
    deltas = values[models == 1] - values[models == 0]
    assert found.interaction == pytest.approx(float(deltas.var(ddof=1)))
    assert found.variance(10) == found.variance(1)
    assert gate_components(values[models == 0], questions[models == 0], models[models == 0]) is None


def test_the_cheapest_design_is_the_cheapest() -> None:
    components = Components(
        interaction=0.004, answer=0.004, judge=0.004, questions=45, answers=1, judge_samples=1,
        pairs=1,
    )  # fmt: skip
    prices = Prices(answer=1, judgment=2, question=20)
    best = cheapest_designs(components, 0.05, prices)[0]
    assert best.drop <= 0.05 + 1e-12
    for questions in range(5, 120):
        for answers in (1, 2, 3, 4, 5):
            for samples in (1, 2, 3):
                other = design(components, questions, answers, samples, prices)
                assert other.cost >= best.cost - 1e-9 or other.drop > 0.05
    # Cost: n·(2·K·(1 + 2·J) + 20).
    assert design(components, 10, 3, 2, prices).cost == 10 * (2 * 3 * 5 + 20)
    fewer = cheapest_designs(components, 0.05, prices, most_questions=20)
    assert all(one.questions <= 20 for one in fewer)
    assert not cheapest_designs(assumed_components(0.3), 0.01, prices, most_questions=45)


def test_noise_that_nothing_tells_apart_is_assumed_to_be_half() -> None:
    plain = Components(
        interaction=0.01, answer=None, judge=None, questions=45, answers=1, judge_samples=None,
        pairs=1,
    )  # fmt: skip
    found = plain.with_noise()
    assert found.noise_assumed and not found.assumed
    assert found.variance(1) == pytest.approx(0.01)
    # Two answers halve the half that is noise: 0.005 + 0.005 / 2.
    assert found.variance(2) == pytest.approx(0.0075)
    assert ("answer sampling (assumed)", pytest.approx(0.005), 0.5) == found.table()[1]
    known = Components(
        interaction=0.01, answer=None, judge=0.002, questions=45, answers=1, judge_samples=2,
        pairs=1,
    )  # fmt: skip
    assert known.with_noise() is known


def test_a_question_costs_ten_unless_said() -> None:
    # With free questions 36 single answers were the cheapest: 36·4 = 144. With 10 each, fewer
    # questions and two answers are: 27·(2·2·2 + 10) = 486 against 36·14 = 504.
    best = cheapest_designs(assumed_components(0.12), 0.05, Prices())[0]
    assert (best.questions, best.answers, best.cost) == (27, 2, 486)
