"""Ledger rows as polars frames."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import polars as pl

from judge.ledger import _rows

_VERDICT_TYPES: dict[str, type[pl.DataType]] = {
    "call_key": pl.Binary,
    "generation": pl.Int64,
    "parser": pl.Int64,
    "answer_sample": pl.Int64,
    "answer_hash": pl.Binary,
    "question_hash": pl.Binary,
    "sample": pl.Int64,
    "level": pl.Float64,
    "scale_min": pl.Float64,
    "scale_max": pl.Float64,
    "score": pl.Float64,
    "repaired": pl.Boolean,
}
_RATING_TYPES: dict[str, type[pl.DataType]] = {
    "sample": pl.Int64,
    "rating": pl.Float64,
    "scale_min": pl.Float64,
    "scale_max": pl.Float64,
}


def verdict_frame(rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Verdict rows as a frame; ``evidence`` is JSON text, ``score`` in [0, 1]."""
    schema = {name: _VERDICT_TYPES.get(name, pl.String) for name in _rows.VERDICT_COLUMNS}
    at = _rows.VERDICT_COLUMNS.index("repaired")
    return pl.DataFrame([(*row[:at], bool(row[at])) for row in rows], schema=schema, orient="row")


def rating_frame(rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Rating rows as a frame."""
    schema = {name: _RATING_TYPES.get(name, pl.String) for name in _rows.RATING_COLUMNS}
    return pl.DataFrame(list(rows), schema=schema, orient="row")
