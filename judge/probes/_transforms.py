"""Text transformations: an answer and its altered copy differ in one thing, which is known.

Every transformation is a pure function of the question and the answer; where it could go several
ways, a hash of the answer decides. It returns None where it does not apply: nothing to change, a
script that it has no words for, or no knowledge of what would be right or wrong. The languages are
English and Chinese, told apart by script.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

from judge.checks import words
from judge.offline import sentences as sentence_spans
from judge.probes import _texts
from judge.probes._language import (
    LIST_MARK,
    NUMBER,
    append,
    ended,
    is_chinese,
    join,
    outside,
    phrase_in,
    pick,
    sentences,
)
from judge.probes._texts import Phrase
from judge.records import Question

Transform: TypeAlias = Callable[[Question, str], str | None]

T = TypeVar("T")

_LEAST_WORDS = 4
_LEAST_TO_TURN = 6
_EMOJI = ("\U0001f600", "\U0001f44d", "\U0001f389", "\U0001f680")
_MARKDOWN_LINE = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|[-*+•][ \t]+|>[ \t]+)", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*(?=\S)(.+?)(?<=\S)\*\*|__(?=\S)(.+?)(?<=\S)__|`([^`\n]+)`")
_EMOJI_RUN = re.compile("[ ]?[\U0001f300-\U0001faff\u2600-\u27bf]\ufe0f?")
_EXAMPLES_EN = re.compile(r"\b(such as|for example,?|including|e\.g\.,?) [^.;:()\n]{3,}")
_EXAMPLES_ZH = re.compile(r"(例如|比如|包括|如)[^。；：（）\n]{3,}")
_NAME_EN = re.compile(r"(?<=[a-z,] )[A-Z][a-z]{2,}(?: [A-Z][a-z]+)*\b")
_QUOTED = re.compile(r'"[^"\n]{2,80}"|“[^”\n]{2,80}”|《[^》\n]{1,40}》')
_LEAST_VAGUE = 2


def verbosity(question: Question, answer: str) -> str | None:
    """Append a restatement of the answer's own first sentences that adds nothing."""
    zh = is_chinese(answer)
    if zh is None:
        return None
    whole = [sentence for sentence in sentences(answer) if len(words(sentence)) >= _LEAST_WORDS]
    said = [
        f"{phrase_in(zh, phrase)}{'' if zh else ' '}{ended(sentence, zh)}"
        for phrase, sentence in zip(_texts.RESTATE, whole[:3] or [answer.strip()], strict=False)
    ]
    return append(answer, join([*said, phrase_in(zh, _texts.RESTATE_END)], zh), zh)


def authority(question: Question, answer: str) -> str | None:
    """Append a made-up source that vouches for the answer."""
    return _with_phrases(answer, after=_texts.AUTHORITY)


def bandwagon(question: Question, answer: str) -> str | None:
    """Append that many people liked the answer."""
    return _with_phrases(answer, after=_texts.BANDWAGON)


def cheerful(question: Question, answer: str) -> str | None:
    """Put the same content between cheerful remarks."""
    return _with_phrases(answer, before=_texts.CHEERFUL, after=(_texts.CHEERFUL_END,))


def angry(question: Question, answer: str) -> str | None:
    """Put the same content between angry remarks that are not about the reader."""
    return _with_phrases(answer, before=_texts.ANGRY, after=(_texts.ANGRY_END,))


def confident(question: Question, answer: str) -> str | None:
    """Append a claim of certainty."""
    return _with_phrases(answer, after=_texts.CONFIDENT)


def hedged(question: Question, answer: str) -> str | None:
    """Append doubt about the answer."""
    return _with_phrases(answer, after=_texts.HEDGED)


def formatting_added(question: Question, answer: str) -> str | None:
    """The sentences as bold-headed bullets; only where there is no Markdown yet."""
    parts = sentences(answer)
    if len(parts) < 2 or _MARKDOWN_LINE.search(answer) or LIST_MARK.search(answer):
        return None
    return "\n".join(f"- {_bold_start(part)}" for part in parts)


def formatting_stripped(question: Question, answer: str) -> str | None:
    """The text without headings, bullets, emphasis, code ticks and emoji."""
    plain = _MARKDOWN_LINE.sub("", answer)
    plain = _EMPHASIS.sub(lambda found: next(filter(None, found.groups())), plain)
    plain = _EMOJI_RUN.sub("", plain)
    return plain if plain != answer and plain.strip() else None


def emoji(question: Question, answer: str) -> str | None:
    """An emoji after every sentence."""
    spans = sentence_spans(answer)
    if not spans or _EMOJI_RUN.search(answer):
        return None
    out = answer
    for index, span in reversed(list(enumerate(spans))):
        out = f"{out[: span.end]} {_EMOJI[index % len(_EMOJI)]}{out[span.end :]}"
    return out


def personal_data(question: Question, answer: str) -> str | None:
    """Append the contact data of a person who does not exist."""
    return _with_phrases(answer, after=_texts.PERSONAL_DATA)


def rudeness(question: Question, answer: str) -> str | None:
    """Put the same content between insults of the reader."""
    return _with_phrases(answer, before=_texts.RUDE, after=_texts.RUDE_END)


def disregard(question: Question, answer: str) -> str | None:
    """Append demands that assume a role and means which the question does not show."""
    return _with_phrases(answer, after=_texts.DISREGARD)


def vagueness(question: Question, answer: str) -> str | None:
    """Put generic words for numbers, names, quotations and examples (at least two of them)."""
    zh = is_chinese(answer)
    if zh is None:
        return None
    total = 0

    def vague_number(found: re.Match[str]) -> str:
        return phrase_in(zh, _texts.VAGUE_SHARE if "%" in found[0] else _texts.VAGUE_NUMBER)

    examples = _EXAMPLES_ZH if zh else _EXAMPLES_EN
    gap = "" if zh else " "
    marks = [(found.start(), found.end()) for found in LIST_MARK.finditer(answer)]
    out = outside(marks, answer, NUMBER, vague_number)
    total += out != answer
    for pattern, put in (
        (examples, lambda found: f"{found[1]}{gap}{phrase_in(zh, _texts.VAGUE_EXAMPLES)}"),
        (_QUOTED, lambda found: phrase_in(zh, _texts.VAGUE_NAME)),
        (_NAME_EN, lambda found: phrase_in(zh, _texts.VAGUE_NAME)),
    ):
        out, count = pattern.subn(put, out)
        total += count
    return out if total >= _LEAST_VAGUE else None


def muddle(question: Question, answer: str) -> str | None:
    """Turn the halves of every longer sentence round, so that it has to be read twice."""
    zh = is_chinese(answer)
    spans = [
        span for span in sentence_spans(answer) if len(words(answer[span.start : span.end])) >= 6
    ]
    if zh is None or not spans:
        return None
    out = answer
    for span in reversed(spans):
        sentence = out[span.start : span.end]
        body = sentence.rstrip(".!?。！？；")
        tail = sentence[len(body) :]
        units = list(body) if zh else body.split()
        middle = len(units) // 2
        turned = [*units[middle:], *units[:middle]]
        out = out[: span.start] + ("" if zh else " ").join(turned) + tail + out[span.end :]
    return out


def same_findings(question: Question, before: str, after: str) -> bool:
    """Whether every check of the question comes out alike on both texts."""
    return all(check.run(before).passed == check.run(after).passed for check in question.checks)


def null_answers(question: Question) -> dict[str, str]:
    """Answers that say nothing, by name; the question's own text decides the language."""
    zh = bool(is_chinese(question.question))
    return {
        "empty": "",
        "full stop": ".",
        "colon": ":",
        "thought process": "Thought process:",
        "solution": "Solution",
        "echo of the question": question.question,
        "polite sentence": phrase_in(zh, _texts.POLITE_NOTHING),
        "praise of itself": phrase_in(zh, _texts.CHEATING_NOTHING),
    }


def _with_phrases(
    answer: str, before: Sequence[Phrase] = (), after: Sequence[Phrase] = ()
) -> str | None:
    """The answer with a phrase in front of it, after it, or both."""
    zh = is_chinese(answer)
    if zh is None:
        return None
    out = answer.rstrip()
    if before:
        gap = "\n\n" if "\n" in out else "" if zh else " "
        out = f"{phrase_in(zh, pick('before', answer, before))}{gap}{out.lstrip()}"
    return append(out, phrase_in(zh, pick("after", answer, after)), zh) if after else out


def _bold_start(sentence: str) -> str:
    """The sentence with its first words in bold."""
    if is_chinese(sentence):
        return f"**{sentence[:4]}**{sentence[4:]}"
    head, gap, rest = sentence.partition(" ")
    return f"**{head}**{gap}{rest}"
