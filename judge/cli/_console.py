"""What people see on stderr, and the one JSON object that programs read on stdout."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from judge.endpoint import ChatEndpoint
from judge.scoring import ScoreRun

console = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print a line for people, wrapped to the terminal, without reading markup into it."""
    console.print(text, markup=False, soft_wrap=True)


def print_json(value: dict[str, Any]) -> None:
    """Print the one object of ``--json``."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()


class ScoreDisplay:
    """Live progress of a scoring run: units, rate, cost, time left, what goes wrong."""

    def __init__(self, judge: str) -> None:
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
        self._task = self._progress.add_task(f"judging with {judge}", total=None, state="")
        self._last: ScoreRun | None = None

    def __enter__(self) -> ScoreDisplay:
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
            say(summary(self._last))

    def update(self, run: ScoreRun, endpoint: ChatEndpoint | None) -> None:
        """Take over the state of the run; called a few times per second."""
        self._last = run
        self._progress.update(
            self._task,
            total=run.progress.planned,
            completed=run.progress.settled,
            state=_state(run, endpoint, self._progress.tasks[self._task].speed),
        )


def _state(run: ScoreRun, endpoint: ChatEndpoint | None, speed: float | None) -> str:
    """Rate, tokens, cost and troubles in a few words."""
    if endpoint is None:
        return ""
    progress = run.progress
    tokens = progress.prompt_tokens + progress.completion_tokens
    parts = [f"{speed or 0:.1f}/s", f"{endpoint.limit.in_flight} in flight", f"{tokens:,} tokens"]
    if endpoint.prices is not None:
        parts.append(f"${progress.cost:.2f}")
    if run.unscored:
        parts.append(f"{run.unscored.total()} unscored")
    if endpoint.traffic.faults:
        parts.append(f"{endpoint.traffic.faults} failed tries, last: {endpoint.traffic.last_fault}")
    return " · ".join(parts)[:160]


def summary(run: ScoreRun) -> str:
    """A run in two sentences."""
    progress = run.progress
    missing = ", ".join(f"{count} {reason}" for reason, count in run.unscored.most_common())
    text = (
        f"{progress.planned} units: {run.scored} scored, {run.not_applicable} not applicable, "
        f"{run.unscored.total()} unscored"
        + (f" ({missing})" if missing else "")
        + f", {progress.open} open."
    )
    text += f" {run.sent} requests sent, {progress.from_ledger} units from the ledger."
    if run.sent:
        text += (
            f" {progress.prompt_tokens:,} prompt tokens ({progress.cached_tokens:,} cached), "
            f"{progress.completion_tokens:,} reply tokens"
        )
        text += f", ${progress.cost:,.4f}." if progress.cost and not progress.unpriced else "."
    for refused in run.given_up:
        text += f"\nThe server does not take {refused}. It is no longer asked for that."
    return text
