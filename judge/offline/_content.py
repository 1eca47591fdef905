"""Features of content: agreement and coverage, against checks, reference and required facts."""

from __future__ import annotations

import re
from collections import Counter

from judge.checks import CheckResult, mentions
from judge.offline._assessment import Assessment, CannotAssess
from judge.offline._text import clamp, comparable, content_tokens, overlap, quotes, sentences
from judge.records import Question, RequiredFact

_ENOUGH_F1, _ENOUGH_RECALL = 0.5, 0.6


def agreement(question: Question, answer: str, criterion: str) -> Assessment | CannotAssess:
    """How far the answer agrees with the criterion's checks and the reference's words.

    Precision and recall count alike (F1); an F1 of 0.5 is full marks, since two correct answers
    rarely share more. A reference in another script than the answer's is left out.
    """
    results = _results(question, answer, criterion)
    parts: list[tuple[float, float]] = []
    found: list[str] = []
    if results:
        parts.append((2, _passed(results)))
        found.append(_checks_text(results))
    if reference := _reference(question, answer):
        _, f1 = overlap(content_tokens(answer), reference)
        parts.append((1, min(1.0, f1 / _ENOUGH_F1)))
        found.append(f"word overlap (F1) with the reference {f1:.2f}")
    if not parts:
        return CannotAssess("There is neither a check nor a reference to compare with.")
    evidence = _closest(answer, reference) if reference else ()
    return Assessment(_weighted(parts), evidence, "; ".join(found) + ".")


def coverage(question: Question, answer: str, criterion: str) -> Assessment | CannotAssess:
    """How much of what a good answer says is there: facts, checks, the reference's words.

    What it says beyond that costs nothing. A reference, or a fact without keywords, in another
    script than the answer's is left out.
    """
    parts: list[tuple[float, float]] = []
    found: list[str] = []
    facts = [fact for fact in question.required_facts if _is_testable(fact, answer)]
    evidence: tuple[str, ...] = ()
    if facts:
        stated = [fact for fact in facts if _is_stated(fact, answer)]
        parts.append((2, len(stated) / len(facts)))
        found.append(f"{len(stated)} of {len(facts)} required facts found")
        evidence = _keywords(answer, stated)
    if results := _results(question, answer, criterion):
        parts.append((2, _passed(results)))
        found.append(_checks_text(results))
    if reference := _reference(question, answer):
        recall, _ = overlap(content_tokens(answer), reference)
        parts.append((1, min(1.0, recall / _ENOUGH_RECALL)))
        found.append(f"{recall:.0%} of the reference's words found")
    if not parts:
        return CannotAssess("There is neither a fact nor a check nor a reference to look for.")
    return Assessment(_weighted(parts), evidence, "; ".join(found) + ".")


def _results(question: Question, answer: str, criterion: str) -> list[CheckResult]:
    """Results of the checks that speak about the criterion."""
    return [check.run(answer) for check in question.checks if criterion in check.criteria]


def _passed(results: list[CheckResult]) -> float:
    return sum(result.passed for result in results) / len(results)


def _checks_text(results: list[CheckResult]) -> str:
    passed = sum(result.passed for result in results)
    return f"{passed} of {len(results)} checks passed ({', '.join(r.found for r in results)})"


def _weighted(parts: list[tuple[float, float]]) -> float:
    """Mean of the values by the weights."""
    return clamp(
        sum(weight * value for weight, value in parts) / sum(weight for weight, _ in parts)
    )


def _reference(question: Question, answer: str) -> Counter[str]:
    """Content words of the reference; none if there is none in the answer's script."""
    if question.reference is None or not comparable(question.reference, answer):
        return Counter()
    return content_tokens(question.reference)


def _closest(answer: str, reference: Counter[str]) -> tuple[str, ...]:
    """The sentence that shares most content words with the reference, if any does."""
    shared = {
        span: (content_tokens(answer[span.start : span.end]) & reference).total()
        for span in sentences(answer)
    }
    best = max(shared, key=lambda span: shared[span], default=None)
    if best is None or not shared[best]:
        return ()
    return quotes(answer, [(best.start, best.start + 1)])


def _is_testable(fact: RequiredFact, answer: str) -> bool:
    return bool(fact.keywords) or (
        bool(content_tokens(fact.fact)) and comparable(fact.fact, answer)
    )


def _is_stated(fact: RequiredFact, answer: str) -> bool:
    """Whether one of the keywords occurs or, without keywords, 60 % of the content words."""
    if fact.keywords:
        return bool(mentions(answer, fact.keywords))
    recall, _ = overlap(content_tokens(answer), content_tokens(fact.fact))
    return recall >= _ENOUGH_RECALL


def _keywords(answer: str, facts: list[RequiredFact]) -> tuple[str, ...]:
    """Passages around the first keyword of each fact that stands in the answer as written."""
    spans = []
    for fact in facts:
        for keyword in mentions(answer, fact.keywords):
            if match := re.search(rf"(?<!\w){re.escape(keyword)}", answer, re.IGNORECASE):
                spans.append(match.span())
                break
    return quotes(answer, spans)
