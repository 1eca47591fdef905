"""The ``judge`` command: its sub-commands, and what becomes of errors.

Importing a command's module registers it; what it does lies behind lazy imports, so that --help is
quick.
"""

from __future__ import annotations

from judge.cli._root import app
from judge.cli.commands import (  # noqa: F401 - they register
    answer,
    calibrate,
    compare,
    demo,
    escalations,
    gate,
    nightly,
    pairwise,
    plan,
    probe,
    rate,
    report,
    score,
    transfer,
)
from judge.terminal import run_command

__all__ = ["app", "main"]


def main() -> None:
    """Run the command and end the process with its exit code."""
    run_command(app, "judge", intact="What was committed to the ledger is intact.")
