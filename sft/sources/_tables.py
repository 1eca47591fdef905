"""Records of Parquet and Arrow files, some thousands at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl

from judge.documents import unreadable
from sft.errors import InputError
from sft.sources._record import Record

_SLICE = 50_000
"""Records decoded at a time: every slice of a row group costs a look through the whole group."""
_BATCH = 2000
"""Records that are Python objects at a time."""
_FILE_MARK = b"ARROW1"


def parquet_columns(path: Path) -> list[str]:
    """The columns of a Parquet file. Raises InputError if it is damaged."""
    with _table(path, "Parquet"):
        return _scanned(path).collect_schema().names()


def read_parquet(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """The records of a Parquet file, of which only ``columns`` are read.

    Raises InputError for a damaged file, maybe only after some records.
    """
    first = 0
    while True:
        with _table(path, "Parquet"):
            frame = _scanned(path).select(columns).slice(first, _SLICE).collect()
        yield from _records(frame, first)
        first += len(frame)
        if len(frame) < _SLICE:
            return


def _scanned(path: Path) -> pl.LazyFrame:
    """The one file of this name: brackets in it are no pattern, folders above it no columns."""
    return pl.scan_parquet(path, glob=False, hive_partitioning=False)


def arrow_columns(path: Path) -> list[str]:
    """The columns of an Arrow file. Raises InputError if it is damaged."""
    with _table(path, "Arrow"):
        if _is_stream(path):
            return pl.read_ipc_stream(path, n_rows=0).columns
        return list(pl.read_ipc_schema(path))


def read_arrow(path: Path, columns: Sequence[str]) -> Iterator[Record]:
    """The records of an Arrow file (IPC, as a stream or as a file), which is read whole.

    Data sets on disk are kept in files of some 500 MB. Raises InputError for a damaged file.
    """
    with _table(path, "Arrow"):
        read = pl.read_ipc_stream if _is_stream(path) else pl.read_ipc
        frame = read(path, columns=list(columns))
    yield from _records(frame, 0)


def _is_stream(path: Path) -> bool:
    """Whether record batches follow one another without the frame of the file form."""
    with path.open("rb") as file:
        return file.read(len(_FILE_MARK)) != _FILE_MARK


def _records(frame: pl.DataFrame, first: int) -> Iterator[Record]:
    line = first
    for batch in frame.iter_slices(_BATCH):
        for value in batch.iter_rows(named=True):
            line += 1
            yield Record(line, value)


@contextmanager
def _table(path: Path, kind: str) -> Iterator[None]:
    """Turn what polars says of a damaged file into an `InputError`."""
    try:
        with path.open("rb"):
            pass  # polars does not say of a system's error what it was
    except OSError as error:
        raise unreadable(path, error) from None
    try:
        yield
    except (OSError, pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        said = str(error).strip().splitlines()
        raise InputError(
            path=path,
            found=f"a file that cannot be read as {kind} ({said[0] if said else 'no reason'})",
            expected=f"a whole {kind} file",
            remedy="Copy or write it again",
        ) from None
