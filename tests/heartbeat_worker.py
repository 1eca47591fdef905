"""A process that exchanges numbers with the others and gives signs of life.

Run by tests/test_heartbeat.py: ``python -m tests.heartbeat_worker MODE STEPS SECONDS STALL``. It
writes a line to stdout for every step that it made.

MODE:
    steps: STEPS exchanges of all processes, then a normal end.
    slow: the same; the process 1 sleeps for longer than SECONDS before every step.
    hang: the process 1 lives on and makes no step after the second.
    raise: the process 1 announces a failure at the third step; "raise0": the process 0.
    late: no exchanges; every process sleeps for RANK seconds and ends, the process 0 first.
    vanish: no exchanges; the processes sleep, and the process 0 ends without a word.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import timedelta

import torch

from sft.training._heartbeat import Heartbeat


def main() -> None:
    """Take part as the environment says."""
    mode, steps, seconds, stall = sys.argv[1], int(sys.argv[2]), *map(float, sys.argv[3:5])
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=600))
    heartbeat = Heartbeat(rank, world, seconds=seconds, stall_seconds=stall)
    say("ready")
    if mode == "vanish":
        time.sleep(2.0)
        if rank == 0:
            os._exit(0)
        time.sleep(600.0)
    if mode == "late":
        time.sleep(1.0 * rank)
    else:
        try:
            for step in range(1, steps + 1):
                make_step(mode, step, rank, seconds, heartbeat)
        except RuntimeError:
            heartbeat.wait_for_news()
            raise
    say("end")
    heartbeat.close()
    heartbeat.close()
    torch.distributed.destroy_process_group()


def make_step(mode: str, step: int, rank: int, seconds: float, heartbeat: Heartbeat) -> None:
    """One exchange, or what the mode does instead."""
    if mode == "slow" and rank == 1:
        time.sleep(1.5 * seconds)
    if mode == "hang" and rank == 1 and step == 3:
        time.sleep(600.0)
    if step == 3 and mode in {"raise", "raise0"} and rank == (mode == "raise"):
        heartbeat.announce_failure("the loss of step 3 is no number")
        os._exit(3)
    time.sleep(0.02)
    total = torch.ones(1)
    torch.distributed.all_reduce(total)
    heartbeat.beat(step)
    if step % 2 == 0:
        heartbeat.saved(step)
    say(f"{step} {total.item():.0f}")


def say(text: str) -> None:
    """A line for the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
