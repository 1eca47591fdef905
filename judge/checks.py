"""Deterministic checks of an answer: a number, a set of numbers, a label, a language, a length.

A check informs the judge and the report; it never stands in for a verdict silently. Which criteria
it speaks about is data of the question set (``criteria``), not of this module.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

_CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w%])")
_ITEM = re.compile(r"^\s*(?:[-*•‣–]|\(?\d{1,3}[.)、:]|\(?[a-zA-Z][.)])\s*\S", re.MULTILINE)
_WORD = re.compile(rf"[{_CJK}]|[^\W_]+(?:['’-][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether the answer passed, and what was found, in words for a person."""

    passed: bool
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One deterministic check: its kind, its parameters and the criteria that it speaks about."""

    kind: str
    criteria: tuple[str, ...]
    parameters: Mapping[str, Any]

    def run(self, answer: str) -> CheckResult:
        """Run the check on the text of an answer; an empty answer fails every check."""
        if not answer.strip():
            return CheckResult(False, "an empty answer")
        return _KINDS[self.kind](answer, **self.parameters)

    def describe(self) -> str:
        """What the check wants, in words for a person or a judge."""
        return _DESCRIPTIONS[self.kind].format(
            **{
                name: ", ".join(map(str, value)) if isinstance(value, list) else value
                for name, value in {**_DEFAULTS.get(self.kind, {}), **self.parameters}.items()
            }
        )


def words(text: str) -> list[str]:
    """Words of a text; a CJK character counts as one word (there are no spaces to go by)."""
    return _WORD.findall(text)
