"""The tokenise stage: samples per part, then one store of all of them in canonical order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import process_time

import numpy as np
import polars as pl

from sft.errors import CorruptError
from sft.pipeline._examples import removal_examples
from sft.pipeline._progress import Progress
from sft.pipeline._stage import Facts, Stage, by_source
from sft.pipeline._workers import Workers
from sft.records import no_rows
from sft.settings import ScrubSettings, TokenSettings
from sft.tokenisation import Encoded, SampleStore, SampleWriter, encode, open_vocabulary


@dataclass(frozen=True, slots=True)
class TokenTask:
    """One part to tokenise."""

    number: int
    part: Path
    stage: Stage
    vocabulary: Path
    settings: TokenSettings
    scrub: ScrubSettings


def run_tokenise(
    stage: Stage,
    key: str,
    before: Stage,
    vocabulary: Path,
    vocabulary_hash: str,
    settings: TokenSettings,
    scrub: ScrubSettings,
    samples: Path,
    workers: Workers,
    progress: Progress,
) -> None:
    """Tokenise every part, and write the store of samples; goes on where it was interrupted.

    ``vocabulary`` is the folder of the saved tokenizer, ``samples`` that of the store.
    """
    if stage.is_complete(key):
        stage.clear()  # its samples went into a store that is gone
    stage.open(key)
    parts = before.parts()
    tasks = [
        TokenTask(number, part, stage, vocabulary, settings, scrub)
        for number, part in enumerate(parts)
        if not stage.has(number)
    ]
    with progress.step("tokenise", len(parts), unit="parts") as advance:
        advance(len(parts) - len(tasks))
        workers.run(tokenise_part, tasks, lambda _task: advance(1))
    with (
        progress.step("store", len(parts), unit="parts") as advance,
        SampleWriter(samples, vocabulary=vocabulary_hash, settings=settings) as writer,
    ):
        for number in range(len(parts)):
            writer.add(
                Encoded(
                    samples=pl.read_parquet(stage.part(number)),
                    tokens=np.load(_array(stage, number, "tokens")),
                    supervised=np.load(_array(stage, number, "supervised")),
                    removed=no_rows(),
                    counts=Counter(),
                )
            )
            advance(1)
    stage.complete(key, len(parts))
    for number in range(len(parts)):
        for name in ("tokens", "supervised"):
            _array(stage, number, name).unlink()


def is_stored(stage: Stage, key: str, samples: Path) -> bool:
    """Whether the samples of a finished stage still lie in their store, in full length."""
    if not stage.is_complete(key):
        return False
    try:
        SampleStore.open(samples)
    except CorruptError:
        return False
    return True


def tokenise_part(task: TokenTask) -> None:
    """Encode the rows of a part. Raises ValueError if rows were lost: a defect, not bad data."""
    started = process_time()
    rows = pl.read_parquet(task.part)
    encoded = encode(rows, open_vocabulary(task.vocabulary, task.settings), task.settings)
    used = rows.join(encoded.samples, on="row_id", how="semi")
    if len(used) + len(encoded.removed) != len(rows):
        raise ValueError(
            f"{task.part}: {len(rows)} rows came in, {len(used)} gave samples and "
            f"{len(encoded.removed)} were removed"
        )
    np.save(_array(task.stage, task.number, "tokens"), encoded.tokens)
    np.save(_array(task.stage, task.number, "supervised"), encoded.supervised)
    facts = Facts(
        rows_in=by_source(rows),
        rows_out=by_source(used),
        removed=by_source(encoded.removed, "reason"),
        changed=encoded.counts,
        languages=by_source(used, "language"),
        examples=removal_examples(encoded.removed, task.scrub),
        seconds=process_time() - started,
    )
    task.stage.write(task.number, encoded.samples, encoded.removed, facts)


def _array(stage: Stage, number: int, name: str) -> Path:
    return stage.folder / f"{name}-{number:05d}.npy"
