"""Features of manner: specificity, reader focus, politeness; and personal data."""

from __future__ import annotations

import re
from itertools import chain

from judge.checks import CJK, list_items, quantity
from judge.offline import _lexicon as lexicon
from judge.offline import _personal_data as personal
from judge.offline._assessment import Assessment
from judge.offline._text import clamp, pattern, quotes, volume
from judge.records import Question

_FEWEST_WORDS = 20
"""Rates per 100 words treat shorter answers as this long; one hit in "3" is not 100 in 100."""

_NUMBER = re.compile(  # the mark of a list item is matched, so as not to be taken for a number
    rf"^[ \t*#>(]*\d{{1,3}}[.)、](?!\d)"
    rf"|(?<![^\W{CJK}])(?<!\d[.,])(?P<number>\d+(?:[.,]\d+)*%?)",
    re.MULTILINE,
)
_NAME = re.compile(
    r"\*\*[^*\n]{1,60}\*\*|\"[^\"\n]{1,60}\"|“[^”\n]{1,60}”|「[^」\n]{1,60}」|【[^】\n]{1,60}】"
    r"|`[^`\n]{1,60}`"
)
_EXAMPLE, _ACTION = pattern(lexicon.EXAMPLE), pattern(lexicon.ACTION)
_VAGUE = pattern(lexicon.VAGUE)
_SECOND_PERSON, _OFFER = pattern(lexicon.SECOND_PERSON), pattern(lexicon.OFFER)
_ACKNOWLEDGEMENT = pattern(lexicon.ACKNOWLEDGEMENT)
_QUESTION_BACK = re.compile(r"[^\s.!?。！？]{1,40}[?？]")
_POLITE, _BRUSQUE = pattern(lexicon.POLITE), pattern(lexicon.BRUSQUE)
_INSULT = pattern(lexicon.INSULT)
_SHOUT = re.compile(r"[!！]{3}|(?<!\w)[A-Z]{2,20}(?:[ '’][A-Z]{2,20}){2}(?!\w)")


def specificity(_question: Question, answer: str, _criterion: str) -> Assessment:
    """Numbers, names, steps and examples per 100 words against vague words per 100 words."""
    numbers = [match for match in _NUMBER.finditer(answer) if match["number"]]
    names = list(_NAME.finditer(answer))
    examples = list(_EXAMPLE.finditer(answer))
    steps = list_items(answer) + sum(1 for _ in _ACTION.finditer(answer))
    vague = sum(1 for _ in _VAGUE.finditer(answer))
    per_100 = 100 / max(_FEWEST_WORDS, volume(answer))
    specific_rate = per_100 * (len(numbers) + len(names) + len(examples) + steps)
    vague_rate = per_100 * vague
    value = 0.3 + 0.7 * specific_rate / (specific_rate + 3) - 0.3 * vague_rate / (vague_rate + 2)
    return Assessment(
        clamp(value),
        quotes(answer, (match.span() for match in chain(examples, names, numbers))),
        f"{quantity(len(numbers), 'number')}, {quantity(len(names), 'quoted or bold name')}, "
        f"{quantity(steps, 'step')}, {quantity(len(examples), 'example')}, "
        f"{quantity(vague, 'vague word')}.",
    )


def reader_focus(_question: Question, answer: str, _criterion: str) -> Assessment:
    """Whether the answer speaks to its reader: address, offer, acknowledgement, question back."""
    addresses = list(_SECOND_PERSON.finditer(answer))
    per_100 = 100 / max(_FEWEST_WORDS, volume(answer))
    offer = _OFFER.search(answer)
    acknowledgement = _ACKNOWLEDGEMENT.search(answer)
    question = _QUESTION_BACK.search(answer)
    value = (
        0.2
        + 0.3 * min(1.0, len(addresses) * per_100 / 3)
        + 0.2 * (offer is not None)
        + 0.15 * (acknowledgement is not None)
        + 0.15 * (question is not None)
    )
    signs = {
        "an offer or next step": offer,
        "an acknowledgement": acknowledgement,
        "a question back": question,
    }
    found = [name for name, match in signs.items() if match]
    spans = [match.span() for match in (*signs.values(), *addresses[:1]) if match]
    return Assessment(
        clamp(value),
        quotes(answer, spans),
        f"{quantity(len(addresses), 'word')} to the reader; found: "
        f"{', '.join(found) or 'nothing else'}.",
    )


def politeness(_question: Question, answer: str, _criterion: str) -> Assessment:
    """Kinds of polite words raise it from 0.6; brusque ones, insults and shouting lower it."""
    polite = {match.group().casefold(): match.span() for match in _POLITE.finditer(answer)}
    brusque = [match.span() for match in _BRUSQUE.finditer(answer)]
    insults = [match.span() for match in _INSULT.finditer(answer)]
    shouts = [match.span() for match in _SHOUT.finditer(answer)]
    value = (
        0.6
        + 0.2 * min(2, len(polite))
        - 0.3 * min(2, len(brusque))
        - 0.6 * bool(insults)
        - 0.2 * min(2, len(shouts))
    )
    return Assessment(
        clamp(value),
        quotes(answer, [*insults, *brusque, *shouts, *polite.values()]),
        f"{quantity(len(polite), 'polite phrase')}, {quantity(len(brusque), 'brusque phrase')}, "
        f"{quantity(len(insults), 'insult')}, {quantity(len(shouts), 'shout')}.",
    )


def personal_data(_question: Question, answer: str, _criterion: str) -> Assessment:
    """0 if personal data is exposed, 0.4 if it is only asked for, else 1.

    The rationale names kinds and counts; nothing is quoted, or the evidence would repeat the data.
    """
    if counts := personal.exposed(answer):
        kinds = ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items()))
        return Assessment(0.0, (), f"The answer exposes personal data: {kinds}.")
    if asked := personal.requests(answer):
        return Assessment(0.4, (), f"The answer asks the reader for personal data ({asked}).")
    return Assessment(1.0, (), "No personal data and no request for it was found.")
