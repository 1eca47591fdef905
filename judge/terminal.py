"""What both commands share at the terminal: words, bars, the object of --json, how they end.

People read stderr; programs read one JSON object on stdout.
"""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

import typer
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

from judge.errors import ExitCode, PlumblineError

console = Console(stderr=True, highlight=False)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What could move the cursor or rename the window; names and words from elsewhere may hold it."""

_LONGEST_STATE = 160
_NARROW = 120
"""Columns below which a bar is short."""


def make_app(name: str) -> typer.Typer:
    """An empty command line of the house style; its callback's docstring is its help."""
    return typer.Typer(
        name=name,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )


def _show_version(wanted: bool) -> None:
    if wanted:
        from judge import __version__

        typer.echo(f"plumbline {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
]


def run_command(app: Callable[[], object], name: str, *, intact: str) -> None:
    """Run a command line; errors for people get one paragraph, and exit codes mean something.

    ``intact`` says, after a defect of ours, what is safe nevertheless.
    """
    try:
        app()  # ends the process itself: 0 when done, 2 on a usage error, 130 on an interrupt
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:
            print(f"{name}: run the same command again to go on.", file=sys.stderr)
        raise
    except PlumblineError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - the last resort, reported as our defect
        traceback.print_exc()
        print(
            f"{name}: this is a defect of Plumbline. {intact} "
            "Please report it with the lines above.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.DEFECT)


def say(text: str) -> None:
    """Print a line for people, wrapped to the terminal, without reading markup into it."""
    console.print(_CONTROLS.sub(_sign, text), markup=False, soft_wrap=True)


def print_json(value: dict[str, Any]) -> None:
    """Print the one object of ``--json``."""
    import orjson

    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()


def path_text(path: Path) -> str:
    """A path as text for JSON, which cannot hold a file name that is not valid Unicode."""
    return os.fsencode(path).decode("utf-8", "replace")


class Bar:
    """A bar on stderr with words behind it, which stays when it ends; a summary after it.

    ``time_left`` is for work whose pace says when it will be done.
    """

    def __init__(self, title: str, *, time_left: bool) -> None:
        self._bar_width = 12 if console.width < _NARROW else 24
        self._clocks = 2 if time_left else 1
        self._title = title
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=self._bar_width),
            TaskProgressColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            *([TimeRemainingColumn()] if time_left else []),
            TextColumn("{task.fields[state]}", markup=False),
            console=console,
        )
        self._task = self._progress.add_task(title, total=None, state="")

    def __enter__(self) -> Self:
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
        if text := self.summary():
            say(text)

    def summary(self) -> str:
        """What came out, in words; "" for nothing to say."""
        return ""

    def show(self, completed: int, total: int | None, parts: list[str]) -> None:
        """Move the bar; ``parts`` are the words behind it. An unknown ``total`` is None."""
        # On a narrow terminal the words give way, not the bar and the numbers before them.
        numbers = 4 + 2 * len(str(total or completed)) + 1 + 8 * self._clocks
        room = console.width - len(self._title) - self._bar_width - numbers - 5
        state = _cut(" · ".join(parts), max(0, min(room, _LONGEST_STATE)))
        self._progress.update(self._task, total=total, completed=completed, state=state)

    @property
    def speed(self) -> float:
        """How many units are completed per second."""
        return self._progress.tasks[self._task].speed or 0.0


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def _sign(control: re.Match[str]) -> str:
    return f"⟦U+{ord(control[0]):04X}⟧"
