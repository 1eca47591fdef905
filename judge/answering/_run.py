"""A run that gets answers, from start to end; and what one would send."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from judge.answering._conflicts import held_answers
from judge.answering._generation import Provenance
from judge.answering._plan import AnswerRun, AnswerSettings, planned_units, unstructured
from judge.answering._task import AnsweringTask, capabilities_name
from judge.endpoint import Capabilities, ChatEndpoint, ModelSpec
from judge.execution import (
    Progress,
    Workload,
    carry_on,
    known_capabilities,
    run_session,
    workload_of,
    writing,
)
from judge.ledger import Ledger
from judge.records import Answer, Question

OnTick = Callable[[AnswerRun, ChatEndpoint], None]


async def answer(
    ledger: Ledger,
    questions: Sequence[Question],
    spec: ModelSpec,
    settings: AnswerSettings,
    open_endpoint: Callable[[], ChatEndpoint],
    on_tick: OnTick | None = None,
    deadline: float | None = None,
) -> AnswerRun:
    """Ask a model every question; what the ledger holds is not paid again.

    ``spec`` names the model; ``open_endpoint`` reaches it (a model that is started for the run
    has an address of its own there, which is no part of its name). At the ``deadline`` (of
    `time.monotonic`) nothing more is sent. Raises UsageError, before
    anything is sent, if the ledger holds answers under this name that came about in another way;
    EndpointError when the run cannot go on; all finished work is kept.
    """
    first = _provenance(ledger, spec, settings).stored(ledger)
    held = held_answers(ledger, first, questions)

    def begin(capabilities: Capabilities, earlier: AnswerRun | None) -> AnsweringTask:
        planned = len(questions) * settings.samples
        outcome = carry_on(AnswerRun(Progress(planned=planned)), earlier)
        provenance = replace(first, capabilities=capabilities)
        return AnsweringTask(ledger, provenance, held, outcome)

    async with writing(ledger) as writer:
        return await run_session(
            ledger,
            writer,
            capabilities=first.capabilities,
            begin=begin,
            units=lambda: planned_units(questions, settings.samples),
            give_up=lambda known, parameter: _without(known, parameter, settings),
            open_endpoint=open_endpoint,
            on_tick=on_tick,
            deadline=deadline,
        )


def answer_workload(
    ledger: Ledger,
    questions: Sequence[Question],
    spec: ModelSpec,
    settings: AnswerSettings,
) -> Workload:
    """What `answer` would send for the same arguments; nothing is sent and nothing is stored.

    Raises UsageError as `answer` does. Repeated tries are not foreseen.
    """
    provenance = _provenance(ledger, spec, settings)
    held: Mapping[tuple[str, int], Answer] = held_answers(ledger, provenance, questions)
    task = AnsweringTask(ledger, provenance, held, AnswerRun(Progress()))
    return workload_of(planned_units(questions, settings.samples), task.missing_calls)


def _provenance(ledger: Ledger, spec: ModelSpec, settings: AnswerSettings) -> Provenance:
    known = known_capabilities(ledger, capabilities_name(spec.identity))
    return Provenance(spec, settings, unstructured(known))


def _without(
    capabilities: Capabilities, parameter: str | None, settings: AnswerSettings
) -> Capabilities | None:
    """The next rung after a parameter was refused. A seed is refused for all samples at once."""
    decoding = settings.decoding
    lesser = capabilities.without(parameter, decoding)
    if parameter != "seed" or decoding.seed is None:
        return lesser
    seeds = {f"seed={decoding.seed + sample}" for sample in range(settings.samples)}
    if seeds <= capabilities.refused:
        return None
    return replace(capabilities, refused=capabilities.refused | seeds)
