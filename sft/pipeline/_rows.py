"""Stages that take row by row: cleaning, scrubbing, removal of duplicates and of contamination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import polars as pl

from sft.pipeline._examples import change_examples, removal_examples
from sft.pipeline._progress import Progress
from sft.pipeline._stage import Facts, Stage, by_source
from sft.pipeline._workers import Workers
from sft.records import StepResult
from sft.settings import ScrubSettings


@dataclass(frozen=True, slots=True)
class RowTask:
    """One part of a stage to make from the same part of the stage before."""

    number: int
    part: Path
    stage: Stage
    work: Callable[[pl.DataFrame], StepResult]
    scrub: ScrubSettings


def run_rows(
    name: str,
    stage: Stage,
    key: str,
    before: Stage,
    work: Callable[[pl.DataFrame], StepResult],
    scrub: ScrubSettings,
    workers: Workers,
    progress: Progress,
) -> None:
    """Take every part of ``before`` through ``work``; finished parts are not done again.

    ``work`` goes to other processes: a function of a module, or a `functools.partial` of one.
    """
    stage.open(key)
    parts = before.parts()
    tasks = [
        RowTask(number, part, stage, work, scrub)
        for number, part in enumerate(parts)
        if not stage.has(number)
    ]
    with progress.step(name, len(parts), unit="parts") as advance:
        advance(len(parts) - len(tasks))
        workers.run(take_rows, tasks, lambda _task: advance(1))
    stage.complete(key, len(parts))


def take_rows(task: RowTask) -> None:
    """Do a part. Raises ValueError if the step lost or made rows: a defect, not bad data."""
    started = process_time()
    rows = pl.read_parquet(task.part)
    result = task.work(rows)
    if len(result.kept) + len(result.removed) != len(rows):
        raise ValueError(
            f"{task.part}: {len(rows)} rows came in, {len(result.kept)} were kept and "
            f"{len(result.removed)} removed"
        )
    facts = Facts(
        rows_in=by_source(rows),
        rows_out=by_source(result.kept),
        removed=by_source(result.removed, "reason"),
        changed=result.changed,
        found=result.found,
        languages=by_source(result.kept, "language"),
        examples=removal_examples(result.removed, task.scrub)
        + change_examples(result.examples, task.scrub),
        seconds=process_time() - started,
    )
    task.stage.write(task.number, result.kept, result.removed, facts)
