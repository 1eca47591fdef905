"""Run a command and leave nothing of it behind, however the one who wanted it ends.

``python _guard.py GRACE_S COMMAND...`` runs the command in a session of its own. When standard
input closes (its writer closed it, or died, even by SIGKILL) or SIGTERM arrives, the command's
group gets SIGTERM and, ``GRACE_S`` seconds later, SIGKILL. The exit status is the command's;
128 + n stands for signal n. This file imports nothing of ours: it is run by its path and starts
at once.

On Linux the guard also adopts what the command's processes leave behind, in whatever session,
and ends that too; and the command dies if the guard is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

_SET_PDEATHSIG, _SET_CHILD_SUBREAPER = 1, 36
_LINUX = sys.platform == "linux"


def _prctl(option: int, value: int) -> None:
    if _LINUX and ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _die_with_the_guard() -> None:
    _prctl(_SET_PDEATHSIG, signal.SIGKILL)


def _reap(command: int) -> int | None:
    """Collect what has ended; the command's exit status if it is among them."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status
        if pid == 0:
            return status
        if pid == command:
            code = os.waitstatus_to_exitcode(ended)
            status = code if code >= 0 else 128 - code


def _children() -> list[int]:
    """The processes whose parent we are (adopted ones too); none where /proc is missing."""
    ours = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # The name, in brackets, may hold anything; state and parent follow it.
            parent = stat.read_text(errors="replace").rpartition(")")[2].split()[1]
        except (OSError, IndexError):
            continue  # it ended while we looked
        if int(parent) == os.getpid():
            ours.append(int(stat.parent.name))
    return ours


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)


def _end(command: int, status: int | None, grace_s: float, wake: int) -> int:
    """End the command and whatever it started; its exit status."""
    if status is None:
        _signal_group(command, signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while status is None and (left := deadline - time.monotonic()) > 0:
            select.select([wake], [], [], left)
            _drain(wake)
            status = _reap(command)
    _signal_group(command, signal.SIGKILL)
    while True:
        ended = _reap(command)
        status = ended if status is None else status
        left_over = _children()
        if status is not None and not left_over:
            return status
        for pid in left_over:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _drain(wake: int) -> bytes:
    try:
        return os.read(wake, 4096)
    except BlockingIOError:
        return b""


def main() -> int:
    """Start the command, wait for a reason to end, end it."""
    grace_s, command = float(sys.argv[1]), sys.argv[2:]
    wake, woken = os.pipe()
    for end in (wake, woken):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    _prctl(_SET_CHILD_SUBREAPER, 1)
    process = subprocess.Popen(  # noqa: S603 - the command is our caller's own
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=_die_with_the_guard,  # noqa: PLW1509 - one thread, so nothing can deadlock
    )
    status: int | None = None
    while status is None:
        ready = select.select([sys.stdin, wake], [], [])[0]
        signals = _drain(wake) if wake in ready else b""
        status = _reap(process.pid)
        closed = sys.stdin in ready and not os.read(sys.stdin.fileno(), 1)
        if closed or signal.SIGTERM in signals:
            break
    status = _end(process.pid, status, grace_s, wake)
    process.returncode = status
    return status


if __name__ == "__main__":
    sys.exit(main())
