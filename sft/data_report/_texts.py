"""Example texts: characters that one cannot see are shown, and what a step changed is marked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from unicodedata import category

MOST_COMPARED = 40_000
"""Product of the lengths (in words) of two texts up to which they are compared word by word;
beyond, all between their common beginning and end counts as changed."""

_PERHAPS_HIDDEN = re.compile(r"[^\x20-\x7e\n\t]")
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"  # letters and signs that are drawn as nothing
_WORD = re.compile(r"[^\W\u3000-\u9fff\uac00-\ud7af]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A stretch of a text, and whether the other text has another one in its place."""

    text: str
    changed: bool


def revealed(text: str) -> str:
    """The text with every character shown that has no ink of its own, e.g. "⟦U+200B⟧".

    Beyond what `judge.report.visible` shows everywhere: characters without width, carriage
    returns, and all spaces but the usual and the ideographic one. For texts of which it matters
    what exactly stands in them.
    """
    return _PERHAPS_HIDDEN.sub(_sign, text)


def _sign(match: re.Match[str]) -> str:
    character = match[0]
    kind = category(character)
    hidden = kind[0] == "C" or kind in ("Zl", "Zp") or character in _BLANK
    if hidden or (kind == "Zs" and character != "\u3000"):
        return f"⟦U+{ord(character):04X}⟧"
    return character


def differences(before: str, after: str) -> tuple[list[Piece], list[Piece]]:
    """Both texts in pieces, of which those are marked in which they differ.

    Compared are words, and in scripts without spaces single characters. Texts that end in "…" were
    cut: that one of them goes on where the other one ends is no difference.
    """
    cut = before.endswith("…") or after.endswith("…")
    old, new = _WORD.findall(before), _WORD.findall(after)
    shortest = min(len(old), len(new))
    head = next((at for at in range(shortest) if old[at] != new[at]), shortest)
    rest = shortest - head
    tail = next((at for at in range(rest) if old[-1 - at] != new[-1 - at]), rest)
    old_middle, new_middle = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(old_middle) * len(new_middle) > MOST_COMPARED:
        spans = [(True, 0, len(old_middle), 0, len(new_middle))]
    else:
        matcher = SequenceMatcher(None, old_middle, new_middle, autojunk=False)
        spans = [(tag != "equal", a, b, c, d) for tag, a, b, c, d in matcher.get_opcodes()]
    if cut and len(spans) > 1:
        spans[-1] = (False, *spans[-1][1:])
    left, right = [(False, old[:head])], [(False, new[:head])]
    for changed, i1, i2, j1, j2 in spans:
        left.append((changed, old_middle[i1:i2]))
        right.append((changed, new_middle[j1:j2]))
    left.append((False, old[len(old) - tail :]))
    right.append((False, new[len(new) - tail :]))
    return _pieces(left), _pieces(right)


def _pieces(runs: list[tuple[bool, list[str]]]) -> list[Piece]:
    return [Piece(text="".join(run), changed=changed) for changed, run in runs if run]
