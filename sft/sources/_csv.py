"""Records of CSV files, with the physical line on which each starts."""

from __future__ import annotations

import csv
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path

from sft.errors import InputError
from sft.sources import _record
from sft.sources._lines import Line, read_lines
from sft.sources._record import Record, Refusal, invalid_utf8


def csv_columns(path: Path) -> list[str]:
    """The names in the header, which is the first line that is not blank.

    Raises InputError for a file without any, and for a header that is not UTF-8.
    """
    with closing(_rows(path)) as rows:
        header = next(rows, None)
    if header is None:
        raise InputError(path=path, found="no header", expected="a line with the columns' names")
    if header.refusal is not None:
        raise InputError(
            path=path,
            line=header.line,
            found="a header that cannot be read",
            expected="the columns' names in UTF-8",
            remedy=header.refusal.detail,
        )
    return header.fields


def read_csv(path: Path) -> Iterator[Record]:
    """The records below the header; blank lines are skipped.

    A row with too few or too many fields is refused. Raises InputError for quotes that do not
    match up: behind such a place nothing tells the start of a record from a line within one.
    """
    header = csv_columns(path)
    rows = _rows(path)
    next(rows)
    for row in rows:
        value: dict[str, str] | Refusal
        if row.refusal is not None:
            value = row.refusal
        elif len(row.fields) == len(header):
            value = dict(zip(header, row.fields, strict=True))
        else:
            value = Refusal(
                "wrong_columns",
                f"found {len(row.fields)} fields, expected the {len(header)} of the header. "
                "Put fields with commas or line breaks into quotes",
            )
        yield Record(row.line, value, b"".join(row.lines))


class _Row:
    """A row; while it is read, the lines that its quotes have spanned so far."""

    __slots__ = ("fields", "line", "lines", "refusal")

    def __init__(self) -> None:
        self.line = 0
        self.lines: list[bytes] = []
        self.fields: list[str] = []
        self.refusal: Refusal | None = None


class _Feed:
    """Lines as text for the parser, noted in the row that they belong to."""

    def __init__(self, path: Path, lines: Iterator[Line]) -> None:
        self.row = _Row()
        self._path = path
        self._lines = lines

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        number, text, refusal = next(self._lines)
        row = self.row
        row.line = row.line or number
        row.lines.append(text)
        if refusal is not None:
            if len(row.lines) > 1:
                raise InputError(
                    path=self._path,
                    line=row.line,
                    found=f"a record that spans line {number}, which is too long",
                    expected=f"lines of {_record.MOST_BYTES:,} bytes at most",
                    remedy="Look for a quote that is not closed",
                )
            row.refusal = refusal
            return ""
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            row.refusal = row.refusal or invalid_utf8(error)
            return text.decode(errors="replace")


def _rows(path: Path) -> Generator[_Row]:
    """The rows of a file that are not blank, the header among them."""
    # The standard library keeps this bound for the whole process; its default refuses texts of
    # more than 131,072 characters.
    csv.field_size_limit(_record.MOST_BYTES)
    with closing(read_lines(path)) as lines:
        feed = _Feed(path, lines)
        reader = csv.reader(feed, strict=True)
        while True:
            feed.row = row = _Row()
            try:
                row.fields = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise InputError(
                    path=path,
                    line=row.line,
                    found=f"broken CSV in the record that starts here ({error})",
                    expected="fields that are separated by commas",
                    remedy="In a quoted field, write a quote twice",
                ) from None
            blank = not row.fields or (len(row.lines) == 1 and row.lines[0].isspace())
            if row.refusal is not None or not blank:
                yield row
