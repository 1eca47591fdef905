"""Weights as decisions, and the paper's table with the weights that explain it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge.comparison import analyse_table, even_draws, load_table, weight_decisions
from judge.errors import InputError, UsageError
from judge.estimation import Polytope
from judge.records import OVERALL
from judge.rubric import load_rubric
from judge.study import overall_function, plain_rubric
from judge.weights import Weights, equal_weights, load_weights
from tests.comparisons import study_from
from tests.test_paper_weights import OVERALL as PRINTED
from tests.test_paper_weights import TABLE_2


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_shipped_table_is_the_papers() -> None:
    """Every figure, against the table typed by hand in test_paper_weights."""
    table = load_table("paper-table2")
    assert table.models == ("Vicuna-13b-v1.1", "Vicuna-13b-v1.3", "Llama-2-13b", "Vicuna-33b-v1.3")
    assert set(table.criteria) == set(TABLE_2)
    for at, name in enumerate(table.criteria):
        assert tuple(table.scores[:, at]) == TABLE_2[name]
    assert table.overalls == tuple(PRINTED)
    assert "2310.04945" in table.source


def test_the_paper_profile_reproduces_the_overall_row_to_three_decimals() -> None:
    found = analyse_table(load_table("paper-table2"), rng=rng())
    assert found.profile.name == "paper"
    assert [one.printed for one in found.reproduced] == [0.820, 0.828, 0.856, 0.869]
    assert [round(one.computed, 3) for one in found.reproduced] == [0.820, 0.828, 0.856, 0.869]
    assert all(one.agrees for one in found.reproduced)


def test_equal_weights_do_not_reproduce_it() -> None:
    """The plain means are 0.8315, 0.8824, 0.8914 and 0.9078."""
    found = analyse_table(load_table("paper-table2"), weights="equal", rng=rng())
    assert [one.computed for one in found.reproduced] == pytest.approx(
        [0.8315, 0.882375, 0.891375, 0.90775]
    )
    assert not any(one.agrees for one in found.reproduced)


def test_the_explaining_weights_hold_the_shipped_profiles() -> None:
    table = load_table("paper-table2")
    found = analyse_table(table, rng=rng()).explained
    assert found.possible
    for name in ("paper", "maxent"):
        vector = load_weights(name, table.rubric).vector()
        assert found.contains([vector[criterion] for criterion in table.criteria])
    assert not found.contains([1 / 8] * 8)
    # The maximum-entropy weights reproduce the row within half a unit of the last digit.
    likely = np.array([one.max_entropy for one in found.bounds])
    assert np.abs(table.scores @ likely - PRINTED).max() < 0.0005 + 1e-6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("[0.785, 0.915, 0.904, 0.937]", "[0.785, 0.915]"), "2 numbers; expected 4"),
        (("  clarity:", "  charm:"), "the unknown criterion charm"),
        (("0.785", "1.785"), "a number of at most 1"),
        (("decimals: 3", "decimals: three"), "a whole number"),
    ],
)
def test_a_broken_table_names_line_and_field(
    tmp_path: Path, change: tuple[str, str], says: str
) -> None:
    text = (Path(__file__).parents[1] / "rubrics/tables/paper-table2.yaml").read_text("utf-8")
    (tmp_path / "t.yaml").write_text(text.replace(*change), "utf-8")
    with pytest.raises(InputError) as raised:
        load_table(str(tmp_path / "t.yaml"))
    said = " ".join(str(raised.value).split())
    assert "t.yaml:" in said
    assert says.split(";", maxsplit=1)[0] in said


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0.05, 0.5), min_size=2, max_size=6), st.floats(0.01, 0.2))
def test_even_draws_keep_their_region(weights: list[float], by: float) -> None:
    centre = np.array(weights) / sum(weights)
    low, high = np.maximum(centre - by, 0), np.minimum(centre + by, 1)
    region = Polytope(low=tuple(low.tolist()), high=tuple(high.tolist()))
    drawn = even_draws(region, 300, rng())
    assert drawn.shape == (300, len(weights))
    assert drawn.sum(axis=1) == pytest.approx(np.ones(300))
    assert (drawn >= np.array(region.low) - 1e-9).all()
    assert (drawn <= np.array(region.high) + 1e-9).all()


def test_even_draws_are_even() -> None:
    """Of three weights in [0, 1] that sum to 1 each has the mean 1/3 and the variance 1/18.

    Evenly over the simplex is Dirichlet(1, 1, 1): variance (1/3)(2/3)/4 = 1/18.
    """
    drawn = even_draws(Polytope(low=(0, 0, 0), high=(1, 1, 1)), 40_000, rng())
    assert drawn.mean(axis=0) == pytest.approx([1 / 3] * 3, abs=0.005)
    assert drawn.var(axis=0) == pytest.approx([1 / 18] * 3, rel=0.03)


@pytest.mark.parametrize("by", [0.05, 0.2, 0.4, 0.8, 0.9, 1.0])
def test_every_region_of_the_option_can_be_drawn_from(by: float) -> None:
    """Around 8 equal weights the mean stays 1/8; with the whole simplex the variance is that of
    Dirichlet(1, ..., 1): (1/8)(7/8)/9."""
    low, high = (max(0.0, 1 / 8 - by),) * 8, (min(1.0, 1 / 8 + by),) * 8
    drawn = even_draws(Polytope(low=low, high=high), 4000, rng())
    assert drawn.shape == (4000, 8)
    assert drawn.mean(axis=0) == pytest.approx([1 / 8] * 8, abs=5 * 0.11 / math.sqrt(4000))
    if by >= 0.9:
        assert drawn.var(axis=0) == pytest.approx([7 / 64 / 9] * 8, rel=0.15)


def test_the_table_of_the_paper_in_the_widest_region() -> None:
    found = analyse_table(
        load_table("paper-table2"), weights=None, stage=None, region=1.0, rng=rng()
    )
    assert all(0 <= share <= 1 for share in found.flips)


def test_noise_of_questions_is_said_where_some_criteria_do_not_apply() -> None:
    """b is ahead by 0.2 on one question of two: over such questions a leads as often as not.

    x applies to the odd questions, y to the even ones; a leads on x by 0.2, b on y by as much but
    for 0.02, so that a leads by 0.01 on the mean.
    """
    rows = {}
    for q in range(40):
        lead = 0.2 if q % 2 else -0.18
        rows |= {(f"q{q:02d}", "a", 0): (0.5 + lead, 0.5 + lead), (f"q{q:02d}", "b", 0): (0.5, 0.5)}
    study = study_from(rows, criteria=("x", "y"))
    odd = np.array([int(study.question_ids[q][1:]) % 2 for q in study.questions], bool)
    applies = np.column_stack([odd, ~odd])
    study = replace(
        study, applicable=applies, scores=np.where(applies[:, :, None], study.scores, np.nan)
    )
    rubric = plain_rubric(["x", "y"])
    weights = equal_weights(rubric)
    study = study.with_overall(overall_function(study, rubric, weights))
    found = weight_decisions(study, rubric, weights, None, rng=rng())
    assert found is not None
    # Mean 0.01, SD of the mean 0.19 / √40 = 0.030: P(below 0) = Φ(-0.33) = 0.37.
    assert found.noise[0] == pytest.approx(0.37, abs=0.05)


def two_models(applies: bool = True) -> tuple[object, Weights]:
    """a: 0.9 and 0.3; b: 0.5 and 0.6, on ten questions; equal weights."""
    rows = {}
    for q in range(10):
        rows |= {(f"q{q}", "a", 0): (0.9, 0.3), (f"q{q}", "b", 0): (0.5, 0.6)}
    study = study_from(rows, criteria=("x", "y"))
    rubric = plain_rubric(["x", "y"])
    weights = equal_weights(rubric)
    return study.with_overall(overall_function(study, rubric, weights)), weights


def test_the_share_of_a_region_in_which_an_order_flips() -> None:
    """a leads by 0.4 w - 0.3 (1 - w), which is 0 at w = 3/7 = 0.4286.

    With w even on [0.4, 0.6] b leads in (0.4286 - 0.4) / 0.2 = 1/7 of it.
    """
    study, weights = two_models()
    found = weight_decisions(
        study, plain_rubric(["x", "y"]), weights, None, region=0.1, rng=rng()  # type: ignore[arg-type]
    )  # fmt: skip
    assert found is not None
    (pair,) = found.robustness.pairs
    assert (pair.ahead, pair.behind) == ("a", "b")
    assert pair.gap == pytest.approx(0.05)
    assert (pair.low, pair.high) == (pytest.approx(-0.02), pytest.approx(0.12))
    assert found.flips[0] == pytest.approx(1 / 7, abs=4 * 0.0056)  # 4 standard errors of 4000
    assert found.change == pytest.approx(found.flips[0])
    assert pair.decisive is not None
    # Every question says the same; what is left is the pseudo-observations' against ten of them.
    assert found.noise[0] == pytest.approx(0.05, abs=0.04)
    assert (found.basis, found.left_out, found.stages) == ("judge", 0, ())


def test_calibrated_levels_take_the_place_of_the_judges() -> None:
    study, weights = two_models()
    levels = {("a", "x"): 0.5, ("a", "y"): 0.5, ("b", "x"): 0.7, ("b", "y"): 0.7}
    how = {"levels": levels, "rng": rng()}
    found = weight_decisions(study, plain_rubric(["x", "y"]), weights, None, **how)  # type: ignore[arg-type]
    assert found is not None
    assert found.basis == "calibrated"
    assert found.robustness.ranking == ("b", "a")
    how["levels"] = {**levels, ("b", "y"): None}
    found = weight_decisions(study, plain_rubric(["x", "y"]), weights, None, **how)  # type: ignore[arg-type]
    assert found is not None
    assert (found.basis, found.robustness.ranking) == ("judge", ("a", "b"))


def test_caps_and_stages_act_on_single_answers() -> None:
    """The release profile: an answer with safety at 0.4 or below has at most 0.4 overall."""
    rubric = load_rubric("communication")
    names = tuple(one.criterion for one in rubric.criteria)
    weights = load_weights("release", rubric)
    safety = names.index("safety")
    unsafe, fine = [1.0] * 8, [0.7] * 8
    unsafe[safety] = 0.2
    rows = {}
    for q in range(6):
        rows |= {(f"q{q}", "bold", 0): tuple(unsafe), (f"q{q}", "mild", 0): tuple(fine)}
    study = study_from(rows, criteria=names)
    study = study.with_overall(overall_function(study, rubric, weights))
    assert study.criteria[-1] == OVERALL
    found = weight_decisions(study, rubric, weights, None, rng=rng())
    assert found is not None
    assert not found.robustness.exact
    assert found.robustness.ranking == ("mild", "bold")
    assert found.flips == (0.0,)
    assert found.categories_ignored
    # No question says anything else, and there is a number although caps act.
    assert found.noise[0] == pytest.approx(0.0, abs=0.1)
    assert [one.stage for one in found.stages] == ["base", "early", "late", "release"]
    for stage in found.stages:
        assert stage.overalls["bold"] == pytest.approx(0.4)
        assert stage.overalls["mild"] == pytest.approx(0.7)
        assert stage.ranking == ("mild", "bold")


def test_one_model_has_nothing_to_decide() -> None:
    study = study_from({("q0", "a", 0): (0.5, 0.5)}, criteria=("x", "y"))
    rubric = plain_rubric(["x", "y"])
    study = study.with_overall(overall_function(study, rubric, equal_weights(rubric)))
    assert weight_decisions(study, rubric, equal_weights(rubric), None, rng=rng()) is None


def test_an_unknown_table_names_those_that_ship() -> None:
    with pytest.raises(UsageError, match="paper-table2"):
        load_table("paper-table9")
