"""The loop in miniature: a tiny model forgets, a blend cures it, and both are measured.

`run_miniature` makes synthetic tasks, trains a base from random weights, fine-tunes it on three
blends with `sft blend` and `sft train`, and compares exact match on held-out tasks.
"""

from __future__ import annotations

from sft.miniature._judged import judge_checkpoints
from sft.miniature._run import SEEDS, WORKERS, MiniatureOutcome, Progress, run_miniature
from sft.miniature._settings import MiniatureSettings
from sft.miniature._statistics import Estimate, Findings, conclude, t_interval
from sft.miniature._terminal import TerminalProgress

__all__ = [
    "SEEDS",
    "WORKERS",
    "Estimate",
    "Findings",
    "MiniatureOutcome",
    "MiniatureSettings",
    "Progress",
    "TerminalProgress",
    "conclude",
    "judge_checkpoints",
    "run_miniature",
    "t_interval",
]
