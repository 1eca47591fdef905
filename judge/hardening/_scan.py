"""The injection scanner: flags with positions, and one score between 0 and 1."""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import math
import re
import urllib.parse
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from judge.hardening import _families as families
from judge.hardening._data import hidden_positions
from judge.hardening._view import View, readable

SUSPICIOUS = 0.5
"""From this score on an answer is worth a second look (the strip test, the canary)."""

_QUOTES = "\"“”„«»「」'‘’`"
_MENTION = re.compile(
    r"\b(?:such as|like|example|e\.g|instance|says?|said|writes?|reads?|phrase|called|attack\w*|"
    r"inject\w*|known as)\b|例如|比如|诸如|所谓"
)
_MENTION_FACTOR = 0.4
_SENTENCE_ENDS = ".!?。！？\n"
_PRINTABLE = 0.95


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing in a text that speaks to a judge, or may hide something that does.

    ``start`` and ``end`` are positions in the original text and ``text`` is what stands there;
    they are equal for what concerns the text as a whole. ``weight`` in (0, 1).
    """

    family: str
    start: int
    end: int
    text: str
    weight: float


@dataclass(frozen=True, slots=True)
class StripPair:
    """An answer with and without what was flagged in it, for a paired judgment."""

    original: str
    stripped: str
    removed: float
    """Share of the characters that is gone."""


def scan(text: str) -> tuple[Flag, ...]:
    """What in a text looks like an attempt to steer its judge, sorted by position.

    The patterns are matched on a view of the text: NFKC, case folded, without invisible
    characters, look-alike letters replaced; positions are those of the original. Blobs that decode
    (base64, hexadecimal, percent, backslash and HTML escapes, ROT13, reversed) are scanned too.
    An override that is quoted as an example weighs less. Flags, whatever their number, never
    change a verdict: an attack that nobody has seen yet raises no flag, and a text about
    attacks raises some.
    """
    view = readable(text)
    flags = [
        *_pattern_flags(text, view),
        *_comment_flags(text, view),
        *_encoded_flags(text),
        *_transformed_flags(text, view),
        *_invisible_flags(text),
        *_anomaly_flags(text),
    ]
    return tuple(sorted(set(flags), key=lambda flag: (flag.start, flag.end, flag.family)))


def injection_score(flags: Iterable[Flag]) -> float:
    """One number in [0, 1): 1 - prod(1 - w) over the strongest flag of each family.

    Families count once: ten chat tokens in a tutorial about chat templates are no stronger a sign
    than one. No flags give 0.
    """
    strongest: dict[str, float] = {}
    for flag in flags:
        strongest[flag.family] = max(flag.weight, strongest.get(flag.family, 0.0))
    return 1 - math.prod(1 - weight for weight in strongest.values())


def strip_flagged(text: str, flags: Iterable[Flag], at_least: float = 0.3) -> str:
    """The text without the sentences or lines that hold a flag of at least this weight.

    Whole sentences go, because the rest of a cut one would itself cost the answer points.
    """
    cuts: list[tuple[int, int]] = []
    for start, end in sorted(
        _sentence(text, flag.start, flag.end)
        for flag in flags
        if flag.weight >= at_least and flag.end > flag.start
    ):
        if cuts and start <= cuts[-1][1]:
            cuts[-1] = (cuts[-1][0], max(end, cuts[-1][1]))
        else:
            cuts.append((start, end))
    kept, position = [], 0
    for start, end in cuts:
        kept.append(text[position:start])
        position = end
    kept.append(text[position:])
    return "".join(kept).strip() if cuts else text


def strip_pair(answer: str, flags: Sequence[Flag], at_least: float = 0.3) -> StripPair | None:
    """The two texts of the strip test, or None where nothing is flagged or nothing would remain.

    Judged on the same criterion by the same judge, a score that falls by more than 0.1 without
    the flagged passages says that they, and not the answer, had earned it.
    """
    stripped = strip_flagged(answer, flags, at_least)
    if stripped == answer or not stripped:
        return None
    return StripPair(answer, stripped, 1 - len(stripped) / len(answer))


def _flag(family: str, text: str, span: tuple[int, int], weight: float) -> Flag:
    return Flag(family, *span, text[slice(*span)], round(weight, 3))


def _pattern_flags(text: str, view: View) -> Iterator[Flag]:
    for rule in families.RULES:
        for match in rule.pattern.finditer(view.text):
            if match.end() == match.start():
                continue
            weight = rule.weight
            if rule.family == families.OVERRIDE and _is_mention(view.text, *match.span()):
                weight *= _MENTION_FACTOR
            yield _flag(rule.family, text, view.original(*match.span()), weight)


def _is_mention(view: str, start: int, end: int) -> bool:
    """Whether a phrase stands in quotation marks behind words that introduce an example."""
    before, after = view[max(0, start - 120) : start], view[end : end + 120]
    opened = max(before.rfind(mark) for mark in _QUOTES)
    closed = any(mark in after for mark in _QUOTES)
    return opened >= 0 and closed and bool(_MENTION.search(before[:opened]))


def _speaks(text: str, at_least: float = 0.2) -> bool:
    """Whether a hidden text says something to a judge, by the plain patterns."""
    view = readable(text)
    weights = [
        rule.weight
        for rule in families.RULES
        if rule.family != families.ROLE and rule.pattern.search(view.text)
    ]
    return max(weights, default=0) >= at_least or bool(_GRADER_WORD.search(view.text))


_GRADER_WORD = re.compile(
    rf"\b(?:{families.GRADER}|(?:automated|automatic|ai|machine) (?:assessment|evaluation|grading|"
    r"scoring)|expected (?:result|score|level|grade|outcome)|if you are an? (?:ai|llm|language))\b"
)
_COMMENT = re.compile(
    r"<!--(?P<a>.{1,2000}?)-->|^\s{0,3}\[(?://|comment)\]:\s*(?:#|<>)\s*(?P<b>[^\n]{1,2000})"
    r"|<(?P<tag>\w{1,12})\b[^>]{0,300}(?:display:\s*none|visibility:\s*hidden|font-size:\s*0|"
    r"opacity:\s*0|color:\s*(?:white|#fff))[^>]{0,300}>(?P<c>[^<]{1,2000})<",
    re.DOTALL | re.MULTILINE,
)


def _comment_flags(text: str, view: View) -> Iterator[Flag]:
    for match in _COMMENT.finditer(view.text):
        hidden = match["a"] or match["b"] or match["c"]
        if _speaks(hidden):
            yield _flag(families.HIDDEN, text, view.original(*match.span()), 0.8)
        elif match["c"]:
            yield _flag(families.HIDDEN, text, view.original(*match.span()), 0.2)


def _from_base64(blob: str) -> str:
    padded = blob.rstrip("=")
    return _text(base64.b64decode(padded + "=" * (-len(padded) % 4), altchars=b"-_"))


def _from_standard_base64(blob: str) -> str:
    return _from_base64(blob.replace("+", "-").replace("/", "_"))


def _from_hexadecimal(blob: str) -> str:
    return _text(bytes.fromhex(re.sub(r"[^0-9A-Fa-f]", "", re.sub(r"0x|\\x", "", blob))))


def _from_escapes(blob: str) -> str:
    return re.sub(r"\\u([0-9a-fA-F]{4})", lambda match: chr(int(match[1], 16)), blob)


def _text(raw: bytes) -> str:
    return raw.decode("utf-8")


_ENCODINGS: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}"), _from_standard_base64),
    (re.compile(r"(?:(?:0x|\\x)?[0-9A-Fa-f]{2}[ :,]?){16,}"), _from_hexadecimal),
    (re.compile(r"(?:[\w.~-]{0,20}%[0-9A-Fa-f]{2}){4,}[\w.~-]{0,200}"), urllib.parse.unquote),
    (re.compile(r"(?:[^\\\n]{0,3}\\u[0-9A-Fa-f]{4}){6,}"), _from_escapes),
    (re.compile(r"(?:.{0,3}?&#x?[0-9A-Fa-f]{1,6};){6,}"), html.unescape),
)


def _encoded_flags(text: str) -> Iterator[Flag]:
    for pattern, decode in _ENCODINGS:
        for match in pattern.finditer(text):
            try:
                decoded = decode(match[0])
            except (ValueError, binascii.Error):
                continue  # not this encoding after all
            printable = sum(character.isprintable() or character in "\n\t" for character in decoded)
            if decoded and decoded != match[0] and printable >= _PRINTABLE * len(decoded):
                weight = 0.85 if _speaks(decoded) else 0.1
                yield _flag(families.ENCODED, text, match.span(), weight)


def _transformed_flags(text: str, view: View) -> Iterator[Flag]:
    """ROT13 and mirror writing: only what then matches a strong pattern."""
    length = len(view.text)
    rotated, mirrored = codecs.encode(view.text, "rot13"), view.text[::-1]
    for rule in families.RULES:
        if rule.weight < SUSPICIOUS or rule.family not in _SPOKEN:
            continue
        if match := rule.pattern.search(rotated):
            yield _flag(families.ENCODED, text, view.original(*match.span()), 0.75)
        if match := rule.pattern.search(mirrored):
            span = view.original(length - match.end(), length - match.start())
            yield _flag(families.ENCODED, text, span, 0.75)


_SPOKEN = (families.OVERRIDE, families.GRADER_ORDER)
_TAGS = re.compile("[\U000e0020-\U000e007e]")
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")
_SPLITTER = re.compile("[\u00ad\u200b-\u200d\u2060-\u2064\ufeff]")


def _invisible_flags(text: str) -> Iterator[Flag]:
    """What `as_data` has to make visible, a flag per run of neighbours, by what it can hide."""
    runs: list[tuple[int, int]] = []
    for position in hidden_positions(text):
        if runs and runs[-1][1] == position:
            runs[-1] = (runs[-1][0], position + 1)
        else:
            runs.append((position, position + 1))
    within_words = {
        (start, end)
        for start, end in runs
        if _SPLITTER.match(text[start])
        and text[max(start - 1, 0) : start].isalpha()
        and text[end : end + 1].isalpha()
    }
    splits = 0.45 if len(within_words) > 2 else 0.2
    for start, end in runs:
        first = text[start]
        if _TAGS.match(first):
            weight = 0.7
        elif _DIRECTIONS.match(first):
            weight = 0.3
        else:
            weight = splits if (start, end) in within_words else 0.1
        yield _flag(families.INVISIBLES, text, (start, end), weight)


_BLANK_LINES = re.compile(r"^(?:[ \t\r]*+\n){16,}+", re.MULTILINE)
_JUMBLED = re.compile(r"\w[^\w\s'’.,/:@-]{1,4}\w|[\])}\\|*]{2}\w")


def _anomaly_flags(text: str) -> Iterator[Flag]:
    """Signs that are weak alone: great length, much repetition, blank stretches, a jumbled end."""
    whole = (0, 0)
    if len(text) > 20_000:
        yield _flag(families.ANOMALY, text, whole, 0.1)
    raw = text[:200_000].encode("utf-8", "replace")
    if len(raw) > 2_000 and len(zlib.compress(raw, 1)) < 0.1 * len(raw):
        yield _flag(families.ANOMALY, text, whole, 0.25)
    if match := _BLANK_LINES.search(text):
        yield _flag(families.ANOMALY, text, match.span(), 0.25)
    tail = text.split()[-25:]
    if len(tail) == 25 and sum(bool(_JUMBLED.search(word)) for word in tail) > 8:
        yield _flag(families.ANOMALY, text, whole, 0.2)


def _sentence(text: str, start: int, end: int) -> tuple[int, int]:
    """The sentences or lines, with what ends them, that a span lies in."""
    start = max(text.rfind(mark, 0, start) for mark in _SENTENCE_ENDS) + 1
    ends = [text.find(mark, max(end - 1, 0)) for mark in _SENTENCE_ENDS]
    return start, min((found + 1 for found in ends if found >= 0), default=len(text))
