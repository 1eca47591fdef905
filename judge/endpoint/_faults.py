"""What can go wrong between us and a model, sorted by what has to follow.

A transient fault is tried again and, if it does not end, leaves the unit open. A rejected request
leaves its unit open at once. An `EndpointError` (bad key, no credit, vanished model) stops the
run. Refusals, filters and truncations are none of these: they are replies.
"""

from __future__ import annotations

import math
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from judge.errors import EndpointError

if TYPE_CHECKING:
    import openai

    from judge.endpoint._reply import Usage

_SHORTEST_KEY = 8
_QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached", "billing_not_active"})

NEGOTIABLE = frozenset(
    {
        "response_format",
        "temperature",
        "top_p",
        "seed",
        "max_tokens",
        "max_completion_tokens",
        "logprobs",
        "top_logprobs",
    }
)
"""Parameters of a request that an endpoint may refuse and that we can do without or rename."""


class TransientFault(Exception):
    """A try that failed for reasons that may pass.

    ``kind`` is one of rate_limited, overloaded, server_error, timeout, connection, conflict,
    malformed; ``retry_after`` is in seconds. ``usage`` is what a server counted for a reply that
    could not be used all the same.
    """

    def __init__(
        self,
        kind: str,
        *,
        detail: str,
        status_code: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        self.usage: Usage | None = None
        self.kind = kind
        self.detail = detail
        self.status_code = status_code
        self.retry_after = retry_after
        super().__init__(f"{kind}: {detail}")

    @property
    def throttled(self) -> bool:
        """Whether the server says that it gets too much."""
        return self.kind in ("rate_limited", "overloaded")


class StillFailing(Exception):
    """A request whose transient faults did not end; its unit stays open."""

    def __init__(self, last: TransientFault) -> None:
        self.last = last
        super().__init__(str(last))


class RejectedRequest(Exception):
    """The server will not take this request (400, 413, 422); its unit stays open."""

    def __init__(self, status_code: int, detail: str) -> None:
        self.status_code = status_code
        self.detail = detail
        super().__init__(detail)


class UnsupportedParameter(Exception):
    """The server does not take one of the `NEGOTIABLE` parameters; None if it did not say which."""

    def __init__(self, parameter: str | None, detail: str) -> None:
        self.parameter = parameter
        self.detail = detail
        super().__init__(detail)


class Halted(Exception):
    """The run has stopped: nothing new is sent, and this was not."""


class BudgetSpent(Exception):
    """The next request could exceed the budget; nothing was sent."""


def fault_of(error: openai.APIError, identity: str) -> Exception:
    """The exception that an SDK error stands for; sorted by status and code, never by message."""
    import openai

    if not isinstance(error, openai.APIStatusError):
        cause = _root_cause(error)
        if isinstance(cause, TimeoutError):
            return TransientFault("timeout", detail="no reply within the time limit")
        return TransientFault("connection", detail=f"{type(cause).__name__}: {cause}")
    status, code, said = error.status_code, error.code or "", _said(error)
    if status == 429 and (code in _QUOTA_CODES or error.type in _QUOTA_CODES):
        return EndpointError(f"{identity}: no credit left ({said}). Top up, then run again.")
    match status:
        case 401 | 403:
            return EndpointError(
                f"{identity}: the server refuses the key ({status}: {said}). Check OPENAI_API_KEY "
                "(openai: models) or PLUMBLINE_API_KEY (other servers), then run again."
            )
        case 402:
            return EndpointError(f"{identity}: payment required ({said}). Then run again.")
        case 404:
            return EndpointError(
                f"{identity}: not found ({said}). Check the model's name and the server's URL."
            )
        case 429 | 503 | 529:
            kind = "rate_limited" if status == 429 else "overloaded"
            wait = _retry_after(error.response.headers)
            return TransientFault(kind, detail=said, status_code=status, retry_after=wait)
        case 408 | 409:
            kind = "timeout" if status == 408 else "conflict"
            return TransientFault(kind, detail=said, status_code=status)
    if status >= 500:
        return TransientFault(
            "server_error",
            detail=said,
            status_code=status,
            retry_after=_retry_after(error.response.headers),
        )
    parameter = (error.param or "").split(".")[0]
    if parameter in NEGOTIABLE:
        return UnsupportedParameter(parameter, said)
    return RejectedRequest(status, said)


def _root_cause(error: BaseException) -> BaseException:
    """The first error of a chain; the SDK's transport calls a reset connection a time-out."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _said(error: openai.APIStatusError) -> str:
    """The server's own words, short."""
    body = error.body
    message = body.get("message") if isinstance(body, dict) else None
    text = message if isinstance(message, str) else error.response.text
    key = error.request.headers.get("authorization", "").removeprefix("Bearer ")
    if len(key) >= _SHORTEST_KEY:
        text = text.replace(key, "[key]")  # some servers repeat it, and words are stored
    return " ".join(text.split())[:300] or f"status {error.status_code}"


def _retry_after(headers: object) -> float | None:
    """Seconds to wait from a Retry-After header: a number of seconds, or an HTTP date."""
    value = headers.get("retry-after") if hasattr(headers, "get") else None
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
