"""Rows that share a band, and those of them that are kept so far."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from sft.words import Hashes

_NONE = -1


class Buckets:
    """Which rows share which buckets, and the first few kept rows of each bucket.

    A bucket holds the rows that agree in a band; rows that are alone in theirs have none. Rows are
    numbers from 0 in rank order.
    """

    MOST_KEPT = 32
    """Kept rows that a bucket remembers, the first ones by rank.

    Copies of a row are removed, so a bucket overflows only with rows that share a band without
    being duplicates: the fixed text of a template. Near-duplicates in such data also share bands
    that hold some of their own text, and are found there; the cost is measured by
    ``python -m tests.bench duplicates``.
    """

    def __init__(self, members: NDArray[np.int32], sizes: NDArray[np.int64]) -> None:
        """``members`` is (n_rows, n_bands) of bucket numbers or -1, ``sizes`` (n_buckets,)."""
        self._members = members
        room = np.minimum(sizes, self.MOST_KEPT)
        self._starts = np.concatenate(([0], np.cumsum(room)))
        self._slots = np.empty(self._starts[-1], np.int32)
        self._filled = np.zeros(len(sizes), np.int64)
        self._room = room

    def shares(self) -> NDArray[np.bool_]:
        """(n_rows,): whether a row shares a bucket with another one."""
        shares: NDArray[np.bool_] = (self._members != _NONE).any(axis=1)
        return shares

    def kept_beside(self, row: int) -> NDArray[np.int64]:
        """The remembered kept rows of a row's buckets, each once, in rank order."""
        buckets = self._of(row)
        buckets = buckets[self._filled[buckets] > 0]
        if not len(buckets):
            return np.empty(0, np.int64)
        starts = self._starts[buckets]
        pieces = [
            self._slots[start : start + count]
            for start, count in zip(starts.tolist(), self._filled[buckets].tolist(), strict=True)
        ]
        return np.unique(np.concatenate(pieces)).astype(np.int64)

    def keep(self, row: int) -> None:
        """Remember a row as kept in those of its buckets that have room."""
        buckets = self._of(row)
        buckets = buckets[self._filled[buckets] < self._room[buckets]]
        self._slots[self._starts[buckets] + self._filled[buckets]] = row
        self._filled[buckets] += 1

    def _of(self, row: int) -> NDArray[np.int32]:
        buckets = self._members[row]
        shared: NDArray[np.int32] = buckets[buckets != _NONE]
        return shared


def bucket_rows(keys: Iterable[Hashes], n_rows: int) -> Buckets:
    """The buckets of rows by the keys of their bands; ``keys`` gives (n_rows,) for each band."""
    columns, sizes, count = [], [], 0
    for band in keys:
        _, inverse, members = np.unique(band, return_inverse=True, return_counts=True)
        shared = members > 1
        numbers = np.where(shared, np.cumsum(shared) - 1 + count, _NONE).astype(np.int32)
        columns.append(numbers[inverse])
        sizes.append(members[shared])
        count += int(shared.sum())
    if not columns:
        return Buckets(np.empty((n_rows, 0), np.int32), np.empty(0, np.int64))
    return Buckets(np.column_stack(columns), np.concatenate(sizes))
