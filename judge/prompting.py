"""Rendering of judge prompts: sandboxed templates, fenced data, shared prefixes.

A prompt has parts: instructions, the case (question, reference, required facts, answer), the
criteria, examples, findings of checks, and the form of the reply. In the order answer-first the
prompts on one answer are the same up to the criteria; in the order criterion-first the prompts on
one criterion are the same up to the case; servers with prefix caching compute such a start once.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from judge.canonical import canonical
from judge.hardening import as_data
from judge.records import ChecklistItem, Question
from judge.resources import shipped
from judge.rubric import Criterion
from judge.settings import PromptOrder

Messages: TypeAlias = list[dict[str, str]]

_FENCE_HEX = 32
_FENCE_KEY = b"plumbline fence 1"
BLANK_FENCE = "0" * _FENCE_HEX
_TEMPLATES = (
    "instructions", "case", "task", "criterion", "checklist", "examples", "findings", "reply",
    "repair",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """What a deterministic check wanted and found, as the judge is told."""

    criteria: tuple[str, ...]
    wanted: str
    passed: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """An answer to another question with the level that people gave it on a criterion."""

    question: str
    answer: str
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a call asks about a case: the criteria, and how they are put.

    ``descending`` lists the levels from the highest. ``items``, for one criterion only, replaces
    its levels by a checklist. ``examples`` has an entry per criterion that gets any.
    """

    criteria: tuple[Criterion, ...]
    order: PromptOrder = PromptOrder.ANSWER_FIRST
    descending: bool = False
    items: tuple[ChecklistItem, ...] = ()
    examples: Mapping[str, tuple[Example, ...]] | None = None
    several: bool = False
    """The form of reply for several criteria, also where only one of them applies."""


@dataclass(frozen=True, slots=True)
class Case:
    """The part of a judge prompt that all calls on one answer share."""

    instructions: str
    text: str
    fence: str
    findings: tuple[CheckFinding, ...]

    def messages(self, *criteria: Criterion) -> Messages:
        """The messages that ask for verdicts on criteria, in the default form."""
        return self.put(Request(criteria=criteria, several=len(criteria) > 1))

    def put(self, request: Request) -> Messages:
        """The messages of a request about this case."""
        first = request.order is PromptOrder.ANSWER_FIRST
        parts = [
            _task_text(request.several, "above" if first else "below"),
            *self._criteria(request),
            *self._examples(request),
        ]
        parts.insert(0 if first else len(parts), self.text)
        named = {criterion.criterion for criterion in request.criteria}
        findings = [finding for finding in self.findings if named.intersection(finding.criteria)]
        if findings:
            parts.append(template("findings").render(findings=findings, several=request.several))
        parts.append(_reply_text(request.criteria, request.items, request.several))
        return [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": "\n\n".join(part.strip("\n") for part in parts)},
        ]

    def _criteria(self, request: Request) -> list[str]:
        if request.items:
            (criterion,) = request.criteria
            return [template("checklist").render(criterion=criterion, items=request.items)]
        return [
            criterion_text(criterion, request.several, request.descending)
            for criterion in request.criteria
        ]

    def _examples(self, request: Request) -> list[str]:
        shown = request.examples or {}
        return [
            _examples_text(criterion, shown[criterion.criterion])
            for criterion in request.criteria
            if shown.get(criterion.criterion)
        ]


def render_case(question: Question, answer: str) -> Case:
    """Render the shared part of the prompts for one answer; no model name ever enters it."""
    instructions = template("instructions").render()
    case = template("case")
    fence = fence_of(instructions, case.render(question=question, answer=answer, fence=BLANK_FENCE))
    findings = []
    for check in question.checks:
        result = check.run(answer)
        findings.append(CheckFinding(check.criteria, check.describe(), result.passed, result.found))
    text = case.render(question=question, answer=answer, fence=fence)
    return Case(instructions, text, fence, tuple(findings))


def fence_of(*parts: str) -> str:
    """32 hex digits that mark data: an HMAC of the parts rendered with a blank fence.

    A text cannot contain its own fence, because it would have to contain a hash of itself; and the
    same parts always get the same fence, so that keys stay stable.
    """
    mac = hmac.new(_FENCE_KEY, canonical(list(parts)), "blake2s")
    return mac.hexdigest()[:_FENCE_HEX]


def repair_messages(
    messages: Messages, reply: str, problem: str, words: str = "repair"
) -> Messages:
    """The conversation that gives the judge one chance to mend an unusable reply.

    ``words`` names the template that says what is wrong.
    """
    return [
        *messages,
        {"role": "assistant", "content": as_data(reply)},
        {"role": "user", "content": template(words).render(problem=problem)},
    ]


@cache
def _task_text(several: bool, where: str) -> str:
    return template("task").render(several=several, where=where)


@lru_cache(maxsize=1024)
def criterion_text(criterion: Criterion, several: bool, descending: bool) -> str:
    """A criterion as the judge reads it; ``descending`` lists the levels from the highest."""
    levels = criterion.levels[::-1] if descending else criterion.levels
    return template("criterion").render(criterion=criterion, several=several, levels=levels)


@lru_cache(maxsize=256)
def _reply_text(
    criteria: tuple[Criterion, ...], items: tuple[ChecklistItem, ...], several: bool
) -> str:
    return template("reply").render(criteria=criteria, items=items, several=several)


@lru_cache(maxsize=1024)
def _examples_text(criterion: Criterion, examples: tuple[Example, ...]) -> str:
    shown = template("examples")
    fence = fence_of(shown.render(criterion=criterion, examples=examples, fence=BLANK_FENCE))
    return shown.render(criterion=criterion, examples=examples, fence=fence)


@cache
def template_sources(names: tuple[str, ...] = _TEMPLATES) -> tuple[tuple[str, str], ...]:
    """Name and source of templates that reach a judge, by default of a verdict; for the ruler."""
    return tuple((name, _source(name)) for name in names)


def criterion_content(criterion: Criterion) -> dict[str, Any]:
    """All of a criterion that reaches the judge or fixes the meaning of its levels."""
    return {
        "criterion": criterion.criterion,
        "name": criterion.name,
        "definition": criterion.definition,
        "reference": criterion.reference,
        "levels": [[step.level, step.description, step.score] for step in criterion.levels],
    }


def verdict_schema(levels: Sequence[int]) -> dict[str, Any]:
    """JSON Schema of a verdict reply: evidence, rationale, then a level of the rubric or null.

    No length bounds on strings: a widely used grammar backend emits broken JSON for them.
    """
    return object_schema(
        {
            "evidence": {"type": "array", "items": {"type": "string"}},
            "rationale": {"type": "string"},
            "level": {"type": ["integer", "null"], "enum": [*levels, None]},
        }
    )


def group_schema(criteria: Sequence[Criterion]) -> dict[str, Any]:
    """JSON Schema of a reply on several criteria: a verdict per criterion, in the order given."""
    return object_schema(
        {
            criterion.criterion: verdict_schema([step.level for step in criterion.levels])
            for criterion in criteria
        }
    )


def checklist_schema(count: int) -> dict[str, Any]:
    """JSON Schema of a reply on a checklist of ``count`` items: item_1, item_2, ..., rationale."""
    item = object_schema(
        {
            "evidence": {"type": "array", "items": {"type": "string"}},
            "met": {"type": ["boolean", "null"]},
        }
    )
    items = {f"item_{number}": item for number in range(1, count + 1)}
    return object_schema({**items, "rationale": {"type": "string"}})


def object_schema(properties: dict[str, Any]) -> dict[str, Any]:
    """JSON Schema of an object that has these properties, all of them and no other."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@cache
def _source(name: str) -> str:
    return shipped(f"prompts/judging/{name}.md.j2").read_text("utf-8")


@cache
def template(name: str) -> Template:
    """A template of ``prompts/judging``; its filter ``data`` is for texts between markers."""
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["data"] = as_data
    return environment.from_string(_source(name))
