"""Scoring: every answer × applicable criterion × judge sample becomes a verdict, once."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any
from uuid import uuid4

import orjson

from judge.canonical import KEY_BYTES, canonical, digest, text_hash
from judge.endpoint import (
    Capabilities,
    ChatEndpoint,
    Decoding,
    ModelSpec,
    UnsupportedParameter,
    estimated_tokens,
    read_reply,
    request_body,
)
from judge.errors import EndpointError
from judge.execution import CallRequest, Executor, Job, LedgerWriter, Progress, chunked, writing
from judge.ledger import Call, Ledger, Run, StoredVerdict
from judge.offline import BASELINE_VERSION, FEATURES, CannotAssess
from judge.prompting import (
    Case,
    Messages,
    render_case,
    repair_messages,
    verdict_schema,
)
from judge.questions import question_to_dict
from judge.records import Answer, Question, Reason, Status, Verdict
from judge.rubric import SCALE_MAX, SCALE_MIN, Criterion, Rubric, rubric_to_dict
from judge.rulers import endpoint_ruler, offline_ruler
from judge.verdicts import PARSER_VERSION, Parsed, parse_reply

PURPOSE = "judge"
_TICK_S = 0.2
_INTERRUPT_GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An answer to be judged, with the question as it is put to the judge."""

    answer_id: int
    answer: Answer
    answer_hash: bytes
    question: Question


@dataclass(frozen=True, slots=True)
class Unit:
    """One wanted verdict."""

    item: Item
    criterion: Criterion
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """What is asked of the judge. ``retry`` reopens final verdicts that have these reasons."""

    samples: int = 1
    occasion: str = ""
    decoding: Decoding = field(default_factory=Decoding)
    retry: frozenset[Reason] = frozenset()


@dataclass(slots=True)
class ScoreRun:
    """A run while it goes on and when it is over: what came out, and what it took."""

    run: str
    rulers: Mapping[str, str]
    progress: Progress
    scored: int = 0
    not_applicable: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    sent: int = 0

    def count(self, verdict: Verdict) -> None:
        """Count one settled unit."""
        self.progress.settled += 1
        self.repaired += verdict.repaired
        match verdict.status:
            case Status.SCORED:
                self.scored += 1
            case Status.NOT_APPLICABLE:
                self.not_applicable += 1
            case Status.UNSCORED:
                assert verdict.reason is not None
                self.unscored[verdict.reason.value] += 1

    @property
    def missing_share(self) -> float:
        """Share of the wanted (applicable) verdicts that are unscored or open."""
        wanted = self.progress.planned - self.not_applicable
        missing = self.unscored.total() + self.progress.open
        return missing / wanted if wanted else 0.0


OnTick = Callable[[ScoreRun, ChatEndpoint | None], None]


def item_of(answer_id: int, answer: Answer, question: Question) -> Item:
    """An item, with the hash that binds verdicts to the answer's text."""
    return Item(
        answer_id=answer_id, answer=answer, answer_hash=text_hash(answer.answer), question=question
    )


async def score(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: OnTick | None = None,
) -> ScoreRun:
    """Judge every item on every applicable criterion; what the ledger holds is not paid again.

    Where the server refuses structured output or a decoding parameter before it accepted anything,
    the next rung of the fallback ladder is tried, remembered in the ledger, and is part of the
    rulers from then on. Raises EndpointError when the run cannot go on; all finished work is kept.
    """
    capabilities = _known_capabilities(ledger, spec)
    async with writing(ledger) as writer:
        while True:
            task = _start(ledger, items, rubric, spec, settings, capabilities)
            if spec.offline:
                await _run_offline(task, items, writer, on_tick)
                return task.outcome
            endpoint = open_endpoint()
            try:
                await _run_endpoint(task, items, writer, endpoint, on_tick)
                return task.outcome
            except UnsupportedParameter as problem:
                lesser = capabilities.without(problem.parameter)
                if lesser is None:
                    raise EndpointError(
                        f"{spec.identity}: the server rejects every request ({problem.detail}). "
                        "Check the model and its settings."
                    ) from problem
                capabilities = lesser
                await writer.run(ledger.add_capabilities, spec.identity, lesser.to_dict())


def planned_units(items: Iterable[Item], rubric: Rubric, samples: int) -> Iterator[Unit]:
    """The plan, answer by answer, so that calls that share a prefix follow each other.

    A criterion that does not apply is one unit, whatever the number of samples.
    """
    for item in items:
        for criterion in rubric.criteria:
            applies = criterion.applies_to(item.question.category)
            for sample in range(samples if applies else 1):
                yield Unit(item, criterion, sample)


@dataclass(slots=True)
class Workload:
    """What a run would send: units, calls that the ledger lacks, tokens (a cautious guess)."""

    planned: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def workload(
    ledger: Ledger, items: Sequence[Item], rubric: Rubric, spec: ModelSpec, settings: ScoreSettings
) -> Workload:
    """What `score` would send for the same arguments; nothing is sent and nothing is stored.

    Repairs of unusable replies and retries are not foreseen.
    """
    capabilities = _known_capabilities(ledger, spec)
    rulers = rulers_of(rubric, spec, settings.decoding, capabilities)
    outcome = ScoreRun(run="", rulers=rulers, progress=Progress())
    task = ScoringTask(ledger, rubric, spec, settings, capabilities, outcome)
    work = Workload()
    seen: set[bytes] = set()
    for units in chunked(planned_units(items, rubric, settings.samples)):
        work.planned += len(units)
        for request in task.missing_calls(units):
            if request.key not in seen:
                seen.add(request.key)
                work.calls += 1
                work.prompt_tokens += estimated_tokens(request.body)
                work.completion_tokens += request.max_tokens
    return work


def _known_capabilities(ledger: Ledger, spec: ModelSpec) -> Capabilities:
    known = ledger.capabilities(spec.identity)
    return Capabilities() if known is None else Capabilities.from_dict(known)


def rulers_of(
    rubric: Rubric, spec: ModelSpec, decoding: Decoding, capabilities: Capabilities
) -> dict[str, str]:
    """The ruler set of a judge: criterion → ruler id."""
    if spec.offline:
        return {
            criterion.criterion: offline_ruler(
                criterion, spec.identity, BASELINE_VERSION, _formula(criterion)
            )
            for criterion in rubric.criteria
        }
    rulers = {}
    for criterion in rubric.criteria:
        request = request_body(spec, [], _schema(criterion), decoding, capabilities)
        del request["messages"]
        rulers[criterion.criterion] = endpoint_ruler(criterion, spec.identity, request)
    return rulers


def _start(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    capabilities: Capabilities,
) -> ScoringTask:
    """Record the run in the ledger and set its task up."""
    now = datetime.now(UTC)
    rulers = rulers_of(rubric, spec, settings.decoding, capabilities)
    run = f"{now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
    planned = sum(1 for _ in planned_units(items, rubric, settings.samples))
    body = {
        "judge": spec.identity,
        "rubric": ledger.add_document("rubric", rubric_to_dict(rubric)).hex(),
        "rulers": rulers,
        "samples": settings.samples,
        "occasion": settings.occasion,
        "capabilities": capabilities.to_dict(),
        "planned": planned,
    }
    ledger.add_run(
        Run(run=run, kind="score", body=body, started_at=now.isoformat(timespec="seconds")),
        [(item.answer_id, item.question) for item in items],
    )
    outcome = ScoreRun(run=run, rulers=rulers, progress=Progress(planned=planned))
    return ScoringTask(ledger, rubric, spec, settings, capabilities, outcome)


async def _run_offline(
    task: ScoringTask, items: Sequence[Item], writer: LedgerWriter, on_tick: OnTick | None
) -> None:
    for units in chunked(planned_units(items, task.rubric, task.settings.samples)):
        await writer.run(task.known, units)
        if on_tick is not None:
            on_tick(task.outcome, None)


async def _run_endpoint(
    task: ScoringTask,
    items: Sequence[Item],
    writer: LedgerWriter,
    endpoint: ChatEndpoint,
    on_tick: OnTick | None,
) -> None:
    """Run the plan; the first interrupt lets calls in flight come back, the second does not."""
    units = planned_units(items, task.rubric, task.settings.samples)
    async with endpoint:
        executor: Executor[Unit] = Executor(task.ledger, writer, endpoint, task.outcome.progress)
        ticker = asyncio.create_task(_tick(task.outcome, endpoint, on_tick))
        loop = asyncio.get_running_loop()
        running = asyncio.current_task()
        assert running is not None

        def interrupted() -> None:
            if task.outcome.progress.stopped:
                running.cancel()
            executor.stop(INTERRUPTED, _INTERRUPT_GRACE_S)

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, interrupted)
        try:
            await executor.run(task, units)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(number)
            ticker.cancel()
            task.outcome.sent = endpoint.traffic.sent
            if on_tick is not None:
                on_tick(task.outcome, endpoint)


INTERRUPTED = "interrupted"


async def _tick(outcome: ScoreRun, endpoint: ChatEndpoint, on_tick: OnTick | None) -> None:
    while on_tick is not None:
        on_tick(outcome, endpoint)
        await asyncio.sleep(_TICK_S)


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
        self._retry_up_to: dict[bytes, int] = {}

    def known(self, units: list[Unit]) -> list[Job[Unit]]:
        """Settle what needs no call; return jobs for the rest. Runs in the ledger's thread."""
        wanted = [(unit, self._request(unit)) for unit in units]
        stored = self.ledger.verdicts_of_calls([request.key for _, request in wanted], self._parser)
        new: list[StoredVerdict] = []
        pending: list[tuple[Unit, CallRequest, int | None]] = []
        for unit, request in wanted:
            earlier = self._matching(unit, stored.get(request.key, ()))
            if earlier is not None and not self._reopened(request.key, earlier):
                self.outcome.progress.from_ledger += 1
                self.outcome.count(earlier.verdict)
            elif (local := self._without_call(unit)) is not None:
                new.append(self._stored(local, request.key, 0))
                self.outcome.count(local)
            else:
                pending.append((unit, request, None if earlier is None else earlier.generation))
        jobs = self._jobs(pending, new)
        if new:
            self.ledger.append(verdicts=new)
        return jobs

    def missing_calls(self, units: list[Unit]) -> list[CallRequest]:
        """The calls of units that neither need none nor are in the ledger; nothing is stored."""
        requests = [self._request(unit) for unit in units if self._without_call(unit) is None]
        held = self.ledger.calls([request.key for request in requests])
        return [request for request in requests if request.key not in held]

    def _jobs(
        self,
        pending: list[tuple[Unit, CallRequest, int | None]],
        new: list[StoredVerdict],
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
            if follow_up:
                jobs.append(Job(_renewed(request, call.generation), [unit], call))
            else:
                verdict = self._verdict(unit, parsed)
                new.append(self._stored(verdict, request.key, call.generation))
                self.outcome.progress.from_ledger += 1
                self.outcome.count(verdict)
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
        parsed = _parse(units[0], call)
        if parsed.mendable:
            if calls:
                await executor.writer.commit(calls=calls)
            repair = self._repair_request(units[0], request, call, parsed)
            second, is_fresh = await executor.call_once(repair)
            calls = [second] if is_fresh else []
            parsed = _parse(units[0], second, after=parsed)
        verdicts = [self._verdict(unit, parsed) for unit in units]
        await executor.writer.commit(
            calls=calls,
            verdicts=[self._stored(verdict, request.key, call.generation) for verdict in verdicts],
        )
        for verdict in verdicts:
            self.outcome.count(verdict)

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
                _schema(unit.criterion),
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
        """The follow-up that shows the judge its reply and what was wrong with it."""
        messages = orjson.loads(request.body)["messages"]
        reply = read_reply(call.status_code, call.response).text or ""
        shown = reply.encode("utf-8", "replace").decode()
        return self._request_for(
            repair_messages(messages, shown[:_LONGEST_SHOWN_REPLY], parsed.detail),
            unit,
            call.generation,
        )

    @property
    def _parser(self) -> int:
        return BASELINE_VERSION if self._spec.offline else PARSER_VERSION

    def _matching(self, unit: Unit, stored: Sequence[StoredVerdict]) -> StoredVerdict | None:
        """The stored verdict on this very answer, criterion and ruler, if there is one."""
        answer = unit.item.answer
        wanted = (
            answer.question_id, answer.model, answer.sample, unit.criterion.criterion,
            self.outcome.rulers[unit.criterion.criterion],
        )  # fmt: skip
        for candidate in stored:
            verdict = candidate.verdict
            if wanted == (
                verdict.question_id, verdict.model, verdict.answer_sample, verdict.criterion,
                verdict.ruler,
            ):  # fmt: skip
                return candidate
        return None

    def _reopened(self, key: bytes, earlier: StoredVerdict) -> bool:
        """Whether a final verdict is to be tried again; each is, once per run."""
        if self._spec.offline or earlier.verdict.reason not in self.settings.retry:
            return False
        upto = self._retry_up_to.setdefault(key, earlier.generation)
        return earlier.generation <= upto

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
            criterion=unit.criterion.criterion,
            judge=self._spec.identity,
            ruler=self.outcome.rulers[unit.criterion.criterion],
            sample=unit.sample,
            occasion=self.settings.occasion,
            status=parsed.status,
            reason=parsed.reason,
            level=parsed.level,
            scale_min=SCALE_MIN,
            scale_max=SCALE_MAX,
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


_LONGEST_SHOWN_REPLY = 8_000


def _schema(criterion: Criterion) -> dict[str, Any]:
    return verdict_schema([step.level for step in criterion.levels])


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


def _formula(criterion: Criterion) -> str:
    feature = FEATURES.get(criterion.baseline or "")
    return "" if feature is None else f"{feature.name}: {feature.formula}"


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
