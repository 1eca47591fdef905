"""Records of a file of any kind, and the format that they are in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sft.errors import InputError
from sft.settings import Format, Source
from sft.sources._csv import csv_columns, read_csv
from sft.sources._files import Kind, require_kind
from sft.sources._formats import NEEDED, Shape, all_names, describe, list_fields
from sft.sources._json import read_json
from sft.sources._lines import read_jsonl
from sft.sources._record import Record, Refusal
from sft.sources._tables import arrow_columns, parquet_columns, read_arrow, read_parquet

_LOOKED_AT = 100
"""Records of which one must be of the format, before the whole file is refused."""

_TEXTS: Mapping[Kind, Callable[[Path], Iterator[Record]]] = {
    Kind.JSONL: read_jsonl,
    Kind.JSON: read_json,
}
_COLUMNS: Mapping[Kind, Callable[[Path], list[str]]] = {
    Kind.CSV: csv_columns,
    Kind.PARQUET: parquet_columns,
    Kind.ARROW: arrow_columns,
}
_TABLES: Mapping[Kind, Callable[[Path, Sequence[str]], Iterator[Record]]] = {
    Kind.PARQUET: read_parquet,
    Kind.ARROW: read_arrow,
}


def open_records(source: Source, path: Path) -> tuple[Shape, Iterator[Record]]:
    """The format of a file, and its records.

    Where the source leaves the format open, it is that of the first record (or of the columns) that
    has the fields of one. Raises InputError if none has.
    """
    kind = require_kind(path)
    if kind in _TEXTS:
        return _shape_of_records(source, path, _TEXTS[kind]), _TEXTS[kind](path)
    columns = _COLUMNS[kind](path)
    shape = _shape_of_columns(source, path, columns)
    if kind is Kind.CSV:
        return shape, read_csv(path)
    known = set(shape.names.values())
    return shape, _TABLES[kind](path, [column for column in columns if column in known])


def _candidates(source: Source) -> list[Shape]:
    """The formats that a source may have, in the order in which they are tried."""
    names = all_names(source.fields)
    formats = NEEDED if source.format is Format.AUTO else (source.format,)
    return [Shape(format_, names, "as the source declares") for format_ in formats]


def _shape_of_columns(source: Source, path: Path, columns: Sequence[str]) -> Shape:
    candidates = _candidates(source)
    for shape in candidates:
        if shape.fits(columns):
            return shape
    raise _no_format(path, None, "columns", columns, candidates)


def _shape_of_records(
    source: Source, path: Path, read: Callable[[Path], Iterator[Record]]
) -> Shape:
    """The format of the first record that has the fields of one.

    In a file in which nothing is readable any format will do: every record is refused before its
    format matters.
    """
    candidates = _candidates(source)
    first: tuple[int, list[str]] | None = None
    looked_at = 0
    records = read(path)
    for line, value, _ in records:
        if isinstance(value, Refusal):
            continue
        present = [name for name, content in value.items() if content is not None]
        for shape in candidates:
            if shape.fits(present):
                known = source.format is not Format.AUTO
                return shape if known else replace(shape, origin=f"as the record in line {line}")
        first = first or (line, present)
        looked_at += 1
        if looked_at == _LOOKED_AT:
            break
    if first is None:
        return candidates[0]
    raise _no_format(path, first[0], "fields", first[1], candidates)


def _no_format(
    path: Path, line: int | None, what: str, found: Sequence[str], candidates: Sequence[Shape]
) -> InputError:
    """The error for a file without the fields of the formats that it may have."""
    wanted = " or ".join(
        f"{describe(shape.format, shape.names)} ({shape.format})" for shape in candidates
    )
    names = candidates[0].names
    other = next(
        (
            format_
            for format_, needed in NEEDED.items()
            if all(names[field] in found for field in needed)
        ),
        None,
    )
    remedy = (
        f"This looks like format: {other}"
        if other
        else "Say which format it is, and map its fields to these, e.g. format: alpaca with "
        "fields: {instruction: question, output: answer}"
    )
    return InputError(
        path=path,
        line=line,
        found=f"the {what} {list_fields(found)}",
        expected=f"the {what} {wanted}",
        remedy=remedy,
    )
