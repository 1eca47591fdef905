"""The ``judge`` command: its sub-commands, and what becomes of errors.

Importing a command's module registers it; what it does lies behind lazy imports, so that --help is
quick.
"""

from __future__ import annotations

import sys
import traceback

from judge.cli._root import app
from judge.cli.commands import (  # noqa: F401 - they register
    answer,
    demo,
    escalations,
    pairwise,
    probe,
    report,
    score,
    transfer,
)
from judge.errors import ExitCode, PlumblineError

__all__ = ["app", "main"]


def main() -> None:
    """Run the command; errors for people get one paragraph, and exit codes mean something."""
    try:
        app()  # ends the process itself: 0 when done, 2 on a usage error, 130 on an interrupt
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:
            print("judge: run the same command again to go on.", file=sys.stderr)
        raise
    except PlumblineError as error:
        print(f"judge: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - the last resort, reported as our defect
        traceback.print_exc()
        print(
            "judge: this is a defect of Plumbline. What was committed to the ledger is intact. "
            "Please report it with the lines above.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.DEFECT)
