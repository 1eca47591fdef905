"""Personal data replaced by placeholders, the same one for the same value in several texts.

What is found is what the detectors of the offline baseline know (addresses, numbers and ids with a
recognisable form), also in full-width digits and through invisible characters. Names, postal
addresses and what is spelled out in words are not found: a redacted text is safer, not anonymous.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from judge.hardening import readable
from judge.offline import PersonalData, find_personal_data

_LABELS = {
    "e-mail address": "EMAIL",
    "resident id": "RESIDENT_ID",
    "IBAN": "IBAN",
    "card number": "CARD",
    "social security number": "SSN",
    "phone number": "PHONE",
    "IP address": "IP_ADDRESS",
}
_EMAIL = "e-mail address"
_PHONE = "phone number"
_NATIONAL_DIGITS = 10
_SEPARATORS = r"[\W_]{0,3}"
_HYPHENS = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))


def personal_data(text: str) -> list[PersonalData]:
    """The personal data in a text as a reader sees it, sorted by position, without overlaps."""
    view = readable(text, fold=False)
    found = [*find_personal_data(text)]
    for each in find_personal_data(view.text.translate(_HYPHENS)):
        start, end = view.original(each.start, each.end)
        found.append(PersonalData(each.kind, start, end))
    return list(_apart(found))


class Redactor:
    """Replaces the personal data of some texts by placeholders such as [EMAIL_1].

    The same value gets the same number in all of them, counted per kind in the order of the texts.
    A value that one text shows in full is also replaced where another writes it with other
    separators, or without the country's prefix, or names only the part of an address before the @.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._placeholders: dict[tuple[str, str], str] = {}
        numbers: Counter[str] = Counter()
        for text in texts:
            for found in personal_data(text):
                value = (found.kind, _value(text[found.start : found.end], found.kind))
                if value not in self._placeholders:
                    numbers[found.kind] += 1
                    label = f"[{_LABELS[found.kind]}_{numbers[found.kind]}]"
                    self._placeholders[value] = label
        self._variants = [
            (kind, label, re.compile(pattern, re.IGNORECASE))
            for (kind, value), label in self._placeholders.items()
            for pattern in _variants(kind, value)
        ]

    def __call__(self, text: str) -> str:
        """The text with placeholders; one without personal data comes back as it is."""
        out, position = [], 0
        for start, end, label in self._spans(text):
            out += [text[position:start], label]
            position = end
        return "".join([*out, text[position:]])

    def _spans(self, text: str) -> list[tuple[int, int, str]]:
        found = [(each.start, each.end, self._label(text, each)) for each in personal_data(text)]
        view = readable(text, fold=False)
        for _, label, pattern in self._variants:
            for match in pattern.finditer(view.text):
                found.append((*view.original(*match.span()), label))
        spans: list[tuple[int, int, str]] = []
        for start, end, label in sorted(found, key=lambda span: (span[0], -span[1])):
            if spans and start < spans[-1][1]:
                first, last, kept = spans[-1]
                spans[-1] = (first, max(last, end), kept)
            else:
                spans.append((start, end, label))
        return spans

    def _label(self, text: str, found: PersonalData) -> str:
        """The placeholder of a find; one without a number in a text that was not announced."""
        value = (found.kind, _value(text[found.start : found.end], found.kind))
        return self._placeholders.get(value, f"[{_LABELS[found.kind]}]")


def _apart(found: list[PersonalData]) -> Iterator[PersonalData]:
    """Finds without overlaps, in order; two that overlap are one, of the kind of the earlier."""
    held: PersonalData | None = None
    for each in sorted(found, key=lambda each: (each.start, -each.end)):
        if held is None or each.start >= held.end:
            if held is not None:
                yield held
            held = each
        elif each.end > held.end:
            held = PersonalData(held.kind, held.start, each.end)
    if held is not None:
        yield held


def _value(text: str, kind: str) -> str:
    """A find without what may be written one way or another."""
    plain = readable(text).text
    if kind == _EMAIL:
        return plain
    if kind == "IP address":
        return plain.strip()
    return re.sub(r"[\W_]", "", plain)


def _variants(kind: str, value: str) -> Iterator[str]:
    if kind == _EMAIL:
        yield rf"(?<![\w.]){re.escape(value)}(?!\w)"
        local = value.partition("@")[0]
        if len(local) >= 5 and re.search(r"[._+\d-]", local):
            yield rf"(?<![\w.@]){re.escape(local)}(?!\w)"
        return
    if kind == "IP address":
        yield rf"(?<![\w.]){re.escape(value)}(?![\w.]*\d)"
        return
    yield rf"(?<!\w){_SEPARATORS.join(map(re.escape, value))}(?!\w)"
    if kind == _PHONE and len(value) > _NATIONAL_DIGITS:
        national = value[-_NATIONAL_DIGITS:]
        yield rf"(?<!\w){_SEPARATORS.join(national)}(?!\w)"
