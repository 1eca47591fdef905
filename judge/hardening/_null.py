"""Null answers: what says nothing, or says the same whatever it was asked.

Constant and template answers can score high with a model judge (arXiv 2410.07137, 2507.08794). A
flag is a pointer for people and reports; the answer is judged like any other.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from judge.checks import fold, quantity, words
from judge.hardening._data import INVISIBLE
from judge.records import Answer, Question

_FEWEST_TOKENS = 3
_ECHO = 0.9
_SHORT_CHECKS = frozenset({"label", "number"})
_UNSEEN = re.compile(f"[\\s{INVISIBLE}]+")
_LEAD_IN = frozenset(
    {"question", "q", "prompt", "answer", "a", "you", "asked", "问", "题", "问题", "答"}
)


class NullKind(StrEnum):
    """The ways in which an answer can be null."""

    EMPTY = "empty"
    """Nothing, or nothing that can be seen."""
    PUNCTUATION = "punctuation"
    """No letter and no digit."""
    TOO_SHORT = "too_short"
    ECHO = "echo"
    """The question handed back."""
    CONSTANT = "constant"
    """The same model's answer to another question, word for word."""
    REFUSAL = "refusal"


@dataclass(frozen=True, slots=True)
class NullFlag:
    """One way in which an answer is null, and what shows it."""

    kind: NullKind
    detail: str


def null_flags(
    answers: Sequence[tuple[Question | None, Answer]],
) -> tuple[tuple[NullFlag, ...], ...]:
    """The flags of each answer, in the order of the answers; no flag for an ordinary answer.

    Tokens are words, and single characters in Chinese. ``empty``, ``punctuation`` and
    ``too_short`` (fewer than 3 tokens) exclude each other; a short answer is none where the
    question has a label or number check or a reference of fewer than 3 tokens. ``echo``: at least
    0.9 of the answer's neighbouring pairs of tokens stand in the question and the other way round
    (pairs, so that "Is A better than B?" answered "A is better than B" is no echo). ``constant``:
    the same tokens as an answer of the same model to another question; not for answers of fewer
    than 3 tokens to such questions as above ("spam" may be right twice). ``refusal``: the answer
    opens with a refusal in English or Chinese.
    """
    tokens = [words(fold(answer.answer)) for _, answer in answers]
    brief = [
        len(found) < _FEWEST_TOKENS and _may_be_short(question)
        for found, (question, _) in zip(tokens, answers, strict=True)
    ]
    asked: dict[tuple[str, tuple[str, ...]], set[str]] = defaultdict(set)
    for found, (_, answer) in zip(tokens, answers, strict=True):
        asked[answer.model, tuple(found)].add(answer.question_id)
    flags = []
    for found, short, (question, answer) in zip(tokens, brief, answers, strict=True):
        of_answer = []
        if length := _length_flag(answer.answer, found, short):
            of_answer.append(length)
        if found and question is not None and _is_echo(found, words(fold(question.question))):
            of_answer.append(NullFlag(NullKind.ECHO, "repeats the question"))
        others = len(asked[answer.model, tuple(found)] - {answer.question_id})
        if found and others and not short:
            detail = f"the same text answers {quantity(others, 'other question')}"
            of_answer.append(NullFlag(NullKind.CONSTANT, detail))
        if refusal := _REFUSAL.match(fold(answer.answer).lstrip()):
            words_of_it = " ".join(refusal[0].split())
            of_answer.append(NullFlag(NullKind.REFUSAL, f"opens with: {words_of_it[-80:]}"))
        flags.append(tuple(of_answer))
    return tuple(flags)


def _may_be_short(question: Question | None) -> bool:
    if question is None:
        return False
    if any(check.kind in _SHORT_CHECKS for check in question.checks):
        return True
    return bool(question.reference) and len(words(question.reference or "")) < _FEWEST_TOKENS


def _length_flag(text: str, tokens: Sequence[str], may_be_short: bool) -> NullFlag | None:
    if not _UNSEEN.sub("", text):
        return NullFlag(NullKind.EMPTY, "no text" if not text else "only invisible characters")
    if not tokens:
        return NullFlag(NullKind.PUNCTUATION, "neither a letter nor a digit")
    if len(tokens) < _FEWEST_TOKENS and not may_be_short:
        return NullFlag(NullKind.TOO_SHORT, quantity(len(tokens), "token"))
    return None


def _is_echo(answer: Sequence[str], question: Sequence[str]) -> bool:
    """Whether the answer is the question, once or several times, but for a lead-in."""
    start = 0
    while start < len(answer) and answer[start] in _LEAD_IN:
        start += 1
    for text in (answer, answer[start:]):
        if not text or not question:
            continue
        if list(text) == list(question) * (len(text) // len(question)):
            return True
        given, asked = set(pairwise(text)), set(pairwise(question))
        if given and asked and len(given & asked) >= _ECHO * max(len(given), len(asked)):
            return True
    return False


_APOLOGY = (
    r"(?:(?:i'm|i am|we're|we are) (?:very |so |truly |really )?(?:sorry|afraid)|sorry|apologies|"
    r"(?:i|we) apologi[sz]e|unfortunately|regrettably)"
)
_CANNOT = (
    r"(?:can't|cannot|can not|(?:won't|will not)(?: be able to)?|(?:am|'m) (?:unable|not able) to|"
    r"(?:do not|don't) feel comfortable)"
)
_COMPLY = (
    r"(?:help|assist|answer|comply|fulfil|fulfill|provide|discuss|respond|do (?:that|this|it)|"
    r"create|write|generate|engage|support|continue|share|give|offer|complete|process|talk)"
)
_APOLOGY_ZH = "(?:(?:非常|很|十分)?(?:抱歉|对不起|不好意思|遗憾)|请原谅)"
_CANNOT_ZH = (
    "(?:无法|不能|不可以|没有办法|没办法|不便|难以|不会)(?:够)?(?:为您|为你|给您|给你|向您|向你)?"
)
_COMPLY_ZH = "(?:回答|提供|帮助|协助|完成|满足|处理|讨论|生成|支持|回复|参与|继续|执行)"
_REFUSAL = re.compile(
    rf"(?:{_APOLOGY}\b[^.!?\n]{{0,40}}\b)?(?:but |however |,|\s){{0,4}}i ?{_CANNOT} "
    rf"(?:\w+ ){{0,2}}{_COMPLY}\b"
    rf"|as an? (?:ai|artificial|large|language|virtual)\b[^.!?\n]{{0,60}}\bi ?{_CANNOT}\b"
    rf"|i (?:must|have to|need to) (?:respectfully |politely )?(?:decline|refuse)\b"
    rf"|{_APOLOGY}\b[^.!?\n]{{0,30}}\b(?:against|violates?) (?:my|our|the) "
    r"(?:guidelines|polic(?:y|ies)|rules|principles|programming)"
    rf"|{_APOLOGY_ZH}[^。!?\n]{{0,16}}{_CANNOT_ZH}[^。!?\n]{{0,10}}{_COMPLY_ZH}"
    rf"|作为一?[个款名]?(?:ai|人工智能|大?语言模型)[^。!?\n]{{0,24}}{_CANNOT_ZH}"
    rf"|我{_CANNOT_ZH}{_COMPLY_ZH}(?:这个|该|此|您的|你的|这类|相关|任何)"
)
"""Anchored at the start of the folded answer: a limit named on the way is no refusal."""
