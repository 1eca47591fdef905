"""Which runs of tokens of a question or a reference make an overlap.

Lengths are counted in half words: a word is 2, a character of a script without spaces 1, so that a
window of n words, of 2n Chinese characters, or of anything between, says about as much.

* A text of at least a window: every window, in any turn.
* A shorter question of at least 4 words (8 characters): all of it in a row, in a user's or a
  system's turn. In an assistant's turn, a few words such as "how to create an ad" are no question.
* A still shorter question ("Who are you?"): a user's turn that is nothing else.
* A reference shorter than a window ("3"): nothing, since it is too little to know it by. Nor do
  windows of a reference count in which fewer than half the tokens have letters: every right answer
  has the primes below 100.

What several questions share is no overlap where it is only their instruction. Where at least
`SHARING` different questions of a set begin (or end) with the same text, which has a window but no
more than four, and go on with at least 4 words (8 characters) of their own, windows inside that
text do not count; instead, the rest of the question is looked for as a question of its own. So rows
of the same task stay ("What ad policy does the following text violate? ..."), while a passage that
several questions quote in different places counts, and so does a long one that they all begin with.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

SHARING = 3
"""Questions that make a common beginning an instruction: two may well quote the same text."""
_SHORT = 8
"""Half words of which a text must have so many to be looked for inside a turn."""
_MOST_WINDOWS = 4
"""Windows that an instruction may have; a longer common beginning is a passage."""

Words = tuple[str, ...]


class Text(NamedTuple):
    """A question or a reference as tokens."""

    set: str
    question_id: str
    part: str
    """"question" or "reference"."""
    words: Words
    characters: tuple[bool, ...]
    """Of each token, whether it is a character of a script without spaces."""


class Pattern(NamedTuple):
    """A run of a text's tokens whose occurrence in a turn is an overlap."""

    text: int
    """Number of the text."""
    first: int
    length: int
    prompts: bool = False
    """Only in turns of the user or the system."""
    whole: bool = False
    """Only as all of a user's turn."""


def patterns(texts: Sequence[Text], ngram: int) -> list[Pattern]:
    """The patterns of all texts; ``ngram`` is the number of words in a window."""
    window = 2 * ngram
    begins, ends = _instructions(texts, window)
    result = []
    for number, text in enumerate(texts):
        windows = _windows(text, window, begins[number], ends[number])
        result += [Pattern(number, *run) for run in windows]
        if not windows and text.part == "question" and text.words:
            inside = _size(text.characters) >= min(_SHORT, window)
            result.append(Pattern(number, 0, len(text.words), prompts=inside, whole=not inside))
        first, last = begins[number], len(text.words) - ends[number]
        if last - first < len(text.words) and _size(text.characters[first:last]) < window:
            result.append(Pattern(number, first, last - first, prompts=True))
    return result


def _windows(text: Text, window: int, begin: int, end: int) -> list[tuple[int, int]]:
    """Start and length of every window that is not inside the text's instructions.

    ``begin`` and ``end`` are the tokens of the instructions at both ends.
    """
    sums = [0, *accumulate(1 if character else 2 for character in text.characters)]
    total, last, runs = len(text.words), 0, []
    for first in range(total):
        while last < total and sums[last] - sums[first] < window:
            last += 1
        if sums[last] - sums[first] < window:
            break
        if last <= begin or first >= total - end:
            continue
        if text.part == "question" or _mostly_words(text.words[first:last]):
            runs.append((first, last - first))
    return runs


def _mostly_words(words: Words) -> bool:
    with_letters = sum(any(map(str.isalpha, word)) for word in words)
    return 2 * with_letters >= len(words)


def _size(characters: Sequence[bool]) -> int:
    """Length in half words."""
    return sum(1 if character else 2 for character in characters)


def _instructions(texts: Sequence[Text], window: int) -> tuple[list[int], list[int]]:
    """Of each text, how many tokens at its beginning and at its end are an instruction."""
    begins, ends = [0] * len(texts), [0] * len(texts)
    groups: dict[tuple[str, str], list[int]] = {}
    for number, text in enumerate(texts):
        groups.setdefault((text.set, text.part), []).append(number)
    for numbers in groups.values():
        shared_first = _shared({texts[number].words for number in numbers})
        shared_last = _shared({texts[number].words[::-1] for number in numbers})
        for number in numbers:
            text = texts[number]
            begin, end = shared_first[text.words], shared_last[text.words[::-1]]
            total = len(text.words)
            if _is_instruction(text.characters, 0, begin, 0, window):
                begins[number] = begin
            if _is_instruction(text.characters, total - end, total, begins[number], window):
                ends[number] = end
    return begins, ends


def _is_instruction(
    characters: Sequence[bool], first: int, last: int, begin: int, window: int
) -> bool:
    """Whether tokens ``first:last`` are no longer than an instruction and leave enough of the rest.

    ``begin`` is the number of tokens that another instruction takes already.
    """
    size = _size(characters[first:last])
    rest = characters[last:] if first == 0 else characters[begin:first]
    return window <= size <= _MOST_WINDOWS * window and _size(rest) >= _SHORT


def _shared(distinct: set[Words]) -> dict[Words, int]:
    """Of each sequence, the longest beginning that `SHARING` of them have, itself included.

    Sorted, sequences with a common beginning are neighbours, and what the first and the last of
    some neighbours share is shared by all between.
    """
    ordered = sorted(distinct)
    longest = dict.fromkeys(ordered, 0)
    for index in range(len(ordered) - SHARING + 1):
        group = ordered[index : index + SHARING]
        common = _common(group[0], group[-1])
        for words in group:
            longest[words] = max(longest[words], common)
    return longest


def _common(one: Words, other: Words) -> int:
    """How many tokens two sequences have in common at the beginning."""
    for index, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return index
    return min(len(one), len(other))
