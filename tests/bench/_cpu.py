"""Client CPU per unit, live and cached, beside bare loops on several HTTP stacks."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench._canned import SPEC, CannedEndpoint
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
from tests.bench._loops import LOOPS, SAME_STACK, loop
from tests.chat_server import Behaviour, ChatServer

_LIVE = "plumbline, live unit"
_CACHED = "plumbline, cached unit"
_NO_WIRE = "plumbline, live unit without a wire"
MOST_ABOVE_LOOP_MS = 1.0
MOST_CACHED_MS = 0.1


def cpu(calls: int, latency_s: float, concurrency: int, repeats: int) -> None:
    """Print CPU per call of scoring and of every loop, repeats interleaved."""
    runs: dict[str, list[Measured]] = {}
    with ChatServer(Behaviour(latency_s=latency_s)) as server, tempfile.TemporaryDirectory() as at:
        for _ in _one_repeat(server, Path(at) / "warm", WARM_UP, 8):
            pass
        for repeat in range(repeats):
            for name, result in _one_repeat(server, Path(at) / str(repeat), calls, concurrency):
                runs.setdefault(name, []).append(result)
    print(f"\nClient CPU (process time): {calls} calls, {latency_s * 1000:g} ms latency, "
          f"concurrency {concurrency}, {repeats} repeats after a warm-up")  # fmt: skip
    print(f"{'':42}{'CPU ms a call':>22}{'beside loop':>13}{'calls/s':>9}")
    reference = statistics.median(run.cpu_ms for run in runs[SAME_STACK])
    for name, results in sorted(
        runs.items(), key=lambda run: (run[0] in LOOPS, statistics.median(r.cpu_ms for r in run[1]))
    ):
        times = [result.cpu_ms for result in results]
        rate = calls / statistics.median(result.wall_s for result in results)
        ratio = statistics.median(times) / reference
        print(f"{name:42}{spread(times, '.3f'):>22}{ratio:>12.2f}x{rate:>9.0f}")
    # The loop of the same repeat ran under the same load.
    above = [live.cpu_ms - bare.cpu_ms
             for live, bare in zip(runs[_LIVE], runs[SAME_STACK], strict=True)]  # fmt: skip
    cached = [run.cpu_ms for run in runs[_CACHED]]
    for what, values, most in (
        (f"live unit above {SAME_STACK}", above, MOST_ABOVE_LOOP_MS),
        ("cached unit", cached, MOST_CACHED_MS),
    ):
        verdict = "met" if statistics.median(values) <= most else "MISSED"
        print(f"{what}: {spread(values, '.3f')} ms; target at most {most:g} ms: {verdict}")


def _one_repeat(
    server: ChatServer, folder: Path, calls: int, concurrency: int
) -> Iterator[tuple[str, Measured]]:
    """Each contender once, on the same bodies."""
    ledger = ledger_at(folder)
    items, rubric = items_in(ledger, calls)
    for name in (_LIVE, _CACHED):
        yield (
            name,
            measured(lambda: scored(ledger, items, rubric, server.spec(), concurrency), calls),
        )
    bodies = bodies_of(ledger)
    yield (
        _NO_WIRE,
        measured(
            lambda: scored(ledger, items, rubric, SPEC, concurrency, endpoint=CannedEndpoint), calls
        ),
    )
    ledger.close()
    for name in LOOPS:
        yield name, measured(partial(loop, name, server.base_url, bodies, concurrency), calls)
