"""Comparison tokens: the words of texts as duplicates and overlaps see them, and their hashes.

A text is folded (NFKC and case), and its tokens are the runs of letters, digits and marks; in
scripts that put no spaces between words (Chinese, Japanese, Thai and their like) every character is
a token. Punctuation, symbols and white space only separate. So "Full-Width" and "ＦＵＬＬ width"
have the same tokens.

`judge.offline.content_tokens` is made for another purpose: it drops stop words and the order, and
pairs Chinese characters, as fits the comparison of an answer with its reference. `judge.checks`
folds in the same way, but piece by piece in Python; here a million texts have to pass.

Tokens are known by 64-bit hashes of their characters: polynomials modulo 2**64 with an odd base,
mixed. The hashes are the same on every machine and in every version, for polars' own are not. Two
of 10 million distinct words share a hash with a probability of 3e-6.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache

import numpy as np
import polars as pl
from numpy.typing import NDArray

from judge.checks import CJK

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]

_BASE = 0x9E3779B97F4A7C15 | 1
"""Of the polynomials over characters; any large odd number does."""
_TOKEN_BASE = 0xD6E8FEB86659FD93
"""Of the polynomials over tokens."""
_SLICE = 1 << 18
"""Characters hashed at a time, so that the arrays stay in the processor's cache."""

_SEPARATOR, _WORD, _CHARACTER = 0, 1, 2
UNSPACED = (
    rf"{CJK}\u3005-\u3007\u3041-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\ua000-\ua4cf"
    r"\u0e00-\u0eff\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf"
    r"\u1b00-\u1b7f\ua980-\ua9df\uaa80-\uaadf\U0001b000-\U0001b16f"
)
"""Scripts without spaces, as what stands between the brackets of a pattern: Han with its marks
々〆〇, kana, Bopomofo, Yi, Thai and Lao, Myanmar, Khmer, Tai Le to Tai Tham, Balinese, Javanese,
Tai Viet."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of several texts, in order; those of text i are ``offsets[i]:offsets[i + 1]``."""

    texts: tuple[str, ...]
    """The folded texts."""
    hashes: Hashes
    """(n_tokens,)."""
    starts: Positions
    """(n_tokens,): where each token starts in its text."""
    ends: Positions
    offsets: Positions
    """(n_texts + 1,)."""
    characters: NDArray[np.bool_]
    """(n_tokens,): whether the token is a single character of a script without spaces."""

    def words(self, text: int, first: int = 0, last: int | None = None) -> list[str]:
        """The tokens of a text as strings; ``first`` and ``last`` count within the text."""
        begin, end = int(self.offsets[text]), int(self.offsets[text + 1])
        chosen = slice(begin + first, end if last is None else min(begin + last, end))
        bounds = zip(self.starts[chosen].tolist(), self.ends[chosen].tolist(), strict=True)
        return [self.texts[text][start:stop] for start, stop in bounds]


def turns(rows: pl.DataFrame) -> pl.DataFrame:
    """All messages of rows, in order: ``row`` and ``turn`` (both from 0), ``role``, ``content``."""
    return (
        rows.select(
            pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
            pl.int_ranges(pl.col("messages").list.len(), dtype=pl.UInt32).alias("turn"),
            "messages",
        )
        .filter(pl.col("messages").list.len() > 0)
        .explode("turn", "messages")
        .unnest("messages")
    )


def fold(texts: pl.Series) -> tuple[str, ...]:
    """Texts with width and case folded: NFKC, casefold, and NFKC again, for folding undoes some.

    Format characters (zero-width spaces and joiners, soft hyphens, marks of direction) are dropped:
    nobody sees them, and they would split words.
    """
    return tuple(_normalised([text.casefold() for text in _normalised(texts.to_list())]))


def _normalised(texts: list[str]) -> list[str]:
    """Texts in NFKC without format characters; polars does what is not in that form yet.

    Python's way is slower, and takes the square of the length of a run of marks (4 s for 80,000),
    even to say whether a text is normalised: hence texts with marks go to polars unasked.
    """
    special = pl.Series(texts, dtype=pl.String).str.contains(r"[\p{M}\p{Cf}]").to_list()
    waiting = [
        index
        for index, (text, is_special) in enumerate(zip(texts, special, strict=True))
        if is_special or not unicodedata.is_normalized("NFKC", text)
    ]
    chosen = pl.Series([texts[index] for index in waiting], dtype=pl.String)
    normalised = chosen.str.replace_all(r"\p{Cf}", "").str.normalize("NFKC").to_list()
    result = list(texts)
    for index, text in zip(waiting, normalised, strict=True):
        result[index] = text
    return result


def tokens_of(texts: tuple[str, ...]) -> Tokens:
    """The tokens of folded texts (see `fold`)."""
    kinds = _kinds()
    pieces: list[tuple[Hashes, Positions, Positions, NDArray[np.bool_], Positions]] = []
    for first, last in _slices(texts):
        some = texts[first:last]
        lengths = np.fromiter(map(len, some), np.int64, len(some))
        bounds = np.concatenate(([0], np.cumsum(lengths + 1)))  # a line feed after each
        codes = np.frombuffer(("\n".join(some) + "\n").encode("utf-32-le"), np.uint32)
        kind = kinds[codes]
        word = kind == _WORD
        single = kind == _CHARACTER
        begins, ends = single.copy(), single.copy()
        begins[1:] |= word[1:] & ~word[:-1]
        begins[0] |= word[0]
        ends[:-1] |= word[:-1] & ~word[1:]  # never at the last, which is a line feed
        starts, stops = np.flatnonzero(begins), np.flatnonzero(ends) + 1
        counts = np.searchsorted(starts, bounds)
        home = np.repeat(bounds[:-1], np.diff(counts))
        pieces.append(
            (_hashed(codes, starts, stops), starts - home, stops - home, single[starts],
             np.diff(counts))
        )  # fmt: skip
    if not pieces:
        nothing = np.empty(0, np.int64)
        return Tokens((), nothing.astype(np.uint64), nothing, nothing, np.zeros(1, np.int64),
                      nothing.astype(np.bool_))  # fmt: skip
    columns = [np.concatenate(column) for column in zip(*pieces, strict=True)]
    hashes, starts, stops, characters, counts = columns
    offsets = np.concatenate(([0], np.cumsum(counts)))
    return Tokens(texts, hashes, starts, stops, offsets, characters)


def window_hashes(hashes: Hashes, length: int, at: Positions | None = None) -> Hashes:
    """Hashes of runs of ``length`` tokens.

    ``at`` says where the runs start, and must leave room for them; without it all are hashed, and
    the outcome is (max(0, n_tokens - length + 1),). Equal runs have equal hashes wherever they are.
    """
    count = max(0, len(hashes) - length + 1)
    result = np.zeros(count if at is None else len(at), np.uint64)
    base = np.uint64(_TOKEN_BASE)
    for position in range(length):
        result *= base
        result += hashes[position : position + count] if at is None else hashes[at + position]
    return mixed(result)


def mixed(hashes: Hashes) -> Hashes:
    """Hashes with every bit depending on every bit: a bijection (the finaliser of SplitMix64)."""
    result = hashes ^ (hashes >> np.uint64(30))
    result *= np.uint64(0xBF58476D1CE4E5B9)
    result ^= result >> np.uint64(27)
    result *= np.uint64(0x94D049BB133111EB)
    result ^= result >> np.uint64(31)
    return result


def _hashed(codes: NDArray[np.uint32], starts: Positions, stops: Positions) -> Hashes:
    """Hash of every token: sum of code * base ** (place in the token), mixed.

    The sums are differences of one running sum, brought to a common power by the inverse of the
    base, so words of any length cost the same.
    """
    up, down = _powers(1 << max(len(codes) - 1, 1).bit_length())
    sums = np.zeros(len(codes) + 1, np.uint64)
    np.cumsum(codes * up[: len(codes)], out=sums[1:])
    return mixed((sums[stops] - sums[starts]) * down[starts] + (stops - starts).astype(np.uint64))


@lru_cache(maxsize=2)
def _powers(count: int) -> tuple[Hashes, Hashes]:
    """The base's powers 0..count - 1 modulo 2**64, and those of its inverse."""
    powers = []
    for base in (_BASE, pow(_BASE, -1, 1 << 64)):
        factors = np.full(count, base, np.uint64)
        factors[0] = 1
        powers.append(np.multiply.accumulate(factors))
    return powers[0], powers[1]


def _slices(texts: tuple[str, ...]) -> list[tuple[int, int]]:
    """Ranges of texts of about `_SLICE` characters; a longer text has a range of its own."""
    ranges, first, size = [], 0, 0
    for index, text in enumerate(texts):
        if size and size + len(text) >= _SLICE:
            ranges.append((first, index))
            first, size = index, 0
        size += len(text) + 1
    return [*ranges, (first, len(texts))] if texts else []


@cache
def _kinds() -> NDArray[np.uint8]:
    """Of every code point: whether it separates, belongs to a word, or is a token by itself."""
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    categories = [unicodedata.category(char) for char in every]
    kinds = np.fromiter((category[0] in "LNM" for category in categories), np.uint8)
    digits = np.fromiter((category == "Nd" for category in categories), np.bool_)
    unspaced = np.zeros(len(kinds), np.bool_)
    unspaced[[match.start() for match in re.finditer(f"[{UNSPACED}]", every)]] = True
    kinds[unspaced & ~digits & (kinds == _WORD)] = _CHARACTER
    return kinds
