"""``python -m tests.bench.nightly [FOLDER]``: simulate years and print the tables."""

from __future__ import annotations

import argparse
import itertools
import platform
import sys
import time
from pathlib import Path

import numpy as np
import scipy  # type: ignore[import-untyped]

from tests.bench import nightly
from tests.bench.nightly._cells import (
    ANCHORS,
    HIGHEST_BOUND,
    MOST_NIGHTS,
    Row,
    ceiling,
    normal,
    print_rows,
    real,
    shocked,
)
from tests.bench.nightly._real import DATA

PARTS = ("normal", "shocked", "ceiling", "real")


def main() -> None:
    """Run the parts that are named, or all; exit with 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=nightly.__doc__)
    parser.add_argument("folder", type=Path, nargs="?", metavar="FOLDER", help="of real data")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--years", type=int, default=2000, help="per kind of noise")
    parser.add_argument("--seed", type=int, default=20260301)
    options = parser.parse_args()
    if options.folder and not (options.folder / f"{DATA}.parquet").is_file():
        parser.error(f"{options.folder} lacks {DATA}.parquet.")
    print(
        f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}, "
        f"seed {options.seed}, {options.years} years a row"
    )
    missed: list[str] = []
    for part in options.parts:
        started = time.perf_counter()
        missed += _part(part, options)
        print(f"[{part}: {time.perf_counter() - started:.0f} s]", flush=True)
    for line in missed:
        print(f"MISSED: {line}")
    sys.exit(1 if missed else 0)


def _part(part: str, options: argparse.Namespace) -> list[str]:
    years, seed = options.years, options.seed
    if part == "normal":
        rows = print_rows("Normal noise", normal(years, seed))
        late = [_too_late(row) for row in rows if row.name.startswith("SD 0.12")]
        return [*_too_high(rows), *itertools.chain(*late)]
    if part == "shocked":
        rows = print_rows("A shock shared by a night's questions", shocked(years, seed))
        # Ten nights alone cannot tell a shock well: shown without anchors, but not a target.
        return _too_high([row for row in rows if f"{ANCHORS} anchors" in row.name])
    if part == "ceiling":
        return _too_high(print_rows("Criteria at their ceiling", ceiling(years, seed)))
    if options.folder is None:
        print("\nNo FOLDER: the noise of real judges is left out.")
        return []
    return _too_high(print_rows("Real judges", real(options.folder, years, seed)))


def _too_high(rows: list[Row]) -> list[str]:
    return [
        f"{row.name}: false alarms in up to {row.bound:.2%} of the years"
        for row in rows
        if row.bound > HIGHEST_BOUND
    ]


def _too_late(row: Row) -> list[str]:
    return [
        f"{row.name}: a drop of {one.drop} on one criterion is found after {one.median:.0f} nights"
        for one in row.reports[0].drops
        if one.spread == "one" and one.median > MOST_NIGHTS.get(one.drop, np.inf)
    ]


if __name__ == "__main__":
    main()
