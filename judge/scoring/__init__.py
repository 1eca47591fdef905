"""Scoring: every answer × applicable criterion × judge sample becomes a verdict, once."""

from judge.scoring._plan import (
    Item,
    ScoreRun,
    ScoreSettings,
    Unit,
    item_of,
    planned_units,
    rulers_of,
)
from judge.scoring._run import INTERRUPTED, Workload, score, workload

__all__ = [
    "INTERRUPTED",
    "Item",
    "ScoreRun",
    "ScoreSettings",
    "Unit",
    "Workload",
    "item_of",
    "planned_units",
    "rulers_of",
    "score",
    "workload",
]
