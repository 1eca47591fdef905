"""The tokenised samples that a blend draws from, as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sft.blending._keys import Ints, Keys, text_keys
from sft.settings import Unit

Codes: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Samples:
    """The samples by number: entry i of every array is about sample i."""

    sources: tuple[str, ...]
    codes: Codes
    """(n,): index into ``sources``."""
    n_tokens: Ints
    n_supervised: Ints
    keys: Keys
    """(n,): hashes of the samples' ids; they decide every order, the numbers do not."""

    def __len__(self) -> int:
        return len(self.codes)

    def units(self, by: Unit) -> Ints:
        """What each sample counts for, (n,)."""
        if by is Unit.TOKENS:
            return self.n_tokens
        if by is Unit.SUPERVISED_TOKENS:
            return self.n_supervised
        return np.ones(len(self), dtype=np.int64)

    def available(self, by: Unit) -> dict[str, int]:
        """Units that every source has; 0 for one that has no samples."""
        sums = np.zeros(len(self.sources), dtype=np.int64)
        np.add.at(sums, self.codes, self.units(by))
        return dict(zip(self.sources, sums.tolist(), strict=True))


def samples_of(frame: pl.DataFrame, sources: Sequence[str]) -> Samples:
    """The samples of a frame, one per row, in its order.

    The frame has the columns ``sample_id``, ``source``, ``n_tokens`` and ``n_supervised``. Raises
    ValueError for a source that is not among ``sources``.
    """
    names = frame["source"].unique()
    if unknown := sorted(set(names.to_list()) - set(sources)):
        raise ValueError(f"samples of unknown sources: {', '.join(map(repr, unknown))}")
    codes = frame["source"].replace_strict(
        list(sources), list(range(len(sources))), return_dtype=pl.Int32
    )
    return Samples(
        sources=tuple(sources),
        codes=codes.to_numpy(),
        n_tokens=frame["n_tokens"].cast(pl.Int64).to_numpy(),
        n_supervised=frame["n_supervised"].cast(pl.Int64).to_numpy(),
        keys=text_keys(frame["sample_id"].to_list()),
    )
