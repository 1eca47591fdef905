"""The packs of an epoch in the order of training."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np

from sft.blending import Ints, Keys, Samples, mixed, salt
from sft.packing._balance import balanced_steps
from sft.packing._packs import pack


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EpochPlan:
    """Which samples share a pack, and which packs an optimizer step.

    A step has ``batch`` packs; the last one may have fewer. Nothing of the draw is left out.
    """

    items: Ints
    """(n,): sample numbers, pack by pack, the longest of a pack first."""
    pack_offsets: Ints
    """(n_packs + 1,): pack i holds ``items[pack_offsets[i]:pack_offsets[i + 1]]``."""
    step_offsets: Ints
    """(n_steps + 1,): step t has the packs from ``step_offsets[t]`` to ``step_offsets[t + 1]``."""
    capacity: int
    n_tokens: int
    n_supervised: int
    worst: float
    """Largest deviation of a step's supervised tokens from the epoch's shares, over all steps and
    sources, in tokens (see `sft.packing.balanced_steps`)."""

    @property
    def n_packs(self) -> int:
        """Packs of the epoch."""
        return len(self.pack_offsets) - 1

    @property
    def n_steps(self) -> int:
        """Optimizer steps of the epoch."""
        return len(self.step_offsets) - 1

    @property
    def fill(self) -> float:
        """Share of the packs' capacity that holds tokens; 1 if there are no packs."""
        return self.n_tokens / (self.n_packs * self.capacity) if self.n_packs else 1.0

    def pack(self, at: int) -> Ints:
        """The sample numbers of a pack, a view; raises IndexError outside 0 .. n_packs - 1."""
        if not 0 <= at < self.n_packs:
            raise IndexError(f"pack {at} of {self.n_packs}")
        return self.items[self.pack_offsets[at] : self.pack_offsets[at + 1]]

    def step(self, at: int) -> range:
        """The packs of a step; raises IndexError outside 0 .. n_steps - 1."""
        if not 0 <= at < self.n_steps:
            raise IndexError(f"step {at} of {self.n_steps}")
        return range(int(self.step_offsets[at]), int(self.step_offsets[at + 1]))

    def content_hash(self) -> str:
        """BLAKE2b-128 (hex) of capacity, items and offsets; equal for equal plans anywhere."""
        digest = blake2b(digest_size=16)
        for array in (np.array([self.capacity]), self.items, self.pack_offsets, self.step_offsets):
            digest.update(len(array).to_bytes(8, "little"))
            digest.update(np.ascontiguousarray(array, dtype="<i8").tobytes())
        return digest.hexdigest()


def plan_epoch(
    samples: Samples, drawn: Ints, *, capacity: int, batch: int, seed: int, epoch: int
) -> EpochPlan:
    """Pack a draw and order the packs into optimizer steps.

    ``drawn`` are the sample numbers of the epoch (`sft.blending.draw`), with repeats. Packs are
    those of best fit decreasing over the whole epoch, ``batch`` of them make a step, and every step
    carries the epoch's shares of the sources in supervised tokens within one pack, as far as that
    is possible: ``worst`` says how far it is. From epoch to epoch samples of equal length change
    places, so packs differ; samples whose length is rare meet the same neighbours again (a quarter
    of the packs of 3000 samples, next to none of a million), in another step.

    Copies of a sample are spread over the samples of its length, so that a pack holds two of them
    only if it takes more samples of that length than there are ones drawn as often.

    Raises ValueError for a sample that is longer than the capacity.
    """
    lengths = samples.n_tokens[drawn]
    packs = pack(lengths, capacity, order=_order(samples, drawn, seed, epoch))
    sizes = np.diff(packs.offsets)
    n_packs, n_sources = len(sizes), len(samples.sources)
    pack_of = np.repeat(np.arange(n_packs), sizes)
    contents = drawn[packs.items]
    supervised = np.bincount(
        pack_of * n_sources + samples.codes[contents],
        weights=samples.n_supervised[contents],
        minlength=n_packs * n_sources,
    ).reshape(n_packs, n_sources)
    steps = balanced_steps(
        supervised.astype(np.int64), batch, capacity, seed=salt(seed, epoch, "steps")
    )
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[steps.order])])
    moved = np.repeat(packs.offsets[:-1][steps.order] - offsets[:-1], sizes[steps.order])
    return EpochPlan(
        items=contents[np.arange(len(contents)) + moved],
        pack_offsets=offsets,
        step_offsets=np.append(np.arange(0, n_packs, batch), n_packs),
        capacity=capacity,
        n_tokens=int(lengths.sum()),
        n_supervised=int(supervised.sum()),
        worst=steps.worst,
    )


def _order(samples: Samples, drawn: Ints, seed: int, epoch: int) -> Keys:
    """Keys of the drawn samples for their order among those of equal length.

    Copy i of m has the key (i + u) / m of the whole range, with u random per sample: copies lie
    evenly apart, and between two of them is one of every sample that is drawn as often.
    """
    keys = mixed(samples.keys[drawn], salt(seed, epoch, "packs"))
    times = np.bincount(drawn, minlength=len(samples))
    if times.max(initial=0) <= 1:
        return keys
    by_sample = np.argsort(drawn, kind="stable")
    copy = np.empty_like(drawn)
    first = np.concatenate([[0], np.cumsum(times)])[drawn[by_sample]]
    copy[by_sample] = np.arange(len(drawn)) - first
    # 32 random bits: with all of them, the last copy's key could round up to the range's end.
    spread = (copy + (keys >> np.uint64(32)) / 2.0**32) / times[drawn]
    return (spread * 2.0**64).astype(np.uint64)
