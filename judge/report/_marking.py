"""Texts of models and judges on the page: hidden characters shown, evidence and flags marked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias
from unicodedata import normalize

from markupsafe import Markup

from judge.hardening import show_invisible

Fields: TypeAlias = Mapping[str, Any]

_LONG_CHARACTERS, _LONG_LINES = 900, 14
_AROUND = 60
_LONGEST = 240
_NO_CHARACTER = re.compile("[\ufffe\uffff]")
# In a flagged passage the other characters without width are shown, too: they may be the reason.
_WIDTHLESS = re.compile("[\u00ad\u200b-\u200f\u2060-\u2064\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of an answer and the names of the criteria whose evidence covers it."""

    text: str
    criteria: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A flagged passage with a little of the answer around it.

    Empty ``text``: what was flagged concerns the answer as a whole.
    """

    families: tuple[str, ...]
    before: str
    text: str
    after: str


def visible(value: object) -> object:
    """A text with its hidden characters shown, e.g. NUL as "⟦U+0000⟧".

    Other values, and markup made by the templates, are returned as they are.
    """
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    return _NO_CHARACTER.sub(_sign, show_invisible(value))


def _sign(match: re.Match[str]) -> str:
    return f"⟦U+{ord(match[0]):04X}⟧"


def marked(answer: str, quotes: Sequence[tuple[str, str]]) -> list[Piece]:
    """The answer in pieces, so that evidence in it can be marked.

    ``quotes`` are (criterion name, quote). A quote is marked where it first stands in the answer,
    white space and Unicode composition not counting (the rule by which verdicts accept evidence).
    Quotes that the answer lacks mark nothing; quotes may overlap.
    """
    text = normalize("NFC", answer)
    spans = []
    folded, places = _folded(text) if quotes else ("", [])
    for name, quote in quotes:
        wanted = _plain(quote)
        at = folded.find(wanted)
        if wanted and at >= 0:
            spans.append((places[at], places[at + len(wanted) - 1] + 1, name))
    cuts = sorted({0, len(text), *(edge for span in spans for edge in span[:2])})
    return [
        Piece(
            text=text[start:end],
            criteria=tuple(distinct(n for low, high, n in spans if low <= start and end <= high)),
        )
        for start, end in pairwise(cuts)
    ]


def passages(answer: str, spans: Sequence[Fields]) -> list[Passage]:
    """The flagged passages of an answer in their order, with the text around them.

    ``spans`` carry family, start and end (characters of the answer); those that overlap make one
    passage. A long passage is cut in the middle.
    """
    merged: list[tuple[int, int, list[str]]] = []
    for span in sorted(spans, key=lambda span: (span["start"], span["end"])):
        start, end, families = span["start"], span["end"], [span["family"]]
        if merged and start < merged[-1][1]:
            before = merged.pop()
            start, end, families = before[0], max(before[1], end), before[2] + families
        merged.append((start, end, families))
    found = []
    for start, end, families in merged:
        text = answer[start:end]
        if len(text) > _LONGEST:
            text = f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"
        low, high = max(0, start - _AROUND), min(len(answer), end + _AROUND)
        found.append(
            Passage(
                families=tuple(distinct(families)),
                before=("…" if low else "") + answer[low:start],
                text=_WIDTHLESS.sub(_sign, text),
                after=answer[end:high] + ("…" if high < len(answer) else ""),
            )
        )
    return found


def quotes(answer: Fields, names: Mapping[str, str]) -> list[tuple[str, str]]:
    """(criterion name, quote) of all evidence that the verdicts on an answer give."""
    return [
        (names.get(verdict["criterion"], verdict["criterion"]), quote)
        for verdict in answer["verdicts"]
        for said in (verdict, *verdict["judges"])
        for quote in said["evidence"]
    ]


def absent(quote: str, answer: str) -> bool:
    """Whether the answer lacks a quote (possible only in imported verdicts)."""
    return _plain(quote) not in _plain(answer)


def is_long(text: str) -> bool:
    """Whether a text is clamped until the reader asks for all of it."""
    return len(text) > _LONG_CHARACTERS or text.count("\n") > _LONG_LINES


def distinct(values: Iterable[Any]) -> list[Any]:
    """The values without repetition and without None, in the order of their first appearance."""
    return list(dict.fromkeys(value for value in values if value is not None))


def _plain(text: str) -> str:
    """The text composed (NFC), every run of white space one space."""
    return " ".join(normalize("NFC", text).split())


def _folded(text: str) -> tuple[str, list[int]]:
    """The text with every run of white space one space, and where each character stood."""
    parts: list[str] = []
    places: list[int] = []
    for match in re.finditer(r"\S+|\s+", text):
        if match[0].isspace():
            parts.append(" ")
            places.append(match.start())
        else:
            parts.append(match[0])
            places.extend(range(match.start(), match.end()))
    return "".join(parts), places
