"""How long an alarm stays open after the model has recovered."""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Sequence

import numpy as np

from judge.drift import Baseline, DriftSettings, Floats, Night, NoiseModel, follow

QUESTIONS, BASELINE, BEFORE, AFTER = 45, 10, 20, 200
LEVEL = 0.5


def recovery(drop: float, lasted: int, series: int, seed: int) -> list[float]:
    """Per series with an alarm, the nights from the recovery until it closed; inf where it did not.

    Normal noise of SD 0.12, no anchors; the drop is on the first criterion, and on the overall by
    its share.
    """
    noise = NoiseModel.from_sd(0.12, QUESTIONS)
    begin, end = BASELINE + BEFORE, BASELINE + BEFORE + lasted
    waits = []
    for one in range(series):
        rng = np.random.default_rng([seed, one])
        scores = LEVEL + noise.draw((end + AFTER,), rng).values
        scores[begin:end] -= drop * noise.on_one()
        watches = follow(_nights(scores, noise.metrics), [_baseline()], [], DriftSettings())
        if not any(watch.alarms for watch in watches[begin:end]):
            continue
        closed = [at for at in range(end, end + AFTER) if not watches[at].alarms]
        waits.append(closed[0] - end + 1.0 if closed else np.inf)
    return waits


def _nights(scores: Floats, metrics: tuple[str, ...]) -> list[Night]:
    return [
        Night(
            date=_date(at), epoch="one", metrics=metrics, candidate=np.clip(row, 0, 1),
            question_ids=tuple(f"q{number}" for number in range(QUESTIONS)),
        )
        for at, row in enumerate(scores)
    ]  # fmt: skip


def _baseline() -> Baseline:
    nights = tuple(_date(at) for at in range(BASELINE))
    return Baseline(since=_date(BASELINE), nights=nights, epoch="one", by="bench")


def _date(at: int) -> str:
    return (datetime.date(2026, 1, 1) + datetime.timedelta(days=at)).isoformat()


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nightly._recovery")
    parser.add_argument("--series", type=int, default=100, help="series per row")
    parser.add_argument("--seed", type=int, default=11)
    asked = parser.parse_args(arguments)
    print("| drop | nights it lasted | alarms | 25 % | median | 75 % | not closed |")
    print("|---:|---:|---:|---:|---:|---:|---:|")
    for drop, lasted in ((0.10, 10), (0.10, 30), (0.05, 30)):
        waits = recovery(drop, lasted, asked.series, asked.seed)
        found = np.quantile(waits, [0.25, 0.5, 0.75], method="higher")
        shown = " | ".join("never" if np.isinf(value) else f"{value:.0f}" for value in found)
        print(
            f"| {drop:.2f} | {lasted} | {len(waits)} | {shown} | {np.isinf(waits).mean():.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
