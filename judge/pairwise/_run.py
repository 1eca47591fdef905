"""A pairwise run, from start to end; and what one would send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from judge.endpoint import Capabilities, ChatEndpoint, ModelSpec
from judge.errors import UsageError
from judge.execution import (
    Progress,
    Workload,
    carry_on,
    known_capabilities,
    new_run_id,
    run_session,
    workload_of,
    writing,
)
from judge.ledger import Ledger, Run
from judge.pairwise._plan import (
    KIND,
    WAVE,
    Pair,
    PairRun,
    PairSettings,
    planned_units,
    rulers_of,
)
from judge.pairwise._task import PairTask
from judge.rubric import Criterion, Rubric, rubric_to_dict


async def compare(
    ledger: Ledger,
    pairs: Sequence[Pair],
    rubric: Rubric,
    criteria: Sequence[Criterion],
    models: Sequence[str],
    spec: ModelSpec,
    settings: PairSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: Callable[[PairRun, ChatEndpoint], None] | None = None,
    wave: int = WAVE,
) -> PairRun:
    """Put every pair to the judge in both orders on every applicable one of ``criteria``.

    What the ledger holds is not paid again, whichever of the two ``models`` is named first; the
    result holds the verdicts of all settled units. A server that refuses structured output or a
    decoding parameter before it accepted anything is asked for less, as in scoring. ``wave`` is
    the number of calls at once, for the order of the plan.

    Raises UsageError for the offline baseline, which reads one answer at a time, and EndpointError
    when the run cannot go on; all finished work is kept.
    """
    require_model(spec)

    def begin(capabilities: Capabilities, earlier: PairRun | None) -> PairTask:
        return _start(
            ledger, pairs, rubric, criteria, models, spec, settings, capabilities, earlier
        )

    async with writing(ledger) as writer:
        return await run_session(
            ledger,
            writer,
            capabilities=known_capabilities(ledger, spec.identity),
            begin=begin,
            units=lambda: planned_units(pairs, criteria, settings.samples, wave),
            give_up=lambda accepted, parameter: accepted.without(parameter, settings.decoding),
            open_endpoint=open_endpoint,
            on_tick=on_tick,
        )


def workload(
    ledger: Ledger,
    pairs: Sequence[Pair],
    criteria: Sequence[Criterion],
    spec: ModelSpec,
    settings: PairSettings,
) -> Workload:
    """What `compare` would send for the same arguments; nothing is sent and nothing is stored.

    Repairs of unusable replies and repeated tries are not foreseen.
    """
    require_model(spec)
    capabilities = known_capabilities(ledger, spec.identity)
    outcome = PairRun(run="", rulers={}, progress=Progress())
    task = PairTask(ledger, spec, settings, capabilities, outcome)
    return workload_of(planned_units(pairs, criteria, settings.samples), task.missing_calls)


def require_model(spec: ModelSpec) -> None:
    """Raise UsageError for the offline baseline, which reads one answer at a time."""
    if spec.offline:
        raise UsageError(
            "--judge offline: the baseline's formulas read one answer at a time and cannot compare "
            "two. Name a model, e.g. openai:MODEL."
        )


def _start(
    ledger: Ledger,
    pairs: Sequence[Pair],
    rubric: Rubric,
    criteria: Sequence[Criterion],
    models: Sequence[str],
    spec: ModelSpec,
    settings: PairSettings,
    capabilities: Capabilities,
    earlier: PairRun | None,
) -> PairTask:
    """Record the run in the ledger and set its task up; what ``earlier`` took is carried on."""
    now = datetime.now(UTC)
    rulers = rulers_of(criteria, spec, settings.decoding, capabilities)
    planned = sum(1 for _ in planned_units(pairs, criteria, settings.samples))
    run = new_run_id(now)
    body = {
        "judge": spec.identity,
        "rubric": ledger.add_document("rubric", rubric_to_dict(rubric)).hex(),
        "rulers": rulers,
        "models": list(models),
        "criteria": [criterion.criterion for criterion in criteria],
        "samples": settings.samples,
        "occasion": settings.occasion,
        "capabilities": capabilities.to_dict(),
        "planned": planned,
    }
    ledger.add_run(
        Run(run=run, kind=KIND, body=body, started_at=now.isoformat(timespec="seconds")),
        [(item.answer_id, item.question) for pair in pairs for item in pair.items],
    )
    outcome = PairRun(
        run=run,
        rulers=rulers,
        progress=Progress(planned=planned),
        started_at=now.isoformat(timespec="milliseconds"),
    )
    return PairTask(ledger, spec, settings, capabilities, carry_on(outcome, earlier))
