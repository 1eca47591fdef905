"""The ``sft`` command: its sub-commands, and what becomes of errors.

Importing a command's module registers it; what it does lies behind lazy imports, so that --help is
quick.
"""

from __future__ import annotations

import os
import signal

from judge.terminal import run_command
from sft.cli._root import app
from sft.cli.commands import bench, blend, demo, doctor, export, miniature, train  # noqa: F401 - they register

__all__ = ["app", "main"]


def main() -> None:
    """Run the command and end the process with its exit code."""
    # A supervisor's signal ends a run as a person's does: with 130, and resumable.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # That models are not available concerns nobody who tokenises.
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")
    run_command(app, "sft", intact="Steps that were finished are kept.")
