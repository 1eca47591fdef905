"""Rows to a JSONL, CSV or Parquet file, in one step."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from judge.errors import UsageError

FORMATS = (".jsonl", ".csv", ".parquet")

Row = dict[str, Any]


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows by the ending of the path; the file appears as a whole or not at all.

    Raises UsageError for another ending, a folder that does not exist, and a file that the system
    does not let us write.
    """
    ending = ending_of(path)
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"{path}: the folder does not exist. Create it first.")
    try:
        handle, name = tempfile.mkstemp(dir=folder, prefix=".plumbline-")
        os.close(handle)
        temporary = Path(name)
        try:
            _WRITERS[ending](temporary, rows)
            temporary.chmod(0o666 & ~_umask())
            temporary.replace(path)
        except BaseException:
            temporary.unlink()
            raise
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({(error.strerror or str(error)).lower()}). Free some "
            "space, or name another file with --out."
        ) from error


def _write_jsonl(path: Path, rows: Sequence[Row]) -> None:
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def _write_csv(path: Path, rows: Sequence[Row]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        if not rows:
            return
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        for row in rows:
            writer.writerow({name: _cell(value) for name, value in row.items()})


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import polars as pl

    flat = [
        {
            name: json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
            for name, value in row.items()
        }
        for row in rows
    ]
    pl.DataFrame(flat, infer_schema_length=None).write_parquet(path)


_WRITERS: dict[str, Callable[[Path, Sequence[Row]], None]] = {
    ".jsonl": _write_jsonl,
    ".csv": _write_csv,
    ".parquet": _write_parquet,
}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, (list, dict)) else value


def ending_of(path: Path) -> str:
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise UsageError(f"{path}: expected a file that ends in {', '.join(FORMATS)}.")
    return ending


def _umask() -> int:
    """The mask that new files get; the system tells it only to those who set it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
