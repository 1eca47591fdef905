"""Pairwise judging: two models' answers to the same questions, compared in both orders."""

from judge.pairwise._page import render_page, share, signed
from judge.pairwise._plan import (
    Better,
    Pair,
    Pairing,
    PairRun,
    PairSettings,
    PairUnit,
    PairVerdict,
    paired,
    planned_units,
    rulers_of,
)
from judge.pairwise._reply import PAIR_FIELDS, PairReading, read_pair
from judge.pairwise._result import comparison
from judge.pairwise._run import compare, require_model, workload
from judge.pairwise._statistics import Share, share_interval

__all__ = [
    "PAIR_FIELDS",
    "Better",
    "Pair",
    "PairReading",
    "PairRun",
    "PairSettings",
    "PairUnit",
    "PairVerdict",
    "Pairing",
    "Share",
    "compare",
    "comparison",
    "paired",
    "planned_units",
    "read_pair",
    "render_page",
    "require_model",
    "rulers_of",
    "share",
    "share_interval",
    "signed",
    "workload",
]
