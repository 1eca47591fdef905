"""The kinds of checks: how each runs and how it describes itself."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from judge.checks._label import find_label
from judge.checks._lists import list_items
from judge.checks._numbers import find_number, find_numbers, plain
from judge.checks._result import CheckResult
from judge.checks._text import CJK, WORD, fold, mentions, quantity, quoted, words


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One deterministic check: its kind, its parameters and the criteria that it speaks about.

    Kinds and parameters are those of the question set's schema, which has validated them; a kind
    that it does not know is a KeyError.
    """

    kind: str
    criteria: tuple[str, ...]
    parameters: Mapping[str, Any]

    def run(self, answer: str) -> CheckResult:
        """Run the check on the text of an answer; an empty answer fails every check."""
        if not answer.strip():
            return CheckResult(False, "an empty answer")
        return _KINDS[self.kind].run(answer, self.parameters)

    def describe(self) -> str:
        """What the check wants, in words for a person or a judge."""
        return _KINDS[self.kind].describe(self.parameters)


class _Kind(NamedTuple):
    run: Callable[[str, Mapping[str, Any]], CheckResult]
    describe: Callable[[Mapping[str, Any]], str]


_LANGUAGES = {"en": "English", "zh": "Chinese"}
_SCRIPTS = {"en": re.compile("[a-zà-öø-ž]"), "zh": re.compile(f"[{CJK}]")}
_MIN_SHARE, _WITHIN_WORDS = 0.5, 12
"""The schema's defaults."""


def _number(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return find_number(answer, float(parameters["value"]))


def _describe_number(parameters: Mapping[str, Any]) -> str:
    return f"contains the number {plain(float(parameters['value']))}"


def _number_set(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return find_numbers(answer, frozenset(map(float, parameters["numbers"])))


def _describe_number_set(parameters: Mapping[str, Any]) -> str:
    numbers = [plain(float(value)) for value in parameters["numbers"]]
    largest = plain(max(map(float, parameters["numbers"])))
    return f"contains the numbers {', '.join(numbers)} and no other number from 2 to {largest}"


def _label(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return find_label(answer, parameters["labels"], parameters["expected"])


def _describe_label(parameters: Mapping[str, Any]) -> str:
    expected = " or ".join(parameters["expected"])
    return f"chooses {expected} and no other of the labels: {', '.join(parameters['labels'])}"


def _language(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    """Enough of the letters (of all scripts) belong to the language's script."""
    text = fold(answer)
    letters = sum(map(str.isalpha, text))
    if not letters:
        return CheckResult(False, "no letters")
    share = len(_SCRIPTS[parameters["language"]].findall(text)) / letters
    script = {"en": "Latin", "zh": "Chinese"}[parameters["language"]]
    passed = share >= parameters.get("min_share", _MIN_SHARE)
    return CheckResult(passed, f"{share:.1%} of the letters are {script}")


def _describe_language(parameters: Mapping[str, Any]) -> str:
    share = parameters.get("min_share", _MIN_SHARE)
    language = _LANGUAGES[parameters["language"]]
    return f"is written in {language} (at least {share:.0%} of its letters)"


def _words(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return _counted(len(words(answer)), "word", parameters)


def _list_items(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return _counted(list_items(answer), "list item", parameters)


def _counted(count: int, noun: str, parameters: Mapping[str, Any]) -> CheckResult:
    passed = parameters.get("min", 0) <= count <= parameters.get("max", math.inf)
    return CheckResult(passed, quantity(count, noun))


def _describe_words(parameters: Mapping[str, Any]) -> str:
    return _describe_count(parameters, "word")


def _describe_list_items(parameters: Mapping[str, Any]) -> str:
    return _describe_count(parameters, "list item")


def _describe_count(parameters: Mapping[str, Any], noun: str) -> str:
    if "min" not in parameters:
        return f"at most {quantity(parameters['max'], noun)}"
    if "max" not in parameters:
        return f"at least {quantity(parameters['min'], noun)}"
    least, most = parameters["min"], parameters["max"]
    if least == most:
        return f"exactly {quantity(least, noun)}"
    return f"{least} to {quantity(most, noun)}"


def _mentions(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return _mentioned(mentions(answer, parameters["any"]), wanted=True)


def _avoids(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    return _mentioned(mentions(answer, parameters["terms"]), wanted=False)


def _opens_with(answer: str, parameters: Mapping[str, Any]) -> CheckResult:
    """One of the terms lies within the first words of the answer."""
    text = fold(answer)
    limit = parameters.get("within_words", _WITHIN_WORDS)
    ends = (match.end() for match, _ in zip(WORD.finditer(text), range(limit), strict=False))
    return _mentioned(mentions(text[: max(ends, default=0)], parameters["any"]), wanted=True)


def _mentioned(found: list[str], *, wanted: bool) -> CheckResult:
    return CheckResult(bool(found) is wanted, quoted(found) if found else "none of the terms")


def _describe_mentions(parameters: Mapping[str, Any]) -> str:
    return f"mentions {_any_of(parameters['any'])}"


def _describe_avoids(parameters: Mapping[str, Any]) -> str:
    return f"avoids {', '.join(parameters['terms'])}"


def _describe_opens_with(parameters: Mapping[str, Any]) -> str:
    limit = parameters.get("within_words", _WITHIN_WORDS)
    return f"mentions {_any_of(parameters['any'])} within its first {quantity(limit, 'word')}"


def _any_of(terms: list[str]) -> str:
    return terms[0] if len(terms) == 1 else f"any of: {', '.join(terms)}"


_KINDS: Mapping[str, _Kind] = {
    "number": _Kind(_number, _describe_number),
    "number_set": _Kind(_number_set, _describe_number_set),
    "label": _Kind(_label, _describe_label),
    "language": _Kind(_language, _describe_language),
    "words": _Kind(_words, _describe_words),
    "list_items": _Kind(_list_items, _describe_list_items),
    "mentions": _Kind(_mentions, _describe_mentions),
    "avoids": _Kind(_avoids, _describe_avoids),
    "opens_with": _Kind(_opens_with, _describe_opens_with),
}
