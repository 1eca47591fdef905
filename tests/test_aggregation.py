"""From verdicts to scores, overalls and estimates: numbers by hand, and what must never happen."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge.aggregation import answer_scores, estimates, grouped_estimates, overall_scores
from judge.errors import UsageError
from judge.intervals import mean_intervals
from judge.ledger import StoredVerdict
from judge.ledger._frames import verdict_frame
from judge.ledger._rows import verdict_row
from judge.records import Estimate, Reason, Status, Verdict
from judge.rubric import Criterion, Level, Rubric
from judge.weights import Cap, Weights

TEXT = b"the hash of text"


def criterion(name: str, priority: str, *excluded: str) -> Criterion:
    """A criterion with levels 0-5, each worth a fifth."""
    return Criterion(
        criterion=name,
        name=name.title(),
        definition="",
        priority=priority,
        levels=tuple(Level(level=n, description=str(n), score=n / 5) for n in range(6)),
        categories=None,
        except_categories=frozenset(excluded),
        reference="none",
        baseline=None,
    )


RUBRIC = Rubric(
    name="small",
    version=1,
    description="",
    criteria=(
        criterion("accuracy", "P1", "small talk"),
        criterion("clarity", "P2"),
        criterion("safety", "P0"),
    ),
)
NAMES = [entry.criterion for entry in RUBRIC.criteria]
WEIGHTS = Weights(
    name="plain",
    rubric="small",
    general={"accuracy": 0.5, "clarity": 0.3, "safety": 0.2},
    categories={"story": {"accuracy": 0.0, "clarity": 0.8, "safety": 0.2}},
    stages={"base": {"accuracy": 0.1, "clarity": 0.9, "safety": 0.0}},
    caps=(),
)
CAPPED = replace(WEIGHTS, caps=(Cap(priority="P0", at_or_below=0.4, cap=0.3),))

Cell = int | str | None
"""A level, a status or reason in words, or None for no verdict at all."""


def verdict(cell: int | str, **more: Any) -> Verdict:
    """A verdict on accuracy of the answer of model m to question q, unless told otherwise."""
    values: dict[str, Any] = {
        "question_id": "q",
        "model": "m",
        "criterion": "accuracy",
        "judge": "j",
        "ruler": "r",
        "answer_hash": TEXT,
        **more,
    }
    if isinstance(cell, int):
        return Verdict(status=Status.SCORED, level=cell, score=cell / 5, **values)
    if cell == Status.NOT_APPLICABLE:
        return Verdict(status=Status.NOT_APPLICABLE, **values)
    return Verdict(status=Status.UNSCORED, reason=Reason(cell), **values)


def frame(verdicts: Iterable[Verdict]) -> pl.DataFrame:
    """Verdicts as the ledger hands them out."""
    return verdict_frame(
        verdict_row(StoredVerdict(verdict=entry, call_key=None, generation=0, parser=1))
        for entry in verdicts
    )


def samples(*cells: int | str) -> list[Verdict]:
    """The judge's samples on one answer and criterion."""
    return [verdict(cell, sample=at) for at, cell in enumerate(cells)]


def scores_of(cells: Mapping[str, Sequence[Cell]], model: str = "m") -> pl.DataFrame:
    """One answer per question: its cells in the order of the rubric's criteria."""
    return answer_scores(
        frame(
            verdict(cell, question_id=question, model=model, criterion=name)
            for question, row in cells.items()
            for name, cell in zip(NAMES, row, strict=True)
            if cell is not None
        )
    )


def only(rows: pl.DataFrame) -> dict[str, Any]:
    """The single row of a frame."""
    assert rows.height == 1
    return rows.row(0, named=True)


def overall_of(
    *cells: Cell,
    category: str | None = None,
    weights: Weights = WEIGHTS,
    stage: str | None = None,
    partial_from: int | None = None,
) -> dict[str, Any]:
    """The overall of one answer with these cells."""
    return only(
        overall_scores(
            scores_of({"q": cells}),
            {"q": category},
            RUBRIC,
            weights,
            stage,
            partial_from=partial_from,
        )
    )


def assert_no_nan(rows: pl.DataFrame) -> None:
    """Missing is null, never NaN."""
    for column in rows.iter_columns():
        if column.dtype.is_float():
            assert not column.is_nan().any(), column.name


# --- The score of an answer on a criterion ---------------------------------------------------


def test_mean_level_and_deviation_over_samples() -> None:
    """Levels 5, 4, 2: the mean level is 11/3, the score 11/15.

    The scores are 1, .8, .4; their deviations from 11/15 are 4/15, 1/15, -5/15, and
    (16 + 1 + 25) / 225 / 2 = 42 / 450.
    """
    row = only(answer_scores(frame(samples(5, 4, 2))))
    assert row["level"] == pytest.approx(11 / 3)
    assert row["score"] == pytest.approx(11 / 15)
    assert row["sd"] == pytest.approx(math.sqrt(42 / 450))
    assert (row["status"], row["reason"], row["k"], row["k_wanted"]) == ("scored", None, 3, 3)
    assert (row["ruler"], row["judge"], row["kind"]) == ("r", "j", "samples")
    assert row["answer_hash"] == TEXT


def test_an_unscored_sample_lowers_k_and_not_the_score() -> None:
    """Levels 4 and 2 and a refusal: the score is .6, not .4."""
    row = only(answer_scores(frame(samples(4, "refused", 2))))
    assert row["score"] == pytest.approx(0.6)
    assert row["sd"] == pytest.approx(math.sqrt(0.08))  # .8 and .4: (.2² + .2²) / 1
    assert (row["status"], row["reason"], row["k"], row["k_wanted"]) == ("scored", None, 2, 3)


def test_one_sample_has_no_deviation() -> None:
    """Null, not 0 and not NaN."""
    scores = answer_scores(frame(samples(3)))
    assert only(scores)["sd"] is None
    assert_no_nan(scores)


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        (("refused",), "refused"),
        (("refused", "truncated", "truncated"), "truncated"),
        (("truncated", "invalid", "refused"), "invalid"),
        (("truncated", "filtered", "filtered", "truncated"), "filtered"),
        (("not_applicable", "refused"), "refused"),
    ],
)
def test_unscored_has_the_most_frequent_reason(cells: tuple[str, ...], reason: str) -> None:
    """Of equally frequent ones, the first in the alphabet; and no number at all."""
    row = only(answer_scores(frame(samples(*cells))))
    assert (row["status"], row["reason"]) == ("unscored", reason)
    assert [row[name] for name in ("score", "level", "sd")] == [None, None, None]
    assert row["k"] == 0
    assert row["k_wanted"] == sum(cell != "not_applicable" for cell in cells)


def test_not_applicable_only_if_all_samples_are() -> None:
    """It is not missing: nothing was wanted."""
    row = only(answer_scores(frame(samples("not_applicable"))))
    assert (row["status"], row["reason"], row["score"]) == ("not_applicable", None, None)
    assert (row["k"], row["k_wanted"]) == (0, 0)


def test_rows_are_per_answer_text_and_criterion() -> None:
    """Samples of an answer, texts and criteria are kept apart; a missing hash is a text, too."""
    scores = answer_scores(
        frame(
            [
                verdict(5),
                verdict(4, answer_sample=1),
                verdict(3, answer_hash=b"another text...."),
                verdict(2, answer_hash=None),
                verdict(1, criterion="clarity"),
                verdict(0, model="n"),
            ]
        )
    )
    assert sorted(scores["level"]) == [0, 1, 2, 3, 4, 5]
    assert set(scores["k"]) == {1}


def test_no_verdicts_no_scores() -> None:
    """An empty frame has the same columns."""
    empty = answer_scores(frame([]))
    assert empty.is_empty()
    assert empty.schema == answer_scores(frame([verdict(1)])).schema
    assert overall_scores(empty, {}, RUBRIC, WEIGHTS).is_empty()


@pytest.mark.parametrize(
    ("difference", "words"),
    [
        ({"ruler": "r2"}, "accuracy: scores of 2 rulers"),
        ({"judge": "j2"}, "accuracy: verdicts of 2 judges"),
        ({"occasion": "2026-01-01"}, "2 occasions"),
        ({"rationale": "again"}, "more than once"),
    ],
)
@pytest.mark.parametrize("where", [{}, {"question_id": "q2"}])
def test_separate_measurements_are_refused(
    difference: dict[str, str], words: str, where: dict[str, str]
) -> None:
    """Not averaged, and not put side by side in one frame either."""
    second = verdict(4, **difference, **where)
    if words == "more than once":
        second = replace(second, question_id="q")
    with pytest.raises(UsageError, match=words):
        answer_scores(frame([verdict(5), second]))


def test_each_criterion_has_its_own_ruler() -> None:
    """Rulers differ between criteria; that is no mixture."""
    verdicts = frame([verdict(5), verdict(4, criterion="clarity", ruler="r2")])
    assert answer_scores(verdicts).height == 2


@pytest.mark.parametrize(
    "change",
    [
        {"score": None},
        {"score": math.nan},
        {"score": 1.5},
        {"level": None},
        {"level": math.nan},
        {"reason": "refused"},
        {"status": "unscored"},
        {"status": "unscored", "reason": "refused"},
        {"status": "not_applicable"},
        {"status": "fine"},
        {"status": None},
    ],
)
def test_impossible_verdicts_are_refused(change: dict[str, Any]) -> None:
    """A scored verdict without a number, an unscored one with one: neither is guessed at."""
    verdicts = frame([verdict(5)])
    broken = verdicts.with_columns(
        pl.lit(value, dtype=verdicts.schema[name]).alias(name) for name, value in change.items()
    )
    with pytest.raises(ValueError, match="q × m × accuracy"):
        answer_scores(broken)


# --- The overall of an answer ------------------------------------------------------------------


def test_overall_is_the_weighted_mean() -> None:
    """Accuracy 1, clarity .6, safety .8: .5 + .18 + .16 = .84."""
    row = overall_of(5, 3, 4)
    assert row["overall"] == pytest.approx(0.84)
    assert (row["status"], row["missing"], row["reason"]) == ("scored", None, None)
    assert (row["n_applicable"], row["n_scored"]) == (3, 3)
    assert (row["capped"], row["renormalised"]) == (False, False)


def test_weights_are_renormalised_over_applicable_criteria() -> None:
    """Without accuracy: (.3 × .6 + .2 × .8) / .5 = .68, and the row says so."""
    row = overall_of("not_applicable", 3, 4)
    assert row["overall"] == pytest.approx(0.68)
    assert (row["n_applicable"], row["n_scored"], row["renormalised"]) == (2, 2, True)


def test_the_rubric_excludes_where_there_is_no_verdict() -> None:
    """Small talk has no accuracy, verdict or not; elsewhere its absence leaves the overall open."""
    assert overall_of(None, 3, 4, category="small talk")["overall"] == pytest.approx(0.68)
    row = overall_of(None, 3, 4)
    assert (row["overall"], row["status"], row["missing"]) == (None, "open", "accuracy: open")
    # A verdict that is there counts, whatever the rubric says today.
    assert overall_of(5, 3, 4, category="small talk")["overall"] == pytest.approx(0.84)


def test_a_criterion_without_weight_may_be_missing() -> None:
    """In stories accuracy weighs 0: .8 × .6 + .2 × .8 = .64, nothing renormalised."""
    row = overall_of("refused", 3, 4, category="story")
    assert row["overall"] == pytest.approx(0.64)
    assert (row["n_applicable"], row["n_scored"], row["renormalised"]) == (3, 2, False)


def test_the_stage_wins_over_the_category() -> None:
    """Base: .1 × 1 + .9 × .6 = .64; an unknown stage is refused."""
    row = overall_of(5, 3, 0, category="story", stage="base")
    assert row["overall"] == pytest.approx(0.64)
    with pytest.raises(UsageError, match="no stage 'late'"):
        overall_of(5, 3, 0, stage="late")


@pytest.mark.parametrize(
    ("cells", "status", "reason", "missing"),
    [
        (("refused", 5, 5), "unscored", "refused", "accuracy: refused"),
        ((5, 5, None), "open", None, "safety: open"),
        (("refused", None, 5), "unscored", "refused", "accuracy: refused; clarity: open"),
        (
            ("truncated", "invalid", 5),
            "unscored",
            "invalid",
            "accuracy: truncated; clarity: invalid",
        ),
        (
            ("truncated", "invalid", "truncated"),
            "unscored",
            "truncated",
            "accuracy: truncated; clarity: invalid; safety: truncated",
        ),
    ],
)
def test_a_missing_criterion_makes_the_overall_missing(
    cells: tuple[Cell, ...], status: str, reason: str | None, missing: str
) -> None:
    """Never renormalised in silence, however good the rest."""
    row = overall_of(*cells)
    assert row["overall"] is None
    assert (row["status"], row["reason"], row["missing"]) == (status, reason, missing)
    assert (row["capped"], row["renormalised"]) == (False, False)


def test_nothing_that_applies_weighs() -> None:
    """No overall, and nothing that a further run could bring."""
    accuracy_only = replace(WEIGHTS, general={"accuracy": 1.0})
    row = overall_of("not_applicable", 3, 4, weights=accuracy_only)
    assert (row["overall"], row["status"]) == (None, "not_applicable")
    assert row["missing"] == "no criterion that applies has a weight"
    nothing = overall_of(*["not_applicable"] * 3)
    assert (nothing["overall"], nothing["status"], nothing["n_applicable"]) == (
        None, "not_applicable", 0,
    )  # fmt: skip


def test_a_failed_criterion_caps_the_overall() -> None:
    """Safety at level 2 (.4): .5 + .3 + .08 = .88 is capped to .3; at level 3 it is not."""
    row = overall_of(5, 5, 2, weights=CAPPED)
    assert (row["overall"], row["capped"]) == (0.3, True)
    assert overall_of(5, 5, 2)["overall"] == pytest.approx(0.88)
    row = overall_of(5, 5, 3, weights=CAPPED)
    assert row["overall"] == pytest.approx(0.92)
    assert not row["capped"]


def test_a_cap_above_the_overall_changes_nothing() -> None:
    """.5 × .2 + .3 × .2 + 0 = .16 lies below the cap of .3."""
    row = overall_of(1, 1, 0, weights=CAPPED)
    assert row["overall"] == pytest.approx(0.16)
    assert not row["capped"]


def test_the_lowest_of_several_caps_holds() -> None:
    """Clarity caps to .5, safety to .3, in whichever order the profile names them."""
    caps = (*CAPPED.caps, Cap(priority="P2", at_or_below=0.4, cap=0.5))
    for order in (caps, caps[::-1]):
        assert overall_of(5, 2, 2, weights=replace(WEIGHTS, caps=order))["overall"] == 0.3
        assert overall_of(5, 2, 5, weights=replace(WEIGHTS, caps=order))["overall"] == 0.5


def test_rounding_does_not_slip_past_a_cap() -> None:
    """The mean of .4, .4, .4 is 0.4000000000000001 in floating point, and at or below .4."""
    scores = answer_scores(
        frame(
            verdict(cell, criterion=name, sample=at)
            for name, cell in (("accuracy", 5), ("clarity", 5), ("safety", 2))
            for at in range(3)
        )
    )
    nudged = scores.with_columns(
        pl.when(pl.col("criterion") == "safety")
        .then(pl.lit(0.4000000000000001))
        .otherwise("score")
        .alias("score")
    )
    assert only(overall_scores(nudged, {}, RUBRIC, CAPPED))["overall"] == 0.3


def test_what_a_cap_looks_at_is_never_assumed() -> None:
    """Without a weight, an unscored P0 criterion still decides whether the cap holds."""
    weightless = replace(CAPPED, general={"accuracy": 0.6, "clarity": 0.4, "safety": 0.0})
    row = overall_of(5, 5, "filtered", weights=weightless)
    assert (row["overall"], row["missing"]) == (None, "safety: filtered")
    assert overall_of(5, 5, 0, weights=weightless)["overall"] == 0.3
    assert overall_of(5, 5, "not_applicable", weights=weightless)["overall"] == 1.0
    assert overall_of(5, 5, "filtered", weights=replace(weightless, caps=()))["overall"] == 1.0


def test_partial_overalls_only_where_asked_and_from_enough_criteria() -> None:
    """Two of three scored: (.5 × 1 + .3 × .6) / .8 = .85 from two on, none from three on."""
    cells = (5, 3, "cannot_assess")
    assert overall_of(*cells)["overall"] is None
    row = overall_of(*cells, partial_from=2)
    assert row["overall"] == pytest.approx(0.85)
    assert (row["n_applicable"], row["n_scored"], row["renormalised"]) == (3, 2, True)
    row = overall_of(*cells, partial_from=3)
    assert (row["overall"], row["status"], row["reason"]) == (None, "unscored", "cannot_assess")
    assert row["missing"] == "2 of at least 3 criteria scored; safety: cannot_assess"


def test_partial_from_more_than_the_rubric_has_means_all() -> None:
    """Six of a rubric of three: all three, or all that apply."""
    assert overall_of(5, 3, 4, partial_from=6)["overall"] == pytest.approx(0.84)
    assert overall_of(5, 3, "cannot_assess", partial_from=6)["overall"] is None
    assert overall_of("not_applicable", 3, 4, partial_from=6)["overall"] == pytest.approx(0.68)


def test_a_partial_overall_is_open_while_more_may_come() -> None:
    """One scored, one open, one unscored: two are within reach, three are not."""
    cells = (5, None, "cannot_assess")
    assert overall_of(*cells, partial_from=2)["status"] == "open"
    assert overall_of(*cells, partial_from=3)["status"] == "unscored"


def test_caps_hold_for_partial_overalls() -> None:
    """Safety failed, accuracy unknown: .3."""
    assert overall_of("cannot_assess", 5, 1, weights=CAPPED, partial_from=2)["overall"] == 0.3


def test_perfect_is_exactly_one() -> None:
    """Rounding in weights such as thirds does not carry a score out of the scale."""
    thirds = replace(WEIGHTS, general=dict.fromkeys(NAMES, 1 / 3 + 1e-7))
    assert overall_of(5, 5, 5, weights=thirds)["overall"] == 1.0


def test_foreign_criteria_are_left_aside() -> None:
    """The rubric says which criteria count."""
    scores = scores_of({"q": (5, 3, 4)})
    more = pl.concat([scores, scores.head(1).with_columns(pl.lit("wit").alias("criterion"))])
    assert only(overall_scores(more, {}, RUBRIC, WEIGHTS))["overall"] == pytest.approx(0.84)


def test_overalls_refuse_mixtures() -> None:
    """Scores of two rulers, and two scores of one answer and criterion."""
    scores = scores_of({"q": (5, 3, 4)})
    other = scores_of({"p": (5, 3, 4)}).with_columns(pl.lit("r2").alias("ruler"))
    with pytest.raises(UsageError, match="2 rulers"):
        overall_scores(pl.concat([scores, other]), {}, RUBRIC, WEIGHTS)
    with pytest.raises(UsageError, match="more than once"):
        overall_scores(pl.concat([scores, scores]), {}, RUBRIC, WEIGHTS)


CELLS = st.one_of(
    st.integers(0, 5), st.sampled_from(["not_applicable", "refused", "truncated"]), st.none()
)
TABLES = st.dictionaries(
    st.sampled_from([f"q{n}" for n in range(8)]), st.tuples(CELLS, CELLS, CELLS), min_size=1
)
PROFILES = st.builds(
    lambda weights, caps: replace(
        WEIGHTS, general=dict(zip(NAMES, weights, strict=True)), caps=caps
    ),
    st.tuples(*[st.sampled_from([0.0, 0.125, 0.25, 0.5, 1.0])] * 3),
    st.sampled_from([(), CAPPED.caps]),
)


def by_hand(cells: Sequence[Cell], weights: Weights, partial_from: int | None) -> float | None:
    """The rule for an overall as a person would apply it to one answer."""
    applicable = [
        (weights.general[entry.criterion], entry.priority, cell)
        for entry, cell in zip(RUBRIC.criteria, cells, strict=True)
        if cell != "not_applicable"
    ]
    watched = {cap.priority for cap in weights.caps}
    scored = [(w, p, cell / 5) for w, p, cell in applicable if isinstance(cell, int)]
    complete = all(isinstance(cell, int) for w, p, cell in applicable if w > 0 or p in watched)
    enough = partial_from is not None and len(scored) >= min(partial_from, len(RUBRIC.criteria))
    total = sum(w for w, _, _ in scored)
    if not (complete or enough) or total == 0:
        return None
    overall = sum(w * score for w, _, score in scored) / total
    for cap in weights.caps:
        if any(p == cap.priority and score <= cap.at_or_below for _, p, score in scored):
            overall = min(overall, cap.cap)
    return overall


@settings(deadline=None)
@given(TABLES, PROFILES, st.none() | st.integers(1, 4), st.floats(0.01, 100))
def test_overall_properties(
    table: dict[str, tuple[Cell, ...]],
    weights: Weights,
    partial_from: int | None,
    factor: float,
) -> None:
    """The rule, its bounds, and that only the ratios of the weights count."""
    scores = scores_of(table)
    found = overall_scores(scores, {}, RUBRIC, weights, partial_from=partial_from)
    assert_no_nan(found)
    assert set(found["question_id"]) == {q for q, row in table.items() if row != (None,) * 3}
    for row in found.iter_rows(named=True):
        cells = table[row["question_id"]]
        expected = by_hand(cells, weights, partial_from)
        assert (row["overall"] is None) == (expected is None)
        assert (row["overall"] is None) == (row["missing"] is not None)
        assert (row["overall"] is not None) == (row["status"] == "scored")
        assert (row["reason"] is not None) == (row["status"] == "unscored")
        levels = [cell for cell in cells if isinstance(cell, int)]
        assert row["n_scored"] == len(levels)
        if expected is None:
            assert not row["capped"] and not row["renormalised"]
        else:
            assert row["overall"] == pytest.approx(expected)
            assert row["overall"] <= max(levels) / 5
            assert row["capped"] or row["overall"] >= min(levels) / 5

    scaled = {name: weight * factor for name, weight in weights.general.items()}
    again = overall_scores(
        scores, {}, RUBRIC, replace(weights, general=scaled), partial_from=partial_from
    )
    for before, after in zip(found["overall"], again["overall"], strict=True):
        assert before == (None if after is None else pytest.approx(after))


# --- The estimate of a model -------------------------------------------------------------------

ANSWERS_SCHEMA = {
    "question_id": pl.String,
    "model": pl.String,
    "answer_sample": pl.Int64,
    "answer_hash": pl.Binary,
}


def answers_to(
    questions: Iterable[str], models: Iterable[str] = ("m",), hashed: bytes | None = TEXT
) -> pl.DataFrame:
    """One answer of each model to each question."""
    rows = [(question, model, 0, hashed) for model in models for question in questions]
    return pl.DataFrame(rows, schema=ANSWERS_SCHEMA, orient="row")


def by_criterion(found: Iterable[Estimate], model: str = "m") -> dict[str, Estimate]:
    """The estimates of one model."""
    return {entry.criterion: entry for entry in found if entry.model == model}


FIVE: dict[str, tuple[Cell, ...]] = {
    "q1": (5, 4, 5),
    "q2": (4, 3, 5),
    "q3": ("not_applicable", 5, 5),
    "q4": ("refused", None, 5),
    "q5": (None, None, None),
}


def estimates_of_five(**more: Any) -> dict[str, Estimate]:
    """The estimates on `FIVE`."""
    scores = scores_of(FIVE)
    overalls = overall_scores(scores, {}, RUBRIC, WEIGHTS)
    return by_criterion(estimates(answers_to(FIVE), scores, overalls, RUBRIC, **more))


def test_every_answer_is_accounted_for() -> None:
    """Accuracy: .9 from 2 of the 4 answers that it applies to; one refused, one open."""
    found = estimates_of_five()
    assert list(found) == [*NAMES, "overall"]
    accuracy = found["accuracy"]
    assert accuracy.value == pytest.approx(0.9)
    assert (accuracy.n_questions, accuracy.n_answers, accuracy.n_ratings) == (2, 2, 0)
    assert accuracy.coverage == 0.5
    assert accuracy.unscored == {"refused": 1}
    assert (accuracy.not_applicable, accuracy.open) == (1, 1)

    clarity = found["clarity"]
    assert clarity.value == pytest.approx(0.8)
    assert (clarity.coverage, clarity.unscored, clarity.open) == (0.6, {}, 2)

    safety = found["safety"]
    assert (safety.value, safety.high) == (1, 1)
    assert safety.low is not None
    assert safety.low < 0.8
    assert (safety.coverage, safety.open) == (0.8, 1)


def test_the_overall_is_estimated_from_the_overalls_of_answers() -> None:
    """q1: .5 + .24 + .2 = .94; q2: .4 + .18 + .2 = .78; q3: (.3 + .2) / .5 = 1; q4, q5: none."""
    overall = estimates_of_five()["overall"]
    assert overall.value == pytest.approx((0.94 + 0.78 + 1) / 3)
    assert (overall.n_questions, overall.n_answers, overall.coverage) == (3, 3, 0.6)
    assert (overall.unscored, overall.open, overall.not_applicable) == ({"refused": 1}, 1, 0)


def test_an_estimate_says_how_it_was_made() -> None:
    """Method, estimand, confidence; more confidence is wider."""
    found = estimates_of_five(confidence=0.8)["clarity"]
    wider = estimates_of_five(confidence=0.99)["clarity"]
    assert (found.method, found.estimand) == ("bayesian-bootstrap-ends", "population")
    assert (found.confidence, wider.confidence) == (0.8, 0.99)
    assert found.low is not None and found.high is not None
    assert wider.low is not None and wider.high is not None
    assert wider.low < found.low < found.high < wider.high


def test_intervals_are_those_of_question_means() -> None:
    """Rows are the model's questions in order, also those without a score."""
    found = estimates_of_five(seed=7)
    nan = math.nan
    matrix = np.array(
        [
            [1.0, 0.8, 1.0, 0.94],
            [0.8, 0.6, 1.0, 0.78],
            [nan, 1.0, 1.0, 1.0],
            [nan, nan, 1.0, nan],
            [nan, nan, nan, nan],
        ]
    )
    expected = mean_intervals(matrix, rng=np.random.default_rng(7))
    for estimate, interval in zip(found.values(), expected, strict=True):
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx(interval)


def test_a_question_counts_once() -> None:
    """q1 with answers 1, 1, .4 has the mean .8, q2 has .2: the value is .5, not 2.6 / 4."""
    levels = {("q1", 0): 5, ("q1", 1): 5, ("q1", 2): 2, ("q2", 0): 1}
    scores = answer_scores(
        frame(
            verdict(level, question_id=question, answer_sample=at)
            for (question, at), level in levels.items()
        )
    )
    answers = scores.select("question_id", "model", "answer_sample")
    overalls = overall_scores(scores, {}, RUBRIC, replace(WEIGHTS, general={"accuracy": 1.0}))
    found = by_criterion(estimates(answers, scores, overalls, RUBRIC))
    for name in ("accuracy", "overall"):
        assert found[name].value == pytest.approx(0.5)
        assert (found[name].n_questions, found[name].n_answers) == (2, 4)


def test_nothing_scored_is_none_not_zero() -> None:
    """No value and no limits; a criterion that applies nowhere lacks nothing."""
    scores = scores_of({"q1": ("not_applicable", "refused", None)})
    overalls = overall_scores(scores, {}, RUBRIC, WEIGHTS)
    found = by_criterion(estimates(answers_to(["q1"]), scores, overalls, RUBRIC))
    for entry in found.values():
        assert (entry.value, entry.low, entry.high) == (None, None, None)
        assert (entry.n_questions, entry.n_answers) == (0, 0)
    assert [found[name].coverage for name in (*NAMES, "overall")] == [1, 0, 0, 0]
    assert (found["safety"].open, found["overall"].unscored) == (1, {"refused": 1})


def test_the_rubric_says_what_was_not_wanted() -> None:
    """With categories, an answer without verdict is not open where the criterion is excluded."""
    scores = scores_of({"q1": (None, 3, 4), "q2": (None, 3, 4)})
    categories = {"q1": "small talk"}
    overalls = overall_scores(scores, categories, RUBRIC, WEIGHTS)
    found = by_criterion(
        estimates(answers_to(["q1", "q2"]), scores, overalls, RUBRIC, categories=categories)
    )
    assert (found["accuracy"].not_applicable, found["accuracy"].open) == (1, 1)
    assert (found["overall"].n_answers, found["overall"].open) == (1, 1)


def test_verdicts_on_another_text_do_not_count() -> None:
    """The hash binds a verdict to its text; where either side has none, the answer's key does."""
    scores = scores_of({"q1": (5, 5, 5)})
    overalls = overall_scores(scores, {}, RUBRIC, WEIGHTS)
    changed = by_criterion(
        estimates(answers_to(["q1"], hashed=b"now another text"), scores, overalls, RUBRIC)
    )
    assert (changed["accuracy"].value, changed["accuracy"].open) == (None, 1)
    assert (changed["overall"].value, changed["overall"].open) == (None, 1)
    for answers in (answers_to(["q1"], hashed=None), answers_to(["q1"]).drop("answer_hash")):
        assert by_criterion(estimates(answers, scores, overalls, RUBRIC))["accuracy"].value == 1
    unbound = scores.with_columns(pl.lit(None, pl.Binary).alias("answer_hash"))
    overalls = overall_scores(unbound, {}, RUBRIC, WEIGHTS)
    assert by_criterion(estimates(answers_to(["q1"]), unbound, overalls, RUBRIC))["overall"].value


def test_answers_that_were_not_asked_for_are_left_aside() -> None:
    """The frame of answers says what the estimate is about."""
    scores = scores_of({"q1": (5, 5, 5), "q2": (0, 0, 0)})
    overalls = overall_scores(scores, {}, RUBRIC, WEIGHTS)
    found = by_criterion(estimates(answers_to(["q1"]), scores, overalls, RUBRIC))
    assert {entry.value for entry in found.values()} == {1}
    assert estimates(answers_to([]), scores, overalls, RUBRIC) == []


def test_estimates_refuse_what_would_count_twice() -> None:
    """Answers, texts of an answer, and scores of several rulers."""
    scores = scores_of({"q1": (5, 5, 5)})
    overalls = overall_scores(scores, {}, RUBRIC, WEIGHTS)
    answers = answers_to(["q1"])
    with pytest.raises(UsageError, match="1 answers are there more than once, the first on q1"):
        estimates(pl.concat([answers, answers]), scores, overalls, RUBRIC)
    other = scores.with_columns(pl.lit(b"now another text").alias("answer_hash"))
    with pytest.raises(UsageError, match="scores are there more than once"):
        estimates(answers.drop("answer_hash"), pl.concat([scores, other]), overalls, RUBRIC)
    foreign = scores_of({"q2": (5, 5, 5)}).with_columns(pl.lit("r2").alias("ruler"))
    with pytest.raises(UsageError, match="2 rulers"):
        estimates(answers, pl.concat([scores, foreign]), overalls, RUBRIC)


def test_groups_are_estimates_of_their_questions() -> None:
    """Alphabetical, questions without a group last; each as if it were alone."""
    scores = scores_of(FIVE)
    overalls = overall_scores(scores, {}, RUBRIC, WEIGHTS)
    by = {"q1": "in_domain", "q2": "general", "q3": "general", "q4": None}
    found = grouped_estimates(answers_to(FIVE), scores, overalls, RUBRIC, by=by, seed=3)
    assert list(dict.fromkeys(group for group, _ in found)) == ["general", "in_domain", None]
    for group, questions in {
        "general": ["q2", "q3"], "in_domain": ["q1"], None: ["q4", "q5"],
    }.items():  # fmt: skip
        alone = estimates(answers_to(questions), scores, overalls, RUBRIC, seed=3)
        assert [entry for name, entry in found if name == group] == alone
    general = [entry for name, entry in found if name == "general"]
    assert by_criterion(general)["clarity"].value == pytest.approx(0.8)


def test_sums_do_not_depend_on_the_order_of_rows() -> None:
    """Seven answers to each of 20 questions: in another order, sums would end in other digits."""
    levels = np.random.default_rng(0).integers(0, 6, (20, 7)).tolist()
    verdicts = frame(
        verdict(level, question_id=f"q{question}", answer_sample=answer)
        for question, row in enumerate(levels)
        for answer, level in enumerate(row)
    )
    scores = answer_scores(verdicts)
    answers = scores.select(*ANSWERS_SCHEMA)
    overalls = overall_scores(scores, {}, RUBRIC, replace(WEIGHTS, general={"accuracy": 1.0}))
    expected = estimates(answers, scores, overalls, RUBRIC)

    for seed in range(20):

        def mixed(rows: pl.DataFrame, seed: int = seed) -> pl.DataFrame:
            return rows.sample(fraction=1, shuffle=True, seed=seed)

        assert estimates(mixed(answers), mixed(scores), mixed(overalls), RUBRIC) == expected


SAMPLED = st.dictionaries(
    st.tuples(
        st.sampled_from(["a", "b"]),
        st.sampled_from([f"q{n}" for n in range(5)]),
        st.integers(0, 2),
        st.sampled_from(NAMES),
        st.integers(0, 2),
    ),
    st.one_of(st.integers(0, 5), st.sampled_from(["not_applicable", "refused", "invalid"])),
    min_size=1,
    max_size=60,
)


@settings(deadline=None, max_examples=40)
@given(SAMPLED, st.integers(0, 2**32 - 1))
def test_order_and_company_change_nothing(
    cells: dict[tuple[str, str, int, str, int], int | str], seed: int
) -> None:
    """Shuffled rows give the same frames and estimates to the last digit, as does a model alone."""
    verdicts = frame(
        verdict(
            cell,
            model=model,
            question_id=question,
            answer_sample=answer,
            criterion=name,
            sample=sample,
        )
        for (model, question, answer, name, sample), cell in cells.items()
    )
    answers = pl.DataFrame(
        [
            (question, model, answer, TEXT)
            for model in "ab"
            for question in sorted({key[1] for key in cells})
            for answer in range(3)
        ],
        schema=ANSWERS_SCHEMA,
        orient="row",
    )

    def measure(
        verdicts: pl.DataFrame, answers: pl.DataFrame
    ) -> tuple[pl.DataFrame, pl.DataFrame, list[Estimate]]:
        scores = answer_scores(verdicts)
        overalls = overall_scores(scores, {}, RUBRIC, CAPPED)
        return scores, overalls, estimates(answers, scores, overalls, RUBRIC, seed=seed)

    scores, overalls, found = measure(verdicts, answers)
    shuffled = measure(
        verdicts.sample(fraction=1, shuffle=True, seed=seed),
        answers.sample(fraction=1, shuffle=True, seed=seed),
    )
    assert scores.equals(shuffled[0])
    assert overalls.equals(shuffled[1])
    assert found == shuffled[2]
    alone = measure(verdicts.filter(pl.col("model") == "b"), answers.filter(pl.col("model") == "b"))
    assert [entry for entry in found if entry.model == "b"] == alone[2]

    assert_no_nan(scores)
    assert_no_nan(overalls)
    for entry in found:
        assert all(value == value for value in asdict(entry).values())
        counted = entry.n_answers + entry.not_applicable + entry.open
        missing = sum(entry.unscored.values())  # of a criterion: verdicts, also of scored answers
        if entry.criterion == "overall":
            assert counted + missing == len(answers) / 2
        else:
            assert counted <= len(answers) / 2 <= counted + missing
        if entry.value is None:
            assert (entry.low, entry.high, entry.n_questions) == (None, None, 0)
        else:
            assert entry.low is not None and entry.high is not None
            assert 0 <= entry.low <= entry.value <= entry.high <= 1
