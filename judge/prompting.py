"""Rendering of judge prompts: sandboxed templates, fenced data, shared prefixes.

The messages of one answer are the same up to the criterion (instructions, question, reference,
required facts, answer), so that servers with prefix caching compute them once.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeAlias

from jinja2 import StrictUndefined, Template
from jinja2.sandbox import ImmutableSandboxedEnvironment

from judge.canonical import canonical
from judge.records import Question
from judge.resources import shipped
from judge.rubric import Criterion

Messages: TypeAlias = list[dict[str, str]]

_FENCE_HEX = 32
_FENCE_KEY = b"plumbline fence 1"
_BLANK = "0" * _FENCE_HEX
_TEMPLATES = ("instructions", "case", "criterion", "repair")


@dataclass(frozen=True, slots=True)
class CheckFinding:
    """What a deterministic check wanted and found, as the judge is told."""

    wanted: str
    passed: bool
    found: str


@dataclass(frozen=True, slots=True)
class Case:
    """The part of a judge prompt that all criteria of one answer share."""

    instructions: str
    text: str
    fence: str
    findings: tuple[tuple[tuple[str, ...], CheckFinding], ...]
    """Each finding with the ids of the criteria that it speaks about."""

    def messages(self, criterion: Criterion) -> Messages:
        """The messages that ask for a verdict on one criterion."""
        checks = [finding for names, finding in self.findings if criterion.criterion in names]
        tail = _criterion_text(criterion, tuple(checks))
        return [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": f"{self.text}\n{tail}"},
        ]


def render_case(question: Question, answer: str) -> Case:
    """Render the shared part of the prompts for one answer; no model name ever enters it.

    The fence is an HMAC of this part with the fence left blank: an answer cannot contain its own
    fence, because it would have to contain a hash of itself; and the same answer always gets the
    same fence, so that keys stay stable.
    """
    instructions = _template("instructions").render()
    template = _template("case")
    blank = template.render(question=question, answer=answer, fence=_BLANK)
    mac = hmac.new(_FENCE_KEY, canonical([instructions, blank]), "blake2s")
    fence = mac.hexdigest()[:_FENCE_HEX]
    findings = []
    for check in question.checks:
        result = check.run(answer)
        finding = CheckFinding(check.describe(), result.passed, result.found)
        findings.append((check.criteria, finding))
    text = template.render(question=question, answer=answer, fence=fence)
    return Case(instructions, text, fence, tuple(findings))


def repair_messages(messages: Messages, reply: str, problem: str) -> Messages:
    """The conversation that gives the judge one chance to mend an unusable reply."""
    return [
        *messages,
        {"role": "assistant", "content": reply},
        {"role": "user", "content": _template("repair").render(problem=problem)},
    ]


@lru_cache(maxsize=1024)
def _criterion_text(criterion: Criterion, checks: tuple[CheckFinding, ...]) -> str:
    return _template("criterion").render(criterion=criterion, checks=checks)


@cache
def template_sources() -> tuple[tuple[str, str], ...]:
    """Name and source of every template that reaches a judge; part of the ruler."""
    return tuple((name, _source(name)) for name in _TEMPLATES)


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
    return {
        "type": "object",
        "properties": {
            "evidence": {"type": "array", "items": {"type": "string"}},
            "rationale": {"type": "string"},
            "level": {"type": ["integer", "null"], "enum": [*levels, None]},
        },
        "required": ["evidence", "rationale", "level"],
        "additionalProperties": False,
    }


@cache
def _source(name: str) -> str:
    return shipped(f"prompts/judging/{name}.md.j2").read_text("utf-8")


@cache
def _template(name: str) -> Template:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_source(name))
