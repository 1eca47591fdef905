"""Shingles of the rows that have candidates, on disk: only a few of them are ever compared."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sft.dedup._shingles import compared_turns, shingles
from sft.words import Hashes


@dataclass(frozen=True, slots=True)
class SetStore:
    """Shingles of rows by number."""

    values: Hashes
    starts: NDArray[np.int64]
    """(n_rows,): where a row's shingles start."""
    counts: NDArray[np.int64]

    def of(self, row: int) -> Hashes:
        """The shingles of a row, with repeats; empty for a row that is not in the store."""
        return self.values[self.starts[row] : self.starts[row] + self.counts[row]]


@contextmanager
def store_sets(
    parts: Sequence[Path],
    wanted: pl.DataFrame,
    n_rows: int,
    size: int,
    folder: Path,
    step: Callable[[], None],
) -> Iterator[SetStore]:
    """Shingles of the wanted rows (``number, row_id, part, place``), read from the parts again.

    They lie in a temporary file in ``folder`` for as long as the context lasts. ``step`` is called
    after each part. Raises ValueError where a part has another row in a row's place.
    """
    by_part = {key[0]: frame for key, frame in wanted.partition_by("part", as_dict=True).items()}
    starts, counts = np.zeros(n_rows, np.int64), np.zeros(n_rows, np.int64)
    written = 0
    with tempfile.TemporaryFile(dir=folder) as file:
        for part, path in enumerate(parts):
            if part in by_part:
                frame = by_part[part]
                rows = pl.read_parquet(path, columns=["row_id", "messages"])
                rows = rows[frame["place"]]
                if not rows["row_id"].equals(frame["row_id"]):
                    raise ValueError(f"{path}: its rows are not those of its fingerprints")
                sets = shingles(compared_turns(rows), len(rows), size)
                file.write(sets.values.tobytes())
                numbers = frame["number"].to_numpy()
                starts[numbers] = sets.offsets[:-1] + written
                counts[numbers] = np.diff(sets.offsets)
                written += len(sets.values)
            step()
        file.flush()
        values = (
            np.memmap(file, np.uint64, "r", shape=(written,)) if written else np.empty(0, np.uint64)
        )
        yield SetStore(np.asarray(values), starts, counts)
