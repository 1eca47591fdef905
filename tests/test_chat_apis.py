"""Prefix cache, files and batches of the chat server, seen through the real OpenAI client."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import openai
import pytest
import pytest_asyncio

from tests.chat_server import Behaviour, ChatServer, body_key, expected_level
from tests.chat_server._prefix import PrefixCache

URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"


@pytest.fixture(scope="module")
def shared() -> Iterator[ChatServer]:
    """One process for all tests."""
    with ChatServer() as server:
        yield server


@pytest.fixture
def server(shared: ChatServer) -> ChatServer:
    """The shared server, well-behaved and with an empty record."""
    shared.configure(Behaviour())
    shared.reset()
    return shared


@pytest_asyncio.fixture
async def client(server: ChatServer) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client without retries."""
    transport = openai.DefaultAsyncHttpxClient(trust_env=False)
    async with openai.AsyncOpenAI(
        base_url=server.base_url, api_key="right", max_retries=0, timeout=20, http_client=transport
    ) as opened:
        yield opened


def body(text: str, **more: Any) -> dict[str, Any]:
    return {"model": "judge", "messages": [{"role": "user", "content": text}], **more}


def test_cache_holds_whole_blocks_and_counts_only_common_beginnings() -> None:
    cache = PrefixCache(block=2, capacity=None, least=0)
    prompt = b"aaaabbbbccccddddeeee"  # 5 tokens: 2 full blocks
    blocks = cache.blocks(prompt)
    assert len(blocks) == 2 and cache.hit(prompt, blocks) == 0
    cache.add(blocks)
    assert cache.hit(prompt, blocks) == 4
    other = b"aaaabbbbXXXXdddd"
    assert cache.hit(other, cache.blocks(other)) == 2
    later = b"XXXXbbbbccccdddd"
    assert cache.hit(later, cache.blocks(later)) == 0
    exact = prompt[:16]
    assert cache.hit(exact, cache.blocks(exact)) == 2, "the last token is always computed"
    assert PrefixCache(2, None, 6).blocks(prompt) == []


def test_cache_forgets_the_least_recently_used() -> None:
    cache = PrefixCache(block=1, capacity=2, least=0)
    one, two, three = (bytes([letter]) * 8 for letter in b"abc")
    for prompt in (one, two):
        cache.add(cache.blocks(prompt)[:1])
    assert cache.hit(one, cache.blocks(one)) == 1
    cache.add(cache.blocks(three)[:1])
    assert len(cache) == 2
    assert cache.hit(two, cache.blocks(two)) == 0 and cache.hit(one, cache.blocks(one)) == 1


@pytest.mark.asyncio
async def test_usage_tells_what_the_cache_had(
    server: ChatServer, client: openai.AsyncOpenAI
) -> None:
    async def cached(text: str) -> tuple[int, int]:
        usage = (await client.chat.completions.create(**body(text))).usage
        assert usage is not None and usage.prompt_tokens_details is not None
        return usage.prompt_tokens, usage.prompt_tokens_details.cached_tokens or 0

    server.configure(Behaviour(prefix_cache_block=16))
    start = "x" * 640
    # "<|user|>\n" and a line feed are 10 bytes: 650 + 4 bytes are 164 tokens, 160 in full blocks.
    assert await cached(f"{start}-one") == (164, 0)
    assert await cached(f"{start}-one") == (164, 160)
    assert await cached(f"{start}-two") == (164, 160)
    assert await cached(f"y{start}-two") == (164, 0)
    server.configure(Behaviour(prefix_cache_block=128))
    assert await cached(f"{start}-one") == (164, 0)
    assert await cached(f"{start}-two") == (164, 128)
    server.reset()
    assert await cached(f"{start}-two") == (164, 0)
    server.configure(Behaviour())
    assert await cached("x" * 400) == (100, 25)


@pytest.mark.asyncio
async def test_a_prefix_is_cached_when_it_was_computed_and_not_before(
    server: ChatServer, client: openai.AsyncOpenAI
) -> None:
    server.configure(Behaviour(prefix_cache_block=16, prefill_token_s=0.002))

    async def cached(number: int) -> int:
        usage = (await client.chat.completions.create(**body("x" * 640 + str(number)))).usage
        assert usage is not None and usage.prompt_tokens_details is not None
        return usage.prompt_tokens_details.cached_tokens or 0

    assert await asyncio.gather(*map(cached, range(4))) == [0] * 4
    assert await asyncio.gather(*map(cached, range(4))) == [160] * 4


@pytest.mark.asyncio
async def test_log_probabilities_over_http(server: ChatServer, client: openai.AsyncOpenAI) -> None:
    request = body("Judge this.", logprobs=True, top_logprobs=20)
    choice = (await client.chat.completions.create(**request)).choices[0]
    assert choice.logprobs is not None and choice.logprobs.content is not None
    joined = "".join(row.token for row in choice.logprobs.content)
    assert joined == choice.message.content
    assert json.loads(joined)["level"] == expected_level(request)
    server.configure(Behaviour(logprobs="ignored"))
    assert (await client.chat.completions.create(**request)).choices[0].logprobs is None
    server.configure(Behaviour(logprobs="rejected"))
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(**request)
    assert caught.value.param == "logprobs"
    await client.chat.completions.create(**body("Judge this."))


def lines_of(texts: list[str], **more: Any) -> bytes:
    """The input file of a batch with a line per text."""
    rows = [
        {"custom_id": f"line-{n}", "method": "POST", "url": URL, "body": body(text, **more)}
        for n, text in enumerate(texts)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


async def submitted(client: openai.AsyncOpenAI, data: bytes) -> Any:
    """A batch on a file with these bytes."""
    file = await client.files.create(file=("in.jsonl", data), purpose="batch")
    assert file.bytes == len(data) and file.purpose == "batch"
    return await client.batches.create(
        input_file_id=file.id, endpoint=URL, completion_window="24h", metadata={"run": "7"}
    )


async def rows_of(client: openai.AsyncOpenAI, file: str | None) -> dict[str, dict[str, Any]]:
    """The lines of an output or error file, by custom_id."""
    if file is None:
        return {}
    text = (await client.files.content(file)).text
    return {row["custom_id"]: row for row in map(json.loads, text.splitlines())}


async def ended(client: openai.AsyncOpenAI, name: str, within_s: float = 5.0) -> Any:
    """The batch when it has ended."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        batch = await client.batches.retrieve(name)
        if batch.status in {"completed", "expired", "failed", "cancelled"}:
            return batch
        await asyncio.sleep(0.02)
    raise AssertionError(f"{batch.status} after {within_s} s")


@pytest.mark.asyncio
async def test_a_batch_from_file_to_output(server: ChatServer, client: openai.AsyncOpenAI) -> None:
    texts = [f"Question {n}." for n in range(20)]
    server.configure(Behaviour(batch_delay_s=0.4))
    data = lines_of(texts)
    created = await submitted(client, data)
    assert created.status == "validating" and created.metadata == {"run": "7"}
    assert (await client.files.content(created.input_file_id)).content == data
    seen = set()
    while (batch := await client.batches.retrieve(created.id)).status != "completed":
        seen.add(batch.status)
        assert batch.output_file_id is None
        await asyncio.sleep(0.02)
    assert "in_progress" in seen <= {"validating", "in_progress", "finalizing"}
    counts = batch.request_counts
    assert counts is not None and (counts.total, counts.completed, counts.failed) == (20, 20, 0)
    assert batch.error_file_id is None and batch.completed_at is not None
    output = await rows_of(client, batch.output_file_id)
    assert list(output) != [f"line-{n}" for n in range(20)]
    for n, text in enumerate(texts):
        response = output[f"line-{n}"]["response"]
        assert response["status_code"] == 200 and output[f"line-{n}"]["error"] is None
        message = response["body"]["choices"][0]["message"]["content"]
        assert json.loads(message)["level"] == expected_level(body(text))
    await client.batches.retrieve(batch.id)
    stats = server.stats()
    assert stats["per_key"] == {body_key(body(text)): 1 for text in texts} == stats["per_key_good"]
    assert stats["requests"] == 0 and stats["completed"] == 20
    assert {entry["batch"] for entry in server.log()} == {batch.id}
    again = await client.chat.completions.create(**body(texts[0]))
    assert (
        again.choices[0].message.content
        == (output["line-0"]["response"]["body"]["choices"][0]["message"]["content"])
    )


@pytest.mark.asyncio
async def test_what_can_become_of_lines(server: ChatServer, client: openai.AsyncOpenAI) -> None:
    kinds = ["429", "500", "context_length", "expired", "missing", "duplicate", "alien", "prose"]
    server.configure(Behaviour(batch_faults=dict.fromkeys(kinds, 0.1), batch_shuffled=False))
    batch = await ended(client, (await submitted(client, lines_of(list(map(str, range(200)))))).id)
    failed = await rows_of(client, batch.error_file_id)
    text = (await client.files.content(batch.output_file_id)).text
    written = [json.loads(line)["custom_id"] for line in text.splitlines()]
    aliens = [name for name in written if name.startswith("alien")]
    known = set(written) - set(aliens)
    assert len(written) - len(set(written)) in range(8, 33)
    assert len(aliens) in range(8, 33)
    absent = {f"line-{n}" for n in range(200)} - known - failed.keys()
    assert len(absent) - len(aliens) in range(8, 33)
    statuses = [row["response"] and row["response"]["status_code"] for row in failed.values()]
    assert set(statuses) == {429, 500, 400, None}
    for row in failed.values():
        if row["response"] is None:
            assert row["error"]["code"] == "batch_expired"
        else:
            assert row["error"] is None and row["response"]["body"]["error"]["message"]
    assert batch.request_counts.failed == len(failed)
    assert batch.request_counts.completed == 200 - len(failed)
    assert server.stats()["faults"]["prose"] in range(8, 33)
    server.configure(Behaviour(batch_faults={"malformed": 1.0}))
    batch = await ended(client, (await submitted(client, lines_of(["one"]))).id)
    with pytest.raises(json.JSONDecodeError):
        await rows_of(client, batch.output_file_id)


@pytest.mark.asyncio
async def test_ends_of_batches(server: ChatServer, client: openai.AsyncOpenAI) -> None:
    texts = list(map(str, range(10)))
    server.configure(Behaviour(batch_outcome="expired", batch_done_share=0.3))
    batch = await ended(client, (await submitted(client, lines_of(texts))).id)
    assert batch.status == "expired" and batch.expired_at is not None
    done, late = [await rows_of(client, name) for name in (batch.output_file_id,
                                                          batch.error_file_id)]  # fmt: skip
    assert (len(done), len(late)) == (3, 7)
    assert {row["error"]["code"] for row in late.values()} == {"batch_expired"}
    server.configure(Behaviour(batch_outcome="failed"))
    batch = await ended(client, (await submitted(client, lines_of(texts))).id)
    assert batch.status == "failed" and batch.output_file_id is None
    assert batch.errors.data[0].code == "token_limit_exceeded"
    server.configure(Behaviour(batch_delay_s=60))
    created = await submitted(client, lines_of(texts))
    assert (await client.batches.cancel(created.id)).status == "cancelling"
    batch = await client.batches.retrieve(created.id)
    assert batch.status == "cancelled" and batch.cancelled_at is not None
    with pytest.raises(openai.ConflictError):
        await client.batches.cancel(created.id)
    assert server.stats()["completed"] == 3


WRONG: list[tuple[bytes, str, int | None]] = [
    (b"", "empty_file", None),
    (lines_of(["one"]) + b"{\n", "invalid_json_line", 2),
    (lines_of(["one"]) + lines_of(["two"]), "duplicate_custom_id", 2),
    (lines_of(["one"]).replace(b'"POST"', b'"GET"'), "invalid_url", 1),
    (lines_of(["one"]).replace(b"custom_id", b"name"), "missing_required_parameter", 1),
    (lines_of(["one"]).replace(b'"judge"', b'"other"'), "model_not_found", 1),
    (lines_of(["one"]).replace(b"messages", b"prompt"), "invalid_request", 1),
]


@pytest.mark.asyncio
@pytest.mark.parametrize(("data", "code", "line"), WRONG)
async def test_input_that_fails_validation(
    server: ChatServer, client: openai.AsyncOpenAI, data: bytes, code: str, line: int | None
) -> None:
    batch = await ended(client, (await submitted(client, data)).id)
    assert batch.status == "failed"
    (error,) = batch.errors.data
    assert (error.code, error.line) == (code, line)
    assert server.stats()["completed"] == 0


@pytest.mark.asyncio
async def test_answers_that_get_lost_and_operations_that_fail(
    server: ChatServer, client: openai.AsyncOpenAI
) -> None:
    script = {"create": ["lost", "reset", "500"], "upload": ["lost"], "content": ["503"]}
    server.configure(Behaviour(batch_script=script))
    data = lines_of(["one"])
    with pytest.raises(openai.APIConnectionError):
        await client.files.create(file=("in.jsonl", data), purpose="batch")
    assert len([file async for file in client.files.list()]) == 1
    for error in (openai.APIConnectionError, openai.APIConnectionError, openai.InternalServerError):
        with pytest.raises(error):
            await submitted(client, data)
    (only,) = [batch async for batch in client.batches.list()]
    batch = await ended(client, only.id)
    assert batch.metadata == {"run": "7"} and batch.output_file_id is not None
    with pytest.raises(openai.InternalServerError):
        await client.files.content(batch.output_file_id)
    assert len(await rows_of(client, batch.output_file_id)) == 1
    operations = server.stats()["operations"]
    assert operations["create"] == 3 and operations["upload"] == 4 and operations["content"] == 2


@pytest.mark.asyncio
async def test_lists_come_in_pages_newest_first(
    server: ChatServer, client: openai.AsyncOpenAI
) -> None:
    names = [(await submitted(client, lines_of([str(n)]))).id for n in range(5)]
    assert [batch.id async for batch in client.batches.list(limit=2)] == names[::-1]
    page = await client.batches.list(limit=2)
    assert [batch.id for batch in page.data] == names[:2:-1] and page.has_more
    files = [file async for file in client.files.list()]
    assert len(files) == 10 and {file.purpose for file in files} == {"batch", "batch_output"}
    assert (await client.files.delete(files[0].id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.retrieve(files[0].id)
    assert (await client.files.retrieve(files[1].id)).id == files[1].id


@pytest.mark.asyncio
async def test_requests_for_batches_that_are_turned_down(
    server: ChatServer, client: openai.AsyncOpenAI
) -> None:
    file = await client.files.create(file=("in.jsonl", lines_of(["one"])), purpose="batch")
    wanted: dict[str, Any] = {
        "input_file_id": file.id, "endpoint": URL, "completion_window": "24h",
    }  # fmt: skip
    for changes, param in (
        ({"endpoint": "/v1/embeddings"}, "endpoint"),
        ({"completion_window": "1h"}, "completion_window"),
        ({"metadata": {"key": "x" * 513}}, "metadata"),
    ):
        with pytest.raises(openai.BadRequestError) as caught:
            await client.batches.create(**{**wanted, **changes})
        assert caught.value.param == param
    with pytest.raises(openai.NotFoundError):
        await client.batches.create(**{**wanted, "input_file_id": "file-9"})
    with pytest.raises(openai.NotFoundError):
        await client.batches.retrieve("batch_9")
    with pytest.raises(openai.BadRequestError):
        await client.files.create(file=("in.jsonl", b""), purpose="fine-tune")
    server.configure(Behaviour(api_key="other"))
    with pytest.raises(openai.AuthenticationError):
        await client.batches.create(**wanted)


def test_behaviour_refuses_unknown_kinds_of_lines_and_operations() -> None:
    for wrong in (
        {"batch_faults": {"hang": 1.0}},
        {"batch_script": {"send": ["ok"]}},
        {"batch_script": {"create": ["oh"]}},
        {"batch_outcome": "lost"},
        {"logprobs": "some"},
        {"level_mass": 1.5},
    ):
        with pytest.raises(ValueError):
            Behaviour(**wrong)
