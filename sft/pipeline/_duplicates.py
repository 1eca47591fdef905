"""The dedup stage: fingerprints per part, one search over all of them, removal per part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import polars as pl

from sft.dedup import find_duplicates, fingerprint, remove_duplicates
from sft.pipeline._progress import Progress
from sft.pipeline._rows import run_rows
from sft.pipeline._stage import Stage, write_frame
from sft.pipeline._workers import Workers
from sft.records import StepResult
from sft.settings import DedupSettings, ScrubSettings


@dataclass(frozen=True, slots=True)
class FingerprintTask:
    """One part to take fingerprints of."""

    part: Path
    to: Path
    settings: DedupSettings


def run_dedup(
    stage: Stage,
    key: str,
    before: Stage,
    priorities: Mapping[str, int],
    settings: DedupSettings,
    scrub: ScrubSettings,
    workers: Workers,
    progress: Progress,
) -> None:
    """Find the duplicates among all rows and take them out; goes on where it was interrupted."""
    stage.open(key)
    parts = before.parts()
    tasks = [
        FingerprintTask(part, stage.folder / f"fingerprint-{number:05d}.parquet", settings)
        for number, part in enumerate(parts)
    ]
    found = stage.folder / "duplicates.parquet"
    if not found.is_file():
        with progress.step("fingerprint", len(parts), unit="parts") as advance:
            waiting = [task for task in tasks if not task.to.is_file()]
            advance(len(tasks) - len(waiting))
            workers.run(take_fingerprints, waiting, lambda _task: advance(1))
        with progress.step("compare", 100, unit="%") as advance:
            shown = 0

            def tick(done: int, total: int) -> None:
                nonlocal shown
                now = 100 * done // max(total, 1)
                advance(now - shown)
                shown = now

            pairs = find_duplicates(
                parts, [task.to for task in tasks], priorities, settings, tick=tick
            )
        write_frame(found, pairs)
    run_rows("dedup", stage, key, before, partial(take_out, found), scrub, workers, progress)
    for task in tasks:
        task.to.unlink(missing_ok=True)


def take_fingerprints(task: FingerprintTask) -> None:
    """Write the fingerprints of a part."""
    write_frame(task.to, fingerprint(pl.read_parquet(task.part), task.settings))


def take_out(duplicates: Path, rows: pl.DataFrame) -> StepResult:
    """Remove from a part the rows that are duplicates, reading only their pairs."""
    pairs = (
        pl.scan_parquet(duplicates)
        .join(rows.lazy().select("row_id"), on="row_id", how="semi")
        .collect()
    )
    return remove_duplicates(rows, pairs)
