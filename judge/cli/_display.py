"""Live progress of whatever is waited for, and what every summary says of its costs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from judge.endpoint import ChatEndpoint
from judge.execution import Account
from judge.terminal import Bar

A = TypeVar("A", bound=Account)


class RunDisplay(Bar, Generic[A]):
    """A bar with units, rate, tokens, cost, time left and troubles; a summary at the end.

    ``troubles`` says in a few words what is wrong with a run's results so far ("" for nothing).
    """

    def __init__(
        self, title: str, *, summary: Callable[[A], str], troubles: Callable[[A], str]
    ) -> None:
        super().__init__(title, time_left=True)
        self._summary, self._troubles = summary, troubles
        self._last: A | None = None

    def summary(self) -> str:
        """The run in words, once it has shown itself."""
        return "" if self._last is None else self._summary(self._last)

    def update(self, run: A, endpoint: ChatEndpoint | None) -> None:
        """Take over the state of the run; called a few times per second."""
        self._last = run
        self.show(run.progress.settled, run.progress.planned, self._parts(run, endpoint))

    def _parts(self, run: A, endpoint: ChatEndpoint | None) -> list[str]:
        if endpoint is None:
            return []
        progress, traffic = run.progress, endpoint.traffic
        tokens = progress.prompt_tokens + progress.completion_tokens
        parts = [
            f"{self.speed:.1f}/s", f"{endpoint.limit.in_flight} in flight", f"{tokens:,} tokens",
        ]  # fmt: skip
        if endpoint.prices is not None:
            parts.append(f"${progress.cost:.2f}")
        parts += filter(None, [self._troubles(run)])
        if traffic.faults:
            parts.append(f"{traffic.faults} failed tries, last: {traffic.last_fault}")
        return parts


class Spent(Protocol):
    """What replies took: tokens, USD, and how many of them have no known price."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    cost: float
    unpriced: int


def spending(of: Spent) -> str:
    """Tokens in words, and the cost where all of it is known."""
    return (
        f"{of.prompt_tokens:,} prompt tokens ({of.cached_tokens:,} cached), "
        f"{of.completion_tokens:,} reply tokens"
        + (f", ${of.cost:,.4f}." if of.cost and not of.unpriced else ".")
    )


def tokens_object(of: Spent) -> dict[str, int]:
    """The ``tokens`` object of ``--json``."""
    return {
        "prompt": of.prompt_tokens,
        "cached": of.cached_tokens,
        "completion": of.completion_tokens,
    }


def traffic_summary(run: Account) -> str:
    """Requests, what came from the ledger, tokens and cost, and what the server did not take."""
    progress = run.progress
    text = f"{run.sent} requests sent, {progress.from_ledger} units from the ledger."
    if run.sent:
        text += f" {spending(progress)}"
    for refused in dict.fromkeys(run.given_up):
        text += f"\nThe server does not take {refused}. It is no longer asked for that."
    return text
