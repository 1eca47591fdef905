"""Carrying a study out: its batches go to the judge, its verdicts come back by what they judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from judge.endpoint import ChatEndpoint, ModelSpec
from judge.execution import Progress, Workload, workload_of
from judge.ledger import Ledger
from judge.probes._canary import CanaryRun, ask_canaries, missing_canaries
from judge.probes._plan import Batch, Study
from judge.records import Status, Verdict
from judge.scoring import Item, ScoreRun, ScoreSettings, collect, workload
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
class Account(ScoreRun):
    """What a study took, over all of its batches; a run that the ledger does not know."""

    run: str = ""
    rulers: Mapping[str, str] = field(default_factory=dict)
    progress: Progress = field(default_factory=Progress)

    def add(self, batch: ScoreRun) -> None:
        """Count a batch."""
        mine, its = self.progress, batch.progress
        mine.carry(its)
        mine.planned += its.planned
        mine.settled += its.settled
        mine.from_ledger += its.from_ledger
        mine.stopped = mine.stopped or its.stopped
        mine.open_why = dict(Counter(mine.open_why) + Counter(its.open_why))
        mine.last_rejection = its.last_rejection or mine.last_rejection
        self.scored += batch.scored
        self.not_applicable += batch.not_applicable
        self.unscored += batch.unscored
        self.repaired += batch.repaired
        self.sent += batch.sent


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
        total.add(work)
    if study.suspects and not spec.offline:
        suspects = [suspect.item for suspect in study.suspects]
        tests = workload_of(suspects, lambda items: missing_canaries(ledger, items, spec, settings))
        total.add(replace(tests, planned=0, covered=0))  # a test is no verdict
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
        if collected.account.progress.stopped:
            return collected
    if study.suspects and not spec.offline:
        suspects = [suspect.item for suspect in study.suspects]
        canaries = await ask_canaries(ledger, suspects, spec, settings, open_endpoint)
        collected.canaries = canaries
        account = collected.account
        account.sent += canaries.sent
        account.progress.carry(canaries.progress)
        account.progress.from_ledger += canaries.progress.from_ledger
        account.progress.stopped = canaries.progress.stopped
    return collected
