"""The ``sft`` command. The training half has not landed; the command says so and fails."""

from __future__ import annotations

import sys

USAGE_ERROR = 2


def main() -> None:
    """Say what is not here yet; exit 0 for --help and 2 for everything else."""
    print(
        "sft: the training half of Plumbline (blend, train, export, construct, mix) is not part "
        "of this version. The judging half is: see `judge --help`.",
        file=sys.stderr,
    )
    sys.exit(0 if sys.argv[1:] in (["--help"], ["-h"]) else USAGE_ERROR)
