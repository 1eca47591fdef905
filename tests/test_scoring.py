"""Scoring against a real server that misbehaves: nothing lost, nothing invented, nothing twice."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import judge.execution._writer
import judge.scoring._asking
import judge.scoring._task
from judge.endpoint import Budget, Capabilities, Prices, RetryPolicy, parse_spec
from judge.errors import EndpointError, LedgerError
from judge.ledger import Call, Ledger
from judge.records import Answer, Question, Reason
from judge.report import build_report
from judge.rubric import Level
from judge.scoring import ScoreSettings, planned_units
from judge.scoring._run import _Plan, _start
from judge.verdicts import parse_reply
from tests.chat_server import Behaviour, ChatServer, expected_level
from tests.support import answers, criterion, ledger_at, rubric, run, stored_items

CONTENT_FAULTS = {
    "prose": Reason.INVALID,
    "two_objects": Reason.INVALID,
    "duplicate_key": Reason.INVALID,
    "wrong_type": Reason.INVALID,
    "float_level": Reason.INVALID,
    "nan": Reason.INVALID,
    "lone_surrogate": Reason.INVALID,
    "truncated_json": Reason.INVALID,
    "missing_key": Reason.INVALID,
    "extra_key": Reason.INVALID,
    "empty_content": Reason.INVALID,
    "deep_nesting": Reason.INVALID,
    "null_content": Reason.INVALID,
    "out_of_range": Reason.OUT_OF_RANGE,
    "fabricated_evidence": Reason.FABRICATED_EVIDENCE,
    "length": Reason.TRUNCATED,
    "refusal": Reason.REFUSED,
    "content_filter": Reason.FILTERED,
    "null_level": Reason.CANNOT_ASSESS,
    "context_length": Reason.CANNOT_ASSESS,
}
ENDS_AT_ONCE = {"length", "refusal", "content_filter", "null_level", "context_length"}
TRANSPORT_FAULTS = (
    "429", "429_date", "500", "503", "408", "409", "reset", "cut_body", "bad_envelope",
    "empty_choices",
)  # fmt: skip


def all_calls(ledger: Ledger) -> list[Call]:
    """Every call that the ledger holds."""
    rows = ledger._all("SELECT DISTINCT key FROM calls")  # type: ignore[attr-defined]
    return list(ledger.calls([row[0] for row in rows]).values())


def given_levels(ledger: Ledger) -> dict[str, set[int]]:
    """Per first user message, the levels that the server gave in good replies to it."""
    given: dict[str, set[int]] = {}
    for call in all_calls(ledger):
        messages = json.loads(call.request)["messages"]
        given.setdefault(messages[1]["content"], set()).add(expected_level(call.request))
    return given


def assert_every_score_was_given(ledger: Ledger) -> None:
    """No scored verdict holds a level that the server did not give for this very prompt."""
    given = given_levels(ledger)
    verdicts = ledger.verdicts().filter(pl.col("status") == "scored")
    calls = ledger.calls(verdicts["call_key"].to_list())
    for row in verdicts.iter_rows(named=True):
        prompt = json.loads(calls[row["call_key"]].request)["messages"][1]["content"]
        assert row["level"] in given[prompt]
        assert row["score"] == row["level"] / 5


def test_every_answer_gets_every_verdict(tmp_path: Path) -> None:
    with ChatServer(Behaviour(evidence="quote")) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(ledger, stored_items(ledger, answers(6, ("a", "b"))), rubric(), server.spec())
    assert (outcome.scored, outcome.progress.open, outcome.sent) == (24, 0, 24)
    verdicts = ledger.verdicts()
    assert len(verdicts) == 24
    assert set(verdicts["ruler"]) == set(outcome.rulers.values())
    assert {len(json.loads(text)) for text in verdicts["evidence"]} == {1}
    assert all(json.loads(text)[0].startswith("The sum is") for text in verdicts["evidence"])
    assert_every_score_was_given(ledger)


@pytest.mark.parametrize(("kind", "reason"), CONTENT_FAULTS.items())
def test_bad_content_is_unscored_for_its_true_reason(
    tmp_path: Path, kind: str, reason: Reason
) -> None:
    with ChatServer(Behaviour(faults={kind: 1.0})) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(ledger, stored_items(ledger, answers(3)), rubric(), server.spec())
        requests = server.stats()["requests"]
    assert outcome.unscored == Counter({reason.value: 6})
    assert (outcome.scored, outcome.progress.open) == (0, 0)
    assert requests == (6 if kind in ENDS_AT_ONCE else 12), "one repair round where it can help"
    assert ledger.verdicts()["score"].null_count() == 6


@pytest.mark.parametrize("kind", sorted(set(CONTENT_FAULTS) - ENDS_AT_ONCE))
def test_one_repair_round_mends_a_bad_reply(tmp_path: Path, kind: str) -> None:
    with ChatServer(Behaviour(scripted=[kind])) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(ledger, stored_items(ledger, answers(1)), rubric(criterion("tact")),
                      server.spec())  # fmt: skip
    assert (outcome.scored, outcome.repaired, outcome.sent) == (1, 1, 2)
    assert_every_score_was_given(ledger)


def test_a_fence_around_the_whole_reply_is_read(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"fenced": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(ledger, stored_items(ledger, answers(2)), rubric(), server.spec())
    assert (outcome.scored, outcome.repaired) == (4, 0)


@pytest.mark.parametrize("kind", TRANSPORT_FAULTS)
def test_outages_are_tried_again(tmp_path: Path, kind: str) -> None:
    behaviour = Behaviour(fault_once={kind: 1.0}, once_attempts=2, retry_after=0.01)
    with ChatServer(behaviour) as server:
        ledger = ledger_at(tmp_path)
        patient = RetryPolicy(max_attempts=4, first_wait_s=0.01, longest_wait_s=0.02)
        outcome = run(
            ledger, stored_items(ledger, answers(2)), rubric(criterion("tact")), server.spec(),
            retry=patient,
        )  # fmt: skip
    assert (outcome.scored, outcome.progress.open, outcome.sent) == (2, 0, 6)
    attempts = ledger._all("SELECT count(*) FROM attempts")  # type: ignore[attr-defined]
    assert attempts == [(4,)], "every failed try is on record"
    assert {call.attempts for call in all_calls(ledger)} == {3}


@pytest.mark.parametrize("kind", ["hang", "slow_drip"])
def test_a_reply_that_never_ends_is_a_time_out(tmp_path: Path, kind: str) -> None:
    with ChatServer(Behaviour(fault_once={kind: 1.0}, hang_s=60, drip_s=60)) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(2))
        outcome = run(ledger, items, rubric(criterion("tact")), server.spec(), timeout_s=0.5)
    assert (outcome.scored, outcome.progress.open) == (2, 0)
    kinds = ledger._all("SELECT DISTINCT error FROM attempts")  # type: ignore[attr-defined]
    assert kinds == [("timeout",)]


def test_an_outage_that_does_not_end_leaves_units_open_and_a_rerun_finishes(
    tmp_path: Path,
) -> None:
    with ChatServer(Behaviour(faults={"500": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(3))
        down = run(ledger, items, rubric(), server.spec())
        assert (down.progress.open, down.scored, down.unscored.total()) == (6, 0, 0)
        assert len(ledger.verdicts()) == 0
        server.configure(Behaviour())
        again = run(ledger, items, rubric(), server.spec())
    assert (again.progress.open, again.scored) == (0, 6)


def test_a_dead_endpoint_stops_the_run_instead_of_trying_every_unit(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"503": 1.0}, retry_after=None)) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(200))
        quick = RetryPolicy(max_attempts=2, first_wait_s=0.001, longest_wait_s=0.002)
        outcome = run(ledger, items, rubric(), server.spec(), retry=quick, concurrency=4)
        requests = server.stats()["requests"]
    assert "does not recover" in outcome.progress.stopped
    assert outcome.progress.open == 400
    assert requests < 100


@pytest.mark.parametrize("kind", ["401", "402", "403", "insufficient_quota", "model_not_found"])
def test_a_fault_that_money_or_people_must_mend_stops_the_run_with_all_work_kept(
    tmp_path: Path, kind: str
) -> None:
    script = ["ok"] * 10 + [kind] * 300
    with ChatServer(Behaviour(scripted=script, latency_s=0.01)) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(100))
        with pytest.raises(EndpointError) as stopped:
            run(ledger, items, rubric(), server.spec(), concurrency=4)
        requests = server.stats()["requests"]
        assert len(all_calls(ledger)) == len(ledger.verdicts()) == 10
        assert requests <= 10 + 2 * 4, "nothing new is sent after the fault"
        assert server.spec() in str(stopped.value)
        server.configure(Behaviour())
        again = run(ledger, items, rubric(), server.spec())
    assert (again.scored, again.progress.from_ledger, again.progress.open) == (200, 10, 0)


def test_a_thousand_calls_through_all_faults_at_once(tmp_path: Path) -> None:
    """Every unit ends scored, unscored with its true reason, or open; no score is invented."""
    faults = {
        "429": 0.05, "500": 0.03, "bad_envelope": 0.02, "reset": 0.01, "hang": 0.002,
        **dict.fromkeys(CONTENT_FAULTS, 0.01), "fenced": 0.01,
    }  # fmt: skip
    with ChatServer(Behaviour(faults=faults, evidence="quote", seed=3, hang_s=60)) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(500))
        outcome = run(ledger, items, rubric(), server.spec(), concurrency=64, timeout_s=1.0)
        stats = server.stats()
        outcome2 = run(ledger, items, rubric(), server.spec(), concurrency=64, timeout_s=1.0)
        assert server.stats()["requests"] == stats["requests"], "a second run sends nothing"
    settled = outcome.scored + outcome.unscored.total()
    assert settled + outcome.progress.open == 1000
    assert outcome.progress.open == 0
    assert set(outcome.unscored) <= {reason.value for reason in Reason}
    assert max(stats["per_key_good"].values()) == 1, "nothing is paid for twice"
    assert_every_score_was_given(ledger)
    assert (outcome2.scored, outcome2.unscored) == (outcome.scored, outcome.unscored)


def test_the_same_plan_is_free_and_another_occasion_is_a_new_measurement(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(5))
        run(ledger, items, rubric(), server.spec())
        again = run(ledger, items, rubric(), server.spec())
        tonight = run(ledger, items, rubric(), server.spec(), ScoreSettings(occasion="tonight"))
        replay = run(ledger, items, rubric(), server.spec(), ScoreSettings(occasion="tonight"))
    assert [again.sent, tonight.sent, replay.sent] == [0, 10, 0]
    assert again.rulers == tonight.rulers, "the occasion is no part of the ruler"


def test_one_word_of_one_level_rescores_that_criterion_and_no_other(tmp_path: Path) -> None:
    first, second = criterion("tact"), criterion("truth")
    levels = (*second.levels[:-1], Level(level=5, description="All 5 signs of truth.", score=1.0))
    changed = replace(second, levels=levels)
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(4))
        before = run(ledger, items, rubric(first, second), server.spec())
        after = run(ledger, items, rubric(first, changed), server.spec())
    assert after.sent == 4
    assert before.rulers["tact"] == after.rulers["tact"]
    assert before.rulers["truth"] != after.rulers["truth"]


def test_another_static_score_is_another_ruler_but_no_new_call(tmp_path: Path) -> None:
    second = criterion("truth")
    levels = (*second.levels[:-1], replace(second.levels[-1], score=0.9))
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(4))
        before = run(ledger, items, rubric(second), server.spec())
        after = run(ledger, items, rubric(replace(second, levels=levels)), server.spec())
    assert after.sent == 0
    assert before.rulers != after.rulers
    assert after.scored == 4


def test_a_new_parser_reads_stored_calls_again_and_sends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer(Behaviour(faults={"prose": 0.3, "null_level": 0.2})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(10))
        before = run(ledger, items, rubric(), server.spec())
        monkeypatch.setattr(
            judge.scoring._task, "PARSER_VERSION", judge.scoring._task.PARSER_VERSION + 1
        )
        after = run(ledger, items, rubric(), server.spec())
    assert after.sent == 0
    assert (after.scored, after.unscored) == (before.scored, before.unscored)
    parsers = ledger._all(  # type: ignore[attr-defined]
        "SELECT parser, count(*) FROM verdicts GROUP BY parser ORDER BY parser"
    )
    assert [count for _, count in parsers] == [20, 20]
    assert len(ledger.verdicts()) == 20, "only the newest reading counts"


def test_identical_answers_share_one_call_and_get_a_verdict_each(tmp_path: Path) -> None:
    question = Question(question_id="q", question="Why?")
    same = [
        (Answer(question_id="q", model=model, answer="Because."), question) for model in "abcde"
    ]
    with ChatServer(Behaviour(latency_s=0.05)) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(ledger, stored_items(ledger, same), rubric(), server.spec())
        later = stored_items(ledger, [(replace(same[0][0], model="f"), question)])
        late = run(ledger, later, rubric(), server.spec())
    assert (outcome.sent, outcome.scored) == (2, 10)
    assert (late.sent, late.scored, late.progress.from_ledger) == (0, 1 + 1, 2)


def test_unscored_verdicts_are_final_until_they_are_reopened(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"refusal": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(3))
        run(ledger, items, rubric(), server.spec())
        server.configure(Behaviour())
        kept = run(ledger, items, rubric(), server.spec())
        other = run(
            ledger,
            items,
            rubric(),
            server.spec(),
            ScoreSettings(retry=frozenset({Reason.FILTERED})),
        )
        reopened = run(
            ledger, items, rubric(), server.spec(), ScoreSettings(retry=frozenset({Reason.REFUSED}))
        )
        after = run(ledger, items, rubric(), server.spec())
    assert [kept.sent, other.sent, reopened.sent, after.sent] == [0, 0, 6, 0]
    assert (kept.unscored.total(), reopened.scored, after.scored) == (6, 6, 6)
    assert len(ledger.verdicts()) == 6


def test_a_retry_that_fails_again_ends(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"refusal": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(2))
        settings = ScoreSettings(retry=frozenset({Reason.REFUSED}))
        sent = [run(ledger, items, rubric(), server.spec(), settings).sent for _ in range(3)]
    assert sent == [4, 4, 4]


def test_criteria_that_do_not_apply_cost_nothing_and_are_not_missing(tmp_path: Path) -> None:
    greeting = Question(question_id="q", question="Hi", category="interactive")
    only = criterion("truth", except_categories=frozenset({"interactive"}))
    needs = criterion("match", reference="requires")
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(
            ledger, [(Answer(question_id="q", model="m", answer="Hello"), greeting)]
        )
        outcome = run(ledger, items, rubric(criterion("tact"), only, needs), server.spec())
    assert (outcome.sent, outcome.scored, outcome.not_applicable) == (1, 1, 1)
    assert outcome.unscored == Counter({"cannot_assess": 1})
    assert outcome.missing_share == 0.5


def test_samples_are_separate_calls_of_one_ruler(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(3))
        one = run(ledger, items, rubric(), server.spec(), ScoreSettings(samples=1))
        three = run(ledger, items, rubric(), server.spec(), ScoreSettings(samples=3))
    assert (one.sent, three.sent, three.scored) == (6, 12, 18)
    assert one.rulers == three.rulers


@pytest.mark.parametrize(
    ("behaviour", "mode", "refused"),
    [
        (Behaviour(json_schema_support=False), "json_object", []),
        (Behaviour(json_schema_support=False, json_object_support=False), "text", []),
        (Behaviour(reject_parameters=["temperature"]), "json_schema", ["temperature=0.7"]),
        (Behaviour(reject_parameters=["max_tokens"]), "json_schema", ["max_tokens"]),
    ],
)
def test_the_fallback_ladder_is_climbed_down_once_and_remembered(
    tmp_path: Path, behaviour: Behaviour, mode: str, refused: list[str]
) -> None:
    with ChatServer(behaviour) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(4))
        first = run(ledger, items, rubric(), server.spec())
        stats = server.stats()
        second = run(ledger, items, rubric(), server.spec())
    assert (first.scored, first.progress.open, second.sent) == (8, 0, 0)
    assert stats["completed"] == 8
    known: Any = ledger.capabilities(server.spec())
    assert known == {"output_mode": mode, "refused": refused}


def test_a_server_that_rejects_everything_is_reported(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"bad_request": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(20))
        with pytest.raises(EndpointError, match="rejects every request"):
            run(ledger, items, rubric(), server.spec())
    assert len(ledger.verdicts()) == 0


def test_the_model_under_test_is_never_named_to_the_judge(tmp_path: Path) -> None:
    with ChatServer(Behaviour(record_bodies=True)) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(2, ("secret-model-7b",)))
        run(ledger, items, rubric(), server.spec())
        sent = json.dumps(server.log())
    assert "secret-model-7b" not in sent
    assert "What is 0 + 1?" in sent


def test_a_reworded_question_is_judged_anew_and_going_back_is_free(tmp_path: Path) -> None:
    ((answer, question),) = answers(1)
    reworded = replace(question, question="What is the sum of 0 and 1?")
    filed = replace(question, category="math")
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        runs = [
            run(ledger, stored_items(ledger, [(answer, put)]), rubric(), server.spec())
            for put in (question, reworded, question, filed)
        ]
    assert [outcome.sent for outcome in runs] == [2, 2, 0, 0], "a category reaches no judge"
    assert [outcome.scored for outcome in runs] == [2, 2, 2, 2]
    levels = []
    for outcome in runs:
        report = build_report(ledger, outcome.run, "equal", None)
        (shown,) = report["questions"]
        levels.append([verdict["levels"] for verdict in shown["answers"][0]["verdicts"]])
        assert report["run"]["open"] == 0
    assert levels[0] == levels[2] == levels[3]
    assert len(ledger.verdicts()) == 6


def test_prompts_that_a_server_rejects_never_cost_the_rest_of_the_plan(tmp_path: Path) -> None:
    """On a resume only rejected prompts are left; that must not look like a server without JSON."""
    behaviour = Behaviour(fault_once={"bad_request": 0.1}, once_attempts=10**6, seed=5)
    with ChatServer(behaviour) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(60))
        first = run(ledger, items, rubric(), server.spec())
        again = run(ledger, items, rubric(), server.spec())
    assert first.progress.open >= 6
    assert again.sent == again.progress.open == first.progress.open
    assert again.rulers == first.rulers
    assert "rejected by the server (400)" in again.progress.open_why


def test_a_rejected_repair_leaves_the_reason_of_the_first_reply(tmp_path: Path) -> None:
    with ChatServer(Behaviour(scripted=["empty_content", "bad_request"])) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(
            ledger, stored_items(ledger, answers(1)), rubric(criterion("tact")), server.spec()
        )
    assert outcome.unscored == Counter({"invalid": 1})


def test_what_the_ladder_gave_up_is_kept_only_if_the_rest_was_accepted(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"bad_request": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(20))
        with pytest.raises(EndpointError):
            run(ledger, items, rubric(), server.spec())
        assert ledger.capabilities(server.spec()) is None
        server.configure(Behaviour())
        mended = run(ledger, items, rubric(), server.spec())
    assert mended.scored == 40
    assert ledger.capabilities(server.spec()) == {"output_mode": "json_schema", "refused": []}


def test_a_parser_that_words_a_problem_in_another_way_finds_the_repairs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = judge.scoring._task

    def reworded(*given: Any) -> Any:
        parsed = parse_reply(*given)
        return replace(parsed, detail=parsed.detail and f"In other words: {parsed.detail}")

    with ChatServer(Behaviour(faults={"prose": 0.5})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(15))
        before = run(ledger, items, rubric(), server.spec())
        monkeypatch.setattr(judge.scoring._asking, "parse_reply", reworded)
        monkeypatch.setattr(task, "PARSER_VERSION", task.PARSER_VERSION + 1)
        after = run(ledger, items, rubric(), server.spec())
    assert before.repaired > 0
    assert after.sent == 0
    assert (after.scored, after.unscored) == (before.scored, before.unscored)


def test_tokens_of_repairs_and_of_unusable_replies_are_counted(tmp_path: Path) -> None:
    prices = Prices(prompt=1.0, cached=1.0, completion=1.0)
    with ChatServer(Behaviour(fault_once={"prose": 0.3, "empty_choices": 0.3})) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(
            ledger, stored_items(ledger, answers(20)), rubric(), server.spec(), prices=prices
        )
        completed = server.stats()["completed"]
    report = build_report(ledger, outcome.run, "equal", None)
    assert completed == outcome.sent > 50
    calls = len(all_calls(ledger))
    assert calls < completed, "some replies were unusable and are in no call"
    stored = sum(call.prompt_tokens or 0 for call in all_calls(ledger))
    assert report["run"]["tokens"]["prompt"] == stored < outcome.progress.prompt_tokens
    assert report["run"]["cost"] == pytest.approx(sum(c.cost or 0 for c in all_calls(ledger)))


def test_missing_samples_lower_the_coverage(tmp_path: Path) -> None:
    with ChatServer(Behaviour(scripted=["ok", "refusal", "refusal"] * 10)) as server:
        ledger = ledger_at(tmp_path)
        outcome = run(
            ledger, stored_items(ledger, answers(10)), rubric(criterion("tact")), server.spec(),
            ScoreSettings(samples=3), concurrency=1,
        )  # fmt: skip
    report = build_report(ledger, outcome.run, "equal", None)
    (tact,) = [entry for entry in report["estimates"] if entry["criterion"] == "tact"]
    assert (tact["n_answers"], tact["coverage"]) == (10, pytest.approx(1 / 3))
    assert tact["unscored"] == {"refused": 20}


def test_a_stop_sends_nothing_more_and_keeps_what_comes_back(tmp_path: Path) -> None:
    """A bad key while slow replies are on the wire: they come back and are kept."""
    script = ["ok"] * 3 + ["401"] + ["ok"] * 500
    with ChatServer(Behaviour(scripted=script, latency_s=0.3)) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(100))
        with pytest.raises(EndpointError):
            run(ledger, items, rubric(), server.spec(), concurrency=8, timeout_s=5.0)
        stats = server.stats()
    assert stats["requests"] <= 8 + 3
    assert len(all_calls(ledger)) == stats["completed"] == stats["requests"] - 1


def test_two_runs_that_retry_together_do_not_retry_each_other(tmp_path: Path) -> None:
    """A verdict that another process renewed after this run began is not tried again."""
    with ChatServer(Behaviour(faults={"refusal": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(2))
        run(ledger, items, rubric(), server.spec())
        spec = parse_spec(server.spec())
        settings = ScoreSettings(retry=frozenset({Reason.REFUSED}))
        mine = _start(_Plan(ledger, items, rubric(), spec, settings, None), Capabilities())
        run(ledger, items, rubric(), server.spec(), settings)
    known = mine.known(list(planned_units(items, rubric(), ScoreSettings())))
    assert known.jobs == []


def test_a_commit_that_fails_for_a_moment_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(20))
        append, failures = ledger.append, iter([True, True])

        def locked_at_first(**batch: Any) -> None:
            if batch.get("calls") and next(failures, False):
                raise LedgerError("locked")
            append(**batch)

        monkeypatch.setattr(ledger, "append", locked_at_first)
        outcome = run(ledger, items, rubric(), server.spec())
    assert (outcome.scored, outcome.sent) == (40, 40)
    assert len(all_calls(ledger)) == 40


def test_calls_outlive_a_ledger_that_fails_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run ends with the ledger's error; what was paid for is stored at the end all the same."""
    monkeypatch.setattr(judge.execution._writer, "_PAUSES_S", (0.01,))
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        items = stored_items(ledger, answers(10))
        append, failures = ledger.append, iter([True, True])

        def down_for_a_while(**batch: Any) -> None:
            if batch.get("calls") and next(failures, False):
                raise LedgerError("locked")
            append(**batch)

        monkeypatch.setattr(ledger, "append", down_for_a_while)
        with pytest.raises(LedgerError, match="locked"):
            run(ledger, items, rubric(), server.spec(), concurrency=4)
        paid = server.stats()["completed"]
        assert len(all_calls(ledger)) == paid > 0
        again = run(ledger, items, rubric(), server.spec())
        assert server.stats()["completed"] == 20
    assert (again.scored, again.sent) == (20, 20 - paid)


def test_one_prompt_over_the_limit_is_its_own_affair(tmp_path: Path) -> None:
    """A 400 that names max_tokens, on a resume with a proven server, changes no ruler."""
    with ChatServer(Behaviour()) as server:
        ledger = ledger_at(tmp_path)
        pairs = answers(6)
        first = run(ledger, stored_items(ledger, pairs[:5]), rubric(), server.spec())
        server.configure(Behaviour(reject_parameters=["max_tokens"]))
        again = run(ledger, stored_items(ledger, pairs), rubric(), server.spec())
    assert again.rulers == first.rulers
    assert (again.progress.from_ledger, again.scored, again.progress.open) == (10, 10, 2)


def test_a_stop_is_not_undone_by_the_ladder(tmp_path: Path) -> None:
    with ChatServer(Behaviour(json_schema_support=False)) as server:
        ledger = ledger_at(tmp_path)
        budget = Budget(1.0)
        outcome = run(
            ledger, stored_items(ledger, answers(5)), rubric(), server.spec(),
            budget=budget, budget_unit="tokens",
        )  # fmt: skip
        assert server.stats()["requests"] == 0
    assert "budget" in outcome.progress.stopped
    assert outcome.progress.open == 10
