"""The prompts of a pairwise judge: two answers as fenced data, then one criterion.

All criteria of one pair and order share the messages up to the criterion, so that servers with
prefix caching compute that part once. No model's name ever enters a prompt.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from judge.checks import CheckResult
from judge.prompting import (
    BLANK_FENCE,
    Messages,
    criterion_text,
    fence_of,
    object_schema,
    template,
    template_sources,
)
from judge.records import Question
from judge.rubric import Criterion

_TEMPLATES = ("pair_instructions", "pair_case", "pair_criterion", "criterion", "pair_repair")


@dataclass(frozen=True, slots=True)
class PairFinding:
    """What a deterministic check wanted, and found in each of the two answers."""

    criteria: tuple[str, ...]
    wanted: str
    first: CheckResult
    second: CheckResult


@dataclass(frozen=True, slots=True)
class PairCase:
    """The part of a pairwise prompt that all criteria of one pair and order share."""

    instructions: str
    text: str
    fence: str
    findings: tuple[PairFinding, ...]

    def messages(self, criterion: Criterion, *, descending: bool = False) -> Messages:
        """The messages that ask which answer is better on one criterion.

        ``descending`` lists the levels from the highest.
        """
        findings = tuple(
            finding for finding in self.findings if criterion.criterion in finding.criteria
        )
        tail = _criterion_text(criterion, findings, descending)
        return [
            {"role": "system", "content": self.instructions},
            {"role": "user", "content": f"{self.text}\n\n{tail}"},
        ]


def render_pair(question: Question, first: str, second: str) -> PairCase:
    """Render the shared part of the prompts for two answers in the order in which they stand."""
    instructions = template("pair_instructions").render()
    case = template("pair_case")
    shown = {"question": question, "first": first, "second": second}
    fence = fence_of(instructions, case.render(**shown, fence=BLANK_FENCE))
    return PairCase(
        instructions=instructions,
        text=case.render(**shown, fence=fence).strip("\n"),
        fence=fence,
        findings=tuple(
            PairFinding(check.criteria, check.describe(), check.run(first), check.run(second))
            for check in question.checks
        ),
    )


def pair_schema() -> dict[str, Any]:
    """JSON Schema of a pairwise reply: evidence of both, rationale, then which one is better."""
    quotes = {"type": "array", "items": {"type": "string"}}
    return object_schema(
        {
            "evidence_first": quotes,
            "evidence_second": quotes,
            "rationale": {"type": "string"},
            "better": {"type": ["string", "null"], "enum": ["first", "second", "tie", None]},
        }
    )


@cache
def pair_template_sources() -> tuple[tuple[str, str], ...]:
    """Name and source of every template that reaches a pairwise judge; part of the ruler."""
    return template_sources(_TEMPLATES)


@lru_cache(maxsize=1024)
def _criterion_text(
    criterion: Criterion, findings: tuple[PairFinding, ...], descending: bool
) -> str:
    yardstick = criterion_text(criterion, False, descending).strip("\n")
    text = template("pair_criterion").render(yardstick=yardstick, findings=findings)
    return text.strip("\n")
