"""Records of a JSON array, told apart before they are parsed, so that one alone may be broken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from sft.errors import InputError
from sft.sources._lines import reading, without_mark
from sft.sources._record import Record, parse_record

MOST_FILE_BYTES = 2**30
"""An array is held in memory whole; larger data belongs into files that are read line by line."""

# A string ends at its quote, or where the file does.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\Z)|[\[\]{},]', re.DOTALL)


def read_json(path: Path) -> Iterator[Record]:
    """The records of a JSON array, each with the line on which it starts.

    Raises InputError for a file that is too large, holds something else, or whose brackets do not
    match up, since then nothing tells where the records behind that place start.
    """
    with reading(path):
        size = path.stat().st_size
        if size > MOST_FILE_BYTES:
            raise InputError(
                path=path,
                found=f"{size:,} bytes",
                expected=f"a JSON array of {MOST_FILE_BYTES:,} bytes at most",
                remedy="Write one record per line into a .jsonl file, of which any size is read",
            )
        content = without_mark(path, path.read_bytes())
    opening = len(content) - len(content.lstrip())
    if opening == len(content):
        return
    if content[opening : opening + 1] != b"[":
        raise InputError(
            path=path,
            line=content.count(b"\n", 0, opening) + 1,
            found="no array",
            expected="a JSON array of records",
            remedy="Let the name end with .jsonl if every line holds a record",
        )
    yield from _elements(path, content, opening + 1)


def _elements(path: Path, content: bytes, start: int) -> Iterator[Record]:
    """The elements of the array that opens before ``start``."""
    line = content.count(b"\n", 0, start) + 1
    depth = 0
    for token in _TOKEN.finditer(content, start):
        at = token.start()
        match content[at : at + 1]:
            case b"[" | b"{":
                depth += 1
            case b"]" | b"}" if depth:
                depth -= 1
            case b"," | b"]" | b"}" if not depth:
                piece = content[start:at]
                text = piece.strip()
                if text:
                    lead = piece.count(b"\n", 0, len(piece) - len(piece.lstrip()))
                    yield Record(line + lead, parse_record(text), text)
                line += piece.count(b"\n")
                start = at + 1
                if token[0] == b",":
                    continue
                if token[0] == b"}" or content[start:].strip():
                    raise InputError(
                        path=path,
                        line=line,
                        found="text behind the end of the array, or a bracket too many",
                        expected="one array whose brackets match up",
                    )
                return
    raise InputError(
        path=path,
        line=line,
        found="no end of the record that starts here, or of the array",
        expected="closed brackets and quotes",
        remedy="The file was cut off, or a bracket or quote before or in this record is missing",
    )
