"""The gate on real judges' scores: false alarms, power, and two common gates for contrast.

Two versions of a model that are no different are made in two ways. Where a judge scored each answer
twenty times (topical_chat), two disjoint random halves of its samples are the two versions. Where
it scored it once, the two versions are two systems whose answers to each question are exchanged
with probability one half: their difference is 0 by construction, its spread that of real answers.
Questions are then drawn with replacement. A drop is planted as failures: of a random share of the
answers the candidate loses half of the scale, or what they have.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from judge.gate import rejections, tails
from judge.planning import attainability, detectable_drop, normal_drop
from judge.records import OVERALL
from judge.study import Floats
from tests.bench.calibration._data import load
from tests.gate_fixture import gate_of, study_of_two

ALPHA = 0.05
QUESTIONS = 45
MARGIN, OVERALL_MARGIN = 0.04, 0.03
DROPS = (0.0, 0.04, 0.08, 0.12, 0.16, 0.20)
RARE = (0.02, 0.03, 0.04, 0.05)
_LOSS = 0.5
_CHECKED = 5

Draw = Callable[[int, np.random.Generator], tuple[Floats, Floats]]
"""(questions, generator) -> scores (n, c) of two versions of one model."""


class Source(NamedTuple):
    """Where no difference comes from."""

    name: str
    criteria: tuple[str, ...]
    draw: Draw


def gate(folder: Path, repeats: int = 2000) -> None:
    """Print all tables of docs/gate.md that are measured."""
    sources = [*_halves(folder, (1, 3, 10)), *_exchanged(folder)]
    _detectable()
    _rare_failures()
    _no_difference(sources, repeats)
    _at_the_margin(sources, repeats)
    _power(sources, repeats)


def _halves(folder: Path, sizes: tuple[int, ...]) -> Iterator[Source]:
    frame = pl.read_parquet(folder / "topical_chat.parquet").filter(
        pl.col("judge_name") == "gpt-3.5-turbo-0613/analyze_rate"
    )
    criteria = tuple(sorted(frame["criterion"].unique()))
    units: dict[tuple[str, str], dict[str, Floats]] = {}
    for item, system, criterion, scores, low, high in frame.select(
        "item_id", "system", "criterion", "judge_scores", "judge_scale_min", "judge_scale_max"
    ).iter_rows():
        values = (np.array(scores, float) - low) / (high - low)
        units.setdefault((system, item), {})[criterion] = values
    systems: dict[str, list[list[Floats]]] = {}
    for (system, _), found in sorted(units.items()):
        if len(found) == len(criteria):
            systems.setdefault(system, []).append([found[name] for name in criteria])
    names = sorted(systems)

    def draw_of(size: int) -> Draw:
        def draw(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
            pool = systems[names[rng.integers(len(names))]]
            halves = np.empty((2, n, len(criteria)))
            for row, at in enumerate(rng.integers(len(pool), size=n)):
                for column, samples in enumerate(pool[at]):
                    mixed = rng.permutation(samples)
                    half = min(size, len(mixed) // 2)
                    halves[0, row, column] = mixed[:half].mean()
                    halves[1, row, column] = mixed[half : 2 * half].mean()
            return halves[0], halves[1]

        return draw

    for size in sizes:
        yield Source(f"topical_chat, {size} judge samples", criteria, draw_of(size))


def _exchanged(folder: Path) -> Iterator[Source]:
    for name, judge in (
        ("summeval", "gpt-4o-mini/geval"),
        ("summeval", "gpt-4o/p1"),
        ("hanna", "gpt-3.5-turbo/p2"),
        ("llm_rubric_synth", "gpt-3.5-turbo-16k"),
    ):
        study = load(folder, name, [judge])
        models, n_questions = len(study.model_names), len(study.question_ids)
        cells = np.full((models, n_questions, len(study.criteria)), np.nan)
        cells[study.models, study.questions] = study.panel
        yield Source(f"{name}, {judge}", study.criteria, _exchange(cells))


def _exchange(cells: Floats) -> Draw:
    complete = ~np.isnan(cells).any(axis=2)

    def draw(n: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        while True:
            first, second = rng.choice(len(cells), 2, replace=False)
            pool = np.flatnonzero(complete[first] & complete[second])
            if len(pool) >= 20:
                break
        at = rng.choice(pool, n)
        one, other = cells[first, at], cells[second, at]
        swap = rng.random((n, 1)) < 0.5
        return np.where(swap, other, one), np.where(swap, one, other)

    return draw


def decide(base: Floats, candidate: Floats, margins: Floats) -> str:
    """The gate's decision on scores (n, c); the last of the (c + 1,) margins is the overall's.

    What `judge.gate.gate` does without its intervals; `_checked` holds it to that.
    """
    deltas = _with_overall(candidate) - _with_overall(base)
    split = [tails(column, -margin) for column, margin in zip(deltas.T, margins, strict=True)]
    names = [f"c{at}" for at in range(base.shape[1])]
    found = rejections(
        {
            "overall": {OVERALL: split[-1].above},
            "criteria": {name: one.above for name, one in zip(names, split, strict=False)},
        },
        ALPHA,
    )
    if any(rejected for family in found.values() for rejected, _ in family.values()):
        return "regress"
    return "pass" if all(one.below <= ALPHA for one in split) else "inconclusive"


def _with_overall(scores: Floats) -> Floats:
    return np.column_stack([scores, scores.mean(axis=1)])


def _checked(base: Floats, candidate: Floats, margins: Floats) -> str:
    """The decision, by the whole gate as well."""
    found = decide(base, candidate, margins)
    names = [*(f"c{at}" for at in range(base.shape[1])), OVERALL]
    whole = gate_of(
        study_of_two(base, candidate), margins=dict(zip(names, margins.tolist(), strict=True))
    )
    if whole.decision.value != found:
        raise AssertionError(f"the gate says {whole.decision}, its short form {found}")
    return found


def _uncorrected(base: Floats, candidate: Floats) -> bool:
    """Any criterion or the overall with a one-sided paired t test below 5 %."""
    from scipy import stats  # type: ignore[import-untyped]

    deltas = _with_overall(candidate) - _with_overall(base)
    n = len(deltas)
    spread = deltas.std(axis=0, ddof=1) / np.sqrt(n)
    t = np.where(spread > 0, deltas.mean(axis=0) / np.where(spread > 0, spread, 1), 0.0)
    return bool((t < -stats.t.isf(ALPHA, n - 1)).any())


def _threshold(base: Floats, candidate: Floats) -> bool:
    return bool(candidate.mean() < base.mean() - 1e-12)


def _no_difference(sources: list[Source], repeats: int) -> None:
    print(f"\nNo difference, {QUESTIONS} questions: how often each gate says that there is one")
    print(
        f"{'source':38} {'unmoved':>8} {'mean drops':>11} {'any t test':>11} "
        f"{'gate, margin 0':>15} {'gate, default':>14} {'2 SE above 5 %':>15}"
    )
    limit = ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / repeats)
    for source in sources:
        rng = np.random.default_rng(1)
        c = len(source.criteria)
        usual = np.append(np.full(c, MARGIN), OVERALL_MARGIN)
        counts = np.zeros(4)
        unmoved = np.zeros(c)
        for at in range(repeats):
            base, candidate = source.draw(QUESTIONS, rng)
            form = _checked if at < _CHECKED else decide
            counts += [
                _threshold(base, candidate),
                _uncorrected(base, candidate),
                form(base, candidate, np.zeros(c + 1)) == "regress",
                form(base, candidate, usual) == "regress",
            ]
            unmoved += (np.abs(candidate - base) < 1e-12).mean(axis=0)
        rates = counts / repeats
        mark = "" if rates[2:].max() <= limit else "  ABOVE"
        print(
            f"{source.name:38} {(unmoved / repeats).max():8.2f} {rates[0]:11.3f} {rates[1]:11.3f} "
            f"{rates[2]:15.3f} {rates[3]:14.3f} {limit:15.3f}{mark}",
            flush=True,
        )


def _plant(
    base: Floats, candidate: Floats, drop: float, columns: slice, rng: np.random.Generator
) -> Floats:
    """The candidate with failures whose expected drop is ``drop`` on some criteria."""
    found = candidate.copy()
    part = found[:, columns]
    loss = np.minimum(_LOSS, part)
    mean = loss.mean(axis=0)
    share = np.minimum(1.0, drop / np.where(mean > 0, mean, 1.0))
    found[:, columns] = part - loss * (rng.random(part.shape) < share)
    return found


def _at_the_margin(sources: list[Source], repeats: int) -> None:
    print(
        f"\nEvery criterion and the overall lower by exactly the margin ({MARGIN:g}): both errors "
        "are to stay below 5 %"
    )
    print(f"{'source':38} {'regress':>8} {'pass':>8} {'2 SE above 5 %':>15}")
    limit = ALPHA + 2 * np.sqrt(ALPHA * (1 - ALPHA) / repeats)
    for source in sources:
        rng = np.random.default_rng(2)
        c = len(source.criteria)
        counts = {"regress": 0, "pass": 0, "inconclusive": 0}
        for _ in range(repeats):
            base, candidate = source.draw(QUESTIONS, rng)
            planted = _plant(base, candidate, MARGIN, slice(0, c), rng)
            counts[decide(base, planted, np.full(c + 1, MARGIN))] += 1
        rates = {name: count / repeats for name, count in counts.items()}
        mark = "" if max(rates["regress"], rates["pass"]) <= limit else "  ABOVE"
        print(
            f"{source.name:38} {rates['regress']:8.3f} {rates['pass']:8.3f} {limit:15.3f}{mark}",
            flush=True,
        )


def _power(sources: list[Source], repeats: int) -> None:
    repeats = max(1, repeats // 4)
    print(
        f"\nA drop on the criterion with the highest scores, {QUESTIONS} questions, default "
        f"margins: pass / inconclusive / regress in % ({repeats} draws)"
    )
    print(f"{'source':38} " + " ".join(f"{drop:>12.2f}" for drop in DROPS))
    for source in sources:
        c = len(source.criteria)
        usual = np.append(np.full(c, MARGIN), OVERALL_MARGIN)
        highest = int(source.draw(1000, np.random.default_rng(0))[0].mean(axis=0).argmax())
        one = slice(highest, highest + 1)
        cells = []
        for drop in DROPS:
            rng = np.random.default_rng(3)
            counts = {"pass": 0, "inconclusive": 0, "regress": 0}
            for _ in range(repeats):
                base, candidate = source.draw(QUESTIONS, rng)
                planted = _plant(base, candidate, drop, one, rng)
                counts[decide(base, planted, usual)] += 1
            cells.append("/".join(f"{100 * count / repeats:.0f}" for count in counts.values()))
        print(f"{source.name:38} " + " ".join(f"{cell:>12}" for cell in cells), flush=True)


def _rare_failures() -> None:
    """How often a criterion passes on which the candidate fails altogether on a few answers.

    Exact: it passes with up to some number of failures, and their number is binomial.
    """
    from scipy import stats

    print(
        "\nTotal failures of a share of the answers, everything else perfect: how often it passes"
    )
    print(f"{'questions':>10} {'margin':>7} " + " ".join(f"{share:>7.0%}" for share in RARE))
    for n, margin in ((53, 0.01), (45, 0.02), (60, 0.02)):
        fails = (np.repeat([-1.0, 0.0], [k, n - k]) for k in range(n))
        most = next(k for k, deltas in enumerate(fails) if tails(deltas, -margin).below > ALPHA) - 1
        chances = [stats.binom.cdf(most, n, share) for share in RARE]
        print(f"{n:10} {margin:7g} " + " ".join(f"{chance:7.2f}" for chance in chances))
    for share in (0.01, 0.02):
        needed = int(np.ceil(np.log(ALPHA) / np.log1p(-share)))
        print(f"{needed} questions without a failure show fewer than {share:.0%} (95 %)")


def _detectable() -> None:
    """The minimum detectable effects of 45 questions, and what a margin of 0.02 takes."""
    levels = (0.05, 0.025, 0.05 / 9, 0.05 / 365, 0.05 / 365 / 9)
    for title, drop_of in (
        ("of a normal mean", normal_drop),
        ("no less than the interval's reach where no question moved", detectable_drop),
    ):
        print(f"Smallest drop that {QUESTIONS} questions see (one-sided, 80 % power), {title}")
        print(f"{'SD':>5} " + " ".join(f"{f'{level:.2g}':>8}" for level in levels))
        for sd in (0.08, 0.12, 0.16, 0.20, 0.25):
            cells = [drop_of(sd, QUESTIONS, alpha=level) for level in levels]
            print(f"{sd:5.2f} " + " ".join(f"{cell:8.3f}" for cell in cells))
    for margin, sd in ((0.02, 0.12), (0.03, 0.12), (0.04, 0.12), (0.02, 0.095), (0.01, 0.0)):
        found = attainability(margin, sd, QUESTIONS)
        print(
            f"margin {margin:g}, SD {sd:g}: bound -{found.bound:.3f}, an unchanged model passes "
            f"with {found.chance:.0%}; half of the time with {found.needed}, 80 % with "
            f"{found.needed_80} questions"
        )
