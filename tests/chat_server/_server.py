"""The handler of every request, and the process around it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from typing import Any

import orjson
from aiohttp import web

from tests.chat_server._batches import Batches, Problem
from tests.chat_server._behaviour import (
    ABORTED,
    BAD,
    ERRORS,
    LOST,
    OK,
    SLOW,
    Behaviour,
    Error,
)
from tests.chat_server._prefix import PrefixCache
from tests.chat_server._replies import completion, rendered
from tests.chat_server._shape import Wanted, canonical_key, draw
from tests.chat_server._wire import abort, error_reply, json_response, serve, write


def _cache_form(b: Behaviour) -> tuple[int | None, int | None, int]:
    return b.prefix_cache_block, b.prefix_cache_capacity, b.prefix_cache_least


def _pick(table: dict[str, float], drawn: float) -> str | None:
    """The kind of ``table`` on which the draw falls, if it falls on one."""
    for kind, probability in table.items():
        if drawn < probability:
            return kind
        drawn -= probability
    return None


class _Record:
    """What happened since the last reset; a request counts where it arrived."""

    def __init__(self) -> None:
        self.requests = self.completed = self.abandoned = self.max_in_flight = 0
        self.faults: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.per_key_attempts: Counter[str] = Counter()
        self.per_key: Counter[str] = Counter()
        self.per_key_good: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self.log: list[dict[str, Any]] = []


class Server:
    """Answers requests with the behaviour of the moment, and keeps the record."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.in_flight = 0
        self.configure(behaviour)
        self.forget()

    def forget(self) -> None:
        """Empty the record, the prefix cache, the files and the batches."""
        self.record = _Record()
        self.batches = Batches(self._line_of_a_batch)
        self.prefixes = self._new_cache()

    def configure(self, behaviour: Behaviour) -> None:
        """Switch the behaviour; the record and the attempt numbers go on, scripts restart."""
        before = getattr(self, "behaviour", behaviour)
        self.behaviour = behaviour
        self.script = iter(behaviour.scripted)
        self.scripts = {name: iter(rows) for name, rows in behaviour.batch_script.items()}
        rate = behaviour.rate_limit_rps or 0
        self.burst = behaviour.rate_limit_burst or max(1.0, rate)
        self.tokens, self.filled = self.burst, time.monotonic()
        if _cache_form(before) != _cache_form(behaviour):
            self.prefixes = self._new_cache()

    def _new_cache(self) -> PrefixCache | None:
        block, capacity, least = _cache_form(self.behaviour)
        return None if block is None else PrefixCache(block, capacity, least)

    def stats(self) -> dict[str, Any]:
        """The counts, as `ChatServer.stats` describes them."""
        counts = {name: value for name, value in vars(self.record).items() if name != "log"}
        return counts | {"in_flight": self.in_flight}

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any kind."""
        path = request.path
        try:
            match request.method, path:
                case "POST", "/v1/chat/completions":
                    return await self.chat(request)
                case "GET", "/v1/models":
                    if refusal := self.wrong_key(request):
                        return error_reply(refusal)
                    rows = [{"id": m, "object": "model", "created": 0, "owned_by": "tests"}
                            for m in self.behaviour.models]  # fmt: skip
                    return json_response({"object": "list", "data": rows})
                case "GET", "/stats":
                    return json_response(self.stats())
                case "GET", "/log":
                    return json_response(self.record.log)
                case "POST", "/reset":
                    self.forget()
                    self.configure(self.behaviour)
                    return json_response({})
                case "POST", "/configure":
                    self.configure(Behaviour(**orjson.loads(await request.read())))
                    return json_response({})
            if operation := _operation(request.method, path):
                return await self.batch_api(request, operation)
        except ConnectionError:
            return web.Response()  # nobody is there to get it
        return error_reply(Error(404, BAD, "unknown_url", f"Unknown request URL: {path}"))

    async def batch_api(self, request: web.BaseRequest, operation: str) -> web.StreamResponse:
        """Files and batches."""
        self.record.operations[operation] += 1
        if refusal := self.wrong_key(request):
            return error_reply(refusal)
        outcome = next(self.scripts.get(operation, iter(())), OK)
        if outcome == "reset":
            abort(request, rst=True)
        if outcome in ERRORS:
            return error_reply(ERRORS[outcome])
        try:
            response = await self._operate(request, operation)
        except Problem as problem:
            response = error_reply(problem.error)
        if outcome == LOST:
            abort(request, rst=True)
        return response

    async def _operate(self, request: web.BaseRequest, operation: str) -> web.Response:
        name = request.path.removesuffix("/content").removesuffix("/cancel").rsplit("/", 1)[-1]
        batches = self.batches
        match operation:
            case "upload":
                form = await request.post()
                file = form.get("file")
                if not isinstance(file, web.FileField):
                    raise Problem(Error(400, BAD, None, "'file' is a required property", "file"))
                purpose = str(form.get("purpose"))
                return json_response(batches.upload(file.filename, purpose, file.file.read()))
            case "file":
                return json_response(batches.file(name))
            case "files":
                return json_response(batches.files())
            case "content":
                return web.Response(
                    body=batches.content(name), content_type="application/octet-stream"
                )
            case "delete":
                return json_response(batches.delete(name))
            case "create":
                try:
                    wanted = orjson.loads(await request.read())
                except ValueError:
                    wanted = None
                return json_response(batches.create(wanted, self.behaviour))
            case "list":
                limit = int(request.query.get("limit", "20"))
                return json_response(batches.page(limit, request.query.get("after")))
            case "cancel":
                return json_response(batches.cancel(name))
        return json_response(batches.retrieve(name))

    def _line_of_a_batch(self, kind: str, body: dict[str, Any], batch: str) -> dict[str, Any]:
        """The reply to a line of a batch, counted as a complete one."""
        record, wanted = self.record, Wanted(body)
        attempt = record.per_key_attempts[wanted.key]
        record.per_key_attempts[wanted.key] += 1
        record.completed += 1
        record.per_key[wanted.key] += 1
        if kind == OK:
            record.per_key_good[wanted.key] += 1
        else:
            record.faults[kind] += 1
        record.log.append({
            "key": wanted.key, "outcome": kind, "at": time.time(), "complete": True, "batch": batch,
            **({"body": body} if self.behaviour.record_bodies else {}),
        })  # fmt: skip
        return completion(self.behaviour, kind, wanted, attempt)

    async def chat(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one chat request, and keep account of it whatever becomes of it."""
        raw = await request.read()
        record, at = self.record, time.time()
        record.requests += 1
        self.in_flight += 1
        record.max_in_flight = max(record.max_in_flight, self.in_flight)
        entry: dict[str, Any] = {"key": None, "outcome": "unreadable", "at": at, "complete": False}
        record.log.append(entry)
        written = False
        try:
            try:
                body = orjson.loads(raw)
                key = entry["key"] = canonical_key(body)
            except ValueError:
                body = key = None
            if self.behaviour.record_bodies:
                entry["body"] = body
            if refusal := self.refuse(request, body):
                entry["outcome"], turned_down = refusal
                record.refused[entry["outcome"]] += 1
                await write(request, turned_down)
                written = True
                return turned_down
            response = await self._admitted(request, Wanted(body, key), entry, record)
            written = True
            return response
        finally:
            self.in_flight -= 1
            record.abandoned += not written and entry["outcome"] not in ABORTED

    async def _admitted(
        self, request: web.BaseRequest, wanted: Wanted, entry: dict[str, Any], record: _Record
    ) -> web.StreamResponse:
        """Serve a request that was admitted."""
        behaviour, key = self.behaviour, wanted.key
        attempt = record.per_key_attempts[key]
        record.per_key_attempts[key] += 1
        kind = entry["outcome"] = self.outcome(key, attempt)
        cached = await self._prefilled(wanted.body)
        latency = behaviour.latency_s
        if behaviour.latency_jitter_s:
            latency += behaviour.latency_jitter_s * draw(behaviour.seed, key, attempt, "latency")
        if latency:
            await asyncio.sleep(latency)
        if kind != OK:
            record.faults[kind] += 1
        response = await serve(request, behaviour, kind, wanted, attempt, cached)
        if response.status == 200:
            entry["complete"] = True
            record.completed += 1
            record.per_key[key] += 1
            if kind == OK or kind in SLOW:
                record.per_key_good[key] += 1
        return response

    async def _prefilled(self, body: dict[str, Any]) -> int | None:
        """Compute the prompt: the tokens that the cache had, None without a cache."""
        if (cache := self.prefixes) is None:
            return None
        prompt = rendered(body)
        blocks = cache.blocks(prompt)
        cached = cache.hit(prompt, blocks)
        if per_token := self.behaviour.prefill_token_s:
            await asyncio.sleep((len(prompt) / 4 - cached) * per_token)
        cache.add(blocks)
        return cached

    def outcome(self, key: str, attempt: int) -> str:
        """What an admitted request gets."""
        behaviour = self.behaviour
        if (scripted := next(self.script, None)) is not None:
            return scripted
        kind = None
        if behaviour.fault_once and attempt < behaviour.once_attempts:
            kind = _pick(behaviour.fault_once, draw(behaviour.seed, key, "once"))
        if kind is None and behaviour.faults:
            kind = _pick(behaviour.faults, draw(behaviour.seed, key, attempt))
        return kind or OK

    def wrong_key(self, request: web.BaseRequest) -> Error | None:
        """The error for a request without the right API key."""
        wanted = self.behaviour.api_key
        if wanted is None or request.headers.get("Authorization") == f"Bearer {wanted}":
            return None
        return ERRORS["401"]

    def refuse(self, request: web.BaseRequest, body: Any) -> tuple[str, web.Response] | None:
        """Why a request is not admitted, and the reply to it; None where it is."""
        behaviour = self.behaviour
        if error := self.wrong_key(request):
            return "api_key", error_reply(error)
        if not isinstance(body, dict):
            return "unreadable", error_reply(Error(400, BAD, None, "The body is no JSON object."))
        if body.get("model") not in behaviour.models:
            return "model", error_reply(ERRORS["model_not_found"])
        if rate := behaviour.rate_limit_rps:
            now = time.monotonic()
            self.tokens = min(self.burst, self.tokens + (now - self.filled) * rate)
            self.filled = now
            if self.tokens < 1:
                return "rate_limit", error_reply(ERRORS["429"], f"{(1 - self.tokens) / rate:.3f}")
            self.tokens -= 1
        wanted = str((body.get("response_format") or {}).get("type"))
        supported = {
            "json_schema": behaviour.json_schema_support,
            "json_object": behaviour.json_object_support,
        }
        if not supported.get(wanted, True):
            message = f"Invalid parameter: 'response_format' of type '{wanted}' is not supported."
            return wanted, error_reply(Error(400, BAD, None, message, "response_format"))
        rejected = behaviour.reject_parameters
        if behaviour.logprobs == "rejected":
            rejected = [*rejected, "logprobs"]
        for name in rejected:
            if name in body:
                message = f"Unsupported parameter: '{name}' is not supported with this model."
                return "parameter", error_reply(
                    Error(400, BAD, "unsupported_parameter", message, name)
                )
        return None


def _operation(method: str, path: str) -> str | None:
    """The name of an operation on files or batches."""
    parts = path.strip("/").split("/")
    match method, parts[:2], parts[2:]:
        case "POST", ["v1", "files"], []:
            return "upload"
        case "GET", ["v1", "files"], []:
            return "files"
        case "GET", ["v1", "files"], [_]:
            return "file"
        case "GET", ["v1", "files"], [_, "content"]:
            return "content"
        case "DELETE", ["v1", "files"], [_]:
            return "delete"
        case "POST", ["v1", "batches"], []:
            return "create"
        case "GET", ["v1", "batches"], []:
            return "list"
        case "GET", ["v1", "batches"], [_]:
            return "retrieve"
        case "POST", ["v1", "batches"], [_, "cancel"]:
            return "cancel"
    return None


async def run(behaviour: Behaviour, port: int) -> None:
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
        size = 256 << 20
        return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=size)

    server = web.Server(
        Server(behaviour).handle,
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
