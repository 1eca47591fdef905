"""The executor: looks up, claims, sends and commits the calls of a plan.

A plan is a stream of jobs, each one model call that somebody wants. The executor looks up which
calls the ledger holds, claims the others, sends them, and commits what came back before a job
counts as done, so that a kill loses at most the calls in flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Generic, Protocol, TypeVar

from judge.endpoint import (
    BudgetSpent,
    ChatEndpoint,
    Halted,
    RejectedRequest,
    StillFailing,
    TransientFault,
    UnsupportedParameter,
    Usage,
)
from judge.execution._writer import LedgerWriter
from judge.ledger import Attempt, Call, Ledger, this_owner

LEASE_S = 120.0
_CHUNK = 64
_POLL_S = 0.5
_LOOK_S = 0.02
_REJECTIONS_TO_STOP = 5
_OUTAGE = 20
_LIMITS = ("max_tokens", "max_completion_tokens")
_NOT_SENT = "not sent: the run stopped before"
_LEAVES_OPEN = (StillFailing, RejectedRequest, BudgetSpent, Halted)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallRequest:
    """A call that is wanted: its key, and the body that would be sent."""

    key: bytes
    body: bytes
    max_tokens: int
    purpose: str
    sample: int
    occasion: str
    generation: int = 0
    parent: bytes | None = None
    """The key of the call that this one follows up."""


@dataclass(slots=True)
class Job(Generic[T]):
    """One call and the units that wait for it (several, where answers are identical).

    ``call`` is set where the ledger holds the call but its reply asks for a follow-up.
    """

    request: CallRequest
    waiting: list[T]
    call: Call | None = None


@dataclass(slots=True)
class Known(Generic[T]):
    """What the ledger says about units: how many it settled, and the jobs for the others."""

    jobs: list[Job[T]]
    settled: Callable[[], None]
    """Counts the settled units; called in the event loop, once they are stored."""


class Task(Protocol[T]):
    """What the executor works for: makes jobs out of units, and results out of calls."""

    def known(self, units: list[T]) -> Known[T]:
        """Settle the units that need no call; return jobs for the others.

        Runs in the ledger's thread.
        """
        ...

    async def finish(
        self, request: CallRequest, units: list[T], call: Call, executor: Executor[T], fresh: bool
    ) -> None:
        """Turn a call into results and commit them, together with the call if it is fresh."""
        ...


@dataclass(slots=True)
class Progress:
    """What a run has done so far; read by the progress display and the summary."""

    planned: int = 0
    settled: int = 0
    from_ledger: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    unpriced: int = 0
    stopped: str = ""
    open_why: dict[str, int] = field(default_factory=dict)
    last_rejection: str = ""

    @property
    def open(self) -> int:
        """Units without a result: tries failed, or the run stopped before."""
        return self.planned - self.settled

    def carry(self, earlier: Progress) -> None:
        """Take over what an earlier part of the same run took."""
        self.prompt_tokens += earlier.prompt_tokens
        self.cached_tokens += earlier.cached_tokens
        self.completion_tokens += earlier.completion_tokens
        self.cost += earlier.cost
        self.unpriced += earlier.unpriced

    def book(self, usage: Usage, cost: float | None) -> None:
        """Count what a reply took, whether it could be used or not."""
        self.prompt_tokens += usage.prompt_tokens or 0
        self.cached_tokens += usage.cached_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.cost += cost or 0.0
        self.unpriced += cost is None


class Executor(Generic[T]):
    """Runs a plan against one endpoint and one ledger.

    ``proven`` asks the ledger whether the endpoint is known to accept requests of this form (this
    run, an earlier one or another process may have seen it); ``on_proof`` notes that it does. Both
    run in the ledger's thread. Only without that proof is a server that rejects one request after
    the other taken to refuse the form rather than the prompts.
    """

    def __init__(
        self,
        ledger: Ledger,
        writer: LedgerWriter,
        endpoint: ChatEndpoint,
        progress: Progress,
        *,
        proven: Callable[[], bool],
        on_proof: Callable[[], None],
    ) -> None:
        self.progress = progress
        self.writer = writer
        self._ledger = ledger
        self._endpoint = endpoint
        self._ask_proof = proven
        self._proven = False
        self._on_proof = on_proof
        self._owner = this_owner()
        self._in_flight: dict[bytes, Job[T]] = {}
        self._queue: asyncio.Queue[Job[T]] = asyncio.Queue(endpoint.limit.maximum)
        self._executing = 0
        self._stopping = asyncio.Event()
        self._failures_in_a_row = 0

    def stop(self, why: str) -> None:
        """Send nothing new; what is on the wire may come back, for one time limit at most."""
        self.progress.stopped = self.progress.stopped or why
        self._endpoint.halt()
        self._stopping.set()

    async def run(self, task: Task[T], units: Iterable[T]) -> None:
        """Work until every unit is settled or open.

        The plan is read as it is needed; what is kept in memory are calls in flight, and units
        that another process has under way. Raises EndpointError, UnsupportedParameter or
        LedgerError after keeping all finished work.
        """
        workers = [
            asyncio.create_task(self._work(task)) for _ in range(self._endpoint.limit.maximum)
        ]
        keeper = asyncio.create_task(self._keep_lease())
        plan = asyncio.create_task(self._feed_and_drain(task, units))
        watch = asyncio.create_task(self._end_after_stop())
        tasks = [plan, watch, keeper, *workers]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            failures = [error for ended in done if (error := ended.exception()) is not None]
            if failures:
                self._endpoint.halt()
                self._stopping.set()
                await self._calls_returned()
                raise failures[0]
        finally:
            for running in tasks:
                running.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.writer.settle()
            await self.writer.run(self._ledger.release, self._owner)

    async def _feed_and_drain(self, task: Task[T], units: Iterable[T]) -> None:
        await self._feed(task, units)
        await self._queue.join()

    async def _end_after_stop(self) -> None:
        """Return when a stopped run has nothing on the wire any more; never otherwise."""
        await self._stopping.wait()
        await self._calls_returned()

    async def _calls_returned(self) -> None:
        """Wait until calls on the wire came back and are kept, for one time limit at most."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._endpoint.timeout_s
        while self._executing > self._endpoint.dormant and loop.time() < deadline:
            await asyncio.sleep(_LOOK_S)

    async def _feed(self, task: Task[T], units: Iterable[T]) -> None:
        """Look units up, claim their calls and queue them; come back for what others hold."""
        held_elsewhere: list[T] = []
        for chunk in chunked(units):
            if self._stopping.is_set():
                return
            held_elsewhere += await self._offer(task, chunk)
        while held_elsewhere and not self._stopping.is_set():
            await asyncio.sleep(_POLL_S)
            again, held_elsewhere = held_elsewhere, []
            for chunk in chunked(again):
                held_elsewhere += await self._offer(task, chunk)

    async def _offer(self, task: Task[T], units: list[T]) -> list[T]:
        """Queue what of the units is ours to do; return the units that another process does."""
        known = await self.writer.run(task.known, units)
        known.settled()
        fresh: dict[bytes, Job[T]] = {}
        for job in known.jobs:
            running = self._in_flight.get(job.request.key) or fresh.get(job.request.key)
            if running is None:
                fresh[job.request.key] = job
            else:
                running.waiting += job.waiting
        wanted = {key: job.request.generation for key, job in fresh.items() if job.call is None}
        claim = await self.writer.run(self._ledger.claim, wanted, self._owner, LEASE_S)
        elsewhere: list[T] = []
        ours = []
        for key, job in fresh.items():
            if job.call is not None or key in claim.granted:
                self._in_flight[key] = job
                ours.append(job)
            else:
                elsewhere += job.waiting
        for job in ours:
            await self._queue.put(job)
        return elsewhere

    async def _keep_lease(self) -> None:
        while True:
            await asyncio.sleep(LEASE_S / 4)
            await self.writer.run(self._ledger.renew, self._owner, LEASE_S)

    async def _work(self, task: Task[T]) -> None:
        while True:
            job = await self._queue.get()
            self._executing += 1
            try:
                if self._stopping.is_set():
                    self._leave_open(job.waiting, _NOT_SENT)
                else:
                    await self._execute(task, job)
            finally:
                self._executing -= 1
                del self._in_flight[job.request.key]
                self._queue.task_done()

    async def _execute(self, task: Task[T], job: Job[T]) -> None:
        try:
            fresh = job.call is None
            call = job.call or await self.call(job.request)
            # Units of the same call can join while results are committed.
            while job.waiting:
                units, job.waiting = job.waiting, []
                try:
                    await task.finish(job.request, units, call, self, fresh)
                except _LEAVES_OPEN:
                    job.waiting = units + job.waiting
                    raise
                fresh = False
        except _LEAVES_OPEN as problem:
            why = self._why(problem)
            try:
                # Whoever else wants the call need not wait for the end of this run.
                await self._give_back(job.request.key)
            finally:
                # Units can join until here; the caller ends the job without a further await.
                self._leave_open(job.waiting, why)

    async def _give_back(self, key: bytes) -> None:
        if not self._stopping.is_set():
            await self.writer.run(self._ledger.release, self._owner, [key])

    def _leave_open(self, units: list[T], why: str) -> None:
        self.progress.open_why[why] = self.progress.open_why.get(why, 0) + len(units)

    def _why(self, problem: Exception) -> str:
        """Why units stay open, in words; stops the run where going on would be in vain."""
        match problem:
            case StillFailing(last=last):
                self._failed_again(f"the endpoint does not recover ({last})")
                return f"still failing after all tries ({last.kind})"
            case RejectedRequest(status_code=status, detail=detail):
                self.progress.last_rejection = detail
                self._failed_again(f"the server rejects one request after the other ({detail})")
                return f"rejected by the server ({status})"
            case BudgetSpent():
                self.stop("the budget does not cover the worst case of another call")
        return _NOT_SENT

    def _failed_again(self, why: str) -> None:
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= _OUTAGE:
            self.stop(why)

    async def call(self, request: CallRequest) -> Call:
        """Send one request; what comes back is not stored yet."""

        def noted(fault: TransientFault, latency_s: float) -> None:
            self.writer.note(
                Attempt(
                    key=request.key,
                    error=fault.kind,
                    status_code=fault.status_code,
                    detail=fault.detail,
                    latency_s=latency_s,
                    at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                )
            )
            if fault.usage is not None:
                self.progress.book(fault.usage, self._endpoint.cost(fault.usage))

        try:
            completion = await self._endpoint.complete(request.body, request.max_tokens, noted)
        except UnsupportedParameter as problem:
            # A limit that is too high can be one prompt's affair; other parameters cannot.
            of_one_prompt = problem.parameter in _LIMITS and await self._is_proven()
            if of_one_prompt or self._endpoint.traffic.succeeded:
                raise RejectedRequest(400, problem.detail) from problem
            raise
        except RejectedRequest as problem:
            enough = min(_REJECTIONS_TO_STOP, self.progress.planned)
            if self._endpoint.traffic.rejected >= enough and not await self._is_proven():
                raise UnsupportedParameter(None, problem.detail) from problem
            raise
        if not self._proven:
            self._proven = True
            await self.writer.run(self._on_proof)
        self._failures_in_a_row = 0
        self.progress.book(completion.usage, completion.cost)
        return Call(
            key=request.key,
            generation=request.generation,
            parent=request.parent,
            purpose=request.purpose,
            model=self._endpoint.spec.identity,
            sample=request.sample,
            occasion=request.occasion,
            request=request.body,
            response=completion.body,
            status_code=completion.status_code,
            prompt_tokens=completion.usage.prompt_tokens,
            cached_tokens=completion.usage.cached_tokens,
            completion_tokens=completion.usage.completion_tokens,
            cost=completion.cost,
            latency_s=completion.latency_s,
            attempts=completion.attempts,
            started_at=completion.started_at,
        )

    async def _is_proven(self) -> bool:
        if not self._proven and await self.writer.run(self._ask_proof):
            self._proven = True
        return self._proven

    async def call_once(self, request: CallRequest) -> tuple[Call, bool]:
        """A follow-up call: from the ledger, or claimed and sent. The flag says it is fresh.

        Waits while another process has it under way.
        """
        while not self._stopping.is_set():
            wanted = {request.key: request.generation}
            claim = await self.writer.run(self._ledger.claim, wanted, self._owner, LEASE_S)
            if request.key in claim.granted:
                try:
                    return await self.call(request), True
                except _LEAVES_OPEN:
                    await self._give_back(request.key)
                    raise
            if request.key in claim.finished:
                held = await self.writer.run(self._ledger.calls, [request.key])
                return held[request.key], False
            await asyncio.sleep(_POLL_S)
        raise Halted


def chunked(units: Iterable[T]) -> Iterator[list[T]]:
    """The units in lists of a handy length, read from the stream as they are needed."""
    stream = iter(units)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk
