"""The benchmarks measure what they say, seen at small sizes."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from judge.endpoint import parse_spec
from judge.errors import EndpointError
from judge.settings import Mode, PromptOrder
from tests.bench._canned import SPEC, CannedEndpoint
from tests.bench._common import bodies_of, items_in, ledger_at, measured, scored
from tests.bench._loops import LOOPS, loop
from tests.bench._tokens import _cell
from tests.chat_server import Behaviour, ChatServer, body_key
from tests.chat_server._replies import rendered

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.asyncio
async def test_every_loop_sends_every_body_once_as_it_is(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    items, rubric = items_in(ledger, 24)
    outcome = await scored(ledger, items, rubric, SPEC, 8, endpoint=CannedEndpoint)
    assert (outcome.scored, outcome.sent) == (24, 24)
    again = await scored(ledger, items, rubric, SPEC, 8, endpoint=CannedEndpoint)
    assert (again.scored, again.sent) == (24, 0)
    bodies = bodies_of(ledger)
    ledger.close()
    assert len(set(bodies)) == 24
    with ChatServer() as server:
        for name in LOOPS:
            server.reset()
            await loop(name, server.base_url, bodies, 8)
            sent = server.stats()["per_key_good"]
            assert sent == {body_key(orjson.loads(body)): 1 for body in bodies}, name


def test_the_clock_counts_cpu_and_not_waiting() -> None:
    result = measured(lambda: asyncio.sleep(0.2), calls=10)
    assert result.wall_s >= 0.2 and result.cpu_ms * 10 < 150


def test_a_run_that_fails_is_no_measurement(tmp_path: Path) -> None:
    ledger = ledger_at(tmp_path)
    items, rubric = items_in(ledger, 8)
    with ChatServer(Behaviour(faults={"bad_request": 1.0})) as server, pytest.raises(EndpointError):
        asyncio.run(scored(ledger, items, rubric, server.spec(), 2))
    ledger.close()


def _common(one: bytes, other: bytes) -> int:
    unlike = (at for at, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1])
    return next(unlike, min(len(one), len(other)))


def cached_by_hand(prompts: list[bytes], block: int) -> int:
    """Tokens in whole blocks of 4-byte tokens that each prompt shares with one before it."""
    total = 0
    for number, prompt in enumerate(prompts):
        shared = [_common(prompt, earlier) for earlier in prompts[:number]]
        longest = min(max(shared, default=0), len(prompt) - 1)
        total += longest // (4 * block) * block
    return total


@pytest.mark.parametrize("order", list(PromptOrder))
def test_tokens_are_those_that_the_prompts_share(order: PromptOrder) -> None:
    """One call at a time; every prompt is compared with all that came before it."""
    behaviour = Behaviour(prefix_cache_block=16, record_bodies=True, evidence="quote")
    took = {}
    with ChatServer(behaviour) as server:
        for mode in Mode:
            server.reset()
            cell = _cell(parse_spec(server.spec()), 16, 1, mode, order, 4)
            prompts = [rendered(entry["body"]) for entry in server.log()]
            assert cell.calls == len(prompts) == len(set(prompts))
            progress = cell.progress
            assert progress.prompt_tokens == sum(-(-len(prompt) // 4) for prompt in prompts)
            assert progress.cached_tokens == cached_by_hand(prompts, 16) > 0
            took[mode] = (cell.calls, progress.prompt_tokens)
    assert took[Mode.JOINT][0] == 4
    assert took[Mode.JOINT] < took[Mode.GROUPED] < took[Mode.PER_CRITERION]


def test_memory_is_measured_in_a_process_of_its_own(tmp_path: Path) -> None:
    rows = []
    for kind in ("fill", "cached"):
        command = [sys.executable, "-m", "tests.bench._memory", kind, str(tmp_path), "64", SPEC]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
        rows.append(json.loads(done.stdout))
    for row in rows:
        assert 10 < row["before"] < row["peak"] < 1000


def test_parts_are_chosen_by_name() -> None:
    command = [sys.executable, "-m", "tests.bench", "speed"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "throughput, cpu, memory, tokens" in done.stderr
