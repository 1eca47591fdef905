"""Numbers in a text: whether one occurs, whether exactly those of a set occur."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from judge.checks._lists import ordered_items
from judge.checks._result import CheckResult
from judge.checks._text import CJK, LETTER, fold, listing

_DIGITS = re.compile(
    # Not within a word, a version (1.2.3), a name (GPT-3) or an ordinal.
    rf"(?<!{LETTER})(?<![^\W\d_{CJK}]-)(?<![.第])"
    r"-?(?:\d{1,3}(?:,\d{3}){1,6}(?!,?\d)|\d+)(?:\.\d+)?"
    # Nor a percentage or the first part of a longer number.
    rf"(?!{LETTER}|\s?%|\.\d|,\d{{3}}(?!\d))"
)
_ENGLISH = (
    *("zero", "one", "two", "three", "four", "five", "six"),
    *("seven", "eight", "nine", "ten", "eleven", "twelve"),
)
_CHINESE = ("零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二")
_VALUES = {
    **{word: number for number, word in enumerate(_ENGLISH)},
    **{word: number for number, word in enumerate(_CHINESE)},
    "〇": 0,
    "两": 2,
}
_UNIT = "零〇一二两三四五六七八九"
_SPELLED = re.compile(
    rf"(?<!{LETTER})(?<!{LETTER}-)(?:{'|'.join(_ENGLISH)})(?!{LETTER}|-{LETTER})"
    rf"|(?<![第{_UNIT}十百千万亿])(?:十[一二]?|[{_UNIT}])(?![{_UNIT}十百千万亿])"
)
_MAGNITUDE = re.compile(r"\s?(?:hundred|thousand|million|billion|percent|per cent|[百千万亿])")
_OPERATOR = re.compile(
    r"\s*(?:[+×*÷/]|\\(?:div|times|cdot)|(?:(?:divided|multiplied) )?by|times|plus|minus|over"
    r"|除以?|乘以?|加上?|减去?)\s*|\s+-\s+"
)
_BOUND = re.compile(r"\s*(?:[-–—~至到=]|to|through)\s*")
_LONGEST_GAP = 24
_COUNT_AFTER = re.compile(
    r"\s*(?:(?:such |distinct |different )?(?:primes?|numbers?|integers?|values?|items?)"
    r"|of (?:them|these)|in total|[个項项])|\s*(?:is|are)(?: not|n't)|\s*不是"
)
_COUNT_BEFORE = re.compile(r"(?:total(?: of| is|:)?|count(?: is|:)?|共有?)\s?\Z")


class _Number(NamedTuple):
    value: float
    start: int
    end: int


def find_number(answer: str, wanted: float) -> CheckResult:
    """Whether a number occurs, in digits or (0 to 12) in English or Chinese words.

    3, 3.0 and "three" are the same. The operands of a sum ("9 / 3", "9 divided by three") are the
    question's numbers, not a result, and do not count; nor do percentages, ordinals, versions and
    parts of names. The Chinese 一 counts wherever it stands, as "one" does.
    """
    text = _without_marks(answer)
    numbers = _numbers(text, spelled=True)
    operands = _joined(text, numbers, _OPERATOR)
    results = [number.value for number in numbers if number not in operands]
    if any(math.isclose(value, wanted, rel_tol=1e-9) for value in results):
        return CheckResult(True, f"the number {plain(wanted)}")
    others = listing(_distinct(results))
    return CheckResult(False, f"only {others}" if others else "no number as a result")


def find_numbers(answer: str, wanted: frozenset[float]) -> CheckResult:
    """Whether all wanted numbers occur in digits, and no other integer from 2 to the largest.

    List numbers ("3. ...") do not count. Counts ("25 primes"), ranges ("11-20"), sums
    ("91 = 7 × 13") and exclusions ("51 is not ...") are not held against the answer.
    """
    text = _without_marks(answer)
    if max(wanted) < 1000:  # every comma separates two numbers
        text = re.sub(r"(?<=\d),(?=\d)", ", ", text)
    numbering = {item.number_start for item in ordered_items(text)}
    numbers = [n for n in _numbers(text, spelled=False) if n.start not in numbering]
    aside = _joined(text, numbers, _OPERATOR) | _joined(text, numbers, _BOUND)
    extra = {
        number.value
        for number in numbers
        if number.value.is_integer() and 2 <= number.value <= max(wanted)
        if number not in aside and not _is_count(text, number)
    } - wanted
    missing = wanted - {number.value for number in numbers}
    parts = [
        f"{name} {listing(_distinct(sorted(values)))}"
        for name, values in (("missing", missing), ("extra", extra))
        if values
    ]
    return CheckResult(not parts, "; ".join(parts) or f"all {len(wanted)} numbers and no other")


def plain(value: float) -> str:
    """A number as people write it: 3 rather than 3.0."""
    return f"{value:.15g}"


def _numbers(text: str, *, spelled: bool) -> list[_Number]:
    """Numbers of a folded text in order, operands included."""
    found = [
        _Number(float(match.group().replace(",", "")), match.start(), match.end())
        for match in _DIGITS.finditer(text)
    ]
    if spelled:
        found += [
            _Number(_VALUES[match.group()], match.start(), match.end())
            for match in _SPELLED.finditer(text)
        ]
    return sorted(
        (number for number in found if not _MAGNITUDE.match(text, number.end)),
        key=lambda number: number.start,
    )


def _joined(text: str, numbers: Sequence[_Number], joint: re.Pattern[str]) -> set[_Number]:
    """Numbers that stand on either side of a joint, such as an operator or a range's dash."""
    return {
        number
        for pair in pairwise(numbers)
        if pair[1].start - pair[0].end <= _LONGEST_GAP
        and joint.fullmatch(text, pair[0].end, pair[1].start)
        for number in pair
    }


def _is_count(text: str, number: _Number) -> bool:
    """Whether a number counts something ("25 primes", "25 in total") or is said not to belong."""
    before = text[max(0, number.start - 10) : number.start]
    return bool(_COUNT_AFTER.match(text, number.end) or _COUNT_BEFORE.search(before))


def _without_marks(text: str) -> str:
    """Folded, without superscripts, fractions and circled numbers, which are not plain numbers."""
    return fold("".join(" " if unicodedata.category(char) == "No" else char for char in text))


def _distinct(values: Iterable[float]) -> list[str]:
    return list(dict.fromkeys(map(plain, values)))
