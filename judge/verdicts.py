"""From a judge's reply to a verdict: strict, and never a number that the judge did not give."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any

from judge.records import Reason, Status
from judge.rubric import Criterion

PARSER_VERSION = 1
"""Raised whenever the same reply could give another verdict; stored calls are then re-read."""

_FENCED = re.compile(r"\A```(?:json)?[ \t]*\n(.*)\n?```\Z", re.DOTALL)
_FIELDS = ("evidence", "rationale", "level")
_MAX_EVIDENCE = 20
_KINDS = {str: "a text", float: "a fraction", bool: "a truth value", dict: "an object"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said, read from the stored response of a call."""

    text: str | None
    finish_reason: str | None
    refusal: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parsed:
    """The outcome of reading one reply; ``mendable`` says that asking once more may help."""

    status: Status
    reason: Reason | None = None
    level: int | None = None
    score: float | None = None
    evidence: tuple[str, ...] = ()
    rationale: str = ""
    detail: str = ""
    mendable: bool = False
    repaired: bool = False


class _Unusable(Exception):
    """The reply is not a verdict."""

    def __init__(self, reason: Reason, detail: str) -> None:
        self.reason = reason
        self.detail = _storable(detail)


def parse_reply(reply: Reply, criterion: Criterion, answer: str) -> Parsed:
    """Read a verdict on one criterion from a reply, or say why it holds none.

    Accepted is exactly one JSON object with the fields evidence, rationale and level, alone or in
    one Markdown code fence. Recognised and refused: text around the object, a second object,
    duplicate keys, NaN and infinities, lone surrogates, missing or further fields, wrong types
    (a level "4" or 4.0 is not 4), levels outside the rubric, and quotes that the answer does not
    contain. Nothing is repaired here and nothing is guessed.
    """
    ended = _ended_otherwise(reply)
    if ended is not None:
        return ended
    try:
        return _read(reply.text or "", criterion, answer)
    except _Unusable as problem:
        return Parsed(
            status=Status.UNSCORED, reason=problem.reason, detail=problem.detail, mendable=True
        )


def _ended_otherwise(reply: Reply) -> Parsed | None:
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


def _read(text: str, criterion: Criterion, answer: str) -> Parsed:
    body = _object(text)
    evidence, rationale, level = _fields(body)
    if level is None:
        return Parsed(
            status=Status.UNSCORED,
            reason=Reason.CANNOT_ASSESS,
            rationale=rationale,
            detail="the judge cannot assess the criterion from what it was given",
        )
    score = criterion.score(level)
    if score is None:
        raise _Unusable(
            Reason.OUT_OF_RANGE, f"level {str(level)[:40]} is not a level of the rubric"
        )
    haystack = _folded(answer)
    for quote in evidence:
        if quote not in answer and _folded(quote) not in haystack:
            shown = json.dumps(quote[:80], ensure_ascii=False)
            raise _Unusable(
                Reason.FABRICATED_EVIDENCE, f"the answer does not contain the quote {shown}"
            )
    return Parsed(
        status=Status.SCORED, level=level, score=score, evidence=evidence, rationale=rationale
    )


def _object(text: str) -> dict[str, Any]:
    """The single JSON object that the text consists of."""
    body = text.strip()
    if fenced := _FENCED.match(body):
        body = fenced[1].strip()
    if not body:
        raise _Unusable(Reason.INVALID, "the reply is empty")
    try:
        body.encode()
    except UnicodeEncodeError:
        raise _Unusable(Reason.INVALID, "the reply contains a lone surrogate") from None
    try:
        value, end = _DECODER.raw_decode(body)
    except json.JSONDecodeError as error:
        where = "text before any JSON" if body[0] != "{" else "broken JSON"
        raise _Unusable(Reason.INVALID, f"{where} ({error.msg} at character {error.pos})") from None
    except RecursionError:
        raise _Unusable(Reason.INVALID, "JSON nested too deeply") from None
    except ValueError:
        raise _Unusable(Reason.INVALID, "a number with thousands of digits") from None
    if not isinstance(value, dict):
        raise _Unusable(Reason.INVALID, "the reply is JSON, but not an object")
    if body[end:].strip():
        raise _Unusable(Reason.INVALID, "text after the JSON object")
    return value


def _fields(body: dict[str, Any]) -> tuple[tuple[str, ...], str, int | None]:
    """Evidence, rationale and level of a reply's object, each of exactly the right type."""
    for name in _FIELDS:
        if name not in body:
            raise _Unusable(Reason.INVALID, f"the field {name} is missing")
    if len(body) > len(_FIELDS):
        extra = next(name for name in body if name not in _FIELDS)
        raise _Unusable(Reason.INVALID, f"the unknown field {extra[:40]}")
    evidence, rationale, level = (body[name] for name in _FIELDS)
    if not isinstance(evidence, list) or not all(isinstance(quote, str) for quote in evidence):
        raise _Unusable(Reason.INVALID, "evidence is not a list of texts")
    if len(evidence) > _MAX_EVIDENCE:
        raise _Unusable(Reason.INVALID, f"{len(evidence)} passages of evidence")
    if not isinstance(rationale, str):
        raise _Unusable(Reason.INVALID, "rationale is not a text")
    if level is not None and type(level) is not int:
        raise _Unusable(
            Reason.INVALID, f"level is {_KINDS.get(type(level), 'a list')}, not a whole number"
        )
    for text in (rationale, *evidence):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise _Unusable(Reason.INVALID, "a text contains a lone surrogate") from None
    return tuple(quote for quote in evidence if quote.strip()), rationale, level


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise _Unusable(Reason.INVALID, f"the key {twice[:40]} stands there twice")
    return value


def _no_constant(name: str) -> Any:
    raise _Unusable(Reason.INVALID, f"{name} is not JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constant)


def _folded(text: str) -> str:
    """Text for the comparison of quotes: NFC, every run of white space one space."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _storable(text: str) -> str:
    """Text without lone surrogates, for storage."""
    return text.encode("utf-8", "replace").decode()
