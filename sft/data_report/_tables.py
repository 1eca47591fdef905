"""Tables of counts: what a step did, by source and reason; any two names and a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sft.data_report._formats import counted, share_of

Fields: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A count, with a remark of one or more lines below it: a share, or how it is made up."""

    value: int
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a table: its name, what came in where that matters, its cells and their sum."""

    name: str
    cells: tuple[Cell, ...]
    total: Cell
    entering: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """Counts by two names. ``total`` is the last line: the sums of the columns, and of all."""

    rows: str
    """What the rows are, e.g. "Source"."""
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    total: Line
    verbatim: bool = field(default=False)
    """Whether the columns are names to be shown as they are, not snake_case words."""
    words: bool = field(default=False)
    """Whether the rows are snake_case names, to be shown as words."""


def ordered(names: Iterable[str], order: Sequence[str] = ()) -> list[str]:
    """The distinct names: those of ``order`` first and in its order, then the others by name."""
    given = set(names)
    return [name for name in order if name in given] + sorted(given - set(order))


def by_source(
    entries: Sequence[Fields],
    column: str,
    count: str,
    sources: Sequence[str],
    entering: Mapping[str, int] | None = None,
    *,
    overlapping: bool = False,
) -> Matrix:
    """A table of sources and another name, e.g. of reasons, the most frequent column first.

    With ``entering`` (source → rows that came in) every source has a line and every cell its
    share of them; else only sources with a count have one. Where a row can count in several columns
    (``overlapping``), the sums over the columns have no share.
    """
    counts: Counter[tuple[str, str]] = Counter()
    per_column: Counter[str] = Counter()
    for entry in entries:
        counts[entry["source"], entry[column]] += entry[count]
        per_column[entry[column]] += entry[count]
    columns = tuple(sorted(per_column, key=lambda name: (-per_column[name], name)))
    present = [entry["source"] for entry in entries]
    names = ordered({*present, *(entering or ())}, sources)

    def line(name: str, among: Sequence[str], values: Sequence[int]) -> Line:
        came = None if entering is None else sum(entering.get(each, 0) for each in among)
        return _line(name, values, came, overlapping=overlapping)

    lines = tuple(line(name, [name], [counts[name, c] for c in columns]) for name in names)
    total = line("All", names, [per_column[c] for c in columns])
    return Matrix(rows="Source", columns=columns, lines=lines, total=total)


def _line(name: str, values: Sequence[int], entering: int | None, *, overlapping: bool) -> Line:
    """A line of counts with, where it is known what came in, their shares of it."""

    def cell(value: int) -> Cell:
        known = entering is not None and value
        return Cell(value=value, note=share_of(value, entering or 0) if known else "")

    return Line(
        name=name,
        cells=tuple(map(cell, values)),
        total=Cell(value=sum(values)) if overlapping else cell(sum(values)),
        entering=entering,
    )


def finds(entries: Sequence[Fields], kinds: Sequence[str], sources: Sequence[str]) -> Matrix:
    """Personal data: kinds looked for × sources, finds in the cells and their rows below them.

    The axis with more names runs down the page. All sources and all kinds have their place, also
    where nothing was found. A row with several kinds counts once for each of them.
    """
    found: Counter[tuple[str, str]] = Counter()
    rows: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        found[entry["kind"], entry["source"]] += entry["count"]
        rows[entry["kind"], entry["source"]] += entry["rows"]
    downward = ordered([*kinds, *(kind for kind, _ in found)], kinds)
    across = ordered([*sources, *(source for _, source in found)], sources)
    turned = len(across) > len(downward)
    if turned:
        downward, across = across, downward

    def cell(pairs: Iterable[tuple[str, str]]) -> Cell:
        keys = [(b, a) if turned else (a, b) for a, b in pairs]
        value = sum(found[key] for key in keys)
        return Cell(
            value=value, note=f"in {counted(sum(rows[k] for k in keys), 'row')}" if value else ""
        )

    lines = tuple(
        Line(
            name=name,
            cells=tuple(cell([(name, other)]) for other in across),
            total=cell([(name, other) for other in across]),
        )
        for name in downward
    )
    return Matrix(
        rows="Source" if turned else "Kind",
        columns=tuple(across),
        lines=lines,
        total=Line(
            name="All",
            cells=tuple(cell([(name, other) for name in downward]) for other in across),
            total=Cell(value=sum(found.values())),
        ),
        verbatim=not turned,
        words=not turned,
    )


def twins(entries: Sequence[Fields], sources: Sequence[str]) -> Matrix:
    """Duplicates: source of the removed rows × source of the row that stayed, exact and near."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for entry in entries:
        counts[entry["source"], entry["twin_source"], entry["kind"]] += entry["rows"]
    kinds = ordered((kind for _, _, kind in counts), ("exact", "near"))
    down = ordered((source for source, _, _ in counts), sources)
    across = ordered((twin for _, twin, _ in counts), sources)

    def cell(names: Iterable[str], others: Iterable[str]) -> Cell:
        names, others = list(names), list(others)
        parts = [
            (kind, sum(counts[name, other, kind] for name in names for other in others))
            for kind in kinds
        ]
        value = sum(part for _, part in parts)
        return Cell(value=value, note="\n".join(f"{n:,} {kind}" for kind, n in parts if n))

    return Matrix(
        rows="Removed from",
        columns=tuple(across),
        lines=tuple(
            Line(
                name=name,
                cells=tuple(cell([name], [other]) for other in across),
                total=cell([name], across),
            )
            for name in down
        ),
        total=Line(
            name="All",
            cells=tuple(cell(down, [other]) for other in across),
            total=cell(down, across),
        ),
        verbatim=True,
    )
