"""From a judge's reply to a verdict: strict, and never a number that the judge did not give."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from judge.hardening import is_copied, quotable
from judge.records import ChecklistItem, Reason, ScoreKind, Status
from judge.rubric import Criterion

PARSER_VERSION = 3
"""Raised whenever the same reply could give another verdict; stored calls are then re-read."""

_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n?```\Z", re.DOTALL)
_FIELDS = ("evidence", "rationale", "level")
_MAX_EVIDENCE = 20
_KINDS = {str: "a text", float: "a fraction", bool: "a truth value", dict: "an object"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a reply: its bytes, and the likeliest tokens there with log-probabilities."""

    content: bytes
    likeliest: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said, read from the stored response of a call."""

    text: str | None
    finish_reason: str | None
    refusal: str | None = None
    error_code: str | None = None
    tokens: tuple[Token, ...] | None = None
    """The tokens of the text, where log-probabilities were asked for and given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The outcome of reading one reply; ``mendable`` says that asking once more may help."""

    status: Status
    reason: Reason | None = None
    level: float | None = None
    score: float | None = None
    evidence: tuple[str, ...] = ()
    rationale: str = ""
    detail: str = ""
    mendable: bool = False
    repaired: bool = False
    kind: ScoreKind = ScoreKind.SAMPLES
    allowed_mass: float | None = None
    sd: float | None = None


class Unusable(Exception):
    """A reply that is not what was asked for: the reason, and in words what is wrong."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = _storable(detail)

    @property
    def parsed(self) -> Parsed:
        """The outcome of a reply that asking once more may mend."""
        return Parsed(status=Status.UNSCORED, reason=self.reason, detail=self.detail, mendable=True)


def parse_reply(reply: Reply, criterion: Criterion, answer: str) -> Parsed:
    """Read a verdict on one criterion from a reply, or say why it holds none.

    Accepted is exactly one JSON object with the fields evidence, rationale and level, alone or in
    one Markdown code fence. Recognised and refused: text around the object, a second object,
    duplicate keys, NaN and infinities, lone surrogates, missing or further fields, wrong types
    (a level "4" or 4.0 is not 4), levels outside the rubric, and quotes that the answer does not
    contain. Nothing is repaired here and nothing is guessed.
    """
    ended = ended_otherwise(reply)
    if ended is not None:
        return ended
    try:
        return _verdict(read_object(reply.text or ""), criterion, answer)
    except Unusable as problem:
        return problem.parsed


def parse_group(reply: Reply, criteria: Sequence[Criterion], answer: str) -> dict[str, Parsed]:
    """Read verdicts on several criteria from one reply: criterion → verdict, or why there is none.

    The reply is one JSON object that holds, for every criterion and nothing else, an object such as
    `parse_reply` reads. A criterion whose object is missing or unusable is unscored; the others
    stand. A reply that is broken as a whole leaves all of them unscored.
    """
    ended = ended_otherwise(reply)
    if ended is not None:
        return {criterion.criterion: ended for criterion in criteria}
    try:
        body = read_object(reply.text or "")
        names = [criterion.criterion for criterion in criteria]
        for name in body:
            if name not in names:
                raise Unusable(Reason.INVALID, f"the unknown field {name[:40]}")
    except Unusable as problem:
        return {criterion.criterion: problem.parsed for criterion in criteria}
    return {criterion.criterion: _member(body, criterion, answer) for criterion in criteria}


def parse_checklist(
    reply: Reply, items: Sequence[ChecklistItem], criterion: Criterion, answer: str
) -> Parsed:
    """Read a checklist reply: the score is the weighted share of items that are as wanted.

    score = sum(weight x [met = wanted]) / sum(weight) (arXiv 2403.18771); the level is its place on
    the criterion's scale. An item that cannot be told leaves the criterion unscored: leaving it out
    would compare answers by different items.
    """
    ended = ended_otherwise(reply)
    if ended is not None:
        return ended
    try:
        return _checked(read_object(reply.text or ""), items, criterion, answer)
    except Unusable as problem:
        return problem.parsed


def ended_otherwise(reply: Reply) -> Parsed | None:
    """The verdict of a reply that was refused, filtered or cut off; None for a complete one."""
    match reply:
        case Reply(error_code="context_length_exceeded"):
            return _final(Reason.CANNOT_ASSESS, "the prompt exceeds the judge's context window")
        case Reply(error_code="content_filter") | Reply(finish_reason="content_filter"):
            return _final(Reason.FILTERED, "the endpoint's content filter stepped in")
        case Reply(refusal=str(words)) if words:
            return _final(Reason.REFUSED, f"the judge refused: {words[:200]}")
        case Reply(finish_reason="length"):
            return _final(Reason.TRUNCATED, "the reply reached the token limit")
    return None


def _final(reason: Reason, detail: str) -> Parsed:
    return Parsed(status=Status.UNSCORED, reason=reason, detail=_storable(detail))


def _member(body: dict[str, Any], criterion: Criterion, answer: str) -> Parsed:
    """The verdict on one criterion of a group."""
    name = criterion.criterion
    try:
        if name not in body:
            raise Unusable(Reason.INVALID, f"the field {name} is missing")
        if not isinstance(body[name], dict):
            raise Unusable(Reason.INVALID, f"{name} is not an object")
        return _verdict(body[name], criterion, answer)
    except Unusable as problem:
        return problem.parsed


def _verdict(body: dict[str, Any], criterion: Criterion, answer: str) -> Parsed:
    evidence, rationale, level = _fields(body)
    require_own(body, answer)
    if level is None:
        return Parsed(
            status=Status.UNSCORED,
            reason=Reason.CANNOT_ASSESS,
            rationale=rationale,
            detail="the judge cannot assess the criterion from what it was given",
        )
    score = criterion.score(level)
    if score is None:
        raise Unusable(Reason.OUT_OF_RANGE, f"level {str(level)[:40]} is not a level of the rubric")
    require_quotes(evidence, answer)
    return Parsed(
        status=Status.SCORED, level=level, score=score, evidence=evidence, rationale=rationale
    )


def _checked(
    body: dict[str, Any],
    items: Sequence[ChecklistItem],
    criterion: Criterion,
    answer: str,
) -> Parsed:
    names = [f"item_{number}" for number in range(1, len(items) + 1)]
    require_fields(body, (*names, "rationale"))
    rationale = read_text(body["rationale"], "rationale")
    quotes: list[str] = []
    reached = []
    untold = []
    for name, item in zip(names, items, strict=True):
        if not isinstance(body[name], dict):
            raise Unusable(Reason.INVALID, f"{name} is not an object")
        require_fields(body[name], ("evidence", "met"))
        evidence, met = read_evidence(body[name]["evidence"]), body[name]["met"]
        if met is None:
            untold.append(name)
        elif not isinstance(met, bool):
            raise Unusable(Reason.INVALID, f"met of {name} is not true, false or null")
        elif met and item.evidence_required and not evidence:
            raise Unusable(Reason.INVALID, f"{name} is met without a quote that shows it")
        require_quotes(evidence, answer)
        quotes += evidence
        reached.append(item.weight * (met is item.wanted))
    require_own(body, answer)
    if untold:
        return Parsed(
            status=Status.UNSCORED,
            reason=Reason.CANNOT_ASSESS,
            rationale=rationale,
            detail=f"the judge cannot tell {', '.join(untold)} from what it was given",
        )
    score = min(math.fsum(reached) / math.fsum(item.weight for item in items), 1.0)
    low, high = criterion.levels[0].level, criterion.levels[-1].level
    return Parsed(
        status=Status.SCORED,
        level=low + score * (high - low),
        score=score,
        evidence=tuple(quotes),
        rationale=rationale,
    )


def require_quotes(evidence: Sequence[str], answer: str) -> None:
    """Refuse quotes that the answer contains in no form in which the judge saw it."""
    for quote in evidence:
        wanted = _folded(quote)
        if not any(quote in form or wanted in folded for form, folded in _passages(answer)):
            shown = json.dumps(quote[:80], ensure_ascii=False)
            raise Unusable(
                Reason.FABRICATED_EVIDENCE, f"the answer does not contain the quote {shown}"
            )


def require_own(body: dict[str, Any], *answers: str) -> None:
    """Refuse an object that stands in an answer: the answer's words are not the judge's."""
    if any(is_copied(body, answer) for answer in answers):
        raise Unusable(Reason.INVALID, "the reply is a copy of a passage of the answer")


@lru_cache(maxsize=256)
def _passages(answer: str) -> tuple[tuple[str, str], ...]:
    """The forms of an answer in which a quote of it may stand, each also with folded space."""
    return tuple((form, _folded(form)) for form in quotable(answer))


def read_object(text: str) -> dict[str, Any]:
    """The single JSON object that the text consists of."""
    body = text.strip()
    if fenced := _FENCED.match(body):
        body = fenced[1].strip()
    if not body:
        raise Unusable(Reason.INVALID, "the reply is empty")
    try:
        body.encode()
    except UnicodeEncodeError:
        raise Unusable(Reason.INVALID, "the reply contains a lone surrogate") from None
    try:
        value, end = _DECODER.raw_decode(body)
    except json.JSONDecodeError as error:
        where = "text before any JSON" if body[0] != "{" else "broken JSON"
        raise Unusable(Reason.INVALID, f"{where} ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise Unusable(Reason.INVALID, "JSON nested too deeply") from None
    except ValueError:
        raise Unusable(Reason.INVALID, "a number with thousands of digits") from None
    if not isinstance(value, dict):
        raise Unusable(Reason.INVALID, "the reply is JSON, but not an object")
    if body[end:].strip():
        raise Unusable(Reason.INVALID, "text after the JSON object")
    return value


def _fields(body: dict[str, Any]) -> tuple[tuple[str, ...], str, int | None]:
    """Evidence, rationale and level of a reply's object, each of exactly the right type."""
    require_fields(body, _FIELDS)
    evidence, rationale = read_evidence(body["evidence"]), read_text(body["rationale"], "rationale")
    level = body["level"]
    if level is not None and type(level) is not int:
        raise Unusable(
            Reason.INVALID, f"level is {_KINDS.get(type(level), 'a list')}, not a whole number"
        )
    return evidence, rationale, level


def require_fields(body: dict[str, Any], names: Sequence[str]) -> None:
    """Refuse an object that has not exactly these fields."""
    for name in names:
        if name not in body:
            raise Unusable(Reason.INVALID, f"the field {name} is missing")
    if len(body) > len(names):
        extra = next(name for name in body if name not in names)
        raise Unusable(Reason.INVALID, f"the unknown field {extra[:40]}")


def read_evidence(value: object) -> tuple[str, ...]:
    """Passages of evidence, blank ones left out."""
    if not isinstance(value, list) or not all(isinstance(quote, str) for quote in value):
        raise Unusable(Reason.INVALID, "evidence is not a list of texts")
    if len(value) > _MAX_EVIDENCE:
        raise Unusable(Reason.INVALID, f"{len(value)} passages of evidence")
    quotes = (read_text(each, "evidence") for each in value)
    return tuple(quote for quote in quotes if quote.strip())


def read_text(value: object, name: str) -> str:
    """A text of a reply; anything else, and a lone surrogate, is refused."""
    if not isinstance(value, str):
        raise Unusable(Reason.INVALID, f"{name} is not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Unusable(Reason.INVALID, "a text contains a lone surrogate") from None
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise Unusable(Reason.INVALID, f"the key {twice[:40]} stands there twice")
    return value


def _no_constant(name: str) -> Any:
    raise Unusable(Reason.INVALID, f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


def _folded(text: str) -> str:
    """Text for the comparison of quotes: NFC, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _storable(text: str) -> str:
    """Text without lone surrogates, for storage."""
    return text.encode("utf-8", "replace").decode()
