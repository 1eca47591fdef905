"""A small OpenAI-compatible chat server on transformers, for small models on a CPU.

``python -m judge.local_models._hf_server FOLDER --name NAME --port N`` serves one model on
127.0.0.1 to whoever has the key in PLUMBLINE_SERVER_KEY. Requests that wait are generated
together, ``--batch`` at most; a batch runs to its end before the next begins. There is no
streaming, no tools, one reply per request, and no structured output: ``response_format`` is
refused by name, and the caller asks for JSON in words.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web
from jinja2 import TemplateError

from judge.local_models._hf_engine import Engine, Order, Token, Written

KEY = "PLUMBLINE_SERVER_KEY"
_MOST_BYTES = 32 << 20
_MOST_TOP = 20
_KNOWN = frozenset(
    {
        "model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed",
        "stop", "logprobs", "top_logprobs", "n", "stream", "response_format", "user",
    }
)  # fmt: skip
_ROLES = ("system", "user", "assistant")


class BadRequest(Exception):
    """A request that cannot be served; the parameter that is wrong, and the error's code."""

    def __init__(
        self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400
    ) -> None:
        self.param, self.code, self.status = param, code, status
        super().__init__(message)


class _Waiting(NamedTuple):
    order: Order
    reply: Future[Written]


class Batcher:
    """The one thread that generates: it takes what waits, up to ``most`` orders, and works it off.

    An order whose reply was cancelled is dropped.
    """

    def __init__(self, engine: Engine, most: int) -> None:
        self._engine, self._most = engine, most
        self._queue: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="generate", daemon=True).start()

    async def reply(self, order: Callable[[Callable[[], bool]], Order]) -> Written:
        """The reply to an order, made with the question whether anybody still waits for it."""
        future: Future[Written] = Future()
        self._queue.put(_Waiting(order(future.cancelled), future))
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        while True:
            batch = [self._queue.get()]
            while len(batch) < self._most and not self._queue.empty():
                batch.append(self._queue.get())
            batch = [waiting for waiting in batch if not waiting.reply.cancelled()]
            if not batch:
                continue
            try:
                replies = self._engine.generate([waiting.order for waiting in batch])
            except Exception as error:  # noqa: BLE001 - each caller is told; the log has it all
                traceback.print_exc()
                for waiting in batch:
                    if waiting.reply.set_running_or_notify_cancel():
                        waiting.reply.set_exception(error)
                continue
            for waiting, written in zip(batch, replies, strict=True):
                if waiting.reply.set_running_or_notify_cancel():
                    waiting.reply.set_result(written)


class _Request(NamedTuple):
    """A chat request, checked; the defaults are the API's."""

    messages: list[dict[str, str]]
    max_tokens: int | None
    temperature: float
    top_p: float
    seed: int
    stop: tuple[str, ...]
    top_logprobs: int | None


def read_request(body: Any, model: str) -> _Request:
    """Check a request. Raises BadRequest that names what is wrong or not supported."""
    if not isinstance(body, dict):
        raise BadRequest("The body must be a JSON object.")
    for name in body:
        if name not in _KNOWN:
            raise BadRequest(f"This server does not support {name}.", param=name)
    if body.get("model") != model:
        raise BadRequest(
            f"The model {body.get('model')} does not exist; this server serves {model}.",
            param="model", code="model_not_found", status=404,
        )  # fmt: skip
    form = body.get("response_format")
    if form is not None and form != {"type": "text"}:
        raise BadRequest("This server writes plain text only", param="response_format")
    if body.get("n") not in (None, 1):
        raise BadRequest("This server gives one reply per request.", param="n")
    if body.get("stream"):
        raise BadRequest("This server does not stream.", param="stream")
    wanted = "max_completion_tokens" if "max_completion_tokens" in body else "max_tokens"
    max_tokens = _number(body, wanted, None, 1, 1 << 30, whole=True)
    seed = _number(body, "seed", None, -(1 << 63), (1 << 64) - 1, whole=True)
    top = _number(body, "top_logprobs", 0, 0, _MOST_TOP, whole=True)
    return _Request(
        messages=_messages(body.get("messages")),
        max_tokens=None if max_tokens is None else int(max_tokens),
        temperature=float(_number(body, "temperature", 1.0, 0, 2) or 0.0),
        top_p=float(_number(body, "top_p", 1.0, 1e-9, 1) or 1.0),
        seed=int.from_bytes(os.urandom(8)) if seed is None else int(seed),
        stop=_stop(body.get("stop")),
        top_logprobs=int(top or 0) if body.get("logprobs") is True else None,
    )


def _messages(value: Any) -> list[dict[str, str]]:
    good = (
        isinstance(value, list)
        and value
        and all(
            isinstance(message, dict)
            and message.get("role") in _ROLES
            and isinstance(message.get("content"), str)
            for message in value
        )
    )
    if not good:
        raise BadRequest(
            f"messages: expected a list of objects with a role ({', '.join(_ROLES)}) and a "
            "content that is text.",
            param="messages",
        )
    return [{"role": message["role"], "content": message["content"]} for message in value]


def _stop(value: Any) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value or []
    if not isinstance(listed, list) or not all(isinstance(s, str) and s for s in listed):
        raise BadRequest("stop: expected a text or a list of texts.", param="stop")
    return tuple(listed)


def _number(
    body: dict[str, Any],
    name: str,
    default: float | None,
    least: float,
    most: float,
    *,
    whole: bool = False,
) -> float | int | None:
    value = body.get(name)
    if value is None:
        return default
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
        what = "whole number" if whole else "number"
        raise BadRequest(f"{name}: expected a {what} from {least} to {most}.", param=name)
    return value


class ChatService:
    """The routes."""

    def __init__(self, engine: Engine, batcher: Batcher, name: str, key: str) -> None:
        self._engine, self._batcher, self._name, self._key = engine, batcher, name, key
        self._count = 0

    def application(self) -> web.Application:
        """The web application; every route but /health asks for the key."""
        application = web.Application(client_max_size=_MOST_BYTES, middlewares=[self._guarded])
        application.router.add_get("/health", self._health)
        application.router.add_get("/v1/models", self._models)
        application.router.add_post("/v1/chat/completions", self._complete)
        return application

    @web.middleware
    async def _guarded(
        self,
        request: web.Request,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
    ) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        try:
            if request.path != "/health" and not hmac.compare_digest(
                given.encode(), self._key.encode()
            ):
                raise BadRequest("Incorrect API key.", code="invalid_api_key", status=401)
            return await handler(request)
        except BadRequest as bad:
            return _error(bad.status, "invalid_request_error", str(bad), bad.param, bad.code)
        except (RuntimeError, MemoryError) as error:
            return _error(500, "server_error", f"{type(error).__name__}: {error}")

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _models(self, _: web.Request) -> web.Response:
        model = {"id": self._name, "object": "model", "owned_by": "plumbline"}
        model["max_model_len"] = self._engine.limit  # type: ignore[assignment]
        return web.json_response({"object": "list", "data": [model]})

    async def _complete(self, http: web.Request) -> web.Response:
        try:
            body = json.loads(await http.read())
        except ValueError:
            raise BadRequest("The body is not JSON.") from None
        request = read_request(body, self._name)
        try:
            prompt = await asyncio.to_thread(self._engine.encode, request.messages)
        except TemplateError as error:
            raise BadRequest(
                f"The model's chat template does not take these messages: {error}",
                param="messages",
            ) from None
        room = self._engine.limit - len(prompt)
        if room < (request.max_tokens or 1):
            raise BadRequest(
                f"The model takes {self._engine.limit} tokens; the prompt has {len(prompt)} and "
                f"{request.max_tokens or 1} are wanted for the reply.",
                param="messages",
                code="context_length_exceeded",
            )
        written = await self._batcher.reply(
            lambda unwanted: Order(
                prompt=prompt,
                max_tokens=request.max_tokens or room,
                temperature=request.temperature,
                top_p=request.top_p,
                seed=request.seed,
                stop=request.stop,
                top_logprobs=request.top_logprobs,
                unwanted=unwanted,
            )
        )
        self._count += 1
        return web.json_response(
            {
                "id": f"chatcmpl-{self._count}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": self._name,
                "choices": [_choice(written, request.top_logprobs)],
                "usage": {
                    "prompt_tokens": len(prompt),
                    "completion_tokens": written.completion_tokens,
                    "total_tokens": len(prompt) + written.completion_tokens,
                },
            }
        )


def _choice(written: Written, top_logprobs: int | None) -> dict[str, Any]:
    listed = None
    if top_logprobs is not None:
        listed = {"content": [_token(token) for token in written.tokens]}
    return {
        "index": 0,
        "message": {"role": "assistant", "content": written.text},
        "logprobs": listed,
        "finish_reason": written.finish_reason,
    }


def _token(token: Token) -> dict[str, Any]:
    return {
        **_alternative(token.text, token.logprob),
        "top_logprobs": [_alternative(text, logprob) for text, logprob in token.top],
    }


def _alternative(text: str, logprob: float) -> dict[str, Any]:
    # A token can hold a part of a character, whose bytes its text does not show.
    whole = "\N{REPLACEMENT CHARACTER}" not in text
    return {"token": text, "logprob": logprob, "bytes": list(text.encode()) if whole else None}


def _error(
    status: int, kind: str, message: str, param: str | None = None, code: str | None = None
) -> web.Response:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return web.json_response({"error": error}, status=status)


def main() -> None:
    """Load the model, then serve it until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m judge.local_models._hf_server")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="float32")
    parser.add_argument("--max-model-len", type=int)
    parser.add_argument("--chat-template", type=Path)
    given = parser.parse_args()
    key = os.environ.get(KEY, "")
    if not key:
        sys.exit(f"{KEY} is not set: the key that requests must bring.")
    template = None if given.chat_template is None else given.chat_template.read_text("utf-8")
    print(f"loading {given.folder}", flush=True)  # noqa: T201 - this program's log
    engine = Engine(
        given.folder, dtype=given.dtype, template=template, max_model_len=given.max_model_len
    )
    service = ChatService(engine, Batcher(engine, given.batch), given.name, key)
    # A caller that gives up closes its connection; its handler is cancelled and its order dropped.
    web.run_app(
        service.application(),
        host=given.host,
        port=given.port,
        print=lambda text: print(text, flush=True),  # noqa: T201
        access_log=None,
        handler_cancellation=True,
        keepalive_timeout=60.0,
    )


if __name__ == "__main__":
    main()
