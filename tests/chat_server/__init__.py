"""An OpenAI-compatible chat server on loopback, in its own process, that misbehaves on demand.

``python -m tests.chat_server --config JSON`` prints ``{"port": N}`` and serves until its standard
input closes or SIGTERM arrives. Tests use `ChatServer`; what the server does is a `Behaviour`.

Replies and faults are functions of the request body (and of how often it was sent), so that a run
repeats whatever the order in which its requests arrive. A reply is *complete* when it is an HTTP
200 that was written to its end: what a provider would bill for. There is no streaming and ``n`` is
ignored.
"""

from tests.chat_server._behaviour import (
    CONTENT,
    FATAL,
    KINDS,
    LINE_FAULTS,
    OK,
    REFUSED,
    TRANSPORT,
    Behaviour,
)
from tests.chat_server._judge import (
    body_key,
    expected_distribution,
    expected_items,
    expected_level,
    expected_levels,
    expected_pair,
    expected_pair_distribution,
    fault_target,
)
from tests.chat_server._logprobs import expected_mass
from tests.chat_server._process import ChatServer

__all__ = [
    "CONTENT",
    "FATAL",
    "KINDS",
    "LINE_FAULTS",
    "OK",
    "REFUSED",
    "TRANSPORT",
    "Behaviour",
    "ChatServer",
    "body_key",
    "expected_distribution",
    "expected_items",
    "expected_level",
    "expected_levels",
    "expected_mass",
    "expected_pair",
    "expected_pair_distribution",
    "fault_target",
]
