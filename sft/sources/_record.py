"""What the readers of all kinds of files give: records, or why there is none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

RAW_CHARS = 10_000
"""Of the original text of an unreadable record; enough to find it again."""

MOST_BYTES = 64 * 2**20
"""A longer line is unreadable: no conversation needs it, and it would have to lie in memory."""


class Refusal(NamedTuple):
    """Why a record cannot be read as a conversation."""

    reason: str
    detail: str


class Record(NamedTuple):
    """One record of a file, before its format is looked at."""

    line: int
    """From 1; in files without lines the number of the record."""
    value: Mapping[str, Any] | Refusal
    raw: bytes | None = None
    """The original text; None in files without text, where the value is the original."""


def parse_json(text: bytes | str) -> Any:
    """The value of a JSON text, or a `Refusal`; NaN and infinities are no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return _refused(text, error)


def parse_record(text: bytes) -> Mapping[str, Any] | Refusal:
    """The JSON object of a text, or why there is none."""
    value = parse_json(text)
    if isinstance(value, dict | Refusal):
        return value
    return Refusal("not_an_object", f"found {kind_name(value)}, expected an object with fields")


def invalid_utf8(error: UnicodeDecodeError) -> Refusal:
    """The refusal for bytes that are not UTF-8."""
    return Refusal(
        "invalid_utf8",
        f"found the byte 0x{error.object[error.start]:02x} at byte {error.start + 1}, "
        "expected UTF-8 text. Save the file as UTF-8 (e.g. iconv -f gb18030 -t utf-8)",
    )


def too_long(size: int) -> Refusal:
    """The refusal for a line of ``size`` bytes."""
    return Refusal(
        "line_too_long",
        f"found a line of {size:,} bytes, expected {MOST_BYTES:,} at most. One record per line",
    )


def kind_name(value: object) -> str:
    """What a value is, in words: ``a list``."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case dict():
            return "an object"
        case list():
            return "a list"
    return f"a value of the type {type(value).__name__}"


def _refused(text: bytes | str, error: orjson.JSONDecodeError) -> Refusal:
    """Why the parser refused a text: not UTF-8, half of a surrogate pair, or not JSON."""
    try:
        text = text.decode() if isinstance(text, bytes) else text
    except UnicodeDecodeError as invalid:
        return invalid_utf8(invalid)
    try:
        # The standard library reads escapes of lone surrogates; that is how they are told apart.
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return Refusal(
            "lone_surrogate",
            "found half of a surrogate pair, expected Unicode text. "
            "Write the character itself instead of its \\u escapes",
        )
    except (ValueError, RecursionError):
        pass  # the first parser has said what is wrong
    return Refusal(
        "broken_json",
        f"found broken JSON at character {error.pos + 1} ({error.msg}), expected a JSON value",
    )
