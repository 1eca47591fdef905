"""Which samples an epoch trains on.

Every source is an endless stream of its samples, pass after pass, each pass in an order of its
own. Epoch e takes the stretch whose cumulative units lie in ((e - 1) * target, e * target]. So the
shares hold over all epochs within one sample per source, however long the samples are, and over the
whole training all samples of a source are used equally often, up to one.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import numpy as np

from sft.blending._keys import Ints, Keys, mixed, salt
from sft.blending._samples import Samples
from sft.blending._shares import BlendTargets


def draw(samples: Samples, targets: BlendTargets, *, seed: int, epoch: int) -> Ints:
    """The sample numbers of one epoch (from 1 on), as `draws` gives them.

    Raises ValueError for an epoch below 1. It walks through the epochs before it.
    """
    if epoch < 1:
        raise ValueError(f"epoch {epoch}; they count from 1")
    return next(islice(draws(samples, targets, seed=seed), epoch - 1, None))


def draws(samples: Samples, targets: BlendTargets, *, seed: int) -> Iterator[Ints]:
    """The sample numbers of epoch 1, 2, ..., without end: source by source, in stream order.

    In an epoch a source holds its target, less than one sample more or less; counted in samples,
    exactly. If the target is no more than what is available, no sample is in an epoch twice; if it
    is more, all are in it equally often up to one.

    The draw depends on the seed, the sources' names and the samples' keys and units only: other
    sources, the order of the samples and other targets change nothing in a source's first pass.
    """
    streams = [
        (_Stream(samples, targets, code, seed), entry.target)
        for entry in targets.sources
        if entry.target
        for code in [samples.sources.index(entry.source)]
    ]
    taken = 0
    while True:
        taken += 1
        yield np.concatenate(
            [np.empty(0, np.int64), *(stream.up_to(taken * target) for stream, target in streams)]
        )


class _Stream:
    """A source's samples, pass after pass; ``up_to`` moves on in it."""

    def __init__(self, samples: Samples, targets: BlendTargets, code: int, seed: int) -> None:
        self._numbers = np.flatnonzero(samples.codes == code)
        self._keys: Keys = samples.keys[self._numbers]
        self._units: Ints = samples.units(targets.by)[self._numbers]
        self._available = int(self._units.sum())
        if not self._available:
            raise ValueError(f"{samples.sources[code]} has nothing to draw")
        self._name = samples.sources[code]
        self._seed = seed
        self._passes = 0
        self._order: Ints = np.empty(0, np.int64)
        self._ends: Ints = np.empty(0, np.int64)
        self._at = 0

    def up_to(self, units: int) -> Ints:
        """The next samples, as long as the stream's cumulative units stay within ``units``."""
        parts = [self._rest(units)]
        while self._passes * self._available < units:
            self._start_pass(parts[0])
            parts.append(self._rest(units))
        return self._numbers[np.concatenate(parts)]

    def _rest(self, units: int) -> Ints:
        """What is left of the pass within ``units``."""
        end = int(np.searchsorted(self._ends, units, side="right"))
        part = self._order[self._at : end]
        self._at = end
        return part

    def _start_pass(self, taken: Ints) -> None:
        """Put the samples into the order of the next pass.

        ``taken`` is what the epoch has of the pass that it began in. These samples go to the end
        of the new pass, or an epoch that spans two passes could hold a sample twice while others
        are missing. The first of them leads them: it did not fit into the epoch before, and a
        whole pass later it does not fit into this one if the target is at most a pass.
        """
        rank = mixed(self._keys, salt(self._seed, self._name, self._passes))
        order = np.argsort(rank, kind="stable")
        if len(taken):
            late = np.zeros(len(order), dtype=np.int8)
            late[taken] = 2
            late[taken[0]] = 1
            order = order[np.argsort(late[order], kind="stable")]
        self._order = order
        self._ends = self._passes * self._available + np.cumsum(self._units[order])
        self._passes += 1
        self._at = 0
