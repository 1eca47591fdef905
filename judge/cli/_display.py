"""Live progress of any run against an endpoint, and what every summary says of its costs."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from judge.cli._console import console, say
from judge.endpoint import ChatEndpoint
from judge.execution import Account

A = TypeVar("A", bound=Account)


class RunDisplay(Generic[A]):
    """A bar with units, rate, tokens, cost, time left and troubles; a summary at the end.

    ``troubles`` says in a few words what is wrong with a run's results so far ("" for nothing).
    """

    def __init__(
        self, title: str, *, summary: Callable[[A], str], troubles: Callable[[A], str]
    ) -> None:
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
        )
        self._task = self._progress.add_task(title, total=None, state="")
        self._summary, self._troubles = summary, troubles
        self._last: A | None = None

    def __enter__(self) -> RunDisplay[A]:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands and say what came out."""
        self._progress.stop()
        if self._last is not None:
            say(self._summary(self._last))

    def update(self, run: A, endpoint: ChatEndpoint | None) -> None:
        """Take over the state of the run; called a few times per second."""
        self._last = run
        self._progress.update(
            self._task,
            total=run.progress.planned,
            completed=run.progress.settled,
            state=self._state(run, endpoint),
        )

    def _state(self, run: A, endpoint: ChatEndpoint | None) -> str:
        if endpoint is None:
            return ""
        progress, traffic = run.progress, endpoint.traffic
        speed = self._progress.tasks[self._task].speed or 0
        tokens = progress.prompt_tokens + progress.completion_tokens
        parts = [f"{speed:.1f}/s", f"{endpoint.limit.in_flight} in flight", f"{tokens:,} tokens"]
        if endpoint.prices is not None:
            parts.append(f"${progress.cost:.2f}")
        parts += filter(None, [self._troubles(run)])
        if traffic.faults:
            parts.append(f"{traffic.faults} failed tries, last: {traffic.last_fault}")
        return " · ".join(parts)[:160]


def traffic_summary(run: Account) -> str:
    """Requests, what came from the ledger, tokens and cost, and what the server did not take."""
    progress = run.progress
    text = f"{run.sent} requests sent, {progress.from_ledger} units from the ledger."
    if run.sent:
        text += (
            f" {progress.prompt_tokens:,} prompt tokens ({progress.cached_tokens:,} cached), "
            f"{progress.completion_tokens:,} reply tokens"
        )
        text += f", ${progress.cost:,.4f}." if progress.cost and not progress.unpriced else "."
    for refused in dict.fromkeys(run.given_up):
        text += f"\nThe server does not take {refused}. It is no longer asked for that."
    return text
