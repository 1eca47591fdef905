"""``python -m tests.bench``: run benchmarks and print their tables."""

from __future__ import annotations

import argparse
import os
import platform
import time

import openai

from tests import bench
from tests.bench._blend import blend
from tests.bench._cpu import cpu
from tests.bench._duplicates import contamination, duplicates
from tests.bench._memory import memory
from tests.bench._packing import packing
from tests.bench._scrubbing import scrubbing
from tests.bench._throughput import throughput
from tests.bench._tokens import tokens
from tests.bench._training import training

JUDGE = ("throughput", "cpu", "memory", "tokens")
SFT = ("packing", "duplicates", "contamination", "scrubbing", "blend", "training")
PARTS = (*JUDGE, *SFT)


def main() -> None:
    """Run the parts that are named, or all, and print their tables."""
    parser = argparse.ArgumentParser(description=bench.__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--calls", type=int, default=2500, help="of throughput and cpu")
    parser.add_argument("--concurrency", type=int, default=64, help="of throughput and cpu")
    parser.add_argument("--repeats", type=int, default=3, help="of throughput and cpu")
    parser.add_argument("--rounds", type=int, default=7, help="of training")
    parser.add_argument("--threads", type=int, nargs="+", default=[1], help="of training")
    parser.add_argument("--live-units", type=int, default=30_000, help="the larger live memory run")
    parser.add_argument("--judge", metavar="SPEC", help="tokens: a real server instead of ours")
    parser.add_argument("--answers", type=int, help="tokens: only the first so many answers")
    parser.add_argument(
        "--rows", type=int, nargs="+", default=[100_000, 1_000_000], help="of packing and blend"
    )
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there is {', '.join(PARTS)}")
    parts = options.parts or PARTS
    print(f"Python {platform.python_version()}, openai {openai.__version__}, "
          f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
          f"{time.strftime('%Y-%m-%d')}")  # fmt: skip
    for part in parts:
        started = time.perf_counter()
        if part in SFT:
            _sft(part, options)
        else:
            _judge(part, options)
        print(f"[{part}: {time.perf_counter() - started:.0f} s]", flush=True)


def _judge(part: str, options: argparse.Namespace) -> None:
    if part == "throughput":
        for latency_s in (0.25, 0.1):
            throughput(options.calls, latency_s, options.concurrency, options.repeats)
    elif part == "cpu":
        cpu(options.calls, 0.1, options.concurrency, options.repeats)
    elif part == "memory":
        memory((10_000, 100_000), (10_000, options.live_units))
    else:
        tokens(options.judge, options.answers)


def _sft(part: str, options: argparse.Namespace) -> None:
    if part == "packing":
        packing(options.rows)
    elif part == "duplicates":
        duplicates()
    elif part == "contamination":
        contamination()
    elif part == "scrubbing":
        scrubbing()
    elif part == "blend":
        blend(options.rows)
    else:
        training(options.rounds, options.threads)


if __name__ == "__main__":
    main()
