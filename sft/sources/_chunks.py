"""Files as chunks of rows, and of what could not be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import orjson
import polars as pl

from judge.canonical import KEY_BYTES, canonical
from sft.errors import InputError
from sft.records import REMOVED, ROWS
from sft.settings import Source
from sft.sources._files import InputFile
from sft.sources._formats import Turn, conversation
from sft.sources._opening import open_records
from sft.sources._record import RAW_CHARS, Record, Refusal

_CHUNK_BYTES = 64 * 2**20


class Chunk(NamedTuple):
    """Some records of a file in their order: those that are rows, and those that are not."""

    rows: pl.DataFrame
    """Columns `sft.records.ROWS`; the language is null."""
    unreadable: pl.DataFrame
    """Columns `sft.records.REMOVED` of the step ``read``; the messages are null."""


def row_id(source: str, messages: Sequence[Mapping[str, str]]) -> str:
    """The identity of a row: BLAKE2b-128 of the canonical JSON ``[source, messages]``, in hex.

    It depends on the source's name and the conversation, not on the file, its format or the line.
    Raises TypeError for a text with a lone surrogate.
    """
    return blake2b(canonical([source, messages]), digest_size=KEY_BYTES).hexdigest()


def read_chunks(source: Source, file: InputFile, *, rows: int = 5000) -> Iterator[Chunk]:
    """The records of a file, at most ``rows`` at a time (fewer where they are long).

    What is no conversation is among the unreadable: with the reason, particulars and the original
    text. Raises InputError for what concerns the whole file: missing, damaged or without any
    record, or in no known format; for damage further back only after the chunks before it.
    Raises ValueError for ``rows`` below 1.
    """
    if rows < 1:
        raise ValueError(f"chunks of {rows} rows; at least 1 is needed")
    shape, records = open_records(source, file.path)
    chunk = _Filling(source.name, str(file.path))
    empty = True
    for record in records:
        empty = False
        value = record.value
        turns = value if isinstance(value, Refusal) else conversation(value, shape)
        if isinstance(turns, Refusal):
            chunk.refuse(record, turns)
        else:
            chunk.add(record, turns)
        if chunk.records == rows or chunk.bytes >= _CHUNK_BYTES:
            yield chunk.frames()
            chunk = _Filling(source.name, str(file.path))
    if empty:
        raise InputError(path=file.path, found="a file without any record", expected="records")
    if chunk.records:
        yield chunk.frames()


class _Filling:
    """A chunk while records are added, column by column."""

    def __init__(self, source: str, file: str) -> None:
        self.records = 0
        self.bytes = 0
        self._source = source
        self._file = file
        # The bytes of canonical JSON around the messages.
        self._opening = canonical([source])[:-1] + b","
        self._ids: list[str] = []
        self._lines: list[int] = []
        self._turns: list[list[Turn]] = []
        self._removed: list[dict[str, Any]] = []

    def add(self, record: Record, turns: list[Turn]) -> None:
        """A row."""
        text = orjson.dumps(turns)  # the keys of turns are in their canonical order
        whole = self._opening + text + b"]"
        self._ids.append(blake2b(whole, digest_size=KEY_BYTES).hexdigest())
        self._lines.append(record.line)
        self._turns.append(turns)
        self.records += 1
        self.bytes += len(text)

    def refuse(self, record: Record, refusal: Refusal) -> None:
        """An unreadable record."""
        raw = record.raw if record.raw is not None else _as_text(record.value)
        text = raw.decode(errors="backslashreplace").rstrip("\r\n")
        detail = refusal.detail
        if len(text) > RAW_CHARS:
            detail += f". Of its {len(text):,} characters, {RAW_CHARS:,} are kept"
        content = blake2b(canonical(self._source) + b"\n" + raw, digest_size=KEY_BYTES)
        self._removed.append(
            {
                "row_id": content.hexdigest(),
                "source": self._source,
                "file": self._file,
                "line": record.line,
                "step": "read",
                "reason": refusal.reason,
                "detail": detail,
                "raw": text[:RAW_CHARS],
            }
        )
        self.records += 1
        self.bytes += len(raw)

    def frames(self) -> Chunk:
        """What was added."""
        rows = pl.DataFrame(
            {
                "row_id": pl.Series(self._ids, dtype=pl.String),
                "line": pl.Series(self._lines, dtype=pl.Int64),
                "messages": _messages(self._turns),
            }
        ).select(
            "row_id",
            pl.lit(self._source).alias("source"),
            pl.lit(self._file).alias("file"),
            "line",
            pl.lit(None, dtype=pl.String).alias("language"),
            "messages",
        )
        return Chunk(rows, pl.DataFrame(self._removed, schema=dict(REMOVED)))


def _messages(conversations: Sequence[Sequence[Turn]]) -> pl.Series:
    """Conversations as a column: flat first, for building nested values one by one is slow."""
    if not conversations:
        return pl.Series(dtype=ROWS["messages"])
    counts = [len(turns) for turns in conversations]
    flat = pl.DataFrame(
        {
            "row": np.repeat(np.arange(len(counts), dtype=np.uint32), counts),
            "role": pl.Series(
                [turn["role"] for turns in conversations for turn in turns], dtype=pl.String
            ),
            "content": pl.Series(
                [turn["content"] for turns in conversations for turn in turns], dtype=pl.String
            ),
        }
    )
    messages = flat.group_by("row", maintain_order=True).agg(
        pl.struct("role", "content").alias("messages")
    )
    return messages["messages"]


def _as_text(value: object) -> bytes:
    """The JSON of a record from a file that is no text."""
    return json.dumps(value, ensure_ascii=False, default=str).encode()
