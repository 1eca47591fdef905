"""A fake judge with planted biases, and what the probes make of it.

``python -m tests.probe_simulation`` prints the table of `docs/probes.md`: for each plant the mean
error of the estimate, the coverage of its intervals and the shares of the three verdicts, over many
simulated studies. The judge is linear,

    score = quality + sum of planted effects + noise,

and unless said otherwise its scores stay inside the scale, so that the truth is the plant itself.
In the ceilinged cells scores are levels of 0..5, most of them 5, and the truth is the mean of the
population from which the studies are drawn.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from judge.differences import paired_differences
from judge.probes._catalogue import FALLS, SAME, SPARED
from judge.probes._statistics import CONFIDENCE, Outcome, Region, halo, shifts, slot_shifts

Floats = NDArray[np.float64]
Make = Callable[[np.random.Generator, tuple[int, ...]], Floats]

NOISE = 0.15
"""SD of one judgment: about three quarters of a level."""


@dataclass(frozen=True)
class Plant:
    """A plant: how the shifts of questions come about, their true mean, and what is wanted."""

    name: str
    truth: float
    make: Make
    region: Region

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Cell:
    """What many studies of a plant found."""

    name: str
    n: int
    truth: float
    error: float
    """Mean of the estimates minus the truth."""
    coverage: dict[float, float]
    """Confidence → share of intervals that hold the truth."""
    outcomes: dict[str, float]
    """Verdict → share of studies."""
    half_width: float
    """Mean half width of the 90 % intervals."""


def noise(rng: np.random.Generator, shape: tuple[int, ...], samples: int = 1) -> Floats:
    """The difference of two judgments' noise, each a mean over samples."""
    return rng.normal(0, NOISE * np.sqrt(2 / samples), shape)


def constant(effect: float, samples: int = 1) -> Make:
    """The change moves every answer by the same."""
    return lambda rng, shape: np.clip(effect + noise(rng, shape, samples), -1, 1)


def length_effect(per_log: float) -> Make:
    """Padding by 30 to 70 %: the judge pays ``per_log`` for every unit of log length."""

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        longer = np.log(rng.uniform(1.3, 1.7, shape))
        return np.clip(per_log * longer + noise(rng, shape), -1, 1)

    return make


def mean_log_growth() -> float:
    """E ln u for u uniform on [1.3, 1.7]."""
    low, high = 1.3, 1.7
    return float((high * np.log(high) - low * np.log(low)) / (high - low) - 1)


def scattered(effect: float, spread: float) -> Make:
    """The change moves answers by different amounts."""
    return lambda rng, shape: np.clip(rng.normal(effect, spread, shape) + noise(rng, shape), -1, 1)


CEILING = (0.01, 0.01, 0.02, 0.04, 0.12, 0.80)
"""Shares of the levels 0..5 of answers on a criterion at its ceiling."""


def ceilinged(moved: float, steps: int) -> Make:
    """Levels 0..5, most 5; a share of the answers loses or gains levels, and the judge wavers.

    Both judgments of an answer waver independently: 5 % go one level down, 5 % one up, within the
    scale. ``moved`` of the changed answers shift by ``steps`` levels, within the scale.
    """

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
        level = rng.choice(6, size=shape, p=CEILING)
        changed = np.where(rng.random(shape) < moved, np.clip(level + steps, 0, 5), level)
        return (waver(rng, changed) - waver(rng, level)) / 5

    return make


def waver(rng: np.random.Generator, level: NDArray[np.int64]) -> NDArray[np.int64]:
    """A judgment of a level: 5 % one lower, 5 % one higher, within 0..5."""
    u = rng.random(level.shape)
    return np.clip(level - (u < 0.05) + (u > 0.95), 0, 5)


def ceilinged_truth(moved: float, steps: int) -> float:
    """The exact mean shift of `ceilinged`."""

    def judged(level: int) -> float:
        return 0.9 * level + 0.05 * max(level - 1, 0) + 0.05 * min(level + 1, 5)

    return sum(
        share * moved * (judged(min(max(level + steps, 0), 5)) - judged(level)) / 5
        for level, share in enumerate(CEILING)
    )


PLANTS = (
    Plant("nothing planted", 0.0, constant(0.0), SAME),
    Plant("nothing planted, 4 samples", 0.0, constant(0.0, 4), SAME),
    Plant("order of the levels +0.05", 0.05, constant(0.05), SAME),
    Plant("length +0.2 per log unit", 0.2 * mean_log_growth(), length_effect(0.2), SAME),
    Plant("made-up source +0.10", 0.10, constant(0.10), SAME),
    Plant("target falls by 0.30 (scattered)", -0.30, scattered(-0.30, 0.2), FALLS),
    Plant("target falls by 0.05 only", -0.05, constant(-0.05), FALLS),
    Plant("spill-over of 0.02", -0.02, constant(-0.02), SPARED),
    Plant("ceiling, nothing planted", 0.0, ceilinged(0.0, 0), SAME),
    Plant("ceiling, 10 % lose a level", ceilinged_truth(0.1, -1), ceilinged(0.1, -1), SAME),
    Plant("ceiling, 25 % lose two levels", ceilinged_truth(0.25, -2), ceilinged(0.25, -2), SAME),
)


def study(plant: Plant, n: int, runs: int, seed: int = 0, block: int = 250) -> Cell:
    """Many studies of ``n`` questions; every block of studies has bootstrap draws of its own."""
    rng = np.random.default_rng([seed, n, *plant.name.encode()])
    values: list[float] = []
    widths: list[float] = []
    covered: dict[float, list[bool]] = {0.90: [], 0.95: []}
    verdicts: list[Outcome] = []
    for start in range(0, runs, block):
        matrix = plant.make(rng, (n, min(block, runs - start)))
        for interval in paired_differences(matrix, confidence=0.95, rng=rng):
            assert interval is not None
            covered[0.95].append(interval.low <= plant.truth <= interval.high)
        regions = [plant.region] * matrix.shape[1]
        for shift in shifts(matrix, regions, rng=rng, draws=2000):
            assert shift is not None and shift.outcome is not None
            covered[0.90].append(shift.low <= plant.truth <= shift.high)
            values.append(shift.value)
            widths.append((shift.high - shift.low) / 2)
            verdicts.append(shift.outcome)
    return Cell(
        name=plant.name,
        n=n,
        truth=plant.truth,
        error=float(np.mean(values)) - plant.truth,
        coverage={level: float(np.mean(found)) for level, found in covered.items()},
        outcomes={outcome.value: verdicts.count(outcome) / runs for outcome in Outcome},
        half_width=float(np.mean(widths)),
    )


@dataclass(frozen=True)
class HaloCell:
    """What many studies made of a planted halo."""

    truth: float
    error: float
    coverage: float
    stated: float
    """Share of studies in which the targeted criteria surely moved, so that a halo is stated."""


def halo_study(factor: float, n: int, runs: int, seed: int = 0) -> HaloCell:
    """Targeted falls of 0.3 on average; the seven other criteria follow by ``factor`` of it."""
    rng = np.random.default_rng([seed, n, round(100 * factor)])
    found = []
    for _ in range(runs):
        effect = rng.normal(-0.3, 0.15, n)
        target = np.clip(effect + noise(rng, (n,)), -1, 1)
        others = np.clip(factor * effect + noise(rng, (7, n)), -1, 1).mean(axis=0)
        found.append(halo(target, others, rng=rng, confidence=0.95, draws=1000))
    stated = [each for each in found if each is not None]
    return HaloCell(
        truth=factor,
        error=float(np.mean([each.value for each in stated])) - factor,
        coverage=float(np.mean([each.low <= factor <= each.high for each in stated])),
        stated=len(stated) / runs,
    )


@dataclass(frozen=True)
class RotationCell:
    """What rotating over samples leaves of an order bias."""

    samples: int
    left: float
    """Mean error of the mean score over the samples."""


def rotation(bias: float, samples: int, n: int = 60, runs: int = 500) -> RotationCell:
    """Levels listed upwards cost ``bias`` / 2 and downwards earn it; odd samples list downwards."""
    rng = np.random.default_rng([samples, 7])
    quality = rng.uniform(0.3, 0.7, (runs, n, 1))
    listing = np.where(np.arange(samples) % 2 == 1, bias / 2, -bias / 2)
    scores = quality + listing + rng.normal(0, NOISE, (runs, n, samples))
    return RotationCell(samples, float((scores.mean(axis=2, keepdims=True) - quality).mean()))


def slot_study(slope: float, order_bias: float, n: int, runs: int) -> tuple[Floats, Floats]:
    """Planted and mean recovered effects of the slots of a call with eight criteria.

    Slot i adds slope (1/2 - i/7); the levels' order adds ±``order_bias`` on top, which the plan is
    to cancel. The planted effects are centred already.
    """
    rng = np.random.default_rng([11, n])
    criteria = samples = 8
    slots = (np.arange(criteria)[None, :] - np.arange(samples)[:, None]) % criteria
    effect = slope * (0.5 - np.arange(criteria) / (criteria - 1))
    listing = np.where(np.arange(samples) % 2 == 1, order_bias, -order_bias)[:, None]
    found = []
    for _ in range(runs):
        quality = rng.uniform(0.3, 0.7, (n, 1, criteria))
        spread = rng.normal(0, NOISE, (n, samples, criteria))
        found.append(np.nanmean(slot_shifts(quality + effect[slots] + listing + spread, slots), 0))
    return effect, np.mean(found, axis=0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="What the probes make of planted biases.")
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print(f"{runs} simulated studies per row; verdicts from {CONFIDENCE:.0%} intervals\n")
    print("| plant | questions | truth | mean error | 95 % covers | 90 % covers | half width "
          "| pass | fail | inconclusive |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|")
    for plant in PLANTS:
        for n in (30, 60, 200, 600):
            cell = study(plant, n, runs)
            shares = " | ".join(f"{cell.outcomes[outcome.value]:.3f}" for outcome in Outcome)
            print(
                f"| {plant.name} | {n} | {cell.truth:+.4f} | {cell.error:+.4f} "
                f"| {cell.coverage[0.95]:.3f} | {cell.coverage[0.90]:.3f} "
                f"| {cell.half_width:.3f} | {shares} |"
            )
    print("\n| halo planted | questions | mean error | 95 % covers |")
    print("|---|---|---|---|")
    for factor in (0.0, 0.3, 0.8):
        found = halo_study(factor, 30, runs)
        print(f"| {factor} | 30 | {found.error:+.4f} | {found.coverage:.3f} |")
    print("\n| order bias of 0.05, samples | error left |")
    print("|---|---|")
    for samples in (1, 2, 3, 4):
        print(f"| {samples} | {rotation(0.05, samples).left:+.4f} |")
    planted, recovered = slot_study(0.1, 0.05, 30, 200)
    worst = float(np.abs(planted - recovered).max())
    print(
        f"\nEight slots, +0.05 to -0.05 with an order bias of 0.05 on top: worst error {worst:.4f}"
    )


if __name__ == "__main__":
    main()
