"""What is asked of a judge: which criteria share a call, its body, and how its reply is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import orjson

from judge.endpoint import Capabilities, ModelSpec, OutputMode, read_reply, request_body
from judge.errors import EndpointError
from judge.examples import ExamplePool
from judge.execution import call_key
from judge.ledger import Call
from judge.logprobs import ALTERNATIVES, expected
from judge.offline import BASELINE_VERSION, FEATURES
from judge.prompting import (
    Case,
    Messages,
    Request,
    checklist_schema,
    group_schema,
    render_case,
    repair_messages,
    verdict_schema,
)
from judge.records import ChecklistItem, ScoreKind, Status
from judge.rubric import Criterion, Rubric
from judge.rulers import endpoint_ruler, offline_ruler
from judge.scoring._plan import Item, ScoreSettings, Unit, call_groups, can_be_asked
from judge.settings import Mode, Scoring
from judge.verdicts import Parsed, parse_checklist, parse_group, parse_reply

_LONGEST_SHOWN_REPLY = 8_000
_CASES = 512
"""Rendered answers that are kept: more than the calls of one wave of the plan."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One call: criteria of one answer, in the order in which the prompt has them."""

    item: Item
    criteria: tuple[Criterion, ...]
    sample: int
    several: bool
    """Whether the reply has the form for several criteria, also where only one applies."""

    def checklist(self, wanted: bool) -> tuple[ChecklistItem, ...]:
        """The items that stand for the criterion's levels, if checklists are wanted."""
        if not wanted or self.several:
            return ()
        return self.item.question.checklists.get(self.criteria[0].criterion, ())


class Asking:
    """How a rubric is put to one judge, under settings and what its endpoint accepts."""

    def __init__(
        self,
        rubric: Rubric,
        spec: ModelSpec,
        settings: ScoreSettings,
        capabilities: Capabilities,
        examples: ExamplePool | None,
    ) -> None:
        self.spec = spec
        self.settings = settings
        self.kind = _kind(settings, capabilities)
        self.form = form_name(spec, settings)
        self._capabilities = capabilities
        self._logprobs_seen = False
        self._examples = examples
        self._decoding = settings.decoding
        if self.kind is not ScoreKind.SAMPLES:
            self._decoding = replace(settings.decoding, top_logprobs=ALTERNATIVES)
        self._groups = {
            criterion.criterion: group
            for group in call_groups(rubric, settings.mode)
            for criterion in group
        }
        self._case = lru_cache(_CASES)(_rendered)

    def rulers(self) -> dict[str, str]:
        """The ruler set: criterion → ruler id; the criteria of one call share theirs."""
        manner = {
            "order": self.settings.order.value,
            "checklists": self.settings.checklists,
            "several": self.settings.mode is not Mode.PER_CRITERION,
        }
        rulers: dict[str, str] = {}
        for criterion, group in self._groups.items():
            request = self._body([], self._schema(group, (), manner["several"] is True))
            del request["messages"]
            pool = self._examples
            shown = None if pool is None else pool.content([each.criterion for each in group])
            rulers[criterion] = endpoint_ruler(
                group, self.spec.identity, request, self.kind, {**manner, "examples": shown}
            )
        return rulers

    def ask(self, unit: Unit) -> Ask:
        """The call that answers a unit; criteria that cannot be asked of the answer are left out.

        Sample j begins with the j-th criterion of the group, so that over the samples every
        criterion stands at every place (arXiv 2602.02219).
        """
        group = self._groups[unit.criterion.criterion]
        asked = tuple(each for each in group if can_be_asked(unit.item, each))
        start = unit.sample % len(asked)
        several = self.settings.mode is not Mode.PER_CRITERION
        return Ask(unit.item, asked[start:] + asked[:start], unit.sample, several)

    def body(self, ask: Ask) -> bytes:
        """The request as it would be sent: fields of the schema in the order of the reply."""
        return orjson.dumps(self._body(self._messages(ask), self._schema_of(ask)))

    def repair_body(self, ask: Ask, call: Call, problem: str) -> bytes:
        """The follow-up that shows the judge its reply and what was wrong with it."""
        messages = orjson.loads(call.request)["messages"]
        reply = read_reply(call.status_code, call.response).text or ""
        shown = reply.encode("utf-8", "replace").decode()[:_LONGEST_SHOWN_REPLY]
        conversation = repair_messages(messages, shown or "(an empty reply)", problem)
        return orjson.dumps(self._body(conversation, self._schema_of(ask)))

    def key(self, body: bytes, sample: int) -> bytes:
        """The key of a call: a hash of all that is sent, the judge, the sample and occasion."""
        return call_key(body, self.spec.identity, sample, self.settings.occasion)

    def read(self, ask: Ask, call: Call) -> dict[str, Parsed]:
        """What a call says: criterion → verdict, or why there is none.

        Where log-probabilities were asked for, a reply without them holds no verdict.
        """
        reply = read_reply(call.status_code, call.response)
        answer = ask.item.answer.answer
        if ask.several:
            parsed = parse_group(reply, ask.criteria, answer)
        elif items := ask.checklist(self.settings.checklists):
            (criterion,) = ask.criteria
            return {criterion.criterion: parse_checklist(reply, items, criterion, answer)}
        else:
            (criterion,) = ask.criteria
            parsed = {criterion.criterion: parse_reply(reply, criterion, answer)}
        if self.kind is ScoreKind.SAMPLES:
            return parsed
        self._logprobs_seen |= reply.tokens is not None
        return {
            each.criterion: expected(
                parsed[each.criterion],
                reply,
                each,
                (each.criterion, "level") if ask.several else ("level",),
                self.kind,
            )
            for each in ask.criteria
        }

    def require_logprobs(self, call: Call) -> None:
        """Raise EndpointError if a fresh reply lacks log-probabilities and none had them so far.

        A refusal, or a reply that was cut, has none to give and says nothing about the server.
        """
        if self.kind is ScoreKind.SAMPLES or self._logprobs_seen or call.status_code != 200:
            return
        reply = read_reply(call.status_code, call.response)
        if not reply.text or reply.refusal or reply.finish_reason != "stop":
            return
        raise EndpointError(
            f"{self.spec.identity}: the server gives no log-probabilities. Score with --scoring "
            "samples; or, if it gives them now, run again with --retry-unscored invalid."
        )

    def _messages(self, ask: Ask) -> Messages:
        settings, item = self.settings, ask.item
        examples = {}
        items = ask.checklist(settings.checklists)
        # A checklist has no levels that an example could show.
        if self._examples is not None and not items:
            for criterion in ask.criteria:
                examples[criterion.criterion] = self._examples.choose(
                    criterion, item.question, item.answer.answer, ask.sample
                )
        case = self._case(_Rendered(item))
        return case.put(
            Request(
                criteria=ask.criteria,
                order=settings.order,
                descending=_descending(ask.sample, len(ask.criteria)),
                items=items,
                examples=examples,
                several=ask.several,
            )
        )

    def _schema_of(self, ask: Ask) -> dict[str, Any]:
        return self._schema(ask.criteria, ask.checklist(self.settings.checklists), ask.several)

    def _schema(
        self, criteria: tuple[Criterion, ...], items: tuple[ChecklistItem, ...], several: bool
    ) -> dict[str, Any]:
        if items:
            return checklist_schema(len(items))
        if several:
            return group_schema(criteria)
        return verdict_schema([step.level for step in criteria[0].levels])

    def _body(self, messages: Messages, schema: Mapping[str, Any]) -> dict[str, Any]:
        return request_body(self.spec, messages, schema, self._decoding, self._capabilities)


class _Rendered:
    """An item as a cache key: by identity, which outlives no item that the cache holds."""

    __slots__ = ("item",)

    def __init__(self, item: Item) -> None:
        self.item = item

    def __hash__(self) -> int:
        return id(self.item)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Rendered) and other.item is self.item


def _rendered(key: _Rendered) -> Case:
    return render_case(key.item.question, key.item.answer.answer)


def form_name(spec: ModelSpec, settings: ScoreSettings) -> str:
    """Under which name the ledger keeps what an endpoint accepts of requests of this form.

    A form that was wanted for one run says nothing about the best one that the server takes.
    """
    wanted = settings.output
    return spec.identity if wanted is None else f"{spec.identity} --output {wanted.value}"


def _descending(sample: int, criteria: int) -> bool:
    """Whether a sample lists the levels from the highest.

    Every second one does; with an even number of criteria, which take turns at the first place,
    the turn is shifted after each round, so that place and direction do not go together.
    """
    shift = 0 if criteria % 2 else sample // criteria
    return (sample + shift) % 2 == 1


def mended(first: Mapping[str, Parsed], second: Mapping[str, Parsed]) -> dict[str, Parsed]:
    """Verdicts after a repair: what could be read the first time stands, the rest is replaced."""
    return {
        name: _after(parsed, second[name]) if parsed.mendable else parsed
        for name, parsed in first.items()
    }


def problem_of(parsed: Mapping[str, Parsed]) -> str:
    """What was wrong with a reply, in words for the judge; empty if asking again is no use."""
    wrong = {name: each.detail for name, each in parsed.items() if each.mendable}
    if len(set(wrong.values())) == 1 and len(wrong) == len(parsed):
        return next(iter(wrong.values()))
    return "; ".join(f"{name}: {detail}" for name, detail in wrong.items())


def _after(first: Parsed, second: Parsed) -> Parsed:
    told = f"first reply: {first.detail}"
    detail = f"{told}; second reply: {second.detail}" if second.detail else told
    scored = second.status is Status.SCORED
    return replace(second, mendable=False, detail=detail, repaired=scored)


def _kind(settings: ScoreSettings, capabilities: Capabilities) -> ScoreKind:
    if settings.scoring is Scoring.SAMPLES:
        return ScoreKind.SAMPLES
    free = capabilities.output_mode is OutputMode.TEXT
    return ScoreKind.LOGPROBS if free else ScoreKind.LOGPROBS_GRAMMAR


def rulers_of(
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    capabilities: Capabilities,
    examples: ExamplePool | None = None,
) -> dict[str, str]:
    """The ruler set of a judge: criterion → ruler id."""
    if spec.offline:
        return {
            criterion.criterion: offline_ruler(
                criterion, spec.identity, BASELINE_VERSION, _formula(criterion)
            )
            for criterion in rubric.criteria
        }
    return Asking(rubric, spec, settings, capabilities, examples).rulers()


def _formula(criterion: Criterion) -> str:
    feature = FEATURES.get(criterion.baseline or "")
    return "" if feature is None else f"{feature.name}: {feature.formula}"
