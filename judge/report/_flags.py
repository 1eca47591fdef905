"""Answers that speak to the judge, or say nothing: flagged for people, judged all the same."""

from __future__ import annotations

from typing import Any

from judge import hardening
from judge.report._source import Source

Json = dict[str, Any]


def flags(source: Source) -> list[Json]:
    """The ``flags`` block: every answer that a scanner or the null guard points at.

    ``spans`` are passages that address the judge or hide something, with their places in the answer
    (characters from ``start`` to ``end``); ``score`` puts them in one number in [0, 1), and
    ``suspicious`` says whether it is high enough to be shown; ``null`` says in which ways the
    answer says nothing.
    """
    numbers = {name: at for at, name in enumerate(source.questions, 1)}
    nulls = hardening.null_flags(
        [(source.questions[row.answer.question_id], row.answer) for row in source.rows]
    )
    found = []
    for row, null in zip(source.rows, nulls, strict=True):
        spans = hardening.scan(row.answer.answer)
        if not spans and not null:
            continue
        found.append(
            {
                "question_id": row.answer.question_id,
                "number": numbers[row.answer.question_id],
                "model": row.answer.model,
                "sample": row.answer.sample,
                "score": (score := hardening.injection_score(spans)),
                "suspicious": score >= hardening.SUSPICIOUS,
                "spans": [
                    {
                        "family": str(span.family),
                        "start": span.start,
                        "end": span.end,
                        "text": span.text,
                        "weight": span.weight,
                    }
                    for span in spans
                ],
                "null": [{"kind": flag.kind.value, "detail": flag.detail} for flag in null],
            }
        )
    return found
