"""The first stage: sources read into parts whose order does not depend on the order of files.

A part is a bucket of row ids: rows are spilled to the bucket of their id while files are read, in
any order, and each bucket is then sorted by id. As ids are hashes of content, the parts are the
same for any order of sources, files and records, and about equal in size.
"""

from __future__ import annotations

import math
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import orjson
import polars as pl

from sft.files import write_atomically
from sft.pipeline._examples import removal_examples
from sft.pipeline._progress import Progress
from sft.pipeline._stage import Facts, Stage, by_source, write_frame
from sft.pipeline._workers import Workers
from sft.records import REMOVED, ROWS
from sft.settings import ScrubSettings, Source
from sft.sources import InputFile, read_chunks

PART_BYTES = 24 * 2**20
"""Of input per part: some 25,000 rows of 1 kB, which a worker holds a few times over."""

_SPILL_BYTES = 64 * 2**20
_DENSE = {".parquet": 4, ".arrow": 1, ".gz": 5}
"""How many times larger than the file its text is, about."""


@dataclass(frozen=True, slots=True)
class FileTask:
    """One file to spill."""

    number: int
    source: Source
    file: InputFile
    folder: Path
    buckets: int


@dataclass(frozen=True, slots=True)
class BucketTask:
    """One bucket to sort."""

    number: int
    stage: Stage
    folder: Path
    scrub: ScrubSettings


def bucket_count(files: Sequence[InputFile]) -> int:
    """Into how many parts files are read; it depends on their sizes only."""
    size = sum(file.bytes * _DENSE.get(file.path.suffix, 1) for file in files)
    return max(1, math.ceil(size / PART_BYTES))


def read_sources(
    stage: Stage,
    key: str,
    files: Sequence[tuple[Source, InputFile]],
    scrub: ScrubSettings,
    workers: Workers,
    progress: Progress,
) -> None:
    """Fill the stage with the rows of all sources; what cannot be read is among the removed.

    ``files`` come in the order of source names and paths. Files that an earlier, interrupted run
    has read are not read again.
    """
    stage.open(key)
    spill = stage.folder / "spill"
    spill.mkdir(exist_ok=True)
    buckets = bucket_count([file for _, file in files])
    tasks = [
        FileTask(number, source, file, spill, buckets)
        for number, (source, file) in enumerate(files)
    ]
    with progress.step("read", sum(task.file.bytes for task in tasks), unit="bytes") as advance:
        waiting = [task for task in tasks if not _marker(task).is_file()]
        advance(sum(task.file.bytes for task in tasks if task not in waiting))
        workers.run(spill_file, waiting, lambda task: advance(task.file.bytes))
    with progress.step("sort", buckets, unit="parts") as advance:
        sorting = [
            BucketTask(number, stage, spill, scrub)
            for number in range(buckets)
            if not stage.has(number)
        ]
        advance(buckets - len(sorting))
        workers.run(sort_bucket, sorting, lambda _task: advance(1))
    counts = [orjson.loads(_marker(task).read_bytes()) for task in tasks]
    write_atomically(stage.folder / "files.json", orjson.dumps(counts))
    stage.complete(key, buckets)
    shutil.rmtree(spill)


def spill_file(task: FileTask) -> None:
    """Read a file and put its records into the buckets of their ids."""
    held: list[pl.DataFrame] = []
    lost: list[pl.DataFrame] = []
    rows = unreadable = size = flushes = 0
    for chunk in read_chunks(task.source, task.file):
        held.append(chunk.rows)
        lost.append(chunk.unreadable)
        rows += len(chunk.rows)
        unreadable += len(chunk.unreadable)
        size += int(chunk.rows.estimated_size() + chunk.unreadable.estimated_size())
        if size > _SPILL_BYTES:
            _flush(task, "rows", held, flushes)
            _flush(task, "lost", lost, flushes)
            held, lost, size, flushes = [], [], 0, flushes + 1
    _flush(task, "rows", held, flushes)
    _flush(task, "lost", lost, flushes)
    write_atomically(
        _marker(task),
        orjson.dumps(
            {
                "source": task.source.name,
                "path": str(task.file.path),
                "bytes": task.file.bytes,
                "hash": task.file.hash,
                "rows": rows,
                "unreadable": unreadable,
            }
        ),
    )


def _marker(task: FileTask) -> Path:
    return task.folder / f"file-{task.number:05d}.json"


def _flush(task: FileTask, kind: str, frames: Sequence[pl.DataFrame], number: int) -> None:
    """Write frames bucket by bucket; the names depend on file and content only."""
    if not frames or not sum(map(len, frames)):
        return
    prefix = pl.col("row_id").str.slice(0, 8).str.to_integer(base=16, dtype=pl.Int64)
    together = pl.concat(frames).with_columns((prefix * task.buckets // 2**32).alias("bucket"))
    for (bucket,), frame in together.partition_by("bucket", as_dict=True).items():
        folder = task.folder / f"bucket-{bucket:05d}"
        folder.mkdir(exist_ok=True)
        write_frame(folder / f"{kind}-{task.number:05d}-{number:05d}.parquet", frame.drop("bucket"))


def sort_bucket(task: BucketTask) -> None:
    """Make a part of the rows of a bucket, by id, with an id of its own for every copy."""
    started = process_time()
    folder = task.folder / f"bucket-{task.number:05d}"
    order = ["row_id", "file", "line"]
    rows = _gathered(folder, "rows", ROWS).sort(order)
    copy = pl.int_range(pl.len()).over("row_id")
    rows = rows.with_columns(
        pl.when(copy > 0)
        .then(pl.concat_str("row_id", pl.lit("."), copy))
        .otherwise("row_id")
        .alias("row_id")
    )
    lost = _gathered(folder, "lost", REMOVED).sort(order)
    came = by_source(rows) + by_source(lost)
    task.stage.write(
        task.number,
        rows,
        lost,
        Facts(
            rows_in=came,
            rows_out=by_source(rows),
            removed=by_source(lost, "reason"),
            found=Counter(),
            examples=removal_examples(lost, task.scrub),
            seconds=process_time() - started,
        ),
    )


def _gathered(folder: Path, kind: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    frames = [pl.read_parquet(file) for file in sorted(folder.glob(f"{kind}-*.parquet"))]
    return pl.concat([pl.DataFrame(schema=dict(schema)), *frames])
