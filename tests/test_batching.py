"""Batches: every call is paid once, whatever happens between here and the server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from judge.batching import BatchSettings, Cap, Stage, jobs_of, open_jobs, prefill
from judge.batching._results import Results, Settled
from judge.batching._server import state_of
from judge.canonical import digest
from judge.cli._batching import (
    BatchOptions,
    for_the_rest,
    pending_note,
    prefill_for_score,
    require_collected,
)
from judge.endpoint import ChatEndpoint, Prices, parse_spec, read_reply
from judge.errors import EndpointError, Incomplete, UsageError
from judge.ledger import BatchEvent, Ledger
from judge.records import Reason
from judge.scoring import Item, ScoreRun, ScoreSettings, score
from tests.batch_worker import SETTINGS, filled, no_proof, requests_of
from tests.chat_server import Behaviour, ChatServer
from tests.support import FAST, answers, ledger_at, rubric, run, stored_items

PRICES = Prices(prompt=2.0, cached=1.0, completion=8.0)
TEXT = Behaviour(replies="text")
QUICK = BatchOptions(poll_s=0.02, settle_s=0.2)


def statuses(ledger: Ledger, spec: str) -> list[str]:
    """What the ledger notes of batches, in order."""
    return [event.status for event in ledger.batch_events(parse_spec(spec).identity)]


def paid_once(server: ChatServer, calls: int) -> bool:
    """Whether so many bodies got a complete reply, each one."""
    per_key = server.stats()["per_key"]
    return len(per_key) == calls and set(per_key.values()) == {1}


def held(ledger: Ledger, count: int) -> int:
    """How many of the first calls the ledger holds."""
    return len(ledger.calls([request.key for request in requests_of(count)]))


@pytest.fixture(scope="module")
def shared() -> Any:
    with ChatServer(TEXT) as running:
        yield running


@pytest.fixture
def server(shared: ChatServer) -> ChatServer:
    shared.configure(TEXT)
    shared.reset()
    return shared


@pytest.fixture
def ledger(tmp_path: Path) -> Any:
    opened = ledger_at(tmp_path)
    yield opened
    opened.close()


def test_calls_come_back_under_their_keys_with_the_bodies_that_were_sent(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", record_bodies=True))
    requests = requests_of(30)
    account = filled(ledger, server.spec(), requests)
    assert (account.submitted, account.collected, account.pending) == (30, 30, 0)
    assert not account.failed and not account.strange
    calls = ledger.calls([request.key for request in requests])
    for request in requests:
        call = calls[request.key]
        assert (call.request, call.status_code, call.purpose) == (request.body, 200, "judge")
        assert read_reply(200, call.response).text
    assert sorted(json.dumps(entry["body"], sort_keys=True) for entry in server.log()) == sorted(
        json.dumps(json.loads(request.body), sort_keys=True) for request in requests
    )
    assert server.stats()["operations"]["create"] == 3, "12 lines a file"
    assert paid_once(server, 30)
    assert statuses(ledger, server.spec())[0] == "proved"
    again = filled(ledger, server.spec(), requests)
    assert (again.submitted, again.collected) == (0, 0)
    assert server.stats()["operations"]["create"] == 3


def test_replies_belong_to_their_requests_in_whatever_order_they_come(
    server: ChatServer, ledger: Ledger
) -> None:
    """A text reply is a function of the body, so that a swap would show."""
    requests = requests_of(20)
    filled(ledger, server.spec(), requests, max_lines=50)
    batched = ledger.calls([request.key for request in requests])

    async def live() -> list[str | None]:
        async with ChatEndpoint(parse_spec(server.spec()), retry=FAST) as endpoint:
            replies = [await endpoint.complete(request.body, 50) for request in requests]
        return [read_reply(200, reply.body).text for reply in replies]

    expected = asyncio.run(live())
    assert len(set(expected)) > 1
    got = [read_reply(200, batched[request.key].response).text for request in requests]
    assert got == expected


def test_files_are_cut_by_bytes_too(server: ChatServer, ledger: Ledger) -> None:
    requests = requests_of(10)
    line = len(requests[0].body) + 100
    account = filled(ledger, server.spec(), requests, max_bytes=3 * (line + 40), max_lines=100)
    assert account.collected == 10
    assert server.stats()["operations"]["upload"] >= 3


@pytest.mark.parametrize(
    "moment",
    [
        "after:intended", "before:prepared", "after:prepared", "before:uploaded", "after:uploaded",
        "before:submitted", "after:submitted", "before:append", "after:append", "after:collected",
    ],
)  # fmt: skip
def test_kill_9_at_every_stage_and_the_same_command_goes_on(
    moment: str, server: ChatServer, tmp_path: Path
) -> None:
    path = tmp_path / "killed.db"
    worker = [sys.executable, "-m", "tests.batch_worker", str(path), server.spec(), "20", moment]
    root = Path(__file__).resolve().parents[1]
    killed = subprocess.run(worker, cwd=root, capture_output=True, text=True, timeout=60)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    ledger = ledger_at(tmp_path, "killed.db")
    try:
        account = filled(ledger, server.spec(), requests_of(20))
        assert held(ledger, 20) == 20
        assert (account.pending, account.elsewhere, account.failed.total()) == (0, 0, 0)
        assert open_jobs(ledger, parse_spec(server.spec()).identity) == []
    finally:
        ledger.close()
    assert server.stats()["operations"]["create"] == 2
    assert paid_once(server, 20)


def test_a_lost_answer_to_a_submission_is_not_submitted_again(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", batch_script={"create": ["lost"]}))
    account = filled(ledger, server.spec(), requests_of(8))
    assert (account.submitted, account.collected) == (8, 8)
    assert server.stats()["operations"]["create"] == 1
    submitted = [e for e in ledger.batch_events(server.spec()) if e.status == "submitted"]
    assert [event.body["adopted"] for event in submitted] == [True]


def test_a_submission_that_never_arrived_is_sent_again(server: ChatServer, ledger: Ledger) -> None:
    server.configure(
        Behaviour(replies="text", batch_script={"upload": ["503"], "create": ["reset", "429"]})
    )
    account = filled(ledger, server.spec(), requests_of(8))
    assert account.collected == 8
    assert server.stats()["operations"]["create"] == 3
    assert paid_once(server, 8)


def test_a_submission_that_stays_unclear_is_looked_for_next_time(
    server: ChatServer, ledger: Ledger
) -> None:
    """Carried out, but neither its answer nor the list arrives; then the list does."""
    unclear = {"create": ["lost"], "list": ["ok"] + ["503"] * 50}
    server.configure(Behaviour(replies="text", batch_script=unclear))
    with pytest.raises(Incomplete, match="looks for it first"):
        filled(ledger, server.spec(), requests_of(8), max_attempts=2)
    assert statuses(ledger, server.spec())[-1] == "uploaded"
    server.configure(TEXT)
    account = filled(ledger, server.spec(), requests_of(8))
    assert (account.submitted, account.adopted, account.collected) == (0, 8, 8)
    assert server.stats()["operations"]["create"] == 1


def test_an_expired_batch_keeps_what_was_done_and_the_rest_goes_on(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", batch_outcome="expired", batch_done_share=0.6))
    account = filled(ledger, server.spec(), requests_of(10), rounds=1)
    assert (account.collected, dict(account.failed)) == (6, {"expired": 4})
    assert statuses(ledger, server.spec())[-1] == "expired"
    server.configure(TEXT)
    rest = filled(ledger, server.spec(), requests_of(10))
    assert (rest.submitted, rest.collected) == (4, 4)
    assert paid_once(server, 10)


def test_a_round_that_brings_nothing_is_the_last(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour(replies="text", batch_outcome="expired", batch_done_share=0.0))
    account = filled(ledger, server.spec(), requests_of(5), rounds=5)
    assert (account.rounds, account.submitted, account.collected) == (1, 5, 0)


def test_lines_that_fail_get_a_second_round(server: ChatServer, ledger: Ledger) -> None:
    """Faults are drawn per body and batch: the second round draws anew."""
    server.configure(Behaviour(replies="text", batch_faults={"429": 0.3}, seed=3))
    account = filled(ledger, server.spec(), requests_of(40), max_lines=40)
    first_round = account.submitted - 40
    assert first_round > 0 and account.rounds == 2
    assert account.failed["rate_limited"] == first_round + 40 - account.collected
    assert account.collected == held(ledger, 40)
    assert paid_once(server, account.collected)


def test_a_batch_that_is_refused_leaves_its_calls_open(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour(replies="text", batch_outcome="failed"))
    account = filled(ledger, server.spec(), requests_of(6))
    assert "token_limit_exceeded" in account.stopped
    assert (account.collected, account.rounds) == (0, 1)
    claim = ledger.claim({r.key: 0 for r in requests_of(6)}, "anybody", 1.0)
    assert len(claim.granted) == 6, "live calls need not wait for it"
    ledger.release("anybody")
    server.configure(TEXT)
    assert filled(ledger, server.spec(), requests_of(6)).collected == 6


KINDS = ("missing", "expired", "malformed", "duplicate", "alien", "429", "500", "context_length",
         "bad_request")  # fmt: skip


def test_lines_of_every_kind_are_counted_and_none_goes_astray(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", batch_faults=dict.fromkeys(KINDS, 0.08), seed=1))
    requests = requests_of(120)
    account = filled(ledger, server.spec(), requests, max_lines=120, rounds=1)
    assert set(account.failed) == {
        "missing", "expired", "rate_limited", "server_error", "rejected",
    }  # fmt: skip
    assert set(account.strange) == {"alien", "duplicate", "unreadable"}
    assert account.collected + account.failed.total() == 120
    # What was under another name, unreadable or absent is missing from its own place.
    assert account.failed["missing"] > account.strange["alien"] + account.strange["unreadable"]
    calls = ledger.calls([request.key for request in requests])
    assert len(calls) == account.collected
    final = [call for call in calls.values() if call.status_code == 400]
    assert final and all(
        read_reply(400, call.response).error_code == "context_length_exceeded" for call in final
    )
    for request in requests:
        if request.key in calls:
            assert calls[request.key].request == request.body
    assert open_jobs(ledger, server.spec()) == []


def test_a_clock_that_counts_otherwise_is_not_believed() -> None:
    state = state_of(
        {"id": "b", "status": "completed", "in_progress_at": 1_790_000_000_000, "completed_at": 1.5}
    )
    assert (state.began_at, state.ended_at) == (0, 0)


def test_result_lines_that_contradict_each_other_or_everything() -> None:
    good = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}

    def row(line: Any, body: Any = good, status: Any = 200) -> bytes:
        response = {"status_code": status, "body": body}
        return json.dumps({"custom_id": line, "response": response, "error": None}).encode()

    results = Results()
    lines = [
        row("a", {"choices": []}),
        row("a"),
        row("a", {**good, "id": "later"}),
        row("b", "text"),
        row("c", status="200"),
        row("d", {"choices": [{"message": {"content": "\ud800"}}], "usage": {"prompt_tokens": 3}}),
        row(7),
        row("nobody"),
        b"[1]",
        b"null",
        b"{",
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps({"custom_id": "e", "error": {"code": "content_filter"}}).encode(),
        json.dumps({"custom_id": "f"}).encode(),
        b"",
    ]
    results.read(b"\n".join(lines), {"a", "b", "c", "d", "e", "f", "g"})
    assert set(results.settled) == {"a", "d", "e"}
    assert b"later" not in results.settled["a"].body
    assert {line: failure.reason for line, failure in results.failed.items()} == dict.fromkeys(
        "bcf", "malformed"
    )
    assert results.strange == {"duplicate": 2, "alien": 2, "unreadable": 5}
    reply = results.settled["d"]
    assert isinstance(reply, Settled) and reply.usage.prompt_tokens == 3
    assert read_reply(200, reply.body).text == "\ud800"
    assert read_reply(400, results.settled["e"].body).error_code == "content_filter"


def test_costs_by_hand(server: ChatServer, ledger: Ledger) -> None:
    """Half the price of 2 and 8 USD per million prompt and reply tokens, 1 for cached ones."""
    requests = requests_of(9)
    account = filled(ledger, server.spec(), requests, PRICES, discount=0.5)
    usages = [
        json.loads(call.response)["usage"]
        for call in ledger.calls([request.key for request in requests]).values()
    ]
    prompt = sum(usage["prompt_tokens"] for usage in usages)
    cached = sum((u.get("prompt_tokens_details") or {}).get("cached_tokens", 0) for u in usages)
    completion = sum(usage["completion_tokens"] for usage in usages)
    assert (account.prompt_tokens, account.completion_tokens) == (prompt, completion)
    expected = 0.5 * (2 * (prompt - cached) + 1 * cached + 8 * completion) / 1e6
    assert account.cost == pytest.approx(expected, rel=1e-12)
    spending = ledger.spending([request.key for request in requests])
    assert spending["cost"] == pytest.approx(expected, rel=1e-12)
    assert account.unpriced == 0 and account.spent("tokens") == prompt + completion


def test_a_budget_is_held_by_the_worst_case_before_anything_is_sent(
    server: ChatServer, ledger: Ledger
) -> None:
    requests = requests_of(4)
    worst = sum(len(request.body) + 50 for request in requests)
    with pytest.raises(UsageError, match=f"{worst:,} tokens at most") as refused:
        filled(ledger, server.spec(), requests, cap=Cap(worst - 1, "tokens"))
    assert "Nothing was sent" in str(refused.value)
    assert set(server.stats()["operations"]) == {"list"} and server.stats()["requests"] == 0
    usd = 0.5 * sum(PRICES.cost(len(request.body), 0, 50) for request in requests)
    assert filled(
        ledger, server.spec(), requests, PRICES, cap=Cap(usd * 1.001, "USD"), discount=0.5
    ).collected == 4  # fmt: skip


def test_without_waiting_the_batch_is_submitted_and_found_again(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", batch_delay_s=1.0))
    first = filled(ledger, server.spec(), requests_of(6), wait=False)
    assert (first.submitted, first.pending, first.collected) == (6, 6, 0)
    note = pending_note(ledger, parse_spec(server.spec()))
    assert note.startswith("6 calls of ") and "--batch" in note
    second = filled(ledger, server.spec(), requests_of(6), wait=False)
    assert (second.submitted, second.adopted, second.pending) == (0, 6, 6)
    third = filled(ledger, server.spec(), requests_of(6))
    assert (third.submitted, third.collected) == (0, 6)
    assert pending_note(ledger, parse_spec(server.spec())) == ""
    assert server.stats()["operations"]["create"] == 1


def test_nobody_else_gets_the_calls_of_a_pending_batch(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour(replies="text", batch_delay_s=0.5))
    filled(ledger, server.spec(), requests_of(6), wait=False)
    wanted = {request.key: 0 for request in requests_of(6)}
    claim = ledger.claim(wanted, "a live run", 60)
    assert not claim.granted and not claim.finished
    filled(ledger, server.spec(), requests_of(6))
    assert ledger.claim(wanted, "a live run", 60).finished == set(wanted)


def test_calls_under_way_elsewhere_are_left_out(server: ChatServer, ledger: Ledger) -> None:
    requests = requests_of(6)
    ledger.claim({requests[0].key: 0}, "elsewhere|boot|1|1|x", 60)
    account = filled(ledger, server.spec(), requests)
    assert (account.submitted, account.elsewhere, account.collected) == (5, 1, 5)


def test_a_plan_that_overlaps_takes_its_part_and_leaves_the_rest(
    server: ChatServer, ledger: Ledger
) -> None:
    requests = requests_of(10)
    server.configure(Behaviour(replies="text", batch_delay_s=0.4))
    filled(ledger, server.spec(), requests, wait=False)
    part = filled(ledger, server.spec(), requests[:4])
    assert (part.submitted, part.collected) == (0, 4)
    (job,) = open_jobs(ledger, server.spec())
    assert job.left == 6
    rest = filled(ledger, server.spec(), requests)
    assert (rest.submitted, rest.collected) == (0, 6)
    assert open_jobs(ledger, server.spec()) == []
    assert server.stats()["operations"]["create"] == 1


def test_two_processes_with_one_plan_submit_it_once(server: ChatServer, tmp_path: Path) -> None:
    server.configure(Behaviour(replies="text", batch_delay_s=0.5))
    root = Path(__file__).resolve().parents[1]
    path = tmp_path / "shared.db"
    ledger_at(tmp_path, "shared.db").close()
    worker = [sys.executable, "-m", "tests.batch_worker", str(path), server.spec(), "20", "never"]
    both = [subprocess.Popen(worker, cwd=root, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    errors = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], errors
    assert server.stats()["operations"]["create"] == 2
    assert paid_once(server, 20)
    ledger = ledger_at(tmp_path, "shared.db")
    assert held(ledger, 20) == 20
    ledger.close()


def test_what_another_process_is_submitting_is_left_alone(
    server: ChatServer, ledger: Ledger
) -> None:
    """Its job looks like one that was cut short; whoever has the turn is alive."""
    spec = server.spec()
    turn = digest(["batches", parse_spec(spec).identity])
    other = "elsewhere|boot|1|1|x"
    ledger.claim({turn: 0}, other, 60)
    listed = ledger.add_document("batch", ["00-0"])
    for status, body in (
        ("intended", {}),
        ("prepared", {"lines": listed.hex(), "count": 1, "form": "f"}),
    ):
        ledger.add_batch_event(BatchEvent(batch="job", model=spec, status=status, body=body))

    async def impatient() -> None:
        settings = BatchSettings(**SETTINGS)
        work = prefill(
            ledger, parse_spec(spec), lambda: requests_of(3), prove=no_proof, settings=settings
        )
        await asyncio.wait_for(work, 0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    assert statuses(ledger, spec) == ["intended", "prepared"]
    ledger.release(other)
    assert filled(ledger, spec, requests_of(3)).collected == 3
    assert statuses(ledger, spec)[2] == "abandoned"


def test_a_process_that_stood_still_does_not_submit(server: ChatServer, ledger: Ledger) -> None:
    """While it hung in its upload, another took the turn over."""
    spec = parse_spec(server.spec())
    turn = digest(["batches", spec.identity])
    note = ledger.add_batch_event

    def hang(event: BatchEvent) -> None:
        note(event)
        if event.status == "prepared":
            for holder in ledger._all("SELECT owner FROM claims WHERE key = ?", [turn]):  # type: ignore[attr-defined]
                ledger.release(holder[0])
            ledger.claim({turn: 0}, "elsewhere|boot|1|1|x", 60)

    ledger.add_batch_event = hang  # type: ignore[method-assign]
    with pytest.raises(Incomplete, match="another one took over"):
        filled(ledger, spec, requests_of(3))
    assert "create" not in server.stats()["operations"]


def test_a_batch_that_the_server_does_not_know_is_not_paid_for_again(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", batch_delay_s=5.0))
    filled(ledger, server.spec(), requests_of(4), wait=False)
    server.reset()
    with pytest.raises(EndpointError, match="key and project"):
        filled(ledger, server.spec(), requests_of(4))
    assert server.stats()["operations"].get("create", 0) == 0


def test_results_that_are_gone_leave_their_calls_open(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour(replies="text", batch_script={"content": ["model_not_found"]}))
    account = filled(ledger, server.spec(), requests_of(4), rounds=1)
    assert (account.collected, dict(account.failed)) == (0, {"results gone": 4})


def test_a_silent_server_is_polled_on(server: ChatServer, ledger: Ledger) -> None:
    script = {"retrieve": ["503", "reset", "500", "429"], "content": ["503"]}
    server.configure(Behaviour(replies="text", batch_script=script))
    account = filled(ledger, server.spec(), requests_of(4))
    assert account.collected == 4
    assert server.stats()["operations"]["retrieve"] >= 6


def test_a_surplus_batch_of_the_same_job_is_cancelled(server: ChatServer, ledger: Ledger) -> None:
    """A first submission that was carried out late: the list shows it only after the second."""
    from judge.batching._server import BatchServer

    server.configure(Behaviour(replies="text", batch_delay_s=60.0))

    async def twice() -> list[Any]:
        spec = parse_spec(server.spec())
        async with BatchServer(spec, BatchSettings(settle_s=0.0)) as client:
            line = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":'
            data = line + requests_of(1)[0].body + b"}\n"
            file = await client.upload("x.jsonl", data)
            first, _ = await client.submit("job", file, "")
            second, _ = await client.submit("job", file, "")
            kept = await client.find("job")
            assert kept is not None
            return [first.id, kept.id, (await client.retrieve(second.id)).status]

    first, kept, other = asyncio.run(twice())
    assert kept == first
    assert other in ("cancelling", "cancelled")


def test_a_server_without_batches_is_named_before_anything_is_paid(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(replies="text", batch_script={"list": ["model_not_found"]}))

    async def prove() -> None:
        raise AssertionError("nothing is sent")

    with pytest.raises(EndpointError, match=r"no batches .* Leave --batch out"):
        filled(ledger, server.spec(), requests_of(4), prove=prove)
    assert server.stats()["requests"] == 0 and statuses(ledger, server.spec()) == []


def test_a_refused_submission_gives_its_calls_back(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour(replies="text", batch_script={"create": ["bad_request"]}))
    with pytest.raises(EndpointError, match="Nothing was submitted"):
        filled(ledger, server.spec(), requests_of(4))
    assert statuses(ledger, server.spec())[-1] == "abandoned"
    assert len(ledger.claim({r.key: 0 for r in requests_of(4)}, "live", 1.0).granted) == 4


def test_jobs_are_what_their_events_say() -> None:
    def event(name: str, status: str, **body: Any) -> BatchEvent:
        return BatchEvent(batch=name, model="m", status=status, body=body, at="2026-01-01")

    prepared = {"lines": "00", "count": 3, "form": "f"}
    jobs = jobs_of([
        event("", "proved", form="f"),
        event("a", "prepared", **prepared), event("a", "uploaded", file="x"),
        event("b", "intended"), event("b", "abandoned"),
        event("c", "prepared", **prepared), event("c", "submitted", batch="B", adopted=True),
        event("c", "expired", left=1, open="01", collected=1),
    ])  # fmt: skip
    assert {name: (job.stage, job.unsent, job.finished) for name, job in jobs.items()} == {
        "a": (Stage.UPLOADED, True, False),
        "b": (Stage.ABANDONED, False, True),
        "c": (Stage.EXPIRED, False, False),
    }
    assert (jobs["c"].batch, jobs["c"].failed) == ("B", ["01"])


# Through scoring: what `judge score --batch` does.


def scored(
    server: ChatServer,
    ledger: Ledger,
    items: list[Item],
    options: BatchOptions = QUICK,
    settings: ScoreSettings | None = None,
    **more: Any,
) -> tuple[Any, ScoreRun]:
    """Batches, then the run."""
    spec, settings = parse_spec(server.spec()), settings or ScoreSettings()

    def open_endpoint() -> ChatEndpoint:
        return ChatEndpoint(spec, concurrency=8, timeout_s=5, retry=FAST, prices=more.get("prices"))

    account = prefill_for_score(
        ledger, spec, items, rubric(), settings, None, open_endpoint=open_endpoint, options=options,
        **more,
    )  # fmt: skip
    require_collected({spec.identity: account})
    opener = for_the_rest(open_endpoint, options)
    outcome = score(ledger, items, rubric(), spec, settings, opener)
    return account, asyncio.run(outcome)


def test_the_call_that_goes_ahead_is_paid_at_the_live_price(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour())
    items = stored_items(ledger, answers(3))
    account, run = scored(
        server, ledger, items, replace(QUICK, discount=0.5), prices=PRICES, cap=(1e6, "tokens")
    )
    keys = ledger.verdicts()["call_key"].to_list()
    frame = ledger.call_frame(keys)
    full = [
        PRICES.cost(prompt, cached or 0, completion)
        for prompt, cached, completion in frame.select(
            "prompt_tokens", "cached_tokens", "completion_tokens"
        ).iter_rows()
    ]
    ratios = sorted(cost / listed for cost, listed in zip(frame["cost"], full, strict=True))
    assert ratios == pytest.approx([0.5] * 5 + [1.0])
    assert account.cost == pytest.approx(sum(frame["cost"]))
    assert (
        account.spent("tokens") == frame["prompt_tokens"].sum() + frame["completion_tokens"].sum()
    )
    assert account.ahead and run.sent == 0


def test_a_run_after_its_batch_sends_nothing(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour())
    items = stored_items(ledger, answers(8))
    account, run = scored(server, ledger, items)
    assert (account.submitted, account.collected) == (15, 15), "one call of 16 went ahead, live"
    assert (run.sent, run.scored, run.progress.open) == (0, 16, 0)
    assert server.stats()["requests"] == 1
    assert paid_once(server, 16)


def test_verdicts_are_the_same_as_live(server: ChatServer, ledger: Ledger, tmp_path: Path) -> None:
    server.configure(Behaviour(noise=0.5, seed=4))
    items = stored_items(ledger, answers(6))
    scored(server, ledger, items)
    other = ledger_at(tmp_path, "live.db")
    spec = parse_spec(server.spec())
    run(other, stored_items(other, answers(6)), rubric(), spec)
    names = ["question_id", "criterion", "ruler", "status", "level", "score", "rationale"]
    rows = [set(each.verdicts().select(names).iter_rows()) for each in (ledger, other)]
    other.close()
    assert rows[0] == rows[1] and len(rows[0]) == 12


def test_the_ladder_is_walked_live_before_a_batch(server: ChatServer, ledger: Ledger) -> None:
    """A batch of the wrong form would be refused line by line."""
    server.configure(
        Behaviour(json_schema_support=False, reject_parameters=["temperature"], record_bodies=True)
    )
    items = stored_items(ledger, answers(4))
    account, run = scored(server, ledger, items)
    assert (account.collected, run.sent, run.scored) == (7, 0, 8)
    lines = [entry["body"] for entry in server.log() if "batch" in entry]
    assert len(lines) == 7
    assert all(
        body["response_format"] == {"type": "json_object"} and "temperature" not in body
        for body in lines
    )
    before = server.stats()["requests"]
    more = stored_items(ledger, answers(6))
    scored(server, ledger, more)
    assert server.stats()["requests"] == before, "the form is known by now"


def test_what_a_batch_did_not_bring_is_left_open_or_sent_live(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(batch_faults={"429": 0.4}, seed=2))
    items = stored_items(ledger, answers(10))
    options = BatchOptions(poll_s=0.02, settle_s=0.2, rounds=1)
    account, run = scored(server, ledger, items, options)
    failed = account.failed["rate_limited"]
    assert 0 < failed == run.progress.open and run.sent == 0
    live = BatchOptions(poll_s=0.02, settle_s=0.2, rounds=1, rest="live")
    server.configure(Behaviour(batch_faults={"429": 1.0}))
    account, run = scored(server, ledger, items, live)
    assert (account.submitted, account.collected) == (failed, 0)
    assert (run.sent, run.progress.open, run.scored) == (failed, 0, 20)
    assert paid_once(server, 20)


def test_no_wait_ends_with_12_and_says_when_to_come_back(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(batch_delay_s=0.8))
    items = stored_items(ledger, answers(3))
    options = BatchOptions(poll_s=0.02, settle_s=0.2, wait=False)
    with pytest.raises(Incomplete, match=r"5 calls are in batches at .* same command") as left:
        scored(server, ledger, items, options)
    assert left.value.exit_code == 12
    time.sleep(0.9)
    account, run = scored(server, ledger, items, options)
    assert (account.adopted, account.collected, run.sent, run.scored) == (5, 5, 0, 6)


INTERRUPTED = """
import sys
from pathlib import Path
from judge.cli._batching import BatchOptions, prefill_for_score
from judge.endpoint import ChatEndpoint, parse_spec
from judge.records import Reason
from judge.scoring import ScoreSettings
from tests.support import answers, ledger_at, rubric, stored_items
ledger, spec = ledger_at(Path(sys.argv[1])), parse_spec(sys.argv[2])
prefill_for_score(ledger, spec, stored_items(ledger, answers(3)), rubric(), ScoreSettings(), None,
                  open_endpoint=lambda: ChatEndpoint(spec), options=BatchOptions(poll_s=0.05))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_the_batch_at_the_server(
    number: signal.Signals, server: ChatServer, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path), server.spec()]
    root = Path(__file__).resolve().parents[1]
    server.configure(Behaviour(batch_delay_s=3600))
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not server.stats()["operations"].get("retrieve") and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    error = process.communicate(timeout=30)[1]
    assert process.returncode == 130, error
    assert "goes on at the server" in error and "Traceback" not in error
    ledger = ledger_at(tmp_path)
    options = BatchOptions(poll_s=0.02, wait=False)
    with pytest.raises(Incomplete, match="5 calls are in batches"):
        scored(server, ledger, stored_items(ledger, answers(3)), options)
    ledger.close()
    operations = server.stats()["operations"]
    assert operations["create"] == 1 and "cancel" not in operations


def test_a_judge_without_a_server_has_no_batches(ledger: Ledger) -> None:
    spec = parse_spec("offline")
    with pytest.raises(UsageError, match="Leave --batch out"):
        prefill_for_score(
            ledger, spec, [], rubric(), ScoreSettings(), None,
            open_endpoint=lambda: ChatEndpoint(spec), options=QUICK,
        )  # fmt: skip


def test_calls_that_the_ledger_holds_are_never_put_into_a_batch(
    server: ChatServer, ledger: Ledger
) -> None:
    """Whatever the plan says: a plan can name a call that came in the meantime."""
    requests = requests_of(5)
    filled(ledger, server.spec(), requests[:3])
    account = filled(ledger, server.spec(), requests)
    assert (account.submitted, account.collected) == (2, 2)
    assert digest(["call", 0]) == requests[0].key
    assert paid_once(server, 5)


def test_an_unusable_reply_is_repaired_in_the_next_round(
    server: ChatServer, ledger: Ledger
) -> None:
    server.configure(Behaviour(batch_faults={"prose": 0.4}, seed=5))
    items = stored_items(ledger, answers(12))
    account, run = scored(server, ledger, items)
    repairs = account.submitted - 23
    assert repairs > 0 and account.rounds == 2
    assert (run.sent, run.progress.open) == (0, 0)
    assert 0 < run.repaired <= repairs
    frame = ledger.call_frame(ledger.verdicts()["call_key"].to_list())
    assert frame["parent"].drop_nulls().len() == repairs


def test_what_is_asked_again_on_purpose_is_asked_once(server: ChatServer, ledger: Ledger) -> None:
    server.configure(Behaviour(batch_faults={"refusal": 0.5}, seed=5))
    items = stored_items(ledger, answers(10))
    _, run = scored(server, ledger, items)
    refused = run.unscored["refused"]
    assert refused > 0
    server.configure(Behaviour(batch_faults={"refusal": 1.0}))
    again = ScoreSettings(retry=frozenset({Reason.REFUSED}))
    account, run = scored(server, ledger, items, settings=again)
    assert account.submitted == account.collected == refused == run.unscored["refused"]
    assert (run.sent, run.progress.open) == (0, 0)
    server.configure(Behaviour())
    account, run = scored(server, ledger, items, settings=again)
    assert (account.submitted, run.sent, run.scored) == (refused, 0, 20)
