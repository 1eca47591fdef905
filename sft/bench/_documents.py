"""Random documents in packs, as the trainer takes its data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sft.bench._settings import BenchSettings
from sft.blending import Ints
from sft.packing import pack
from sft.tokenisation import Sample

_SHORTEST = 2
"""Tokens: something has to come before a supervised one."""


def document_lengths(count: int, settings: BenchSettings) -> Ints:
    """(count,) lengths in tokens: log-normal, rounded, and cut to 2 up to a whole pack."""
    draw = np.random.default_rng([settings.seed, 0])
    lengths = draw.lognormal(np.log(settings.median), settings.sigma, size=count)
    return np.clip(np.rint(lengths), _SHORTEST, settings.length).astype(np.int64)


class BenchData:
    """Documents of random tokens with the packs of every step: what a run reads its data from.

    Attributes:
        store: The documents.
        source_of: Their source, which is one for all.
        length: Tokens that a pack has room for.
        batch: Packs of an optimizer step.
    """

    sources = ("random",)

    def __init__(self, settings: BenchSettings, vocabulary: int) -> None:
        """Draw documents for all steps of a measurement and pack them, best fit decreasing."""
        self.length = settings.length
        self.batch = settings.batch
        self._steps = settings.warmup + settings.steps
        packs, lengths = _packed(settings, self._steps * self.batch)
        used = np.concatenate(packs)
        number = np.full(len(lengths), -1, dtype=np.int64)
        number[used] = np.arange(len(used))
        self._packs = [number[pack] for pack in packs]
        draw = np.random.default_rng([settings.seed, 1])
        self.store = [_document(draw, int(n), vocabulary, settings) for n in lengths[used]]
        self.source_of = np.zeros(len(self.store), dtype=np.int64)
        self._n_tokens = lengths[used]
        self._n_supervised = np.array([int(s.supervised.sum()) for s in self.store])

    def packs(self, step: int) -> list[Ints]:
        """The document numbers of every pack of a step (from 0)."""
        if not 0 <= step < self._steps:
            raise IndexError(f"step {step} of {self._steps}")
        return self._packs[step * self.batch : (step + 1) * self.batch]

    def epoch_of(self, step: int) -> int:
        """There is one epoch."""
        return 0

    def tokens(self, packs: Sequence[Ints]) -> int:
        """Tokens in packs, without padding."""
        return int(sum(self._n_tokens[pack].sum() for pack in packs))

    def supervised_by_source(self, packs: Sequence[Ints]) -> Ints:
        """(1,): tokens in packs that the loss is taken over."""
        return np.array([sum(int(self._n_supervised[pack].sum()) for pack in packs)])

    @property
    def fill(self) -> float:
        """Share of the packs' room that holds documents."""
        return float(self._n_tokens.sum() / (len(self._packs) * self.length))

    @property
    def mean_square_length(self) -> float:
        """Mean squared length of the documents over their mean length."""
        return float((self._n_tokens.astype(float) ** 2).sum() / self._n_tokens.sum())

    @property
    def mean_length(self) -> float:
        """Mean length of the documents in tokens."""
        return float(self._n_tokens.mean())


def _packed(settings: BenchSettings, count: int) -> tuple[list[Ints], Ints]:
    """At least ``count`` packs of documents, in random order and cut to ``count``; the lengths."""
    mean = float(document_lengths(10_000, settings).mean())
    documents = int(1.1 * count * settings.length / mean) + 1
    while True:
        lengths = document_lengths(documents, settings)
        items, offsets = pack(lengths, settings.length)
        if len(offsets) > count:
            break
        documents *= 2
    # Best fit decreasing begins with the longest documents; steps are to be alike.
    order = np.random.default_rng([settings.seed, 2]).permutation(len(offsets) - 1)[:count]
    return [items[offsets[n] : offsets[n + 1]] for n in order], lengths


def _document(
    draw: np.random.Generator, length: int, vocabulary: int, settings: BenchSettings
) -> Sample:
    supervised = np.zeros(length, dtype=np.bool_)
    # The first token is predicted from nothing.
    supervised[max(1, length - round(length * settings.supervised)) :] = True
    return Sample(draw.integers(vocabulary, size=length).astype(np.uint32), supervised)
