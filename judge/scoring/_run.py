"""A scoring run, from start to end; and what one would send."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from judge.endpoint import (
    Capabilities,
    ChatEndpoint,
    ModelSpec,
)
from judge.errors import EndpointError
from judge.examples import ExamplePool
from judge.execution import (
    CallRequest,
    Progress,
    Workload,
    carry_on,
    chunked,
    known_capabilities,
    missing_in,
    new_run_id,
    run_session,
    workload_of,
    writing,
)
from judge.ledger import Ledger, Run
from judge.logprobs import ALTERNATIVES
from judge.records import Verdict
from judge.rubric import Rubric, rubric_to_dict
from judge.rulers import panel_ruler
from judge.scoring._asking import Asking, form_name, rulers_of
from judge.scoring._plan import WAVE, Item, ScoreRun, ScoreSettings, Unit, planned_units
from judge.scoring._task import PURPOSE, ScoringTask

_SHARED = ("rubric", "samples", "occasion", "mode", "scoring", "order", "shots", "checklists")
"""What the judges of a panel have in common, in the body of a run."""

OnTick = Callable[[ScoreRun, ChatEndpoint | None], None]


async def score(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: OnTick | None = None,
    examples: ExamplePool | None = None,
    deadline: float | None = None,
) -> ScoreRun:
    """Judge every item on every applicable criterion; what the ledger holds is not paid again.

    Where the server refuses structured output or a decoding parameter before it accepted anything,
    the next rung of the fallback ladder is tried, remembered in the ledger, and is part of the
    rulers from then on. At the ``deadline`` (of `time.monotonic`) nothing more is sent. Raises
    EndpointError when the run cannot go on; all finished work is kept.
    """
    plan = _Plan(ledger, items, rubric, spec, settings, examples)
    return await _execute(plan, open_endpoint, on_tick, deadline)


async def collect(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: OnTick | None = None,
    purpose: str = "probe",
    examples: ExamplePool | None = None,
) -> tuple[ScoreRun, list[Verdict]]:
    """As `score`, but no run is recorded and no verdict stored: they are returned.

    The calls are in the ledger under their ``purpose``, so that they are not paid for again and a
    later run reads the same verdicts from them. Items need not be in the ledger.
    """
    collected: list[Verdict] = []
    plan = _Plan(ledger, items, rubric, spec, settings, examples, purpose, collected)
    return await _execute(plan, open_endpoint, on_tick), collected


@dataclass(slots=True)
class _Plan:
    """What a run works on; ``collected`` takes verdicts that are not to be stored."""

    ledger: Ledger
    items: Sequence[Item]
    rubric: Rubric
    spec: ModelSpec
    settings: ScoreSettings
    examples: ExamplePool | None
    purpose: str = PURPOSE
    collected: list[Verdict] | None = None

    def units(self, wave: int = WAVE) -> Iterator[Unit]:
        return planned_units(self.items, self.rubric, self.settings, wave)

    def task(self, capabilities: Capabilities, outcome: ScoreRun) -> ScoringTask:
        return ScoringTask(
            self.ledger,
            self.asking(capabilities),
            capabilities,
            outcome,
            purpose=self.purpose,
            collected=self.collected,
        )

    def asking(self, capabilities: Capabilities) -> Asking:
        return Asking(self.rubric, self.spec, self.settings, capabilities, self.examples)

    def rulers(self, capabilities: Capabilities) -> dict[str, str]:
        return rulers_of(self.rubric, self.spec, self.settings, capabilities, self.examples)

    def known_capabilities(self) -> Capabilities:
        """What the ledger knows of the endpoint, no better than the rung that is wanted."""
        known = known_capabilities(self.ledger, form_name(self.spec, self.settings))
        return known.at_most(self.settings.output)


async def _execute(
    plan: _Plan,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: OnTick | None,
    deadline: float | None = None,
) -> ScoreRun:
    async with writing(plan.ledger) as writer:
        if plan.spec.offline:
            task = _start(plan, Capabilities())
            for units in chunked(plan.units()):
                known = await writer.run(task.known, units)
                known.settled()
                if on_tick is not None:
                    on_tick(task.outcome, None)
            return task.outcome
        endpoint: ChatEndpoint | None = None

        def opened() -> ChatEndpoint:
            nonlocal endpoint
            endpoint = open_endpoint()
            return endpoint

        def give_up(capabilities: Capabilities, parameter: str | None) -> Capabilities | None:
            if parameter in ("logprobs", "top_logprobs"):
                raise EndpointError(
                    f"{plan.spec.identity}: the server does not give the log-probabilities of the "
                    f"{ALTERNATIVES} likeliest tokens (it refuses {parameter}). Score with "
                    "--scoring samples, or name a server that gives them."
                )
            return capabilities.without(parameter, plan.settings.decoding)

        return await run_session(
            plan.ledger,
            writer,
            capabilities=plan.known_capabilities(),
            begin=lambda capabilities, earlier: _start(plan, capabilities, earlier),
            units=lambda: plan.units(WAVE if endpoint is None else endpoint.limit.maximum),
            give_up=give_up,
            open_endpoint=opened,
            on_tick=on_tick,
            deadline=deadline,
        )


def workload(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    examples: ExamplePool | None = None,
) -> Workload:
    """What `score` would send for the same arguments; nothing is sent and nothing is stored.

    Repairs of unusable replies and repeated tries are not foreseen.
    """
    plan = _Plan(ledger, items, rubric, spec, settings, examples)
    return workload_of(plan.units(), _planning_task(plan).missing_calls)


def expected_rulers(
    ledger: Ledger,
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    examples: ExamplePool | None = None,
) -> dict[str, str]:
    """The rulers (criterion → ruler) that `score` would start with now."""
    plan = _Plan(ledger, [], rubric, spec, settings, examples)
    return plan.rulers(plan.known_capabilities())


def missing_calls(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: ModelSpec,
    settings: ScoreSettings,
    examples: ExamplePool | None = None,
) -> Iterator[CallRequest]:
    """The calls that `score` would send now, each once; nothing is stored."""
    plan = _Plan(ledger, items, rubric, spec, settings, examples)
    for chunk in missing_in(plan.units(), _planning_task(plan).missing_calls):
        yield from chunk.requests


def _planning_task(plan: _Plan) -> ScoringTask:
    """A task that is only asked what it lacks; no run is recorded."""
    capabilities = plan.known_capabilities()
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    rulers = plan.rulers(capabilities)
    return plan.task(
        capabilities, ScoreRun(run="", rulers=rulers, progress=Progress(), started_at=now)
    )


def record_panel(ledger: Ledger, name: str, runs: Sequence[str]) -> str:
    """Record a panel: finished runs of several judges over the same answers; its run id.

    Its ruler of a criterion is made of the members' rulers in order.
    """
    members = [run for run in map(ledger.run, runs) if run is not None]
    first = members[0].body
    body = {
        **{name: first[name] for name in _SHARED},
        "judge": name,
        "runs": list(runs),
        "planned": sum(member.body["planned"] for member in members),
        "rulers": {
            criterion: panel_ruler([member.body["rulers"][criterion] for member in members])
            for criterion in first["rulers"]
        },
    }
    now = datetime.now(UTC)
    run = new_run_id(now)
    answers = [
        (row.answer_id, row.question)
        for row in ledger.run_answers(runs[0])
        if row.question is not None
    ]
    ledger.add_run(
        Run(run=run, kind="panel", body=body, started_at=now.isoformat(timespec="seconds")), answers
    )
    return run


def _start(plan: _Plan, capabilities: Capabilities, earlier: ScoreRun | None = None) -> ScoringTask:
    """Record the run in the ledger and set its task up; what ``earlier`` took is carried on."""
    now = datetime.now(UTC)
    rulers = plan.rulers(capabilities)
    planned = sum(1 for _ in plan.units())
    run = new_run_id(now)
    if plan.collected is None:
        body = _run_body(plan, capabilities, rulers, planned)
        plan.ledger.add_run(
            Run(run=run, kind="score", body=body, started_at=now.isoformat(timespec="seconds")),
            [(item.answer_id, item.question) for item in plan.items],
        )
    else:
        plan.collected.clear()
    outcome = ScoreRun(
        run=run,
        rulers=rulers,
        progress=Progress(planned=planned),
        started_at=now.isoformat(timespec="milliseconds"),
    )
    return plan.task(capabilities, carry_on(outcome, earlier))


def _run_body(
    plan: _Plan, capabilities: Capabilities, rulers: Mapping[str, str], planned: int
) -> dict[str, Any]:
    """What the ledger records of a run."""
    settings, pool = plan.settings, plan.examples
    document = plan.ledger.add_document
    return {
        "judge": plan.spec.identity,
        "rubric": document("rubric", rubric_to_dict(plan.rubric)).hex(),
        "rulers": rulers,
        "samples": settings.samples,
        "occasion": settings.occasion,
        "mode": settings.mode.value,
        "scoring": settings.scoring.value,
        "order": settings.order.value,
        "shots": 0 if pool is None else pool.shots,
        "examples": None if pool is None else document("examples", pool.content()).hex(),
        "checklists": settings.checklists,
        "capabilities": capabilities.to_dict(),
        "planned": planned,
    }
