"""The known-answer test on suspicious answers: one call each, kept in the ledger like any other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from judge.canary import canary_messages, read_canary
from judge.canonical import canonical
from judge.endpoint import Capabilities, ChatEndpoint, ModelSpec, read_reply, request_body
from judge.execution import (
    CallRequest,
    Executor,
    Job,
    Known,
    Progress,
    call_key,
    carry_on,
    known_capabilities,
    run_session,
    writing,
)
from judge.ledger import Call, Ledger
from judge.scoring import Item, ScoreSettings

PURPOSE = "canary"


@dataclass(slots=True)
class CanaryRun:
    """What came of a set of tests.

    ``returned`` says by question and text whether the token came back; None: the reply had no text
    (a refusal, a filter). Items without a reply are missing from it.
    """

    progress: Progress
    sent: int = 0
    given_up: list[str] = field(default_factory=list)
    returned: dict[tuple[bytes, bytes], bool | None] = field(default_factory=dict)

    def of(self, item: Item) -> str:
        """The result in a word or two."""
        found = self.returned.get((item.question_hash, item.answer_hash), "open")
        words = {True: "returned", False: "lost", None: "no text", "open": "open"}
        return words[found]


class CanaryTask:
    """Turns items into test calls and their replies into results; see `judge.execution.Task`."""

    def __init__(
        self,
        ledger: Ledger,
        spec: ModelSpec,
        settings: ScoreSettings,
        capabilities: Capabilities,
        outcome: CanaryRun,
    ) -> None:
        self.outcome = outcome
        self._ledger = ledger
        self._spec = spec
        self._settings = settings
        self._capabilities = capabilities

    def known(self, units: list[Item]) -> Known[Item]:
        """Read the calls that the ledger holds; return jobs for the rest."""
        requests = [(item, self.request(item)) for item in units]
        held = self._ledger.calls([request.key for _, request in requests])
        jobs = [Job(request, [item]) for item, request in requests if request.key not in held]
        settled = [(item, held[request.key]) for item, request in requests if request.key in held]

        def count() -> None:
            self.outcome.progress.from_ledger += len(settled)
            for item, call in settled:
                self._count(item, call)

        return Known(jobs, count)

    async def finish(
        self,
        request: CallRequest,
        units: list[Item],
        call: Call,
        executor: Executor[Item],
        fresh: bool,
    ) -> None:
        """Commit a call and note whether the token came back."""
        if fresh:
            await executor.writer.commit(calls=[call])
        for item in units:
            self._count(item, call)

    def request(self, item: Item) -> CallRequest:
        """The call of an item; its key is a hash of all that would be sent."""
        messages, schema, _ = canary_messages(item.question, item.answer.answer)
        body = canonical(
            request_body(self._spec, messages, schema, self._settings.decoding, self._capabilities)
        )
        return CallRequest(
            key=call_key(body, self._spec.identity, 0, self._settings.occasion),
            body=body,
            max_tokens=self._settings.decoding.max_tokens,
            purpose=PURPOSE,
            sample=0,
            occasion=self._settings.occasion,
        )

    def _count(self, item: Item, call: Call) -> None:
        _, _, token = canary_messages(item.question, item.answer.answer)
        text = read_reply(call.status_code, call.response).text
        returned = None if text is None else read_canary(text, token)
        self.outcome.returned[item.question_hash, item.answer_hash] = returned
        self.outcome.progress.settled += 1

    def capabilities_are_known(self) -> bool:
        """Whether the ledger notes that the endpoint accepts requests of this form."""
        return self._ledger.capabilities(self._spec.identity) == self._capabilities.to_dict()

    def remember_capabilities(self) -> None:
        """Note in the ledger what the endpoint was found to accept."""
        self._ledger.add_capabilities(self._spec.identity, self._capabilities.to_dict())


async def ask_canaries(
    ledger: Ledger,
    items: Sequence[Item],
    spec: ModelSpec,
    settings: ScoreSettings,
    open_endpoint: Callable[[], ChatEndpoint],
) -> CanaryRun:
    """Put the test with every item to the judge; what the ledger holds is not paid again.

    Raises EndpointError when it cannot go on; all finished work is kept.
    """

    def begin(capabilities: Capabilities, earlier: CanaryRun | None) -> CanaryTask:
        outcome = carry_on(CanaryRun(Progress(planned=len(items))), earlier)
        return CanaryTask(ledger, spec, settings, capabilities, outcome)

    async with writing(ledger) as writer:
        return await run_session(
            ledger,
            writer,
            capabilities=known_capabilities(ledger, spec.identity).at_most(settings.output),
            begin=begin,
            units=lambda: items,
            give_up=lambda known, parameter: known.without(parameter, settings.decoding),
            open_endpoint=open_endpoint,
        )


def missing_canaries(
    ledger: Ledger, items: Sequence[Item], spec: ModelSpec, settings: ScoreSettings
) -> list[CallRequest]:
    """The test calls that the ledger lacks; nothing is stored."""
    capabilities = known_capabilities(ledger, spec.identity).at_most(settings.output)
    task = CanaryTask(ledger, spec, settings, capabilities, CanaryRun(Progress()))
    return [job.request for job in task.known(list(items)).jobs]
