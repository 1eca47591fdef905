"""Pre-filling the ledger with calls that a provider does in batches.

The plan is the calls that a run would send now. They go out in files; what comes back is appended
to the ledger under the same keys, so that the run itself finds them there and sends the rest.

What is written before what makes it safe to end at any moment: a job is noted as intended before
its calls are claimed, as prepared (with the list of its lines) before anything is sent, and its
name is in the batch's metadata. A later process therefore finds each batch by the ledger's notes
or in the server's list, and submits only what neither knows. The claims belong to the job, so that
no other process sends its calls meanwhile. Submitting and collecting are done by one process at a
time; waiting is not.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from judge.batching._account import BatchAccount, BatchSettings
from judge.batching._collect import Collector
from judge.batching._jobs import Job, Stage
from judge.batching._server import BatchServer, BatchState, NotThere
from judge.batching._submission import Submission
from judge.batching._workplace import CLAIM_S, OnTick, Plan, Prove, Workplace
from judge.endpoint import ModelSpec, Prices, TransientFault
from judge.errors import EndpointError, Incomplete
from judge.execution import writing
from judge.ledger import Ledger

_OUTAGE = 20
_GROWTH = 1.5


async def prefill(
    ledger: Ledger,
    spec: ModelSpec,
    plan: Plan,
    *,
    prove: Prove,
    prices: Prices | None = None,
    settings: BatchSettings | None = None,
    account: BatchAccount | None = None,
    on_tick: OnTick | None = None,
) -> BatchAccount:
    """Have the calls of a plan done in batches, as far as they will, and store what comes back.

    Batches of the same calls that are at the server already are collected instead of submitted
    again. What the plan still lacks then (lines that failed, follow-ups to what came back) is
    handed in again while ``settings.rounds`` lasts and the round before brought something.
    ``account`` is filled while it goes on, for who is interrupted.

    Raises UsageError for a budget that the worst case of the calls exceeds, EndpointError for a
    server without batches or one that refuses them, Incomplete when the server stays silent, and
    whatever ``prove`` raises. All that was collected is in the ledger, and no batch is cancelled.
    """
    settings = settings or BatchSettings()
    account = account or BatchAccount()
    async with writing(ledger) as writer, BatchServer(spec, settings) as server:
        work = Workplace(ledger, writer, spec.identity, plan, prices, settings, account, on_tick)
        await server.require_batches()
        for number in range(settings.rounds):
            collected = account.collected
            async with work.alone():
                jobs = await Submission(work, server, prove).submit(again=number > 0)
            if not jobs:
                break
            account.rounds += 1
            await _Watch(work, server, jobs).until_collected()
            # The plan says whether anything is left: failed lines, and repairs of what came back.
            if account.pending or account.stopped or account.collected == collected:
                break
        if not account.pending:
            work.tick("done")
    return account


class _Watch:
    """Looks at batches until they have ended, and takes in what they brought."""

    def __init__(self, work: Workplace, server: BatchServer, jobs: list[Job]) -> None:
        self._work = work
        self._server = server
        self._jobs = jobs
        self._waiting = {job.name: job for job in jobs}
        self._states: dict[str, BatchState] = {}

    async def until_collected(self) -> None:
        """Collect all jobs as they end; look once, where not to wait."""
        account, settings = self._work.account, self._work.settings
        account.batches += [job.batch for job in self._jobs if job.batch not in account.batches]
        silent, pause = 0, settings.poll_s
        unknown: EndpointError | None = None
        while True:
            for job in list(self._waiting.values()):
                try:
                    await self._look(job)
                    silent = 0
                except NotThere as problem:
                    # Raised at the end, so that it keeps nobody from collecting the others.
                    unknown = await self._missed(job, problem)
                    del self._waiting[job.name]
                except TransientFault as fault:
                    silent += 1
                    account.phase = f"the server does not answer: {fault}"
                    if silent >= _OUTAGE:
                        raise Incomplete(
                            f"{self._work.model}: the server does not answer ({fault}). The "
                            "batches go on there; run the same command again to collect them."
                        ) from fault
            account.next_look_s = pause if self._waiting else 0.0
            self._show(account.phase if silent else "")
            if not self._waiting or not settings.wait:
                break
            await asyncio.sleep(pause)
            pause = min(pause * _GROWTH, max(settings.longest_poll_s, settings.poll_s))
        account.pending = sum(job.count for job in self._waiting.values())
        if unknown is not None:
            raise unknown

    async def _look(self, job: Job) -> None:
        state = self._states[job.name] = await self._server.retrieve(job.batch)
        if state.ended:
            self._work.tick(f"collecting {job.count:,} calls")
            async with self._work.alone():
                await self._take(job.name, state)
            del self._waiting[job.name]

    def _show(self, trouble: str) -> None:
        account, states = self._work.account, self._states
        account.total = sum(job.count for job in self._jobs)
        account.done = sum(state.completed for state in states.values())
        account.erred = sum(state.failed for state in states.values())
        at = sorted({states[name].status for name in self._waiting if name in states})
        self._work.tick(trouble or ", ".join(at) or "collected")

    async def _missed(self, job: Job, problem: NotThere) -> EndpointError:
        """What to say of a batch that the server does not know.

        A key of another project sees no batch of this one; taking it for lost at once would mean
        to pay for its calls again.
        """
        age = (datetime.now(UTC) - datetime.fromisoformat(job.submitted_at)).total_seconds()
        if age > CLAIM_S:
            async with self._work.alone():
                await self._work.note(job.name, Stage.LOST)
                await self._work.release(job)
            remedy = "It is taken for lost: run the same command again to submit its calls anew."
        else:
            remedy = (
                "Is it the key and project that submitted it? If the batch is gone for good, its "
                "calls can be submitted again 48 hours after the first time."
            )
        return EndpointError(
            f"{self._work.model}: the server knows no batch {job.batch} ({problem}), submitted "
            f"{job.submitted_at}. {remedy}"
        )

    async def _take(self, name: str, state: BatchState) -> None:
        """Take in a job that has ended, unless another process did meanwhile."""
        work, account = self._work, self._work.account
        job = (await work.jobs())[name]
        if job.finished:
            return
        if state.status == "failed":
            await work.note(name, Stage.FAILED, problem=state.problem)
            await work.release(job)
            account.failed["refused with its batch"] += job.count
            account.stopped = (
                f"the server refused batch {state.id}: {state.problem or 'no reason given'}"
            )
            return
        collector = Collector(work)
        stage, body = await collector.collect(job, state, self._server)
        await work.note(name, stage, **body)
        await work.release(job, collector.reopened)
