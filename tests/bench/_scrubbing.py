"""Personal data: what is found of a held-out synthetic set, false alarms, rows per second."""

from __future__ import annotations

import time
from collections import defaultdict
from typing import NamedTuple

import polars as pl

from sft.records import ROWS
from sft.scrubbing import find_in, scrub
from sft.settings import ScrubSettings
from tests.personal_data_set import Case, Family, cases, hard_negatives

_SETTINGS = ScrubSettings()
_PROSE = (
    "The auction is decided by the bid and by how likely a click is, so a higher bid alone does "
    "not always win. Start with a small budget, watch the reports for a few days, and change one "
    "thing at a time. "
)


class Tally(NamedTuple):
    """Of planted stretches: how many, how many found (covered whole), found to the character."""

    planted: int
    found: int
    exact: int


class Measured(NamedTuple):
    """What a family of cases gave."""

    by_kind: dict[tuple[str, str], Tally]
    """(kind, language) → tally; a find of another kind that covers the stretch counts as found."""
    stray: int
    """Finds in texts with a planted stretch that do not touch it."""
    negatives: int
    false_alarms: int
    """Texts without personal data in which something was found."""

    @property
    def recall(self) -> float:
        """Share of the planted stretches that no reader would see any more."""
        tallies = self.by_kind.values()
        return sum(t.found for t in tallies) / sum(t.planted for t in tallies)

    @property
    def precision(self) -> float:
        """Share of right ones among all finds; every false alarm counts as one find."""
        right = sum(tally.found for tally in self.by_kind.values())
        return right / (right + self.stray + self.false_alarms)


def measured(family: Family) -> Measured:
    """Look for the personal data of a family of cases."""
    tallies: dict[tuple[str, str], Tally] = defaultdict(lambda: Tally(0, 0, 0))
    stray = 0
    for case in cases(family):
        assert case.planted is not None
        found, exact, others = _judged(case)
        before = tallies[case.planted.kind, case.language]
        tallies[case.planted.kind, case.language] = Tally(
            before.planted + 1, before.found + found, before.exact + exact
        )
        stray += others
    negatives = hard_negatives(family)
    alarms = sum(bool(find_in(case.text, _SETTINGS)) for case in negatives)
    return Measured(dict(tallies), stray, len(negatives), alarms)


def _judged(case: Case) -> tuple[bool, bool, int]:
    """Whether the planted stretch is covered, whether exactly, and how many finds are elsewhere."""
    planted = case.planted
    assert planted is not None
    finds = find_in(case.text, _SETTINGS)
    touching = [f for f in finds if f.start < planted.end and planted.start < f.end]
    covered = any(f.start <= planted.start and planted.end <= f.end for f in touching)
    exact = any((f.kind, f.start, f.end) == planted for f in finds)
    return covered, exact, len(finds) - len(touching)


def scrubbing() -> None:
    """Print recall, precision and false alarms on the held-out set, and rows per second."""
    result = measured("held-out")
    print("\nPersonal data in the held-out synthetic set (found: the whole stretch is covered)")
    print(f"{'kind':17}{'en found':>14}{'zh found':>14}{'exact':>14}")
    for kind in sorted({kind for kind, _ in result.by_kind}):
        both = [result.by_kind[kind, language] for language in ("en", "zh")]
        cells = [f"{tally.found} of {tally.planted}" for tally in both]
        exact = f"{sum(t.exact for t in both)} of {sum(t.planted for t in both)}"
        print(f"{kind:17}{cells[0]:>14}{cells[1]:>14}{exact:>14}")
    print(
        f"recall {result.recall:.1%}, precision {result.precision:.1%}; false alarms in "
        f"{result.false_alarms} of {result.negatives} hard negatives"
    )
    print(f"\n{'rows of about 930 characters':34}{'rows/s':>9}")
    for name, text in (
        ("prose without a number", _PROSE),
        ("with years, prices and order numbers", "In 2024 order 48213 cost 19.99. " + _PROSE),
        ("with an address, a number and a card", "Write to li.na@post.cn, call +86 138 1234 5678, "
         "card 4111 1111 1111 1111. " + _PROSE),
    ):  # fmt: skip
        print(f"{name:38}{_rate(text):>9,.0f}")


def _rate(text: str, count: int = 4000) -> float:
    """Rows per second, best of three."""
    texts = [
        f"{number} {text}" + _PROSE * ((930 - len(text)) // len(_PROSE)) for number in range(count)
    ]
    rows = pl.DataFrame(
        {
            "row_id": [str(number) for number in range(count)],
            "source": ["s"] * count,
            "file": ["f"] * count,
            "line": list(range(count)),
            "language": ["en"] * count,
            "messages": [
                [{"role": "user", "content": "?"}, {"role": "assistant", "content": each}]
                for each in texts
            ],
        },
        schema=dict(ROWS),
    )
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        scrub(rows, _SETTINGS)
        best = min(best, time.perf_counter() - started)
    return count / best
