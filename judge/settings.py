"""How a judge is asked: names that commands, prompts, rulers and runs share."""

from __future__ import annotations

from enum import StrEnum


class PromptOrder(StrEnum):
    """What comes first in a prompt, and is therefore what calls can share in a prefix cache."""

    ANSWER_FIRST = "answer-first"
    """Question and answer before the criterion: the calls for one answer share their start."""
    CRITERION_FIRST = "criterion-first"
    """The criterion before question and answer: the calls on one criterion share theirs."""


class Mode(StrEnum):
    """How many criteria one judge call covers."""

    PER_CRITERION = "per-criterion"
    """One: the least halo, the most calls."""
    GROUPED = "grouped"
    """Those that the rubric puts into one group."""
    JOINT = "joint"
    """All that apply to the question: the fewest calls, the most halo."""

    @property
    def order(self) -> PromptOrder:
        """The order in which calls share more: one answer's criteria, or one set of criteria."""
        single = self is Mode.PER_CRITERION
        return PromptOrder.ANSWER_FIRST if single else PromptOrder.CRITERION_FIRST


class Scoring(StrEnum):
    """What is read from a judge's reply."""

    SAMPLES = "samples"
    """The level that it names."""
    LOGPROBS = "logprobs"
    """The expectation over the probabilities of the levels (needs an endpoint that gives them)."""

    @property
    def temperature(self) -> float:
        """The temperature unless another one is wanted: samples differ, an expectation need not."""
        return 0.7 if self is Scoring.SAMPLES else 0.0
