"""Canonical JSON and content hashes: the identity of calls, rulers and answers."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import orjson

KEY_BYTES = 16


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no white space: equal values give equal bytes.

    Raises TypeError for what JSON cannot hold (and for text with a lone surrogate).
    """
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(value: Any) -> bytes:
    """BLAKE2b-128 of the canonical JSON of a value."""
    return blake2b(canonical(value), digest_size=KEY_BYTES).digest()


def text_hash(text: str) -> bytes:
    """BLAKE2b-128 of a text in UTF-8."""
    return blake2b(text.encode(), digest_size=KEY_BYTES).digest()
