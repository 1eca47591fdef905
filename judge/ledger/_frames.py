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
    "allowed_mass": pl.Float64,
    "sd": pl.Float64,
}
_CALL_TYPES: dict[str, type[pl.DataType]] = {
    "key": pl.Binary,
    "generation": pl.Int64,
    "parent": pl.Binary,
    "sample": pl.Int64,
    "prompt_tokens": pl.Int64,
    "cached_tokens": pl.Int64,
    "completion_tokens": pl.Int64,
    "cost": pl.Float64,
    "latency_s": pl.Float64,
    "attempts": pl.Int64,
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
    plain = [(*row[:at], bool(row[at]), *row[at + 1 :]) for row in rows]
    return pl.DataFrame(plain, schema=schema, orient="row")


def rating_frame(rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Rating rows as a frame."""
    schema = {name: _RATING_TYPES.get(name, pl.String) for name in _rows.RATING_COLUMNS}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def call_frame(rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    """Calls without their bodies as a frame."""
    schema = {name: _CALL_TYPES.get(name, pl.String) for name in _rows.CALL_FACTS}
    return pl.DataFrame(list(rows), schema=schema, orient="row")
