"""Lines of text files, of bounded length, with their numbers."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from judge.documents import unreadable
from sft.errors import InputError
from sft.sources import _record
from sft.sources._record import Record, Refusal, parse_record, too_long

_BLOCK = 2**20
_OTHER_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Line(NamedTuple):
    """A line with its end, without the file's byte order mark."""

    number: int
    text: bytes
    """Of a line that is too long only the start."""
    refusal: Refusal | None


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what the system and the decompression say of a file into an `InputError`."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            path=path,
            found=f"damaged compression ({str(error).lower()})",
            expected="a whole gzip file",
            remedy="Copy or compress it again",
        ) from None
    except OSError as error:
        raise unreadable(path, error) from None


def read_lines(path: Path) -> Generator[Line]:
    """The lines of a file, decompressed if its name ends with ``.gz``; line feeds end them.

    Raises InputError for a file that cannot be read, and for one in UTF-16.
    """
    opened = gzip.open if path.suffix.lower() == ".gz" else Path.open
    with reading(path), opened(path, "rb") as stream:
        blocks = iter(partial(stream.readline, _record.MOST_BYTES), b"")
        first = without_mark(path, next(blocks, b""))
        number = 0
        for text in chain((first,), blocks):
            number += 1
            if len(text) < _record.MOST_BYTES or text.endswith(b"\n"):
                yield Line(number, text, None)
                continue
            size = len(text)
            for more in iter(partial(stream.readline, _BLOCK), b""):
                size += len(more)
                if more.endswith(b"\n"):
                    break
            yield Line(number, text[: _record.RAW_CHARS], too_long(size))


def without_mark(path: Path, start: bytes) -> bytes:
    """The start of a file without its byte order mark; InputError for that of UTF-16."""
    if start.startswith(_OTHER_MARKS):
        raise InputError(
            path=path,
            found="text in UTF-16",
            expected="UTF-8 text",
            remedy="Save the file as UTF-8 (e.g. iconv -f utf-16 -t utf-8)",
        )
    return start.removeprefix(codecs.BOM_UTF8)


def read_jsonl(path: Path) -> Iterator[Record]:
    """The records of a file with one JSON object per line; blank lines are skipped."""
    for number, text, refusal in read_lines(path):
        if text and not text.isspace():
            # Without the line's end, which the parser would take for a part of a string cut off.
            record = text.rstrip(b"\r\n")
            yield Record(number, refusal or parse_record(record), record)
