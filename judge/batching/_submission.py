"""Submitting: what of a plan is new goes to the server in files, each once."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

import orjson

from judge.batching._account import BatchSettings, worst_case
from judge.batching._jobs import (
    DOCUMENT,
    PROVED,
    Job,
    Stage,
    form_of,
    line_id,
    not_held,
    outstanding,
    proven_forms,
)
from judge.batching._server import ENDPOINT, BatchServer, Unsure
from judge.batching._workplace import CLAIM_S, Prove, Workplace
from judge.errors import EndpointError, UsageError
from judge.execution import CallRequest


@dataclass(slots=True)
class _Survey:
    """What of a plan is new, and which jobs have the rest."""

    new: int = 0
    worst: float = 0.0
    form: str = ""
    concerned: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Part:
    """Calls for one file."""

    keys: dict[bytes, int] = field(default_factory=dict)
    lines: dict[str, bytes] = field(default_factory=dict)
    size: int = 0

    def fits(self, line: bytes, settings: BatchSettings) -> bool:
        within = self.size + len(line) <= settings.max_bytes
        return not self.lines or (within and len(self.lines) < settings.max_lines)

    def add(self, request: CallRequest, line: bytes) -> None:
        self.keys[request.key] = request.generation
        self.lines[line_id(request)] = line
        self.size += len(line)


class Submission:
    """One round of submitting, alone in its turn."""

    def __init__(self, work: Workplace, server: BatchServer, prove: Prove) -> None:
        self._work = work
        self._server = server
        self._prove = prove
        self._busy: dict[str, str] = {}
        """Lines that a job at the server may still settle, and its name."""

    async def submit(self, again: bool) -> list[Job]:
        """Take in what earlier processes left, submit what is new, and return what to wait for."""
        self._work.tick("looking for batches of an earlier run")
        self._busy = {}
        self._work.account.elsewhere = 0
        for job in (await self._work.jobs()).values():
            if job.unsent:
                await self._recover(job)
        for name, job in (await self._work.jobs()).items():
            if not job.finished:
                lines = await self._work.writer.run(outstanding, self._work.ledger, job)
                self._busy.update(dict.fromkeys(lines, name))
        survey = await self._survey()
        if survey.new and await self._may_submit(survey, again):
            events = await self._work.writer.run(self._work.ledger.batch_events, self._work.model)
            if survey.form not in proven_forms(events):
                survey = await self._proven()
            await self._submit_new(survey)
        await self._close_settled(survey)
        return [job for name, job in (await self._work.jobs()).items() if name in survey.concerned]

    async def _recover(self, job: Job) -> None:
        """Find out what became of a job that the ledger does not know to be at the server."""
        if job.stage is not Stage.INTENDED:
            age = (datetime.now(UTC) - datetime.fromisoformat(job.at)).total_seconds()
            found = await self._server.find(job.name, max(self._work.settings.settle_s - age, 0.0))
            if found is not None:
                await self._work.note(job.name, Stage.SUBMITTED, batch=found.id, adopted=True)
                return
            if job.file:
                await self._server.delete(job.file)
        await self._work.abandon(job)

    async def _close_settled(self, survey: _Survey) -> None:
        """End the jobs whose calls are all in the ledger, by whichever way they came.

        A process that was killed between storing the calls and noting it leaves such a job.
        """
        work = self._work
        for name, job in (await work.jobs()).items():
            if job.finished or name in survey.concerned:
                continue
            lines = await work.writer.run(outstanding, work.ledger, job)
            if not await work.writer.run(not_held, work.ledger, lines):
                ended = {"collected": 0, "failed": {}, "strange": {}, "open": "", "left": 0}
                await work.note(name, Stage.COLLECTED, **ended)
                await work.release(job)

    async def _survey(self) -> _Survey:
        """Count what is new, at its worst cost, and which jobs the rest of the plan is in."""
        survey = _Survey()
        cap = self._work.settings.cap
        seen: set[str] = set()
        adopted = 0
        async for requests in self._work.requests():
            for request in requests:
                line = line_id(request)
                if line in seen:
                    continue
                seen.add(line)
                if line in self._busy:
                    survey.concerned.add(self._busy[line])
                    adopted += 1
                    continue
                survey.new += 1
                survey.form = survey.form or form_of(request.body)
                if cap is not None:
                    survey.worst += worst_case(
                        request, cap.unit, self._work.prices, self._work.settings.discount
                    )
        self._work.account.adopted = max(self._work.account.adopted, adopted)
        return survey

    async def _may_submit(self, survey: _Survey, again: bool) -> bool:
        """Whether the budget covers the worst case of what is new; refused or stopped if not."""
        cap = self._work.settings.cap
        spent = 0.0 if cap is None else self._work.account.spent(cap.unit)
        if cap is None or spent + survey.worst <= cap.amount:
            return True
        worst = f"${survey.worst:,.2f}" if cap.unit == "USD" else f"{survey.worst:,.0f} tokens"
        left = cap.amount - spent
        has = f"${left:,.2f}" if cap.unit == "USD" else f"{left:,.0f} tokens"
        text = (
            f"a batch of {survey.new:,} calls can take {worst} at most, and {has} of the budget "
            "are left"
        )
        if again or survey.concerned:
            self._work.account.stopped = text
            return False
        raise UsageError(
            f"--budget: {text}. A batch is paid as a whole: raise the budget, lower --max-tokens, "
            "or take fewer answers. Nothing was sent."
        )

    async def _proven(self) -> _Survey:
        """Let one call of the plan be sent live, and look at what is left of the plan."""
        self._work.tick("proving the form of the requests with one live call")
        await self._prove()
        survey = await self._survey()
        if survey.new:
            await self._work.note("", PROVED, form=survey.form)
        return survey

    async def _submit_new(self, survey: _Survey) -> None:
        """Write what is new into files and submit each."""
        part = _Part()
        async for requests in self._work.requests():
            for request in requests:
                line = line_id(request)
                if line in self._busy or line in part.lines:
                    continue
                text = _input_line(line, request)
                if not part.fits(text, self._work.settings):
                    await self._send(part, survey)
                    part = _Part()
                part.add(request, text)
        if part.lines:
            await self._send(part, survey)

    async def _send(self, part: _Part, survey: _Survey) -> None:
        """Claim, upload and submit the calls of one file; those under way elsewhere are left."""
        job = Job(uuid4().hex)
        await self._work.note(job.name, Stage.INTENDED)
        claim = await self._work.writer.run(self._work.ledger.claim, part.keys, job.owner, CLAIM_S)
        wanted = {f"{key.hex()}-{part.keys[key]}" for key in claim.granted}
        lines = {line: text for line, text in part.lines.items() if line in wanted}
        self._work.account.elsewhere += len(part.lines) - len(lines) - len(claim.finished)
        self._busy.update(dict.fromkeys(part.lines, job.name))
        if not lines:
            await self._work.abandon(job)
            return
        listed = await self._work.writer.run(self._work.ledger.add_document, DOCUMENT, list(lines))
        await self._work.note(
            job.name, Stage.PREPARED, lines=listed.hex(), count=len(lines), form=survey.form
        )
        self._work.tick(f"submitting {len(lines):,} calls")
        try:
            file = await self._server.upload(f"{job.name}.jsonl", b"".join(lines.values()))
            await self._work.require_turn()
            await self._work.note(job.name, Stage.UPLOADED, file=file)
            state, adopted = await self._server.submit(job.name, file, listed.hex())
        except Unsure:
            raise
        except EndpointError:
            await self._work.abandon(job)
            raise
        await self._work.note(job.name, Stage.SUBMITTED, batch=state.id, adopted=adopted)
        self._work.account.submitted += len(lines)
        survey.concerned.add(job.name)


def _input_line(line: str, request: CallRequest) -> bytes:
    """A line of an input file; the body as it is, byte for byte."""
    head = orjson.dumps({"custom_id": line, "method": "POST", "url": ENDPOINT})
    return head[:-1] + b',"body":' + request.body + b"}\n"
