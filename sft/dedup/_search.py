"""The search for duplicates among all parts of a corpus.

Rows are ranked by (priority of the source, name of the source, row id). In that order every row is
compared with the rows that were kept before it, and is removed if one of them is its duplicate. So
a removed row always has a twin that stays; of a chain A, B, C in which only neighbours are alike,
A and C stay; and the outcome depends neither on the order of rows nor on how they are cut into
parts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sft.dedup._buckets import Buckets, bucket_rows
from sft.dedup._minhash import Signatures, band_keys, choose_bands
from sft.dedup._sets import SetStore, store_sets
from sft.dedup._shingles import jaccard
from sft.settings import DedupSettings

DUPLICATES: Mapping[str, pl.DataType] = {
    "row_id": pl.String(),
    "source": pl.String(),
    "twin_id": pl.String(),
    "twin_source": pl.String(),
    "twin_file": pl.String(),
    "twin_line": pl.Int64(),
    "kind": pl.String(),
    "similarity": pl.Float64(),
}
"""Columns of a duplicate: the row that goes, and the row that stays for it.

``kind`` is "exact" or "near", ``similarity`` the Jaccard similarity of both rows' shingles (1 for
exact duplicates).
"""

MOST_VERIFIED = 16
"""Candidates of a row whose shingles are compared: those whose signatures are most alike."""
_MARGIN = 3.5
"""Standard errors that an estimate may lie below the threshold; 1 pair in 4,000 lies lower."""


def find_duplicates(
    parts: Sequence[Path],
    fingerprints: Sequence[Path],
    priorities: Mapping[str, int],
    settings: DedupSettings,
    *,
    tick: Callable[[int, int], None] = lambda _done, _total: None,
) -> pl.DataFrame:
    """All rows that go, with the rows that stay for them (columns `DUPLICATES`), in rank order.

    ``parts`` are Parquet files of rows, ``fingerprints`` what `fingerprint` made of each, in the
    same order; row ids are unique. ``tick`` is called with the work done and all the work.

    Exact duplicates are always found. Near-duplicates are missed with the probability that their
    signatures share no band (1.4 % just at the default threshold, 0.01 % at a similarity of 0.9),
    plus what the bounds cost where very many rows share a template: a row is compared with the
    first `Buckets.MOST_KEPT` kept rows of each of its buckets, and then the shingles of the
    `MOST_VERIFIED` rows with the most similar signatures. Every near-duplicate is verified on the
    shingles themselves, so no row goes by an estimate.

    Memory grows with the rows by about 1.2 kB each for 128 permutations; the shingles of candidates
    lie in a temporary file beside the fingerprints.

    Raises ValueError where a source has no priority, or fingerprints do not belong to the parts.
    """
    if len(parts) != len(fingerprints):
        raise ValueError(f"{len(parts)} parts, {len(fingerprints)} fingerprints")
    work = _Work(3 * len(parts), tick)
    ranked = _ranked(fingerprints, priorities)
    first_alike = _first_alike(ranked["exact"])
    twins = first_alike.copy()
    similarities = np.ones(len(ranked))
    if settings.near and len(ranked):
        near = _near_twins(parts, fingerprints, ranked, first_alike, settings, work)
        # Exact duplicates of a row that goes have its twin: their shingles are the same.
        gone = near.twins[first_alike]
        follows = gone >= 0
        twins[follows] = gone[follows]
        similarities[follows] = near.similarities[first_alike][follows]
        kinds = np.where(follows, "near", "exact")
    else:
        kinds = np.full(len(ranked), "exact")
    work.finish()
    goes = np.flatnonzero(twins != np.arange(len(ranked)))
    found = ranked[goes].select("row_id", "source").with_columns(
        ranked[twins[goes]]["row_id"].alias("twin_id"),
        ranked[twins[goes]]["source"].alias("twin_source"),
        pl.Series("kind", kinds[goes].tolist(), dtype=pl.String),
        pl.Series("similarity", similarities[goes], dtype=pl.Float64),
    )  # fmt: skip
    return _with_places(found, parts)


class _Work:
    """Counts steps of work for `tick`."""

    def __init__(self, total: int, tick: Callable[[int, int], None]) -> None:
        self.done, self.total, self._tick = 0, total, tick

    def step(self) -> None:
        self.done += 1
        self._tick(self.done, self.total)

    def finish(self) -> None:
        while self.done < self.total:
            self.step()


def _ranked(fingerprints: Sequence[Path], priorities: Mapping[str, int]) -> pl.DataFrame:
    """All rows in rank order: ``row_id, source, exact``, and their ``part`` and ``place`` in it."""
    frames = [
        pl.read_parquet(path, columns=["row_id", "source", "exact"]).with_columns(
            pl.lit(number, dtype=pl.UInt32).alias("part"),
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("place"),
        )
        for number, path in enumerate(fingerprints)
    ]
    if not frames:
        return pl.DataFrame(
            schema={"row_id": pl.String, "source": pl.String, "exact": pl.Binary,
                    "part": pl.UInt32, "place": pl.UInt32}
        )  # fmt: skip
    rows = pl.concat(frames)
    if unknown := set(rows["source"].unique()) - set(priorities):
        raise ValueError(f"sources without a priority: {', '.join(sorted(unknown))}")
    priority = pl.col("source").replace_strict(dict(priorities), return_dtype=pl.Int64)
    return rows.sort(priority, "source", "row_id")


def _first_alike(exact: pl.Series) -> NDArray[np.int64]:
    """Of each row, the first row with the same key; rows without a key are alone."""
    frame = pl.DataFrame({"exact": exact}).with_row_index("row")
    first = pl.when(pl.col("exact").is_null()).then("row").otherwise(pl.first("row").over("exact"))
    return frame.select(first.cast(pl.Int64)).to_series().to_numpy()


class _Twins(NamedTuple):
    """Of each row, the near-duplicate that stays for it (-1: none) and their similarity."""

    twins: NDArray[np.int64]
    similarities: NDArray[np.float64]


def _near_twins(
    parts: Sequence[Path],
    fingerprints: Sequence[Path],
    ranked: pl.DataFrame,
    first_alike: NDArray[np.int64],
    settings: DedupSettings,
    work: _Work,
) -> _Twins:
    """The near-duplicates among the first of every group of exact ones."""
    alone = first_alike == np.arange(len(ranked))
    rows, table = _signature_table(fingerprints, ranked, alone, settings.permutations, work)
    result = _Twins(np.full(len(ranked), -1), np.ones(len(ranked)))
    bands = choose_bands(settings.threshold, settings.permutations)
    buckets = bucket_rows((band_keys(table, bands, band) for band in range(bands.bands)), len(rows))
    sharing = np.flatnonzero(buckets.shares())
    wanted = ranked[rows[sharing]].select("row_id", "part", "place").with_columns(
        pl.Series("number", sharing)
    )  # fmt: skip
    with store_sets(
        parts, wanted, len(rows), settings.shingle, fingerprints[0].parent, work.step
    ) as sets:
        search = _Search(table, buckets, sets, settings.threshold)
        blocks = np.array_split(sharing, max(1, len(parts)))
        for block in blocks:
            for number in block.tolist():
                twin, similarity = search.place(number)
                if twin >= 0:
                    result.twins[rows[number]] = rows[twin]
                    result.similarities[rows[number]] = similarity
            work.step()
    return result


def _signature_table(
    fingerprints: Sequence[Path],
    ranked: pl.DataFrame,
    wanted: NDArray[np.bool_],
    permutations: int,
    work: _Work,
) -> tuple[NDArray[np.int64], Signatures]:
    """The wanted rows that have a signature, in rank order, and their signatures."""
    position = ranked.select("part", "place").with_columns(
        pl.Series("rank", np.arange(len(ranked)))
    ).filter(wanted)  # fmt: skip
    by_part = {key[0]: frame for key, frame in position.partition_by("part", as_dict=True).items()}
    table = np.empty((len(position), permutations), np.uint32)
    # Ranks among the wanted rows.
    order = np.cumsum(wanted) - 1
    present = np.zeros(len(position), np.bool_)
    for number, path in enumerate(fingerprints):
        if number in by_part:
            frame = by_part[number]
            column = pl.read_parquet(path, columns=["signature"])["signature"]
            given = column.is_not_null().to_numpy()[frame["place"].to_numpy()]
            places, ranks = frame["place"].to_numpy()[given], frame["rank"].to_numpy()[given]
            if len(places):
                table[order[ranks]] = column.gather(places).to_numpy()
                present[order[ranks]] = True
        work.step()
    rows = np.flatnonzero(wanted)[present]
    # Moved up in place where a row lacks one: a copy of the table would double its memory.
    targets = np.flatnonzero(present)
    for first in range(0, len(targets), 1 << 16):
        table[first : first + (1 << 16)][: len(targets[first : first + (1 << 16)])] = table[
            targets[first : first + (1 << 16)]
        ]
    return rows, table[: len(targets)]


class _Search:
    """The rows kept so far, and the search among them."""

    def __init__(
        self, table: Signatures, buckets: Buckets, sets: SetStore, threshold: float
    ) -> None:
        self._table, self._buckets, self._sets = table, buckets, sets
        self._threshold = threshold
        error = np.sqrt(threshold * (1.0 - threshold) / table.shape[1])
        self._least_places = (threshold - _MARGIN * error) * table.shape[1]

    def place(self, row: int) -> tuple[int, float]:
        """The kept row whose duplicate this one is, and their similarity; (-1, 0) if it is kept.

        Of several, that whose signature is most similar (of equals, the first by rank). Rows must
        come in rank order.
        """
        candidates = self._buckets.kept_beside(row)
        if len(candidates):
            places = (self._table[candidates] == self._table[row]).sum(axis=1)
            likely = np.flatnonzero(places >= self._least_places)
            likely = likely[np.argsort(-places[likely], kind="stable")][:MOST_VERIFIED]
            own = self._sets.of(row) if len(likely) else None
            for candidate in candidates[likely].tolist():
                assert own is not None
                similarity = jaccard(own, self._sets.of(candidate))
                if similarity >= self._threshold:
                    return candidate, similarity
        self._buckets.keep(row)
        return -1, 0.0


def _with_places(found: pl.DataFrame, parts: Sequence[Path]) -> pl.DataFrame:
    """Duplicates with file and line of their twins."""
    twins = found.select(pl.col("twin_id").unique())
    places = [
        pl.read_parquet(path, columns=["row_id", "file", "line"]).join(
            twins, left_on="row_id", right_on="twin_id", how="semi"
        )
        for path in parts
    ]
    if not places:
        return pl.DataFrame(schema=dict(DUPLICATES))
    known = pl.concat(places).rename(
        {"row_id": "twin_id", "file": "twin_file", "line": "twin_line"}
    )
    return found.join(known, on="twin_id", how="left", maintain_order="left").select(
        pl.col(name).cast(kind) for name, kind in DUPLICATES.items()
    )
