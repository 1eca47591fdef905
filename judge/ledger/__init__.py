"""The ledger: cache, checkpoint and audit log of every call and verdict."""

from judge.ledger._open import open_ledger
from judge.ledger._owner import this_owner
from judge.ledger._protocol import (
    Attempt,
    BatchEvent,
    Call,
    Claim,
    Ledger,
    Review,
    Run,
    SeriesEvent,
    StoredAnswer,
    StoredVerdict,
)

__all__ = [
    "Attempt",
    "BatchEvent",
    "Call",
    "Claim",
    "Ledger",
    "Review",
    "Run",
    "SeriesEvent",
    "StoredAnswer",
    "StoredVerdict",
    "open_ledger",
    "this_owner",
]
