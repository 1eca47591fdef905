"""A server process of ours: started under a guard, watched, and ended without a trace."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Event, Thread

from judge.errors import EndpointError

GRACE_S = 10.0
"""Seconds between SIGTERM and SIGKILL."""
_LOOK_S = 1.0
_GUARD = Path(__file__).with_name("_guard.py")
_MOST_LOG = 1 << 20
_TAIL_LINES, _ERRORS, _WIDTH = 10, 5, 400
_ERROR = re.compile(r"(?<![\w`.])(\w+\.)*[A-Z]\w*(Error|Exception): \S.*")
"""How Python ends a trace, behind whatever a logger writes before it."""


class ServerProcess:
    """A command that runs until it is stopped; what it writes goes to a log file.

    It runs in a session of its own, so that Ctrl-C reaches only us, and ends with us even if we
    are killed: the guard between us notices that its standard input closed. ``name`` is how
    messages call it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
    ) -> None:
        self.name = name
        self._stopping = Event()
        self.keep_log = False
        """Whether the log stays when the server is stopped; it does if the server failed."""
        self._folder = Path(tempfile.mkdtemp(prefix="plumbline-server-"))
        self.log = self._folder / "server.log"
        try:
            with self.log.open("wb") as log:
                self._guard = subprocess.Popen(  # noqa: S603 - built from a checked SPEC, no shell
                    [sys.executable, "-I", str(_GUARD), str(GRACE_S), *command],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                    start_new_session=True,
                )
        except OSError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise EndpointError(f"{name}: cannot be started ({error}).") from error

    def failure(self, wait_s: float = 0.0) -> str | None:
        """What happened if the server ended by itself (within ``wait_s`` from now), else None."""
        try:
            status = self._guard.wait(timeout=wait_s)
        except subprocess.TimeoutExpired:
            return None
        if self._stopping.is_set():
            return None
        return f"{self.name} ended by itself ({_ending(status)}).\n{self.account()}"

    def account(self) -> str:
        """The errors that the log names, its end, and where it is.

        A server of several processes ends with a long trace that points to "the cause above".
        """
        lines = self._lines()
        named = [found.group() for line in lines if (found := _ERROR.search(line))]
        errors = list(dict.fromkeys(named))[:_ERRORS]
        parts = []
        if errors:
            parts += ["Errors in its log:", *(f"  {error[:_WIDTH]}" for error in errors)]
        end = [f"  {line[:_WIDTH]}" for line in lines[-_TAIL_LINES:]] or ["  (it is empty)"]
        return "\n".join([*parts, f"The end of its log ({self.log}):", *end])

    def last_line(self) -> str:
        """The last line of the log, shortened; empty while there is none."""
        lines = self._lines()
        return lines[-1][:100] if lines else ""

    def stop(self) -> None:
        """End the server: SIGTERM, and SIGKILL after the grace. The log goes unless it failed."""
        keep = self.failure() is not None or self.keep_log
        self._stopping.set()
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        try:
            self._guard.wait(timeout=GRACE_S + 10.0)
        except subprocess.TimeoutExpired:
            # The server dies with its guard.
            os.killpg(self._guard.pid, signal.SIGKILL)
            self._guard.wait()
        if not keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    def watch(self, say: Callable[[str], None]) -> None:
        """From now on, say at once (from a thread) when the server ends by itself."""

        def look() -> None:
            while not self._stopping.wait(_LOOK_S):
                if ended := self.failure():
                    say(ended)
                    return

        Thread(target=look, name=f"watch {self.name}", daemon=True).start()

    def _lines(self) -> list[str]:
        """The lines of the log's last mebibyte, without empty ones."""
        with self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - _MOST_LOG))
            text = log.read().decode(errors="replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]


def _ending(status: int) -> str:
    """An exit status in words; 128 + n is the guard's word for signal n."""
    number = status - 128 if status > 128 else -status
    if number <= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"exit status {status}"
    why = "; the system may have run out of memory" if number == signal.SIGKILL else ""
    return f"killed by {name}{why}"
