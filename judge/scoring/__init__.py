"""Scoring: every answer × applicable criterion × judge sample becomes a verdict, once."""

from judge.scoring._asking import rulers_of
from judge.scoring._plan import (
    Item,
    ScoreRun,
    ScoreSettings,
    Unit,
    can_be_asked,
    item_of,
    planned_units,
)
from judge.scoring._run import (
    collect,
    expected_rulers,
    missing_calls,
    record_panel,
    score,
    workload,
)

__all__ = [
    "Item",
    "ScoreRun",
    "ScoreSettings",
    "Unit",
    "can_be_asked",
    "collect",
    "expected_rulers",
    "item_of",
    "missing_calls",
    "planned_units",
    "record_panel",
    "rulers_of",
    "score",
    "workload",
]
