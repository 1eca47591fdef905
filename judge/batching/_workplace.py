"""What submitting and collecting share: the ledger's notes, the plan, and taking turns."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from itertools import islice
from typing import Any

from judge.batching._account import BatchAccount, BatchSettings
from judge.batching._jobs import Job, Stage, held_generations, jobs_of
from judge.canonical import digest
from judge.endpoint import Prices
from judge.errors import Incomplete, LedgerError
from judge.execution import CallRequest, LedgerWriter
from judge.ledger import BatchEvent, Ledger, this_owner

Plan = Callable[[], Iterable[CallRequest]]
"""The calls that a run would send now, each once; asked anew whenever the ledger has changed."""
Prove = Callable[[], Awaitable[None]]
"""Sends one of the calls live, so that a form that the server refuses fails before a batch."""
OnTick = Callable[[BatchAccount], None]

CLAIM_S = 48 * 3600.0
"""How long nobody else sends the calls of a job: the day that a batch has, and one to collect."""
_LEASE_S = 120.0
_CHUNK = 256


class Workplace:
    """One process at work on the batches of one model in one ledger."""

    def __init__(
        self,
        ledger: Ledger,
        writer: LedgerWriter,
        model: str,
        plan: Plan,
        prices: Prices | None,
        settings: BatchSettings,
        account: BatchAccount,
        on_tick: OnTick | None,
    ) -> None:
        self.ledger = ledger
        self.writer = writer
        self.model = model
        self.prices = prices
        self.settings = settings
        self.account = account
        self._plan = plan
        self._on_tick = on_tick
        self._owner = this_owner()
        self._turn = digest(["batches", model])

    def tick(self, phase: str) -> None:
        """Say what goes on."""
        self.account.phase = phase
        if self._on_tick is not None:
            self._on_tick(self.account)

    @contextlib.asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """While no other process submits or collects batches of this model in this ledger."""
        while True:
            claim = await self.writer.run(self.ledger.claim, {self._turn: 0}, self._owner, _LEASE_S)
            if self._turn in claim.granted:
                break
            self.tick("another process submits or collects")
            await asyncio.sleep(min(self.settings.poll_s, 1.0))
        keeper = asyncio.create_task(self._keep_turn())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await self.writer.run(self.ledger.release, self._owner)

    async def require_turn(self) -> None:
        """Raise Incomplete if another process took the turn over, as from one that hangs."""
        claim = await self.writer.run(self.ledger.claim, {self._turn: 0}, self._owner, _LEASE_S)
        if self._turn not in claim.granted:
            raise Incomplete(
                f"{self.model}: this process stood still, and another one took over its batches. "
                "Nothing was submitted twice; run the same command again."
            )

    async def _keep_turn(self) -> None:
        while True:
            await asyncio.sleep(_LEASE_S / 4)
            # The next renewal may succeed; whoever writes meanwhile hears of a broken ledger.
            with contextlib.suppress(LedgerError):
                await self.writer.run(self.ledger.renew, self._owner, _LEASE_S)

    async def requests(self) -> AsyncIterator[list[CallRequest]]:
        """The plan in chunks, read in the ledger's thread, without what the ledger holds."""
        stream = iter(await self.writer.run(self._plan))
        while chunk := await self.writer.run(lambda: list(islice(stream, _CHUNK))):
            held = await self.writer.run(held_generations, self.ledger, [r.key for r in chunk])
            yield [r for r in chunk if held.get(r.key, -1) < r.generation]

    async def note(self, job: str, status: str, **body: Any) -> None:
        """Note what happened to a job."""
        event = BatchEvent(batch=job, model=self.model, status=status, body=body)
        await self.writer.run(self.ledger.add_batch_event, event)

    async def release(self, job: Job, keys: Iterable[bytes] | None = None) -> None:
        """Give a job's claims back: of some calls, or all."""
        await self.writer.run(self.ledger.release, job.owner, keys)

    async def jobs(self) -> dict[str, Job]:
        """The model's jobs by name, oldest first."""
        return jobs_of(await self.writer.run(self.ledger.batch_events, self.model))

    async def abandon(self, job: Job) -> None:
        """Note that nothing of a job is at the server, and give its calls back."""
        await self.note(job.name, Stage.ABANDONED)
        await self.release(job)
