"""A run against an endpoint: the fallback ladder, interrupts, and ticks for who looks on."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Protocol, TypeVar
from uuid import uuid4

from judge.endpoint import Capabilities, ChatEndpoint, UnsupportedParameter
from judge.errors import EndpointError
from judge.execution._executor import Executor, Progress, Task
from judge.execution._writer import LedgerWriter
from judge.ledger import Ledger

INTERRUPTED = "interrupted"
"""Why a run stopped that a person or a supervisor ended (SIGINT, SIGTERM)."""

OUT_OF_TIME = "time limit"
"""Why a run stopped whose deadline came."""

_TICK_S = 0.2
_AT_ONCE = 2  # interrupts after which calls in flight are not waited for


class Account(Protocol):
    """What every run keeps account of."""

    progress: Progress
    sent: int
    """HTTP requests, retries included."""
    given_up: list[str]
    """What the server refused and is no longer asked for, with its words."""


T = TypeVar("T")
A = TypeVar("A", bound=Account)


class SessionTask(Task[T], Protocol[T, A]):
    """A task of one rung of the ladder: it keeps an account and knows what the server accepts."""

    outcome: A

    def capabilities_are_known(self) -> bool:
        """Whether the ledger notes that the endpoint accepts requests of this form."""
        ...

    def remember_capabilities(self) -> None:
        """Note in the ledger what the endpoint was found to accept."""
        ...


def new_run_id(started: datetime) -> str:
    """The id of a run that starts now: the time, so that ids sort by it, and six hex digits."""
    return f"{started:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"


def carry_on(outcome: A, earlier: A | None) -> A:
    """The account of a rung, with what the rung before took and was refused."""
    if earlier is not None:
        outcome.progress.carry(earlier.progress)
        outcome.sent, outcome.given_up = earlier.sent, earlier.given_up
    return outcome


async def run_session(
    ledger: Ledger,
    writer: LedgerWriter,
    *,
    capabilities: Capabilities,
    begin: Callable[[Capabilities, A | None], SessionTask[T, A]],
    units: Callable[[], Iterable[T]],
    give_up: Callable[[Capabilities, str | None], Capabilities | None],
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: Callable[[A, ChatEndpoint], None] | None = None,
    deadline: float | None = None,
) -> A:
    """Run a plan to its end, one rung lower each time that the server refuses a parameter.

    ``begin`` sets a task up for a rung; it is given the account of the rung before, whose costs it
    carries on. ``units`` is the plan, read anew for every rung. ``give_up`` names the next rung
    after a parameter was refused (None: the server did not say which), or None where nothing is
    left to give up. ``on_tick`` is called a few times per second and at the end of every rung.

    SIGINT and SIGTERM stop the run and let calls in flight come back; a second one does not wait.
    A ``deadline`` (of `time.monotonic`) stops it as one signal does.
    Raises EndpointError when the run cannot go on; all finished work is kept.
    """
    earlier: A | None = None
    while True:
        task = begin(capabilities, earlier)
        outcome = task.outcome
        endpoint = open_endpoint()
        try:
            await _run(ledger, writer, task, units(), endpoint, on_tick, deadline)
            return outcome
        except UnsupportedParameter as problem:
            if outcome.progress.stopped:
                return outcome
            earlier = outcome
            if endpoint.traffic.succeeded:
                continue  # others were accepted meanwhile: it was one prompt's affair
            lesser = give_up(capabilities, problem.parameter)
            if lesser is None:
                raise EndpointError(
                    f"{endpoint.spec.identity}: the server rejects every request "
                    f"({problem.detail}). Check the model and its settings."
                ) from problem
            refused = problem.parameter or "structured output"
            outcome.given_up.append(f"{refused}: {problem.detail}")
            capabilities = lesser


async def _run(
    ledger: Ledger,
    writer: LedgerWriter,
    task: SessionTask[T, A],
    units: Iterable[T],
    endpoint: ChatEndpoint,
    on_tick: Callable[[A, ChatEndpoint], None] | None,
    deadline: float | None,
) -> None:
    """One rung; an interrupt lets calls in flight come back, a second one does not."""
    outcome = task.outcome
    async with endpoint:
        executor: Executor[T] = Executor(
            ledger,
            writer,
            endpoint,
            outcome.progress,
            proven=task.capabilities_are_known,
            on_proof=task.remember_capabilities,
        )
        ticker = asyncio.create_task(_tick(outcome, endpoint, on_tick))
        try:
            with _interrupts(executor), _time_limit(executor, deadline):
                await executor.run(task, units)
        finally:
            ticker.cancel()
            outcome.sent += endpoint.traffic.sent
            if on_tick is not None:
                on_tick(outcome, endpoint)


@contextmanager
def _interrupts(executor: Executor[Any]) -> Iterator[None]:
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


@contextmanager
def _time_limit(executor: Executor[Any], deadline: float | None) -> Iterator[None]:
    """Stop the run when the deadline comes."""
    if deadline is None:
        yield
        return
    left = max(0.0, deadline - time.monotonic())
    timer = asyncio.get_running_loop().call_later(left, executor.stop, OUT_OF_TIME)
    try:
        yield
    finally:
        timer.cancel()


async def _tick(
    outcome: A, endpoint: ChatEndpoint, on_tick: Callable[[A, ChatEndpoint], None] | None
) -> None:
    while on_tick is not None:
        on_tick(outcome, endpoint)
        await asyncio.sleep(_TICK_S)
