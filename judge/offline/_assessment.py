"""What a feature makes of an answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from judge.checks import words
from judge.offline._personal_data import exposed
from judge.offline._text import script
from judge.records import Question


@dataclass(frozen=True, slots=True)
class Assessment:
    """What a feature makes of an answer.

    ``value`` is in [0, 1]; a caller that wants a level takes the rubric's level nearest to five
    times the value, halves upwards. ``evidence`` holds up to three short verbatim passages.
    """

    value: float
    evidence: tuple[str, ...]
    rationale: str


@dataclass(frozen=True, slots=True)
class CannotAssess:
    """A feature has nothing to go by, e.g. no reference, or a language that it does not know."""

    rationale: str


Assess = Callable[[Question, str, str], Assessment | CannotAssess]


def of_words(assess: Assess, *, empty: Assessment | CannotAssess, any_script: bool) -> Assess:
    """The function, with the answers settled that are alike for all features.

    An answer without words gets ``empty``; one in a script that is neither Latin nor Chinese
    cannot be assessed unless the feature works on any script. Evidence in which personal data is
    recognised is left out: a report must not spread it.
    """

    def assess_words(question: Question, answer: str, criterion: str) -> Assessment | CannotAssess:
        if not words(answer):
            return empty
        if not any_script and script(answer) is None:
            return CannotAssess("The answer is neither in Latin nor in Chinese script.")
        result = assess(question, answer, criterion)
        if isinstance(result, CannotAssess):
            return result
        quotable = tuple(passage for passage in result.evidence if not exposed(passage))
        return replace(result, evidence=quotable)

    return assess_words
