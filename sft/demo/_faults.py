"""What goes wrong in real instruction data, planted into the demo's rows on purpose."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from sft.demo._corpus import Turns

FAULT_SHARE = 0.12
"""Share of the rows that carry one fault."""


def with_contact(turns: Turns, draw: random.Random) -> Turns:
    """A customer leaves an address and a number, and the answer repeats the address."""
    name = draw.choice(("li.na", "j.moreau", "sam_okoro", "p.novak"))
    mail = f"{name}{draw.randint(10, 99)}@{draw.choice(('mailbox.org', 'post.cn', 'acme.io'))}"
    phone = draw.choice((f"+86 138 {draw.randint(1000, 9999)} {draw.randint(1000, 9999)}",
                         f"(415) 6{draw.randint(10, 99)}-{draw.randint(1000, 9999)}"))  # fmt: skip
    (role, question), (other, answer), *rest = turns
    return [
        (role, f"{question} Write to {mail} or call {phone}."),
        (other, f"{answer} We have written to {mail}."),
        *rest,
    ]


def with_card(turns: Turns, draw: random.Random) -> Turns:
    """A customer pastes a card number (a test number of the card schemes)."""
    card = draw.choice(("4111 1111 1111 1111", "5555555555554444", "3782 822463 10005"))
    (role, question), *rest = turns
    return [(role, f"{question} I paid with {card}."), *rest]


def mojibake(turns: Turns, _draw: random.Random) -> Turns:
    """UTF-8 that some tool read as Windows-1252."""
    return [
        (role, f"{text} It costs 5 € – that’s “fair”.".encode().decode("cp1252", "replace"))
        for role, text in turns
    ]


def no_answer(turns: Turns, _draw: random.Random) -> Turns:
    """An answer that is empty."""
    return [*turns[:-1], ("assistant", "   ")]


def repetition(turns: Turns, draw: random.Random) -> Turns:
    """A model that could not stop."""
    line = f"Please check the settings of item {draw.randint(1, 99)} once more. "
    return [*turns[:-1], ("assistant", line * draw.randint(12, 40))]


def other_language(turns: Turns, draw: random.Random) -> Turns:
    """A conversation in a language that no source declares."""
    number = draw.randint(2, 900)
    return [
        ("user", f"Где находится заказ номер {number} и когда его доставят на склад?"),
        ("assistant", f"Заказ номер {number} уже в пути. Он прибудет на склад через три дня, "
                      "если погода не помешает перевозке."),
    ]  # fmt: skip


def markup(turns: Turns, _draw: random.Random) -> Turns:
    """Invisible characters and stray spaces, as copied from a web page."""
    return [(role, text.replace(". ", ".\u200b\u00a0 ")) for role, text in turns]


def marathon(turns: Turns, draw: random.Random) -> Turns:
    """A conversation that is longer than a sequence."""
    return [(role, f"{text} ({draw.randint(100, 999)})") for _ in range(30) for role, text in turns]


FAULTS: Sequence[Callable[[Turns, random.Random], Turns]] = (
    with_contact, with_contact, with_contact, with_card, mojibake, no_answer, repetition,
    other_language, markup, marathon,
)  # fmt: skip
"""Some are more frequent than others."""


def near_copy(turns: Turns, draw: random.Random) -> Turns:
    """The same conversation with a word or two changed in its last answer."""
    words = turns[-1][1].split(" ")
    for _ in range(2):
        words[draw.randrange(len(words))] = draw.choice(("indeed", "perhaps", "today", "again"))
    return [*turns[:-1], ("assistant", " ".join(words))]
