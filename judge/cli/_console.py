"""What people see on stderr, and the one JSON object that programs read on stdout."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

console = Console(stderr=True, highlight=False)
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What could move the cursor or rename the window; names and words from elsewhere may hold it."""


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


def _sign(control: re.Match[str]) -> str:
    return f"⟦U+{ord(control[0]):04X}⟧"
