"""What is wanted: questions, samples, settings, and the account of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from judge.answering._thoughts import without_thoughts
from judge.canonical import digest
from judge.endpoint import Capabilities, Decoding, ModelSpec, OutputMode, request_body
from judge.execution import Progress
from judge.records import Answer, Question, Reason


@dataclass(frozen=True, slots=True)
class AnswerUnit:
    """One wanted answer: the ``sample``-th to a question."""

    question: Question
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerSettings:
    """What is asked of a model, and under which ``name`` its answers are kept.

    ``system`` is the system message (None: no such message; an empty one is sent as it is).
    ``decoding.seed`` is the seed of sample 0; sample j gets the seed plus j. ``stop`` are texts at
    which the server ends an answer. With ``strip_thinking`` a leading block of thoughts is no part
    of the answer.
    """

    name: str
    samples: int = 1
    occasion: str = ""
    system: str | None = None
    decoding: Decoding = field(default_factory=Decoding)
    stop: tuple[str, ...] = ()
    strip_thinking: bool = False


@dataclass(slots=True)
class AnswerRun:
    """A run while it goes on and when it is over: what came out, and what it took."""

    progress: Progress
    sent: int = 0
    given_up: list[str] = field(default_factory=list)
    """What the server refused and is no longer asked for, with its words."""
    answered: int = 0
    truncated: int = 0
    """Answers that reached the token limit."""
    filtered: int = 0
    """Answers that the server's content filter cut off or held back."""
    empty: int = 0
    """Answers without any text, for whatever reason."""
    thoughts: int = 0
    """Answers that begin with a block of thoughts."""
    unscored: Counter[str] = field(default_factory=Counter)
    """Units for which there is and will be no answer, by reason."""

    def count(self, reading: Reading) -> None:
        """Count one settled unit."""
        self.progress.settled += 1
        if reading.answer is None:
            assert reading.reason is not None
            self.unscored[reading.reason.value] += 1
            return
        answer = reading.answer
        self.answered += 1
        self.truncated += answer.finish_reason == "length"
        self.filtered += answer.finish_reason == "content_filter"
        self.empty += not answer.answer.strip()
        self.thoughts += without_thoughts(answer.answer) != answer.answer

    @property
    def missing_share(self) -> float:
        """Share of the wanted answers that do not exist."""
        missing = self.unscored.total() + self.progress.open
        return missing / self.progress.planned if self.progress.planned else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """What became of a unit: an answer, or the reason why there is none."""

    answer: Answer | None
    reason: Reason | None = None


def planned_units(questions: Iterable[Question], samples: int) -> Iterator[AnswerUnit]:
    """The plan, question by question."""
    for question in questions:
        for sample in range(samples):
            yield AnswerUnit(question, sample)


def unstructured(capabilities: Capabilities) -> Capabilities:
    """The same capabilities on the rung on which no form of output is asked for."""
    return replace(capabilities, output_mode=OutputMode.TEXT)


def messages(settings: AnswerSettings, question: str) -> list[dict[str, str]]:
    """The conversation that asks a question: the text as it is, for every model the same."""
    user = {"role": "user", "content": question}
    if settings.system is None:
        return [user]
    return [{"role": "system", "content": settings.system}, user]


@cache
def messages_template() -> str:
    """A hash of how questions are put, behind a system message (whose text is recorded)."""
    return digest(messages(AnswerSettings(name="", system="{system}"), "{question}")).hex()


def answer_body(
    spec: ModelSpec,
    settings: AnswerSettings,
    capabilities: Capabilities,
    conversation: list[dict[str, str]],
    sample: int,
) -> dict[str, Any]:
    """The request for the ``sample``-th answer to a conversation.

    Two models get bodies that differ in nothing but ``model``, as far as their servers accept
    the same parameters.
    """
    decoding = settings.decoding
    if decoding.seed is not None:
        decoding = replace(decoding, seed=decoding.seed + sample)
    body = request_body(spec, conversation, None, decoding, capabilities)
    if settings.stop:
        body["stop"] = list(settings.stop)
    return body


def sent_decoding(body: dict[str, Any]) -> dict[str, Any]:
    """The decoding parameters of a request body."""
    return {name: value for name, value in body.items() if name not in ("model", "messages")}
