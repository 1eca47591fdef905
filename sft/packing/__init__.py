"""Packs: several samples in one sequence, and an order of packs for the optimizer.

`pack` fills sequences, `plan_epoch` does so for a blend's draw and orders the packs into optimizer
steps that each carry the blend's shares.
"""

from __future__ import annotations

from sft.packing._balance import balanced_steps
from sft.packing._packs import Packs, pack
from sft.packing._plan import EpochPlan, plan_epoch

__all__ = ["EpochPlan", "Packs", "balanced_steps", "pack", "plan_epoch"]
