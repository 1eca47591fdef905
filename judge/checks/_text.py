"""Text as the checks see it: folded, in words, with whole terms found in it.

Patterns here and in the other modules are written so that their time grows linearly with the text,
however odd the text is.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

CJK = r"\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, for use inside a character class."""
LETTER = rf"[^\W_{CJK}]"
"""A letter or digit of a script that puts spaces between words."""

WORD = re.compile(rf"[{CJK}]|{LETTER}+(?:['’-]{LETTER}+)*")
_PIECE = re.compile(r"\S{1,2000}|\s+")
_CIRCLED = {0x2460 + index: f"{index + 1}) " for index in range(20)}
_PLAIN = str.maketrans("‘’“”‐‑−", "''\"\"---")


def words(text: str) -> list[str]:
    """Words of a text; a CJK character counts as one word (there are no spaces to go by)."""
    return WORD.findall(text)


def mentions(text: str, terms: Sequence[str]) -> list[str]:
    """Those of the terms that occur in the text, in the order of the terms.

    Case and width do not count. An edge of a term that is a letter or digit has to be the edge of
    a word ("ad" is not in "bad") unless it is a CJK character; other edges may touch anything
    ("100%", "#1").
    """
    folded = fold(text)
    return [term for term in terms if _term(term).search(folded)]


def fold(text: str) -> str:
    """Case and width folded (NFKC), with plain quotes and hyphens; circled numbers become "3) ".

    Normalised in pieces: a run of mixed combining marks costs the square of its length (5 s for
    80,000 characters at once, 0.1 s in pieces of 2,000).
    """
    return "".join(
        unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", piece).casefold())
        for piece in _PIECE.findall(text.translate(_CIRCLED))
    ).translate(_PLAIN)


def term_pattern(term: str) -> str:
    """The pattern that finds a term as whole words in a folded text."""
    folded = fold(term).strip()
    before = rf"(?<!{LETTER})" if re.match(LETTER, folded) else ""
    after = rf"(?!{LETTER})" if re.match(LETTER, folded[-1:]) else ""
    return before + r"\s+".join(map(re.escape, folded.split())) + after


@lru_cache(maxsize=4096)
def _term(term: str) -> re.Pattern[str]:
    return re.compile(term_pattern(term))


def listing(names: Sequence[str], most: int = 6) -> str:
    """Names with commas, the rest as a count: "2, 3, 5 and 4 more"."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more} more" if more > 0 else "")


def quantity(count: int, noun: str) -> str:
    """A count with its noun: "1 word", "2 words"."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def quoted(names: Sequence[str]) -> str:
    """Names in quotes with commas."""
    return listing([f'"{name}"' for name in names])
