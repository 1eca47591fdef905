"""Measures of a text that several features share. Units are words unless said otherwise."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from judge.checks import CJK, fold, words
from judge.offline._lexicon import STOP_CHARACTERS, STOPWORDS, Lexicon

WORDS_PER_CHARACTER = 0.6
"""A Chinese character says about as much as 0.6 of an English word."""
_OTHER_SCRIPT = 0.3
_QUOTE = 80
"""Longest quote, in characters."""

_CHINESE = re.compile(f"[{CJK}]")
_RUN = re.compile(rf"[{CJK}]+|[^\W_{CJK}]+(?:['’-][^\W_{CJK}]+)*")
_LINE = re.compile(r"[^\n]+")
_MARK = re.compile(r"[ \t]*(?:[-*+•#>|]+[ \t]+|\(?\d{1,3}(?:[.)](?=[ \t])|、))?[ \t*_]*")
_SENTENCE_END = re.compile(r"(?<![.!?])[.!?]+[\"'”’)\]*_]{0,4}(?=\s)|[。！？；]+[”’）]{0,2}")
_BREAK = re.compile(r"[.!?](?=\s)|[\n。！？；]")


class Script(StrEnum):
    """The languages that the features know, told apart by their script."""

    EN = "en"
    ZH = "zh"


class Span(NamedTuple):
    """A part of a text, as offsets."""

    start: int
    end: int


def script(text: str) -> Script | None:
    """Chinese if at least half the words (a character counts as one) are Chinese, else English.

    None if more than 30 % of the letters belong to other scripts than Latin and Chinese. A text
    without letters ("3") counts as English; so does any language in Latin letters.
    """
    letters = [char for char in text if char.isalpha()]
    chinese = sum(1 for _ in _CHINESE.finditer(text))
    latin = sum(char < "\u0250" or "\u1e00" <= char < "\u1f00" for char in letters)
    if len(letters) - chinese - latin > _OTHER_SCRIPT * len(letters):
        return None
    return Script.ZH if chinese and chinese >= len(words(text)) / 2 else Script.EN


def comparable(one: str, other: str) -> bool:
    """Whether two texts share a script, so that their words can be compared."""
    return script(one) == script(other) or not (_has_letters(one) and _has_letters(other))


def _has_letters(text: str) -> bool:
    return any(map(str.isalpha, text))


def volume(text: str) -> float:
    """Length in English words or, for Chinese, in their equivalents (0.6 per character)."""
    chinese = sum(1 for _ in _CHINESE.finditer(text))
    return len(words(text)) - (1 - WORDS_PER_CHARACTER) * chinese


def sentences(text: str) -> list[Span]:
    """Sentences with at least one word, without list marks; the end of a line ends a sentence."""
    spans: list[Span] = []
    for line in _LINE.finditer(text):
        mark = _MARK.match(text, line.start(), line.end())
        start = line.start()
        if mark and words(text[mark.end() : line.end()]):  # "3." alone is no mark
            start = mark.end()
        ends = [match.end() for match in _SENTENCE_END.finditer(text, start, line.end())]
        for end in [*ends, line.end()]:
            sentence = text[start:end]
            if words(sentence):
                spans.append(Span(end - len(sentence.lstrip()), start + len(sentence.rstrip())))
            start = end
    return spans


def content_tokens(text: str) -> Counter[str]:
    """Content words with their counts: folded, without stop words and plural s; Chinese bigrams."""
    tokens: Counter[str] = Counter()
    for run in _RUN.findall(fold(text)):
        if _CHINESE.match(run):
            tokens.update(_bigrams(run))
        elif run not in STOPWORDS:
            tokens[_singular(run)] += 1
    return tokens


def _bigrams(run: str) -> Iterable[str]:
    """Pairs of neighbouring characters between function characters; a lone character stays."""
    content = "".join(" " if char in STOP_CHARACTERS else char for char in run)
    for piece in content.split():
        yield from (piece[i : i + 2] for i in range(max(1, len(piece) - 1)))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 2 and word.endswith("s") and not word.endswith("ss") else word


def overlap(answer: Counter[str], reference: Counter[str]) -> tuple[float, float]:
    """Recall of the reference's tokens and F1, each in [0, 1]; 0 if either side has no tokens."""
    shared = (answer & reference).total()
    if not shared:
        return 0.0, 0.0
    recall, precision = shared / reference.total(), shared / answer.total()
    return recall, 2 * precision * recall / (precision + recall)


def repeated_share(items: Sequence[object]) -> float:
    """Share of items that occurred before; 0 for no items."""
    return 1 - len(set(items)) / len(items) if items else 0.0


def falling(value: float, full: float, zero: float) -> float:
    """1 up to ``full``, 0 from ``zero`` on, linear between."""
    return clamp((zero - value) / (zero - full))


def clamp(value: float, low: float = 0.0, high: float = 1.0) -> float:
    """The value within low..high."""
    return min(max(value, low), high)


def pattern(lexicon: Lexicon) -> re.Pattern[str]:
    """One pattern for a lexicon's terms; see there for how they match."""
    english = "|".join(lexicon.en).replace(" ", r"\s{1,3}").replace("'", "['’]")
    parts = [rf"(?<![^\W_{CJK}])(?:{english})(?![^\W_{CJK}])", *lexicon.zh]
    return re.compile("|".join(parts), re.IGNORECASE)


def quotes(text: str, spans: Iterable[tuple[int, int]], most: int = 3) -> tuple[str, ...]:
    """Verbatim passages around the first spans, each once, at most 80 characters long."""
    found: dict[str, None] = {}
    for start, end in spans:
        if passage := _passage(text, start, end):
            found[passage] = None
        if len(found) == most:
            break
    return tuple(found)


def _passage(text: str, start: int, end: int) -> str:
    """The words around a span up to the ends of its sentence, or as many as there is room for."""
    end = min(end, start + _QUOTE)
    left = max(0, start - (_QUOTE - (end - start)) // 2)
    before = text[left:start]
    *_, cut = [0, *(match.end() for match in _BREAK.finditer(text, left, start))]
    if cut:
        before = text[cut:start]
    elif left > 0:
        before = before[before.find(" ") + 1 :]
    right = min(len(text), end + _QUOTE - (end - start) - len(before))
    after = text[end:right]
    if stop := _BREAK.search(text, end, right):
        after = text[end : stop.end()]
    elif right < len(text) and " " in after:
        after = after[: after.rfind(" ")]
    return (before + text[start:end] + after).strip()
