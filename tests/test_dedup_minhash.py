"""MinHash: no bias, the variance of theory, and bands whose chances are those of the formula."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from sft.dedup import Bands, Shingles, choose_bands, signatures
from sft.dedup._minhash import MISS_WEIGHT, band_keys

PAIRS = 1500
PLACES = 128


class Planted(NamedTuple):
    """Signatures of pairs of sets of a known Jaccard similarity."""

    similarity: float
    one: NDArray[np.uint32]
    other: NDArray[np.uint32]

    def agreement(self) -> NDArray[np.float64]:
        """(n_pairs,): the share of places in which a pair agrees."""
        return np.asarray((self.one == self.other).mean(axis=1))


def planted(shared: int, own: int, seed: int = 0, pairs: int = PAIRS) -> Planted:
    """Pairs with ``shared`` common shingles and ``own`` more on either side."""
    rng = np.random.default_rng(seed)
    size = shared + own

    def signed(values: NDArray[np.uint64]) -> NDArray[np.uint32]:
        return signatures(Shingles(values.ravel(), np.arange(pairs + 1) * size), PLACES)

    def random(count: int) -> NDArray[np.uint64]:
        return rng.integers(0, 2**64, (pairs, count), np.uint64)

    common = random(shared)
    one, other = (np.concatenate([common, random(own)], axis=1) for _ in range(2))
    return Planted(shared / (shared + 2 * own), signed(one), signed(other))


@pytest.mark.parametrize(("shared", "own"), [(4, 8), (30, 15), (80, 10), (160, 5), (6, 0)])
def test_agreement_is_an_unbiased_estimate_with_the_variance_of_theory(
    shared: int, own: int
) -> None:
    pairs = planted(shared, own)
    s = pairs.similarity
    agreement = pairs.agreement()
    # Binomial: the mean of 1500 pairs has the standard error sqrt(s (1 - s) / (1500 * 128)); 4 of
    # them. Its variance is s (1 - s) / 128; that of 1500 draws is known to 2 sqrt(2 / 1500) = 7 %,
    # so 15 % is four standard errors.
    assert abs(agreement.mean() - s) <= 4 * np.sqrt(s * (1 - s) / (PAIRS * PLACES))
    if own:
        assert agreement.var() / (s * (1 - s) / PLACES) == pytest.approx(1, abs=0.15)


def test_structured_shingles_are_no_worse_once_they_are_mixed() -> None:
    # Hashes of windows are mixed; here consecutive numbers are.
    from sft.words import mixed

    values = mixed(np.arange(PAIRS * 150, dtype=np.uint64)).reshape(PAIRS, 150)
    bounds = np.arange(PAIRS + 1) * 100
    one = signatures(Shingles(values[:, :100].ravel(), bounds), PLACES)
    other = signatures(Shingles(values[:, 50:].ravel(), bounds), PLACES)
    share = (one == other).mean()  # 50 of 150
    assert abs(share - 1 / 3) <= 4 * np.sqrt(2 / 9 / (PAIRS * PLACES))


def test_signatures_know_sets_only() -> None:
    values = np.array([7 << 32, 9 << 40, 3 << 33, 9 << 40, 3 << 33, 7 << 32, 7 << 32], np.uint64)
    one, none, other = signatures(Shingles(values, np.array([0, 3, 3, 7])), 16)
    assert one.tolist() == other.tolist()
    assert set(none.tolist()) == {2**32 - 1}
    assert signatures(Shingles(values[:0], np.array([0])), 16).shape == (0, 16)


def test_shingles_with_other_upper_halves_differ_in_every_place() -> None:
    # Each place orders the shingles by a permutation of those halves.
    values = np.array([1, 2, 3, 2**31, 2**31 + 1], np.uint64) << np.uint64(32)
    signed = signatures(Shingles(values, np.arange(6)), PLACES)
    assert all(len(set(column)) == 5 for column in signed.T.tolist())


def test_rows_have_the_same_signature_in_any_block() -> None:
    # 70,000 shingles in one row are more than are permuted at a time.
    sizes = [3, 70_000, 1, 40_000, 40_000, 2]
    bounds = np.concatenate(([0], np.cumsum(sizes)))
    values = np.random.default_rng(0).integers(0, 2**64, bounds[-1], np.uint64)
    together = signatures(Shingles(values, bounds), 8)
    for row, size in enumerate(sizes):
        mine = values[bounds[row] : bounds[row + 1]]
        alone = signatures(Shingles(mine, np.array([0, size])), 8)
        assert together[row].tolist() == alone[0].tolist()


@pytest.mark.parametrize("similarity", [0.5, 0.6, 0.7, 0.8, 0.9])
def test_candidates_come_with_the_chance_of_the_formula(similarity: float) -> None:
    own = round(100 * (1 - similarity) / similarity / 2)
    pairs = planted(100, own, seed=1)
    bands = choose_bands(0.8, PLACES)
    meet = np.zeros(PAIRS, np.bool_)
    for band in range(bands.bands):
        meet |= band_keys(pairs.one, bands, band) == band_keys(pairs.other, bands, band)
    chance = bands.chance(pairs.similarity)
    # Four standard errors of a share of 1500.
    assert abs(meet.mean() - chance) <= 4 * np.sqrt(chance * (1 - chance) / PAIRS) + 1e-9


def test_chance_by_hand() -> None:
    # 1 - (1 - .5**2)**3 = 1 - .421875
    assert Bands(3, 2).chance(0.5) == 0.578125
    assert Bands(3, 2).chance(0) == 0
    assert Bands(3, 2).chance(1) == 1


def test_the_bands_of_the_defaults() -> None:
    bands = choose_bands(0.8, 128)
    assert bands == Bands(18, 7)
    # .8**7 = .2097; 1 - .7903**18 = .9855
    assert bands.chance(0.8) == pytest.approx(0.9855, abs=1e-4)
    assert bands.chance(0.9) > 0.9999


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.8, 0.95, 1.0])
@pytest.mark.parametrize("places", [1, 16, 128, 256])
def test_no_other_cut_errs_less(threshold: float, places: int) -> None:
    def error(choice: Bands) -> float:
        # Integrals by another rule than the module's: trapezia on a finer grid.
        above, below = np.linspace(threshold, 1, 4001), np.linspace(0, threshold, 4001)
        missed = np.trapezoid(1 - (1 - (1 - above**choice.rows) ** choice.bands), above)
        wrong = np.trapezoid(1 - (1 - below**choice.rows) ** choice.bands, below)
        return float(MISS_WEIGHT * missed + (1 - MISS_WEIGHT) * wrong)

    chosen = choose_bands(threshold, places)
    assert 1 <= chosen.bands * chosen.rows <= places
    best = min(error(Bands(places // rows, rows)) for rows in range(1, places + 1))
    assert error(chosen) <= best + 1e-4


@pytest.mark.parametrize(("threshold", "places"), [(0.0, 128), (1.1, 128), (0.8, 0)])
def test_impossible_settings_are_refused(threshold: float, places: int) -> None:
    with pytest.raises(ValueError, match="no bands"):
        choose_bands(threshold, places)
