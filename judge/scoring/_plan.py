"""What is wanted: items, units, settings, and the account of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from judge.canonical import text_hash
from judge.endpoint import Capabilities, Decoding, ModelSpec, request_body
from judge.execution import Progress
from judge.offline import BASELINE_VERSION, FEATURES
from judge.prompting import verdict_schema
from judge.questions import question_hash
from judge.records import Answer, Question, Reason, Status, Verdict
from judge.rubric import Criterion, Rubric
from judge.rulers import endpoint_ruler, offline_ruler


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
    """What is asked of the judge. ``retry`` reopens final verdicts that have these reasons."""

    samples: int = 1
    occasion: str = ""
    decoding: Decoding = field(default_factory=Decoding)
    retry: frozenset[Reason] = frozenset()


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

    def count(self, verdict: Verdict) -> None:
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


def planned_units(items: Iterable[Item], rubric: Rubric, samples: int) -> Iterator[Unit]:
    """The plan, answer by answer, so that calls that share a prefix follow each other.

    A criterion that does not apply is one unit, whatever the number of samples.
    """
    for item in items:
        for criterion in rubric.criteria:
            applies = criterion.applies_to(item.question.category)
            for sample in range(samples if applies else 1):
                yield Unit(item, criterion, sample)


def rulers_of(
    rubric: Rubric, spec: ModelSpec, decoding: Decoding, capabilities: Capabilities
) -> dict[str, str]:
    """The ruler set of a judge: criterion → ruler id."""
    if spec.offline:
        return {
            criterion.criterion: offline_ruler(
                criterion, spec.identity, BASELINE_VERSION, _formula(criterion)
            )
            for criterion in rubric.criteria
        }
    rulers = {}
    for criterion in rubric.criteria:
        request = request_body(spec, [], level_schema(criterion), decoding, capabilities)
        del request["messages"]
        rulers[criterion.criterion] = endpoint_ruler(criterion, spec.identity, request)
    return rulers


def level_schema(criterion: Criterion) -> dict[str, Any]:
    """The schema of a verdict reply on a criterion."""
    return verdict_schema([step.level for step in criterion.levels])


def _formula(criterion: Criterion) -> str:
    feature = FEATURES.get(criterion.baseline or "")
    return "" if feature is None else f"{feature.name}: {feature.formula}"
