"""From units to calls, and from calls to verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from judge.canonical import digest
from judge.endpoint import Capabilities, RejectedRequest
from judge.execution import CallRequest, Executor, Job, Known, repair_key
from judge.ledger import Call, Ledger, StoredVerdict
from judge.offline import BASELINE_VERSION
from judge.questions import question_to_dict
from judge.records import Status, Verdict
from judge.scoring._asking import Ask, Asking, mended, problem_of
from judge.scoring._offline import without_call
from judge.scoring._plan import ScoreRun, Unit, can_be_asked
from judge.verdicts import PARSER_VERSION, Parsed

PURPOSE = "judge"


class ScoringTask:
    """Turns units into calls and calls into verdicts; see `judge.execution.Task`.

    With ``collected``, verdicts are put there instead of into the ledger, which then holds the
    calls alone: a later run reads them again for nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        asking: Asking,
        capabilities: Capabilities,
        outcome: ScoreRun,
        *,
        purpose: str = PURPOSE,
        collected: list[Verdict] | None = None,
    ) -> None:
        self.ledger = ledger
        self.settings = asking.settings
        self.outcome = outcome
        self._asking = asking
        self._spec = asking.spec
        self._capabilities = capabilities
        self._purpose = purpose
        self._collected = collected

    def known(self, units: list[Unit]) -> Known[Unit]:
        """Settle what needs no call; return jobs for the rest. Runs in the ledger's thread."""
        wanted = self._requests(units)
        stored = self._stored_verdicts([request.key for _, request in wanted])
        held: list[Verdict] = []
        new: list[StoredVerdict] = []
        reread: list[StoredVerdict] = []
        pending: list[tuple[Unit, CallRequest, int | None]] = []
        for unit, request in wanted:
            earlier = self._matching(unit, stored.get(request.key, ()))
            if earlier is not None and not self._reopened(earlier):
                held.append(earlier.verdict)
            elif (local := without_call(unit, self._spec.offline)) is not None:
                new.append(self._stored(self._verdict(unit, local), request.key, 0))
            else:
                pending.append((unit, request, None if earlier is None else earlier.generation))
        jobs = self._jobs(pending, reread)
        if (new or reread) and self._collected is None:
            self.ledger.append(verdicts=[*new, *reread])

        def settled() -> None:
            self.outcome.progress.from_ledger += len(held) + len(reread)
            for verdict in held:
                self.outcome.count(verdict)
            self._settle([stored.verdict for stored in (*new, *reread)])

        return Known(jobs, settled)

    def missing_calls(self, units: list[Unit]) -> list[CallRequest]:
        """The calls that the units need and the ledger lacks, repairs included.

        Nothing is stored.
        """
        asked = [unit for unit in units if without_call(unit, self._spec.offline) is None]
        wanted = self._requests(asked)
        stored = self._stored_verdicts([request.key for _, request in wanted])
        pending: list[tuple[Unit, CallRequest, int | None]] = []
        for unit, request in wanted:
            earlier = self._matching(unit, stored.get(request.key, ()))
            if earlier is None or self._reopened(earlier):
                pending.append((unit, request, None if earlier is None else earlier.generation))
        missing = []
        for job in self._jobs(pending, []):
            if job.call is None:
                missing.append(job.request)
            else:
                ask = self._asking.ask(job.waiting[0])
                problem = problem_of(self._asking.read(ask, job.call))
                missing.append(self._repair_request(ask, job.request, job.call, problem))
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
            call, parsed, follow_up = self._standing(unit, request, call, generation)
            verdict = self._stored(self._verdict(unit, parsed), request.key, call.generation)
            if follow_up:
                jobs.append(Job(_renewed(request, call.generation), [unit], call))
            else:
                reread.append(verdict)
        return jobs

    def _standing(
        self, unit: Unit, request: CallRequest, newest: Call, after: int | None
    ) -> tuple[Call, Parsed, bool]:
        """The stored call that holds for a unit, what it says, and whether to ask for a repair.

        A call that covers several criteria can have been repeated for the sake of one: a criterion
        keeps what it got from the first generation that gave it something.
        """
        if newest.generation > 0 and after is None:
            for call in self.ledger.generations(request.key)[:-1]:
                parsed, _ = self._read_again(unit, request, call)
                if parsed.status is not Status.UNSCORED:
                    return call, parsed, False
        return newest, *self._read_again(unit, request, newest)

    def _read_again(self, unit: Unit, request: CallRequest, call: Call) -> tuple[Parsed, bool]:
        """What a stored call says of a unit; the flag asks for a repair that was not made yet."""
        ask, name = self._asking.ask(unit), unit.criterion.criterion
        first = self._asking.read(ask, call)
        problem = problem_of(first)
        if not problem:
            return first[name], False
        repair = self._repair_request(ask, request, call, problem)
        mending = self.ledger.calls([repair.key]).get(repair.key)
        if mending is None or mending.generation < call.generation:
            return first[name], True
        return mended(first, self._asking.read(ask, mending))[name], False

    async def finish(
        self,
        request: CallRequest,
        units: list[Unit],
        call: Call,
        executor: Executor[Unit],
        fresh: bool,
    ) -> None:
        """Read a call, ask once more if the reply was unusable, and commit the verdicts.

        Whatever goes wrong on the way, what was paid for is kept.
        """
        unkept = [call] if fresh else []
        try:
            asks = {id(unit.item): self._asking.ask(unit) for unit in units}
            read = {item: self._asking.read(each, call) for item, each in asks.items()}
            if problem := problem_of(read[id(units[0].item)]):
                await executor.writer.commit(calls=unkept)
                unkept = []
                repair = self._repair_request(asks[id(units[0].item)], request, call, problem)
                try:
                    mending, is_fresh = await executor.call_once(repair)
                    unkept = [mending] if is_fresh else []
                    for item, each in asks.items():
                        read[item] = mended(read[item], self._asking.read(each, mending))
                except RejectedRequest:
                    pass  # the server will not have the repair; the first reply's reason stands
            verdicts = [
                self._verdict(unit, read[id(unit.item)][unit.criterion.criterion]) for unit in units
            ]
        except Exception:
            if unkept:
                await executor.writer.commit(calls=unkept)
            raise
        stored = [self._stored(verdict, request.key, call.generation) for verdict in verdicts]
        await executor.writer.commit(
            calls=unkept, verdicts=stored if self._collected is None else ()
        )
        self._settle(verdicts)
        if fresh:
            self._asking.require_logprobs(call)

    def _settle(self, verdicts: Sequence[Verdict]) -> None:
        """Count new verdicts, and keep them where they are not stored."""
        for verdict in verdicts:
            self.outcome.count(verdict)
        if self._collected is not None:
            self._collected += verdicts

    def capabilities_are_known(self) -> bool:
        """Whether the ledger notes that the endpoint accepts requests of this form."""
        return self.ledger.capabilities(self._asking.form) == self._capabilities.to_dict()

    def remember_capabilities(self) -> None:
        """Note in the ledger what the endpoint was found to accept."""
        self.ledger.add_capabilities(self._asking.form, self._capabilities.to_dict())

    def _requests(self, units: Sequence[Unit]) -> list[tuple[Unit, CallRequest]]:
        """Each unit with the call that would answer it; units of one call share one request."""
        made: dict[tuple[int, int, str], CallRequest] = {}
        wanted = []
        for unit in units:
            if self._spec.offline or not can_be_asked(unit.item, unit.criterion):
                wanted.append((unit, self._local_request(unit)))
                continue
            ask = self._asking.ask(unit)
            at = (id(unit.item), unit.sample, ask.criteria[0].criterion)
            if at not in made:
                body = self._asking.body(ask)
                made[at] = self._request(self._asking.key(body, unit.sample), body, unit.sample)
            wanted.append((unit, made[at]))
        return wanted

    def _local_request(self, unit: Unit) -> CallRequest:
        """The key of a unit that needs no call, for its verdict."""
        key = digest(
            [
                self.outcome.rulers[unit.criterion.criterion],
                question_to_dict(unit.item.question),
                unit.item.answer.answer,
                unit.sample,
                self.settings.occasion,
                unit.criterion.criterion,
            ]
        )
        return self._request(key, b"", unit.sample)

    def _request(self, key: bytes, body: bytes, sample: int, generation: int = 0) -> CallRequest:
        return CallRequest(
            key=key,
            body=body,
            max_tokens=self.settings.decoding.max_tokens,
            purpose=self._purpose,
            sample=sample,
            occasion=self.settings.occasion,
            generation=generation,
        )

    def _repair_request(
        self, ask: Ask, request: CallRequest, call: Call, problem: str
    ) -> CallRequest:
        """The follow-up to an unusable reply."""
        body = self._asking.repair_body(ask, call, problem)
        follow_up = self._request(repair_key(call), body, request.sample, call.generation)
        return replace(follow_up, parent=call.key)

    def _stored_verdicts(self, keys: Sequence[bytes]) -> dict[bytes, list[StoredVerdict]]:
        if self._collected is not None:
            return {}
        return self.ledger.verdicts_of_calls(keys, self._parser)

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
            kind=self._asking.kind,
            allowed_mass=parsed.allowed_mass,
            sd=parsed.sd,
        )

    def _stored(self, verdict: Verdict, key: bytes, generation: int) -> StoredVerdict:
        return StoredVerdict(
            verdict=verdict, call_key=key, generation=generation, parser=self._parser
        )


def _renewed(request: CallRequest, generation: int) -> CallRequest:
    return request if request.generation == generation else replace(request, generation=generation)
