"""An order of packs in which every optimizer step carries the blend's shares.

Packs of best fit decreasing are lumps of several sources, and a step has few of them, so steps in
random order carry shares that vary by several packs. What a pack has too much or too little of each
source is a vector; a step's deviation is the sum of its packs' vectors, and all of them sum to 0.
Wanted is a partition of the vectors into steps whose sums stay within the capacity of one pack.

The search exchanges packs between steps. First all steps at once are paired at random, and each
pair makes the exchange that lowers the sum of its squared deviations most: a few rounds leave
hardly a step outside the bound. Then the steps outside it are taken one by one, the worst first,
and exchange with the steps that deviate most the other way.

Two sources: the bound is always met, as long as the effort lasts. With scalar vectors of range at
most 1 pack, let a step deviate by a > 1. Another one deviates by b < 0, so there are packs x > 0 in
the first and y < 0 in the second, and their exchange shifts 0 < x - y <= 1 < a - b from one to the
other, which shortens the first excess and makes none. More sources: no such proof, since an
exchange moves all coordinates; where the packs are pure and full the bound can be met (a matrix of
quotas can be rounded with its sums kept), and the deviation that is left is measured, not assumed.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sft.blending import Ints, mixed, salt

Floats: TypeAlias = NDArray[np.float64]

_LEAST_ROUNDS, _MOST_ROUNDS = 6, 40
"""Of exchanges in random pairs. Mixed packs need about 5, steps of 32 pure packs about 20."""
_SETTLED = 0.99
"""A round that leaves more than this of the squared deviations is the last."""
_PARTNERS = 64
"""Steps that one outside the bound is compared with at a time."""
_COMPARISONS = 4000
"""Such comparisons in all, about a millisecond each: the bound of the effort."""
_CANDIDATES = 64
"""Packs of a step that take part in an exchange; all of them in steps of up to that many."""
_CHUNK = 1 << 22
"""Exchanges that are weighed at a time: 32 MiB of numbers."""


class BalancedSteps(NamedTuple):
    """Packs in training order, and how far a step is from the shares."""

    order: Ints
    """(n_packs,): ``batch`` packs per step, the last step may have fewer."""
    worst: float
    """Largest deviation of a step and a source, in tokens."""


def balanced_steps(
    supervised: NDArray[np.integer], batch: int, capacity: int, *, seed: int
) -> BalancedSteps:
    """Order packs so that every step has each source's share of the supervised tokens.

    ``supervised`` is (n_packs, n_sources) in tokens, at most ``capacity`` per pack. The shares are
    those of all packs together. A step with the supervised tokens x deviates by
    ``|x[s] - share[s] * x.sum()|``; the aim is that no deviation exceeds the capacity. ``worst``
    says what was reached. With one or two sources the bound can always be met; with more it was met
    in every case that was tried, some 23,000.

    The order is random but for that, and the same for the same seed on any machine: deviations are
    whole numbers in floating point (in units of a fraction of a token), so all sums are exact.

    Raises ValueError for a batch below 1.
    """
    if batch < 1:
        raise ValueError(f"{batch} packs per step; at least 1 is needed")
    deviations = _deviations(np.asarray(supervised, dtype=np.int64))
    scale = _scale(capacity, batch, deviations.shape[1])
    search = _Search(np.rint(deviations * scale), batch, seed)
    if search.n_steps > 1 and deviations.shape[1] > 1:
        search.spread()
        # Rounding shifts a step's deviation by at most half a unit per pack.
        search.repair(capacity * scale - min(batch, capacity * scale) / 2)
    order = search.order()
    starts = np.arange(0, len(order), batch)
    sums = np.add.reduceat(deviations[order], starts) if len(order) else deviations
    return BalancedSteps(order, float(np.abs(sums).max(initial=0.0)))


def _deviations(supervised: Ints) -> Floats:
    """What every pack has more of each source than the shares say, (n_packs, n_sources)."""
    sums = supervised.sum(axis=0)
    shares = sums / max(1, sums.sum())
    deviations: Floats = supervised - shares * supervised.sum(axis=1, keepdims=True)
    return deviations


def _scale(capacity: int, batch: int, n_sources: int) -> float:
    """Units per token: a power of two with which squares of a step's sums stay below 2 ** 53.

    At least 1, which is too coarse a bound only for steps of thousands of packs whose vectors
    would all have to point the same way.
    """
    largest = 8 * n_sources * (batch * capacity) ** 2
    return 2.0 ** min(10, max(0, (52 - largest.bit_length()) // 2))


class _Search:
    """Packs in steps, their deviations, and exchanges between them.

    ``vectors`` is (n_packs, n_sources), whole numbers. Places that the last step lacks hold a pack
    of zeros, which is never exchanged.
    """

    def __init__(self, vectors: Floats, batch: int, seed: int) -> None:
        n_packs, n_sources = vectors.shape
        self.n_steps = -(-n_packs // batch)
        self._batch = batch
        self._seed = seed
        self._vectors = np.vstack([vectors, np.zeros((1, n_sources))])
        self._squares: Floats = (self._vectors**2).sum(axis=1)
        self._squares[n_packs] = np.inf
        self._n_packs = n_packs
        places = np.full(self.n_steps * batch, n_packs, dtype=np.int64)
        places[:n_packs] = _shuffled(n_packs, seed, "packs")
        self._places = places.reshape(self.n_steps, batch)
        self._sums: Floats = self._vectors[self._places].sum(axis=1)
        self._comparisons = _COMPARISONS

    def order(self) -> Ints:
        """The packs, step by step."""
        packs: Ints = self._places[self._places < self._n_packs]
        return packs

    def spread(self) -> None:
        """Exchange packs in random pairs of steps, so that the squared deviations shrink."""
        half = self.n_steps // 2
        width = min(self._batch, _CANDIDATES)
        at_once = max(1, _CHUNK // width**2)
        squares = np.inf
        for number in range(_MOST_ROUNDS):
            before, squares = squares, float((self._sums**2).sum())
            if number >= _LEAST_ROUNDS and squares > _SETTLED * before:
                break
            pairs = _shuffled(self.n_steps, self._seed, "steps", number)
            columns = (number * width + np.arange(width)) % self._batch
            for start in range(0, half, at_once):
                end = min(start + at_once, half)
                self._exchange_in_pairs(pairs[start:end], pairs[half + start : half + end], columns)

    def _exchange_in_pairs(self, left: Ints, right: Ints, columns: Ints) -> None:
        """Make the best exchange of every pair (left[i], right[i]), if it betters the pair.

        With the pair's sums a and b, exchanging x for y changes the squares |a|^2 + |b|^2 by
        2 (|x|^2 + |y|^2 - 2 x.y - (a - b).(x - y)).
        """
        left_packs, right_packs = self._places[left][:, columns], self._places[right][:, columns]
        x, y = self._vectors[left_packs], self._vectors[right_packs]
        gap = (self._sums[left] - self._sums[right])[:, :, None]
        x_terms = self._squares[left_packs] - (x @ gap)[:, :, 0]
        y_terms = self._squares[right_packs] + (y @ gap)[:, :, 0]
        change = x_terms[:, :, None] + y_terms[:, None, :] - 2 * (x @ y.transpose(0, 2, 1))
        flat = change.reshape(len(left), -1)
        best = flat.argmin(axis=1)
        better = np.flatnonzero(flat[np.arange(len(left)), best] < 0)
        from_left, from_right = np.divmod(best[better], len(columns))
        self._exchange(left[better], columns[from_left], right[better], columns[from_right])

    def repair(self, limit: float) -> None:
        """Exchange packs of steps that deviate by more than ``limit``, as long as it helps."""
        given_up = np.zeros(self.n_steps, dtype=bool)
        while self._comparisons > 0:
            worst = np.where(given_up, 0.0, np.abs(self._sums).max(axis=1))
            step = int(worst.argmax())
            if worst[step] <= limit:
                return
            if self._relieve(step, limit):
                given_up[:] = False
            else:
                given_up[step] = True

    def _relieve(self, step: int, limit: float) -> bool:
        """Make the exchange that lowers most what this step and another exceed the limit by."""
        source = int(np.abs(self._sums[step]).argmax())
        sign = np.sign(self._sums[step, source])
        opposite = np.argsort(sign * self._sums[:, source], kind="stable")
        own = self._extreme(np.array([step]), source, -sign)[0]
        for start in range(0, self.n_steps, _PARTNERS):
            others = opposite[start : start + _PARTNERS]
            others = others[others != step]
            self._comparisons -= 1
            if self._exchange_best(step, own, others, self._extreme(others, source, sign), limit):
                return True
            if self._comparisons <= 0:
                break
        return False

    def _extreme(self, steps: Ints, source: int, sign: float) -> Ints:
        """The places of the packs with the lowest ``sign * vector[source]``, a row per step."""
        values = sign * self._vectors[self._places[steps], source]
        return np.argsort(values, axis=1, kind="stable")[:, :_CANDIDATES]

    def _exchange_best(
        self, step: int, own: Ints, others: Ints, columns: Ints, limit: float
    ) -> bool:
        """The best exchange of a place in ``own`` with one in ``columns`` of the other steps."""
        own_packs = self._places[step, own]
        packs = self._places[others[:, None], columns]
        shift = self._vectors[packs][:, None, :, :] - self._vectors[own_packs][None, :, None, :]
        mine = self._sums[step] + shift
        theirs = self._sums[others][:, None, None, :] - shift
        excess = _excess(mine, limit) + _excess(theirs, limit)
        now = _excess(self._sums[step], limit) + _excess(self._sums[others], limit)
        possible = (own_packs[None, :, None] < self._n_packs) & (packs[:, None, :] < self._n_packs)
        gain = np.where(possible, now[:, None, None] - excess, 0.0)
        if gain.max(initial=0.0) <= 0:
            return False
        # Among exchanges that help equally, the one that leaves the pair evenest.
        squares = (mine**2).sum(axis=-1) + (theirs**2).sum(axis=-1)
        best = np.where(gain == gain.max(), squares, np.inf).argmin()
        other, i, j = (int(at) for at in np.unravel_index(best, gain.shape))
        self._exchange(np.array([step]), own[[i]], others[[other]], columns[other, [j]])
        return True

    def _exchange(self, left: Ints, from_left: Ints, right: Ints, from_right: Ints) -> None:
        """Exchange a pack of every step in ``left`` with one of the step in ``right``."""
        x, y = self._places[left, from_left], self._places[right, from_right]
        self._places[left, from_left], self._places[right, from_right] = y, x
        shift = self._vectors[y] - self._vectors[x]
        self._sums[left] += shift
        self._sums[right] -= shift


def _excess(sums: Floats, limit: float) -> Floats:
    """By how much the coordinates exceed the limit, in all."""
    excess: Floats = np.maximum(np.abs(sums) - limit, 0.0).sum(axis=-1)
    return excess


def _shuffled(n: int, seed: int, *purpose: str | int) -> Ints:
    keys = mixed(np.arange(n, dtype=np.uint64), salt(seed, *purpose))
    return np.argsort(keys, kind="stable")
