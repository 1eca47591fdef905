"""What the transformations share: the language of a text, its sentences, numbers and phrases."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

from judge.canonical import text_hash
from judge.checks import CJK
from judge.offline import Script, script
from judge.offline import sentences as sentence_spans
from judge.probes._texts import Phrase

T = TypeVar("T")

_LETTER = rf"[^\W_{CJK}]"
NUMBER = re.compile(
    rf"(?<!{_LETTER})(?<![.,-])\$?\d+(?:,\d{{3}})*(?:\.\d+)?(?:[ ]?%)?(?!{_LETTER}|-|[.,]\d)"
)
LIST_MARK = re.compile(r"^[ \t]*\d+[.)、]", re.MULTILINE)


def is_chinese(text: str) -> bool | None:
    """Whether a text is Chinese rather than English; None for other scripts and blank texts."""
    found = script(text) if text.strip() else None
    return None if found is None else found is Script.ZH


def phrase_in(zh: bool | None, phrase: Phrase) -> str:
    """The phrase in Chinese or in English."""
    return phrase.zh if zh else phrase.en


def pick(name: str, text: str, options: Sequence[T]) -> T:
    """One of the options, decided by a hash of the text."""
    number = int.from_bytes(text_hash(f"{name}\n{text}")[:4])
    return options[number % len(options)]


def sentences(text: str) -> list[str]:
    """The sentences of a text, without list marks."""
    return [text[span.start : span.end] for span in sentence_spans(text)]


def append(answer: str, addition: str, zh: bool) -> str:
    """The answer with a sentence after it; after several lines, a paragraph of its own."""
    if "\n" in answer.strip():
        return f"{answer.rstrip()}\n\n{addition}"
    return f"{ended(answer.strip(), zh)}{'' if zh else ' '}{addition}"


def ended(sentence: str, zh: bool) -> str:
    """The sentence with an end mark."""
    if re.search(r"[.!?:;。！？；：][\"'”’）)*_]*\Z", sentence):
        return sentence
    return sentence + ("。" if zh else ".")


def join(parts: Sequence[str], zh: bool) -> str:
    """Sentences one after the other."""
    return ("" if zh else " ").join(parts)


def outside(
    marks: Sequence[tuple[int, int]],
    text: str,
    pattern: re.Pattern[str],
    put: Callable[[re.Match[str]], str],
) -> str:
    """Substitute where the match does not lie within one of the marks."""

    def substitute(found: re.Match[str]) -> str:
        within = any(low <= found.start() < high for low, high in marks)
        return found[0] if within else put(found)

    return pattern.sub(substitute, text)
