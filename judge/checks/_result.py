"""What a check found."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Whether the answer passed, and what was found, in words for a person.

    ``found`` holds counts, numbers and terms of the question set, never a passage of the answer:
    it reaches the judge outside the fence around the answer.
    """

    passed: bool
    found: str
