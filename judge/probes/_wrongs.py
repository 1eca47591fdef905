"""Transformations that make an answer wrong or incomplete, where it is known what would be right.

What is known are the reference, the required facts and the checks of a question. Without them all
of these abstain.
"""

from __future__ import annotations

import re
from functools import partial

from judge.checks import mentions
from judge.offline import content_tokens
from judge.offline import sentences as sentence_spans
from judge.probes import _texts
from judge.probes._language import (
    LIST_MARK,
    NUMBER,
    is_chinese,
    outside,
    phrase_in,
    pick,
    sentences,
)
from judge.records import Question

_AUXILIARY = "is|are|was|were|can|will|should|must|may|does|do|has|have"
_NOT_EN = re.compile(rf"\b(cannot|{_AUXILIARY})\b(?!['’])")
_NEGATED_EN = re.compile(rf"\b(?:({_AUXILIARY})(?:n['’]t| not| never)|(ca|wo)n['’]t)\b")
_CONTRACTED = {"ca": "can", "wo": "will"}
_NOT_ZH = re.compile(r"(?<![但于还总凡若可就要只不])(是|可以|能够|会|需要|应该|有)")
_NEGATED_ZH = re.compile(r"不(是|可以|能够|能|会|需要|应该)|没有")
_REASON_EN = re.compile(r"\b(because) (?!of\b)[^.;\n]{8,}?(?=[.;\n]|$)", re.IGNORECASE)
_REASON_ZH = re.compile(r"(因为|由于)[^，。；\n]{3,}")


def negation(question: Question, answer: str) -> str | None:
    """Turn a statement that the reference or a required fact supports into its opposite."""
    for sentence in sentences(answer):
        if _supported(question, sentence) and (turned := _negated(sentence)) is not None:
            return answer.replace(sentence, turned, 1)
    return None


def number_changed(question: Question, answer: str) -> str | None:
    """Change a number that a check or the reference shows to be right."""
    known = _known_text(question)
    marks = [(found.start(), found.end()) for found in LIST_MARK.finditer(answer)]
    for number in dict.fromkeys(found[0] for found in NUMBER.finditer(answer)):
        other = _other_number(number, answer)
        changed = outside(marks, answer, NUMBER, partial(_exchanged, number=number, other=other))
        if changed == answer:
            continue
        by_reference = _stands_in(number, known) and not _stands_in(other, known)
        if newly_failed(question, answer, changed) or by_reference:
            return changed
    return None


def corruption(question: Question, answer: str) -> str | None:
    """Name a wrong label, or turn a word of a supported statement into its opposite."""
    return _wrong_label(question, answer) or _opposite(question, answer)


def fallacy(question: Question, answer: str) -> str | None:
    """Keep a conclusion and put a reason in front of it that has nothing to do with it."""
    zh = is_chinese(answer)
    if zh is None:
        return None
    reason = phrase_in(zh, pick("fallacy", answer, _texts.NON_SEQUITUR))
    pattern = _REASON_ZH if zh else _REASON_EN
    found = pattern.search(answer)
    if found is None:
        return None
    return f"{answer[: found.start()]}{found[1]}{'' if zh else ' '}{reason}{answer[found.end() :]}"


def dropped_point(question: Question, answer: str) -> str | None:
    """Remove the sentences that state one of the required facts, if others remain."""
    spans = sentence_spans(answer)
    facts = [fact for fact in question.required_facts if fact.keywords]
    for fact in facts:
        stating = [span for span in spans if mentions(answer[span.start : span.end], fact.keywords)]
        if not stating or len(stating) == len(spans):
            continue
        out = answer
        for span in reversed(stating):
            line = out.rfind("\n", 0, span.start) + 1
            mark = re.fullmatch(r"[ \t]*(?:[-*+•]|\d+[.)、])?[ \t]*", out[line : span.start])
            start = line if mark and mark[0].strip() else span.start
            out = out[:start] + out[span.end :].lstrip(" ")
        out = re.sub(r"\n{3,}", "\n\n", out).strip()
        if out and not mentions(out, fact.keywords):
            return out
    return None


def newly_failed(question: Question, before: str, after: str) -> bool:
    """Whether a check of the question passes on one text and fails on the other."""
    return any(
        check.run(before).passed and not check.run(after).passed for check in question.checks
    )


def _known_text(question: Question) -> str:
    """What is known to be right: the reference and the required facts."""
    return "\n".join([question.reference or "", *(fact.fact for fact in question.required_facts)])


def _stands_in(number: str, text: str) -> bool:
    bare = number.strip("$% ").replace(",", "")
    plain = text.replace(",", "")
    return re.search(rf"(?<![\d.]){re.escape(bare)}(?!\d|\.\d)", plain) is not None


def _supported(question: Question, sentence: str) -> bool:
    """Whether a sentence says what a required fact or the reference says.

    It mentions a keyword of a fact, or at least 40 % of its content words stand in the reference.
    """
    if any(mentions(sentence, fact.keywords) for fact in question.required_facts if fact.keywords):
        return True
    said = content_tokens(sentence)
    shared = said & content_tokens(_known_text(question))
    return said.total() >= 2 and shared.total() >= 0.4 * said.total()


def _negated(sentence: str) -> str | None:
    """The opposite of a sentence, by its first auxiliary; None where there is none."""
    if is_chinese(sentence):
        if found := _NEGATED_ZH.search(sentence):
            return sentence[: found.start()] + (found[1] or "有") + sentence[found.end() :]
        if found := _NOT_ZH.search(sentence):
            turned = "没有" if found[1] == "有" else f"不{found[1]}"
            return sentence[: found.start()] + turned + sentence[found.end() :]
        return None
    if re.match(r"(?:Yes|No)\b", sentence):
        word = "No" if sentence.startswith("Yes") else "Yes"
        return re.sub(r"\A(?:Yes|No)\b", word, sentence)
    if found := _NEGATED_EN.search(sentence):
        plain = found[1] or _CONTRACTED[found[2]]
        return sentence[: found.start()] + plain + sentence[found.end() :]
    if found := _NOT_EN.search(sentence):
        turned = {"cannot": "can", "can": "cannot"}.get(found[1], f"{found[1]} not")
        return sentence[: found.start()] + turned + sentence[found.end() :]
    return None


def _exchanged(found: re.Match[str], number: str, other: str) -> str:
    return other if found[0] == number else found[0]


def _other_number(number: str, answer: str) -> str:
    """Another number in the same form: larger by about a third and by 1 to 3 more."""
    bare = number.strip("$% ").replace(",", "")
    decimals = len(bare.partition(".")[2])
    step = pick("number", answer + number, (1, 2, 3))
    value = float(bare)
    changed = value + round(value / 3) + step
    text = f"{changed:,.{decimals}f}" if "," in number else f"{changed:.{decimals}f}"
    return re.sub(r"\d[\d,.]*", text, number, count=1)


def _wrong_label(question: Question, answer: str) -> str | None:
    """The answer with another of the labels that a check knows, so that the check fails."""
    for check in question.checks:
        if check.kind != "label" or not check.run(answer).passed:
            continue
        wrong = [
            label for label in check.parameters["labels"]
            if label not in check.parameters["expected"]
        ]  # fmt: skip
        for label in check.parameters["expected"]:
            edge = r"\b" if label[:1].isalnum() and label.isascii() else ""
            pattern = re.compile(f"{edge}{re.escape(label)}{edge}", re.IGNORECASE)
            for other in wrong:
                changed = pattern.sub(other.replace("\\", r"\\"), answer)
                if changed != answer and newly_failed(question, answer, changed):
                    return changed
    return None


def _opposite(question: Question, answer: str) -> str | None:
    zh = is_chinese(answer)
    pairs = _texts.OPPOSITES_ZH if zh else _texts.OPPOSITES_EN
    known = _known_text(question).lower()
    for sentence in sentences(answer):
        if not _supported(question, sentence):
            continue
        for pair in pairs:
            for word, other in (pair, pair[::-1]):
                edge = "" if zh else r"\b"
                pattern = re.compile(f"{edge}{word}{edge}", re.IGNORECASE)
                if (found := pattern.search(sentence)) and pattern.search(known):
                    put = other.capitalize() if found[0][:1].isupper() else other
                    turned = sentence[: found.start()] + put + sentence[found.end() :]
                    return answer.replace(sentence, turned, 1)
    return None
