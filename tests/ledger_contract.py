"""What every ledger promises, whichever database holds it.

A test module gives the fixture ``place`` and inherits from `LedgerContract`.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from judge.canonical import digest, text_hash
from judge.checks import Check
from judge.errors import LedgerError
from judge.ledger import BatchEvent, Ledger, Review, Run, SeriesEvent, open_ledger, this_owner
from judge.ledger._owner import _boot, _host
from judge.records import (
    Answer,
    Question,
    Rating,
    Reason,
    RequiredFact,
    ScoreKind,
    Status,
    Verdict,
)
from tests.ledger_workers import make_attempt, make_call, make_verdict

APPEND_ONLY = {
    "documents": "body", "answers": "answer", "calls": "response", "attempts": "detail",
    "verdicts": "rationale", "ratings": "note", "runs": "body", "run_answers": "question",
    "capabilities": "body", "batches": "body", "reviews": "note",
    "series_events": "body",
}  # fmt: skip
"""The append-only tables, each with a column that somebody might want to change."""
ROOT = Path(__file__).resolve().parents[1]

K1, K2, K3 = (digest(f"key {number}") for number in (1, 2, 3))
QUESTION = Question(
    question_id="q1",
    question="Why?",
    category="数学",
    required_facts=(RequiredFact(fact="because", keywords=("since", "as")),),
    checks=(Check(kind="language", criteria=("clarity",), parameters={"language": "zh"}),),
)
ANSWER = Answer(
    question_id="q1",
    model="m1",
    answer="Because — 因为 😀 'quoted' \\ ?%s",
    sample=1,
    occasion="2026-01-01",
    finish_reason="stop",
    usage={"prompt_tokens": 3},
    generation={"temperature": 0.5, "stop": ["é"]},
)
RATING = Rating(
    question_id="q1", model="m1", criterion="clarity", rater="ann", rating=2.5, scale_min=0,
    scale_max=5, sample=1, when="2026-01-02", note="fine",
)  # fmt: skip
RUN = Run(run="20260101T000000-abc", kind="score", body={"rulers": {"a": "b"}}, started_at="then")


@dataclass(frozen=True)
class Place:
    """Where a ledger is, and another program's way to it."""

    url: str
    sql: Callable[[str], list[tuple[Any, ...]]]
    """Runs SQL on a connection that knows nothing of Plumbline."""


@contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process of `tests.ledger_workers`; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger_workers", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def line(process: subprocess.Popen[str]) -> str:
    """The next line that a worker prints."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


def go(process: subprocess.Popen[str]) -> None:
    """Give a waiting worker the sign."""
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def fill(ledger: Ledger) -> None:
    """A row in every append-only table."""
    ids = ledger.add_answers([ANSWER], {"q1": QUESTION})
    ledger.append(calls=[make_call(K1)], attempts=[make_attempt(K1)], verdicts=[make_verdict(K1)])
    ledger.add_ratings([RATING])
    ledger.add_run(RUN, [(ids[0], QUESTION)])
    ledger.add_capabilities("m", {"tools": True})
    ledger.add_batch_event(BatchEvent(batch="b", model="m", status="submitted", body={}))
    ledger.add_review(Review(escalation=K1, decision="dismissed", reviewer="ann", note="fine"))
    ledger.add_series_event(SeriesEvent(series="s", kind="night", name="2026-01-01", body={}))


def levels(frame: pl.DataFrame) -> list[float | None]:
    """The levels of a verdict frame."""
    return frame["level"].to_list()


class LedgerContract:
    """Tests that every kind of ledger passes."""

    @pytest.fixture
    def ledger(self, place: Place) -> Iterator[Ledger]:
        """An open, empty ledger."""
        opened = open_ledger(place.url)
        yield opened
        opened.close()

    # Append-only

    @pytest.mark.parametrize("table", APPEND_ONLY)
    def test_nobody_updates_or_deletes(self, place: Place, ledger: Ledger, table: str) -> None:
        fill(ledger)
        before = place.sql(f"SELECT * FROM {table}")
        assert before
        column = APPEND_ONLY[table]
        for statement in (
            f"UPDATE {table} SET {column} = {column}",
            f"DELETE FROM {table}",
            f"DELETE FROM {table} WHERE {column} IS NOT NULL",
        ):
            with pytest.raises(Exception, match=f"{table} is append-only"):
                place.sql(statement)
        assert place.sql(f"SELECT * FROM {table}") == before

    # Calls

    def test_calls_come_back_as_they_were(self, ledger: Ledger) -> None:
        bare = make_call(
            K2, prompt_tokens=None, cached_tokens=None, completion_tokens=None, cost=None,
            response=bytes(range(256)) * 300, occasion="2026-01-01", purpose="answer", attempts=3,
        )  # fmt: skip
        ledger.append(calls=[make_call(K1), bare])
        assert ledger.calls([K1, K2, K3]) == {K1: make_call(K1), K2: bare}
        assert ledger.calls([]) == {}

    def test_a_call_is_kept_as_it_came_first(self, place: Place, ledger: Ledger) -> None:
        for response in (b"first", b"second"):
            ledger.append(calls=[make_call(K1, response=response)], verdicts=[make_verdict(K1)])
        assert ledger.calls([K1])[K1].response == b"first"
        assert place.sql("SELECT count(*) FROM calls") == [(1,)]
        assert place.sql("SELECT count(*) FROM verdicts") == [(1,)]

    def test_a_batch_may_hold_the_same_call_twice(self, ledger: Ledger) -> None:
        twice = [make_call(K1, prompt_tokens=None), make_call(K1, prompt_tokens=1)]
        ledger.append(calls=twice)
        assert ledger.spending([K1])["calls"] == 1

    def test_the_newest_generation_counts_and_the_others_stay(
        self, place: Place, ledger: Ledger
    ) -> None:
        for generation in (1, 0, 2):
            ledger.append(calls=[make_call(K1, generation, response=b"%d" % generation)])
        assert ledger.calls([K1])[K1].response == b"2"
        assert place.sql("SELECT count(*) FROM calls") == [(3,)]

    def test_spending_counts_every_generation_of_every_key_once(self, ledger: Ledger) -> None:
        ledger.append(
            calls=[
                make_call(K1),
                make_call(K1, 1, cost=0.5),
                make_call(K2, prompt_tokens=None, cost=None),
                make_call(K3),
            ]
        )
        # 10 + 10 prompt tokens, 3 times 4 cached ones, 3 times 2 generated ones, 0.25 + 0.5 USD
        assert ledger.spending([K1, K2, K1]) == {
            "calls": 3,
            "priced": 2,
            "prompt_tokens": 20,
            "cached_tokens": 12,
            "completion_tokens": 6,
            "cost": 0.75,
        }
        assert ledger.spending([])["calls"] == 0

    def test_any_number_of_keys(self, ledger: Ledger) -> None:
        keys = [digest(number) for number in range(35_000)]
        ledger.append(calls=[make_call(key) for key in keys[:500]])
        assert len(ledger.calls(keys)) == 500
        assert ledger.spending(keys)["calls"] == 500
        assert ledger.verdicts_of_calls(keys, 1) == {}
        claim = ledger.claim(dict.fromkeys(keys[:9_000], 0), "me", 60)
        assert claim.granted == set(keys[500:9_000])
        assert claim.finished == set(keys[:500])
        ledger.release("me", keys)
        assert len(ledger.claim(dict.fromkeys(keys[500:9_000], 0), "you", 60).granted) == 8_500

    @pytest.mark.parametrize("what", ["calls", "attempts", "verdicts"])
    def test_a_batch_is_stored_as_a_whole_or_not_at_all(
        self, place: Place, ledger: Ledger, what: str
    ) -> None:
        short = b"too short"
        batch: dict[str, list[Any]] = {
            "calls": [make_call(K1)],
            "attempts": [make_attempt(K1)],
            "verdicts": [make_verdict(K1)],
        }
        wrong = {"calls": make_call, "attempts": make_attempt, "verdicts": make_verdict}
        # Of another identity, so that it is not taken for the verdict that is there already.
        other = {"criterion": "tact"} if what == "verdicts" else {}
        batch[what] = [*batch[what], wrong[what](short, **other)]
        ledger.claim({K1: 0}, "me", 60)
        with pytest.raises(LedgerError, match="not what the ledger may hold"):
            ledger.append(**batch)
        for table in ("calls", "attempts", "verdicts"):
            assert place.sql(f"SELECT count(*) FROM {table}") == [(0,)]
        assert not ledger.claim({K1: 0}, "you", 60).granted, "the claim goes on"
        ledger.append(calls=[make_call(K1)])
        assert K1 in ledger.calls([K1])

    def test_attempts_are_all_kept(self, place: Place, ledger: Ledger) -> None:
        ledger.append(attempts=[make_attempt(K1), make_attempt(K1)])
        ledger.append(attempts=[make_attempt(K1, "a NUL \0 and half a \ud83d pair")])
        rows = place.sql("SELECT detail FROM attempts ORDER BY id")
        assert rows == [("HTTP 500",), ("HTTP 500",), ("a NUL \ufffd and half a ? pair",)]

    # Verdicts

    def test_verdicts_come_back_as_they_were(self, ledger: Ledger) -> None:
        stored = [
            make_verdict(K1, evidence=("“quoted”", "two\nlines"), repaired=True, detail="second"),
            replace(
                make_verdict(K1),
                verdict=Verdict(
                    question_id="q1", model="m1", criterion="tact", judge="j", ruler="r2",
                    status=Status.UNSCORED, reason=Reason.REFUSED, answer_hash=None, sample=2,
                    occasion="2026-01-01", scale_min=1, scale_max=10,
                ),
            ),
        ]  # fmt: skip
        ledger.append(verdicts=stored)
        found = ledger.verdicts_of_calls([K1, K2], 1)
        assert list(found) == [K1]
        assert sorted(found[K1], key=lambda row: row.verdict.criterion) == stored
        frame = ledger.verdicts().sort("criterion")
        first, second = frame.iter_rows(named=True)
        assert (first["level"], first["score"], first["repaired"]) == (3, 0.6, True)
        assert json.loads(first["evidence"]) == ["“quoted”", "two\nlines"]
        assert (second["status"], second["reason"]) == ("unscored", "refused")
        assert (second["level"], second["answer_hash"], second["scale_max"]) == (None, None, 10)
        assert frame["call_key"].to_list() == [K1, K1]

    def test_an_empty_ledger_has_frames_with_all_columns(self, ledger: Ledger) -> None:
        empty = ledger.verdicts()
        assert empty.is_empty()
        ledger.append(verdicts=[make_verdict(K1)])
        assert ledger.verdicts().schema == empty.schema
        ratings = ledger.ratings()
        assert ratings.is_empty()
        ledger.add_ratings([RATING])
        assert ledger.ratings().schema == ratings.schema

    def test_words_keep_all_but_what_a_database_cannot_hold(self, ledger: Ledger) -> None:
        verdict = make_verdict(K1, rationale="a\0b 因", evidence=("c\0d",), detail="\udc00")
        ledger.append(verdicts=[verdict])
        (row,) = ledger.verdicts().iter_rows(named=True)
        assert (row["rationale"], row["detail"]) == ("a\ufffdb 因", "?")
        assert json.loads(row["evidence"]) == ["c\0d"]

    def test_the_newest_generation_then_the_newest_parser_counts(self, ledger: Ledger) -> None:
        ledger.append(verdicts=[make_verdict(K1, generation=1, parser=1, level=1)])
        ledger.append(verdicts=[make_verdict(K1, generation=0, parser=9, level=2)])
        assert levels(ledger.verdicts()) == [1]
        ledger.append(verdicts=[make_verdict(K1, generation=1, parser=3, level=3)])
        ledger.append(verdicts=[make_verdict(K1, generation=1, parser=2, level=4)])
        assert levels(ledger.verdicts()) == [3]

    def test_each_answer_criterion_ruler_judge_sample_and_occasion_has_a_verdict(
        self, ledger: Ledger
    ) -> None:
        other = [
            {"question_id": "q2"}, {"model": "m2"}, {"answer_sample": 1},
            {"answer_hash": digest("other")}, {"answer_hash": None}, {"criterion": "tact"},
            {"ruler": "r2"}, {"judge": "j2"}, {"sample": 1}, {"occasion": "2026-01-01"},
        ]  # fmt: skip
        ledger.append(verdicts=[make_verdict(K1), *(make_verdict(K1, **more) for more in other)])
        assert len(ledger.verdicts()) == 1 + len(other)
        assert len(ledger.verdicts(rulers=["r2", "r3"])) == 1
        assert len(ledger.verdicts(rulers=[])) == 0
        assert len(ledger.verdicts(models=["m1"])) == len(other)
        assert len(ledger.verdicts(occasion="")) == len(other)
        assert len(ledger.verdicts(occasion="2026-01-01", models=["m1", "m2"])) == 1

    def test_a_reworded_question_gives_a_verdict_of_its_own(
        self, place: Place, ledger: Ledger
    ) -> None:
        for key, wording, level in ((K1, "one", 1), (K2, "another", 2)):
            made = make_verdict(key, level=level, question_hash=digest(wording))
            ledger.append(verdicts=[made])
        assert place.sql("SELECT count(*) FROM verdicts") == [(2,)]
        assert levels(ledger.verdicts()) == [1, 2]
        assert {
            key: len(found) for key, found in ledger.verdicts_of_calls([K1, K2], 1).items()
        } == {
            K1: 1,
            K2: 1,
        }

    def test_verdicts_of_calls_are_those_of_one_parser_and_the_newest_generation(
        self, ledger: Ledger
    ) -> None:
        ledger.append(
            verdicts=[
                make_verdict(K1, generation=1, parser=1, level=1),
                make_verdict(K1, generation=0, parser=1, level=2),
                make_verdict(K1, generation=1, parser=2, level=3),
                make_verdict(K1, generation=0, parser=1, level=4, criterion="tact"),
                make_verdict(None, parser=1, level=5),
            ]
        )
        found = ledger.verdicts_of_calls([K1], 1)[K1]
        assert {(row.verdict.criterion, row.verdict.level) for row in found} == {
            ("clarity", 1),
            ("tact", 4),
        }
        assert ledger.verdicts_of_calls([K1], 3) == {}

    def test_imported_verdicts_are_taken_once_and_never_changed(self, ledger: Ledger) -> None:
        first = [make_verdict(None, parser=0), make_verdict(None, parser=0, sample=1)]
        ledger.add_verdicts(first)
        ledger.add_verdicts(first)
        assert len(ledger.verdicts()) == 2
        changed = make_verdict(None, parser=0, level=4)
        with pytest.raises(LedgerError, match=r"another verdict by j on m1, q1, clarity.*Nothing"):
            ledger.add_verdicts([make_verdict(None, parser=0, model="new"), changed])
        assert levels(ledger.verdicts()) == [3, 3]
        with pytest.raises(LedgerError, match="another verdict"):
            ledger.add_verdicts([make_verdict(None, parser=0, model="m9", level=n) for n in (1, 2)])
        assert len(ledger.verdicts()) == 2

    # Answers, ratings, documents

    def test_answers_come_back_in_order_with_their_question(self, ledger: Ledger) -> None:
        bare = Answer(question_id="q2", model="m2", answer="")
        ids = ledger.add_answers([ANSWER, bare], {"q1": QUESTION})
        first, second = ledger.answers()
        assert (first.answer, first.question, first.answer_id) == (ANSWER, QUESTION, ids[0])
        assert (second.answer, second.question, second.answer_id) == (bare, None, ids[1])

    def test_answers_are_found_by_model_and_by_row(self, ledger: Ledger) -> None:
        answers = [replace(ANSWER, model=model) for model in ("m3", "m1", "m2")]
        ids = ledger.add_answers(answers)
        assert [row.answer.model for row in ledger.answers(["m2", "m3", "m9"])] == ["m3", "m2"]
        assert [row.answer.model for row in ledger.answers(ids=ids[1:])] == ["m1", "m2"]
        assert [row.answer_id for row in ledger.answers(["m1"], ids)] == [ids[1]]
        assert ledger.answers(ids=[]) == ledger.answers([]) == []
        assert ledger.answers(ids=list(range(10**6, 10**6 + 40_000))) == []

    def test_the_same_answer_again_is_the_same_row(self, ledger: Ledger) -> None:
        ids = ledger.add_answers([ANSWER, replace(ANSWER, sample=2)])
        again = ledger.add_answers([replace(ANSWER, sample=2), replace(ANSWER, sample=3), ANSWER])
        assert [again[0], again[2]] == [ids[1], ids[0]]
        assert len(ledger.answers()) == 3
        assert ledger.add_answers([]) == []

    def test_another_text_for_an_answer_is_refused_with_the_whole_batch(
        self, ledger: Ledger
    ) -> None:
        ledger.add_answers([ANSWER])
        changed = replace(ANSWER, answer="Something else")
        with pytest.raises(
            LedgerError,
            match=r"another answer of m1 to q1 \(sample 1, occasion 2026-01-01\).*Nothing",
        ):
            ledger.add_answers([replace(ANSWER, model="new"), changed], {"q1": QUESTION})
        assert [row.answer for row in ledger.answers()] == [ANSWER]
        twice = [replace(ANSWER, model="m9", answer=text) for text in "ab"]
        with pytest.raises(LedgerError, match="another answer of m9"):
            ledger.add_answers(twice)

    def test_ratings_are_taken_once_and_never_changed(self, ledger: Ledger) -> None:
        bob = replace(RATING, rater="bob", when=None, note=None, rating=3)
        ledger.add_ratings([RATING, bob])
        ledger.add_ratings([bob, RATING])
        assert ledger.ratings().rows() == [
            ("q1", "m1", 1, "clarity", "ann", 2.5, 0, 5, "2026-01-02", "fine"),
            ("q1", "m1", 1, "clarity", "bob", 3, 0, 5, None, None),
        ]
        with pytest.raises(LedgerError, match=r"by ann of m1 on q1, clarity \(2.5 on 0 to 5\)"):
            ledger.add_ratings([replace(RATING, rater="new"), replace(RATING, rating=4)])
        with pytest.raises(LedgerError, match="another rating"):
            ledger.add_ratings([replace(RATING, scale_max=7)])
        assert len(ledger.ratings()) == 2

    def test_a_rating_off_its_scale_is_an_error_not_a_loss(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError, match="not what the ledger may hold"):
            ledger.add_ratings([RATING, replace(RATING, rater="bob", rating=6)])
        assert ledger.ratings().is_empty()

    def test_documents_are_found_by_their_content(self, ledger: Ledger) -> None:
        body = {"b": [1, 2.5, None, True], "a": "因为 \0"}
        key = ledger.add_document("note", body)
        assert ledger.add_document("note", dict(reversed(body.items()))) == key
        assert ledger.add_document("other", body) != key
        assert ledger.document(key) == body
        with pytest.raises(LedgerError, match="holds no document"):
            ledger.document(K1)

    # Runs and capabilities

    def test_a_run_keeps_the_questions_as_they_were_used(self, ledger: Ledger) -> None:
        ids = ledger.add_answers([ANSWER, replace(ANSWER, sample=2)], {"q1": QUESTION})
        reworded = replace(QUESTION, question="Why, then?")
        ledger.add_run(RUN, [(ids[1], reworded), (ids[0], QUESTION)])
        assert ledger.run() == RUN
        assert [(row.answer_id, row.question) for row in ledger.run_answers(RUN.run)] == [
            (ids[0], QUESTION),
            (ids[1], reworded),
        ]
        assert ledger.run_answers("other") == []

    def test_runs_are_found_by_a_unique_prefix(self, ledger: Ledger) -> None:
        assert ledger.run() is None
        for name in ("ab", "abc", "abcd", "a%", "x_y"):
            ledger.add_run(replace(RUN, run=name), [])
        found = {wanted: ledger.run(wanted) for wanted in ("ab", "abcd", "a%", "x", None, "zz")}
        assert {wanted: run and run.run for wanted, run in found.items()} == {
            "ab": "ab", "abcd": "abcd", "a%": "a%", "x": "x_y", None: "x_y", "zz": None,
        }  # fmt: skip
        with pytest.raises(LedgerError, match="several runs begin with a"):
            ledger.run("a")

    def test_the_newest_run_of_a_kind(self, ledger: Ledger) -> None:
        ledger.add_run(RUN, [])
        ledger.add_run(replace(RUN, run="later", kind="pairwise"), [])
        assert ledger.run() == replace(RUN, run="later", kind="pairwise")
        ledger.add_run(replace(RUN, run="last", kind="panel"), [])
        assert [run.run for run in ledger.runs(["score", "panel"])] == ["last", RUN.run]
        assert ledger.runs(["other"]) == []

    def test_whether_a_ruler_has_verdicts(self, ledger: Ledger) -> None:
        stored = make_verdict(K1, occasion="night")
        ledger.append(verdicts=[stored])
        assert ledger.has_verdicts(["x", stored.verdict.ruler], "night")
        assert not ledger.has_verdicts([stored.verdict.ruler], "")
        assert not ledger.has_verdicts(["x"], "night")

    def test_a_run_is_recorded_once_and_only_with_answers_that_exist(
        self, place: Place, ledger: Ledger
    ) -> None:
        ledger.add_run(RUN, [])
        with pytest.raises(LedgerError, match=f"holds a run {RUN.run} already"):
            ledger.add_run(replace(RUN, body={}), [])
        with pytest.raises(LedgerError, match="not what the ledger may hold"):
            ledger.add_run(replace(RUN, run="new"), [(77, QUESTION)])
        assert ledger.run() == RUN
        assert place.sql("SELECT count(*) FROM documents") == [(0,)]

    def test_batch_events_come_back_in_order(self, ledger: Ledger) -> None:
        events = [
            BatchEvent(batch="b1", model="m", status=status, body={"keys": [K1.hex()], "é": n})
            for n, status in enumerate(("submitted", "collected"))
        ]
        for event in events:
            ledger.add_batch_event(event)
        ledger.add_batch_event(BatchEvent(batch="b2", model="other", status="submitted", body={}))
        held = ledger.batch_events("m")
        assert [replace(event, at="") for event in held] == events
        assert all(event.at for event in held)
        assert ledger.batch_events("nobody") == []

    def test_reviews_come_back_in_order(self, ledger: Ledger) -> None:
        reviews = [
            Review(escalation=K1, decision=decision, reviewer="ann", note="ü")
            for decision in ("dismissed", "confirmed", "confirmed")
        ]
        for review in reviews:
            ledger.add_review(review)
        assert [replace(review, at="") for review in ledger.reviews()] == reviews

    def test_what_happened_in_a_series_is_noted_once(self, ledger: Ledger) -> None:
        def event(series: str, name: str, value: object) -> SeriesEvent:
            return SeriesEvent(series=series, kind="night", name=name, body={"é": value})

        noted = [event("s", "2026-03-02", [1.5, None]), event("s", "2026-03-01", {"a": "b"})]
        for one in (*noted, event("other", "2026-03-01", 1), *noted):
            ledger.add_series_event(one)
        held = ledger.series_events("s")
        assert [replace(one, at="") for one in held] == noted
        assert all(one.at for one in held)
        with pytest.raises(LedgerError, match="holds another night 2026-03-01"):
            ledger.add_series_event(event("s", "2026-03-01", {"a": "c"}))
        assert ledger.series_events("s") == held
        assert [one.series for one in ledger.series_events()] == ["s", "s", "other"]
        assert ledger.series_events(kind="baseline") == []
        assert ledger.series_events("nobody") == []

    def test_the_kind_of_a_score_is_kept(self, ledger: Ledger) -> None:
        stored = make_verdict(K1)
        measured = replace(stored.verdict, kind=ScoreKind.LOGPROBS, allowed_mass=0.97, sd=0.125)
        ledger.append(verdicts=[replace(stored, verdict=measured)])
        row = ledger.verdicts().row(0, named=True)
        assert (row["kind"], row["allowed_mass"], row["sd"]) == ("logprobs", 0.97, 0.125)
        ((held,),) = ledger.verdicts_of_calls([K1], stored.parser).values()
        assert held.verdict == measured

    def test_the_facts_of_calls_come_with_their_follow_ups(self, ledger: Ledger) -> None:
        ledger.append(
            calls=[
                make_call(K1, cost=0.5),
                make_call(K1, generation=1, cost=None),
                make_call(K2, parent=K1, cost=0.25),
                make_call(K3, cost=9.0),
            ]
        )
        frame = ledger.call_frame([K1])
        assert sorted(frame["key"].to_list()) == sorted([K1, K1, K2])
        assert frame["cost"].sum() == 0.75
        assert frame["cost"].null_count() == 1
        assert "request" not in frame.columns
        assert ledger.call_frame([]).is_empty()

    def test_the_newest_capabilities_count(self, ledger: Ledger) -> None:
        assert ledger.capabilities("m") is None
        ledger.add_capabilities("m", {"schema": True})
        ledger.add_capabilities("m", {"schema": False})
        ledger.add_capabilities("m2", {"schema": True})
        assert ledger.capabilities("m") == {"schema": False}

    # Claims

    def test_a_claim_goes_to_one_owner(self, place: Place, ledger: Ledger) -> None:
        other = open_ledger(place.url)
        assert ledger.claim({K1: 0, K2: 0}, "me", 60).granted == {K1, K2}
        claim = other.claim({K2: 0, K3: 0}, "you", 60)
        assert (claim.granted, claim.finished) == ({K3}, frozenset())
        assert ledger.claim({K1: 0}, "me", 60).granted == {K1}, "asking again is no harm"
        assert ledger.claim({}, "me", 60).granted == frozenset()
        other.close()

    def test_a_lease_ends_and_can_be_extended(self, ledger: Ledger) -> None:
        assert ledger.claim({K1: 0, K2: 0}, "me", -1).granted == {K1, K2}
        assert ledger.claim({K1: 0}, "you", 60).granted == {K1}
        ledger.renew("me", 60)
        assert ledger.claim({K1: 0, K2: 0}, "she", 60).granted == frozenset()
        ledger.renew("you", -1)
        assert ledger.claim({K1: 0, K2: 0}, "she", 60).granted == {K1}

    def test_claims_are_given_back(self, ledger: Ledger) -> None:
        ledger.claim({K1: 0, K2: 0, K3: 0}, "me", 60)
        ledger.release("you")
        ledger.release("you", [K1])
        assert ledger.claim({K1: 0}, "she", 60).granted == frozenset()
        ledger.release("me", [K1])
        assert ledger.claim({K1: 0, K2: 0}, "she", 60).granted == {K1}
        ledger.release("me")
        assert ledger.claim({K2: 0, K3: 0}, "she", 60).granted == {K2, K3}
        ledger.release("she", [])
        assert ledger.claim({K2: 0}, "me", 60).granted == frozenset()

    def test_a_finished_call_is_never_granted(self, ledger: Ledger) -> None:
        ledger.append(calls=[make_call(K1, 1)])
        claim = ledger.claim({K1: 0, K2: 0}, "me", 60)
        assert (claim.granted, claim.finished) == ({K2}, {K1})
        assert ledger.claim({K1: 1}, "me", 60).finished == {K1}
        assert ledger.claim({K1: 2}, "me", 60).granted == {K1}

    def test_appending_a_call_ends_the_claim_on_it(self, ledger: Ledger) -> None:
        ledger.claim({K1: 0, K2: 0}, "me", 60)
        ledger.append(calls=[make_call(K1)], verdicts=[make_verdict(K2)])
        assert ledger.claim({K1: 1, K2: 0}, "you", 60).granted == {K1}

    def test_a_late_answer_to_an_old_try_does_not_end_the_claim_on_the_next(
        self, ledger: Ledger
    ) -> None:
        ledger.claim({K1: 0}, "slow", -1)
        assert ledger.claim({K1: 1}, "me", 60).granted == {K1}
        ledger.append(calls=[make_call(K1, 0)])
        assert ledger.claim({K1: 1}, "you", 60).granted == frozenset()

    def test_a_claim_is_taken_over_from_a_dead_process_but_not_from_a_live_one(
        self, place: Place, ledger: Ledger
    ) -> None:
        with worker("hold", place.url, K1.hex()) as process:
            assert line(process) == "1"
            assert not ledger.claim({K1: 0}, this_owner(), 60).granted
            process.send_signal(signal.SIGKILL)
            # Ended, but not collected: its number is still taken.
            os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
            assert ledger.claim({K1: 0}, this_owner(), 60).granted == {K1}

    def test_no_interleaving_grants_a_call_twice_or_a_finished_one(self, ledger: Ledger) -> None:
        class Claims(ClaimMachine):
            shared = ledger

        run_state_machine_as_test(
            Claims,
            settings=settings(
                max_examples=25,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )

    # Threads and processes

    def test_threads_share_a_ledger(self, ledger: Ledger) -> None:
        problems: list[Exception] = []

        def work(number: int) -> None:
            try:
                for n in range(20):
                    key = digest([number, n])
                    ledger.claim({key: 0}, f"thread {number}", 60)
                    ledger.append(calls=[make_call(key)], verdicts=[make_verdict(key, sample=n)])
                    assert key in ledger.calls([key])
                    ledger.verdicts()
            except Exception as error:
                problems.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert ledger.spending([digest([t, n]) for t in range(4) for n in range(20)])["calls"] == 80

    def test_processes_divide_the_work(self, place: Place, ledger: Ledger) -> None:
        total = 400
        arguments = [("compete", place.url, str(total), str(seed)) for seed in range(3)]
        with worker(*arguments[0]) as a, worker(*arguments[1]) as b, worker(*arguments[2]) as c:
            granted = [json.loads(line(process)) for process in (a, b, c)]
        keys = [digest(number) for number in range(total)]
        assert sorted(chain(*granted)) == sorted(key.hex() for key in keys), "each exactly once"
        assert ledger.spending(keys)["calls"] == total
        assert len(ledger.verdicts()) == total
        assert place.sql("SELECT count(*) FROM claims") == [(0,)]

    def test_processes_can_create_the_same_ledger_at_once(self, place: Place) -> None:
        arguments = ("create", place.url)
        with worker(*arguments) as a, worker(*arguments) as b, worker(*arguments) as c:
            processes = (a, b, c)
            assert [line(process) for process in processes] == ["ready"] * 3
            for process in processes:
                go(process)
            assert [line(process) for process in processes] == ["ok"] * 3
        assert place.sql("SELECT count(*) FROM documents") == [(3,)]

    # Opening and closing

    def test_a_ledger_is_not_created_by_those_who_only_read(self, place: Place) -> None:
        with pytest.raises(LedgerError, match="no ledger here yet"):
            open_ledger(place.url, create=False)
        open_ledger(place.url).close()
        open_ledger(place.url, create=False).close()

    def test_what_was_stored_is_there_after_reopening(self, place: Place, ledger: Ledger) -> None:
        fill(ledger)
        ledger.close()
        again = open_ledger(place.url)
        with pytest.raises(LedgerError, match="holds a run"):
            fill(again)
        assert levels(again.verdicts()) == [3]
        again.close()
        again.close()

    def test_an_answer_is_bound_by_the_hash_of_its_text(self, place: Place, ledger: Ledger) -> None:
        fill(ledger)
        ((stored,),) = place.sql("SELECT answer_hash FROM answers")
        assert bytes(stored) == text_hash(ANSWER.answer)

    @pytest.mark.parametrize("number", [0, 1, 2])
    def test_the_queries_of_the_documentation_run(
        self, place: Place, ledger: Ledger, number: int
    ) -> None:
        fill(ledger)
        queries = documented("sql")
        assert len(queries) == 3
        assert len(place.sql(queries[number])) == 1


def documented(language: str) -> list[str]:
    """The examples in a language on the ledger's page."""
    page = (ROOT / "docs" / "ledger.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)


class ClaimMachine(RuleBasedStateMachine):
    """Claims as a simple model has them, against a ledger that is shared by all examples."""

    shared: Ledger
    KEYS = st.integers(0, 3)
    GENERATIONS = st.integers(0, 1)
    OWNERS = st.sampled_from(["ann", "bob", "dead"])
    LEASES = st.sampled_from([3600.0, -1.0])

    def __init__(self) -> None:
        super().__init__()
        self.salt = uuid4().hex
        self.finished: dict[int, int] = {}
        self.held: dict[int, tuple[str, int, bool]] = {}

    def key(self, number: int) -> bytes:
        return digest([self.salt, number])

    def owner(self, name: str) -> str:
        """An owner of this example; "dead" is a process that no longer runs."""
        if name == "dead":
            return f"{_host()}|{_boot()}|{2**22 + 1}|1|{self.salt}"
        return f"{name} {self.salt}"

    @rule(wanted=st.dictionaries(KEYS, GENERATIONS, max_size=4), owner=OWNERS, lease=LEASES)
    def claim(self, wanted: dict[int, int], owner: str, lease: float) -> None:
        granted, finished = set(), set()
        for number, generation in wanted.items():
            holder, _, live = self.held.get(number, (owner, 0, False))
            takes = holder == owner or not live or holder == "dead"
            if self.finished.get(number, -1) >= generation:
                finished.add(number)
                if takes:
                    self.held.pop(number, None)
            elif takes:
                granted.add(number)
                self.held[number] = (owner, generation, lease > 0)
        items = list(wanted.items())
        random.shuffle(items)
        claim = self.shared.claim(
            {self.key(number): generation for number, generation in items},
            self.owner(owner),
            lease,
        )
        assert claim.granted == {self.key(number) for number in granted}
        assert claim.finished == {self.key(number) for number in finished}

    @rule(owner=OWNERS, lease=LEASES)
    def renew(self, owner: str, lease: float) -> None:
        for number, (holder, generation, _) in self.held.items():
            if holder == owner:
                self.held[number] = (holder, generation, lease > 0)
        self.shared.renew(self.owner(owner), lease)

    @rule(owner=OWNERS, numbers=st.none() | st.sets(KEYS))
    def release(self, owner: str, numbers: set[int] | None) -> None:
        for number in list(self.held):
            if self.held[number][0] == owner and (numbers is None or number in numbers):
                del self.held[number]
        keys = None if numbers is None else [self.key(number) for number in numbers]
        self.shared.release(self.owner(owner), keys)

    @rule(number=KEYS, generation=GENERATIONS)
    def append(self, number: int, generation: int) -> None:
        self.finished[number] = max(generation, self.finished.get(number, 0))
        if number in self.held and self.held[number][1] <= generation:
            del self.held[number]
        self.shared.append(calls=[make_call(self.key(number), generation)])
