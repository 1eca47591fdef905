"""What of a row is compared with other rows: its turns without the system's, as sets of shingles.

A long system prompt that many rows share says nothing about whether they are alike, so it is left
out. Tokens carry the role of their turn, so that a row with prompt and answer exchanged is another
row; shingles run across turns.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import polars as pl

from sft.words import Hashes, Positions, fold, tokens_of, turns, window_hashes

LEAST_TOKENS = 5
"""Rows with fewer are compared as exact texts only: in them, every word is most of the text."""
_KEY_BYTES = 16
_SALTS = {
    role: int.from_bytes(blake2b(role.encode(), digest_size=8).digest(), "little")
    for role in ("user", "assistant")
}


class Shingles(NamedTuple):
    """The shingles of rows, in order and with repeats; row i has ``offsets[i]:offsets[i + 1]``."""

    values: Hashes
    offsets: Positions
    """(n_rows + 1,)."""

    def of(self, row: int) -> Hashes:
        """Those of one row."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]


class Turns(NamedTuple):
    """The turns that are compared, folded."""

    rows: Positions
    """(n_turns,): to which row each belongs, rising."""
    roles: list[str]
    texts: tuple[str, ...]


def compared_turns(rows: pl.DataFrame) -> Turns:
    """All turns of rows but those of the system."""
    frame = turns(rows).filter(pl.col("role") != "system")
    return Turns(
        frame["row"].to_numpy().astype(np.int64), frame["role"].to_list(), fold(frame["content"])
    )


def exact_keys(spoken: Turns, n_rows: int) -> list[bytes | None]:
    """BLAKE2b-128 of each row's turns with their roles, white space collapsed; None without any.

    Unlike the shingles, it minds punctuation.
    """
    hashes: list[blake2b | None] = [None] * n_rows
    for row, role, text in zip(spoken.rows.tolist(), spoken.roles, spoken.texts, strict=True):
        collapsed = " ".join(text.split()).encode()
        # The length keeps a text that contains what looks like a turn apart from two turns.
        turn = b"%s %d %s" % (role.encode(), len(collapsed), collapsed)
        known = hashes[row]
        if known is None:
            hashes[row] = blake2b(turn, digest_size=_KEY_BYTES)
        else:
            known.update(turn)
    return [None if known is None else known.digest() for known in hashes]


def shingles(spoken: Turns, n_rows: int, size: int) -> Shingles:
    """Hashes of all runs of ``size`` tokens of each row.

    A row with `LEAST_TOKENS` or more, but fewer than ``size`` tokens has one shingle of them all; a
    row with fewer than `LEAST_TOKENS` has none.
    """
    tokens = tokens_of(spoken.texts)
    in_turns = np.diff(tokens.offsets)
    salts = np.array([_SALTS[role] for role in spoken.roles], np.uint64)
    hashes = tokens.hashes ^ np.repeat(salts, in_turns)
    lengths = np.bincount(spoken.rows, weights=in_turns, minlength=n_rows).astype(np.int64)
    ends = np.cumsum(lengths)

    counts = np.where(lengths >= size, lengths - size + 1, lengths >= LEAST_TOKENS)
    counts[lengths < LEAST_TOKENS] = 0
    offsets = np.concatenate(([0], np.cumsum(counts)))
    values = np.empty(offsets[-1], np.uint64)
    short = (counts == 1) & (lengths < size)
    whole = np.ones(len(values), np.bool_)
    whole[offsets[:-1][short]] = False

    every = window_hashes(hashes, size)
    fits = np.arange(len(every)) + size <= np.repeat(ends, lengths)[: len(every)]
    fits &= np.repeat(lengths >= LEAST_TOKENS, lengths)[: len(every)]
    values[whole] = every[fits]
    for length in np.unique(lengths[short]).tolist():
        of_length = short & (lengths == length)
        values[offsets[:-1][of_length]] = window_hashes(hashes, length, ends[of_length] - length)
    return Shingles(values, offsets)


def jaccard(one: Hashes, other: Hashes) -> float:
    """Jaccard similarity of two sets of shingles (given with or without repeats), in [0, 1].

    Shingles are known by 64-bit hashes; that two different ones of a pair of rows with 1,000
    shingles each are taken for one has a probability of 5e-14. 0 if either has none.
    """
    one, other = np.unique(one), np.unique(other)
    shared = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - shared
    return shared / union if shared else 0.0
