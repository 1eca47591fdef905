"""Result files of a batch: which line got which outcome, and what is wrong with the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from judge.endpoint import TransientFault, Usage, read_reply, read_usage

ALIEN, DUPLICATE, UNREADABLE = "alien", "duplicate", "unreadable"
MISSING = "missing"
_FINAL = (400, 413, 422)
_KINDS = {
    408: "timeout", 409: "conflict", 429: "rate_limited", 503: "overloaded", 529: "overloaded",
}  # fmt: skip
_UNFINISHED = {"batch_expired": "expired", "batch_cancelled": "cancelled"}


class Settled(NamedTuple):
    """An outcome that ends its call: a chat completion, or an error that no retry mends."""

    status_code: int
    body: bytes
    usage: Usage


class Failure(NamedTuple):
    """Why a line has no usable outcome; ``usage`` is what the server counted all the same."""

    reason: str
    status_code: int | None
    detail: str
    usage: Usage | None = None


@dataclass(slots=True)
class Results:
    """Outcomes by custom_id, of lines that were asked for; everything else is counted."""

    settled: dict[str, Settled] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)
    strange: Counter[str] = field(default_factory=Counter)

    def read(self, data: bytes, asked: Set[str]) -> None:
        """Take in a result file.

        Of several lines on one request the first that settles it counts. Lines in any order, that
        are no JSON, or on requests that nobody made change nothing but the counts.
        """
        for raw in data.split(b"\n"):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
                line = row["custom_id"]
                outcome = _outcome(row)
            except (ValueError, KeyError, TypeError, RecursionError):
                self.strange[UNREADABLE] += 1
                continue
            if not isinstance(line, str) or line not in asked:
                self.strange[ALIEN] += 1
            elif line in self.settled:
                self.strange[DUPLICATE] += 1
            elif isinstance(outcome, Settled):
                self.strange[DUPLICATE] += self.failed.pop(line, None) is not None
                self.settled[line] = outcome
            elif line in self.failed:
                self.strange[DUPLICATE] += 1
            else:
                self.failed[line] = outcome
        self.strange = +self.strange


def _outcome(row: dict[str, Any]) -> Settled | Failure:
    response, error = row.get("response"), row.get("error")
    if isinstance(response, dict):
        status, body = response.get("status_code"), response.get("body")
        if type(status) is not int or not isinstance(body, dict):
            return Failure("malformed", None, "a result without status or body")
        return _read(status, body)
    if isinstance(error, dict):
        return _refused(error)
    return Failure("malformed", None, "a result without response and error")


def _read(status: int, body: dict[str, Any]) -> Settled | Failure:
    # Escapes keep what UTF-8 cannot hold, as a live reply keeps it.
    raw = json.dumps(body, separators=(",", ":")).encode()
    if status == 200:
        usage = read_usage(raw)
        try:
            read_reply(status, raw)
        except TransientFault as fault:
            return Failure(fault.kind, status, fault.detail, usage)
        return Settled(status, raw, usage)
    if status in _FINAL and read_reply(status, raw).error_code:
        return Settled(status, raw, Usage(0, 0, 0))
    kind = _KINDS.get(status) or ("server_error" if status >= 500 else "rejected")
    error = body.get("error")
    return Failure(kind, status, _words(error if isinstance(error, dict) else body))


def _refused(error: dict[str, Any]) -> Settled | Failure:
    """A line that was not executed, or whose error came without a response."""
    raw = json.dumps({"error": error}, separators=(",", ":")).encode()
    if read_reply(400, raw).error_code:
        return Settled(400, raw, Usage(0, 0, 0))
    code = error.get("code")
    kind = _UNFINISHED.get(code, "rejected") if isinstance(code, str) else "rejected"
    return Failure(kind, None, _words(error))


def _words(error: dict[str, Any]) -> str:
    message = error.get("message")
    return " ".join(message.split())[:300] if isinstance(message, str) else ""
