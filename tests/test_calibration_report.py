"""The numbers of the calibration report: those of the analysis, and nothing that is no number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.agreement import (
    Ceiling,
    Coefficient,
    CriterionAgreement,
    ItemSignal,
    Requirement,
)
from judge.calibration import fit
from judge.calibration_report import Analysis, analyse, calibration_body, report_data
from judge.calibration_report._curves import line_of
from judge.calibration_report._listing import ANSWER_CUT, MOST_ANSWERS
from judge.calibration_report._plain import plain
from judge.calibration_report._plots import around, map_plot, span_of, stacked
from judge.calibration_report._residuals import holm, residuals
from judge.calibration_report._verdicts import verdicts
from judge.calibration_report._words import bounds, number, part_words, percent
from judge.evidence import Evidence
from judge.figures import signed
from judge.records import OVERALL
from tests.calibration_report_fixture import HOSTILE, evidence

EMPTY_BODY = {
    "created_at": "2026-01-01T00:00:00+00:00",
    "hash": "0" * 32,
    "criteria": {},
    "expires": {"when": "The ruler changes.", "tolerance": 0.03, "questions": 20},
}


@cache
def analysis(**options: Any) -> Analysis:
    """An analysis of the invented evidence; made once per test run."""
    return analyse(evidence(**options))


@cache
def data(**options: Any) -> dict[str, Any]:
    """The report's data of that analysis."""
    found = analysis(**options)
    body = calibration_body(found) if any(found.fitted.errors) else EMPTY_BODY
    return report_data(found, body)


class _Named(NamedTuple):
    value: float
    low: float


class _Kind(StrEnum):
    ONE = "one"


def test_plain_knows_what_json_knows_and_refuses_the_rest() -> None:
    found = plain(
        {
            "nan": float("nan"),
            "inf": np.float64("-inf"),
            "number": np.float32(0.5),
            "count": np.int64(3),
            "flag": np.bool_(True),
            "rows": np.array([[1.0, np.nan]]),
            "pair": _Named(1.0, float("nan")),
            "kind": _Kind.ONE,
            "record": Coefficient(0.5, note="why"),
        }
    )
    assert found == {
        "nan": None,
        "inf": None,
        "number": 0.5,
        "count": 3,
        "flag": True,
        "rows": [[1.0, None]],
        "pair": {"value": 1.0, "low": None},
        "kind": "one",
        "record": {"value": 0.5, "low": None, "high": None, "note": "why"},
    }
    assert type(found["kind"]) is str
    with pytest.raises(TypeError, match="object has no place"):
        plain({"what": object()})


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)
    elif isinstance(value, float):
        yield value


PANEL = {
    "judges": 3,
    "models": 7,
    "unrated_models": 1,
    "questions": 60,
    "rated": 0.6,
    "noise": 0.5,
    "prefix": "synthetic-",
}

CORNERS: dict[str, dict[str, Any]] = {
    "whole": {},
    "one rater": {"raters": 1},
    "one model": {"models": 1},
    "one criterion": {"criteria": ("clarity",)},
    "no texts": {"texts": False, "words": False},
    "all refused": {"rated": 0.1, "questions": 20},
    "nothing rated": {"rated": 0.0, "questions": 12},
    "one question": {"questions": 1, "models": 2, "raters": 1},
    "one rating each": {"several": False, "prefix": "synthetic-"},
    "a panel": PANEL,
}


@pytest.mark.parametrize("name", CORNERS)
def test_the_data_is_plain_json_in_every_corner(name: str) -> None:
    found = data(**CORNERS[name])
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text) == found
    assert all(np.isfinite(x) for x in _numbers(found))


def test_the_same_analysis_gives_the_same_data() -> None:
    found = analysis()
    body = calibration_body(found)
    assert report_data(found, body) == report_data(found, body)


def test_numbers_are_those_of_the_analysis() -> None:
    found, shown = analysis(), data()
    for at, name in enumerate(found.evidence.study.criteria):
        entry = shown["agreement"][at]
        assert entry["criterion"] == name
        for side, of in (("raw", found.raw), ("calibrated", found.calibrated)):
            mine = of.criteria[at]
            assert entry[side]["within"] == plain(mine.within)
            assert entry[side]["pooled"] == plain(mine.pooled)
            assert entry[side]["bias"]["value"] == mine.bias.value
        errors = found.fitted.errors[at]
        assert errors is not None
        assert shown["maps"][at]["errors"]["chosen"]["rmse"] == errors.chosen.rmse
        assert [e["kind"] for e in shown["maps"][at]["errors"]["candidates"]] == [
            e.kind for e in errors.candidates
        ]
        single = found.single[at]
        assert single is not None
        half = shown["single_verdicts"]["criteria"][at]["half_width"]
        assert half == (1.0 if single.overall.radius is None else single.overall.radius)
    for one, entry in zip(found.estimates, shown["estimates"], strict=True):
        assert (entry["model"], entry["criterion"]) == (one.estimate.model, one.estimate.criterion)
        assert (entry["value"], entry["low"]) == (one.estimate.value, one.estimate.low)
        if one.budget is not None:
            assert entry["budget"]["half_width"] == one.budget.half_width
            assert sum(p["share"] for p in entry["budget"]["parts"]) == pytest.approx(1.0)
            sentences = [purchase["sentence"] for purchase in entry["purchases"]]
            assert sentences == [purchase.sentence() for purchase in one.purchases[:3]]
    assert shown["how"]["audits"] == plain(found.audits)
    assert shown["counts"]["ratings"] == 3 * 30 * 3 * 3
    assert shown["counts"]["rated"] == 90


def _judged(change: CriterionAgreement, index: int = 0) -> dict[str, Any]:
    """The verdict where one criterion's agreement is replaced."""
    found = analysis(**PANEL)
    study = found.evidence.study
    people = replace(
        study.ratings, names=tuple(name.replace("synthetic-", "") for name in study.ratings.names)
    )
    real = replace(found.evidence, study=replace(study, ratings=people))
    criteria = list(found.calibrated.criteria)
    criteria[index] = change
    calibrated = replace(found.calibrated, criteria=tuple(criteria))
    names = {name: name for name in study.criteria}
    judged = verdicts(replace(found, evidence=real, calibrated=calibrated), names)
    return {**judged["criteria"][index], "whole": judged["state"], "to_know": judged["to_know"]}


def _agreed() -> CriterionAgreement:
    return analysis(**PANEL).calibrated.criteria[0]


def _ceiling(of: CriterionAgreement) -> Ceiling:
    assert of.ceiling is not None
    return of.ceiling


def test_yes_where_every_requirement_is_met() -> None:
    found = _judged(_agreed())
    assert found["state"] == "yes"
    assert all(need["met"] for need in found["test"]["requirements"])
    assert found["sentence"].startswith("Yes: it holds its own against 3 of 3 raters")


@pytest.mark.parametrize("missing", range(4))
def test_one_requirement_that_is_not_met_is_never_a_yes(missing: int) -> None:
    of = _agreed()
    assert of.alternative is not None
    needs = list(of.alternative.requirements)
    needs[missing] = Requirement(needs[missing].name, False, "less than needed")
    test = replace(of.alternative, requirements=tuple(needs), passed=False)
    found = _judged(replace(of, alternative=test))
    assert found["state"] == "not_shown"
    assert found["sentence"].startswith("Not shown: 1 of 4 requirements is not met")
    assert found["whole"] != "yes"


def test_too_few_raters_cannot_be_told() -> None:
    of = replace(_agreed(), alternative=None, no_alternative="fewer_than_three_raters")
    found = _judged(of)
    assert found["state"] == "cannot_tell"
    assert "fewer than three people" in found["sentence"]


@pytest.mark.parametrize(
    ("signal", "state", "words"),
    [
        (ItemSignal.NOT_SHOWN, "no_signal", "refuse to calibrate to noise"),
        (ItemSignal.NEGATIVE, "cannot_tell", "sorted or selected"),
        (ItemSignal.UNKNOWN, "cannot_tell", "too few questions"),
    ],
)
def test_a_passed_test_without_a_signal_is_no_yes(
    signal: ItemSignal, state: str, words: str
) -> None:
    of = _agreed()
    found = _judged(replace(of, ceiling=replace(_ceiling(of), signal=signal)))
    assert found["state"] == state
    assert words in found["sentence"]


def test_few_rated_answers_are_exploratory_and_no_yes() -> None:
    found = _judged(replace(_agreed(), exploratory=True, n_answers=59))
    assert found["state"] == "cannot_tell"
    assert "on 59 rated answers; it takes 60" in found["sentence"]
    assert any(note.startswith("Exploratory") for note in found["to_know"])


def test_simulated_raters_never_make_a_yes() -> None:
    shown = data(**PANEL)
    assert shown["synthetic"]
    assert shown["banner"].startswith("SYNTHETIC RATINGS")
    assert all(one["rater"].startswith("synthetic-") for one in shown["raters"]["people"])
    states = [shown["verdict"]["state"], *(c["state"] for c in shown["verdict"]["criteria"])]
    assert set(states) == {"cannot_tell"}
    assert {one["on_these_ratings"] for one in shown["verdict"]["criteria"]} == {"yes"}
    assert data()["banner"] is None


def test_one_rater_and_no_rating_cannot_be_told() -> None:
    for corner in ("one rater", "nothing rated", "one rating each"):
        verdict = data(**CORNERS[corner])["verdict"]
        assert {one["state"] for one in verdict["criteria"]} == {"cannot_tell"}
        assert verdict["state"] == "cannot_tell"


def test_the_overall_is_no_criterion_of_the_verdict() -> None:
    assert OVERALL not in [one["criterion"] for one in data()["verdict"]["criteria"]]


def test_refused_levels_say_why() -> None:
    shown = data(**CORNERS["all refused"])
    assert all(one["value"] is None and one["note"] for one in shown["estimates"])
    assert all(one["budget"] is None for one in shown["estimates"])


def test_holm_by_hand() -> None:
    # Sorted: .005 <= .05/4, .01 <= .05/3, .03 > .05/2: the first two fall, the rest stands.
    assert holm([0.01, 0.04, 0.03, 0.005], 0.95) == [True, False, False, True]
    assert holm([], 0.95) == []
    # The second of two needs p <= .05 only once the first has fallen.
    assert holm([0.04, 0.02], 0.95) == [True, True]
    assert holm([0.04, 0.03], 0.95) == [False, False]


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_lies_between_bonferroni_and_no_correction(p: list[float]) -> None:
    for value, rejected in zip(p, holm(p, 0.95), strict=True):
        limit = 1 - 0.95
        assert not rejected or value <= limit
        assert rejected or value > limit / len(p)


def _shifted(by: float) -> Analysis:
    """The analysis where held-out scores of one model's answers are lower by a constant."""
    found = analysis()
    study = found.evidence.study
    moved = found.predictions - by * (study.models == 1)[:, None]
    return replace(found, predictions=moved)


def test_a_planted_shift_of_a_model_is_flagged_and_measured() -> None:
    before = residuals(analysis())
    after = residuals(_shifted(0.3))
    pairs = [
        (one, other)
        for one, other in zip(before["groups"], after["groups"], strict=True)
        if one["by"] == "model"
    ]
    for one, other in pairs:
        planted = 0.3 if one["group"] == "model <1>" else 0.0
        assert other["value"] - one["value"] == pytest.approx(planted)
        assert not planted or other["flag"]
    assert after["tested"] == before["tested"]
    assert after["flagged"] >= 4


def test_a_residual_is_the_mean_of_question_means() -> None:
    found = analysis(rated=0.7)
    study = found.evidence.study
    row = next(
        row
        for row in residuals(found)["groups"]
        if row["by"] == "category" and row["group"] == "advice" and row["criterion"] == "truth"
    )
    at = study.column("truth")
    means = []
    for question, category in enumerate(study.categories):
        of = (study.questions == question) & study.rated[:, at]
        if category == "advice" and of.any():
            apart = study.human[of, at] - found.fitted.cross_fitted_with_effects[of, at]
            means.append(float(apart.mean()))
    assert row["n_questions"] == len(means)
    assert row["value"] == pytest.approx(np.mean(means))
    # t with n - 1 degrees of freedom, from the spread of the question means.
    stats = pytest.importorskip("scipy.stats")
    low, high = stats.t.interval(
        0.95, len(means) - 1, np.mean(means), np.std(means, ddof=1) / len(means) ** 0.5
    )
    assert (row["low"], row["high"]) == pytest.approx((low, high))
    assert row["p"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)


def test_length_groups_hold_every_rated_answer_once() -> None:
    rows = [
        row
        for row in data()["residuals"]["groups"]
        if row["by"] == "length" and row["criterion"] == "truth"
    ]
    assert len(rows) == 4
    assert sum(row["n_answers"] for row in rows) == 90
    assert not [
        row for row in data(**CORNERS["no texts"])["residuals"]["groups"] if row["by"] == "length"
    ]


def _longer_is_better(by: float) -> Evidence:
    """The evidence where the judge gives ``by`` more per unit of log length."""
    found = evidence(models=4, questions=60)
    study = found.study
    centred = np.log(study.words) - np.log(study.words).mean()
    scores = np.clip(study.scores + by * centred[:, None, None], 0, 1)
    return replace(found, study=replace(study, scores=scores))


def test_a_planted_length_bias_shows_beyond_people() -> None:
    # One SD of log length is about 0.6, so that 0.1 per unit makes about 0.06 per SD.
    of = analyse(_longer_is_better(0.1))
    shown = report_data(of, calibration_body(of))["probes"]["length"]
    for one in shown:
        assert 0.03 < one["excess_raw"]["value"] < 0.09
        assert one["excess_raw"]["low"] > 0
        assert one["judge"]["value"] - one["people"]["value"] == pytest.approx(
            one["excess_raw"]["value"]
        )


def test_levels_are_shares_of_single_ratings() -> None:
    found = analysis()
    study = found.evidence.study
    one = data()["probes"]["levels"][0]
    assert one["steps"] == 4
    of = study.ratings.of(0).values
    assert one["people"] == pytest.approx([float(np.mean(of == level / 4)) for level in range(5)])
    for side in ("people", "judge", "calibrated"):
        assert sum(one[side]) == pytest.approx(1.0)


def test_disagreements_are_the_largest_and_cut() -> None:
    shown = data()["single_verdicts"]
    apart = [abs(one["apart"]) for one in shown["disagreements"]]
    assert len(apart) == MOST_ANSWERS
    assert apart == sorted(apart, reverse=True)
    assert shown["not_shown"] == 90 - MOST_ANSWERS
    first = shown["disagreements"][0]
    assert first["apart"] == pytest.approx(first["human"] - first["calibrated"])
    assert len(first["answer"]["text"]) == ANSWER_CUT
    assert first["answer"]["left_out"] == len(f"{HOSTILE} because " * 200) - ANSWER_CUT
    found = analysis()
    study, lifted = found.evidence.study, found.fitted.cross_fitted_with_effects
    assert apart[0] == pytest.approx(np.nanmax(np.abs(study.human - lifted)))
    assert data(**CORNERS["no texts"])["single_verdicts"]["disagreements"][0]["question"] is None


def test_a_line_is_drawn_as_the_map_predicts() -> None:
    study = evidence(criteria=("clarity",)).study.of_criteria(["clarity"])
    (found,) = fit(study, nested=False).maps
    assert found is not None
    panel = np.array([found.formula.low[0], found.formula.high[0]])
    drawn = line_of(found, panel)
    # One judge and one criterion: nothing but the panel and the model's level takes part.
    columns = found.reader.columns(panel[:, None, None], None)
    columns[:, -1] = found.reader.centre
    assert drawn == pytest.approx(np.clip(found.formula(columns), 0, 1))
    assert (np.diff(line_of(found, np.linspace(0, 1, 50))) >= -1e-12).all()


def test_a_map_is_drawn_solid_within_its_range() -> None:
    entry = {
        "bins": [],
        "rug": [0.5],
        "map": {"x": [0.0, 0.5, 1.0], "y": [0.2, 0.4, 0.6], "low": 0.25, "high": 0.75},
    }
    plot = map_plot(entry)
    # Across 36 + 200 x, down 6 + 200 (1 - y); at x = .25 the line is at .3, at .75 at .5.
    assert plot.inside == "M86.0 146.0L136.0 126.0L186.0 106.0"
    assert plot.outside == ("M36.0 166.0L86.0 146.0", "M186.0 106.0L236.0 86.0")
    assert plot.rug == "M136.0 206v-6"
    assert map_plot({**entry, "map": None}).inside == ""


def test_bars_by_hand() -> None:
    assert stacked([0.25, 0.75]) == [("0.000%", "25.000%"), ("25.000%", "75.000%")]
    interval = {"value": 0.05, "low": -0.2, "high": None}
    assert around(interval, 0.1) == {"x": "75.00%", "low": "0.00%", "high": None}
    assert span_of([{"value": 0.04, "low": -0.07, "high": None}]) == 0.1
    assert span_of([]) == 0.1


def test_words_for_numbers() -> None:
    assert number(-0.126) == "−0.13"
    assert number(-0.001) == "0.00"
    assert number(None) == "–"
    assert signed(0.0123) == "+0.012"
    assert signed(0.0001) == "0.000"
    assert bounds({"low": 0.1, "high": None}) == "[0.10, …]"
    assert bounds({"low": None, "high": None}) == ""
    assert [percent(x) for x in (0.0, 0.004, 0.5, 0.999, 1.0)] == [
        "0 %", "< 1 %", "50 %", "> 99 %", "100 %",
    ]  # fmt: skip
    assert part_words("question+answer") == "questions and answers (not told apart)"
