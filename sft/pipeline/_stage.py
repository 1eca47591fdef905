"""A stage on disk: the parts that a step has finished, so that interrupted work goes on there.

A stage's folder holds ``stage.json`` (the key of what was asked for), and for every finished part
``part-N.parquet``, ``removed-N.parquet`` and, written last, ``facts-N.json``. A key is a hash of
all that a step's outcome depends on, the key of the step before it included: another key means
that what lies there is of no use, and the stage starts anew.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson
import polars as pl

from sft.errors import CorruptError
from sft.files import write_atomically
from sft.records import MOST_EXAMPLES, Example, Tally


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a step did to a part, or (merged) to all rows; numbers only, and a few examples.

    Tallies count rows by (source, reason or kind), ``found`` counts finds.
    """

    rows_in: Tally = field(default_factory=Counter)
    """(source, "") → rows that came in."""
    rows_out: Tally = field(default_factory=Counter)
    removed: Tally = field(default_factory=Counter)
    changed: Tally = field(default_factory=Counter)
    found: Tally = field(default_factory=Counter)
    languages: Tally = field(default_factory=Counter)
    """(source, language) → rows that stay, after this step."""
    examples: tuple[Example, ...] = ()
    seconds: float = 0.0
    """Of processor time, summed over the parts."""

    def __add__(self, other: Facts) -> Facts:
        """Both together; of examples, the first few of every source and kind."""
        kept: list[Example] = []
        seen: Counter[tuple[str, str]] = Counter()
        for example in (*self.examples, *other.examples):
            seen[example.source, example.kind] += 1
            if seen[example.source, example.kind] <= MOST_EXAMPLES:
                kept.append(example)
        return Facts(
            **{name: getattr(self, name) + getattr(other, name) for name in _TALLIES},
            examples=tuple(kept),
            seconds=self.seconds + other.seconds,
        )

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON; tallies become lists of [source, kind, count]."""
        return {
            **{
                name: [[*key, count] for key, count in sorted(getattr(self, name).items())]
                for name in _TALLIES
            },
            "examples": [asdict(example) for example in self.examples],
            "seconds": self.seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(
            **{name: Counter({(s, k): n for s, k, n in data[name]}) for name in _TALLIES},
            examples=tuple(Example(**example) for example in data["examples"]),
            seconds=data["seconds"],
        )


_TALLIES = ("rows_in", "rows_out", "removed", "changed", "found", "languages")


@dataclass(frozen=True, slots=True)
class Stage:
    """The folder of one step's outcome."""

    folder: Path

    def open(self, key: str) -> None:
        """Make the folder ready for a key; what was made for another key is deleted."""
        marker = self.folder / "stage.json"
        if marker.is_file() and orjson.loads(marker.read_bytes())["key"] == key:
            return
        self.clear()
        self.folder.mkdir(parents=True)
        write_atomically(marker, orjson.dumps({"key": key}))

    def clear(self) -> None:
        """Delete all that is there."""
        if self.folder.exists():
            shutil.rmtree(self.folder)

    def is_known(self, key: str) -> bool:
        """Whether the step is through, for this key; its facts are there, its rows may not be."""
        marker = self.folder / "done.json"
        return marker.is_file() and bool(orjson.loads(marker.read_bytes())["key"] == key)

    def is_complete(self, key: str) -> bool:
        """Whether the step is through, for this key, and its rows are still there."""
        return self.is_known(key) and all(map(Path.is_file, self.parts()))

    def complete(self, key: str, parts: int) -> None:
        """Note that every part is there."""
        write_atomically(self.folder / "done.json", orjson.dumps({"key": key, "parts": parts}))

    def count(self) -> int:
        """How many parts the finished stage has."""
        return int(orjson.loads((self.folder / "done.json").read_bytes())["parts"])

    def part(self, number: int) -> Path:
        """The file of a part's rows."""
        return self.folder / f"part-{number:05d}.parquet"

    def parts(self, count: int | None = None) -> list[Path]:
        """The files of all parts, in order; of a finished stage without ``count``."""
        return [self.part(number) for number in range(self.count() if count is None else count)]

    def removed(self, number: int) -> Path:
        """The file of the rows that a part lost."""
        return self.folder / f"removed-{number:05d}.parquet"

    def has(self, number: int) -> bool:
        """Whether a part is finished: its facts are written last."""
        return self._facts(number).is_file()

    def write(self, number: int, kept: pl.DataFrame, removed: pl.DataFrame, facts: Facts) -> None:
        """Keep a finished part; a crash leaves it whole or not at all."""
        write_frame(self.part(number), kept)
        write_frame(self.removed(number), removed)
        write_atomically(self._facts(number), orjson.dumps(facts.to_json()))

    def facts(self) -> Facts:
        """What the finished step did, over all its parts."""
        total = Facts()
        for number in range(self.count()):
            total += self.facts_of(number)
        return total

    def facts_of(self, number: int) -> Facts:
        """What the step did to a part. Raises CorruptError if its facts cannot be read."""
        file = self._facts(number)
        try:
            return Facts.from_json(orjson.loads(file.read_bytes()))
        except (OSError, orjson.JSONDecodeError, KeyError, ValueError) as error:
            raise CorruptError(
                f"{file}: cannot be read as the facts of a part ({error}). "
                f"Delete {self.folder} and run the same command again."
            ) from None

    def removed_frames(self) -> Iterable[Path]:
        """The files of removed rows that hold any, in order."""
        return [self.removed(n) for n in range(self.count()) if self.facts_of(n).removed]

    def forget_rows(self) -> None:
        """Delete the rows (not the facts, nor what was removed) of a stage that is done with."""
        for file in self.parts():
            file.unlink(missing_ok=True)

    def _facts(self, number: int) -> Path:
        return self.folder / f"facts-{number:05d}.json"


def write_frame(file: Path, frame: pl.DataFrame) -> None:
    """Write a Parquet file that is whole or not there."""
    temporary = file.with_suffix(".tmp")
    frame.write_parquet(temporary, compression="zstd", compression_level=1, statistics=False)
    temporary.replace(file)


def total_rows(tally: Tally, source: str | None = None) -> int:
    """Rows of a tally, of one source or of all."""
    return sum(count for (name, _), count in tally.items() if source in (None, name))


def by_source(frame: pl.DataFrame, kind: str | None = None) -> Tally:
    """Rows of a frame by (source, value of the column ``kind`` or "")."""
    if kind is None:
        counted = frame.group_by("source").len()
        return Counter({(source, ""): count for source, count in counted.iter_rows()})
    counted = frame.group_by("source", pl.col(kind).fill_null("unknown")).len()
    return Counter({(source, value): count for source, value, count in counted.iter_rows()})
