"""Tables, differences and standings of a comparison: numbers derived by hand, and invariances."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge.comparison import Standing, paired_gaps, question_scores, standings
from judge.comparison._body import _of_models, _on_peoples_scale
from judge.comparison._table import raw_estimates
from judge.differences import paired_differences
from judge.estimation import ModelDifference
from judge.intervals import mean_intervals
from tests.comparisons import study_from

NAN = np.nan


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def cubes(questions: int = 12, models: int = 3) -> st.SearchStrategy[np.ndarray]:
    levels = st.integers(0, 5).map(lambda level: level / 5)
    size = questions * models
    return st.lists(levels, min_size=size, max_size=size).map(
        lambda cells: np.array(cells).reshape(questions, models, 1)
    )


def test_question_scores_average_a_models_answers_to_a_question() -> None:
    # a answers q0 twice, 0.2 and 0.8: mean 0.5. The sample without a score does not count.
    study = study_from(
        {("q0", "a", 0): 0.2, ("q0", "a", 1): 0.8, ("q1", "a", 0): NAN, ("q1", "a", 1): 0.6,
         ("q0", "b", 0): 1.0}
    )  # fmt: skip
    cube = question_scores(study, study.panel)
    assert cube[0, :, 0] == pytest.approx([0.5, 1.0])
    assert cube[1, 0, 0] == pytest.approx(0.6)
    assert np.isnan(cube[1, 1, 0])


def test_values_differences_and_what_is_left_out() -> None:
    """a: 0.2, 0.4, 0.9; b: 0.4, 0.4, missing. On q0 and q1 a lies 0.1 below b."""
    study = study_from(
        {("q0", "a", 0): 0.2, ("q1", "a", 0): 0.4, ("q2", "a", 0): 0.9,
         ("q0", "b", 0): 0.4, ("q1", "b", 0): 0.4, ("q2", "b", 0): NAN}
    )  # fmt: skip
    estimates = {one.model: one for one in raw_estimates(study, confidence=0.95, seed=0)}
    assert estimates["a"].value == pytest.approx(0.5)
    assert estimates["b"].value == pytest.approx(0.4)
    assert (estimates["a"].coverage, estimates["b"].coverage) == (1.0, pytest.approx(2 / 3))
    (gap,) = paired_gaps(
        question_scores(study, study.panel), ("a", "b"), ("c",), confidence=0.95, rng=rng()
    )
    assert (gap.model, gap.other, gap.n_questions, gap.left_out) == ("a", "b", 2, 1)
    assert gap.value == pytest.approx(-0.1)
    # The deltas are -0.2 and 0: their standard deviation is 0.2 / sqrt(2).
    assert gap.sd == pytest.approx(0.2 / np.sqrt(2))
    assert gap.low is not None
    assert gap.high is not None
    assert gap.low <= -0.1 <= gap.high


def test_a_difference_that_never_moved_has_an_interval() -> None:
    """45 questions, all equal: about ±0.92 / 45 at 95 % (see judge.differences)."""
    cube = np.ones((45, 2, 1))
    (gap,) = paired_gaps(cube, ("a", "b"), ("c",), confidence=0.95, draws=20_000, rng=rng())
    assert gap.value == 0
    assert gap.high == pytest.approx(0.92 / 45, rel=0.15)
    assert gap.low == pytest.approx(-gap.high)
    assert gap.clear is False


@settings(max_examples=25, deadline=None)
@given(cubes())
def test_differences_are_antisymmetric(cube: np.ndarray) -> None:
    one = paired_gaps(cube, "abc", ("c",), confidence=0.9, draws=200, rng=rng(1))
    other = paired_gaps(cube[:, ::-1], "cba", ("c",), confidence=0.9, draws=200, rng=rng(1))
    turned = {(gap.other, gap.model): gap.turned() for gap in other}
    for gap in one:
        mirror = turned[gap.model, gap.other]
        assert (mirror.model, mirror.other) == (gap.model, gap.other)
        assert [mirror.value, mirror.low, mirror.high] == pytest.approx(
            [gap.value, gap.low, gap.high], abs=1e-12
        )
        assert gap.turned().turned() == gap


@settings(max_examples=15, deadline=None)
@given(cubes(), st.permutations(range(3)))
def test_order_and_names_of_models_change_nothing_but_the_order(
    cube: np.ndarray, order: list[int]
) -> None:
    study = study_from({(f"q{q}", "abc"[m], 0): cube[q, m, 0] for q in range(12) for m in range(3)})
    names = [f"model {at}" for at in range(3)]
    renamed = replace(study, model_names=tuple(names))
    wanted = tuple(names[at] for at in order)
    before, after = (
        {
            one.model: (one.value, one.low, one.high)
            for one in raw_estimates(of, confidence=0.9, seed=2)
        }
        for of in (study, _of_models(renamed, wanted))
    )
    assert list(after) == list(wanted)
    for at, name in enumerate("abc"):
        assert after[names[at]] == pytest.approx(before[name], abs=1e-12)


def test_the_mirrored_interval_is_that_of_the_paired_bootstrap() -> None:
    """Averaging the two orientations moves a limit by no more than Monte-Carlo error."""
    cube = rng(3).uniform(0, 1, (40, 2, 1))
    (gap,) = paired_gaps(cube, "ab", ("c",), confidence=0.95, draws=40_000, rng=rng(4))
    (plain,) = paired_differences(
        cube[:, 0] - cube[:, 1], confidence=0.95, draws=40_000, rng=rng(5)
    )
    assert plain is not None
    assert gap.low == pytest.approx(plain.low, abs=0.004)
    assert gap.high == pytest.approx(plain.high, abs=0.004)


def test_the_best_within_noise() -> None:
    """b is highest; a lies clearly below it, c does not, d has no score."""
    rows = {}
    for q in range(30):
        rows |= {
            (f"q{q}", "a", 0): 0.2, (f"q{q}", "b", 0): 0.8,
            (f"q{q}", "c", 0): 0.6 if q % 2 else 0.98, (f"q{q}", "d", 0): NAN,
        }  # fmt: skip
    study = study_from(rows)
    estimates = raw_estimates(study, confidence=0.95, seed=0)
    gaps = paired_gaps(
        question_scores(study, study.panel), study.model_names, study.criteria,
        confidence=0.95, rng=rng(),
    )  # fmt: skip
    assert standings(estimates, gaps, basis="judge") == (
        Standing(criterion="c", model="a", top=False, best=False),
        Standing(criterion="c", model="b", top=True, best=True),
        Standing(criterion="c", model="c", top=False, best=True),
        Standing(criterion="c", model="d", top=False, best=None),
    )
    # Differences on another basis than the table's say nothing about its standings.
    other = standings(estimates, gaps, basis="calibrated")
    assert [one.best for one in other] == [None, None, None, None]


def test_the_intervals_are_those_of_a_report() -> None:
    """The same draws from the same seed as `judge.aggregation.estimates`, model by model."""
    values = rng(1).uniform(0, 1, (9, 2))
    rows = {(f"q{q}", "ab"[m], 0): float(values[q, m]) for q in range(9) for m in range(2)}
    del rows["q3", "b", 0]
    study = study_from(rows)
    for one in raw_estimates(study, confidence=0.95, seed=4):
        of = values[:, "ab".index(one.model)]
        kept = of if one.model == "a" else np.delete(of, 3)
        (wanted,) = mean_intervals(kept[:, None], confidence=0.95, rng=rng(4))
        assert wanted is not None
        assert (one.low, one.high) == (wanted.low, wanted.high)


def test_who_cannot_be_compared_is_not_the_best() -> None:
    """a and b answered other questions; alone, a is best of nobody."""
    for rows in (
        {(f"q{q}", "a", 0): 0.8 for q in range(5)},
        {(f"q{q}", "ab"[q // 5], 0): 0.8 - q / 20 for q in range(10)},
    ):
        study = study_from(rows)
        gaps = paired_gaps(
            question_scores(study, study.panel), study.model_names, study.criteria,
            confidence=0.95, rng=rng(),
        )  # fmt: skip
        estimates = raw_estimates(study, confidence=0.95, seed=0)
        assert all(one.best is None for one in standings(estimates, gaps, basis="judge"))


def test_one_model_is_compared_with_nothing() -> None:
    assert paired_gaps(np.ones((3, 1, 1)), "a", ("c",), confidence=0.9, rng=rng()) == ()


def test_calibrated_differences_take_the_judges_place_where_there_are_any() -> None:
    """b less a is known on the people's scale; a less c is not, and stays the judge's."""
    cube = np.tile([0.2, 0.4, 0.6], (9, 1))[:, :, None]
    gaps = paired_gaps(cube, "abc", ("x",), confidence=0.95, rng=rng())
    known = [
        ModelDifference(
            first=first, second=second, criterion="x", value=value, low=low, high=high,
            confidence=0.95, estimand="population", method="m", n_questions=7, note=None,
        )
        for first, second, value, low, high in (
            ("b", "a", 0.1, 0.05, 0.3), ("a", "c", None, None, None),
        )
    ]  # fmt: skip
    one, two, three = _on_peoples_scale(gaps, known)
    assert (one.model, one.other, one.basis) == ("a", "b", "calibrated")
    assert (one.value, one.low, one.high) == (-0.1, -0.3, -0.05)
    assert (two.basis, two.value) == ("judge", pytest.approx(-0.4))
    assert three.basis == "judge"
