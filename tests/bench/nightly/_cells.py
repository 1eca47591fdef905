"""Simulated years by kind of noise, as rows of tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from judge.drift import DriftSettings, NoiseModel, YearsReport, simulate_years
from judge.drift._years import clopper_pearson
from tests.bench.nightly._real import JUDGES, pools

QUESTIONS, METRICS, CORRELATION, ANCHORS = 45, 9, 0.5, 60
SDS = (0.08, 0.12, 0.16, 0.20)
DROPS = (0.02, 0.03, 0.05, 0.08)
SETTINGS = DriftSettings()
HIGHEST_BOUND = 0.07
MOST_NIGHTS = {0.05: 7, 0.03: 25}
"""At SD .12, a drop of one criterion: the median delay that is aimed at."""


class Row(NamedTuple):
    """A kind of noise: false alarms as counts of years, and the delays of its reports."""

    name: str
    years: int
    gate: int
    detector: int
    either: int
    reports: tuple[YearsReport, ...]

    @property
    def bound(self) -> float:
        """The upper end of the two-sided 95 % Clopper-Pearson interval."""
        return clopper_pearson(self.either, self.years)[1]

    def delay(self, spread: str, drop: float) -> str:
        """The median delay, over several reports its median; with the share found where < 99 %."""
        found = [
            one
            for report in self.reports
            for one in report.drops
            if (one.spread, one.drop) == (spread, drop)
        ]
        median = float(np.median([one.median for one in found]))
        share = float(np.mean([one.found for one in found]))
        nights = "never" if math.isinf(median) else f"{median:.0f}"
        return nights if share >= 0.99 else f"{nights} ({math.floor(100 * share)} %)"


def normal(years: int, seed: int) -> list[Row]:
    """Normal noise at every SD, with anchors as by default and without any."""
    return [
        _row(
            f"SD {sd:.2f}, {f'{anchors} anchors' if anchors else 'no anchors'}",
            [NoiseModel.from_sd(sd, QUESTIONS, METRICS, CORRELATION, anchors=anchors)],
            years,
            (seed, at, anchors),
        )
        for anchors in (ANCHORS, 0)
        for at, sd in enumerate(SDS)
    ]


def shocked(years: int, seed: int) -> list[Row]:
    """A shock that all questions of a night share, of its own for every metric, at SD .12."""
    return [
        _row(
            f"shock {shock:.2f}, {f'{anchors} anchors' if anchors else 'no anchors'}",
            [NoiseModel.from_sd(0.12, QUESTIONS, METRICS, shock=shock, anchors=anchors)],
            years,
            (seed, 10 + at, anchors),
        )
        for anchors in (ANCHORS, 0)
        for at, shock in enumerate((0.01, 0.02))
    ]


def ceiling(years: int, seed: int) -> list[Row]:
    """Criteria at their ceiling: an answer scores 1, and with a small probability much less."""
    return [
        _row(f"{share:.1%} of answers lose {loss:g}", [_rare(share, loss, seed)], years, (seed, at))
        for at, (share, loss) in enumerate(
            ((0.005, 1.0), (0.01, 1.0), (0.02, 1.0), (0.05, 1.0), (0.05, 0.25)), start=20
        )
    ]


def real(folder: Path, years: int, seed: int) -> Iterable[Row]:
    """Real judges' repeated samples over the systems of the data; one sample a night, and three."""
    for samples in (1, 3):
        for at, judges in enumerate(JUDGES, start=30):
            rng = np.random.default_rng((seed, at, samples))
            models = [noise for _, noise in pools(folder, judges, QUESTIONS, samples, rng)]
            name = " + ".join(judge.split("/")[1] for judge in judges)
            yield _row(f"{name}, k = {samples}", models, years, (seed, at, samples, 1))


def _rare(share: float, loss: float, seed: int) -> NoiseModel:
    """Scores of 400 nights; every question fails as often as chance has it fail in those."""
    rng = np.random.default_rng((seed, 7))
    scores = np.where(rng.random((400, QUESTIONS, METRICS - 1)) < share, 1 - loss, 1.0)
    scores = np.concatenate([scores, scores.mean(axis=-1, keepdims=True)], axis=-1)
    names = [f"criterion {at + 1}" for at in range(METRICS - 1)]
    weights = [1.0, *[0.0] * (METRICS - 2), 1 / (METRICS - 1)]
    return NoiseModel.from_pool(scores, [*names, "overall"], weights)


def _row(name: str, models: Sequence[NoiseModel], years: int, seed: tuple[int, ...]) -> Row:
    """The years are shared out evenly between the models."""
    sizes = [years // len(models) + (at < years % len(models)) for at in range(len(models))]
    reports = tuple(
        simulate_years(
            noise, SETTINGS, years=size, drops=DROPS, rng=np.random.default_rng((*seed, at))
        )
        for at, (noise, size) in enumerate(zip(models, sizes, strict=True))
    )
    alarms = [report.false_alarms for report in reports]
    return Row(
        name=name,
        years=years,
        gate=round(sum(one.gate * one.years for one in alarms)),
        detector=round(sum(one.detector * one.years for one in alarms)),
        either=round(sum(one.either * one.years for one in alarms)),
        reports=reports,
    )


def print_rows(title: str, rows: Iterable[Row]) -> list[Row]:
    """Print a table of false alarms and delays as its rows come in; return the rows."""
    print(f"\n### {title}\n")
    heads = ("noise", "gate", "detector", "either", "upper bound")
    heads += tuple(f"{drop:g} on one" for drop in DROPS)
    heads += tuple(f"{drop:g} on all" for drop in DROPS)
    print("| " + " | ".join(heads) + " |\n|---" + "|---:" * (len(heads) - 1) + "|", flush=True)
    done = []
    for row in rows:
        shares = (f"{count / row.years:.2%}" for count in (row.gate, row.detector, row.either))
        delays = (row.delay(spread, drop) for spread in ("one", "all") for drop in DROPS)
        print(f"| {row.name} | " + " | ".join((*shares, f"{row.bound:.2%}", *delays)) + " |")
        done.append(row)
    return done
