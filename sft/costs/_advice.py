"""Which division of the training state fits, and what to change if the wanted one does not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sft.costs._job import Job
from sft.costs._memory import Memory, memory
from sft.recipe import LoraSettings, Offload, Recompute

MOST_PROCESSES = 64
"""More than this many GPUs are not proposed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way to divide the training state."""

    stage: int
    offload: Offload
    memory: Memory
    """Of one process."""
    host: int
    """Bytes on the host for all processes, as if they shared one."""
    fits: bool
    wanted: bool
    """Whether it is the one that the settings ask for."""


@dataclass(frozen=True, slots=True)
class Remedy:
    """What would make a run fit."""

    text: str
    """The settings to change, for a person."""
    job: Job
    memory: Memory


def fits(job: Job, memory_bytes: int, host_bytes: int | None = None) -> bool:
    """Whether a process has room on a GPU, and all of them on the host where that is known."""
    needed = memory(job)
    return needed.total <= memory_bytes and (
        host_bytes is None or needed.host * job.processes <= host_bytes
    )


def dry_run_table(job: Job, memory_bytes: int, *, host_bytes: int | None = None) -> list[Row]:
    """The memory at every stage of ZeRO with every offload that the stage has.

    ``memory_bytes`` is what one GPU has, ``host_bytes`` what the host has, if that is known.
    """
    rows = []
    for stage, offload in _divisions():
        changed = replace(job, stage=stage, offload=offload)
        needed = memory(changed)
        rows.append(
            Row(
                stage=stage,
                offload=offload,
                memory=needed,
                host=needed.host * job.processes,
                fits=fits(changed, memory_bytes, host_bytes),
                wanted=(stage, offload) == (job.stage, job.offload),
            )
        )
    return rows


def _divisions() -> Iterator[tuple[int, Offload]]:
    for stage in range(4):
        yield stage, Offload.NONE
    for stage in (1, 2, 3):
        yield stage, Offload.OPTIMIZER
    yield 3, Offload.ALL


def advice(job: Job, memory_bytes: int, *, host_bytes: int | None = None) -> Remedy | None:
    """The first remedy with which a run that does not fit would fit; None if there is none.

    Remedies are tried from the least change of the training to the greatest, one by one: smaller
    micro-batches, recomputing, a higher stage, more processes, offload. Then all of them together
    on the processes that there are, and last adapters instead of all weights, alone and with the
    others. With None nothing here helps: the model is too large for these GPUs.

    Raises ValueError for a run that fits as it is.
    """
    if fits(job, memory_bytes, host_bytes):
        raise ValueError("the run fits")
    for text, changed in _remedies(job):
        if fits(changed, memory_bytes, host_bytes):
            return Remedy(text, changed, memory(changed))
    return None


def _remedies(job: Job) -> Iterator[tuple[str, Job]]:
    yield from _smaller_passes(job)
    yield from _recomputing(job)
    yield from _higher_stages(job)
    yield from _more_processes(job)
    yield from _offloads(job)
    yield from _together(job)
    if job.lora is None:
        text = "lora (adapters instead of all weights)"
        adapted = replace(job, lora=LoraSettings())
        yield text, adapted
        for more, changed in _together(adapted):
            yield f"{text}, {more}", changed


def _smaller_passes(job: Job) -> Iterator[tuple[str, Job]]:
    rows = job.micro_batch
    while rows > 1:
        rows //= 2
        yield f"micro_batch: {rows}", replace(job, micro_batch=rows)


def _recomputing(job: Job) -> Iterator[tuple[str, Job]]:
    if job.recompute is Recompute.NONE:
        yield "model.recompute: full", replace(job, recompute=Recompute.FULL)


def _higher_stages(job: Job) -> Iterator[tuple[str, Job]]:
    for stage in range(max(job.zero, 1) + 1, 4):
        yield f"zero.stage: {stage}", replace(job, stage=stage)


def _more_processes(job: Job) -> Iterator[tuple[str, Job]]:
    stage = max(job.zero, 2)
    processes = job.processes
    while (processes := 2 * processes) <= MOST_PROCESSES:
        text = f"{processes} processes"
        raised = text if stage == job.stage else f"{text} with zero.stage: {stage}"
        yield raised, replace(job, processes=processes, stage=stage)


def _offloads(job: Job) -> Iterator[tuple[str, Job]]:
    stage = max(job.zero, 2)
    raised = "" if stage == job.stage else f"zero.stage: {stage}, "
    if job.offload is Offload.NONE:
        yield (
            f"{raised}zero.offload: optimizer",
            replace(job, stage=stage, offload=Offload.OPTIMIZER),
        )
    if job.offload is not Offload.ALL:
        raised = "" if job.stage == 3 else "zero.stage: 3, "
        yield f"{raised}zero.offload: all", replace(job, stage=3, offload=Offload.ALL)


def _together(job: Job) -> Iterator[tuple[str, Job]]:
    """Small passes, recomputing and stage 3 at once, then with each offload."""
    parts, changed = [], job
    for remedies in (_smaller_passes, _recomputing, _higher_stages):
        found = list(remedies(changed))
        if found:
            text, changed = found[-1]
            parts.append(text)
            yield ", ".join(parts), changed
    for text, last in _offloads(changed):
        yield ", ".join([*parts, text]), last
