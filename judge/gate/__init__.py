"""The release gate: may a candidate replace its baseline?

Paired by question, with ceiling-safe intervals, margins, a correction for many criteria, and
missing verdicts as evidence. Pure: a study in, a decision out; nothing is drawn, so that the same
scores always give the same decision.
"""

from judge.gate._decide import gate
from judge.gate._failures import failures_words, total_failures
from judge.gate._families import first_levels, holm, rejections
from judge.gate._files import facts, junit_of, markdown_of, sentence
from judge.gate._pairs import Bounds, Paired, missing_bounds
from judge.gate._posterior import Tails, interval, tails
from judge.gate._result import (
    CriterionResult,
    Decision,
    Failures,
    GateResult,
    GateSettings,
    Missing,
    Remedy,
    TotalFailures,
)
from judge.gate._signs import SignFlip, sign_flip
from judge.gate._words import attainability_lines, counted, flag_of, undecided

__all__ = [
    "Bounds",
    "CriterionResult",
    "Decision",
    "Failures",
    "GateResult",
    "GateSettings",
    "Missing",
    "Paired",
    "Remedy",
    "SignFlip",
    "Tails",
    "TotalFailures",
    "attainability_lines",
    "counted",
    "facts",
    "failures_words",
    "first_levels",
    "flag_of",
    "gate",
    "holm",
    "interval",
    "junit_of",
    "markdown_of",
    "missing_bounds",
    "rejections",
    "sentence",
    "sign_flip",
    "tails",
    "total_failures",
    "undecided",
]
