"""Keys of calls: what makes a call the same call."""

from __future__ import annotations

from hashlib import blake2b

from judge.canonical import KEY_BYTES, canonical, digest
from judge.endpoint import Capabilities
from judge.ledger import Call, Ledger


def call_key(body: bytes, model: str, sample: int, occasion: str) -> bytes:
    """The key of a call: a hash of all that is sent, the model's identity, sample and occasion."""
    rest = canonical([model, sample, occasion])
    return blake2b(body + b"\n" + rest, digest_size=KEY_BYTES).digest()


def repair_key(call: Call) -> bytes:
    """The key of the follow-up to a call.

    It is made of the call and its reply, not of our words about the reply: a parser that words a
    problem in another way finds the repair that was paid for.
    """
    return digest(["repair", call.key.hex(), blake2b(call.response).hexdigest()])


def known_capabilities(ledger: Ledger, model: str) -> Capabilities:
    """What the ledger knows of a model's endpoint; the best of everything if it knows nothing."""
    known = ledger.capabilities(model)
    return Capabilities() if known is None else Capabilities.from_dict(known)
