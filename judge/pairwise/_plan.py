"""What is wanted: pairs of answers, units, settings, and the account of a run.

Everything here is the same whichever of the two models is named first on the command line: pairs
hold their answers in the order of the models' names, and only the result takes a point of view.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from judge.canonical import digest
from judge.endpoint import Capabilities, Decoding, ModelSpec, request_body
from judge.errors import UsageError
from judge.pairwise._prompt import pair_schema, pair_template_sources
from judge.prompting import criterion_content
from judge.records import Question, Reason, Status
from judge.rubric import Criterion
from judge.scoring import Item, ScoreRun

KIND = "pairwise"
"""Kind of the run and of the rulers; never mixed with scores of single answers."""

BOTH = (0, 1)
"""Which of a pair's answers stands first: every pair is put to the judge in both orders."""


WAVE = 32
"""How many pairs a wave of the plan has, unless the concurrency says otherwise."""


class Better(StrEnum):
    """Which answer a judge preferred, named by the place where it stood in the prompt."""

    FIRST = "first"
    SECOND = "second"
    TIE = "tie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models' answers to one question, in the order of the models' names.

    ``sample`` is the answer sample: the n-th answer of one model meets the n-th of the other.
    """

    question: Question
    sample: int
    items: tuple[Item, Item]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairing:
    """The pairs of two models, and the answers that have no counterpart."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class PairUnit:
    """One wanted verdict: a pair on a criterion, with ``items[first]`` standing first."""

    pair: Pair
    criterion: Criterion
    first: int
    sample: int

    @property
    def texts(self) -> tuple[str, str]:
        """The first and the second answer, as the judge reads them."""
        items = self.pair.items
        return items[self.first].answer.answer, items[1 - self.first].answer.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class PairVerdict:
    """One judgment of one pair on one criterion in one order.

    ``first`` is the model whose answer stood first, ``better`` is set exactly where the verdict
    is scored. ``sample`` is the judge's, ``answer_sample`` that of the answers.
    """

    question_id: str
    answer_sample: int
    criterion: str
    first: str
    second: str
    sample: int
    status: Status
    reason: Reason | None = None
    better: Better | None = None
    evidence_first: tuple[str, ...] = ()
    evidence_second: tuple[str, ...] = ()
    rationale: str = ""
    detail: str = ""
    repaired: bool = False

    def __post_init__(self) -> None:
        """Refuse the impossible: a scored verdict without a choice, another one with it."""
        if (self.status is Status.SCORED) != (self.better is not None):
            raise ValueError(f"a {self.status} verdict that prefers {self.better}")
        if (self.status is Status.UNSCORED) != (self.reason is not None):
            raise ValueError(f"a {self.status} verdict with reason {self.reason}")

    @property
    def preferred(self) -> str | None:
        """The model that the verdict prefers; None for a tie and where nothing was scored."""
        if self.better is Better.FIRST:
            return self.first
        return self.second if self.better is Better.SECOND else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSettings:
    """What is asked of the judge."""

    samples: int = 1
    occasion: str = ""
    decoding: Decoding = field(default_factory=Decoding)


@dataclass(slots=True)
class PairRun(ScoreRun):
    """A pairwise run while it goes on and when it is over, with the verdicts that it has read."""

    verdicts: list[PairVerdict] = field(default_factory=list)

    def note(self, verdict: PairVerdict) -> None:
        """Keep and count one settled unit."""
        self.verdicts.append(verdict)
        self.count(verdict)


def paired(items: Iterable[Item], models: Sequence[str]) -> Pairing:
    """Pair the answers of two models by question and answer sample, in the order of ``items``.

    Raises UsageError unless exactly two different models are named, if no question is answered by
    both, and where the two answers of a pair were given to different wordings of their question.
    """
    if len(models) != 2 or models[0] == models[1]:
        raise UsageError(
            f"--models {','.join(models)}: expected two different models, e.g. --models old,new."
        )
    low, high = sorted(models)
    found: dict[tuple[str, int], dict[str, Item]] = {}
    for item in items:
        if item.answer.model in models:
            place = found.setdefault((item.answer.question_id, item.answer.sample), {})
            place[item.answer.model] = item
    pairs = []
    for (name, sample), by_model in found.items():
        if len(by_model) == 2:
            both = (by_model[low], by_model[high])
            if both[0].question_hash != both[1].question_hash:
                raise UsageError(
                    f"{name}: {low} and {high} answered different wordings of this question (or "
                    "its reference, facts or checks differ). Give both answers the same question."
                )
            pairs.append(Pair(question=both[0].question, sample=sample, items=both))
    unpaired = tuple(
        item for by_model in found.values() if len(by_model) == 1 for item in by_model.values()
    )
    if not pairs:
        raise UsageError(
            f"no question is answered by both {models[0]} and {models[1]}; there is nothing to "
            "compare. Answers are paired by question_id and sample."
        )
    return Pairing(pairs=tuple(pairs), unpaired=unpaired)


def planned_units(
    pairs: Iterable[Pair], criteria: Sequence[Criterion], samples: int, wave: int = WAVE
) -> Iterator[PairUnit]:
    """The plan, in the order in which calls share the most of a server's prefix cache.

    Pairs in one order each are taken in waves of ``wave`` (the number of calls at once): one call
    for each of the wave, then the others of each, which find the two answers in the cache. A
    criterion that does not apply is one unit per pair, whatever the orders and samples.
    """
    standing = ((pair, first) for pair in pairs for first in BOTH)
    while some := list(islice(standing, wave)):
        of_each = [list(_units(pair, first, criteria, samples)) for pair, first in some]
        for units in of_each:
            yield from units[:1]
        for units in of_each:
            yield from units[1:]


def _units(
    pair: Pair, first: int, criteria: Sequence[Criterion], samples: int
) -> Iterator[PairUnit]:
    """The units of a pair in one order, those that may need a call before the others."""
    category = pair.question.category
    for sample in range(samples):
        for criterion in criteria:
            if criterion.applies_to(category):
                yield PairUnit(pair, criterion, first, sample)
    if first == BOTH[0]:
        for criterion in criteria:
            if not criterion.applies_to(category):
                yield PairUnit(pair, criterion, first, 0)


def rulers_of(
    criteria: Iterable[Criterion],
    spec: ModelSpec,
    decoding: Decoding,
    capabilities: Capabilities,
) -> dict[str, str]:
    """The ruler set of a pairwise judge: criterion → ruler id.

    A hash over all that reaches the criterion's calls except question and answers. Order and
    sample index are not part of it.
    """
    request = request_body(spec, [], pair_schema(), decoding, capabilities)
    del request["messages"]
    return {
        criterion.criterion: digest(
            {
                "judge": spec.identity,
                "criterion": criterion_content(criterion),
                "templates": pair_template_sources(),
                "request": request,
                "kind": KIND,
            }
        ).hex()
        for criterion in criteria
    }
