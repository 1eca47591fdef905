"""Which run is meant, in which order its answers come, and runs that send nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from judge.endpoint import ChatEndpoint, parse_spec
from judge.errors import EndpointError, LedgerError
from judge.ledger import Ledger
from judge.records import Answer
from judge.report import build_summary
from judge.runs import in_order, scored_run
from judge.scoring import ScoreSettings
from tests.chat_server import Behaviour, ChatServer
from tests.support import answers, criterion, ledger_at, rubric, run, stored_items


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = ledger_at(tmp_path)
    yield opened
    opened.close()


def test_a_run_that_gave_nothing_hides_no_earlier_one(ledger: Ledger) -> None:
    items = stored_items(ledger, answers(2))
    with ChatServer(Behaviour()) as server:
        good = run(ledger, items, rubric(), server.spec())
        with pytest.raises(EndpointError):
            run(ledger, items, rubric(), f"{server.base_url}#nobody")
    newest = ledger.run()
    assert newest is not None
    assert newest.run != good.run
    assert scored_run(ledger, None).run == good.run
    assert scored_run(ledger, newest.run).run == newest.run


def test_without_any_verdict_the_newest_run_is_meant(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="no run yet"):
        scored_run(ledger, None)
    items = stored_items(ledger, answers(1))
    with ChatServer(Behaviour()) as server, pytest.raises(EndpointError):
        run(ledger, items, rubric(), f"{server.base_url}#nobody")
    newest = ledger.run()
    assert newest is not None
    assert scored_run(ledger, None).run == newest.run


def test_answers_are_put_in_the_order_of_their_questions(ledger: Ledger) -> None:
    names = ["q10", "q2", "b", "q1", "a7", "q2x"]
    for model in ("m", "n"):
        ledger.add_answers([Answer(question_id=n, model=model, answer="x") for n in names])
    ordered = [(r.answer.question_id, r.answer.model) for r in in_order(ledger.answers())]
    assert ordered == [
        (name, model) for name in ("a7", "b", "q1", "q2", "q2x", "q10") for model in ("m", "n")
    ]


def test_samples_that_are_missing_lower_the_coverage_of_the_overall_too(ledger: Ledger) -> None:
    items = stored_items(ledger, answers(4))
    tact = rubric(criterion("tact"))
    with ChatServer(Behaviour(scripted=["ok"] * 4 + ["refusal"] * 12)) as server:
        outcome = run(ledger, items, tact, server.spec(), ScoreSettings(samples=4), concurrency=1)
    estimates = build_summary(ledger, outcome.run, "equal", None)["estimates"]
    coverage = {entry["criterion"]: entry["coverage"] for entry in estimates}
    assert coverage["overall"] == pytest.approx(coverage["tact"])
    assert coverage["overall"] < 1


async def test_a_model_that_was_not_started_is_not_asked_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing to send needs no server; a request must never go to the SDK's default address."""
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    spec = replace(parse_spec("http://127.0.0.1:9/v1#m"), base_url=None)
    async with ChatEndpoint(spec) as endpoint:
        with pytest.raises(ValueError, match="not served anywhere"):
            await endpoint.complete(b"{}", 1)


def test_a_run_of_a_started_model_again_needs_no_server(ledger: Ledger) -> None:
    items = stored_items(ledger, answers(2))
    with ChatServer(Behaviour()) as server:
        spec = parse_spec(server.spec())
        first = run(ledger, items, rubric(), spec)
    again = run(ledger, items, rubric(), replace(spec, base_url=None, identity=spec.identity))
    assert (again.sent, again.scored) == (0, first.scored)
