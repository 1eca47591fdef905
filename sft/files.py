"""Files and folders that are whole or not there, and folders that one run has to itself."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sft.errors import UsageError


def write_atomically(file: Path, content: bytes | memoryview) -> None:
    """Write a file that is whole or not there, also after a power cut."""
    temporary = file.with_name(f".{file.name}.tmp")
    with temporary.open("wb") as handle:
        handle.write(content)
        handle.flush()
        os.fsync(handle.fileno())
    temporary.replace(file)


def sync(path: Path) -> None:
    """Have a file's content, or a folder's list of names, written to the disk itself."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Have all that is in a folder written to the disk itself, and its own list of names."""
    for path in [*folder.rglob("*"), folder]:
        sync(path)


@contextmanager
def alone(folder: Path, who: str) -> Iterator[None]:
    """Hold a folder, made if missing, for this run; ``who`` is what others would be, "sft blend".

    Raises UsageError if another one is at work in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{folder}: another {who} is at work here. Wait for it, or name another folder "
                "with --out."
            ) from None
        yield
