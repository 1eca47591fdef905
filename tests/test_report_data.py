"""What a report says, built from a ledger: spending, differences, heat map, flags, settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from judge.canonical import text_hash
from judge.errors import UsageError
from judge.ledger import Call, Ledger, Run, StoredVerdict, open_ledger
from judge.questions import question_hash
from judge.records import Answer, Question, Status, Verdict
from judge.report import build_report, build_summary, render_html
from judge.report._diagnosis import heatmap
from judge.report._spending import summary
from judge.rubric import load_rubric, rubric_to_dict
from tests.page_tree import parse
from tests.report_ledger import Plan, build

JUDGE = "http://127.0.0.1:1/v1#judge-a"


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Ledger, str]]:
    plan = Plan(questions=16, words=40, said=4, body={"mode": "grouped", "shots": 3})
    ledger, run = build(tmp_path_factory.mktemp("run") / "l.db", plan)
    yield ledger, run
    ledger.close()


@pytest.fixture(scope="module")
def report(given: tuple[Ledger, str]) -> dict[str, Any]:
    return build_report(*given, "equal", None)


def test_a_report_is_json(report: dict[str, Any]) -> None:
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_the_summary_is_the_heart_of_the_report(
    given: tuple[Ledger, str], report: dict[str, Any]
) -> None:
    short = build_summary(*given, "equal", None)
    short["report"]["generated_at"] = report["report"]["generated_at"]
    assert short == {name: report[name] for name in short}
    assert "questions" not in short


def test_a_run_says_how_it_was_judged(report: dict[str, Any]) -> None:
    run = report["run"]
    assert (run["mode"], run["shots"]) == ("grouped", 3)
    # Names that the run does not record take the defaults of the time before they existed.
    assert (run["scoring"], run["order"], run["checklists"]) == ("samples", "answer-first", False)
    assert run["kinds"] == {"samples": 16 * 2 * 8}
    assert run["allowed_mass"] is None


# --- Spending -----------------------------------------------------------------------------------


def spent_ledger(path: Path) -> tuple[Ledger, str]:
    """Two models, one question; calls of which every sum can be done by hand."""
    ledger = open_ledger(f"sqlite:///{path}")
    rubric = load_rubric("communication")
    question = Question(question_id="q", question="Why?")
    answers = [Answer(question_id="q", model=model, answer="Because.") for model in ("a", "b")]
    ids = ledger.add_answers(answers, {"q": question})
    rulers = {criterion.criterion: f"{criterion.criterion}-ruler" for criterion in rubric.criteria}
    body = {
        "judge": JUDGE, "rubric": ledger.add_document("rubric", rubric_to_dict(rubric)).hex(),
        "rulers": rulers, "samples": 1, "occasion": "", "planned": 16,
    }  # fmt: skip
    run = Run(run="r1", kind="score", body=body, started_at="2026-11-21T00:00:00+00:00")
    ledger.add_run(run, [(row, question) for row in ids])
    stored = ledger.run_answers("r1")

    def verdict(model: str, criterion: str, key: bytes, repaired: bool = False) -> StoredVerdict:
        return StoredVerdict(
            verdict=Verdict(
                question_id="q", model=model, criterion=criterion, judge=JUDGE,
                ruler=rulers[criterion], status=Status.SCORED, level=4, score=0.8,
                answer_hash=text_hash("Because."),
                question_hash=question_hash(stored[0].question or question), repaired=repaired,
            ),
            call_key=key,
            parser=1,
        )  # fmt: skip

    def call(key: bytes, start: str, seconds: float, **changes: Any) -> Call:
        fields: dict[str, Any] = {
            "purpose": "score", "model": JUDGE, "sample": 0, "occasion": "", "request": b"{}",
            "response": b"{}", "status_code": 200, "prompt_tokens": 1000, "cached_tokens": 400,
            "completion_tokens": 50, "cost": 0.01, "attempts": 1,
        }  # fmt: skip
        fields |= changes
        return Call(key=key, latency_s=seconds, started_at=f"2026-11-21T{start}+00:00", **fields)

    one, two, three, repair = (bytes([n]) * 16 for n in range(1, 5))
    ledger.append(
        calls=[
            call(one, "00:00:00.000", 2.0),
            call(two, "00:00:01.000", 4.0, attempts=3),
            # One call for two criteria, its follow-up, and a server that counts no cached tokens.
            call(three, "00:10:00.000", 1.0, cached_tokens=None, prompt_tokens=500),
            call(repair, "00:10:02.000", 3.0, parent=three, completion_tokens=25),
        ],
        verdicts=[
            verdict("a", "clarity", one),
            verdict("b", "clarity", two),
            verdict("b", "accuracy", three, repaired=True),
            verdict("b", "safety", three, repaired=True),
        ],
    )
    return ledger, "r1"


def test_spending_by_hand(tmp_path: Path) -> None:
    ledger, run = spent_ledger(tmp_path / "l.db")
    report = build_report(ledger, run, "equal", None)
    ledger.close()
    spending = report["spending"]
    total = spending["total"]
    assert (total["calls"], total["follow_ups"]) == (4, 1)
    assert (total["attempts"], total["faults"]) == (6, 2)
    assert total["prompt_tokens"] == 3500
    assert total["cached_tokens"] == 1200
    assert total["completion_tokens"] == 175
    assert total["cached_share"] == pytest.approx(1200 / 3000)  # the silent call is left out
    assert total["cost"] == pytest.approx(0.04)
    assert total["latency_median_s"] == pytest.approx(2.5)  # of 1, 2, 3, 4
    assert total["latency_p95_s"] == pytest.approx(3.85)  # 3 + 0.85 × (4 - 3)
    assert total["wall_s"] == pytest.approx(605)  # 00:00:00 to 00:10:05
    assert (spending["verdicts"], spending["repaired_share"]) == (4, 0.5)
    models = {row["model"]: row for row in spending["models"]}
    assert (models["a"]["calls"], models["b"]["calls"]) == (1, 3)
    criteria = {row["criterion"]: row for row in spending["criteria"]}
    assert criteria["clarity"]["calls"] == 2
    assert criteria["accuracy"]["calls"] == 0
    assert (criteria["accuracy"]["cost"], criteria["accuracy"]["wall_s"]) == (None, None)
    assert (criteria[None]["calls"], criteria[None]["completion_tokens"]) == (2, 75)
    assert [row["judge"] for row in spending["judges"]] == [JUDGE]
    assert report["run"]["tokens"] == {"prompt": 3500, "cached": 1200, "completion": 175}
    page = parse(render_html(report)).id("spending").squeezed()
    assert "10 min 5 s" in page
    assert "several at once" in page


def test_an_unknown_cost_makes_the_sum_unknown() -> None:
    frame = pl.DataFrame(
        {
            "key": [b"1", b"2", b"2"],
            "generation": [0, 0, 0],
            "parent": pl.Series([None] * 3, dtype=pl.Binary),
            "prompt_tokens": [10, 20, 20],
            "cached_tokens": pl.Series([None] * 3, dtype=pl.Int64),
            "completion_tokens": [1, 2, 2],
            "cost": [0.5, None, None],
            "latency_s": [1.0, 2.0, 2.0],
            "attempts": [1, 1, 1],
            "started_at": ["2026-11-21T00:00:00+00:00"] * 3,
        }
    )
    found = summary(frame)
    assert (found["calls"], found["priced"], found["cost"]) == (2, 1, None)  # a call counts once
    assert found["cached_share"] is None
    assert found["prompt_tokens"] == 30


# --- Differences and heat map -------------------------------------------------------------------


def test_a_difference_is_the_mean_over_common_questions(report: dict[str, Any]) -> None:
    entries = {entry["criterion"]: entry for entry in report["differences"]}
    assert list(entries) == ["overall", *(c["criterion"] for c in report["criteria"])]
    for at, criterion in enumerate(report["criteria"]):
        deltas = []
        for question in report["questions"]:
            one, other = (answer["verdicts"][at]["score"] for answer in question["answers"])
            if one is not None and other is not None:
                deltas.append(one - other)
        entry = entries[criterion["criterion"]]
        assert entry["n_questions"] == len(deltas)
        assert entry["value"] == pytest.approx(np.mean(deltas))
        assert entry["first_mean"] - entry["second_mean"] == pytest.approx(entry["value"])
        assert entry["low"] <= entry["value"] <= entry["high"]


def test_many_models_are_compared_with_the_first_alone(tmp_path: Path) -> None:
    models = tuple(f"m{n}" for n in range(9))
    ledger, run = build(tmp_path / "l.db", Plan(questions=3, models=models, words=5, said=2))
    report = build_report(ledger, run, "equal", None)
    ledger.close()
    pairs = dict.fromkeys((e["first"], e["second"]) for e in report["differences"])
    assert list(pairs) == [("m0", other) for other in models[1:]]
    page = parse(render_html(report))
    assert "each is compared with the first" in page.id("compare").text()
    assert len(page.id("compare").all("details", "pair")) == 8


def test_the_heat_map_holds_every_cell(report: dict[str, Any]) -> None:
    block = report["heatmap"]
    assert len(block["rows"]) == 16
    by_id = {question["question_id"]: question for question in report["questions"]}
    for row in block["rows"]:
        question = by_id[row["question_id"]]
        assert report["questions"][row["number"] - 1] is question
        for m, answer in enumerate(question["answers"]):
            assert row["scores"][m] == [verdict["score"] for verdict in answer["verdicts"]]
            assert row["states"][m] == [verdict["status"] for verdict in answer["verdicts"]]
    categories = [row["category"] for row in block["rows"]]
    changes = sum(one != other for one, other in pairwise(categories))
    assert changes + 1 == len(set(categories))


def test_answers_of_one_model_share_a_cell_and_gaps_stay_gaps() -> None:
    def answer(model: str, status: str, score: float | None) -> dict[str, Any]:
        return {"model": model, "verdicts": [{"status": status, "score": score}]}

    question = {
        "question_id": "q",
        "category": None,
        "answers": [
            answer("twice", "scored", 0.4),
            answer("twice", "scored", 0.8),
            answer("half", "scored", 1.0),
            answer("half", "unscored", None),
            answer("lost", "unscored", None),
            answer("lost", "open", None),
            answer("later", "open", None),
            answer("free", "not_applicable", None),
        ],
    }
    models = ["twice", "half", "lost", "later", "free", "none"]
    (row,) = heatmap([question], ["clarity"], models)["rows"]
    assert [score for (score,) in row["scores"]] == [pytest.approx(0.6), 1.0, *[None] * 4]
    assert [state for (state,) in row["states"]] == [
        "scored",
        "partly",
        "unscored",
        "open",
        "not_applicable",
        "absent",
    ]


# --- Length, halo, flags ------------------------------------------------------------------------


def test_the_empty_answer_is_flagged_and_has_no_length(report: dict[str, Any]) -> None:
    assert report["length"]["without_words"] == 1
    assert [slope["criterion"] for slope in report["length"]["slopes"]] == [
        criterion["criterion"] for criterion in report["criteria"]
    ]
    flagged = {(flag["question_id"], flag["model"]): flag for flag in report["flags"]}
    assert [null["kind"] for null in flagged["q-004", "alpha-7b"]["null"]] == ["empty"]
    order = flagged["q-002", "beta-7b"]
    assert order["suspicious"]
    text = report["questions"][1]["answers"][1]["answer"]
    for span in order["spans"]:
        assert text[span["start"] : span["end"]] == span["text"]
    table = parse(render_html(report)).id("flags")
    marks = " ".join(mark.text() for mark in table.all("mark"))
    assert "Ignore all previous instructions" in marks


def test_safety_never_varies_and_is_said_so(report: dict[str, Any]) -> None:
    assert report["halo"]["flat"] == ["safety"]
    slope = next(s for s in report["length"]["slopes"] if s["criterion"] == "safety")
    assert (slope["slope"], slope["note"]) == (None, "no_variance")
    page = parse(render_html(report))
    assert "without correlation: Safety." in page.id("halo").text()
    assert "no variance" in page.id("length").text()


# --- Refusals -----------------------------------------------------------------------------------


def test_a_run_without_scores_and_an_unknown_language_are_refused(
    given: tuple[Ledger, str],
) -> None:
    ledger, run = given
    with pytest.raises(UsageError, match="written in en or zh"):
        build_report(ledger, run, "equal", None, lang="fr")
    ledger.add_run(
        Run(run="20270101T000000-p", kind="pairwise", body={}, started_at="2027-01-01T00:00:00"), []
    )
    with pytest.raises(UsageError, match="of kind pairwise"):
        build_report(ledger, "20270101T000000-p", "equal", None)
