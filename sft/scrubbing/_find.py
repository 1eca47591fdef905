"""What a detector finds, and the borders at which it looks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from judge.checks import CJK

START = rf"(?<![^\W{CJK}])"
"""Not within a word or a number; Chinese characters may touch, since they are not spaced."""
END = rf"(?![^\W{CJK}])"


class Find(NamedTuple):
    """A stretch of a text that is personal data; ``value`` is the same for the same datum."""

    kind: str
    start: int
    end: int
    value: str


class Detector(NamedTuple):
    """A pattern whose group ``it`` (or whole match) is personal data if ``accepts`` says so.

    ``accepts`` gives the datum in a normal form, or None for a look-alike. There is nothing to find
    in a text without one of the ``words`` (folded; none: no matter) and without the ``hint``, which
    are quicker to look for than the pattern.
    """

    kind: str
    pattern: re.Pattern[str]
    accepts: Callable[[re.Match[str]], str | None]
    words: tuple[str, ...] = ()
    hint: re.Pattern[str] | None = None


class Text:
    """A text that detectors look at; what they ask of it in common is found out once."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded = text.lower()
        self._hints: dict[re.Pattern[str], bool] = {}

    def is_worth(self, detector: Detector) -> bool:
        """Whether the detector's pattern can match at all."""
        if detector.words and not any(word in self._folded for word in detector.words):
            return False
        hint = detector.hint
        if hint is None:
            return True
        if hint not in self._hints:
            self._hints[hint] = hint.search(self.text) is not None
        return self._hints[hint]


def found(match: re.Match[str]) -> tuple[int, int]:
    """Where the personal part of a match stands."""
    return match.span("it") if "it" in match.re.groupindex else match.span()


def text_of(match: re.Match[str]) -> str:
    """The personal part of a match."""
    start, end = found(match)
    return match.string[start:end]


def as_it_is(match: re.Match[str]) -> str | None:
    """For patterns that are proof enough."""
    return text_of(match)


def digits_of(text: str) -> str:
    """The ASCII digits of a text."""
    return "".join(char for char in text if "0" <= char <= "9")


def before(match: re.Match[str], length: int = 40) -> str:
    """What stands on the same line before the personal part, folded."""
    start, _ = found(match)
    return match.string[max(0, start - length) : start].rpartition("\n")[2].lower()
