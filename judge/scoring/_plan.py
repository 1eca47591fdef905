"""What is wanted: items, units, settings, and the account of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from judge.canonical import text_hash
from judge.endpoint import Decoding, OutputMode
from judge.errors import UsageError
from judge.execution import Progress
from judge.questions import question_hash
from judge.records import Answer, Question, Reason, Status
from judge.rubric import Criterion, Rubric
from judge.settings import Mode, PromptOrder, Scoring

WAVE = 32
"""How many answers a wave of the plan has, unless the concurrency says otherwise."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """An answer to be judged, with the question as it is put to the judge."""

    answer_id: int
    answer: Answer
    answer_hash: bytes
    question: Question
    question_hash: bytes


@dataclass(frozen=True, slots=True)
class Unit:
    """One wanted verdict."""

    item: Item
    criterion: Criterion
    sample: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreSettings:
    """What is asked of the judge, and how.

    ``checklists`` judges a criterion by the question's checklist where it has one. ``output``
    starts the ladder of structured output at a lower rung than the best that the server takes.
    ``retry`` reopens final verdicts that have these reasons.
    """

    samples: int = 1
    occasion: str = ""
    decoding: Decoding = field(default_factory=Decoding)
    mode: Mode = Mode.PER_CRITERION
    scoring: Scoring = Scoring.SAMPLES
    order: PromptOrder = PromptOrder.ANSWER_FIRST
    checklists: bool = False
    output: OutputMode | None = None
    retry: frozenset[Reason] = frozenset()


class Settled(Protocol):
    """What counting a unit needs to know of its verdict."""

    @property
    def status(self) -> Status:
        """Scored, unscored or not applicable."""
        ...

    @property
    def reason(self) -> Reason | None:
        """Why it is unscored; None otherwise."""
        ...

    @property
    def repaired(self) -> bool:
        """Whether the judge needed a second chance."""
        ...


@dataclass(slots=True)
class ScoreRun:
    """A run while it goes on and when it is over: what came out, and what it took."""

    run: str
    rulers: Mapping[str, str]
    progress: Progress
    started_at: str = ""
    """UTC, ISO 8601 to the millisecond, as the ledger dates what it stores."""
    scored: int = 0
    not_applicable: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    repaired: int = 0
    sent: int = 0
    given_up: list[str] = field(default_factory=list)
    """What the server refused and is no longer asked for, with its words."""

    def count(self, verdict: Settled) -> None:
        """Count one settled unit."""
        self.progress.settled += 1
        self.repaired += verdict.repaired
        match verdict.status:
            case Status.SCORED:
                self.scored += 1
            case Status.NOT_APPLICABLE:
                self.not_applicable += 1
            case Status.UNSCORED:
                assert verdict.reason is not None
                self.unscored[verdict.reason.value] += 1

    @property
    def missing_share(self) -> float:
        """Share of the wanted (applicable) verdicts that are unscored or open."""
        wanted = self.progress.planned - self.not_applicable
        missing = self.unscored.total() + self.progress.open
        return missing / wanted if wanted else 0.0


def item_of(answer_id: int, answer: Answer, question: Question) -> Item:
    """An item, with the hashes that bind verdicts to the answer's text and to the question."""
    return Item(
        answer_id=answer_id,
        answer=answer,
        answer_hash=text_hash(answer.answer),
        question=question,
        question_hash=question_hash(question),
    )


def planned_units(
    items: Iterable[Item], rubric: Rubric, settings: ScoreSettings, wave: int = WAVE
) -> Iterator[Unit]:
    """The plan, in the order in which calls share the most of a server's prefix cache.

    With the answer first in the prompt, answers are taken in waves of ``wave`` (the number of calls
    at once): one call for each answer of the wave, then the others of each, which find the answer
    in the cache. With the criterion first, answer by answer. A criterion that does not apply is one
    unit, whatever the number of samples.
    """
    groups = call_groups(rubric, settings.mode)
    if settings.order is PromptOrder.CRITERION_FIRST:
        wave = 1
    for some in _batched(items, wave):
        lead = [_lead(item, groups) for item in some]
        for item, group in zip(some, lead, strict=True):
            for criterion in group:
                yield Unit(item, criterion, 0)
        for item, group in zip(some, lead, strict=True):
            yield from _rest(item, groups, group, settings.samples)


def call_groups(rubric: Rubric, mode: Mode) -> tuple[tuple[Criterion, ...], ...]:
    """The criteria that share a call, in the order of the rubric.

    Raises UsageError for the grouped mode with a rubric that declares no groups.
    """
    if mode is Mode.PER_CRITERION:
        return tuple((criterion,) for criterion in rubric.criteria)
    if mode is Mode.JOINT:
        return (rubric.criteria,)
    if all(criterion.group is None for criterion in rubric.criteria):
        raise UsageError(
            f"--mode grouped: the rubric {rubric.name} puts no criteria into groups. Give "
            "criteria that share a call the same `group`, or use --mode joint."
        )
    groups: dict[str, list[Criterion]] = {}
    for criterion in rubric.criteria:
        name = f"group {criterion.group}" if criterion.group else f"alone {criterion.criterion}"
        groups.setdefault(name, []).append(criterion)
    return tuple(tuple(group) for group in groups.values())


def can_be_asked(item: Item, criterion: Criterion) -> bool:
    """Whether a criterion applies to an item and, where it needs a reference, has one."""
    question = item.question
    if not criterion.applies_to(question.category):
        return False
    return criterion.reference != "requires" or bool(question.reference or question.required_facts)


def _lead(item: Item, groups: Sequence[tuple[Criterion, ...]]) -> tuple[Criterion, ...]:
    """The first group of which something can be asked of an item."""
    for group in groups:
        if any(can_be_asked(item, criterion) for criterion in group):
            return group
    return ()


def _rest(
    item: Item,
    groups: Sequence[tuple[Criterion, ...]],
    lead: tuple[Criterion, ...],
    samples: int,
) -> Iterator[Unit]:
    for sample in range(samples):
        for group in groups:
            if sample == 0 and group is lead:
                continue
            for criterion in group:
                if sample == 0 or criterion.applies_to(item.question.category):
                    yield Unit(item, criterion, sample)


def _batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    stream = iter(items)
    while some := list(islice(stream, size)):
        yield some
