"""The chat server that tests rely on does what it says, seen through the real OpenAI client."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion

from tests.chat_server import (
    CONTENT,
    FATAL,
    KINDS,
    REFUSED,
    TRANSPORT,
    Behaviour,
    ChatServer,
    body_key,
    expected_level,
)


@pytest.fixture(scope="module")
def shared() -> Iterator[ChatServer]:
    """One process for all tests that need no special end of it."""
    with ChatServer() as server:
        yield server


@pytest.fixture
def server(shared: ChatServer) -> ChatServer:
    """The shared server, well-behaved and with an empty record."""
    shared.configure(Behaviour())
    shared.reset()
    return shared


def body(text: str = "Judge this.", **more: Any) -> dict[str, Any]:
    """A request body."""
    return {"model": "judge", "messages": [{"role": "user", "content": text}], **more}


@asynccontextmanager
async def client(server: ChatServer, **more: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    """The client under which judges run, without its own retries."""
    options: dict[str, Any] = {"api_key": "right", "max_retries": 0, "timeout": 20.0, **more}
    transport = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=server.base_url, http_client=transport, **options
    ) as opened:
        yield opened


async def ask(server: ChatServer, request: dict[str, Any] | None = None, **more: Any) -> Any:
    """What the client makes of one request."""
    async with client(server, **more) as opened:
        return await opened.chat.completions.create(**(request or body()))


async def content(server: ChatServer, kind: str, request: dict[str, Any] | None = None) -> str:
    """The text of a reply of this kind."""
    server.configure(Behaviour(scripted=[kind]))
    reply = await ask(server, request)
    text = reply.choices[0].message.content
    assert isinstance(text, str)
    return text


@pytest.mark.asyncio
async def test_normal_reply_is_a_verdict_with_the_expected_level(server: ChatServer) -> None:
    server.configure(Behaviour(record_bodies=True))
    levels = set()
    for number in range(30):
        request = body(f"Question {number}.", temperature=0)
        reply = await ask(server, request)
        assert isinstance(reply, ChatCompletion)
        assert reply.object == "chat.completion" and reply.model == "judge"
        assert reply.choices[0].finish_reason == "stop"
        assert reply.usage is not None and reply.usage.prompt_tokens_details is not None
        assert reply.usage.prompt_tokens_details.cached_tokens is not None
        assert reply.usage.total_tokens == (
            reply.usage.prompt_tokens + reply.usage.completion_tokens
        )
        verdict = json.loads(reply.choices[0].message.content or "")
        assert list(verdict) == ["evidence", "rationale", "level"]
        assert verdict["evidence"] == []
        assert verdict["level"] == expected_level(request)
        levels.add(verdict["level"])
    assert levels == set(range(6))
    log = server.log()
    assert len(log) == 30
    assert all(entry["outcome"] == "ok" and entry["complete"] for entry in log)
    assert log[-1]["body"] == request
    assert log[-1]["key"] == body_key(request) == body_key(json.dumps(request).encode())
    assert expected_level(json.dumps(request).encode()) == expected_level(request)
    assert [entry["at"] for entry in log] == sorted(entry["at"] for entry in log)


@pytest.mark.asyncio
async def test_text_replies_and_models(server: ChatServer) -> None:
    server.configure(Behaviour(replies="text", models=("judge", "other")))
    reply = await ask(server, body() | {"model": "other"})
    assert reply.choices[0].message.content.startswith("Answer ")
    async with client(server) as opened:
        assert [model.id async for model in opened.models.list()] == ["judge", "other"]
    with pytest.raises(openai.NotFoundError) as caught:
        await ask(server, body() | {"model": "third"})
    assert caught.value.code == "model_not_found"
    assert server.stats()["refused"] == {"model": 1}
    assert server.spec("other") == f"http://127.0.0.1:{server.port}/v1#other"


@pytest.mark.asyncio
async def test_evidence(server: ChatServer) -> None:
    async def evidence(text: str) -> Any:
        reply = await ask(server, body(text))
        return json.loads(reply.choices[0].message.content)["evidence"]

    marked = "Rules.\n<<ANSWER-0af3>>\nThe “sky”\nis blue\n\n<</ANSWER-0af3>>\nGo."
    server.configure(Behaviour(evidence="quote"))
    assert await evidence(marked) == ["The “sky”\nis"]
    assert await evidence(marked.replace("</ANSWER-0af3", "</ANSWER-0af4")) == []
    assert await evidence("<<ANSWER-0a>>\n \n<</ANSWER-0a>>") == []
    assert await evidence("no marks") == []
    server.configure(Behaviour(evidence="fabricated"))
    (fabricated,) = await evidence(marked)
    assert fabricated not in marked
    server.configure(Behaviour())
    assert await evidence(marked) == []


STATUS: list[tuple[str, type[openai.APIStatusError], int, str | None]] = [
    ("429", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("429_date", openai.RateLimitError, 429, "rate_limit_exceeded"),
    ("500", openai.InternalServerError, 500, None),
    ("503", openai.InternalServerError, 503, None),
    ("408", openai.APIStatusError, 408, None),
    ("409", openai.ConflictError, 409, None),
    ("401", openai.AuthenticationError, 401, "invalid_api_key"),
    ("402", openai.APIStatusError, 402, None),
    ("403", openai.PermissionDeniedError, 403, "forbidden"),
    ("insufficient_quota", openai.RateLimitError, 429, "insufficient_quota"),
    ("model_not_found", openai.NotFoundError, 404, "model_not_found"),
    ("context_length", openai.BadRequestError, 400, "context_length_exceeded"),
    ("bad_request", openai.BadRequestError, 400, None),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("kind", "error", "status", "code"), STATUS)
async def test_error_statuses(
    server: ChatServer,
    kind: str,
    error: type[openai.APIStatusError],
    status: int,
    code: str | None,
) -> None:
    server.configure(Behaviour(scripted=[kind]))
    with pytest.raises(openai.APIStatusError) as caught:
        await ask(server)
    assert type(caught.value) is error
    assert caught.value.status_code == status
    assert caught.value.code == code
    stats = server.stats()
    assert stats["faults"] == {kind: 1}
    assert stats["completed"] == 0 and stats["per_key"] == {}
    assert isinstance(await ask(server), ChatCompletion)


@pytest.mark.asyncio
async def test_retry_after_headers(server: ChatServer) -> None:
    async def header(kind: str, **more: Any) -> str | None:
        server.configure(Behaviour(scripted=[kind], **more))
        with pytest.raises(openai.RateLimitError) as caught:
            await ask(server)
        value: str | None = caught.value.response.headers.get("Retry-After")
        return value

    assert await header("429") == "0.05"
    assert await header("429", retry_after=3) == "3"
    assert await header("429", retry_after=None) is None
    assert await header("insufficient_quota") is None
    before = time.time()
    date = await header("429_date", retry_after=5)
    assert date is not None and date.endswith("GMT")
    wait = parsedate_to_datetime(date).timestamp() - before
    assert 5 <= wait < 30


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", ["reset", "cut_body"])
async def test_broken_connections(server: ChatServer, kind: str) -> None:
    server.configure(Behaviour(scripted=[kind]))
    with pytest.raises(openai.APIConnectionError) as caught:
        await ask(server)
    assert not isinstance(caught.value, openai.APITimeoutError)
    stats = server.stats()
    assert stats["faults"] == {kind: 1}
    assert stats["completed"] == 0 and stats["abandoned"] == 0 and stats["in_flight"] == 0
    assert not server.log()[0]["complete"]


@pytest.mark.asyncio
async def test_broken_connections_leave_standard_error_clean(
    capfd: pytest.CaptureFixture[str],
) -> None:
    kinds = ["reset", "cut_body", "hang", "huge"]
    with ChatServer(Behaviour(scripted=kinds)) as server:
        for _ in kinds[:-1]:
            with pytest.raises(openai.APIConnectionError):
                await ask(server, timeout=0.5)
        await ask(server)
    assert capfd.readouterr().err == ""


def raw_request(server: ChatServer) -> bytes:
    """All that the server sends in answer to one request, until it closes the connection."""
    payload = json.dumps(body()).encode()
    received = b""
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s"
            % (len(payload), payload)
        )
        while part := connection.recv(65536):
            received += part
    return received


def test_reset_is_a_tcp_reset(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["reset"]))
    with pytest.raises(ConnectionResetError):
        raw_request(server)


def test_cut_body_announces_more_than_it_sends(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["cut_body"]))
    head, _, sent = raw_request(server).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    (length,) = (
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Le")
    )
    assert len(sent) == length // 2 > 0


@pytest.mark.asyncio
async def test_hang_times_out_and_ends_with_the_client(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["hang"]))
    with pytest.raises(openai.APITimeoutError):
        await ask(server, timeout=0.2)
    for _ in range(200):
        stats = server.stats()
        if not stats["in_flight"]:
            break
        await asyncio.sleep(0.02)
    assert stats["in_flight"] == 0
    assert stats["abandoned"] == 1 and stats["completed"] == 0
    assert stats["faults"] == {"hang": 1}
    server.configure(Behaviour(scripted=["hang"], hang_s=0.01))
    assert isinstance(await ask(server), ChatCompletion)
    assert list(server.stats()["per_key_good"].values()) == [1]


@pytest.mark.asyncio
async def test_slow_drip_is_a_good_reply_that_outlasts_read_timeouts(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["slow_drip"], drip_s=0.4))
    reply = await ask(server)
    assert json.loads(reply.choices[0].message.content)["level"] == expected_level(body())
    stats = server.stats()
    assert stats["faults"] == {"slow_drip": 1}
    assert stats["completed"] == 1 and stats["per_key_good"] == {body_key(body()): 1}


@pytest.mark.asyncio
async def test_envelopes_out_of_order(server: ChatServer) -> None:
    server.configure(
        Behaviour(scripted=["bad_envelope", "html", "empty_choices", "null_content", "refusal"])
    )
    with pytest.raises(json.JSONDecodeError):
        await ask(server)
    assert isinstance(await ask(server), str)
    reply = await ask(server)
    assert reply.choices == []
    reply = await ask(server)
    assert reply.choices[0].message.content is None
    assert reply.choices[0].message.refusal is None
    reply = await ask(server)
    assert reply.choices[0].message.content is None
    assert reply.choices[0].message.refusal
    assert reply.choices[0].finish_reason == "stop"
    stats = server.stats()
    assert stats["per_key"] == {body_key(body()): 5} and stats["completed"] == 5
    assert stats["per_key_good"] == {}


@pytest.mark.asyncio
async def test_text_around_a_verdict(server: ChatServer) -> None:
    level = expected_level(body())
    prose = await content(server, "prose")
    inner = prose[prose.index("{") : prose.rindex("}") + 1]
    assert json.loads(inner)["level"] == level
    assert not prose.startswith("{") and not prose.endswith("}")
    fenced = await content(server, "fenced")
    assert fenced.startswith("```json\n{") and fenced.endswith("}\n```")
    assert json.loads(fenced[8:-4])["level"] == level
    first, second = (await content(server, "two_objects")).split("\n")
    assert json.loads(first)["level"] == level != json.loads(second)["level"]
    pairs = json.loads(await content(server, "duplicate_key"), object_pairs_hook=list)
    levels = [value for key, value in pairs if key == "level"]
    assert len(levels) == 2 and levels[0] == level != levels[1]


@pytest.mark.asyncio
async def test_verdicts_out_of_order(server: ChatServer) -> None:
    async def verdict(kind: str) -> dict[str, Any]:
        loaded: dict[str, Any] = json.loads(await content(server, kind))
        return loaded

    level = expected_level(body())
    assert (await verdict("out_of_range"))["level"] == 9
    assert (await verdict("wrong_type"))["level"] == str(level)
    assert (await verdict("float_level"))["level"] == 3.5
    assert (await verdict("null_level"))["level"] is None
    nan = (await verdict("nan"))["level"]
    assert nan != nan
    assert "level" not in await verdict("missing_key")
    assert (await verdict("extra_key")).keys() == {"evidence", "rationale", "level", "confidence"}
    (fabricated,) = (await verdict("fabricated_evidence"))["evidence"]
    assert fabricated not in json.dumps(body())
    assert len((await verdict("huge"))["rationale"]) >= 1_000_000
    with pytest.raises(UnicodeEncodeError):
        (await verdict("lone_surrogate"))["rationale"].encode()
    assert await content(server, "empty_content") == ""
    with pytest.raises(json.JSONDecodeError):
        await verdict("truncated_json")
    with pytest.raises(RecursionError):
        await verdict("deep_nesting")


@pytest.mark.asyncio
async def test_finish_reasons(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["length", "content_filter", "truncated_json"]))
    choice = (await ask(server)).choices[0]
    assert choice.finish_reason == "length" and not choice.message.content.endswith("}")
    choice = (await ask(server)).choices[0]
    assert choice.finish_reason == "content_filter"
    choice = (await ask(server)).choices[0]
    assert choice.finish_reason == "stop" and not choice.message.content.endswith("}")


@pytest.mark.asyncio
async def test_what_the_server_can_be_told_not_to_support(server: ChatServer) -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "v", "schema": {"type": "object"}}}
    plain = {"type": "json_object"}
    assert isinstance(await ask(server, body(response_format=schema)), ChatCompletion)
    assert isinstance(await ask(server, body(response_format=plain)), ChatCompletion)
    server.configure(Behaviour(json_schema_support=False))
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(server, body(response_format=schema))
    assert caught.value.param == "response_format"
    assert isinstance(await ask(server, body(response_format=plain)), ChatCompletion)
    server.configure(Behaviour(json_object_support=False, reject_parameters=["seed"]))
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(server, body(response_format=plain))
    assert caught.value.param == "response_format"
    with pytest.raises(openai.BadRequestError) as caught:
        await ask(server, body(seed=1))
    assert caught.value.param == "seed" and caught.value.code == "unsupported_parameter"
    assert isinstance(await ask(server, body(temperature=0)), ChatCompletion)
    assert server.stats()["refused"] == {"json_schema": 1, "json_object": 1, "parameter": 1}


@pytest.mark.asyncio
async def test_api_key(server: ChatServer) -> None:
    server.configure(Behaviour(api_key="right"))
    assert isinstance(await ask(server), ChatCompletion)
    with pytest.raises(openai.AuthenticationError):
        await ask(server, api_key="wrong")
    async with client(server, api_key="wrong") as opened:
        with pytest.raises(openai.AuthenticationError):
            await opened.models.list()
    assert server.stats()["refused"] == {"api_key": 1}


@pytest.mark.asyncio
async def test_rate_limit(server: ChatServer) -> None:
    server.configure(Behaviour(rate_limit_rps=0.01, rate_limit_burst=3))
    async with client(server) as opened:
        replies = await asyncio.gather(
            *(opened.chat.completions.create(**body(str(n))) for n in range(8)),
            return_exceptions=True,
        )
    limited = [reply for reply in replies if isinstance(reply, openai.RateLimitError)]
    assert len(limited) == 5
    assert all(0 < float(error.response.headers["Retry-After"]) <= 100 for error in limited)
    stats = server.stats()
    assert stats["refused"] == {"rate_limit": 5} and stats["faults"] == {}
    assert sum(stats["per_key_attempts"].values()) == 3 == stats["completed"]


async def outcomes(server: ChatServer, bodies: list[dict[str, Any]], attempts: int) -> list[str]:
    """Send each body so often, several at a time; what the server says that each attempt got."""
    server.reset()
    async with client(server) as opened:
        for _ in range(attempts):
            await asyncio.gather(
                *(opened.chat.completions.create(**request) for request in bodies),
                return_exceptions=True,
            )
    log = [(entry["key"], entry["outcome"]) for entry in server.log()]
    return [f"{key}: {outcome}" for key, outcome in sorted(log, key=lambda row: row[0])]


@pytest.mark.asyncio
async def test_faults_repeat_and_each_attempt_is_drawn_anew(server: ChatServer) -> None:
    bodies = [body(str(number)) for number in range(40)]
    mixed = Behaviour(faults={"500": 0.3, "429": 0.2, "prose": 0.2}, seed=7)
    server.configure(mixed)
    first = await outcomes(server, bodies, 3)
    stats = server.stats()
    assert sum(stats["faults"].values()) + sum(stats["per_key_good"].values()) == 120
    assert set(stats["faults"]) == {"500", "429", "prose"}
    assert all(15 < count < 55 for count in stats["faults"].values())
    assert await outcomes(server, bodies[::-1], 3) == first
    with ChatServer(mixed) as other:
        assert await outcomes(other, bodies, 3) == first
    server.configure(Behaviour(faults=mixed.faults, seed=8))
    assert await outcomes(server, bodies, 3) != first
    by_key = [
        {row.split(": ")[1] for row in first[start : start + 3]} for start in range(0, 120, 3)
    ]
    assert any(len(drawn) > 1 for drawn in by_key)


@pytest.mark.asyncio
async def test_fault_once_spares_later_attempts(server: ChatServer) -> None:
    bodies = [body(str(number)) for number in range(40)]
    server.configure(Behaviour(fault_once={"500": 0.5}))
    await outcomes(server, bodies, 2)
    stats = server.stats()
    hit = stats["faults"]["500"]
    assert 8 < hit < 32
    log = server.log()
    assert {entry["outcome"] for entry in log[40:]} == {"ok"}
    assert sorted(stats["per_key"].values()) == [1] * hit + [2] * (40 - hit)
    server.configure(Behaviour(fault_once={"500": 1.0}, once_attempts=2))
    await outcomes(server, bodies[:1], 3)
    assert [entry["outcome"] for entry in server.log()] == ["500", "500", "ok"]


@pytest.mark.asyncio
async def test_script_then_normal_reset_restarts_it(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["500", "ok", "refusal"]))
    for _ in range(2):
        for number in range(5):
            try:
                await ask(server, body(str(number)))
            except openai.InternalServerError:
                assert number == 0
        assert [entry["outcome"] for entry in server.log()] == ["500", "ok", "refusal", "ok", "ok"]
        server.reset()
        stats = server.stats()
        assert stats["requests"] == 0 and stats["per_key"] == {} and server.log() == []


@pytest.mark.asyncio
async def test_latency_and_requests_in_flight(server: ChatServer) -> None:
    server.configure(Behaviour(latency_s=0.3, latency_jitter_s=0.05))
    started = time.monotonic()
    async with client(server) as opened:
        await asyncio.gather(*(opened.chat.completions.create(**body(str(n))) for n in range(6)))
    assert time.monotonic() - started >= 0.3
    stats = server.stats()
    assert stats["max_in_flight"] == 6 and stats["in_flight"] == 0


@pytest.mark.asyncio
async def test_a_reply_that_the_client_left_is_not_complete(server: ChatServer) -> None:
    server.configure(Behaviour(latency_s=5))
    with pytest.raises(openai.APITimeoutError):
        await ask(server, timeout=0.2)
    server.configure(Behaviour())
    await ask(server)
    await ask(server)
    stats = server.stats()
    assert stats["requests"] == 3 and stats["per_key_attempts"] == {body_key(body()): 3}
    assert stats["per_key"] == {body_key(body()): 2} == stats["per_key_good"]


def test_a_large_reply_counts_only_when_all_of_it_was_taken(server: ChatServer) -> None:
    server.configure(Behaviour(scripted=["huge", "huge"]))
    payload = json.dumps(body()).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(("127.0.0.1", server.port))
        connection.sendall(head % len(payload) + payload)
        assert connection.recv(1024).startswith(b"HTTP/1.1 200")
        time.sleep(0.1)
        stats = server.stats()
        assert stats["in_flight"] == 1
    for _ in range(200):
        stats = server.stats()
        if not stats["in_flight"]:
            break
        time.sleep(0.02)
    assert stats["abandoned"] == 1 and stats["completed"] == 0
    asyncio.run(ask(server))
    assert server.stats()["per_key"] == {body_key(body()): 1}


def test_behaviour_refuses_what_it_does_not_know() -> None:
    for wrong in (
        {"faults": {"504": 0.1}},
        {"scripted": ["oh"]},
        {"fault_once": {"500": 0.6, "503": 0.6}},
        {"evidence": "some"},
        {"replies": "poem"},
    ):
        with pytest.raises(ValueError):
            Behaviour(**wrong)
    assert KINDS == TRANSPORT | FATAL | REFUSED | CONTENT
    assert len(KINDS) == len(TRANSPORT) + len(FATAL) + len(REFUSED) + len(CONTENT)


@pytest.mark.asyncio
async def test_every_kind_is_served_and_counted(server: ChatServer) -> None:
    kinds = sorted(KINDS)
    server.configure(Behaviour(scripted=kinds, hang_s=0.01, drip_s=0.04))
    for _ in kinds:
        try:
            await ask(server)
        except (openai.APIError, json.JSONDecodeError):
            continue
    stats = server.stats()
    assert stats["faults"] == dict.fromkeys(kinds, 1)
    assert stats["requests"] == len(kinds) and stats["in_flight"] == 0


def listening(port: int) -> bool:
    """Whether anyone accepts connections there."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.asyncio
async def test_no_process_is_left_even_with_requests_in_flight() -> None:
    with ChatServer(Behaviour(faults={"hang": 1.0})) as server:
        assert server.process is not None
        pid = server.process.pid
        pending = asyncio.create_task(ask(server))
        while not server.stats()["in_flight"]:
            await asyncio.sleep(0.02)
    assert server.process.returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not listening(server.port)
    with pytest.raises(openai.APIConnectionError):
        await pending


@pytest.mark.asyncio
async def test_an_outage_keeps_the_port() -> None:
    with ChatServer() as server:
        port = server.port
        await ask(server)
        server.stop()
        with pytest.raises(openai.APIConnectionError):
            await ask(server)
        server.start()
        assert server.port == port
        await ask(server)
        assert server.stats()["requests"] == 1
    assert not listening(port)


def test_sigterm_ends_it() -> None:
    with ChatServer() as server:
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0


def test_it_does_not_outlive_a_killed_parent() -> None:
    code = (
        "import os, signal\n"
        "from tests.chat_server import ChatServer\n"
        "with ChatServer() as server:\n"
        "    print(server.port, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).resolve().parents[1]
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=root, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    with parent.stdout:
        port = int(parent.stdout.readline())
    assert parent.wait(10) == -signal.SIGKILL
    for _ in range(500):
        if not listening(port):
            break
        time.sleep(0.02)
    assert not listening(port)


def test_a_server_that_cannot_start_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    behaviour = Behaviour()
    behaviour.replies = "poem"
    with pytest.raises(RuntimeError), ChatServer(behaviour):
        pass
    assert "unknown replies" in capfd.readouterr().err
