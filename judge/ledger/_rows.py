"""Between records and database rows; the column order here is the one of every SQL statement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeAlias

from judge.ledger._protocol import Attempt, Call, StoredAnswer, StoredVerdict
from judge.questions import question_from_dict
from judge.records import Answer, Rating, Reason, ScoreKind, Status, Verdict

CALL_COLUMNS = (
    "key", "generation", "parent", "purpose", "model", "sample", "occasion", "request", "response",
    "status_code", "prompt_tokens", "cached_tokens", "completion_tokens", "cost", "latency_s",
    "attempts", "started_at",
)  # fmt: skip
CALL_FACTS = tuple(
    name for name in CALL_COLUMNS if name not in ("occasion", "request", "response", "status_code")
)
ATTEMPT_COLUMNS = ("key", "error", "status_code", "detail", "latency_s", "at")
VERDICT_IDENTITY = (
    "call_key", "generation", "parser", "question_id", "model", "answer_sample", "answer_hash",
    "question_hash", "criterion", "judge", "ruler", "sample", "occasion",
)  # fmt: skip
VERDICT_COLUMNS = (
    *VERDICT_IDENTITY, "status", "reason", "level", "scale_min", "scale_max", "score", "evidence",
    "rationale", "detail", "repaired", "kind", "allowed_mass", "sd",
)  # fmt: skip
ANSWER_IDENTITY = ("question_id", "model", "sample", "occasion")
ANSWER_COLUMNS = (
    *ANSWER_IDENTITY, "answer", "answer_hash", "question", "finish_reason", "usage", "generation",
)  # fmt: skip
RATING_IDENTITY = ("question_id", "model", "sample", "criterion", "rater")
RATING_COLUMNS = (*RATING_IDENTITY, "rating", "scale_min", "scale_max", "when", "note")

Row: TypeAlias = tuple[Any, ...]


def call_row(call: Call) -> Row:
    """The row of a call, its bodies as they are."""
    return tuple(getattr(call, column) for column in CALL_COLUMNS)


def attempt_row(attempt: Attempt) -> Row:
    """The row of a failed attempt."""
    return (
        attempt.key, attempt.error, attempt.status_code, _words(attempt.detail), attempt.latency_s,
        attempt.at,
    )  # fmt: skip


def verdict_row(stored: StoredVerdict) -> Row:
    """The row of a verdict."""
    verdict = stored.verdict
    return (
        stored.call_key, stored.generation, stored.parser, verdict.question_id, verdict.model,
        verdict.answer_sample, verdict.answer_hash, verdict.question_hash, verdict.criterion,
        verdict.judge, verdict.ruler, verdict.sample, verdict.occasion, verdict.status.value,
        None if verdict.reason is None else verdict.reason.value, verdict.level,
        verdict.scale_min, verdict.scale_max, verdict.score, dump(list(verdict.evidence)),
        _words(verdict.rationale), _words(verdict.detail), verdict.repaired, verdict.kind.value,
        verdict.allowed_mass, verdict.sd,
    )  # fmt: skip


def verdict_from_row(row: Sequence[Any]) -> StoredVerdict:
    """Inverse of `verdict_row`."""
    values = dict(zip(VERDICT_COLUMNS, row, strict=True))
    reason = values.pop("reason")
    return StoredVerdict(
        call_key=values.pop("call_key"),
        generation=values.pop("generation"),
        parser=values.pop("parser"),
        verdict=Verdict(
            status=Status(values.pop("status")),
            reason=None if reason is None else Reason(reason),
            evidence=tuple(json.loads(values.pop("evidence"))),
            repaired=bool(values.pop("repaired")),
            kind=ScoreKind(values.pop("kind")),
            **values,
        ),
    )


def answer_row(answer: Answer, answer_hash: bytes, question: bytes | None) -> Row:
    """The row of an answer; ``question`` is the hash of the question's document."""
    return (
        answer.question_id, answer.model, answer.sample, answer.occasion, answer.answer,
        answer_hash, question, answer.finish_reason, dump_optional(answer.usage),
        dump_optional(answer.generation),
    )  # fmt: skip


def answer_from_row(row: Sequence[Any]) -> StoredAnswer:
    """A stored answer from (id, question document or None, *ANSWER_COLUMNS)."""
    answer_id, body, *rest = row
    values = dict(zip(ANSWER_COLUMNS, rest, strict=True))
    del values["question"], values["answer_hash"]
    for name in ("usage", "generation"):
        values[name] = None if values[name] is None else json.loads(values[name])
    question = None if body is None else question_from_dict(json.loads(body))
    return StoredAnswer(answer_id=answer_id, answer=Answer(**values), question=question)


def rating_row(rating: Rating) -> Row:
    """The row of a rating."""
    return tuple(getattr(rating, column) for column in RATING_COLUMNS)


def _words(text: str) -> str:
    """Words of a model or server, without what a database cannot hold: NUL, lone surrogates."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def dump(value: Any) -> str:
    """JSON text for a column."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def dump_optional(value: Any) -> str | None:
    """JSON text for a column, or NULL."""
    return None if value is None else dump(value)
