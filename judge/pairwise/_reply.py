"""From a judge's reply to a verdict on a pair: strict, and never a choice that was not made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from judge.pairwise._plan import Better
from judge.records import Reason, Status
from judge.verdicts import (
    Reply,
    Unusable,
    ended_otherwise,
    read_evidence,
    read_object,
    read_text,
    require_fields,
    require_own,
    require_quotes,
)

PAIR_FIELDS = ("evidence_first", "evidence_second", "rationale", "better")


@dataclass(frozen=True, slots=True, kw_only=True)
class PairReading:
    """The outcome of reading one reply; ``mendable`` says that asking once more may help."""

    status: Status
    reason: Reason | None = None
    better: Better | None = None
    evidence_first: tuple[str, ...] = ()
    evidence_second: tuple[str, ...] = ()
    rationale: str = ""
    detail: str = ""
    mendable: bool = False
    repaired: bool = False


def read_pair(reply: Reply, first: str, second: str) -> PairReading:
    """Read which of two answers a reply prefers, or say why it does not tell.

    Accepted is exactly one JSON object with the fields evidence_first, evidence_second, rationale
    and better, alone or in one Markdown code fence; better is "first", "second", "tie" or null.
    Every quote must stand in the answer that it is given for: words of the first answer in
    evidence_second are refused like words of neither. Nothing is repaired here.
    """
    ended = ended_otherwise(reply)
    if ended is not None:
        return PairReading(status=ended.status, reason=ended.reason, detail=ended.detail)
    try:
        return _read(read_object(reply.text or ""), first, second)
    except Unusable as problem:
        return PairReading(
            status=Status.UNSCORED, reason=problem.reason, detail=problem.detail, mendable=True
        )


def cannot_compare(why: str) -> PairReading:
    """The reading of a pair that needs no call, because nothing could be said."""
    return PairReading(
        status=Status.UNSCORED, reason=Reason.CANNOT_ASSESS, rationale=why, detail=why
    )


def _read(body: dict[str, Any], first: str, second: str) -> PairReading:
    require_fields(body, PAIR_FIELDS)
    with _of("evidence_first"):
        of_first = read_evidence(body["evidence_first"])
    with _of("evidence_second"):
        of_second = read_evidence(body["evidence_second"])
    rationale = read_text(body["rationale"], "rationale")
    better = _better(body["better"])
    require_own(body, first, second)
    if better is None:
        return PairReading(
            status=Status.UNSCORED,
            reason=Reason.CANNOT_ASSESS,
            rationale=rationale,
            detail="the judge cannot compare the answers from what it was given",
        )
    with _of("evidence_first"):
        require_quotes(of_first, first)
    with _of("evidence_second"):
        require_quotes(of_second, second)
    return PairReading(
        status=Status.SCORED,
        better=better,
        evidence_first=of_first,
        evidence_second=of_second,
        rationale=rationale,
    )


@contextmanager
def _of(field: str) -> Iterator[None]:
    """Say of which field a problem is."""
    try:
        yield
    except Unusable as problem:
        raise Unusable(problem.reason, f"{field}: {problem.detail}") from None


def _better(value: object) -> Better | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Unusable(Reason.INVALID, "better is not first, second, tie or null")
    try:
        return Better(value)
    except ValueError:
        shown = json.dumps(value[:40], ensure_ascii=False)
        raise Unusable(
            Reason.OUT_OF_RANGE, f"better is {shown}, not first, second, tie or null"
        ) from None
