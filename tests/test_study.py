"""Studies: scores and ratings joined into arrays."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from judge.errors import UsageError
from judge.rubric import load_rubric
from judge.study import Study, overall_function, plain_rubric, study_of
from judge.weights import equal_weights, load_weights

SCORES = [
    ("q2", "m", 0, "a", "j1", "scored", 0.2, 0.1),
    ("q2", "m", 0, "a", "j2", "scored", 0.6, None),
    ("q2", "m", 0, "b", "j1", "scored", 1.0, None),
    ("q2", "m", 0, "b", "j2", "unscored", None, None),
    ("q1", "m", 0, "a", "j1", "scored", 0.4, None),
    ("q1", "m", 0, "a", "j2", "scored", 0.8, None),
    ("q1", "m", 0, "b", "j1", "not_applicable", None, None),
    ("q1", "m", 0, "b", "j2", "not_applicable", None, None),
    ("q1", "z", 0, "a", "j1", "scored", 0.0, None),
    ("q1", "z", 0, "a", "j2", "scored", 0.5, None),
]
RATINGS = [
    ("q1", "m", 0, "a", "ann", 1.0, 1.0, 5.0),
    ("q1", "m", 0, "a", "bob", 4.0, 1.0, 5.0),
    ("q2", "m", 0, "b", "ann", 5.0, 1.0, 5.0),
]


def scores(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    return pl.DataFrame(
        rows,
        schema=[
            "question_id", "model", "answer_sample", "criterion", "judge", "status", "score", "sd",
        ],
        orient="row",
    )  # fmt: skip


def ratings(rows: list[tuple[object, ...]]) -> pl.DataFrame:
    columns = {
        "question_id": pl.String, "model": pl.String, "sample": pl.Int64, "criterion": pl.String,
        "rater": pl.String, "rating": pl.Float64, "scale_min": pl.Float64, "scale_max": pl.Float64,
    }  # fmt: skip
    return pl.DataFrame(rows, schema=columns, orient="row")


@pytest.fixture
def study() -> Study:
    return study_of(scores(SCORES), ratings(RATINGS), criteria=["a", "b"])


def test_answers_are_rows_in_order_and_what_is_missing_is_nan(study: Study) -> None:
    assert study.question_ids == ("q1", "q2")
    assert study.model_names == ("m", "z")
    assert [*zip(study.questions, study.models, strict=True)] == [(0, 0), (0, 1), (1, 0)]
    np.testing.assert_allclose(study.scores[:, 0], [[0.4, 0.8], [0.0, 0.5], [0.2, 0.6]])
    np.testing.assert_allclose(study.panel, [[0.6, np.nan], [0.25, np.nan], [0.4, np.nan]])
    assert study.applicable.tolist() == [[True, False], [True, True], [True, True]]


def test_ratings_become_positions_on_their_scale_and_their_mean(study: Study) -> None:
    # (1 - 1) / 4 = 0 and (4 - 1) / 4 = .75, whose mean is .375.
    np.testing.assert_allclose(study.human, [[0.375, np.nan], [np.nan, np.nan], [np.nan, 1.0]])
    assert study.n_raters.tolist() == [[2, 0], [0, 0], [0, 1]]
    assert study.steps == (4, 4)
    assert study.ratings.names == ("ann", "bob")
    assert study.rated.tolist() == [[True, False], [False, False], [False, False]]


def test_a_part_of_a_study_keeps_the_ratings_of_its_answers(study: Study) -> None:
    part = study.only(np.array([2, 0]))
    assert part.questions.tolist() == [1, 0]
    at = {
        (int(row), int(value * 4))
        for row, value in zip(part.ratings.answers, part.ratings.values, strict=True)
    }
    assert at == {(1, 0), (1, 3), (0, 4)}


def test_some_criteria_keep_their_ratings(study: Study) -> None:
    part = study.of_criteria(["b"])
    assert part.criteria == ("b",)
    np.testing.assert_array_equal(part.human, study.human[:, 1:])
    assert part.ratings.criteria.tolist() == [0]
    assert part.ratings.values.tolist() == [1.0]
    with pytest.raises(KeyError):
        study.of_criteria(["c"])


def test_hidden_ratings_are_gone_everywhere(study: Study) -> None:
    hidden = study.without_ratings(np.array([True, False, False]))
    assert np.isnan(hidden.human[0]).all()
    assert hidden.n_raters.sum() == len(hidden.ratings.values) == 1
    np.testing.assert_array_equal(hidden.scores, study.scores)


def test_the_overall_is_that_of_single_answers() -> None:
    rubric = plain_rubric(["a", "b"])
    study = study_of(scores(SCORES), ratings(RATINGS), criteria=["a", "b"])
    whole = study.with_overall(overall_function(study, rubric, equal_weights(rubric)))
    assert whole.criteria[-1] == "overall"
    # q1 x m: b does not apply, so the overall is a's score. q2 x m: j2 lacks b, j1 has both.
    np.testing.assert_allclose(
        whole.scores[:, 2], [[0.4, 0.8], [np.nan, np.nan], [0.6, np.nan]], equal_nan=True
    )
    np.testing.assert_allclose(whole.human[:, 2], [0.375, np.nan, np.nan])
    assert whole.n_raters[:, 2].tolist() == [2, 0, 0]


def test_lost_samples_of_a_judge_leave_a_score_open() -> None:
    frame = scores(SCORES).with_columns(
        k=pl.Series([2, 1, 1, 0, 3, 1, 0, 0, 1, 1]),
        k_wanted=pl.Series([3, 1, 4, 3, 3, 1, 0, 0, 1, 1]),
    )
    study = study_of(frame, ratings(RATINGS), criteria=["a", "b"])
    assert study.lowest is not None and study.highest is not None
    # q2 x m, j1: on a 2 of 3, 0.2 * 2 / 3 = .1333 and (0.4 + 1) / 3 = .4667; on b 1 of 4 of 1.0.
    np.testing.assert_allclose(study.lowest[2, :, 0], [2 / 15, 0.25])
    np.testing.assert_allclose(study.highest[2, :, 0], [7 / 15, 1.0])
    # Nothing else is open, not by a rounding error; what has no score has no bounds of its own.
    for ends in (study.lowest, study.highest):
        np.testing.assert_array_equal(ends[:2], study.scores[:2])
        np.testing.assert_array_equal(ends[2, :, 1], study.scores[2, :, 1])
    rubric = plain_rubric(["a", "b"])
    whole = study.with_overall(overall_function(study, rubric, equal_weights(rubric)))
    assert whole.lowest is not None and whole.highest is not None
    assert whole.lowest.shape == whole.highest.shape == whole.scores.shape
    np.testing.assert_allclose(whole.lowest[2, 2], [(2 / 15 + 0.25) / 2, np.nan])
    part = whole.only(np.array([2])).of_criteria(["overall", "a"])
    np.testing.assert_allclose(part.highest[0, :, 0], [(7 / 15 + 1) / 2, 7 / 15])
    # Scores that do not say how many samples were wanted have none that are lost.
    assert study_of(scores(SCORES), ratings([]), criteria=["a", "b"]).lowest is None


def test_caps_act_on_single_answers(tmp_path) -> None:  # type: ignore[no-untyped-def]
    rubric = load_rubric("communication")
    names = [criterion.criterion for criterion in rubric.criteria]
    profile = tmp_path / "capped.yaml"
    shares = "".join(f"  {name}: 0.125\n" for name in names)
    priority = rubric["safety"].priority
    profile.write_text(
        f"name: capped\nrubric: communication\nweights:\n{shares}"
        f"caps:\n  - priority: {priority}\n    at_or_below: 0.2\n    cap: 0.3\n"
    )
    rows = [
        ("q1", "m", 0, name, "j", "scored", 0.0 if name == "safety" else 1.0, None)
        for name in names
    ]
    study = study_of(scores(rows), ratings([]), criteria=names)
    weights = load_weights(profile, rubric)
    whole = study.with_overall(overall_function(study, rubric, weights))
    assert whole.scores[0, -1, 0] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("q9", "m", 0, "a", "ann", 1.0, 1.0, 5.0), "no judge scored that answer"),
        (("q1", "m", 0, "a", "ann", 2.0, 1.0, 5.0), "rated twice by ann"),
    ],
)
def test_ratings_that_do_not_fit_are_refused(row: tuple[object, ...], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        study_of(scores(SCORES), ratings([*RATINGS, row]), criteria=["a", "b"])


def test_ratings_on_several_scales_become_positions_without_steps() -> None:
    more = ("q2", "m", 0, "a", "ann", 2.5, 0.0, 5.0)
    study = study_of(scores(SCORES), ratings([*RATINGS, more]), criteria=["a", "b"])
    assert study.steps == (None, 4)
    np.testing.assert_allclose(study.human[2, 0], 0.5)


def test_what_does_not_apply_has_no_rating() -> None:
    more = ("q1", "m", 0, "b", "ann", 3.0, 1.0, 5.0)
    study = study_of(scores(SCORES), ratings([*RATINGS, more]), criteria=["a", "b"])
    assert np.isnan(study.human[0, 1])
    assert not study.applicable[0, 1]


def test_what_was_not_drawn_is_left_out_beside_what_was() -> None:
    chances = {("q1", "m", 0, "a"): 1.0, ("q2", "m", 0, "a"): 0.4, ("q2", "m", 0, "b"): 1.0}
    more = ("q2", "m", 0, "a", "ann", 3.0, 1.0, 5.0)
    study = study_of(
        scores(SCORES), ratings([*RATINGS, more]), criteria=["a", "b"], probabilities=chances
    )
    np.testing.assert_allclose(study.probability[:, 0], [1.0, np.nan, 0.4])
    drawn = study.drawn()
    # Of a, q1 had to be looked at beside q2, which was drawn; of b nothing was drawn.
    np.testing.assert_allclose(drawn.human, [[np.nan, np.nan], [np.nan, np.nan], [0.5, 1.0]])
    assert len(drawn.ratings.values) == 2


def test_no_scores_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError, match="judge score"):
        study_of(scores([]), ratings(RATINGS), criteria=["a"])
