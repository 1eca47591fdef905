"""Several processes of one command on this machine, which end together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

_GRACE = 30.0
"""Seconds that processes have to end by themselves after one has."""
_LOOK = 0.2


def under_launcher() -> bool:
    """Whether a launcher (torchrun, deepspeed, ours) has started this process."""
    return "RANK" in os.environ


def gpus() -> int:
    """How many GPUs there are here; 1 without any."""
    import torch

    count: int = torch.cuda.device_count()
    return max(1, count)


def leave(code: int) -> NoReturn:
    """End one of several processes at once, when all it has to say is said.

    Threads of the communication library can abort a process that Python takes apart.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def launch(arguments: Sequence[str], processes: int) -> int:
    """Run ``python -m sft ARGUMENTS`` in several processes; the exit code of the first that failed.

    Signals reach all of them. When one has failed the others get some seconds to say what they
    know, and are then ended, so that none waits for a dead one.
    """
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    threads = str(max(1, (os.cpu_count() or 1) // processes))
    common = {
        "OMP_NUM_THREADS": threads,
        **os.environ,
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    running = [
        subprocess.Popen(  # noqa: S603 - ourselves
            [sys.executable, "-m", "sft", *arguments],
            env={**common, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            start_new_session=True,
        )
        for rank in range(processes)
    ]

    def pass_on(number: int, _frame: object) -> None:
        for process in running:
            if process.poll() is None:
                process.send_signal(number)

    before = {kind: signal.signal(kind, pass_on) for kind in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _watched(running)
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _watched(running: Sequence[subprocess.Popen[bytes]]) -> int:
    first = 0
    deadline = float("inf")
    while any(process.poll() is None for process in running) and time.monotonic() < deadline:
        failed = next((p.returncode for p in running if p.returncode), 0)
        if failed and not first:
            first, deadline = failed, time.monotonic() + _GRACE
        time.sleep(_LOOK)
    first = first or next((p.returncode for p in running if p.returncode), 0)
    # Killed by a signal: as a shell says it.
    return 128 - first if first < 0 else first
