"""Counts of changes, and examples of them that a person can read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from sft.cleaning._structure import Change
from sft.records import MOST_EXAMPLES, Example, Tally

_AROUND = 40
_MOST_SHOWN = 160

_UNSEEN_SPACES = re.compile(r" +(?=\n|\Z)|(?<=\n) +(?=\n)|\A +")


class Tallies:
    """What the step did to the rows that it kept."""

    def __init__(self) -> None:
        self.changed: Tally = Counter()
        self.found: Tally = Counter()
        self.examples: list[Example] = []

    def add(self, source: str, place: str, changes: Sequence[Change]) -> None:
        """Count the changes of one row, one a kind; the first of a kind become examples."""
        for kind, before, after in changes:
            self.changed[source, kind] += 1
            if self.changed[source, kind] <= MOST_EXAMPLES:
                shown_before, shown_after = excerpts(before, after)
                self.examples.append(
                    Example(
                        source=source,
                        kind=kind,
                        place=place,
                        before=shown_before,
                        after=shown_after,
                    )
                )


def excerpts(before: str, after: str) -> tuple[str, str]:
    """Where two texts first differ, with 40 characters around, each at most 160 long.

    Characters that cannot be seen are written as ⟦U+200B⟧, spaces at line ends as ␣.
    """
    same = _common(before, after)
    same_end = _common(before[same:][::-1], after[same:][::-1])
    start = max(0, same - _AROUND)
    return _excerpt(before, start, same_end), _excerpt(after, start, same_end)


def _common(one: str, other: str) -> int:
    """How many characters two texts have in common at the front."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))


def _excerpt(text: str, start: int, same_end: int) -> str:
    end = min(len(text) - same_end + _AROUND, len(text), start + _MOST_SHOWN)
    lead, tail = "…" if start else "", "…" if end < len(text) else ""
    return lead + _visible(text[start:end]) + tail


def _visible(text: str) -> str:
    text = _UNSEEN_SPACES.sub(lambda spaces: "␣" * len(spaces[0]), text)
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() or character == "\n" else f"⟦U+{ord(character):04X}⟧"
        for character in text
    )
