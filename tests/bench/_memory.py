"""Peak memory of a scoring run, in a process of its own, at two sizes of the plan."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench._canned import SPEC, CannedEndpoint
from tests.bench._common import items_in, ledger_at, scored
from tests.chat_server import ChatServer

_ROOT = Path(__file__).resolve().parents[2]
_CONCURRENCY = 64


def memory(cached: tuple[int, int], live: tuple[int, int]) -> None:
    """Print peaks for all-cached and for live runs, and how they grow with the plan."""
    print("\nPeak memory of a scoring process (MiB, VmHWM): answers in memory, then the run on top")
    print(f"{'':10}{'units':>9}{'answers':>10}{'run':>8}{'peak':>8}{'wall s':>9}")
    with tempfile.TemporaryDirectory() as at, ChatServer() as server:
        for name, sizes, spec in (("cached", cached, SPEC), ("live", live, server.spec())):
            peaks = []
            for units in sizes:
                folder = Path(at) / f"{name}-{units}"
                if name == "cached":
                    _child("fill", folder, units, spec)
                row = _child(name, folder, units, spec)
                peaks.append(row["peak"])
                before, peak = row["before"], row["peak"]
                print(f"{name:10}{units:>9}{before:>10.0f}{peak - before:>8.0f}"
                      f"{peak:>8.0f}{row['wall']:>9.1f}")  # fmt: skip
            grown = sizes[1] / sizes[0]
            print(
                f"{'':10}{grown:.0f} times the units take {peaks[1] / peaks[0]:.2f} times the peak"
            )


def _child(kind: str, folder: Path, units: int, spec: str) -> dict[str, float]:
    """What a process of its own says about one run."""
    arguments = ["-m", "tests.bench._memory", kind, str(folder), str(units), spec]
    done = subprocess.run(
        [sys.executable, *arguments], cwd=_ROOT, check=True, stdout=subprocess.PIPE
    )
    row: dict[str, float] = json.loads(done.stdout)
    return row


def _peak_mib() -> float:
    """The highest resident size of this process image so far.

    Not ru_maxrss: that survives exec, and would be the parent's.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM: memory is measured on Linux only")


def _run(kind: str, folder: Path, units: int, spec: str) -> dict[str, float]:
    """One scoring run and its peak."""
    import time

    ledger = ledger_at(folder)
    items, rubric = items_in(ledger, units)
    before, started = _peak_mib(), time.perf_counter()
    options: dict[str, Any] = {} if kind == "live" else {"endpoint": CannedEndpoint}
    outcome = asyncio.run(scored(ledger, items, rubric, spec, _CONCURRENCY, **options))
    wall = time.perf_counter() - started
    peak = _peak_mib()
    ledger.close()
    sent = 0 if kind == "cached" else units
    if outcome.sent != sent or outcome.scored != units:
        raise RuntimeError(f"{outcome.sent} sent and {outcome.scored} scored of {units}")
    return {"before": before, "peak": peak, "wall": wall}


if __name__ == "__main__":
    _kind, _folder, _units, _spec = sys.argv[1:]
    print(json.dumps(_run(_kind, Path(_folder), int(_units), _spec)))
