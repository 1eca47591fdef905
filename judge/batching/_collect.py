"""Collecting: from the result files of a batch to calls in the ledger."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from judge.batching._jobs import (
    DOCUMENT,
    ENDS,
    Job,
    Stage,
    key_of,
    line_id,
    not_held,
    outstanding,
)
from judge.batching._results import MISSING, Failure, Results, Settled
from judge.batching._server import BatchServer, BatchState, NotThere
from judge.batching._workplace import Workplace
from judge.endpoint import Usage
from judge.execution import CallRequest
from judge.ledger import Attempt, Call

_GONE = "results gone"


class Collector:
    """Takes one batch in. Doing it again, after a kill in the middle, changes nothing.

    Calls are appended first, failed lines noted last; the job's end is noted by the caller.
    """

    def __init__(self, work: Workplace) -> None:
        self.reopened: list[bytes] = []
        """Keys of lines that failed; their claims can go."""
        self._work = work

    async def collect(
        self, job: Job, state: BatchState, server: BatchServer
    ) -> tuple[Stage, dict[str, Any]]:
        """Append the calls of the plan that the batch settled; what to note of the job's end.

        Outcomes of calls that the plan does not have are left for the plan that has them: the
        result files are read again then.
        """
        asked = await self._work.writer.run(outstanding, self._work.ledger, job)
        results, gone = await self._results(state, server, asked)
        collected = 0
        unclear = set(asked)
        async for chunk in self._work.requests():
            calls = []
            for request in chunk:
                line = line_id(request)
                if line in unclear and line in results.settled:
                    calls.append(self._call(request, results.settled[line], state))
                    unclear.discard(line)
            if calls:
                await self._work.writer.commit(calls=calls)
            # Counted once they are stored, so that an interrupted account says what is there.
            for call in calls:
                self._work.account.book(
                    Usage(call.prompt_tokens, call.cached_tokens, call.completion_tokens), call.cost
                )
            collected += len(calls)
            self._work.account.collected += len(calls)
        others = await self._work.writer.run(not_held, self._work.ledger, unclear)
        failed = others - results.settled.keys()
        reasons = await self._note_failures(sorted(failed), results, gone)
        self.reopened = [key_of(line) for line in sorted(failed)]
        self._work.account.strange.update(results.strange)
        document = ""
        if failed:
            key = await self._work.writer.run(
                self._work.ledger.add_document, DOCUMENT, sorted(failed)
            )
            document = key.hex()
        return ENDS[state.status], {
            "collected": collected,
            "failed": dict(reasons),
            "strange": dict(results.strange),
            "open": document,
            "left": len(others) - len(failed),
        }

    async def _results(
        self, state: BatchState, server: BatchServer, asked: set[str]
    ) -> tuple[Results, bool]:
        """Both result files; the flag says that one is not at the server any more."""
        results, gone = Results(), False
        for file in (state.output_file, state.error_file):
            if file is None:
                continue
            try:
                data = await server.content(file)
            except NotThere:
                gone = True
                continue
            await asyncio.to_thread(results.read, data, asked)
        return results, gone

    async def _note_failures(self, lines: list[str], results: Results, gone: bool) -> Counter[str]:
        """Note every failed line as an attempt, and count the reasons."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        absent = Failure(_GONE if gone else MISSING, None, "in none of the batch's result files")
        reasons: Counter[str] = Counter()
        attempts = []
        for line in lines:
            failure = results.failed.get(line, absent)
            reasons[failure.reason] += 1
            if failure.usage is not None:
                self._work.account.book(failure.usage, self._cost(failure.usage))
            attempts.append(
                Attempt(
                    key=key_of(line),
                    error=failure.reason,
                    status_code=failure.status_code,
                    detail=failure.detail,
                    latency_s=0.0,
                    at=now,
                )
            )
        if attempts:
            await self._work.writer.run(lambda: self._work.ledger.append(attempts=attempts))
        self._work.account.failed.update(reasons)
        return reasons

    def _call(self, request: CallRequest, settled: Settled, state: BatchState) -> Call:
        began = state.began_at or state.created_at
        started = datetime.fromtimestamp(began, UTC) if began else datetime.now(UTC)
        return Call(
            key=request.key,
            generation=request.generation,
            parent=request.parent,
            purpose=request.purpose,
            model=self._work.model,
            sample=request.sample,
            occasion=request.occasion,
            request=request.body,
            response=settled.body,
            status_code=settled.status_code,
            prompt_tokens=settled.usage.prompt_tokens,
            cached_tokens=settled.usage.cached_tokens,
            completion_tokens=settled.usage.completion_tokens,
            cost=self._cost(settled.usage),
            latency_s=float(max(state.ended_at - state.created_at, 0)),
            attempts=1,
            started_at=started.isoformat(timespec="milliseconds"),
        )

    def _cost(self, usage: Usage) -> float | None:
        """USD with the discount; None without prices or where the server did not count."""
        prices = self._work.prices
        if prices is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        listed = prices.cost(usage.prompt_tokens, usage.cached_tokens or 0, usage.completion_tokens)
        return self._work.settings.discount * listed
