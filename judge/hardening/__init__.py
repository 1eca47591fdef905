"""Defences against answers that speak to the judge: pure functions on text.

`as_data` escapes what must not stand in a prompt; `scan` and `null_flags` point at what people
should look at; `payloads` are the attacks that the defences are tested with. Nothing here drops an
answer or changes a verdict.
"""

from judge.hardening._copied import is_copied
from judge.hardening._data import (
    INVISIBLE,
    as_data,
    hidden_positions,
    quotable,
    show_invisible,
)
from judge.hardening._null import NullFlag, NullKind, null_flags
from judge.hardening._payloads import Payload, payloads
from judge.hardening._scan import (
    SUSPICIOUS,
    Flag,
    StripPair,
    injection_score,
    scan,
    strip_flagged,
    strip_pair,
)
from judge.hardening._view import View, readable

__all__ = [
    "INVISIBLE",
    "SUSPICIOUS",
    "Flag",
    "NullFlag",
    "NullKind",
    "Payload",
    "StripPair",
    "View",
    "as_data",
    "hidden_positions",
    "injection_score",
    "is_copied",
    "null_flags",
    "payloads",
    "quotable",
    "readable",
    "scan",
    "show_invisible",
    "strip_flagged",
    "strip_pair",
]
