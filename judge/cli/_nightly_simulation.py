"""``judge nightly --simulate``: what a year of nights would alarm at, before it is switched on."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from judge.cli._dry_run import ledger_or_empty
from judge.cli._nightly import ledger_url_of
from judge.terminal import console, print_json, say

if TYPE_CHECKING:
    from judge.drift import NoiseModel, YearsReport
    from judge.nightly import Plan

_ASSUMED_SD = 0.12
LEAST_NIGHTS = 5
"""Nights below which a series' own noise is not known well enough to be replayed."""


def simulate(
    path: Path, *, sd: float | None, years: int, seed: int, ledger_url: str | None, as_json: bool
) -> None:
    """Replay years without a change and with drops; print what would be found, and how soon."""
    from judge.drift import simulate_years
    from judge.nightly import load_nightly, plan_of

    plan = plan_of(load_nightly(path))
    noise, source = _noise(plan, sd, ledger_url_of(plan.config, ledger_url))
    say(f"{years} years of {source}.")
    report = simulate_years(
        noise, plan.config.drift(), years=years, rng=np.random.default_rng(seed)
    )
    if as_json:
        print_json({"simulation": {"noise": source, "seed": seed, **_plain(asdict(report))}})
    _show(report)


def _noise(plan: Plan, sd: float | None, url: str) -> tuple[NoiseModel, str]:
    """The noise that is replayed, and where it is from."""
    from judge.drift import NoiseModel
    from judge.nightly import read_series, undisturbed

    config = plan.config
    metrics = len(plan.rubric.criteria) + 1
    if sd is not None:
        noise = NoiseModel.from_sd(sd, len(plan.questions), metrics, anchors=config.anchors.n)
        return noise, f"normal noise, SD {sd:g} of a question's score from night to night (--sd)"
    with ledger_or_empty(url, needed=False) as ledger:
        series = read_series(ledger, config.series)
    own = undisturbed(series, config)
    if len(own) >= LEAST_NIGHTS:
        weights = plan.weights.vector(stage=config.stage)
        first = plan.rubric.criteria[0].criterion
        share = [1.0, *[0.0] * (metrics - 2), weights.get(first, 0.0)]
        return (
            NoiseModel.from_nights(own, share),
            f"the noise of the series' own {len(own)} undisturbed nights ({own[0].date} to "
            f"{own[-1].date})",
        )
    noise = NoiseModel.from_sd(_ASSUMED_SD, len(plan.questions), metrics, anchors=config.anchors.n)
    return noise, (
        f"ASSUMED normal noise, SD {_ASSUMED_SD:g} of a question's score from night to night: the "
        f"series has {len(own)} undisturbed nights, and {LEAST_NIGHTS} are needed to know its own"
    )


def _show(report: YearsReport) -> None:
    from rich.table import Table

    alarms = report.false_alarms
    say(
        f"No change: a false alarm in {alarms.either:.1%} of the years "
        f"[{alarms.low:.1%}, {alarms.high:.1%}] (tonight's gate {alarms.gate:.1%}, the evidence of "
        f"many nights {alarms.detector:.1%})."
    )
    margins = report.margins
    widest = max(margins, key=lambda name: margins[name])
    say(
        f"Margins: drops of less than {min(margins.values()):.3f} to {margins[widest]:.3f} "
        f"({widest}) are not looked for: the baseline itself is not known better."
    )
    table = Table(title="How soon a drop is found (nights)", box=None)
    for name in ("drop", "on", "found in a year", "10 %", "median", "90 %"):
        table.add_column(name, justify="left" if name == "on" else "right")
    for one in report.drops:
        table.add_row(
            f"{one.drop:g}", "one criterion" if one.spread == "one" else "all of them",
            f"{one.found:.0%}", _nights(one.early), _nights(one.median), _nights(one.late),
        )  # fmt: skip
    console.print(table)


def _nights(value: float) -> str:
    return "–" if math.isinf(value) else f"{value:.0f}"


def _plain(value: Any) -> Any:
    """The report as JSON; a delay that never ended is null."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and math.isinf(value) else value
