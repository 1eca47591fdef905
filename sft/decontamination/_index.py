"""The questions as tables of hashes, to look the tokens of many rows up at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from judge.questions import QuestionSet
from sft.decontamination._patterns import Pattern, Text, patterns
from sft.settings import DecontaminationSettings
from sft.words import Hashes, Positions, Tokens, fold, tokens_of, window_hashes

_ANCHOR = 4
"""Tokens at the start of a pattern by which most places of a row are passed over."""
_FILTER_BITS = 20


@dataclass(frozen=True, slots=True)
class Table:
    """Patterns of one length, sorted by their hashes."""

    length: int
    hashes: Hashes
    patterns: NDArray[np.int64]
    """Their numbers, in the order of the hashes."""

    def look_up(self, tokens: Hashes, at: Positions) -> NDArray[np.int64]:
        """(n_hits, 2): a start of ``at``, and the number of a pattern with the hash found there.

        ``tokens`` are hashes of tokens; every start must leave room for the table's length.
        """
        hashes = window_hashes(tokens, self.length, at)
        first = np.searchsorted(self.hashes, hashes, "left")
        counts = np.searchsorted(self.hashes, hashes, "right") - first
        positions = np.repeat(np.arange(len(hashes)), counts)
        within = np.arange(len(positions)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.column_stack((at[positions], self.patterns[first[positions] + within]))


@dataclass(frozen=True, slots=True)
class ContaminationIndex:
    """What `decontaminate` looks for; made by `contamination_index`, and picklable."""

    texts: tuple[Text, ...]
    patterns: tuple[Pattern, ...]
    anchor: int
    """Tokens of an anchor; 0 if there are no patterns inside turns."""
    anchors: Hashes
    """Sorted."""
    filter: NDArray[np.bool_]
    """Which first bits of a hash an anchor has: most places fail here, for one look-up each."""
    inside: tuple[Table, ...]
    """Patterns that may stand anywhere in a turn, by length."""
    whole: tuple[Table, ...]
    """Patterns that are whole turns, by length."""

    def anchored(self, hashes: Hashes) -> NDArray[np.int64]:
        """Where in a sequence of tokens' hashes a pattern may start."""
        if not self.anchor:
            return np.empty(0, np.int64)
        starts = window_hashes(hashes, self.anchor)
        maybe = np.flatnonzero(self.filter[starts >> np.uint64(64 - _FILTER_BITS)])
        places = np.searchsorted(self.anchors, starts[maybe])
        places[places == len(self.anchors)] = 0
        anchored: NDArray[np.int64] = maybe[self.anchors[places] == starts[maybe]]
        return anchored


def contamination_index(
    question_sets: Sequence[QuestionSet], settings: DecontaminationSettings
) -> ContaminationIndex:
    """The index of the questions and references of some sets.

    What counts as an overlap depends on a text's length: see `sft.decontamination`.
    """
    parts = [
        (each.name, question.question_id, part, text)
        for each in question_sets
        for question in each
        for part, text in (("question", question.question), ("reference", question.reference))
        if text is not None
    ]
    tokens = tokens_of(fold(pl.Series([text for *_, text in parts], dtype=pl.String)))
    bounds = list(zip(tokens.offsets[:-1].tolist(), tokens.offsets[1:].tolist(), strict=True))
    texts = tuple(
        Text(name, question_id, part, tuple(tokens.words(number)),
             tuple(tokens.characters[first:last].tolist()))
        for number, ((name, question_id, part, _), (first, last)) in enumerate(
            zip(parts, bounds, strict=True)
        )
    )  # fmt: skip
    found = tuple(patterns(texts, settings.ngram))
    inside = [number for number, pattern in enumerate(found) if not pattern.whole]
    anchor = min([_ANCHOR, *(found[number].length for number in inside)]) if inside else 0
    places = np.array(
        [tokens.offsets[found[number].text] + found[number].first for number in inside], np.int64
    )
    anchors = np.unique(window_hashes(tokens.hashes, anchor, places))
    present = np.zeros(1 << _FILTER_BITS, np.bool_)
    present[anchors >> np.uint64(64 - _FILTER_BITS)] = True
    whole = [number for number, pattern in enumerate(found) if pattern.whole]
    return ContaminationIndex(
        texts, found, anchor, anchors, present,
        _tables(tokens, found, inside), _tables(tokens, found, whole),
    )  # fmt: skip


def _tables(tokens: Tokens, found: Sequence[Pattern], numbers: Sequence[int]) -> tuple[Table, ...]:
    """One table for each length of the patterns with these numbers."""
    tables = []
    for length in sorted({found[number].length for number in numbers}):
        chosen = np.array([n for n in numbers if found[n].length == length], np.int64)
        at = [tokens.offsets[found[n].text] + found[n].first for n in chosen.tolist()]
        hashes = window_hashes(tokens.hashes, length, np.array(at, np.int64))
        order = np.argsort(hashes, kind="stable")
        tables.append(Table(length, hashes[order], chosen[order]))
    return tuple(tables)
