"""Who holds a claim: a process, told apart from a later one that got the same number."""

from __future__ import annotations

import os
import socket
import uuid
from pathlib import Path


def this_owner() -> str:
    """An owner id for one run of this process: host, boot, process, its start, a random part."""
    pid = os.getpid()
    return f"{_host()}|{_boot()}|{pid}|{_started(pid)}|{uuid.uuid4().hex}"


def is_gone(owner: str) -> bool:
    """Whether the owner is a process of this machine that no longer runs.

    Owners on other machines, in other containers, and ids of another form are never gone by this
    test; their lease has to expire.
    """
    parts = owner.split("|")
    if len(parts) != 5 or not parts[2].isdecimal():
        return False
    host, boot, pid, started, _ = parts
    # Another boot can be another machine of the same name; its lease has to expire.
    if host != _host() or boot != _boot():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return started != _started(int(pid))


def _host() -> str:
    """The name of this machine, and of the process number space where the system has several.

    Two containers of one machine can share its name and its boot, but not their process numbers.
    """
    try:
        space = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        space = ""
    return f"{socket.gethostname()} {space}".strip()


def _boot() -> str:
    """Identity of this boot of the machine; empty where the system does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time of a process in clock ticks since boot; empty where the system does not tell.

    A process that ended but was not collected yet (a zombie) counts as not running.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
