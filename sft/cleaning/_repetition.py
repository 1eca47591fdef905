"""How much of an answer says again what it said before.

The repetition of an answer is the larger of two shares, both in [0, 1]:

- of its n-grams, those that contain a letter and stood in the answer before:
  ``sum(count(g) - 1 for distinct g with a letter) / number of n-grams``. Tokens are the words
  between white space, with 5-grams; in text that is mostly written without spaces (Chinese,
  Japanese, Thai, Lao, Khmer, Burmese) they are the characters other than white space, with
  10-grams.
- of the characters in its lines, those in lines of at least n tokens that equal an earlier line.

Fenced code and the rows of tables do not count; answers of fewer than 50 tokens are not judged.
n-grams without a letter are never repeats, so that grids and lists of numbers stay.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sft.cleaning import _code
from sft.words import UNSPACED

LEAST_TOKENS = 50
WORDS = 5
"""Words in an n-gram."""
CHARACTERS = 10
"""Characters in an n-gram of a script without spaces."""

MOST_TIMES = 100
"""How often a unit may be repeated without anything between."""
LONGEST_UNIT = 20

_UNSPACED = re.compile(f"[{UNSPACED}]+")
_BASE = np.uint64(0x9E3779B97F4A7C15)
_DRAWN = re.compile(r"[\s\d\-=_*#~.,:;|+/\\<>^'\"`()\[\]{}·•…—–\u2500-\u259f]+")
"""What rules, tables, leaders and arrays of numbers are drawn with."""

# A run of more than 100 units of u characters covers one of these checkpoints with at least
# 101 u - 79 >= 20 + u of its characters, so that the 20 from there occur again u later.
_CHECK_EVERY = 80
_CHECKED = 20


class Run(NamedTuple):
    """A unit that is repeated without anything between."""

    unit: str
    times: int


def repetition(text: str) -> float:
    """The repetition of an answer, in [0, 1] (see the module); 0 if it is too short to judge."""
    judged = _judged(text)
    words = judged.split()
    if not judged.isascii() and _is_unspaced(judged):
        characters = "".join(words)
        if len(characters) < LEAST_TOKENS:
            return 0.0
        share = _repeated_characters(characters)
        return max(share, _repeated_lines(judged, CHARACTERS, spaced=False))
    if len(words) < LEAST_TOKENS:
        return 0.0
    share = _repeated(list(zip(*(words[start:] for start in range(WORDS)), strict=False)))
    return max(share, _repeated_lines(judged, WORDS, spaced=True))


def endless_run(text: str) -> Run | None:
    """The first unit of up to 20 characters that is repeated more than 100 times on end.

    None if there is no such run. Fenced code does not count, nor do units that rules, tables and
    arrays of numbers are made of: white space, digits, and the likes of ``-=_*#.,|`` and
    box-drawing characters.
    """
    if len(text) <= MOST_TIMES:
        return None
    judged = _code.prose(text)
    start = 0
    while start + _CHECKED < len(judged):
        piece = judged[start : start + _CHECKED]
        again = judged.find(piece, start + 1, start + LONGEST_UNIT + _CHECKED)
        if again < 0:
            start += _CHECK_EVERY
            continue
        run, end = _run_at(judged, start, again - start)
        if run.times > MOST_TIMES and not _DRAWN.fullmatch(run.unit):
            return run
        start = max(start + _CHECK_EVERY, end - _CHECK_EVERY)
    return None


def _judged(text: str) -> str:
    """The text without fenced code and without rows of tables."""
    text = _code.prose(text)
    if "|" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if line.count("|") < 2)


def _is_unspaced(text: str) -> bool:
    unspaced = sum(map(len, _UNSPACED.findall(text)))
    return unspaced > 0 and 2 * unspaced > sum(map(len, text.split()))


def _repeated_characters(text: str) -> float:
    """The share of n-grams of characters that have a letter and stood before."""
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    size = len(codes) - CHARACTERS + 1
    hashes = np.zeros(size, dtype=np.uint64)
    for offset in range(CHARACTERS):
        hashes = hashes * _BASE + codes[offset : offset + size]
    # Equal n-grams have equal hashes: different hashes settle it, three times as fast.
    hashes.sort()
    if (hashes[1:] != hashes[:-1]).all():
        return 0.0
    return _repeated([text[start : start + CHARACTERS] for start in range(size)])


def _repeated(grams: Sequence[Sequence[str]]) -> float:
    """The share of n-grams that have a letter and stood before."""
    if len(set(grams)) == len(grams):
        return 0.0
    again = sum(
        count - 1
        for gram, count in Counter(grams).items()
        if count > 1 and any(character.isalpha() for token in gram for character in token)
    )
    return again / len(grams)


def _repeated_lines(text: str, least: int, *, spaced: bool) -> float:
    """The share of characters in lines of at least ``least`` tokens that equal an earlier line."""
    lines = [line for line in text.split("\n") if line]
    if len(set(lines)) == len(lines):
        return 0.0
    seen: set[str] = set()
    again = total = 0
    for line in map(str.strip, lines):
        total += len(line)
        tokens = line.split() if spaced else "".join(line.split())
        if len(tokens) < least or not any(map(str.isalpha, line)):
            continue
        if line in seen:
            again += len(line)
        seen.add(line)
    return again / total if total else 0.0


def _run_at(text: str, position: int, period: int) -> tuple[Run, int]:
    """The run with this period around a position, and where it ends."""
    start = position
    while start > 0 and text[start - 1] == text[start - 1 + period]:
        start -= 1
    end = position + period
    while end < len(text) and text[end] == text[end - period]:
        end += 1
    return Run(text[start : start + period], (end - start) // period), end
