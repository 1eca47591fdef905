"""A page and the same content as JSON, written side by side into a folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from judge.errors import UsageError


@dataclass(frozen=True, slots=True)
class Written:
    """Where a report lies."""

    html: Path
    json: Path

    def object(self) -> dict[str, Any]:
        """The ``report`` object of ``--json``."""
        return {"report": {"html": str(self.html), "json": str(self.json)}}


def write_page(out: Path, name: str, html: str, content: Mapping[str, Any]) -> Written:
    """Write NAME.html and NAME.json into a folder, which is created if it is missing.

    Each file is there whole or as it was. Raises UsageError where it cannot be written.
    """
    written = Written(out / f"{name}.html", out / f"{name}.json")
    try:
        out.mkdir(parents=True, exist_ok=True)
        _replace(written.html, html.encode())
        _replace(written.json, orjson.dumps(content, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise UsageError(
            f"{out}: the report cannot be written ({error.strerror}). Name another folder with "
            "--out."
        ) from error
    return written


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
