"""``make bench``: throughput beside the ideal and beside a bare loop, in the same run.

The server is a process of its own on loopback and shares the machine's cores with the client. A
bare loop is the openai client on the same HTTP stack (aiohttp), the same bodies and the same
concurrency, without ledger, validation, retries and limits.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import openai
import orjson

from judge.endpoint import ChatEndpoint, parse_spec
from judge.ledger import open_ledger
from judge.records import Answer, Question
from judge.rubric import Rubric, load_rubric
from judge.scoring import Item, ScoreRun, ScoreSettings, item_of, score
from tests.chat_server import Behaviour, ChatServer


class Measured(NamedTuple):
    """Wall seconds and CPU milliseconds per call."""

    wall_s: float
    cpu_ms: float


def items_in(folder: Path, count: int) -> tuple[Any, list[Item], Rubric]:
    """A ledger with answers whose eight-criteria plan has ``count`` calls."""
    rubric = load_rubric("communication")
    ledger = open_ledger(f"sqlite:///{folder / 'bench.db'}")
    text = "An auction ad is shown when its bid and its expected response win an auction. " * 6
    questions = [
        Question(question_id=f"q{n}", question="What is an auction ad?", reference=text[:80])
        for n in range(count // len(rubric.criteria))
    ]
    answers = [
        Answer(question_id=question.question_id, model="m", answer=f"{text}{question.question_id}")
        for question in questions
    ]
    ids = ledger.add_answers(answers, {question.question_id: question for question in questions})
    items = [item_of(*triple) for triple in zip(ids, answers, questions, strict=True)]
    return ledger, items, rubric


async def plumbline(
    server: ChatServer, ledger: Any, items: list[Item], rubric: Rubric, concurrency: int
) -> ScoreRun:
    """One scoring run, ledger and validation included."""
    spec = parse_spec(server.spec())
    return await score(
        ledger, items, rubric, spec, ScoreSettings(),
        lambda: ChatEndpoint(spec, concurrency=concurrency),
    )  # fmt: skip


async def bare(server: ChatServer, bodies: list[bytes], concurrency: int, raw: bool) -> None:
    """The openai client in a loop: ``create``, or (raw) the same request without its models."""
    limits = httpx2.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    client = openai.AsyncOpenAI(
        base_url=server.base_url, api_key="none", max_retries=0,
        http_client=openai.DefaultAioHttpClient(limits=limits, timeout=30.0),
    )  # fmt: skip
    plan: Iterator[bytes] = iter(bodies)

    async def work() -> None:
        for body in plan:
            if raw:
                await client.post("/chat/completions", cast_to=httpx2.Response, content=body)
            else:
                await client.chat.completions.create(**orjson.loads(body))

    await asyncio.gather(*(work() for _ in range(concurrency)))
    await client.close()


def measured(work: Callable[[], Awaitable[object]], calls: int) -> Measured:
    """Run once, on the clock."""
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(work())  # type: ignore[arg-type]
    return Measured(time.perf_counter() - wall, (time.process_time() - cpu) / calls * 1000)


def throughput(calls: int, latency_s: float, concurrency: int, repeats: int) -> None:
    """Print each contender's share of the ideal, repeats interleaved."""
    ideal = calls * latency_s / concurrency
    runs: dict[str, list[Measured]] = {}
    with ChatServer(Behaviour(latency_s=latency_s)) as server, tempfile.TemporaryDirectory() as at:
        for repeat in range(repeats):
            folder = Path(at) / str(repeat)
            folder.mkdir()
            for name, result in _one_repeat(server, folder, calls, concurrency):
                runs.setdefault(name, []).append(result)
    print(f"\n{calls} calls, {latency_s * 1000:g} ms latency, concurrency {concurrency}, "
          f"ideal N x latency / concurrency = {ideal:.2f} s, {repeats} repeats")  # fmt: skip
    print(f"{'':32}{'share of ideal':>22}{'beside bare create':>20}{'CPU ms a call':>16}")
    reference = statistics.median(run.wall_s for run in runs["bare loop, create"])
    for name, results in runs.items():
        walls = [result.wall_s for result in results]
        shares = sorted(ideal / wall for wall in walls)
        spread = f"{statistics.median(shares):.1%} ({shares[0]:.1%}-{shares[-1]:.1%})"
        ratio = reference / statistics.median(walls)
        cpu = statistics.median(result.cpu_ms for result in results)
        if name.endswith("ledger"):
            spread, ratio_text = "-", "-"
        else:
            ratio_text = f"{ratio:.1%}"
        print(f"{name:32}{spread:>22}{ratio_text:>20}{cpu:>16.3f}")


def _one_repeat(
    server: ChatServer, folder: Path, calls: int, concurrency: int
) -> Iterator[tuple[str, Measured]]:
    """Each contender once, on the same bodies."""
    ledger, items, rubric = items_in(folder, calls)
    for name in ("plumbline", "plumbline, all in the ledger"):
        yield (
            name,
            measured(lambda: plumbline(server, ledger, items, rubric, concurrency), calls),
        )
    bodies = [call.request for call in _calls(ledger)]
    ledger.close()
    for name, raw in (("bare loop, client.post", True), ("bare loop, create", False)):
        yield name, measured(lambda raw=raw: bare(server, bodies, concurrency, raw), calls)


def _calls(ledger: Any) -> list[Any]:
    keys = ledger.verdicts()["call_key"].to_list()
    return list(ledger.calls(keys).values())


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, openai {openai.__version__}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
          f"{time.strftime('%Y-%m-%d')}")  # fmt: skip
    for latency_s in (0.25, 0.1):
        throughput(options.calls, latency_s, options.concurrency, options.repeats)


if __name__ == "__main__":
    main()
