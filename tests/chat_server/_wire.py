"""Writing replies to the connection, whole, slowly, in part or not at all."""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import time
from email.utils import formatdate

import orjson
from aiohttp import web

from tests.chat_server._behaviour import ERRORS, Behaviour, Error
from tests.chat_server._replies import completion
from tests.chat_server._shape import Wanted


def json_response(value: object) -> web.Response:
    """A reply with JSON."""
    return web.Response(body=orjson.dumps(value), content_type="application/json")


def error_reply(error: Error, retry_after: str | None = None) -> web.Response:
    """An error reply of OpenAI's form."""
    response = json_response({"error": {name: value for name, value in error._asdict().items()
                                if name != "status"}})  # fmt: skip
    response.set_status(error.status)
    if retry_after is not None:
        response.headers["Retry-After"] = retry_after
    return response


async def write(request: web.BaseRequest, response: web.Response) -> None:
    """Write a reply until the kernel has all of it; ConnectionError where the client has left."""
    if transport := request.transport:
        transport.set_write_buffer_limits(0)
    await response.prepare(request)
    await response.write_eof()
    if request.transport is None:
        raise ConnectionResetError


async def serve(
    request: web.BaseRequest,
    b: Behaviour,
    kind: str,
    wanted: Wanted,
    attempt: int,
    cached: int | None,
) -> web.StreamResponse:
    """Write the reply that ``kind`` stands for, or break the connection (ConnectionError)."""
    if kind == "reset":
        abort(request, rst=True)
    if kind == "hang":
        await asyncio.sleep(b.hang_s)
    if error := ERRORS.get(kind):
        header = None
        if b.retry_after is not None and kind == "429":
            header = str(b.retry_after)
        elif b.retry_after is not None and kind == "429_date":
            header = formatdate(math.ceil(time.time() + b.retry_after), usegmt=True)
        response = error_reply(error, header)
    elif kind == "html":
        page = "<html><body>Please log in to the network.</body></html>"
        response = web.Response(text=page, content_type="text/html")
    elif kind == "bad_envelope":
        response = web.Response(text="upstream: no healthy", content_type="application/json")
    else:
        response = json_response(completion(b, kind, wanted, attempt, cached))
    if kind in {"cut_body", "slow_drip"}:
        return await _write_slowly(request, response, b, kind)
    await write(request, response)
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
        abort(request)
    size = math.ceil(len(data) / 40)
    for start in range(0, len(data), size):
        await asyncio.sleep(b.drip_s / 40)
        await response.write(data[start : start + size])
    await response.write_eof()
    return response


def abort(request: web.BaseRequest, *, rst: bool = False) -> None:
    """Drop the connection without a word: with RST, or with FIN after what was written."""
    if transport := request.transport:
        if rst:
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    raise ConnectionResetError
