"""Who moved? Series with a planted shift of the judge, a planted drop of the model, or both.

Every series has a baseline of ten nights, then ten unchanged nights, then the change, and is
followed by the same fold that a real one is. A name is *wrong* where the judge is named and only
the model moved; where the model is named and only the judge moved; and where both moved and the
model alone is named, or the judge with the claim that the model did not move. One wrong night
makes a series wrong, also where it is put right later.
"""

from __future__ import annotations

import argparse
import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy import stats  # type: ignore[import-untyped]

from judge.drift import Baseline, Cause, DriftSettings, Night, Watch
from judge.drift._baseline import BaselineStats, stats_of
from judge.drift._detector import family, follow_z, threshold
from judge.drift._follow import follow
from judge.drift._records import Floats
from judge.drift._shift import judge_z
from judge.drift._watch_words import UNMOVED
from judge.gate import Decision

QUESTIONS, ANCHORS, SLICE, CRITERIA = 45, 60, 30, 8
BASELINE, BEFORE, AFTER = 10, 10, 30
METRICS = (*(f"criterion {at}" for at in range(1, CRITERIA + 1)), "overall")

_ARRAYS = ("means", "counts", "value", "s", "night", "se", "margin")

JUDGE_SHIFTS = (0.0, -0.02, -0.05, 0.03)
MODEL_DROPS = (0.0, 0.03, 0.05)


MODEL, JUDGE, JUDGE_ALONE, BOTH = "model", "judge", "judge, model unmoved", "both"
MODEL_AT_LEAST, OPEN = "model, judge open", "open"
UNKNOWN, SILENT = "unknown", "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One combination: the judge's shift, the model's drop, and how noisy each is.

    ``judge_sd`` is that of one verdict on the same answer, ``sd`` that of a question's score from
    night to night (other answers, other verdicts). ``spread`` is the SD of the judge's shift over
    answers, as a share of the shift. ``everywhere``: all criteria move, else the first alone.
    """

    judge: float
    model: float
    judge_sd: float
    sd: float = 0.12
    spread: float = 0.5
    everywhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A cell's outcome.

    ``last`` gives the share of the series by what is said on the last night; ``wrong`` is the share
    that says something wrong on any night, ``wrong_high`` its 95 % upper bound (Clopper-Pearson).
    """

    cell: Cell
    series: int
    last: Mapping[str, float]
    wrong: float
    wrong_high: float
    nights_to_name: float | None
    """Median nights from the change to the final name, of the series that got one."""


def planted(cell: Cell, rng: np.random.Generator, *, after: int = AFTER) -> list[Night]:
    """A series with a change after `BASELINE` + `BEFORE` nights."""
    size = np.zeros(CRITERIA)
    size[:] = cell.everywhere
    size[0] = 1.0
    total = BASELINE + BEFORE + after
    levels = {
        "candidate": rng.normal(0.7, 0.1, (QUESTIONS, CRITERIA)),
        "anchors": rng.normal(0.6, 0.15, (ANCHORS, CRITERIA)),
        "slice": rng.normal(0.7, 0.15, (SLICE, CRITERIA)),
    }
    shifts = {
        name: cell.judge * size * (1 + cell.spread * rng.normal(size=level.shape))
        for name, level in levels.items()
    }
    before = levels["slice"] + _noise(rng, (SLICE, CRITERIA), cell.judge_sd)
    found = []
    for at in range(total):
        moved = at >= BASELINE + BEFORE
        scores = {
            name: level
            + moved * shifts[name]
            + _noise(rng, level.shape, cell.sd if name == "candidate" else cell.judge_sd)
            for name, level in levels.items()
        }
        scores["candidate"] -= moved * cell.model * size
        found.append(
            Night(
                date=_date(at),
                epoch="one",
                metrics=METRICS,
                question_ids=tuple(f"q{row}" for row in range(QUESTIONS)),
                candidate=_with_overall(scores["candidate"]),
                anchor_ids=tuple(f"a{row}" for row in range(ANCHORS)),
                anchors=_with_overall(scores["anchors"]),
                slice_ids=tuple(f"s{row}" for row in range(SLICE)),
                slice_before=_with_overall(before),
                slice_now=_with_overall(scores["slice"]),
            )
        )
    return found


def baseline() -> Baseline:
    """The first nights."""
    nights = tuple(_date(at) for at in range(BASELINE))
    return Baseline(since=_date(BASELINE), nights=nights, epoch="one", by="bench")


def attribution_row(
    cell: Cell, *, series: int, seed: int, settings: DriftSettings | None = None
) -> Row:
    """Follow ``series`` series of a cell."""
    settings = settings or DriftSettings()
    last: Counter[str] = Counter()
    wrong, delays = 0, []
    for at in range(series):
        rng = np.random.default_rng([seed, at])
        watches = follow(planted(cell, rng), [baseline()], [], settings)
        said = [_said(watch) for watch in watches]
        last[said[-1]] += 1
        wrong += any(_wrong(cell, one) for one in said)
        if said[-1] in {MODEL, JUDGE, JUDGE_ALONE, BOTH}:
            delays.append(_named_after(watches))
    return Row(
        cell=cell,
        series=series,
        last={name: count / series for name, count in last.items()},
        wrong=wrong / series,
        wrong_high=_upper(wrong, series),
        nights_to_name=float(np.median(delays)) if delays else None,
    )


def cells() -> list[Cell]:
    """The 2 × 2 table at several sizes."""
    return [
        Cell(judge=judge, model=model, judge_sd=judge_sd)
        for judge_sd in (0.05, 0.10)
        for judge in JUDGE_SHIFTS
        for model in MODEL_DROPS
        if judge or model
    ]


def attribution_table(*, series: int = 1000, seed: int = 8, jobs: int = 1) -> list[Row]:
    """All cells, ``jobs`` of them at a time."""
    with ProcessPoolExecutor(jobs) as pool:
        return list(pool.map(partial(attribution_row, series=series, seed=seed), cells()))


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeYears:
    """How often a judge that did not move raises its alarm within a year; ``high`` as above.

    ``shock`` is the SD of a shift common to a night's verdicts; ``levels`` are those of the scale
    (0: scores are not rounded).
    """

    judge_sd: float
    shock: float
    levels: int
    years: int
    rate: float
    high: float


def judge_years(
    judge_sd: float, *, shock: float = 0.0, levels: int = 0, years: int = 2000, seed: int = 8,
) -> JudgeYears:  # fmt: skip
    """Simulated years of the anchors alone, with the detector of the judge."""
    settings = DriftSettings()
    limit = threshold(settings.nights, settings.judge_alpha)
    found, chunk = 0, 20
    for start_at in range(0, years, chunk):
        rng = np.random.default_rng([seed, start_at])
        nights = BASELINE + settings.nights
        shape = (chunk, nights, ANCHORS, CRITERIA)
        mean = rng.uniform(0.2, 1.0, (chunk, 1, ANCHORS, CRITERIA))
        common = rng.normal(size=(chunk, nights, ANCHORS, 1))
        noise = judge_sd * (0.5**0.5 * common + 0.5**0.5 * rng.normal(size=shape))
        mood = shock * rng.normal(size=(chunk, nights, 1, 1))
        scores = np.clip(mean + noise + mood, 0.0, 1.0)
        if levels:
            scores = np.round(scores * (levels - 1)) / (levels - 1)
        scores = np.concatenate([scores, scores.mean(axis=-1, keepdims=True)], axis=-1)
        base = stats_of(scores[:, :BASELINE], least_margin=settings.judge_margin)
        arrays = {name: np.expand_dims(getattr(base, name), 1) for name in _ARRAYS}
        beside = BaselineStats(**arrays, nights=base.nights)
        z = judge_z(scores[:, :BASELINE], scores[:, BASELINE:], beside, 0.0, settings.judge_margin)
        found += int((family(follow_z(z)) >= limit).any(axis=-1).sum())
    return JudgeYears(
        judge_sd=judge_sd,
        shock=shock,
        levels=levels,
        years=years,
        rate=found / years,
        high=_upper(found, years),
    )


def judge_table(*, years: int = 1000, seed: int = 8, jobs: int = 1) -> list[JudgeYears]:
    """Judges of different noise, with moods and without, on a continuous scale and six levels."""
    with ProcessPoolExecutor(jobs) as pool:
        started = [
            pool.submit(judge_years, sd, shock=shock, levels=levels, years=years, seed=seed)
            for levels in (0, 6)
            for sd in (0.05, 0.10)
            for shock in (0.0, 0.01)
        ]
        return [one.result() for one in started]


def table_text(rows: Sequence[Row]) -> str:
    """The table in Markdown."""
    shown = (MODEL, JUDGE, JUDGE_ALONE, BOTH, MODEL_AT_LEAST, OPEN, UNKNOWN, SILENT)
    lines = [
        f"| judge SD | judge | model | {' | '.join(shown)} | nights to the name | **wrong** | "
        "at most |",
        "|---|---|---|" + "---|" * (len(shown) + 3),
    ]
    for row in rows:
        shares = [_percent(row.last.get(name, 0.0)) for name in shown]
        delay = "" if row.nights_to_name is None else f"{row.nights_to_name:.0f}"
        cell = row.cell
        lines.append(
            f"| {cell.judge_sd:.2f} | {cell.judge:+.2f} | {-cell.model:+.2f} | "
            f"{' | '.join(shares)} | {delay} | {_percent(row.wrong)} | {_percent(row.wrong_high)} |"
        )
    return "\n".join(lines)


def judge_table_text(rows: Sequence[JudgeYears]) -> str:
    """The judge's false alarms in Markdown."""
    lines = [
        "| judge SD | night shock | scale | years | alarms | at most |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        scale = f"{row.levels} levels" if row.levels else "continuous"
        lines.append(
            f"| {row.judge_sd:.2f} | {row.shock:.2f} | {scale} | {row.years} | "
            f"{100 * row.rate:.1f} % | {100 * row.high:.1f} % |"
        )
    return "\n".join(lines)


def _upper(found: int, tried: int) -> float:
    return 1.0 if found == tried else float(stats.beta.ppf(0.95, found + 1, tried - found))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share else ""


def _said(watch: Watch) -> str:
    """What a night says about who moved."""
    match watch.cause:
        case Cause.NONE:
            return SILENT
        case Cause.MODEL:
            return MODEL
        case Cause.BOTH:
            return BOTH
        case Cause.JUDGE:
            unmoved = any(reason.startswith(UNMOVED) for reason in watch.reasons)
            return JUDGE_ALONE if unmoved else JUDGE
        case Cause.UNKNOWN:
            return UNKNOWN
        case _:
            # An alarm that is published says that the model got worse, whatever the judge did.
            return MODEL_AT_LEAST if watch.decision is Decision.REGRESS else OPEN


def _wrong(cell: Cell, said: str) -> bool:
    if cell.judge and cell.model:
        return said in {MODEL, JUDGE_ALONE}
    named_judge = said in {JUDGE, JUDGE_ALONE, BOTH}
    named_model = said in {MODEL, MODEL_AT_LEAST, BOTH}
    return (named_judge and not cell.judge) or (named_model and not cell.model)


def _named_after(watches: Sequence[Watch]) -> int:
    """Nights from the change to the first of the last run of nights with the final cause."""
    first = len(watches)
    while first > 0 and watches[first - 1].cause is watches[-1].cause:
        first -= 1
    return first - (BASELINE + BEFORE) + 1


def _noise(rng: np.random.Generator, shape: tuple[int, ...], sd: float) -> Floats:
    """Noise of the criteria, correlated by one half."""
    common = rng.normal(size=(shape[0], 1))
    return sd * (np.sqrt(0.5) * common + np.sqrt(0.5) * rng.normal(size=shape))


def _with_overall(scores: Floats) -> Floats:
    return np.concatenate([scores, scores.mean(axis=1, keepdims=True)], axis=1)


def _date(at: int) -> str:
    return (datetime.date(2026, 1, 1) + datetime.timedelta(days=at)).isoformat()


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.nightly._attribution")
    parser.add_argument("--series", type=int, default=1000, help="series per cell")
    parser.add_argument("--years", type=int, default=1000, help="judge years per row")
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    asked = parser.parse_args()
    rows = attribution_table(series=asked.series, seed=asked.seed, jobs=asked.jobs)
    print(table_text(rows))
    print()
    print(judge_table_text(judge_table(years=asked.years, seed=asked.seed, jobs=asked.jobs)))


if __name__ == "__main__":
    main()
