"""Answering: every question × sample becomes a stored answer, once, the same way for all models."""

from judge.answering._plan import (
    AnswerRun,
    AnswerSettings,
    AnswerUnit,
    planned_units,
)
from judge.answering._run import answer, answer_workload

__all__ = [
    "AnswerRun",
    "AnswerSettings",
    "AnswerUnit",
    "answer",
    "answer_workload",
    "planned_units",
]
