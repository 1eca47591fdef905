"""MinHash signatures and their bands (Broder 1997; Leskovec et al., Mining of Massive Datasets, 3).

A signature is the row of minima of its shingle set under many permutations; two rows agree in a
place with the probability of their Jaccard similarity s. Rows that agree in all r places of one of
b bands are candidates: with probability 1 - (1 - s**r)**b.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.dedup._shingles import Shingles
from sft.words import Hashes, mixed

Signatures = NDArray[np.uint32]

MISS_WEIGHT = 0.99
"""What a missed pair weighs against a false candidate (0.01) in the choice of bands.

A false candidate costs a comparison of two signatures; a missed pair is lost for good. At a
threshold of 0.8 and 128 permutations this gives 18 bands of 7, which find 98.6 % of pairs just at
the threshold and 99.99 % of those at 0.9.
"""
_BLOCK = 1 << 16
"""Shingles that are permuted at a time, to stay in the processor's cache."""
_STEPS = 1000


class Bands(NamedTuple):
    """How signatures are cut."""

    bands: int
    rows: int
    """Places of a band."""

    def chance(self, similarity: float) -> float:
        """Probability that two rows of this Jaccard similarity become candidates."""
        return 1.0 - (1.0 - similarity**self.rows) ** self.bands


@cache
def choose_bands(threshold: float, permutations: int) -> Bands:
    """The bands that err least: misses above the threshold, false candidates below it.

    The errors are the areas between the curve of `Bands.chance` and the step at the threshold,
    similarities being taken as equally likely, weighted by `MISS_WEIGHT`. Raises ValueError unless
    0 < threshold <= 1 and there is a permutation.
    """
    if not 0 < threshold <= 1 or permutations < 1:
        raise ValueError(f"no bands for threshold {threshold} and {permutations} permutations")
    similarity = (np.arange(_STEPS) + 0.5) / _STEPS
    above = similarity >= threshold

    def error(choice: Bands) -> float:
        found = 1.0 - (1.0 - similarity**choice.rows) ** choice.bands
        missed, wrong = (1.0 - found[above]).sum(), found[~above].sum()
        return float(MISS_WEIGHT * missed + (1.0 - MISS_WEIGHT) * wrong)

    return min(
        (Bands(permutations // rows, rows) for rows in range(1, permutations + 1)), key=error
    )


def signatures(shingles: Shingles, permutations: int) -> Signatures:
    """(n_rows, permutations) minima; rows without shingles are all ones (bits).

    The permutations are multiplications by odd numbers modulo 2**32 of the upper half of the
    shingles' hashes, which are mixed well enough for so plain a family: see the tests of bias and
    variance.
    """
    factors = _factors(permutations)
    halves = (shingles.values >> np.uint64(32)).astype(np.uint32)
    present = np.flatnonzero(np.diff(shingles.offsets))
    result = np.full((len(shingles.offsets) - 1, permutations), np.iinfo(np.uint32).max, np.uint32)
    first = 0
    while first < len(present):
        begin = int(shingles.offsets[present[first]])
        last = int(np.searchsorted(shingles.offsets[present], begin + _BLOCK))
        last = min(max(last, first + 1), len(present))
        rows = present[first:last]
        block = halves[begin : shingles.offsets[rows[-1] + 1]]
        starts = shingles.offsets[rows] - begin
        permuted = np.empty_like(block)
        minima = np.empty((permutations, len(rows)), np.uint32)
        for place in range(permutations):
            np.multiply(block, factors[place], out=permuted)
            np.minimum.reduceat(permuted, starts, out=minima[place])
        result[rows] = minima.T
        first = last
    return result


def band_keys(signatures: Signatures, bands: Bands, band: int) -> Hashes:
    """(n_rows,): equal where two signatures agree in all places of a band."""
    keys = np.full(len(signatures), band, np.uint64)
    for place in range(band * bands.rows, (band + 1) * bands.rows):
        keys = mixed(keys ^ signatures[:, place])
    return keys


def _factors(permutations: int) -> NDArray[np.uint32]:
    """Odd numbers, the same ones for ever."""
    numbers = np.arange(1, permutations + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (mixed(numbers) >> np.uint64(32)).astype(np.uint32) | np.uint32(1)
