"""The flow of rows through the steps, and whether the sums of a report add up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

Fields: TypeAlias = Mapping[str, Any]

STEPS: Mapping[str, tuple[str, str]] = {
    "read": ("Read", "Records that are no conversation, or cannot be read at all, are set aside."),
    "clean": (
        "Clean",
        "Texts are repaired; rows without substance or in a language that their source does not "
        "declare are removed.",
    ),
    "scrub": (
        "Scrub",
        "Personal data is replaced by a placeholder that names its kind; the row stays.",
    ),
    "dedup": (
        "Deduplicate",
        "Of rows with the same or nearly the same content, one stays: that of the source with "
        "the first priority.",
    ),
    "decontaminate": (
        "Decontaminate",
        "Rows that hold a passage of a test question are removed, so that the test stays one.",
    ),
    "tokenise": (
        "Tokenise",
        "Conversations become samples of tokens; rows that cannot become one are removed.",
    ),
}
"""Title of every step, and what it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step's numbers: ``rows_in - removed == rows_out`` where the report is right.

    ``entering`` is source → rows that came in, from what the steps before removed.
    """

    name: str
    title: str
    about: str
    rows_in: int
    removed: int
    rows_out: int
    entering: Mapping[str, int]
    fields: Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """How many sums of a report were checked, and what is wrong with those that do not agree."""

    checked: int
    faults: tuple[str, ...]


def flow(report: Fields) -> list[Step]:
    """The steps in the order of the report."""
    entering = Counter({source["name"]: source["rows"] for source in report["sources"]})
    steps = []
    for entry in report["steps"]:
        title, about = STEPS.get(entry["step"], (entry["step"], ""))
        removed: Counter[str] = Counter()
        for row in entry["removed"]:
            removed[row["source"]] += row["rows"]
        steps.append(
            Step(
                name=entry["step"],
                title=title,
                about=about,
                rows_in=entry["rows_in"],
                removed=removed.total(),
                rows_out=entry["rows_out"],
                entering=dict(entering),
                fields=entry,
            )
        )
        entering = Counter({name: rows - removed[name] for name, rows in entering.items()})
    return steps


class _Ledger:
    """Compares numbers that must agree, and remembers which did not."""

    def __init__(self) -> None:
        self.checked = 0
        self.faults: list[str] = []

    def compare(self, what: str, found: int, beside: str, wanted: int) -> None:
        self.checked += 1
        if found != wanted:
            self.faults.append(f"{what}: {found:,}, but {beside}: {wanted:,}")


def sums(report: Fields, steps: Sequence[Step]) -> Sums:
    """Whether the report's numbers agree with each other.

    Compared are rows along the steps, rows and samples of the sources, duplicates, personal data,
    the quarantine, and the sources' parts of every epoch.
    """
    ledger = _Ledger()
    for step in steps:
        left = step.rows_in - step.removed
        ledger.compare(f"{step.title}, rows out", step.rows_out, "rows in less removed", left)
    if steps:
        records = sum(source["rows"] for source in report["sources"])
        ledger.compare("Records of all sources", records, "records read", steps[0].rows_in)
    for before, after in pairwise(steps):
        ledger.compare(
            f"{after.title}, rows in", after.rows_in, f"{before.title}, rows out", before.rows_out
        )
    _compare_sources(ledger, report, steps)
    by_name = {step.name: step for step in steps}
    if "dedup" in by_name:
        twins = sum(entry["rows"] for entry in report["duplicates"])
        removed = by_name["dedup"].removed
        ledger.compare("Duplicates by source and twin", twins, "removed as duplicates", removed)
    if "scrub" in by_name and report["personal_data"] is not None:
        found = sum(entry["count"] for entry in by_name["scrub"].fields["found"])
        shown = sum(entry["count"] for entry in report["personal_data"]["by_source"])
        ledger.compare("Personal data by source and kind", shown, "found by scrubbing", found)
    if report["quarantine"] is not None:
        removed = sum(step.removed for step in steps)
        ledger.compare("Quarantine", report["quarantine"]["rows"], "removed by all steps", removed)
    for blend in report["blends"]:
        for epoch in blend["epochs"]:
            for unit in ("samples", "tokens", "supervised_tokens"):
                parts = sum(entry[unit] for entry in epoch["shares"])
                what = f"{blend['name']}, epoch {epoch['epoch']}, {unit.replace('_', ' ')}"
                ledger.compare(f"{what} of all sources", parts, "of the epoch", epoch[unit])
    return Sums(checked=ledger.checked, faults=tuple(ledger.faults))


def _compare_sources(ledger: _Ledger, report: Fields, steps: Sequence[Step]) -> None:
    """Every source's rows, kept rows and samples against files, steps, languages and lengths."""
    languages: Counter[str] = Counter()
    for entry in report["languages"]:
        languages[entry["source"]] += entry["rows"]
    lengths = {
        entry["source"]: sum(entry["counts"])
        for entry in (report["lengths"] or {"counts": []})["counts"]
    }
    left = Counter[str]()
    if steps:
        left.update(steps[-1].entering)
        for row in steps[-1].fields["removed"]:
            left[row["source"]] -= row["rows"]
    for source in report["sources"]:
        name = source["name"]
        files = sum(file["rows"] + file["unreadable"] for file in source["files"])
        ledger.compare(f"{name}, records", source["rows"], "records of its files", files)
        if steps:
            ledger.compare(f"{name}, kept", source["kept"], "left by the steps", left[name])
        if report["languages"]:
            ledger.compare(f"{name}, kept", source["kept"], "by language", languages[name])
        if report["lengths"] is not None:
            samples = lengths.get(name, 0)
            ledger.compare(f"{name}, samples", source["samples"], "by length", samples)
