"""Throughput: scoring beside the ideal, calls x latency / concurrency, and beside bare loops."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench._common import (
    WARM_UP,
    Measured,
    bodies_of,
    items_in,
    ledger_at,
    measured,
    scored,
    spread,
)
from tests.bench._loops import CREATE, SAME_STACK, loop
from tests.chat_server import Behaviour, ChatServer

_CACHED = "plumbline, all in the ledger"


def throughput(calls: int, latency_s: float, concurrency: int, repeats: int) -> None:
    """Print each contender's share of the ideal, repeats interleaved."""
    ideal = calls * latency_s / concurrency
    runs: dict[str, list[Measured]] = {}
    with ChatServer(Behaviour(latency_s=latency_s)) as server, tempfile.TemporaryDirectory() as at:
        for _ in _one_repeat(server, Path(at) / "warm", WARM_UP, concurrency):
            pass  # the imports of the SDK
        for repeat in range(repeats):
            for name, result in _one_repeat(server, Path(at) / str(repeat), calls, concurrency):
                runs.setdefault(name, []).append(result)
    print(f"\nThroughput: {calls} calls, {latency_s * 1000:g} ms latency, concurrency "
          f"{concurrency}, ideal N x latency / concurrency = {ideal:.2f} s, "
          f"{repeats} repeats")  # fmt: skip
    print(f"{'':32}{'share of ideal':>24}{'beside bare create':>20}{'CPU ms a call':>16}")
    reference = statistics.median(run.wall_s for run in runs[CREATE])
    for name, results in runs.items():
        walls = [result.wall_s for result in results]
        cpu = statistics.median(result.cpu_ms for result in results)
        shares, ratio = "-", "-"
        if name != _CACHED:
            shares = spread([ideal / wall for wall in walls], ".1%")
            ratio = f"{reference / statistics.median(walls):.1%}"
        print(f"{name:32}{shares:>24}{ratio:>20}{cpu:>16.3f}")


def _one_repeat(
    server: ChatServer, folder: Path, calls: int, concurrency: int
) -> Iterator[tuple[str, Measured]]:
    """Each contender once, on the same bodies."""
    ledger = ledger_at(folder)
    items, rubric = items_in(ledger, calls)
    spec = server.spec()
    for name in ("plumbline", _CACHED):
        yield name, measured(lambda: scored(ledger, items, rubric, spec, concurrency), calls)
    bodies = bodies_of(ledger)
    ledger.close()
    for name in (SAME_STACK, CREATE):
        yield name, measured(partial(loop, name, server.base_url, bodies, concurrency), calls)
