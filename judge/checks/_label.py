"""Which one of a closed set of labels an answer chooses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from judge.checks._result import CheckResult
from judge.checks._text import LETTER, fold, listing, term_pattern

_NEAR = 80
"""How far before a label (in characters) a marker or a negation is looked for."""
_LONGEST_JOINT = 40

_JOINT = re.compile(  # between the labels of an enumeration
    r"(?:[ \t\"'`*_()\[\],/&|、-]|(?:and|or|nor|the)\b|以及|[和与或及]|[a-z][.)]"
    r"|\n[ \t]*(?=[-*•(]|[a-z][.)]|\d))*"
)
_CLAUSE_END = re.compile(r"[.;:!?。\n,]|\b(?:but|because|although|though|while)\b|而是|但")
_NEGATION = re.compile(
    r"\b(?:not(?! only| just)|no(?! doubt)|nor|neither|never|without(?! (?:a )?doubt)|rather than"
    r"|instead of|cannot|except|rules? out|exclud(?:es?|ing))\b|n't\b"
    r"|不是|不属|不算|不涉及|不违反|未违反|没有|并非|而非|无关|排除"
)
_WORDS_AFTER_NEGATION = 6
_NEGATED_AFTER = re.compile(
    r"[\"'`*_)\]]*\s*"
    r"(?:[:=]\s*"
    r"(?:no(?=\s*(?:[.,;\n|]|\Z))|not (?:applicable|violated|relevant)|n/a|false\b|[✗✘❌])"
    r"|(?:(?:label|policy|category)\s+)?"
    r"(?:(?:is|are|was|were|does|do|did|can|could|would)(?:\s*not\b|n't)|cannot)"
    r"|不适用|不成立|不符合)"
)

_WRAP = r"[\s\"'`*_\[(:]{0,8}"
"""Quotes, brackets and bold type around a label; bounded, since two can stand side by side."""
_MARKER = (
    r"(?:\b(?:answer|label|category|classification|class|choice|option|verdict)"
    r"(?:[\"'`*_]{0,4}\s*[:=]|\s+(?:is|are|would be|should be))"
    r"|\b(?:classif|categori[sz]|label)[a-z]*\s+(?:\w+\s+){0,4}?(?:as|under|into)"
    r"|\bfalls?\s+(?:under|into)|\bbelongs?\s+to|\b(?:i|i'd|i would|i'll)\s+(?:choose|pick|select)"
    r"|(?:答案|标签|类别|分类|结论)(?:应该?)?[是为:]|选项[是为:]?|选择?|归[类为于]+|属于)"
    rf"{_WRAP}(?:(?:the|label|category|policy|option)\s+)?{_WRAP}"
)
_MARKED = re.compile(rf"{_MARKER}(?:[a-z][.):]\s*)?{_WRAP}\Z")
_LETTER_END = r"(?:[).](?![a-z])|[\"'*_ ]{0,8}(?:\Z|[\n,;。])|(?<=[b-hj-z])(?=\s))"
"""What follows an option letter; the words "a" and "i" are none."""
_MARKED_LETTER = re.compile(rf"{_MARKER}(?P<letter>[a-z]){_LETTER_END}")
_OPENING_LETTER = re.compile(rf"{_WRAP}(?P<letter>[a-z])(?:[).](?![a-z])|[\"'*_ ]{{0,8}}(?:\Z|\n))")
_LONE_LETTER = re.compile(rf"(?<!{LETTER})\((?P<letter>[a-z])\)")
_OPENING = re.compile(r"[\s\"'`*_#>(\[]*(?:[a-z][.):][\s\"'`*_]*)?")
_AFTER_OPENING = re.compile(r"[\"'`*_)\]]*[ \t]*(?:\Z|[\n.!,。]|[-–—][ \t])")
_BOLD_START = re.compile(r"(?:\*\*|__)(?!\s)[^*_\n]{0,12}\Z")
_OPTION_LETTER = re.compile(r"\(?[a-z][.):]\s{0,2}\Z")
_BOLD_END = re.compile(r"[^*_\n]{0,12}(?:\*\*|__)")


class _Chain(NamedTuple):
    """Labels that stand together as an enumeration; one label alone is the usual case."""

    labels: frozenset[str]
    start: int
    end: int


def find_label(answer: str, labels: Sequence[str], expected: Sequence[str]) -> CheckResult:
    """Whether the answer chooses exactly one label, and one of the expected ones.

    Labels are whole words or option letters in the order of the labels ("(B)"). One that is
    introduced as the answer ("Answer: ...", "falls under ...") or opens the answer is the choice;
    without any, the only one in bold; without that, the only one that is named. A negated label
    and an enumeration of all the labels are no choice, and two choices are none.
    """
    chosen = _choices(_without_options(fold(answer), labels), labels)
    if not chosen:
        return CheckResult(False, "names no label")
    if len(chosen) > 1:
        return CheckResult(False, f"names several labels: {listing(chosen)}")
    return CheckResult(chosen[0] in expected, f"chooses {chosen[0]}")


def _choices(text: str, labels: Sequence[str]) -> list[str]:
    """The labels that a folded text chooses, in the order of the labels; one, if it is clear."""
    named = [chain for chain in _chains(text, labels) if not _is_negated(text, chain)]
    letters = [*_MARKED_LETTER.finditer(text), *filter(None, [_OPENING_LETTER.match(text)])]
    introduced = _labels(c for c in named if _is_introduced(text, c)) | _by_letter(letters, labels)
    bold = _labels(c for c in named if _is_bold(text, c))
    anywhere = _labels(named) or _by_letter(list(_LONE_LETTER.finditer(text)), labels)
    chosen = introduced or (bold if len(bold) == 1 else anywhere)
    return [label for label in labels if label in chosen]


def _labels(chains: Iterable[_Chain]) -> set[str]:
    return {label for chain in chains for label in chain.labels}


def _without_options(text: str, labels: Sequence[str]) -> str:
    """The text without enumerations of all the labels (three or more): they repeat the question."""
    if len(labels) < 3:
        return text
    kept, end = "", 0
    for chain in _chains(text, labels):
        if len(chain.labels) == len(labels):
            first = _OPTION_LETTER.search(text, max(end, chain.start - 5), chain.start)
            kept += text[end : first.start() if first else chain.start] + "\n"
            end = chain.end
    return kept + text[end:]


def _chains(text: str, labels: Sequence[str]) -> list[_Chain]:
    """The enumerations of labels in a folded text; of overlapping labels the longer counts."""
    order = sorted(range(len(labels)), key=lambda index: -len(labels[index]))
    pattern = re.compile("|".join(f"(?P<l{i}>{term_pattern(labels[i])})" for i in order))
    chains: list[_Chain] = []
    for match in pattern.finditer(text):
        label = labels[int((match.lastgroup or "l0")[1:])]
        last = chains[-1] if chains else None
        if (
            last is not None
            and match.start() - last.end <= _LONGEST_JOINT
            and _JOINT.fullmatch(text, last.end, match.start())
        ):
            chains[-1] = _Chain(last.labels | {label}, last.start, match.end())
        else:
            chains.append(_Chain(frozenset((label,)), match.start(), match.end()))
    return chains


def _is_negated(text: str, chain: _Chain) -> bool:
    """Whether the clause rules the labels out: "not X", "X does not apply"."""
    if _NEGATED_AFTER.match(text, chain.end):
        return True
    before = text[max(0, chain.start - _NEAR) : chain.start]
    clause = _CLAUSE_END.split(before)[-1]
    *_, last = [None, *_NEGATION.finditer(clause)]
    return last is not None and len(clause[last.end() :].split()) <= _WORDS_AFTER_NEGATION


def _is_introduced(text: str, chain: _Chain) -> bool:
    """Whether the labels are marked as the answer or open it."""
    if _MARKED.search(text, max(0, chain.start - _NEAR), chain.start):
        return True
    opens = chain.start <= _NEAR and _OPENING.fullmatch(text, 0, chain.start)
    return bool(opens and _AFTER_OPENING.match(text, chain.end))


def _is_bold(text: str, chain: _Chain) -> bool:
    before = text[max(0, chain.start - _NEAR) : chain.start]
    return bool(_BOLD_START.search(before) and _BOLD_END.match(text, chain.end))


def _by_letter(matches: Sequence[re.Match[str]], labels: Sequence[str]) -> set[str]:
    """The labels of option letters, A the first; letters beyond the last label are dropped."""
    positions = (ord(match["letter"]) - ord("a") for match in matches)
    return {labels[position] for position in positions if position < len(labels)}
