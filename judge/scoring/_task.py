"""From units to calls, and from calls to verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

import orjson

from judge.canonical import KEY_BYTES, canonical, digest
from judge.endpoint import Capabilities, ModelSpec, RejectedRequest, read_reply, request_body
from judge.execution import CallRequest, Executor, Job, Known
from judge.ledger import Call, Ledger, StoredVerdict
from judge.offline import BASELINE_VERSION, FEATURES, CannotAssess
from judge.prompting import Case, Messages, render_case, repair_messages
from judge.questions import question_to_dict
from judge.records import Reason, Status, Verdict
from judge.rubric import Rubric
from judge.scoring._plan import Item, ScoreRun, ScoreSettings, Unit, level_schema
from judge.verdicts import PARSER_VERSION, Parsed, parse_reply

PURPOSE = "judge"
_LONGEST_SHOWN_REPLY = 8_000


class ScoringTask:
    """Turns units into calls and calls into verdicts; see `judge.execution.Task`."""

    def __init__(
        self,
        ledger: Ledger,
        rubric: Rubric,
        spec: ModelSpec,
        settings: ScoreSettings,
        capabilities: Capabilities,
        outcome: ScoreRun,
    ) -> None:
        self.ledger = ledger
        self.rubric = rubric
        self.settings = settings
        self.outcome = outcome
        self._spec = spec
        self._capabilities = capabilities
        self._case: tuple[Item, Case] | None = None

    def known(self, units: list[Unit]) -> Known[Unit]:
        """Settle what needs no call; return jobs for the rest. Runs in the ledger's thread."""
        wanted = [(unit, self._request(unit)) for unit in units]
        stored = self.ledger.verdicts_of_calls([request.key for _, request in wanted], self._parser)
        held: list[Verdict] = []
        new: list[StoredVerdict] = []
        reread: list[StoredVerdict] = []
        pending: list[tuple[Unit, CallRequest, int | None]] = []
        for unit, request in wanted:
            earlier = self._matching(unit, stored.get(request.key, ()))
            if earlier is not None and not self._reopened(earlier):
                held.append(earlier.verdict)
            elif (local := self._without_call(unit)) is not None:
                new.append(self._stored(local, request.key, 0))
            else:
                pending.append((unit, request, None if earlier is None else earlier.generation))
        jobs = self._jobs(pending, reread)
        if new or reread:
            self.ledger.append(verdicts=[*new, *reread])

        def settled() -> None:
            self.outcome.progress.from_ledger += len(held) + len(reread)
            for verdict in (*held, *(stored.verdict for stored in (*new, *reread))):
                self.outcome.count(verdict)

        return Known(jobs, settled)

    def missing_calls(self, units: list[Unit]) -> list[CallRequest]:
        """The calls that the units need and the ledger lacks; nothing is stored."""
        wanted = [(unit, self._request(unit)) for unit in units if self._without_call(unit) is None]
        keys = [request.key for _, request in wanted]
        held = self.ledger.calls(keys)
        stored = self.ledger.verdicts_of_calls(keys, self._parser)
        missing = []
        for unit, request in wanted:
            earlier = self._matching(unit, stored.get(request.key, ()))
            again = earlier is not None and self._reopened(earlier)
            if again or request.key not in held:
                missing.append(request)
        return missing

    def _jobs(
        self,
        pending: list[tuple[Unit, CallRequest, int | None]],
        reread: list[StoredVerdict],
    ) -> list[Job[Unit]]:
        """Read stored calls that have no verdict of this parser yet; make jobs of the others."""
        calls = self.ledger.calls([request.key for _, request, _ in pending])
        jobs = []
        for unit, request, generation in pending:
            call = calls.get(request.key)
            if call is None or (generation is not None and call.generation <= generation):
                again = 0 if generation is None else generation + 1
                jobs.append(Job(_renewed(request, again), [unit]))
                continue
            parsed, follow_up = self._read_again(unit, request, call)
            verdict = self._stored(self._verdict(unit, parsed), request.key, call.generation)
            if follow_up:
                jobs.append(Job(_renewed(request, call.generation), [unit], call))
            elif self._reopened(verdict):
                jobs.append(Job(_renewed(request, call.generation + 1), [unit]))
            else:
                reread.append(verdict)
        return jobs

    def _read_again(self, unit: Unit, request: CallRequest, call: Call) -> tuple[Parsed, bool]:
        """What a stored call says now; the flag asks for a repair call that was not made yet."""
        parsed = _parse(unit, call)
        if not parsed.mendable:
            return parsed, False
        repair = self._repair_request(unit, request, call, parsed)
        mended = self.ledger.calls([repair.key]).get(repair.key)
        if mended is None or mended.generation < call.generation:
            return parsed, True
        return _parse(unit, mended, after=parsed), False

    async def finish(
        self,
        request: CallRequest,
        units: list[Unit],
        call: Call,
        executor: Executor[Unit],
        fresh: bool,
    ) -> None:
        """Read a call, ask once more if the reply was unusable, and commit the verdicts."""
        calls = [call] if fresh else []
        first = _parse(units[0], call)
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
        verdicts = [self._verdict(unit, _parse(unit, last, after=unusable)) for unit in units]
        await executor.writer.commit(
            calls=calls,
            verdicts=[self._stored(verdict, request.key, call.generation) for verdict in verdicts],
        )
        for verdict in verdicts:
            self.outcome.count(verdict)

    def capabilities_are_known(self) -> bool:
        """Whether the ledger notes that the endpoint accepts requests of this form."""
        return self.ledger.capabilities(self._spec.identity) == self._capabilities.to_dict()

    def remember_capabilities(self) -> None:
        """Note in the ledger what the endpoint was found to accept."""
        self.ledger.add_capabilities(self._spec.identity, self._capabilities.to_dict())

    def _request(self, unit: Unit) -> CallRequest:
        """The call that would answer a unit; its key is a hash of all that would be sent."""
        if self._spec.offline or not unit.criterion.applies_to(unit.item.question.category):
            body = b""
            what = [
                self.outcome.rulers[unit.criterion.criterion],
                question_to_dict(unit.item.question),
            ]
            key = digest([*what, unit.item.answer.answer, unit.sample, self.settings.occasion])
            return self._call_request(key, body, unit)
        if self._case is None or self._case[0] is not unit.item:
            self._case = (unit.item, render_case(unit.item.question, unit.item.answer.answer))
        return self._request_for(self._case[1].messages(unit.criterion), unit)

    def _request_for(self, messages: Messages, unit: Unit, generation: int = 0) -> CallRequest:
        body = canonical(
            request_body(
                self._spec,
                messages,
                level_schema(unit.criterion),
                self.settings.decoding,
                self._capabilities,
            )
        )
        rest = canonical([self._spec.identity, unit.sample, self.settings.occasion])
        key = blake2b(body + b"\n" + rest, digest_size=KEY_BYTES).digest()
        return self._call_request(key, body, unit, generation)

    def _call_request(
        self, key: bytes, body: bytes, unit: Unit, generation: int = 0
    ) -> CallRequest:
        return CallRequest(
            key=key,
            body=body,
            max_tokens=self.settings.decoding.max_tokens,
            purpose=PURPOSE,
            sample=unit.sample,
            occasion=self.settings.occasion,
            generation=generation,
        )

    def _repair_request(
        self, unit: Unit, request: CallRequest, call: Call, parsed: Parsed
    ) -> CallRequest:
        """The follow-up that shows the judge its reply and what was wrong with it.

        Its key is made of the first call and its reply, not of our words about the reply: a
        parser that words a problem in another way finds the repair that was paid for.
        """
        messages = orjson.loads(request.body)["messages"]
        reply = read_reply(call.status_code, call.response).text or ""
        shown = reply.encode("utf-8", "replace").decode()[:_LONGEST_SHOWN_REPLY]
        conversation = repair_messages(messages, shown or "(an empty reply)", parsed.detail)
        follow_up = self._request_for(conversation, unit, call.generation)
        key = digest(["repair", call.key.hex(), blake2b(call.response).hexdigest()])
        return replace(follow_up, key=key, parent=call.key)

    @property
    def _parser(self) -> int:
        return BASELINE_VERSION if self._spec.offline else PARSER_VERSION

    def _matching(self, unit: Unit, stored: Sequence[StoredVerdict]) -> StoredVerdict | None:
        """The stored verdict on this very answer, criterion and ruler, if there is one."""
        answer = unit.item.answer
        wanted = (
            answer.question_id, unit.item.question_hash, answer.model, answer.sample,
            unit.criterion.criterion, self.outcome.rulers[unit.criterion.criterion],
        )  # fmt: skip
        for candidate in stored:
            verdict = candidate.verdict
            if wanted == (
                verdict.question_id, verdict.question_hash, verdict.model, verdict.answer_sample,
                verdict.criterion, verdict.ruler,
            ):  # fmt: skip
                return candidate
        return None

    def _reopened(self, earlier: StoredVerdict) -> bool:
        """Whether a final verdict is to be tried again: one from before this run, once."""
        wanted = not self._spec.offline and earlier.verdict.reason in self.settings.retry
        return wanted and earlier.stored_at < self.outcome.started_at

    def _without_call(self, unit: Unit) -> Verdict | None:
        """The verdict that needs no call: not applicable, no reference, or the baseline's."""
        criterion, question = unit.criterion, unit.item.question
        if not criterion.applies_to(question.category):
            return self._verdict(unit, Parsed(status=Status.NOT_APPLICABLE))
        if criterion.reference == "requires" and not (
            question.reference or question.required_facts
        ):
            return self._verdict(
                unit,
                _cannot_assess("the criterion needs a reference and the question has none"),
            )
        if self._spec.offline:
            return self._verdict(unit, _assess_offline(unit))
        return None

    def _verdict(self, unit: Unit, parsed: Parsed) -> Verdict:
        answer = unit.item.answer
        return Verdict(
            question_id=answer.question_id,
            model=answer.model,
            answer_sample=answer.sample,
            answer_hash=unit.item.answer_hash,
            question_hash=unit.item.question_hash,
            criterion=unit.criterion.criterion,
            judge=self._spec.identity,
            ruler=self.outcome.rulers[unit.criterion.criterion],
            sample=unit.sample,
            occasion=self.settings.occasion,
            status=parsed.status,
            reason=parsed.reason,
            level=parsed.level,
            scale_min=unit.criterion.levels[0].level,
            scale_max=unit.criterion.levels[-1].level,
            score=parsed.score,
            evidence=parsed.evidence,
            rationale=parsed.rationale,
            detail=parsed.detail,
            repaired=parsed.repaired,
        )

    def _stored(self, verdict: Verdict, key: bytes, generation: int) -> StoredVerdict:
        return StoredVerdict(
            verdict=verdict, call_key=key, generation=generation, parser=self._parser
        )


def _renewed(request: CallRequest, generation: int) -> CallRequest:
    return request if request.generation == generation else replace(request, generation=generation)


def _parse(unit: Unit, call: Call, after: Parsed | None = None) -> Parsed:
    """What a call says about a unit; ``after`` is the unusable reply that it was to mend."""
    reply = read_reply(call.status_code, call.response)
    parsed = parse_reply(reply, unit.criterion, unit.item.answer.answer)
    if after is None:
        return parsed
    first = f"first reply: {after.detail}"
    detail = f"{first}; second reply: {parsed.detail}" if parsed.detail else first
    return replace(parsed, mendable=False, detail=detail, repaired=parsed.status is Status.SCORED)


def _assess_offline(unit: Unit) -> Parsed:
    """The baseline's verdict: the level whose score is nearest to the feature's value."""
    criterion = unit.criterion
    feature = FEATURES.get(criterion.baseline or "")
    if feature is None:
        return _cannot_assess("the offline baseline has no feature for this criterion")
    outcome = feature.assess(unit.item.question, unit.item.answer.answer, criterion.criterion)
    if isinstance(outcome, CannotAssess):
        return _cannot_assess(outcome.rationale)
    nearest = min(
        reversed(criterion.levels), key=lambda step: round(abs(step.score - outcome.value), 9)
    )
    return Parsed(
        status=Status.SCORED,
        level=nearest.level,
        score=nearest.score,
        evidence=outcome.evidence,
        rationale=outcome.rationale,
    )


def _cannot_assess(why: str) -> Parsed:
    return Parsed(status=Status.UNSCORED, reason=Reason.CANNOT_ASSESS, rationale=why, detail=why)
