"""Bare asyncio loops: the same bodies and concurrency on different HTTP stacks, and nothing else.

No ledger, no validation, no retries, no limits: what a scoring run is compared with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import aiohttp
import httpx2
import openai
import orjson

Send: TypeAlias = Callable[[bytes], Awaitable[object]]
_PATH = "/chat/completions"
_JSON = {"Content-Type": "application/json"}
_TIMEOUT_S = 30.0


def _limits(concurrency: int) -> httpx2.Limits:
    return httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)


@asynccontextmanager
async def _sdk(base_url: str, http_client: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    client = openai.AsyncOpenAI(
        base_url=base_url, api_key="none", max_retries=0, http_client=http_client
    )
    try:
        yield client
    finally:
        await client.close()


def _create(client: openai.AsyncOpenAI) -> Send:
    return lambda body: client.chat.completions.create(**orjson.loads(body))


@asynccontextmanager
async def _sdk_httpx2(base_url: str, concurrency: int) -> AsyncIterator[Send]:
    http = openai.DefaultAsyncHttpxClient(limits=_limits(concurrency), timeout=_TIMEOUT_S)
    async with _sdk(base_url, http) as client:
        yield _create(client)


@asynccontextmanager
async def _sdk_aiohttp(base_url: str, concurrency: int) -> AsyncIterator[Send]:
    http = openai.DefaultAioHttpClient(limits=_limits(concurrency), timeout=_TIMEOUT_S)
    async with _sdk(base_url, http) as client:
        yield _create(client)


@asynccontextmanager
async def _sdk_raw(base_url: str, concurrency: int) -> AsyncIterator[Send]:
    http = openai.DefaultAioHttpClient(limits=_limits(concurrency), timeout=_TIMEOUT_S)
    async with _sdk(base_url, http) as client:
        yield lambda body: client.post(
            _PATH, cast_to=httpx2.Response, content=body, options={"headers": _JSON}
        )


@asynccontextmanager
async def _aiohttp(base_url: str, concurrency: int) -> AsyncIterator[Send]:
    connector = aiohttp.TCPConnector(limit=concurrency)
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def send(body: bytes) -> bytes:
            async with session.post(base_url + _PATH, data=body, headers=_JSON) as response:
                response.raise_for_status()
                return await response.read()

        yield send


@asynccontextmanager
async def _httpx2(base_url: str, concurrency: int) -> AsyncIterator[Send]:
    limits = _limits(concurrency)
    async with httpx2.AsyncClient(limits=limits, timeout=_TIMEOUT_S, trust_env=False) as client:

        async def send(body: bytes) -> bytes:
            response = await client.post(base_url + _PATH, content=body, headers=_JSON)
            response.raise_for_status()
            return response.content

        yield send


LOOPS = {
    "openai on httpx2 (its default), create": _sdk_httpx2,
    "openai on aiohttp, create": _sdk_aiohttp,
    "openai on aiohttp, client.post": _sdk_raw,
    "httpx2 alone": _httpx2,
    "aiohttp alone": _aiohttp,
}
CREATE = "openai on aiohttp, create"
SAME_STACK = "openai on aiohttp, client.post"
"""What the scoring path sends with."""


async def loop(name: str, base_url: str, bodies: Sequence[bytes], concurrency: int) -> None:
    """Send every body once, so many at a time."""
    plan = iter(bodies)
    async with LOOPS[name](base_url, concurrency) as send:

        async def work() -> None:
            for body in plan:
                await send(body)

        await asyncio.gather(*(work() for _ in range(concurrency)))
