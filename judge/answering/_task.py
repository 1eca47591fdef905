"""From units to calls, and from calls to answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import orjson

from judge.answering._generation import Provenance
from judge.answering._plan import AnswerRun, AnswerUnit, Reading, answer_body, messages
from judge.answering._thoughts import without_thoughts
from judge.canonical import canonical
from judge.endpoint import read_reply
from judge.execution import CallRequest, Executor, Job, Known, call_key
from judge.ledger import Call, Ledger
from judge.records import Answer, Reason

PURPOSE = "answer"


class AnsweringTask:
    """Turns units into calls and calls into answers; see `judge.execution.Task`.

    ``held`` are the answers that the ledger holds under the run's name and occasion.
    """

    def __init__(
        self,
        ledger: Ledger,
        provenance: Provenance,
        held: Mapping[tuple[str, int], Answer],
        outcome: AnswerRun,
    ) -> None:
        self.outcome = outcome
        self._ledger = ledger
        self._provenance = provenance
        self._held = held

    def known(self, units: list[AnswerUnit]) -> Known[AnswerUnit]:
        """Settle what the ledger holds; return jobs for the rest. Runs in the ledger's thread.

        A call without an answer (its process was killed in between) is read now.
        """
        readings = [Reading(answer) for unit in units if (answer := self._held_for(unit))]
        pending = [(unit, self.request(unit)) for unit in units if self._held_for(unit) is None]
        calls = self._ledger.calls([request.key for _, request in pending])
        jobs = []
        reread: list[tuple[AnswerUnit, Reading]] = []
        for unit, request in pending:
            call = calls.get(request.key)
            if call is None:
                jobs.append(Job(request, [unit]))
            else:
                reread.append((unit, self.read(unit, call)))
        self._store(reread)
        readings += [reading for _, reading in reread]

        def settled() -> None:
            self.outcome.progress.from_ledger += len(readings)
            for reading in readings:
                self.outcome.count(reading)

        return Known(jobs, settled)

    def missing_calls(self, units: list[AnswerUnit]) -> list[CallRequest]:
        """The calls that the units need and the ledger lacks; nothing is stored."""
        wanted = [self.request(unit) for unit in units if self._held_for(unit) is None]
        held = self._ledger.calls([request.key for request in wanted])
        return [request for request in wanted if request.key not in held]

    async def finish(
        self,
        request: CallRequest,
        units: list[AnswerUnit],
        call: Call,
        executor: Executor[AnswerUnit],
        fresh: bool,
    ) -> None:
        """Commit a call, and then the answers that it gives."""
        if fresh:
            await executor.writer.commit(calls=[call])
        for reading in await executor.writer.run(self._keep, request.key, units):
            self.outcome.count(reading)

    def _keep(self, key: bytes, units: Sequence[AnswerUnit]) -> list[Reading]:
        """Store what a committed call says. Runs in the ledger's thread.

        The call is read back: where another process was first after all (a claim can run out
        while a machine sleeps), the ledger kept its call, and the answer is that call's.
        """
        call = self._ledger.calls([key])[key]
        readings = [(unit, self.read(unit, call)) for unit in units]
        self._store(readings)
        return [reading for _, reading in readings]

    def _store(self, readings: Sequence[tuple[AnswerUnit, Reading]]) -> None:
        answers = [reading.answer for _, reading in readings if reading.answer is not None]
        if answers:
            questions = {unit.question.question_id: unit.question for unit, _ in readings}
            self._ledger.add_answers(answers, questions)

    def _held_for(self, unit: AnswerUnit) -> Answer | None:
        return self._held.get((unit.question.question_id, unit.sample))

    def request(self, unit: AnswerUnit) -> CallRequest:
        """The call that would answer a unit; its key is a hash of all that would be sent."""
        known = self._provenance
        settings = known.settings
        conversation = messages(settings, unit.question.question)
        body = canonical(
            answer_body(known.spec, settings, known.capabilities, conversation, unit.sample)
        )
        return CallRequest(
            key=call_key(body, known.spec.identity, unit.sample, settings.occasion),
            body=body,
            max_tokens=settings.decoding.max_tokens,
            purpose=PURPOSE,
            sample=unit.sample,
            occasion=settings.occasion,
        )

    def read(self, unit: AnswerUnit, call: Call) -> Reading:
        """What a call says: the model's text as it is, or why there is none.

        A refusal and a filtered or empty reply are answers. Only a prompt that exceeds the
        model's context window has none.
        """
        reply = read_reply(call.status_code, call.response)
        if reply.error_code == "context_length_exceeded":
            return Reading(None, Reason.CANNOT_ASSESS)
        settings = self._provenance.settings
        text = storable(reply.text or reply.refusal or "")
        finish_reason = reply.finish_reason
        if reply.error_code == "content_filter":
            finish_reason = "content_filter"
        counts = {
            "prompt_tokens": call.prompt_tokens,
            "cached_tokens": call.cached_tokens,
            "completion_tokens": call.completion_tokens,
        }
        return Reading(
            Answer(
                question_id=unit.question.question_id,
                model=settings.name,
                answer=without_thoughts(text) if settings.strip_thinking else text,
                sample=unit.sample,
                occasion=settings.occasion,
                finish_reason=None if finish_reason is None else storable(finish_reason),
                usage={name: count for name, count in counts.items() if count is not None},
                generation=self._provenance.generation(orjson.loads(call.request)),
            )
        )

    def capabilities_are_known(self) -> bool:
        """Whether the ledger notes that the endpoint accepts requests of this form."""
        known = self._ledger.capabilities(capabilities_name(self._provenance.spec.identity))
        return known == self._provenance.capabilities.to_dict()

    def remember_capabilities(self) -> None:
        """Note in the ledger what the endpoint was found to accept."""
        self._ledger.add_capabilities(
            capabilities_name(self._provenance.spec.identity),
            self._provenance.capabilities.to_dict(),
        )


def capabilities_name(identity: str) -> str:
    """Under which name the ledger notes what an endpoint accepts when it answers.

    Not the name that judging uses: a server that answers has not shown that it takes a schema.
    """
    return f"answer {identity}"


def storable(text: str) -> str:
    """A text as every ledger can hold it: halves of surrogate pairs and NUL become U+FFFD."""
    whole = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return whole.replace("\0", "\ufffd")
