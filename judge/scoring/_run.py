"""A scoring run, from start to end; and what one would send."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import uuid4

from judge.endpoint import (
    Capabilities,
    ChatEndpoint,
    ModelSpec,
    UnsupportedParameter,
    estimated_tokens,
)
from judge.errors import EndpointError
from judge.execution import Executor, LedgerWriter, Progress, chunked, writing
from judge.ledger import Ledger, Run
from judge.rubric import Rubric, rubric_to_dict
from judge.scoring._plan import Item, ScoreRun, ScoreSettings, Unit, planned_units, rulers_of
from judge.scoring._task import ScoringTask

INTERRUPTED = "interrupted"
"""Why a run stopped that a person or a supervisor ended (SIGINT, SIGTERM)."""

_TICK_S = 0.2
_AT_ONCE = 2  # interrupts after which calls in flight are not waited for

OnTick = Callable[[ScoreRun, ChatEndpoint | None], None]


async def score(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: OnTick | None = None,
) -> ScoreRun:
    """Judge every item on every applicable criterion; what the ledger holds is not paid again.

    Where the server refuses structured output or a decoding parameter before it accepted anything,
    the next rung of the fallback ladder is tried, remembered in the ledger, and is part of the
    rulers from then on. Raises EndpointError when the run cannot go on; all finished work is kept.
    """
    capabilities = _known_capabilities(ledger, spec)
    earlier: ScoreRun | None = None
    async with writing(ledger) as writer:
        while True:
            task = _start(ledger, items, rubric, spec, settings, capabilities, earlier)
            outcome = task.outcome
            if spec.offline:
                await _run_offline(task, items, writer, on_tick)
                return outcome
            endpoint = open_endpoint()
            try:
                await _run_endpoint(task, items, writer, endpoint, on_tick)
                return outcome
            except UnsupportedParameter as problem:
                if outcome.progress.stopped:
                    return outcome
                earlier = outcome
                if endpoint.traffic.succeeded:
                    continue  # others were accepted meanwhile: it was one prompt's affair
                lesser = capabilities.without(problem.parameter, settings.decoding)
                if lesser is None:
                    raise EndpointError(
                        f"{spec.identity}: the server rejects every request ({problem.detail}). "
                        "Check the model and its settings."
                    ) from problem
                refused = problem.parameter or "structured output"
                outcome.given_up.append(f"{refused}: {problem.detail}")
                capabilities = lesser


@dataclass(slots=True)
class Workload:
    """What a run would send: units, calls that the ledger lacks, tokens (a cautious guess)."""

    planned: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def workload(
    ledger: Ledger, items: Sequence[Item], rubric: Rubric, spec: ModelSpec, settings: ScoreSettings
) -> Workload:
    """What `score` would send for the same arguments; nothing is sent and nothing is stored.

    Repairs of unusable replies and repeated tries are not foreseen.
    """
    capabilities = _known_capabilities(ledger, spec)
    rulers = rulers_of(rubric, spec, settings.decoding, capabilities)
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    outcome = ScoreRun(run="", rulers=rulers, progress=Progress(), started_at=now)
    task = ScoringTask(ledger, rubric, spec, settings, capabilities, outcome)
    work = Workload()
    seen: set[bytes] = set()
    for units in chunked(planned_units(items, rubric, settings.samples)):
        work.planned += len(units)
        for request in task.missing_calls(units):
            if request.key not in seen:
                seen.add(request.key)
                work.calls += 1
                work.prompt_tokens += estimated_tokens(request.body)
                work.completion_tokens += request.max_tokens
    return work


def _known_capabilities(ledger: Ledger, spec: ModelSpec) -> Capabilities:
    known = ledger.capabilities(spec.identity)
    return Capabilities() if known is None else Capabilities.from_dict(known)


def _start(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    capabilities: Capabilities,
    earlier: ScoreRun | None = None,
) -> ScoringTask:
    """Record the run in the ledger and set its task up; what ``earlier`` took is carried on."""
    now = datetime.now(UTC)
    rulers = rulers_of(rubric, spec, settings.decoding, capabilities)
    run = f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
    planned = sum(1 for _ in planned_units(items, rubric, settings.samples))
    body = {
        "judge": spec.identity,
        "rubric": ledger.add_document("rubric", rubric_to_dict(rubric)).hex(),
        "rulers": rulers,
        "samples": settings.samples,
        "occasion": settings.occasion,
        "capabilities": capabilities.to_dict(),
        "planned": planned,
    }
    ledger.add_run(
        Run(run=run, kind="score", body=body, started_at=now.isoformat(timespec="seconds")),
        [(item.answer_id, item.question) for item in items],
    )
    progress = Progress(planned=planned)
    if earlier is not None:
        progress.carry(earlier.progress)
    outcome = ScoreRun(
        run=run,
        rulers=rulers,
        progress=progress,
        sent=0 if earlier is None else earlier.sent,
        given_up=[] if earlier is None else earlier.given_up,
        started_at=now.isoformat(timespec="milliseconds"),
    )
    return ScoringTask(ledger, rubric, spec, settings, capabilities, outcome)


async def _run_offline(
    task: ScoringTask, items: Sequence[Item], writer: LedgerWriter, on_tick: OnTick | None
) -> None:
    for units in chunked(planned_units(items, task.rubric, task.settings.samples)):
        known = await writer.run(task.known, units)
        known.settled()
        if on_tick is not None:
            on_tick(task.outcome, None)


async def _run_endpoint(
    task: ScoringTask,
    items: Sequence[Item],
    writer: LedgerWriter,
    endpoint: ChatEndpoint,
    on_tick: OnTick | None,
) -> None:
    """Run the plan; an interrupt lets calls in flight come back, a second one does not."""
    units = planned_units(items, task.rubric, task.settings.samples)
    async with endpoint:
        executor: Executor[Unit] = Executor(
            task.ledger,
            writer,
            endpoint,
            task.outcome.progress,
            proven=task.capabilities_are_known,
            on_proof=task.remember_capabilities,
        )
        ticker = asyncio.create_task(_tick(task.outcome, endpoint, on_tick))
        try:
            with _interrupts(executor):
                await executor.run(task, units)
        finally:
            ticker.cancel()
            task.outcome.sent += endpoint.traffic.sent
            if on_tick is not None:
                on_tick(task.outcome, endpoint)


@contextmanager
def _interrupts(executor: Executor[Unit]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into a stop of the run; outside of the main thread, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    running = asyncio.current_task()
    assert running is not None
    received = 0

    def interrupted() -> None:
        nonlocal received
        received += 1
        executor.stop(INTERRUPTED)
        if received >= _AT_ONCE:
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    try:
        yield
    except asyncio.CancelledError:
        if received < _AT_ONCE:
            raise
        running.uncancel()
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
        if received:
            executor.progress.stopped = INTERRUPTED


async def _tick(outcome: ScoreRun, endpoint: ChatEndpoint, on_tick: OnTick | None) -> None:
    while on_tick is not None:
        on_tick(outcome, endpoint)
        await asyncio.sleep(_TICK_S)
