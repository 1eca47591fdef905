"""An OpenAI-compatible chat server on loopback, in its own process, that misbehaves on demand.

``python -m tests.chat_server --config JSON`` prints ``{"port": N}`` and serves until its standard
input closes or SIGTERM arrives. Tests use `ChatServer`; what the server does is a `Behaviour`.

Replies and faults are functions of the request body (and of how often it was sent), so that a run
repeats whatever the order in which its requests arrive. A reply is *complete* when it is an HTTP
200 that was written to its end: what a provider would bill for. There is no streaming, ``n`` is
ignored and no log-probabilities are given.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from email.utils import formatdate
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

import orjson
from aiohttp import web

OK = "ok"
LEVELS = 6
_ANSWER = re.compile(r"<<(ANSWER)-([0-9a-f]+)>>\n(.*?)\n<</ANSWER-\2>>", re.DOTALL)


class _Error(NamedTuple):
    status: int
    type: str
    code: str | None
    message: str
    param: str | None = None


_BAD = "invalid_request_error"
_ERRORS = {
    "429": _Error(429, "requests", "rate_limit_exceeded", "Rate limit reached."),
    "429_date": _Error(429, "requests", "rate_limit_exceeded", "Rate limit reached."),
    "500": _Error(500, "server_error", None, "The server had an error."),
    "503": _Error(503, "server_error", None, "The engine is overloaded."),
    "408": _Error(408, "timeout", None, "The request timed out."),
    "409": _Error(409, _BAD, None, "The resource is locked."),
    "401": _Error(401, _BAD, "invalid_api_key", "Incorrect API key provided."),
    "402": _Error(402, "insufficient_funds", None, "Payment required."),
    "403": _Error(403, _BAD, "forbidden", "This key may not use this model."),
    "insufficient_quota": _Error(
        429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota."
    ),
    "model_not_found": _Error(404, _BAD, "model_not_found", "The model does not exist.", "model"),
    "context_length": _Error(
        400, _BAD, "context_length_exceeded", "The maximum context length is exceeded.", "messages"
    ),
    "bad_request": _Error(400, _BAD, None, "The request is malformed."),
}
_Verdict = dict[str, Any]


def _text(verdict: _Verdict) -> str:
    return json.dumps(verdict, ensure_ascii=False)


def _deep(verdict: _Verdict) -> str:
    nested = "[" * 20_000 + "]" * 20_000
    return _text(verdict | {"evidence": "@"}).replace('"@"', nested, 1)


# The text of a reply whose envelope is in order, made from the verdict that would be right.
_CONTENT: dict[str, Callable[[_Verdict], str]] = {
    "prose": lambda v: f"This is my verdict:\n\n{_text(v)}\n\nI hope that this helps.",
    "fenced": lambda v: f"```json\n{_text(v)}\n```",
    "two_objects": lambda v: f"{_text(v)}\n{_text(v | {'level': (v['level'] + 1) % LEVELS})}",
    "duplicate_key": lambda v: f'{_text(v)[:-1]}, "level": {(v["level"] + 1) % LEVELS}}}',
    "out_of_range": lambda v: _text(v | {"level": 9}),
    "wrong_type": lambda v: _text(v | {"level": str(v["level"])}),
    "float_level": lambda v: _text(v | {"level": 3.5}),
    "nan": lambda v: _text(v | {"level": math.nan}),
    "null_level": lambda v: _text(v | {"level": None}),
    "lone_surrogate": lambda v: json.dumps(v | {"rationale": "half of a pair: \ud800."}),
    "truncated_json": lambda v: _text(v)[: len(_text(v)) // 2],
    "length": lambda v: _text(v)[: len(_text(v)) // 2],
    "content_filter": _text,
    "missing_key": lambda v: _text({key: v[key] for key in v if key != "level"}),
    "extra_key": lambda v: _text(v | {"confidence": 0.9}),
    "empty_content": lambda v: "",
    "fabricated_evidence": lambda v: _text(v | {"evidence": ["Words that nobody ever wrote."]}),
    "deep_nesting": _deep,
    "huge": lambda v: _text(v | {"rationale": "All of it is right. " * 50_000}),
}
_FINISH = {"length": "length", "content_filter": "content_filter"}
_NULL_CONTENT = frozenset({"refusal", "null_content"})
_ENVELOPES = frozenset({"bad_envelope", "html", "empty_choices"})
_ABORTED = frozenset({"reset", "cut_body"})
_SLOW = frozenset({"hang", "slow_drip"})

FATAL = frozenset({"401", "402", "403", "insufficient_quota", "model_not_found"})
REFUSED = frozenset({"context_length", "bad_request"})
TRANSPORT = (_ERRORS.keys() - FATAL - REFUSED) | _ABORTED | _SLOW | _ENVELOPES | {"null_content"}
CONTENT = _CONTENT.keys() | {"refusal"}
KINDS = TRANSPORT | FATAL | REFUSED | CONTENT


@dataclass(kw_only=True)
class Behaviour:
    """What the server does with chat requests.

    A request is first admitted or not: key, JSON, model, rate, then the parameters. An admitted
    one gets the next outcome of ``scripted`` ("ok" or a kind) while there is one. Otherwise
    ``fault_once`` (kind to probability) is drawn once per body and hits its first
    ``once_attempts`` attempts; otherwise ``faults`` is drawn anew for each attempt.

    Kinds: `TRANSPORT`, `FATAL` (no retry mends them), `REFUSED` (this request only), `CONTENT`.
    ``html`` is a 200 with a web page; ``slow_drip`` is a good reply spread over ``drip_s``;
    ``hang`` is a good reply after ``hang_s``; the level is missing in ``missing_key``; the verdict
    of ``content_filter`` looks whole.
    """

    latency_s: float = 0.0
    latency_jitter_s: float = 0.0
    """Each attempt adds a drawn share of this."""
    faults: dict[str, float] = field(default_factory=dict)
    fault_once: dict[str, float] = field(default_factory=dict)
    once_attempts: int = 1
    scripted: list[str] = field(default_factory=list)
    replies: str = "verdict"
    """Of a good reply: "verdict", or "text" (an answer in prose)."""
    evidence: str = "none"
    """"none", "quote" (the answer's first 12 characters) or "fabricated"."""
    seed: int = 0
    record_bodies: bool = False
    models: tuple[str, ...] = ("judge",)
    api_key: str | None = None
    json_schema_support: bool = True
    json_object_support: bool = True
    reject_parameters: list[str] = field(default_factory=list)
    rate_limit_rps: float | None = None
    rate_limit_burst: float | None = None
    """Requests that a rested limit lets through at once; None: those of one second."""
    retry_after: float | None = 0.05
    """Retry-After of "429" and "429_date" (whole seconds, rounded up); None: no header."""
    hang_s: float = 30.0
    drip_s: float = 2.0

    def __post_init__(self) -> None:
        """Refuse what the server does not know, before a test relies on it."""
        self.models = tuple(self.models)
        named = {*self.faults, *self.fault_once, *self.scripted} - {OK}
        if unknown := named - KINDS:
            raise ValueError(f"unknown kinds: {sorted(unknown)}")
        if self.replies not in {"verdict", "text"}:
            raise ValueError(f"unknown replies: {self.replies}")
        if self.evidence not in {"none", "quote", "fabricated"}:
            raise ValueError(f"unknown evidence: {self.evidence}")
        if any(sum(table.values()) > 1 + 1e-9 for table in (self.faults, self.fault_once)):
            raise ValueError("probabilities of more than 1")


def _canonical_key(body: object) -> str:
    return sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def body_key(body: dict[str, Any] | bytes) -> str:
    """The key under which the server counts a request body, whatever the order of its names."""
    return _canonical_key(orjson.loads(body) if isinstance(body, bytes) else body)


def expected_level(body: dict[str, Any] | bytes) -> int:
    """The level, 0..5, that every good verdict on this request body gives."""
    return _level(body_key(body))


def _level(key: str) -> int:
    return int(key[:12], 16) % LEVELS


def _draw(*parts: object) -> float:
    """A number in [0, 1) that depends on nothing but ``parts``."""
    digest = blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def _pick(table: dict[str, float], draw: float) -> str | None:
    """The kind of ``table`` on which the draw falls, if it falls on one."""
    for kind, probability in table.items():
        if draw < probability:
            return kind
        draw -= probability
    return None


def _quote(body: dict[str, Any]) -> list[str]:
    """The first characters of the answer that the last user message marks."""
    users = [m for m in body.get("messages", ()) if m.get("role") == "user"]
    content = users[-1].get("content") if users else ""
    if isinstance(content, list):
        content = "".join(part.get("text", "") for part in content)
    found = _ANSWER.search(content or "")
    return [found[3][:12]] if found and found[3].strip() else []


class _Record:
    """What happened since the last reset; a request counts where it arrived."""

    def __init__(self) -> None:
        self.requests = self.completed = self.abandoned = self.max_in_flight = 0
        self.faults: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.per_key_attempts: Counter[str] = Counter()
        self.per_key: Counter[str] = Counter()
        self.per_key_good: Counter[str] = Counter()
        self.log: list[dict[str, Any]] = []


class _Server:
    """The handler of every request, with the behaviour and the record of the moment."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.record = _Record()
        self.in_flight = 0
        self.configure(behaviour)

    def configure(self, behaviour: Behaviour) -> None:
        """Switch the behaviour; the record and the attempt numbers go on, the script restarts."""
        self.behaviour = behaviour
        self.script = iter(behaviour.scripted)
        rate = behaviour.rate_limit_rps or 0
        self.burst = behaviour.rate_limit_burst or max(1.0, rate)
        self.tokens, self.filled = self.burst, time.monotonic()

    def stats(self) -> dict[str, Any]:
        """The counts, as `ChatServer.stats` describes them."""
        counts = {name: value for name, value in vars(self.record).items() if name != "log"}
        return counts | {"in_flight": self.in_flight}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any kind."""
        match request.method, request.path:
            case "POST", "/v1/chat/completions":
                try:
                    return await self.chat(request)
                except ConnectionError:
                    return web.Response()  # nobody is there to get it
            case "GET", "/v1/models":
                if refusal := self.wrong_key(request):
                    return _error(refusal)
                rows = [{"id": m, "object": "model", "created": 0, "owned_by": "tests"}
                        for m in self.behaviour.models]  # fmt: skip
                return _json({"object": "list", "data": rows})
            case "GET", "/stats":
                return _json(self.stats())
            case "GET", "/log":
                return _json(self.record.log)
            case "POST", "/reset":
                self.record = _Record()
                self.configure(self.behaviour)
                return _json({})
            case "POST", "/configure":
                self.configure(Behaviour(**orjson.loads(await request.read())))
                return _json({})
        return _error(_Error(404, _BAD, "unknown_url", f"Unknown request URL: {request.path}"))

    async def chat(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one chat request, and keep account of it whatever becomes of it."""
        raw = await request.read()
        record, behaviour, at = self.record, self.behaviour, time.time()
        record.requests += 1
        self.in_flight += 1
        record.max_in_flight = max(record.max_in_flight, self.in_flight)
        entry: dict[str, Any] = {"key": None, "outcome": "unreadable", "at": at, "complete": False}
        record.log.append(entry)
        written = False
        try:
            try:
                body = orjson.loads(raw)
                key = entry["key"] = _canonical_key(body)
            except ValueError:
                body = key = None
            if behaviour.record_bodies:
                entry["body"] = body
            if refusal := self.refuse(request, body):
                entry["outcome"], error_reply = refusal
                record.refused[entry["outcome"]] += 1
                await _write(request, error_reply)
                written = True
                return error_reply
            assert key is not None
            attempt = record.per_key_attempts[key]
            record.per_key_attempts[key] += 1
            kind = entry["outcome"] = self.outcome(key, attempt)
            latency = behaviour.latency_s
            if behaviour.latency_jitter_s:
                drawn = _draw(behaviour.seed, key, attempt, "latency")
                latency += behaviour.latency_jitter_s * drawn
            if latency:
                await asyncio.sleep(latency)
            if kind != OK:
                record.faults[kind] += 1
            response = await _serve(request, behaviour, kind, body, key, attempt)
            written = True
            if response.status == 200:
                entry["complete"] = True
                record.completed += 1
                record.per_key[key] += 1
                if kind == OK or kind in _SLOW:
                    record.per_key_good[key] += 1
            return response
        finally:
            self.in_flight -= 1
            record.abandoned += not written and entry["outcome"] not in _ABORTED

    def outcome(self, key: str, attempt: int) -> str:
        """What an admitted request gets."""
        behaviour = self.behaviour
        if (scripted := next(self.script, None)) is not None:
            return scripted
        kind = None
        if behaviour.fault_once and attempt < behaviour.once_attempts:
            kind = _pick(behaviour.fault_once, _draw(behaviour.seed, key, "once"))
        if kind is None and behaviour.faults:
            kind = _pick(behaviour.faults, _draw(behaviour.seed, key, attempt))
        return kind or OK

    def wrong_key(self, request: web.BaseRequest) -> _Error | None:
        """The error for a request without the right API key."""
        wanted = self.behaviour.api_key
        if wanted is None or request.headers.get("Authorization") == f"Bearer {wanted}":
            return None
        return _ERRORS["401"]

    def refuse(self, request: web.BaseRequest, body: Any) -> tuple[str, web.Response] | None:
        """Why a request is not admitted, and the reply to it; None where it is."""
        behaviour = self.behaviour
        if error := self.wrong_key(request):
            return "api_key", _error(error)
        if not isinstance(body, dict):
            return "unreadable", _error(_Error(400, _BAD, None, "The body is no JSON object."))
        if body.get("model") not in behaviour.models:
            return "model", _error(_ERRORS["model_not_found"])
        if rate := behaviour.rate_limit_rps:
            now = time.monotonic()
            self.tokens = min(self.burst, self.tokens + (now - self.filled) * rate)
            self.filled = now
            if self.tokens < 1:
                return "rate_limit", _error(_ERRORS["429"], f"{(1 - self.tokens) / rate:.3f}")
            self.tokens -= 1
        wanted = str((body.get("response_format") or {}).get("type"))
        supported = {
            "json_schema": behaviour.json_schema_support,
            "json_object": behaviour.json_object_support,
        }
        if not supported.get(wanted, True):
            message = f"Invalid parameter: 'response_format' of type '{wanted}' is not supported."
            return wanted, _error(_Error(400, _BAD, None, message, "response_format"))
        for name in behaviour.reject_parameters:
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return "parameter", _error(
                    _Error(400, _BAD, "unsupported_parameter", message, name)
                )
        return None


def _json(value: object) -> web.Response:
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def _error(error: _Error, retry_after: str | None = None) -> web.Response:
    """An error reply of OpenAI's form."""
    response = _json({"error": {name: value for name, value in error._asdict().items()
                                if name != "status"}})  # fmt: skip
    response.set_status(error.status)
    if retry_after is not None:
        response.headers["Retry-After"] = retry_after
    return response


async def _write(request: web.BaseRequest, response: web.Response) -> None:
    """Write a reply until the kernel has all of it; ConnectionError where the client has left."""
    if transport := request.transport:
        transport.set_write_buffer_limits(0)
    await response.prepare(request)
    await response.write_eof()
    if request.transport is None:
        raise ConnectionResetError


async def _serve(
    request: web.BaseRequest, b: Behaviour, kind: str, body: dict[str, Any], key: str, attempt: int
) -> web.StreamResponse:
    """Write the reply that ``kind`` stands for, or break the connection (ConnectionError)."""
    if kind == "reset":
        _abort(request, rst=True)
    if kind == "hang":
        await asyncio.sleep(b.hang_s)
    if error := _ERRORS.get(kind):
        header = None
        if b.retry_after is not None and kind == "429":
            header = str(b.retry_after)
        elif b.retry_after is not None and kind == "429_date":
            header = formatdate(math.ceil(time.time() + b.retry_after), usegmt=True)
        response = _error(error, header)
    elif kind == "html":
        page = "<html><body>Please log in to the network.</body></html>"
        response = web.Response(text=page, content_type="text/html")
    elif kind == "bad_envelope":
        response = web.Response(text="upstream: no healthy", content_type="application/json")
    else:
        response = _json(_completion(b, kind, body, key, attempt))
    if kind in {"cut_body", "slow_drip"}:
        return await _write_slowly(request, response, b, kind)
    await _write(request, response)
    return response


async def _write_slowly(
    request: web.BaseRequest, whole: web.Response, b: Behaviour, kind: str
) -> web.StreamResponse:
    """Write half a reply and break off, or all of it in 40 pieces."""
    data = whole.body
    assert isinstance(data, bytes)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(data)
    await response.prepare(request)
    if kind == "cut_body":
        await response.write(data[: len(data) // 2])
        _abort(request)
    size = math.ceil(len(data) / 40)
    for start in range(0, len(data), size):
        await asyncio.sleep(b.drip_s / 40)
        await response.write(data[start : start + size])
    await response.write_eof()
    return response


def _abort(request: web.BaseRequest, *, rst: bool = False) -> None:
    """Drop the connection without a word: with RST, or with FIN after what was written."""
    if transport := request.transport:
        if rst:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    raise ConnectionResetError


def _completion(
    b: Behaviour, kind: str, body: dict[str, Any], key: str, attempt: int
) -> dict[str, Any]:
    """The envelope of a reply, as a chat.completion."""
    evidence = _quote(body) if b.evidence == "quote" else []
    if b.evidence == "fabricated":
        evidence = ["Words that nobody ever wrote."]
    rationale = f"Rationale {key[:12]}."
    verdict = {"evidence": evidence, "rationale": rationale, "level": _level(key)}
    content: str | None
    if kind in _NULL_CONTENT:
        content = None
    elif make := _CONTENT.get(kind):
        content = make(verdict)
    elif b.replies == "text":
        content = f"Answer {key[:12]}."
    else:
        content = orjson.dumps(verdict).decode()
    message = {"role": "assistant", "content": content, "refusal": None}
    if kind == "refusal":
        message["refusal"] = "I'm sorry, I can't help with that."
    prompt = sum(len(str(m.get("content"))) for m in body.get("messages", ())) // 4
    written = len(content or "") // 4
    choice = {"index": 0, "message": message, "finish_reason": _FINISH.get(kind, "stop")}
    return {
        "id": f"chatcmpl-{key[:16]}-{attempt}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [] if kind == "empty_choices" else [choice],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": written,
            "total_tokens": prompt + written,
            "prompt_tokens_details": {"cached_tokens": prompt // 4},
        },
    }


async def _run(behaviour: Behaviour, port: int) -> None:
    """Serve until standard input closes or a signal arrives."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)

    def watch() -> None:
        while os.read(0, 4096):
            pass
        loop.call_soon_threadsafe(stopped.set)

    def make(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
        size = 64 << 20
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=size)

    server = web.Server(
        _Server(behaviour).handle,
        request_factory=make,
        handler_cancellation=True,
        access_log=None,
        keepalive_timeout=600.0,
    )
    listener = await loop.create_server(server, "127.0.0.1", port, backlog=1024)
    # A large reply must not count as written while most of it waits in the kernel.
    listener.sockets[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    print(json.dumps({"port": listener.sockets[0].getsockname()[1]}), flush=True)
    threading.Thread(target=watch, daemon=True).start()
    await stopped.wait()
    listener.close()


class ChatServer:
    """The server in a process of its own, for the span of a ``with`` block.

    ``stop`` and ``start`` inside the block make an outage: the port stays, the record is lost.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def __enter__(self) -> ChatServer:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        options = ["--config", json.dumps(asdict(self.behaviour)), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chat_server", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[1],
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError("the chat server did not start")
        self.port = json.loads(line)["port"]

    def stop(self) -> None:
        """End the process and wait until it is gone."""
        if (process := self.process) is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as ``base_url``."""
        return f"http://127.0.0.1:{self.port}/v1"

    def spec(self, model: str = "judge") -> str:
        """The endpoint and a model of it, in one string."""
        return f"{self.base_url}#{model}"

    def stats(self) -> dict[str, Any]:
        """Counts since the last reset.

        ``requests``; ``completed`` (200s fully written, whatever they held); ``abandoned`` (the
        client left before the reply was written); ``in_flight``, ``max_in_flight``; ``faults``
        (served, by kind); ``refused`` (not admitted, by reason: api_key, unreadable, model,
        rate_limit, json_schema, json_object, parameter); and by body: ``per_key`` (complete
        replies), ``per_key_good`` (those in order), ``per_key_attempts`` (admitted requests).
        """
        stats: dict[str, Any] = self._call("/stats")
        return stats

    def log(self) -> list[dict[str, Any]]:
        """Requests by arrival: ``key``, ``outcome``, ``at``, ``complete`` and perhaps ``body``."""
        log: list[dict[str, Any]] = self._call("/log")
        return log

    def reset(self) -> None:
        """Forget all counts, the log and the attempt numbers; the script restarts."""
        self._call("/reset", {})

    def configure(self, behaviour: Behaviour) -> None:
        """Switch the behaviour for requests that arrive from now on."""
        self.behaviour = behaviour
        self._call("/configure", asdict(behaviour))

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        with self._open(f"http://127.0.0.1:{self.port}{path}", data, timeout=30) as reply:
            return orjson.loads(reply.read())


def main() -> None:
    """Run the server from the command line."""
    parser = argparse.ArgumentParser(description="A chat server that misbehaves on demand.")
    parser.add_argument("--config", default="{}", help="a Behaviour, as JSON")
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    asyncio.run(_run(Behaviour(**json.loads(arguments.config)), arguments.port))


if __name__ == "__main__":
    main()
