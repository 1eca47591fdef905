"""Getting answers: every model the same way, nothing lost, nothing invented, nothing twice."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.answering import AnswerRun, AnswerSettings, answer, answer_workload
from judge.answering._generation import Provenance
from judge.answering._plan import AnswerUnit, answer_body, messages, unstructured
from judge.answering._task import AnsweringTask, storable
from judge.answering._thoughts import without_thoughts
from judge.checkpoints import chat_template
from judge.endpoint import (
    Budget,
    Capabilities,
    ChatEndpoint,
    Decoding,
    ModelSpec,
    RetryPolicy,
    parse_spec,
)
from judge.errors import EndpointError, UsageError
from judge.execution import Progress, writing
from judge.ledger import Call, Ledger
from judge.records import Answer, Question
from tests.chat_server import Behaviour, ChatServer
from tests.support import FAST, json_of, judge_command, ledger_at

TRANSPORT_FAULTS = (
    "429", "429_date", "500", "503", "408", "409", "reset", "cut_body", "bad_envelope",
    "empty_choices",
)  # fmt: skip
PROSE = Behaviour(replies="text")
MISSING = [name for name in ("torch", "transformers") if find_spec(name) is None]


def questions(count: int) -> list[Question]:
    """Distinct questions."""
    return [Question(question_id=f"q{n}", question=f"What is {n} + 1?") for n in range(count)]


def ask(
    ledger: Ledger,
    wanted: Sequence[Question],
    spec: str | ModelSpec,
    settings: AnswerSettings | None = None,
    **endpoint: Any,
) -> AnswerRun:
    """Get answers once, with quick retries unless said otherwise."""
    model = parse_spec(spec) if isinstance(spec, str) else spec
    options = {"concurrency": 16, "timeout_s": 2.0, "retry": FAST, **endpoint}
    return asyncio.run(
        answer(
            ledger,
            wanted,
            model,
            settings or AnswerSettings(name="m"),
            lambda: ChatEndpoint(model, **options),
        )
    )


def stored(ledger: Ledger) -> dict[tuple[str, int, str], Answer]:
    """All answers of a ledger by question, sample and name."""
    rows = [row.answer for row in ledger.answers()]
    return {(row.question_id, row.sample, row.model): row for row in rows}


def all_calls(ledger: Ledger) -> list[Call]:
    """Every call that the ledger holds."""
    rows = ledger._all("SELECT DISTINCT key FROM calls")  # type: ignore[attr-defined]
    return list(ledger.calls([row[0] for row in rows]).values())


def reply_of(call: Call) -> str:
    """The text of a stored reply."""
    text = json.loads(call.response)["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_every_question_gets_every_sample_with_the_text_as_it_came(tmp_path: Path) -> None:
    settings = AnswerSettings(name="m", samples=3, system="Be brief.")
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        outcome = ask(ledger, questions(4), server.spec(), settings)
    assert (outcome.answered, outcome.progress.open, outcome.sent) == (12, 0, 12)
    answers = stored(ledger)
    assert set(answers) == {(f"q{n}", sample, "m") for n in range(4) for sample in range(3)}
    replies = {}
    for call in all_calls(ledger):
        sent = json.loads(call.request)
        assert sent["messages"][0] == {"role": "system", "content": "Be brief."}
        assert (call.purpose, "response_format" in sent) == ("answer", False)
        replies[sent["messages"][1]["content"], call.sample] = reply_of(call)
    asked = {question.question_id: question.question for question in questions(4)}
    for (question_id, sample, _), given_answer in answers.items():
        assert given_answer.answer == replies[asked[question_id], sample]
        assert given_answer.finish_reason == "stop"
        assert given_answer.usage is not None
        assert given_answer.usage["completion_tokens"] > 0
    rows = ledger.answers()
    assert all(row.question == Question(question_id=row.answer.question_id,
                                        question=asked[row.answer.question_id])
               for row in rows)  # fmt: skip


def test_two_models_are_asked_in_requests_that_differ_in_nothing_but_the_model(
    tmp_path: Path,
) -> None:
    decoding = Decoding(temperature=0.3, top_p=0.9, max_tokens=99, seed=7)
    settings: dict[str, Any] = {"samples": 2, "system": "Be brief.", "stop": ("END",)}
    with ChatServer(Behaviour(replies="text", models=("base", "tuned"), record_bodies=True)) as s:
        ledger = ledger_at(tmp_path)
        for model in ("base", "tuned"):
            ask(
                ledger,
                questions(3),
                s.spec(model),
                AnswerSettings(name=model, decoding=decoding, **settings),
            )
        bodies: dict[str, list[str]] = {"base": [], "tuned": []}
        for entry in s.log():
            body = entry["body"]
            bodies[body.pop("model")].append(json.dumps(body, sort_keys=True))
    assert sorted(bodies["base"]) == sorted(bodies["tuned"])
    assert len(set(bodies["base"])) == 6
    sent = json.loads(bodies["base"][0])
    assert set(sent) == {"messages", "temperature", "top_p", "max_tokens", "seed", "stop"}
    generations = [
        {**given_answer.generation, "model": None}
        for (_, sample, _), given_answer in stored(ledger).items()
        if sample == 1 and given_answer.generation is not None
    ]
    assert len(generations) == 6
    assert all(generation == generations[0] for generation in generations)
    assert generations[0]["decoding"] == {
        "temperature": 0.3, "top_p": 0.9, "max_tokens": 99, "seed": 8, "stop": ["END"],
        "refused": [],
    }  # fmt: skip


def test_sample_j_is_sent_the_seed_plus_j(tmp_path: Path) -> None:
    settings = AnswerSettings(name="m", samples=3, decoding=Decoding(seed=40))
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        ask(ledger, questions(2), server.spec(), settings)
    sent = {(call.sample, json.loads(call.request)["seed"]) for call in all_calls(ledger)}
    assert sent == {(0, 40), (1, 41), (2, 42)}


def test_the_same_run_again_sends_nothing_and_more_samples_only_what_is_new(
    tmp_path: Path,
) -> None:
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        runs = [
            ask(ledger, questions(count), server.spec(), AnswerSettings(name="m", samples=samples))
            for count, samples in ((4, 2), (4, 2), (4, 3), (5, 3))
        ]
    assert [run.sent for run in runs] == [8, 0, 4, 3]
    assert [run.progress.from_ledger for run in runs] == [0, 8, 8, 12]
    assert all(run.answered == run.progress.planned for run in runs)


def test_an_occasion_is_a_new_measurement_under_the_same_name(tmp_path: Path) -> None:
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        for occasion in ("", "monday", "monday"):
            run = ask(ledger, questions(2), server.spec(), AnswerSettings(name="m",
                      occasion=occasion))  # fmt: skip
            assert run.sent == (0 if run.progress.from_ledger else 2)
    assert sorted(row.answer.occasion for row in ledger.answers()) == ["", "", "monday", "monday"]


def test_a_call_whose_answer_was_lost_is_read_again_for_nothing(tmp_path: Path) -> None:
    """What a kill between the two commits leaves: the call is there, the answer is not."""
    with ChatServer(PROSE) as server:
        whole, torn = ledger_at(tmp_path, "whole.db"), ledger_at(tmp_path, "torn.db")
        ask(whole, questions(5), server.spec())
        torn.append(calls=all_calls(whole))
        again = ask(torn, questions(5), server.spec())
    assert (again.sent, again.progress.from_ledger, again.answered) == (0, 5, 5)
    assert stored(torn) == stored(whole)


def test_where_another_process_was_first_its_call_gives_the_answer(tmp_path: Path) -> None:
    """A claim can run out while a machine sleeps; then two processes make one call."""
    first, second = ledger_at(tmp_path, "first.db"), ledger_at(tmp_path, "second.db")
    with ChatServer(PROSE) as server:
        ask(first, questions(1), server.spec())
    (kept,) = all_calls(first)
    body = json.loads(kept.response)
    body["choices"][0]["message"]["content"] = "Too late."
    late = replace(kept, response=json.dumps(body).encode())
    provenance = Provenance(parse_spec(server.spec()), AnswerSettings(name="m"), Capabilities())
    task = AnsweringTask(second, provenance, {}, AnswerRun(Progress(planned=1)))
    unit = AnswerUnit(questions(1)[0], 0)

    async def both() -> None:
        async with writing(second) as writer:
            executor: Any = SimpleNamespace(writer=writer)
            for call in (kept, late):
                await task.finish(task.request(unit), [unit], call, executor, True)

    asyncio.run(both())
    assert [row.answer.answer for row in second.answers()] == [reply_of(kept)] != ["Too late."]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"decoding": Decoding(temperature=0.2)}, "temperature was 0.7, now 0.2"),
        ({"decoding": Decoding(temperature=None)}, "temperature was 0.7, now not given"),
        ({"decoding": Decoding(max_tokens=64)}, "max_tokens was 2048, now 64"),
        ({"decoding": Decoding(seed=3)}, "seed was not given, now 3"),
        ({"decoding": Decoding(top_p=0.5)}, "top_p was not given, now 0.5"),
        ({"stop": ("X",)}, "stop was not given, now ['X']"),
        ({"system": "Be kind."}, "system was not given, now Be kind."),
        ({"strip_thinking": True}, "strip_thinking was False, now True"),
    ],
)
def test_other_settings_under_a_name_are_refused_before_anything_is_sent(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        ask(ledger, questions(2), server.spec())
        other = AnswerSettings(name="m", **changed)
        for wanted in (questions(2), [Question(question_id="new", question="New?")]):
            with pytest.raises(UsageError) as refused:
                ask(ledger, wanted, server.spec(), other)
            assert said in str(refused.value)
            assert "--name" in str(refused.value)
            assert "--occasion" in str(refused.value)
        assert server.stats()["requests"] == 2
        elsewhere = AnswerSettings(name="n", **changed)
        assert ask(ledger, questions(2), server.spec(), elsewhere).answered == 2


def test_another_model_imported_answers_and_a_reworded_question_are_refused(
    tmp_path: Path,
) -> None:
    reworded = [Question(question_id="q0", question="How much is 0 + 1?")]
    with ChatServer(Behaviour(replies="text", models=("judge", "other"))) as server:
        ledger = ledger_at(tmp_path)
        ask(ledger, questions(1), server.spec())
        ledger.add_answers([Answer(question_id="q0", model="hand", answer="One.")])
        with pytest.raises(UsageError, match=r"model was .*#judge, now .*#other"):
            ask(ledger, questions(1), server.spec("other"))
        with pytest.raises(UsageError, match=r"another wording of q0 .*What is .*How much"):
            ask(ledger, reworded, server.spec())
        with pytest.raises(UsageError, match="imported or made elsewhere"):
            ask(ledger, questions(1), server.spec(), AnswerSettings(name="hand"))
        assert server.stats()["requests"] == 1


@pytest.mark.parametrize("kind", TRANSPORT_FAULTS)
def test_outages_are_tried_again(tmp_path: Path, kind: str) -> None:
    faults = Behaviour(replies="text", fault_once={kind: 1.0}, once_attempts=2, retry_after=0.01)
    with ChatServer(faults) as server:
        ledger = ledger_at(tmp_path)
        patient = RetryPolicy(max_attempts=4, first_wait_s=0.01, longest_wait_s=0.02)
        outcome = ask(ledger, questions(2), server.spec(), retry=patient)
    assert (outcome.answered, outcome.progress.open, outcome.sent) == (2, 0, 6)
    assert {given_answer.answer[:7] for given_answer in stored(ledger).values()} == {"Answer "}


def test_a_reply_that_never_ends_is_a_time_out(tmp_path: Path) -> None:
    with ChatServer(Behaviour(replies="text", fault_once={"hang": 1.0}, hang_s=60)) as server:
        outcome = ask(ledger_at(tmp_path), questions(2), server.spec(), timeout_s=0.5)
    assert (outcome.answered, outcome.progress.open) == (2, 0)


def test_an_outage_that_does_not_end_leaves_answers_open_and_a_rerun_finishes(
    tmp_path: Path,
) -> None:
    with ChatServer(Behaviour(faults={"500": 1.0})) as server:
        ledger = ledger_at(tmp_path)
        down = ask(ledger, questions(3), server.spec())
        assert (down.progress.open, down.answered, stored(ledger)) == (3, 0, {})
        server.configure(PROSE)
        again = ask(ledger, questions(3), server.spec())
    assert (again.progress.open, again.answered) == (0, 3)


def test_a_bad_key_stops_the_run_with_all_work_kept(tmp_path: Path) -> None:
    script = Behaviour(replies="text", scripted=["ok"] * 5 + ["401"] * 100, latency_s=0.01)
    with ChatServer(script) as server:
        ledger = ledger_at(tmp_path)
        with pytest.raises(EndpointError):
            ask(ledger, questions(50), server.spec(), concurrency=2)
        assert len(all_calls(ledger)) == len(stored(ledger)) == 5
        server.configure(PROSE)
        again = ask(ledger, questions(50), server.spec())
    assert (again.answered, again.progress.from_ledger, again.sent) == (50, 5, 45)


def test_cut_off_filtered_refused_and_empty_replies_are_answers(tmp_path: Path) -> None:
    script = Behaviour(
        replies="text", scripted=["length", "content_filter", "refusal", "empty_content", "ok"]
    )
    with ChatServer(script) as server:
        ledger = ledger_at(tmp_path)
        outcome = ask(ledger, questions(5), server.spec(), concurrency=1)
    answers = [stored(ledger)[f"q{n}", 0, "m"] for n in range(5)]
    assert [a.finish_reason for a in answers] == [
        "length", "content_filter", "stop", "stop", "stop",
    ]  # fmt: skip
    assert answers[0].answer
    assert answers[2].answer == "I'm sorry, I can't help with that."
    assert answers[3].answer == ""
    assert (outcome.answered, outcome.truncated, outcome.filtered, outcome.empty) == (5, 1, 1, 1)
    assert not outcome.unscored


def test_a_prompt_beyond_the_context_window_has_no_answer_and_is_not_sent_again(
    tmp_path: Path,
) -> None:
    with ChatServer(Behaviour(replies="text", scripted=["context_length"])) as server:
        ledger = ledger_at(tmp_path)
        runs = [ask(ledger, questions(3), server.spec(), concurrency=1) for _ in range(2)]
    assert [dict(run.unscored) for run in runs] == [{"cannot_assess": 1}] * 2
    assert [(run.answered, run.sent) for run in runs] == [(2, 3), (2, 0)]
    assert runs[1].missing_share == pytest.approx(1 / 3)
    assert len(stored(ledger)) == 2


@pytest.mark.parametrize("refused", ["temperature", "seed", "top_p", "max_tokens"])
def test_a_refused_parameter_is_given_up_and_recorded(tmp_path: Path, refused: str) -> None:
    decoding = Decoding(temperature=0.3, top_p=0.9, max_tokens=99, seed=7)
    settings = AnswerSettings(name="m", samples=3, decoding=decoding)
    behaviour = Behaviour(replies="text", reject_parameters=[refused])
    with ChatServer(behaviour) as server:
        ledger = ledger_at(tmp_path)
        outcome = ask(ledger, questions(2), server.spec(), settings, concurrency=2)
        again = ask(ledger, questions(2), server.spec(), settings)
        more = ask(ledger, questions(3), server.spec(), settings, concurrency=2)
    assert (outcome.answered, again.sent, more.answered, more.sent) == (6, 0, 9, 3)
    assert len(outcome.given_up) == 1
    assert outcome.given_up[0].startswith(refused)
    for given_answer in stored(ledger).values():
        assert given_answer.generation is not None
        recorded = given_answer.generation["decoding"]
        assert refused not in recorded
        assert any(entry.startswith(refused) for entry in recorded["refused"])
    assert ("max_completion_tokens" in recorded) == (refused == "max_tokens")


def test_answering_proves_nothing_about_how_the_endpoint_judges(tmp_path: Path) -> None:
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        ask(ledger, questions(2), server.spec())
    assert ledger.capabilities(parse_spec(server.spec()).identity) is None


def test_a_server_that_rejects_everything_is_one_error_and_not_three_ladders(
    tmp_path: Path,
) -> None:
    with ChatServer(Behaviour(faults={"bad_request": 1.0})) as server:
        with pytest.raises(EndpointError, match="rejects every request"):
            ask(ledger_at(tmp_path), questions(20), server.spec(), concurrency=1)
        assert server.stats()["requests"] == 5


def test_a_budget_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        capped = ask(ledger, questions(30), server.spec(), concurrency=1, budget=Budget(2_300.0))
        assert "budget" in capped.progress.stopped
        assert 0 < capped.answered < 30
        rest = ask(ledger, questions(30), server.spec())
        assert server.stats()["requests"] == 30
    assert (rest.answered, rest.sent) == (30, 30 - capped.answered)


def test_the_workload_is_what_would_be_sent(tmp_path: Path) -> None:
    settings = AnswerSettings(name="m", samples=2)
    with ChatServer(PROSE) as server:
        ledger = ledger_at(tmp_path)
        spec = parse_spec(server.spec())
        before = answer_workload(ledger, questions(4), spec, settings)
        ask(ledger, questions(3), spec, settings)
        after = answer_workload(ledger, questions(4), spec, settings)
        assert server.stats()["requests"] == before.calls - after.calls == 6
    assert (before.planned, before.calls, after.planned, after.calls) == (8, 8, 8, 2)
    assert before.completion_tokens == 8 * 2048


# Reading a reply.


def read_text(
    message: dict[str, Any], *, strip_thinking: bool = False, finish: str = "stop"
) -> str:
    """The answer that a reply with this message gives."""
    spec = parse_spec("http://127.0.0.1:1/v1#m")
    settings = AnswerSettings(name="m", strip_thinking=strip_thinking)
    provenance = Provenance(spec, settings, unstructured(Capabilities()))
    task = AnsweringTask(None, provenance, {}, AnswerRun(Progress()))  # type: ignore[arg-type]
    unit = AnswerUnit(questions(1)[0], 0)
    request = task.request(unit)
    response = json.dumps({"choices": [{"message": message, "finish_reason": finish}]})
    call = Call(
        key=request.key, purpose="answer", model="m", sample=0, occasion="", request=request.body,
        response=response.encode(), status_code=200, prompt_tokens=None, cached_tokens=None,
        completion_tokens=None, cost=None, latency_s=0.1, attempts=1, started_at="",
    )  # fmt: skip
    reading = task.read(unit, call)
    assert reading.answer is not None
    assert reading.answer.usage == {}
    return reading.answer.answer


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_the_text_is_kept_to_the_last_character(text: str) -> None:
    assert read_text({"content": text}) == text


def test_what_no_ledger_can_hold_is_marked_and_nothing_else_is_touched() -> None:
    assert read_text({"content": "a\0b \ud800 c\ud83d\ude00"}) == "a\ufffdb \ufffd c\U0001f600"
    assert storable("plain \U0001f600\r\n ") == "plain \U0001f600\r\n "


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts_in_a_field_of_their_own_are_no_part_of_the_answer(field: str) -> None:
    assert read_text({"content": "42", field: "Six times seven."}) == "42"
    assert read_text({"content": None, field: "Six times"}, finish="length") == ""


@pytest.mark.parametrize(
    ("text", "answer_text"),
    [
        ("<think>Six times seven.</think>\n\n42", "42"),
        ("\n<think>\n\n</think>\n\n42 ", "42 "),
        ("Six times seven.</think>\n42", "42"),
        ("<think>Six times seven, which", ""),
        ("42", "42"),
        ("Write <think>x</think> like that.", "Write <think>x</think> like that."),
        ("<think>a</think>b</think>c", "b</think>c"),
        ("<thinking>no</thinking>42", "<thinking>no</thinking>42"),
        ("", ""),
    ],
)
def test_thoughts_inside_the_text_are_kept_unless_stripped(text: str, answer_text: str) -> None:
    assert read_text({"content": text}) == text
    assert read_text({"content": text}, strip_thinking=True) == answer_text
    assert without_thoughts(text) == answer_text


# Identity.


def test_a_key_holds_all_that_reaches_the_model_and_the_sample_and_the_occasion() -> None:
    spec = parse_spec("http://127.0.0.1:1/v1#m")
    base: dict[str, Any] = {"name": "m"}
    variants: list[tuple[ModelSpec, dict[str, Any], int]] = [
        (spec, base, 0),
        (spec, base, 1),
        (spec, {**base, "occasion": "x"}, 0),
        (spec, {**base, "system": ""}, 0),
        (spec, {**base, "system": "s"}, 0),
        (spec, {**base, "stop": ("a",)}, 0),
        (spec, {**base, "decoding": Decoding(seed=1)}, 0),
        (parse_spec("http://127.0.0.1:2/v1#m"), base, 0),
        (parse_spec("http://127.0.0.1:1/v1#n"), base, 0),
    ]
    keys = [key_of(*variant) for variant in variants]
    assert len(set(keys)) == len(keys)
    assert key_of(spec, {"name": "another", "strip_thinking": True}, 0) == keys[0], (
        "neither the name nor the reading reaches the model"
    )


def key_of(spec: ModelSpec, settings: dict[str, Any], sample: int) -> bytes:
    """The key of one unit."""
    provenance = Provenance(spec, AnswerSettings(**settings), unstructured(Capabilities()))
    task = AnsweringTask(None, provenance, {}, AnswerRun(Progress()))  # type: ignore[arg-type]
    return task.request(AnswerUnit(questions(1)[0], sample)).key


@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), system=st.booleans())
def test_a_question_is_put_as_it_is(text: str, system: bool) -> None:
    settings = AnswerSettings(name="m", system=text if system else None)
    conversation = messages(settings, text)
    assert [message["content"] for message in conversation] == [text] * (1 + system)
    body = answer_body(
        parse_spec("http://127.0.0.1:1/v1#m"), settings, Capabilities(), conversation, 0
    )
    assert body["messages"] == conversation


def tiny_model(folder: Path, template: str | None) -> Path:
    """A model's folder that nobody could run, but that has all its parts."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    header = b"{}"
    (folder / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    (folder / "tokenizer.json").write_text("{}")
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    return folder


def test_the_chat_template_of_a_model_of_ours_is_recorded_and_stored(tmp_path: Path) -> None:
    template = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{% endfor %}"
    chatty = tiny_model(tmp_path / "chatty", template)
    plain = tiny_model(tmp_path / "plain", None)
    assert chat_template(chatty) is not None
    with ChatServer(Behaviour(replies="text", models=(str(chatty), str(plain)))) as server:
        ledger = ledger_at(tmp_path)
        for folder in (chatty, plain):
            spec = parse_spec(f"hf:{folder}").served_at(server.base_url, "none")
            ask(ledger, questions(1), spec, AnswerSettings(name=folder.name))
    recorded = {
        name: given_answer.generation["chat_template"]
        for (_, _, name), given_answer in stored(ledger).items()
        if given_answer.generation is not None
    }
    assert {name: entry["source"] for name, entry in recorded.items()} == {
        "chatty": "tokenizer", "plain": "plain",
    }  # fmt: skip
    assert ledger.document(bytes.fromhex(recorded["chatty"]["document"])) == template
    assert "message" in ledger.document(bytes.fromhex(recorded["plain"]["document"]))
    (generation,) = {a.generation["endpoint"] for a in stored(ledger).values() if a.generation}
    assert generation == "hf", "the port of a server of ours is nobody's business"
    (chatty / "chat_template.jinja").write_text(template + " ")
    with pytest.raises(UsageError, match="chat_template was"):
        ask(ledger, questions(1), parse_spec(f"hf:{chatty}"), AnswerSettings(name="chatty"))


# The command.


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PLUMBLINE_LEDGER", "PLUMBLINE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def write_questions(folder: Path, count: int) -> str:
    path = folder / "set.json"
    about = {"domain": "general", "category": "fact", "language": "en"}
    entries = [
        {"question_id": q.question_id, "question": q.question, **about} for q in questions(count)
    ]
    path.write_text(json.dumps({"name": "set", "version": 1, "questions": entries}))
    return str(path)


def test_answer_two_models_score_them_and_report(tmp_path: Path) -> None:
    """The whole way through the console script, in one ledger, with several answer samples."""
    asked = write_questions(tmp_path, 3)
    with ChatServer(Behaviour(replies="auto", models=("base", "tuned", "judge"))) as server:
        for model in ("base", "tuned"):
            done = judge_command(
                "answer", "--model", server.spec(model), "--questions", asked, "--samples", "2",
                "--json", cwd=tmp_path,
            )  # fmt: skip
            run = json_of(done)["run"]
            assert (done.returncode, run["model"], run["scored"], run["sent"]) == (0, model, 6, 6)
            assert f"--models {model}" in done.stderr
        scored = judge_command(
            "score", "--judge", server.spec(), "--rubric", "communication", "--models",
            "base,tuned", "--questions", asked, "--json", cwd=tmp_path,
        )  # fmt: skip
        assert scored.returncode == 0, scored.stderr
        assert (json_of(scored)["run"]["planned"], json_of(scored)["run"]["open"]) == (96, 0)
        again = judge_command(
            "answer", "--model", server.spec("base"), "--questions", asked, "--samples", "2",
            "--json", cwd=tmp_path,
        )  # fmt: skip
        assert json_of(again)["run"]["sent"] == 0
    reported = judge_command("report", "--json", cwd=tmp_path)
    assert reported.returncode == 0, reported.stderr
    data = json.loads((tmp_path / json_of(reported)["report"]["json"]).read_text())
    assert data["models"] == ["base", "tuned"]
    assert [len(question["answers"]) for question in data["questions"]] == [4, 4, 4]
    overall = [entry for entry in data["estimates"] if entry["criterion"] == "overall"]
    assert [(entry["n_questions"], entry["n_answers"]) for entry in overall] == [(3, 6)] * 2


def test_an_exported_file_carries_how_the_answers_came_about_and_imports_again(
    tmp_path: Path,
) -> None:
    asked = write_questions(tmp_path, 2)
    with ChatServer(PROSE) as server:
        arguments = ("answer", "--model", server.spec(), "--questions", asked, "--name", "mine",
                     "--seed", "3", "--json")  # fmt: skip
        first = judge_command(*arguments, "--out", "a.csv", cwd=tmp_path)
        assert json_of(first)["export"] == {"kind": "answers", "rows": 2, "file": "a.csv"}
        imported = judge_command("import", "answers", "a.csv", "--ledger", "sqlite:///b.db",
                                 cwd=tmp_path)  # fmt: skip
        assert imported.returncode == 0, imported.stderr
        moved = judge_command(*arguments, "--ledger", "sqlite:///b.db", cwd=tmp_path)
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["question_id"] for row in rows] == ["q0", "q1"]
    assert json.loads(rows[0]["generation"])["decoding"]["seed"] == 3
    assert {row["finish_reason"] for row in rows} == {"stop"}
    assert (json_of(moved)["run"]["sent"], json_of(moved)["run"]["from_ledger"]) == (0, 2)


def test_answers_of_one_of_several_occasions_are_scored_through_a_file(tmp_path: Path) -> None:
    asked = write_questions(tmp_path, 1)
    with ChatServer(PROSE) as server:
        arguments = ["answer", "--model", server.spec(), "--questions", asked, "--occasion"]
        judge_command(*arguments, "monday", cwd=tmp_path)
        second = judge_command(*arguments, "tuesday", cwd=tmp_path)
        assert "--out FILE" in second.stderr
        third = judge_command(*arguments, "tuesday", "--out", "t.jsonl", cwd=tmp_path)
    assert "--answers t.jsonl" in third.stderr
    scored = judge_command(
        "score", "--judge", "offline", "--rubric", "communication", "--answers", "t.jsonl",
        "--max-unscored", "1", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert scored.returncode == 0, scored.stderr
    assert json_of(scored)["run"]["planned"] == 8


def test_a_dry_run_sends_and_stores_nothing(tmp_path: Path) -> None:
    with ChatServer(PROSE) as server:
        dry = judge_command(
            "answer", "--model", server.spec(), "--questions", "monetization", "--dry-run",
            "--limit", "7", "--price", "1,0.1,8", "--json", cwd=tmp_path,
        )  # fmt: skip
        assert server.stats()["requests"] == 0
    run = json_of(dry)["run"]
    assert (run["planned"], run["would_send"], run["sent"]) == (7, 7, 0)
    assert run["cost_at_most"] > 0
    assert not (tmp_path / "plumbline.db").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "offline"], "gives none"),
        (["--model", "http://h/v1#a,http://h/v1#b"], "one model per call"),
        (["--name", "a,b"], "--name"),
        (["--name", " m"], "--name"),
        (["--stop", ""], "--stop"),
        (["--system", "half a pair: \udcff"], "not valid UTF-8"),
        (["--temperature", "hot"], "--temperature"),
        (["--budget", "5USD"], "--price"),
        (["--out", "answers.txt"], "expected a file that ends in"),
        (["--out", "no/folder/a.csv"], "the folder does not exist"),
        (["--questions", "nowhere"], "no such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_opened(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    given_options = {"--model": "http://127.0.0.1:9/v1#m", "--questions": "monetization"}
    given_options |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    words = [word for pair in given_options.items() for word in pair]
    done = judge_command("answer", *words, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "plumbline.db").exists()


def test_cut_off_answers_thoughts_and_missing_ones_are_said_with_the_remedy(
    tmp_path: Path,
) -> None:
    asked = write_questions(tmp_path, 4)
    script = ["length", "context_length", "ok", "500"]
    with ChatServer(Behaviour(replies="text", scripted=script)) as server:
        done = judge_command(
            "answer", "--model", server.spec(), "--questions", asked, "--concurrency", "1",
            "--max-attempts", "1", "--json", cwd=tmp_path,
        )  # fmt: skip
    run = json_of(done)["run"]
    assert done.returncode == 12
    assert (run["scored"], run["truncated"], run["unscored"], run["open"]) == (
        2, 1, {"cannot_assess": 1}, 1,
    )  # fmt: skip
    for words in ("--max-tokens", "context window", "the same command goes on"):
        assert words in done.stderr


@pytest.mark.hf
@pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}: extra hf")
@pytest.mark.filterwarnings("default")
def test_a_model_on_this_machine_answers_and_is_not_started_for_nothing(tmp_path: Path) -> None:
    from tests.vllm.tiny_model import CHAT_TEMPLATE, make_tiny_model

    model = make_tiny_model(tmp_path / "model", length=512)
    asked = write_questions(tmp_path, 3)
    entries = json.loads(Path(asked).read_text())
    entries["questions"][2]["question"] = "What is this? " * 1000
    Path(asked).write_text(json.dumps(entries))
    arguments = ("answer", "--model", f"hf:{model}", "--questions", asked, "--name", "tiny",
                 "--samples", "2", "--max-tokens", "16", "--seed", "1", "--json")  # fmt: skip
    first = judge_command(*arguments, cwd=tmp_path)
    again = judge_command(*arguments, cwd=tmp_path)
    assert (first.returncode, again.returncode) == (12, 12), first.stderr + again.stderr
    run = json_of(first)["run"]
    assert (run["scored"], run["unscored"], run["open"]) == (4, {"cannot_assess": 2}, 0)
    assert (json_of(again)["run"]["sent"], json_of(again)["run"]["from_ledger"]) == (0, 6)
    assert "Starting" in first.stderr
    assert "Starting" not in again.stderr
    ledger = ledger_at(tmp_path, "plumbline.db")
    for row in ledger.answers():
        assert row.answer.generation is not None
        recorded = row.answer.generation["chat_template"]
        assert (recorded["source"], row.answer.generation["endpoint"]) == ("tokenizer", "hf")
        assert ledger.document(bytes.fromhex(recorded["document"])) == CHAT_TEMPLATE
    make_tiny_model(model, seed=1, length=512)
    retrained = judge_command(*arguments, cwd=tmp_path)
    assert retrained.returncode == 2
    assert "model was hf:" in retrained.stderr
