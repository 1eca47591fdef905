"""Answers that a series of nights has set aside to watch its judge.

They are used for nothing else: a calibration that was fitted on them, or a prompt that showed them,
would move with them.
"""

from __future__ import annotations

from judge.ledger import Ledger

ANCHORS = "anchors"
"""The kind of the event that freezes them."""


def frozen_answers(ledger: Ledger) -> frozenset[tuple[str, str, int]]:
    """Question, model and sample of every answer that some series has set aside."""
    ids = [
        one["answer_id"]
        for event in ledger.series_events(kind=ANCHORS)
        for one in event.body["answers"]
    ]
    if not ids:
        return frozenset()
    return frozenset(
        (row.answer.question_id, row.answer.model, row.answer.sample)
        for row in ledger.answers(ids=ids)
    )
