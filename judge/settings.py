"""How a judge is asked: names that commands, prompts, rulers and runs share."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """How many criteria one judge call covers."""

    PER_CRITERION = "per-criterion"
    """One: the least halo, the most calls."""
    GROUPED = "grouped"
    """Those that the rubric puts into one group."""
    JOINT = "joint"
    """All that apply to the question: the fewest calls, the most halo."""


class Scoring(StrEnum):
    """What is read from a judge's reply."""

    SAMPLES = "samples"
    """The level that it names."""
    LOGPROBS = "logprobs"
    """The expectation over the probabilities of the levels (needs an endpoint that gives them)."""


class PromptOrder(StrEnum):
    """What comes first in a prompt, and is therefore what calls can share in a prefix cache."""

    ANSWER_FIRST = "answer-first"
    """Question and answer before the criterion: the calls for one answer share their start."""
    CRITERION_FIRST = "criterion-first"
    """The criterion before question and answer: the calls on one criterion share theirs."""
