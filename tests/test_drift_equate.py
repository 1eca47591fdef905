"""Equating two rulers: planted maps, coverage, and what data do not bear."""

from __future__ import annotations

import numpy as np
import pytest

from judge.drift._equate import equate
from judge.errors import UsageError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_constant_shift_is_found() -> None:
    old = rng().uniform(0.3, 0.8, (40, 1))
    (found,) = equate(old, old - 0.05, np.arange(40), np.array([0.5]), rng())
    assert found.slope == pytest.approx(1.0)
    assert found.intercept == pytest.approx(-0.05)
    assert found.shift == pytest.approx(-0.05)
    assert found.low <= -0.05 <= found.high
    assert found.n == 40
    # All answers agree, yet 40 answers do not prove that every answer would.
    assert 0 < found.se < 0.02


def test_a_planted_line_is_found_despite_equal_noise_in_both() -> None:
    source = rng(3)
    truth = source.uniform(0.2, 0.9, 600)
    old = truth + source.normal(0, 0.05, 600)
    new = 0.1 + 0.7 * truth + source.normal(0, 0.035, 600)  # the noise shrinks with the scale
    (found,) = equate(old[:, None], new[:, None], np.arange(600), np.array([0.5]), rng())
    # The ratio of the spreads is 0.7 exactly; a regression would find 0.7 · 0.94.
    assert found.slope == pytest.approx(0.7, abs=0.02)
    assert found.intercept + found.slope * 0.5 == pytest.approx(0.45, abs=3 * found.se)


def test_a_question_counts_once() -> None:
    old = np.full((30, 1), 0.5)
    new = np.full((30, 1), 0.5)
    new[:20] += 0.3  # 20 answers of one question, 10 of a question each
    questions = np.array([0] * 20 + list(range(1, 11)))
    (found,) = equate(old, new, questions, np.array([0.5]), rng())
    assert found.shift == pytest.approx(0.3 / 11)
    assert found.intercept + 0.5 * found.slope == pytest.approx(0.5 + 0.3 / 11)


def test_where_scores_have_no_spread_the_map_only_shifts() -> None:
    old = np.ones((40, 1))
    new = np.ones((40, 1))
    new[:2] = 0.5
    (found,) = equate(old, new, np.arange(40), np.array([0.99]), rng())
    assert found.slope == 1.0
    assert found.intercept == pytest.approx(-0.025)


def test_where_scores_do_not_agree_the_map_only_shifts() -> None:
    source = rng(5)
    old, new = source.uniform(0, 1, (60, 1)), source.uniform(0.4, 0.6, (60, 1))
    (found,) = equate(old, new, np.arange(60), np.array([0.5]), rng())
    assert found.slope == 1.0


def test_missing_scores_leave_their_pair_out() -> None:
    old = rng().uniform(0.3, 0.8, (40, 2))
    new = old + 0.02
    new[:10, 0] = np.nan
    old[5:20, 1] = np.nan
    first, second = equate(old, new, np.arange(40), np.array([0.5, 0.5]), rng())
    assert (first.n, second.n) == (30, 25)
    assert first.shift == pytest.approx(0.02)


def test_too_few_questions_are_refused() -> None:
    scores = rng().uniform(0, 1, (30, 1))
    with pytest.raises(UsageError, match="only 3 questions"):
        equate(scores, scores, np.arange(30) % 3, np.array([0.5]), rng())


def test_the_standard_error_is_that_of_the_mapped_mean() -> None:
    off, claimed = [], []
    for seed in range(200):
        source = rng(1000 + seed)
        truth = source.uniform(0.3, 0.9, 60)
        old = truth + source.normal(0, 0.06, 60)
        new = truth - 0.04 + source.normal(0, 0.06, 60)
        (found,) = equate(
            old[:, None], new[:, None], np.arange(60), np.array([0.7]), source, draws=400
        )
        off.append(found.intercept + found.slope * 0.7 - 0.66)
        claimed.append(found.se)
    # The SD of 200 errors is known to 5 %; three of those.
    assert np.mean(claimed) == pytest.approx(np.std(off), rel=0.15)
    assert abs(np.mean(off)) < 3 * np.std(off) / 200**0.5
