"""The scrubbing step: personal data in, placeholders out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache, partial

import polars as pl

from sft.records import MOST_EXAMPLES, REMOVED, ROWS, Example, StepResult, place
from sft.scrubbing import _handles, _numbers, _phones, _secrets
from sft.scrubbing._find import Detector, Find, Text, found
from sft.scrubbing._names import find_names
from sft.settings import ScrubSettings

KINDS = (
    "key", "url_credentials", "email", "iban", "national_id", "card", "passport", "birth_date",
    "ip", "phone", "username", "name",
)  # fmt: skip
"""Kinds of personal data, in the order in which they claim a stretch of a text."""

_LABELS = {
    "key": "KEY", "url_credentials": "CREDENTIALS", "email": "EMAIL", "iban": "IBAN",
    "national_id": "ID", "card": "CARD", "passport": "PASSPORT", "birth_date": "BIRTH_DATE",
    "ip": "IP", "phone": "PHONE", "username": "USERNAME", "name": "NAME",
}  # fmt: skip
_PLACEHOLDER = re.compile(rf"\[({'|'.join(_LABELS.values())})(?:_([0-9]{{1,6}}))?\]")

_ROUNDS = 5
_AROUND = 80


def scrub(rows: pl.DataFrame, settings: ScrubSettings) -> StepResult:
    """Replace the personal data in rows by placeholders; no row is removed.

    A datum has the same placeholder in all turns of a conversation, and different ones have
    different placeholders: ``[EMAIL_1]``, ``[EMAIL_2]``, numbered by kind as they appear. What
    stands there as a placeholder already is left alone. ``changed`` counts rows and ``found`` finds
    by (source, kind). Scrubbing scrubbed rows changes nothing.

    Raises UsageError if names are to be found and spaCy or its model is missing.
    """
    texts = rows["messages"].list.eval(pl.element().struct["content"]).list.join("\n")
    suspicious = (
        texts.str.contains(_suspicious(settings.regions)).fill_null(value=False)
        if settings.names_model is None
        else pl.repeat(value=True, n=len(rows), eager=True)
    )
    changed: Counter[tuple[str, str]] = Counter()
    counted: Counter[tuple[str, str]] = Counter()
    examples: list[Example] = []
    replaced: dict[int, list[dict[str, str]]] = {}
    for number in suspicious.arg_true():
        row = rows.row(number, named=True)
        scrubbed = _Conversation([message["content"] for message in row["messages"]], settings)
        if not scrubbed.counts:
            continue
        replaced[number] = [
            {"role": message["role"], "content": text}
            for message, text in zip(row["messages"], scrubbed.texts, strict=True)
        ]
        for kind, count in scrubbed.counts.items():
            changed[row["source"], kind] += 1
            counted[row["source"], kind] += count
            if changed[row["source"], kind] <= MOST_EXAMPLES:
                before, after = scrubbed.shown[kind]
                examples.append(
                    Example(
                        source=row["source"],
                        kind=kind,
                        place=place(row["file"], row["line"]),
                        before=before,
                        after=after,
                    )
                )
    return StepResult(
        kept=_with_messages(rows, replaced),
        removed=pl.DataFrame(schema=dict(REMOVED)),
        changed=changed,
        found=counted,
        examples=tuple(examples),
    )


def scrub_text(text: str, settings: ScrubSettings) -> str:
    """One text with its personal data replaced, as `scrub` does."""
    return _Conversation([text], settings).texts[0]


def find_in(text: str, settings: ScrubSettings) -> list[Find]:
    """The personal data in a text, from left to right; no two finds overlap."""
    taken: list[Find] = []
    kept_out = [match.span() for match in _PLACEHOLDER.finditer(text)]
    for phrase in settings.keep:
        kept_out += [match.span() for match in re.finditer(re.escape(phrase), text)]
    claimed, read = kept_out, Text(text)
    for kind in settings.kinds or KINDS:
        new = [
            find
            for find in _finds(kind, read, settings)
            if not any(find.start < end and start < find.end for start, end in claimed)
        ]
        for find in new:
            if not any(find.start < other.end and other.start < find.end for other in taken):
                taken.append(find)
                claimed.append((find.start, find.end))
    return sorted(taken, key=lambda find: find.start)


def _finds(kind: str, text: Text, settings: ScrubSettings) -> Iterable[Find]:
    if kind == "name":
        return find_names(text.text, settings.names_model) if settings.names_model else ()
    return [
        Find(kind, *found(match), value)
        for detector in _detectors(settings.regions)[kind]
        if text.is_worth(detector)
        for match in detector.pattern.finditer(text.text)
        if (value := detector.accepts(match)) is not None
    ]


@cache
def _detectors(regions: tuple[str, ...]) -> dict[str, list[Detector]]:
    """The detectors of every kind; ids come before numbers that merely look like some."""
    phones = Detector(
        "phone", _phones.CANDIDATE, partial(_phones.phone, regions), hint=_phones.HINT
    )
    every = (*_secrets.DETECTORS, *_handles.DETECTORS, *_numbers.DETECTORS, phones)
    return {kind: [each for each in every if each.kind == kind] for kind in KINDS}


@cache
def _suspicious(regions: tuple[str, ...]) -> str:
    """A pattern of what every find has somewhere: texts without it are not looked at again."""
    every = [each for detectors in _detectors(regions).values() for each in detectors]
    words = sorted({re.escape(word) for each in every for word in each.words})
    hints = sorted({each.hint.pattern for each in every if each.hint is not None})
    return "|".join([f"(?i:{'|'.join(words)})", *hints])


class _Conversation:
    """The texts of a conversation, scrubbed with placeholders that are the same in all of them."""

    def __init__(self, texts: Sequence[str], settings: ScrubSettings) -> None:
        self._settings = settings
        self.counts: Counter[str] = Counter()
        """Finds by kind."""
        self.shown: dict[str, tuple[str, str]] = {}
        """Kind → the surroundings of its first find, masked and with the placeholder."""
        self._numbers: dict[tuple[str, str], int] = {}
        self._last: Counter[str] = Counter()
        for text in texts:
            for label, number in _PLACEHOLDER.findall(text):
                self._last[label] = max(self._last[label], int(number or 0))
        self.texts = [self._scrubbed(text) for text in texts]

    def _scrubbed(self, text: str) -> str:
        # What a find had hidden, by overlapping it, may come to light when it is replaced.
        for _ in range(_ROUNDS):
            finds = find_in(text, self._settings)
            if not finds:
                break
            text = self._replaced(text, finds)
        return text

    def _replaced(self, text: str, finds: Sequence[Find]) -> str:
        masked: list[str] = []
        clean: list[str] = []
        at = 0
        first: dict[str, tuple[int, int]] = {}
        for find in finds:
            self.counts[find.kind] += 1
            for parts, new in (
                (masked, f"[{find.kind}: {find.end - find.start} characters]"),
                (clean, self._placeholder(find)),
            ):
                parts += [text[at : find.start], new]
            ends = len("".join(masked)), len("".join(clean))
            first.setdefault(find.kind, ends)
            at = find.end
        masked.append(text[at:])
        clean.append(text[at:])
        for kind, places in first.items():
            self.shown.setdefault(
                kind,
                tuple(  # type: ignore[arg-type]
                    _around("".join(parts), end)
                    for parts, end in zip((masked, clean), places, strict=True)
                ),
            )
        return "".join(clean)

    def _placeholder(self, find: Find) -> str:
        label = _LABELS[find.kind]
        if (find.kind, find.value) not in self._numbers:
            self._last[label] += 1
            self._numbers[find.kind, find.value] = self._last[label]
        return f"[{label}_{self._numbers[find.kind, find.value]}]"


def _around(text: str, end: int) -> str:
    """The surroundings of a place that ends at ``end``."""
    low, high = max(0, end - _AROUND), min(len(text), end + _AROUND)
    return ("…" if low else "") + text[low:high] + ("…" if high < len(text) else "")


def _with_messages(rows: pl.DataFrame, replaced: dict[int, list[dict[str, str]]]) -> pl.DataFrame:
    """The rows with some of their messages replaced."""
    if not replaced:
        return rows
    messages = rows["messages"].to_list()
    for number, new in replaced.items():
        messages[number] = new
    return rows.with_columns(pl.Series("messages", messages, dtype=ROWS["messages"]))
