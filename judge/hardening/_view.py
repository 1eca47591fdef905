"""A text as a scanner reads it, with a map back to the text as it is."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from judge.hardening._data import INVISIBLE

_PLAIN = re.compile(r"[\t\n -~]*")
_UNSEEN = re.compile(f"[{INVISIBLE}]")
_WORD = re.compile(r"\w+")
_LATIN = re.compile("[a-z]")
_GREEK_OR_CYRILLIC = re.compile("[\u0370-\u03ff\u0400-\u052f]")
_LOOK_ALIKE = str.maketrans("аеорсухіѕјԁӏһԛԝкмтвнαοειρτυκχν", "aeopcyxisjdlhqwkmtbhaoeiptukxv")
_LONGEST_CLUSTER = 32


@dataclass(frozen=True, slots=True)
class View:
    """The readable text, and of each of its characters where it stands in the original.

    ``starts`` and ``ends`` have one entry per character of ``text``.
    """

    text: str
    starts: tuple[int, ...] | range
    ends: tuple[int, ...] | range

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original text that a span of the view (not empty) stands for."""
        return self.starts[start], self.ends[end - 1]


def readable(text: str, *, fold: bool = True) -> View:
    """The view of a text: NFKC, without invisible characters, case folded if ``fold``.

    Tag characters become the ASCII characters that they mimic, controls become spaces, and Greek
    and Cyrillic look-alikes within Latin words become Latin letters (with ``fold`` only).
    Characters are normalised with their combining marks, so that positions can be mapped back.
    """
    if _PLAIN.fullmatch(text):
        here = range(len(text))
        return View(text.lower() if fold else text, here, range(1, len(text) + 1))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    position = 0
    while position < len(text):
        end = _cluster_end(text, position)
        piece = _normal(text[position:end], fold)
        pieces.append(piece)
        starts += [position] * len(piece)
        ends += [end] * len(piece)
        position = end
    joined = "".join(pieces)
    if fold and _GREEK_OR_CYRILLIC.search(joined):
        joined = _WORD.sub(_in_one_script, joined)
    return View(joined, tuple(starts), tuple(ends))


def _in_one_script(word: re.Match[str]) -> str:
    if _LATIN.search(word[0]) and _GREEK_OR_CYRILLIC.search(word[0]):
        return word[0].translate(_LOOK_ALIKE)
    return word[0]


def _cluster_end(text: str, position: int) -> int:
    """Where the character and the combining marks on it end."""
    end = position + 1
    while (
        end < len(text)
        and end - position < _LONGEST_CLUSTER
        and not text[end].isascii()
        and unicodedata.combining(text[end])
    ):
        end += 1
    return end


def _normal(cluster: str, fold: bool) -> str:
    first = cluster[0]
    if "\U000e0020" <= first <= "\U000e007e":
        cluster = chr(ord(first) - 0xE0000) + cluster[1:]
    elif unicodedata.category(first) == "Cc" and first not in "\n\t":
        cluster = " " + cluster[1:]
    elif _UNSEEN.match(first):
        cluster = cluster[1:]
    normal = unicodedata.normalize("NFKC", cluster)
    return unicodedata.normalize("NFKC", normal.casefold()) if fold else normal
