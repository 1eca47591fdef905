"""Writing to the ledger from asynchronous code: group commit in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from judge.errors import LedgerError
from judge.ledger import Attempt, Call, Ledger, StoredVerdict

T = TypeVar("T")

_PAUSES_S = (0.1, 0.5, 2.0)


class LedgerWriter:
    """Group commit: whatever is waiting goes into one transaction, in the ledger's own thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._calls: list[Call] = []
        self._attempts: list[Attempt] = []
        self._verdicts: list[StoredVerdict] = []
        self._committed: asyncio.Future[None] | None = None
        self._flusher: asyncio.Task[None] | None = None

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Call a ledger method in the ledger's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def commit(
        self, calls: Iterable[Call] = (), verdicts: Iterable[StoredVerdict] = ()
    ) -> None:
        """Append, and return once it is durable."""
        self._calls += calls
        self._verdicts += verdicts
        await asyncio.shield(self._next_commit())

    def note(self, attempt: Attempt) -> None:
        """Append a failed attempt with the next commit, without waiting for it."""
        self._attempts.append(attempt)

    def _next_commit(self) -> asyncio.Future[None]:
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.create_task(self._flush())
        return self._committed

    async def _flush(self) -> None:
        while self._committed is not None:
            waiting, self._committed = self._committed, None
            calls, self._calls = self._calls, []
            attempts, self._attempts = self._attempts, []
            verdicts, self._verdicts = self._verdicts, []
            try:
                await self._append(calls, attempts, verdicts)
            except Exception as error:  # noqa: BLE001 - handed to whoever waits for the commit
                # What was paid for is tried once more at the end; verdicts can be read again.
                self._calls = calls + self._calls
                self._attempts = attempts + self._attempts
                waiting.set_exception(error)
            else:
                waiting.set_result(None)

    async def _append(
        self, calls: list[Call], attempts: list[Attempt], verdicts: list[StoredVerdict]
    ) -> None:
        """Append a batch; a database that is locked or in conflict gets a few more chances."""
        for pause in (*_PAUSES_S, None):
            try:
                await self.run(
                    lambda: self._ledger.append(calls=calls, attempts=attempts, verdicts=verdicts)
                )
                return
            except LedgerError:
                if pause is None:
                    raise
                await asyncio.sleep(pause)

    async def settle(self) -> None:
        """Wait for commits under way, and commit what is left."""
        if self._flusher is not None:
            await asyncio.wait([self._flusher])
        if self._calls or self._attempts or self._verdicts:
            await self.commit()

    async def close(self) -> None:
        """Commit what is left and end the thread."""
        try:
            await self.settle()
        finally:
            self._thread.shutdown(wait=True)


@contextlib.asynccontextmanager
async def writing(ledger: Ledger) -> AsyncIterator[LedgerWriter]:
    """A writer for the length of a run; what is waiting at the end is committed."""
    writer = LedgerWriter(ledger)
    try:
        yield writer
    finally:
        await writer.close()
