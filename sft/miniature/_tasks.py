"""Made-up tasks with one right answer each: small sums and words, and advertisements to label.

All of them are synthetic. A general task is arithmetic, a word or an order; letters and digits
stand apart, so that each is a token. An advertisement has an opening, one telling sentence and
sometimes a close; its label is the policy that the telling sentence breaks (the kinds of
arXiv 2310.04945, section 3.2: weight loss, absolute terms, non-delivery, ...).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import NamedTuple

from sft.errors import UsageError


class Row(NamedTuple):
    """A task: what is asked, the one right answer, and which kind it is."""

    prompt: str
    answer: str
    task: str


Task = Callable[[random.Random], tuple[str, str]]

_CONSONANTS, _VOWELS = "bcdfghklmnprstvwz", "aeiou"
_TRIES = 200
"""Draws per wanted row before the kind counts as used up."""


def _word(draw: random.Random, least: int, most: int) -> str:
    """A word that nobody has heard: consonants and vowels in turn."""
    letters = draw.randint(least, most)
    return "".join(draw.choice(_VOWELS if at % 2 else _CONSONANTS) for at in range(letters))


def _noun(draw: random.Random) -> str:
    return _word(draw, 3, 5) + draw.choice(["", "", "y", "x", "sh", "s"])


def plural_of(word: str) -> str:
    """The English plural by rule: -ies for a consonant and y, -es after s, x and sh, else -s."""
    if word.endswith("y") and word[-2] not in _VOWELS:
        return f"{word[:-1]}ies"
    return f"{word}es" if word.endswith(("s", "x", "sh")) else f"{word}s"


def _add(draw: random.Random) -> tuple[str, str]:
    """Two numbers of two digits whose digits add up without a carry."""
    tens, ones = draw.randint(2, 9), draw.randint(0, 9)
    one = 10 * draw.randint(1, tens - 1) + draw.randint(0, ones)
    return f"{one} + {10 * tens + ones - one} =", str(10 * tens + ones)


def _subtract(draw: random.Random) -> tuple[str, str]:
    """A number of two digits less one whose digits are no larger."""
    tens, ones = draw.randint(1, 9), draw.randint(0, 9)
    less = 10 * draw.randint(1, tens) + draw.randint(0, ones)
    return f"{10 * tens + ones} - {less} =", str(10 * tens + ones - less)


def _next(draw: random.Random) -> tuple[str, str]:
    number = draw.randint(100, 998)
    return f"number after {number}", str(number + 1)


def _larger(draw: random.Random) -> tuple[str, str]:
    one, other = draw.sample(range(10, 100), 2)
    return f"larger of {one} and {other}", str(max(one, other))


def _sort(draw: random.Random) -> tuple[str, str]:
    digits = draw.sample("0123456789", 3)
    return f"sort {' '.join(digits)}", " ".join(sorted(digits))


def _reverse(draw: random.Random) -> tuple[str, str]:
    word = _word(draw, 3, 4)
    return f"reverse {' '.join(word)}", " ".join(reversed(word))


def _last(draw: random.Random) -> tuple[str, str]:
    word = _noun(draw)
    return f"last letter of {' '.join(word)}", word[-1]


def _plural(draw: random.Random) -> tuple[str, str]:
    word = _noun(draw)
    return f"plural of {' '.join(word)}", " ".join(plural_of(word))


GENERAL: Mapping[str, Task] = {
    "addition": _add,
    "subtraction": _subtract,
    "next number": _next,
    "larger number": _larger,
    "sorting": _sort,
    "reversing": _reverse,
    "last letter": _last,
    "plural": _plural,
}
"""Kind of general task → one of it."""

_MAKERS = (
    "Velora", "Nimbra", "Tosaki", "Quellan", "Zephra", "Lumix", "Brenta", "Orvane",
    "Pelido", "Sunda", "Kaivo", "Mirelle", "Daxon", "Fenwick", "Ruvo", "Ostra",
)  # fmt: skip
_GOODS = (
    "tea", "cream", "app", "course", "lamp", "phone", "watch", "jacket", "blender", "pillow",
    "vitamin", "toothbrush", "shoe", "soap", "backpack", "game",
)  # fmt: skip
_OPENINGS = (
    "New: {maker} {good}.",
    "Meet the {maker} {good}.",
    "{maker} {good}, now in your town.",
    "Try {maker} {good} today.",
    "Our {good} {maker} is back.",
    "You asked for {maker} {good}.",
)
_CLOSES = (
    "Order at our site.", "In shops near you.", "Ask us for more.", "See you soon.",
    "Made with care.", "",
)  # fmt: skip

HARMLESS = "no violation"
"""The label of an advertisement that breaks no policy."""

POLICIES: Mapping[str, tuple[str, ...]] = {
    "weight-loss claim": (
        "Lose {n} kg in {m} days.", "Burn {n} kilos while you sleep.",
        "Drop {n} pounds in {m} weeks.", "Be slim in {m} days without sport.",
    ),
    "absolute terms": (
        "The best {good} in the world.", "Nothing on earth is better.",
        "The number one {good} of all time.", "Always perfect for everybody.",
    ),
    "medical claim": (
        "Cures pain in {m} days.", "Heals {n} illnesses.",
        "Doctors say it ends asthma.", "No more diabetes after {m} weeks.",
    ),
    "non-delivery": (
        "Paid orders may not be sent.", "We ship when we feel like it.",
        "Prepay {n} dollars, delivery not promised.", "Orders arrive or they do not.",
    ),
    "guaranteed income": (
        "Earn {n} dollars a day for sure.", "Make {n} thousand in {m} weeks, guaranteed.",
        "Your money doubles in {m} days.", "Riches without any risk.",
    ),
    "false urgency": (
        "Only {m} minutes left, buy now.", "Your account closes in {m} hours.",
        "Last {m} pieces, for ever gone.", "Click now or lose it all.",
    ),
    "hidden cost": (
        "Free trial, then {n} dollars a week.", "Free, fees of {n} dollars follow.",
        "Costs nothing but {n} a month.", "Gift with a bill of {n} dollars.",
    ),
    HARMLESS: (
        "It weighs {n} grams.", "Comes in {m} colours.",
        "See our shop for sizes.", "Open from {m} to six.",
    ),
}  # fmt: skip
"""Label → sentences that tell it. Every sentence stands in training and in held-out tasks; what
differs is which opening, maker, good, numbers and close stand with it."""


def advertisement(draw: random.Random, label: str | None = None) -> tuple[str, str]:
    """An advertisement and its answer, ``Policy: LABEL.``, with a label drawn evenly if not given.

    Raises KeyError for a label that is none.
    """
    chosen = draw.choice(list(POLICIES)) if label is None else label
    words = {
        "maker": draw.choice(_MAKERS),
        "good": draw.choice(_GOODS),
        "n": draw.randint(2, 99),
        "m": draw.randint(2, 9),
    }
    parts = (draw.choice(_OPENINGS), draw.choice(POLICIES[chosen]), draw.choice(_CLOSES))
    text = " ".join(part.format(**words) for part in parts if part)
    return f"Ad: {text}", f"Policy: {chosen}."


def distinct(task: str, make: Task, count: int, draw: random.Random, seen: set[str]) -> list[Row]:
    """``count`` rows of a kind whose prompts are not in ``seen``, to which they are added.

    Raises UsageError if the kind has not that many.
    """
    rows: list[Row] = []
    for _ in range(_TRIES * count):
        if len(rows) == count:
            break
        prompt, answer = make(draw)
        if prompt not in seen:
            seen.add(prompt)
            rows.append(Row(prompt, answer, task))
    if len(rows) < count:
        raise UsageError(f"there are only {len(rows)} different tasks of the kind {task}")
    return rows
