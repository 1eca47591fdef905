"""Carrying a study out: its batches go to the judge, its verdicts come back by what they judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from judge.endpoint import ChatEndpoint, ModelSpec, estimated_tokens
from judge.ledger import Ledger
from judge.probes._canary import CanaryRun, ask_canaries, missing_canaries
from judge.probes._plan import Batch, Study
from judge.records import Status, Verdict
from judge.scoring import Item, ScoreRun, ScoreSettings, Workload, collect, workload
from judge.settings import PromptOrder, Scoring

PURPOSE = "probe"

OnBatch = Callable[[Batch], Callable[[ScoreRun, ChatEndpoint | None], None]]
_Key = tuple[bytes, bytes, str]


class Scores:
    """Verdicts by what was judged: question, text and criterion; then by sample.

    The same text under another answer's name is the same prompt and has the same verdicts.
    """

    def __init__(self) -> None:
        self._verdicts: dict[_Key, dict[int, Verdict]] = {}

    def add(self, verdicts: list[Verdict]) -> None:
        """Take verdicts in."""
        for verdict in verdicts:
            assert verdict.question_hash is not None and verdict.answer_hash is not None
            key = (verdict.question_hash, verdict.answer_hash, verdict.criterion)
            self._verdicts.setdefault(key, {})[verdict.sample] = verdict

    def scored(self, item: Item, criterion: str) -> Mapping[int, float]:
        """The scores, in [0, 1], by sample; a sample without a score is left out."""
        held = self._verdicts.get((item.question_hash, item.answer_hash, criterion), {})
        return {
            sample: verdict.score
            for sample, verdict in held.items()
            if verdict.status is Status.SCORED and verdict.score is not None
        }


@dataclass(slots=True)
class Account:
    """What a study took, over all of its batches."""

    planned: int = 0
    scored: int = 0
    not_applicable: int = 0
    open: int = 0
    unscored: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    from_ledger: int = 0
    cost: float = 0.0
    unpriced: int = 0
    stopped: str = ""
    open_why: Counter[str] = field(default_factory=Counter)

    def add(self, run: ScoreRun) -> None:
        """Count a batch."""
        progress = run.progress
        self.planned += progress.planned
        self.scored += run.scored
        self.not_applicable += run.not_applicable
        self.open += progress.open
        self.unscored += run.unscored
        self.sent += run.sent
        self.from_ledger += progress.from_ledger
        self.cost += progress.cost
        self.unpriced += progress.unpriced
        self.stopped = self.stopped or progress.stopped
        self.open_why.update(progress.open_why)

    @property
    def missing_share(self) -> float:
        """Share of the wanted (applicable) verdicts that are unscored or open."""
        wanted = self.planned - self.not_applicable
        return (self.unscored.total() + self.open) / wanted if wanted else 0.0


@dataclass(slots=True)
class Collected:
    """The verdicts of a study; those of the calls in which all criteria rotate stand apart."""

    scores: Scores = field(default_factory=Scores)
    rotated: Scores = field(default_factory=Scores)
    account: Account = field(default_factory=Account)
    rulers: dict[str, str] = field(default_factory=dict)
    canaries: CanaryRun | None = None
    """None: not asked."""


def batch_settings(batch: Batch, settings: ScoreSettings) -> ScoreSettings:
    """The settings of the study as a batch needs them.

    A batch that is joint where the study is not is asked as `judge score --mode joint` asks.
    """
    changed = replace(settings, samples=batch.samples)
    if batch.mode is not None and batch.mode != settings.mode:
        changed = replace(
            changed, mode=batch.mode, order=PromptOrder.CRITERION_FIRST, scoring=Scoring.SAMPLES
        )
    return changed


def study_workload(
    ledger: Ledger, study: Study, spec: ModelSpec, settings: ScoreSettings
) -> Workload:
    """What the study would send, batch by batch; calls that batches share are counted twice."""
    total = Workload()
    for batch in study.batches:
        work = workload(ledger, batch.items, batch.rubric, spec, batch_settings(batch, settings))
        total.planned += work.planned
        total.calls += work.calls
        total.prompt_tokens += work.prompt_tokens
        total.completion_tokens += work.completion_tokens
    if study.suspects and not spec.offline:
        suspects = [suspect.item for suspect in study.suspects]
        for request in missing_canaries(ledger, suspects, spec, settings):
            total.calls += 1
            total.prompt_tokens += estimated_tokens(request.body)
            total.completion_tokens += request.max_tokens
    return total


async def carry_out(
    ledger: Ledger,
    study: Study,
    spec: ModelSpec,
    settings: ScoreSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_batch: OnBatch,
) -> Collected:
    """Judge all that the study wants; what the ledger holds is not paid again.

    Stops after the batch in which a run stopped early (interrupt, budget, outage). Raises
    EndpointError when it cannot go on; all finished work is kept.
    """
    collected = Collected()
    for batch in study.batches:
        run, verdicts = await collect(
            ledger,
            batch.items,
            batch.rubric,
            spec,
            batch_settings(batch, settings),
            open_endpoint,
            on_batch(batch),
            purpose=PURPOSE,
        )
        rotating = batch.mode is not None
        (collected.rotated if rotating else collected.scores).add(verdicts)
        if not rotating:
            collected.rulers |= run.rulers
        collected.account.add(run)
        if collected.account.stopped:
            return collected
    if study.suspects and not spec.offline:
        suspects = [suspect.item for suspect in study.suspects]
        canaries = await ask_canaries(ledger, suspects, spec, settings, open_endpoint)
        collected.canaries = canaries
        collected.account.sent += canaries.sent
        collected.account.from_ledger += canaries.progress.from_ledger
        collected.account.cost += canaries.progress.cost
        collected.account.unpriced += canaries.progress.unpriced
        collected.account.stopped = canaries.progress.stopped
    return collected
