"""The vocabulary of training data: rows of conversations, and what a step did to them.

Rows are polars frames with the columns of `ROWS`; a step takes such a frame and gives a
`StepResult`, in which every row that came in is either kept or removed with a reason.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import polars as pl

Role: TypeAlias = Literal["system", "user", "assistant"]

MESSAGE = pl.Struct({"role": pl.String, "content": pl.String})

ROWS: Mapping[str, pl.DataType] = {
    "row_id": pl.String(),
    "source": pl.String(),
    "file": pl.String(),
    "line": pl.Int64(),
    "language": pl.String(),
    "messages": pl.List(MESSAGE),
}
"""Columns of a row: one conversation.

``row_id`` is a hash of source and content, so it does not depend on the order of files; ``line``
counts from 1 (in formats without lines: the record); ``language`` is an ISO 639-1 code (ISO 639-3
where there is none), "code", or null where it is not known (yet).
"""

REMOVED: Mapping[str, pl.DataType] = {
    **ROWS,
    "step": pl.String(),
    "reason": pl.String(),
    "detail": pl.String(),
    "raw": pl.String(),
}
"""Columns of a removed row: the row, which step removed it, why, and particulars for a person.

``reason`` is one of a step's few snake_case names; ``detail`` is free text. ``raw`` holds the text
of a record that could not be read as a conversation (``messages`` is then null).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A text that shows a person what a step does; for a removed or a changed row.

    ``kind`` is the reason of the removal, or the kind of the change. ``after`` is None for a
    removal.
    """

    source: str
    kind: str
    place: str
    """``file:line``."""
    before: str
    after: str | None = None
    detail: str = ""
    """Particulars of a removal."""


MOST_EXAMPLES = 3
"""Examples kept per step, source and kind."""

Tally: TypeAlias = Counter[tuple[str, str]]
"""(source, kind) → how many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a step made of a frame: ``len(kept) + len(removed)`` is the number of rows it got.

    ``changed`` counts rows by (source, kind of change), ``found`` counts finds in them (several a
    row, e.g. e-mail addresses). ``examples`` show changes; removed rows are examples themselves.
    """

    kept: pl.DataFrame
    removed: pl.DataFrame
    changed: Tally = field(default_factory=Counter)
    found: Tally = field(default_factory=Counter)
    examples: tuple[Example, ...] = ()


def no_rows() -> pl.DataFrame:
    """A frame of rows without any."""
    return pl.DataFrame(schema=dict(ROWS))


def removed_rows(
    rows: pl.DataFrame, step: str, reasons: Iterable[str], details: Iterable[str]
) -> pl.DataFrame:
    """Rows as removed ones, with one reason and one detail for each row, in their order.

    Raises ValueError if the numbers differ.
    """
    reasons, details = list(reasons), list(details)
    if not len(rows) == len(reasons) == len(details):
        raise ValueError(f"{len(rows)} rows, {len(reasons)} reasons, {len(details)} details")
    return rows.with_columns(
        pl.lit(step).alias("step"),
        pl.Series("reason", reasons, dtype=pl.String),
        pl.Series("detail", details, dtype=pl.String),
        pl.lit(None, dtype=pl.String).alias("raw"),
    ).select(pl.col(name).cast(kind) for name, kind in REMOVED.items())


def place(file: str, line: int | None) -> str:
    """``file:line``, as errors and examples name a row."""
    return file if line is None else f"{file}:{line}"
