"""Features of form: readability and economy."""

from __future__ import annotations

import re
import zlib

from judge.checks import quantity, words
from judge.offline._assessment import Assessment
from judge.offline._text import (
    Script,
    Span,
    clamp,
    falling,
    quotes,
    repeated_share,
    script,
    sentences,
    volume,
)
from judge.records import Question

_LONG_WORD, _LONG_CLAUSE = 12, 25
_CLAUSE = re.compile(r"[^，、；：。！？,;:.!?\n]+")
_UNFINISHED = re.compile(r"[^\W_]|[,;，、；(（-]")
_UNPUNCTUATED_LINE = re.compile(r"\s*(?:[-*•+#>|]|\(?(?:\d{1,3}|[A-Za-z])[.)、])")
_BRACKETS = ("()", "[]", "{}", "（）", "【】", "《》", "“”")


def readability(_question: Question, answer: str, _criterion: str) -> Assessment:
    """How easily the text reads: sentences, words, an end, closed markup, lines."""
    chinese = script(answer) is Script.ZH
    spans = sentences(answer)
    lengths = [len(words(answer[start:end])) for start, end in spans]
    mean = sum(lengths) / len(lengths)
    long = _long_share(answer, chinese=chinese)
    broken, unbalanced = _is_broken_off(answer), _is_unbalanced(answer)
    lines = sum(1 for line in answer.splitlines() if line.strip())
    value = (
        0.35 * (falling(mean, 40, 90) if chinese else falling(mean, 20, 45))
        + 0.15 * falling(long, 0.1, 0.4)
        + 0.3 * (1 - 0.5 * broken - 0.5 * unbalanced)
        + 0.2 * min(1.0, 120 * lines / volume(answer))
    )
    longest = max(spans, key=lambda span: span.end - span.start)
    defects = [
        name
        for name, found in (("breaks off", broken), ("leaves markup open", unbalanced))
        if found
    ]
    return Assessment(
        clamp(value),
        quotes(answer, [Span(longest.start, longest.start + 1)]),
        f"{mean:.1f} {'characters' if chinese else 'words'} per sentence, {long:.0%} long "
        f"{'clauses' if chinese else 'words'}, {quantity(lines, 'line')}"
        + (f"; it {' and '.join(defects)}." if defects else "."),
    )


def _long_share(answer: str, *, chinese: bool) -> float:
    """Share of words over 12 letters; of Chinese, of clauses over 25 characters."""
    if chinese:
        lengths = [len(words(clause)) for clause in _CLAUSE.findall(answer)]
        return sum(length > _LONG_CLAUSE for length in lengths) / len(lengths)
    tokens = words(answer)
    return sum(len(token) > _LONG_WORD for token in tokens) / len(tokens)


def _is_broken_off(answer: str) -> bool:
    """Whether the last line is prose of at least 8 words that ends without punctuation.

    Items, headings and addresses (https://...) at the end need none.
    """
    last = answer.rstrip().rsplit("\n", 1)[-1]
    if volume(last) < 8 or _UNPUNCTUATED_LINE.match(last) or "//" in last.split()[-1]:
        return False
    return _UNFINISHED.match(last[-1:]) is not None


def _is_unbalanced(answer: str) -> bool:
    """Whether bold type or code is left open, or more brackets open than close."""
    if answer.count("```") % 2 or answer.count("**") % 2:
        return True
    return any(answer.count(pair[0]) > answer.count(pair[1]) for pair in _BRACKETS)


_GRAM, _GRAM_ZH = 4, 8
_COMPRESSIBLE, _COMPRESSION = 500, 0.3


def economy(question: Question, answer: str, _criterion: str) -> Assessment:
    """How few words it takes: nothing told twice, no longer than asked for.

    Repetition is the largest of three shares: sentences (from four words) told before, sequences
    of four words (Chinese: eight characters) told before, and what zlib saves beyond the usual.
    """
    tokens = [token.casefold() for token in words(answer)]
    size = _GRAM_ZH if script(answer) is Script.ZH else _GRAM
    grams = [tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)]
    told = [
        (answer[start:end].strip().casefold(), Span(start, end))
        for start, end in sentences(answer)
        if len(words(answer[start:end])) >= _GRAM
    ]
    repetition = max(
        repeated_share([sentence for sentence, _ in told]),
        repeated_share(grams),
        _compression_excess(answer),
    )
    length, measure = _length(question, volume(answer))
    first = dict(reversed(told))
    again = [span for sentence, span in told if span != first[sentence]]
    return Assessment(
        clamp((1 - repetition) * length),
        quotes(answer, [(start, start + 1) for start, _ in again]),
        f"{volume(answer):.0f} words, {measure}; {repetition:.0%} of the text repeats itself.",
    )


def _compression_excess(answer: str) -> float:
    """How far zlib gets below 30 % of a text of at least 500 bytes, as a share of these 30 %."""
    raw = answer.encode("utf-8", "surrogatepass")
    if len(raw) < _COMPRESSIBLE:
        return 0.0
    return clamp(1 - len(zlib.compress(raw, 9)) / len(raw) / _COMPRESSION)


def _length(question: Question, size: float) -> tuple[float, str]:
    """The value of a length in words, and against what it was measured."""
    if any(check.kind == "words" and "min" in check.parameters for check in question.checks):
        return 1.0, "a length was asked for"
    if question.reference is not None and words(question.reference):
        wanted = volume(question.reference)
        ratio = size / max(20.0, wanted)
        return clamp(1 - (ratio - 1.5) / 5, 0.2), f"{wanted:.0f} in the reference"
    return clamp(1 - (size - 80) / 640, 0.2), "no reference"
