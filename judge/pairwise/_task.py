"""From units to calls, and from calls to verdicts; nothing but calls is stored."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import lru_cache

import orjson

from judge.endpoint import Capabilities, ModelSpec, RejectedRequest, read_reply, request_body
from judge.execution import CallRequest, Executor, Job, Known, call_key, repair_key
from judge.ledger import Call, Ledger
from judge.pairwise._plan import Pair, PairRun, PairSettings, PairUnit, PairVerdict
from judge.pairwise._prompt import PairCase, pair_schema, render_pair
from judge.pairwise._reply import PairReading, cannot_compare, read_pair
from judge.prompting import Messages, repair_messages
from judge.records import Status

PURPOSE = "pair"
_LONGEST_SHOWN_REPLY = 8_000
_CASES = 512
"""Rendered pairs that are kept: more than the calls of one wave of the plan."""


class PairTask:
    """Turns units into calls and calls into verdicts; see `judge.execution.Task`.

    Verdicts live in ``outcome`` only. They are read from the stored calls each time, so that
    resuming, caching and reading with a newer parser are one and the same.
    """

    def __init__(
        self,
        ledger: Ledger,
        spec: ModelSpec,
        settings: PairSettings,
        capabilities: Capabilities,
        outcome: PairRun,
    ) -> None:
        self.ledger = ledger
        self.settings = settings
        self.outcome = outcome
        self._spec = spec
        self._capabilities = capabilities
        self._cases = lru_cache(_CASES)(_rendered)

    def known(self, units: list[PairUnit]) -> Known[PairUnit]:
        """Settle what needs no call; return jobs for the rest. Runs in the ledger's thread."""
        done, wanted = self._sorted(units)
        calls = self.ledger.calls([request.key for _, request in wanted])
        jobs: list[Job[PairUnit]] = []
        held: list[PairVerdict] = []
        for unit, request in wanted:
            call = calls.get(request.key)
            if call is None:
                jobs.append(Job(request, [unit]))
                continue
            reading, follow_up = self._read_again(unit, request, call)
            if follow_up:
                jobs.append(Job(replace(request, generation=call.generation), [unit], call))
            else:
                held.append(_verdict(unit, reading))

        def settled() -> None:
            self.outcome.progress.from_ledger += len(held)
            self._note((*done, *held))

        return Known(jobs, settled)

    def missing_calls(self, units: list[PairUnit]) -> list[CallRequest]:
        """The calls that the units need and the ledger lacks, repairs included."""
        _, wanted = self._sorted(units)
        held = self.ledger.calls([request.key for _, request in wanted])
        missing = []
        for unit, request in wanted:
            call = held.get(request.key)
            if call is None:
                missing.append(request)
                continue
            reading, follow_up = self._read_again(unit, request, call)
            if follow_up:
                missing.append(self._repair_request(unit, request, call, reading))
        return missing

    def _sorted(
        self, units: list[PairUnit]
    ) -> tuple[list[PairVerdict], list[tuple[PairUnit, CallRequest]]]:
        """Verdicts of the units that need no call, and the calls of the others."""
        done: list[PairVerdict] = []
        wanted: list[tuple[PairUnit, CallRequest]] = []
        for unit in units:
            local = _without_call(unit)
            if local is None:
                wanted.append((unit, self._request(unit)))
            else:
                done.append(_verdict(unit, local))
        return done, wanted

    def _read_again(
        self, unit: PairUnit, request: CallRequest, call: Call
    ) -> tuple[PairReading, bool]:
        """What a stored call says now; the flag asks for a repair call that was not made yet."""
        reading = _read(unit, call)
        if not reading.mendable:
            return reading, False
        repair = self._repair_request(unit, request, call, reading)
        mended = self.ledger.calls([repair.key]).get(repair.key)
        if mended is None:
            return reading, True
        return _read(unit, mended, after=reading), False

    async def finish(
        self,
        request: CallRequest,
        units: list[PairUnit],
        call: Call,
        executor: Executor[PairUnit],
        fresh: bool,
    ) -> None:
        """Read a call, ask once more if the reply was unusable, and commit what was paid for."""
        calls = [call] if fresh else []
        first = _read(units[0], call)
        last, unusable = call, None
        if first.mendable:
            if calls:
                await executor.writer.commit(calls=calls)
            repair = self._repair_request(units[0], request, call, first)
            try:
                last, is_fresh = await executor.call_once(repair)
                calls, unusable = [last] if is_fresh else [], first
            except RejectedRequest:
                calls = []  # the server will not have the repair; the first reply's reason stands
        if calls:
            await executor.writer.commit(calls=calls)
        self._note(_verdict(unit, _read(unit, last, after=unusable)) for unit in units)

    def capabilities_are_known(self) -> bool:
        """Whether the ledger notes that the endpoint accepts requests of this form."""
        return self.ledger.capabilities(self._spec.identity) == self._capabilities.to_dict()

    def remember_capabilities(self) -> None:
        """Note in the ledger what the endpoint was found to accept."""
        self.ledger.add_capabilities(self._spec.identity, self._capabilities.to_dict())

    def _note(self, verdicts: Iterable[PairVerdict]) -> None:
        for verdict in verdicts:
            self.outcome.note(verdict)

    def _request(self, unit: PairUnit) -> CallRequest:
        """The call that would answer a unit; its key is a hash of all that would be sent.

        Nothing in it depends on which model the command named first.
        """
        case = self._cases(_Standing(unit.pair, unit.first))
        messages = case.messages(unit.criterion, descending=unit.sample % 2 == 1)
        return self._request_for(messages, unit)

    def _request_for(self, messages: Messages, unit: PairUnit) -> CallRequest:
        # As it is: sorted names would put "better" first in the schema, before the evidence.
        body = orjson.dumps(
            request_body(
                self._spec, messages, pair_schema(), self.settings.decoding, self._capabilities
            )
        )
        return CallRequest(
            key=call_key(body, self._spec.identity, unit.sample, self.settings.occasion),
            body=body,
            max_tokens=self.settings.decoding.max_tokens,
            purpose=PURPOSE,
            sample=unit.sample,
            occasion=self.settings.occasion,
        )

    def _repair_request(
        self, unit: PairUnit, request: CallRequest, call: Call, reading: PairReading
    ) -> CallRequest:
        """The follow-up that shows the judge its reply and what was wrong with it."""
        messages = orjson.loads(request.body)["messages"]
        reply = read_reply(call.status_code, call.response).text or ""
        shown = reply.encode("utf-8", "replace").decode()[:_LONGEST_SHOWN_REPLY]
        conversation = repair_messages(
            messages, shown or "(an empty reply)", reading.detail, "pair_repair"
        )
        follow_up = self._request_for(conversation, unit)
        return replace(follow_up, key=repair_key(call), parent=call.key)


class _Standing:
    """A pair in one order, as a cache key: by identity, which outlives no pair in the cache."""

    __slots__ = ("first", "pair")

    def __init__(self, pair: Pair, first: int) -> None:
        self.pair = pair
        self.first = first

    def __hash__(self) -> int:
        return hash((id(self.pair), self.first))

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _Standing) and other.pair is self.pair and other.first == self.first
        )


def _rendered(key: _Standing) -> PairCase:
    first, second = key.pair.items[key.first], key.pair.items[1 - key.first]
    return render_pair(key.pair.question, first.answer.answer, second.answer.answer)


def _without_call(unit: PairUnit) -> PairReading | None:
    """The reading that needs no call: not applicable, or no reference where one is needed."""
    criterion, question = unit.criterion, unit.pair.question
    if not criterion.applies_to(question.category):
        return PairReading(status=Status.NOT_APPLICABLE)
    if criterion.reference == "requires" and not (question.reference or question.required_facts):
        return cannot_compare("the criterion needs a reference and the question has none")
    return None


def _read(unit: PairUnit, call: Call, after: PairReading | None = None) -> PairReading:
    """What a call says about a unit; ``after`` is the unusable reply that it was to mend."""
    reading = read_pair(read_reply(call.status_code, call.response), *unit.texts)
    if after is None:
        return reading
    first = f"first reply: {after.detail}"
    detail = f"{first}; second reply: {reading.detail}" if reading.detail else first
    return replace(reading, mendable=False, detail=detail, repaired=reading.status is Status.SCORED)


def _verdict(unit: PairUnit, reading: PairReading) -> PairVerdict:
    items = unit.pair.items
    return PairVerdict(
        question_id=unit.pair.question.question_id,
        answer_sample=unit.pair.sample,
        criterion=unit.criterion.criterion,
        first=items[unit.first].answer.model,
        second=items[1 - unit.first].answer.model,
        sample=unit.sample,
        status=reading.status,
        reason=reading.reason,
        better=reading.better,
        evidence_first=reading.evidence_first,
        evidence_second=reading.evidence_second,
        rationale=reading.rationale,
        detail=reading.detail,
        repaired=reading.repaired,
    )
