"""Checkpoints that are whole: a folder per epoch that transformers and vLLM serve."""

from __future__ import annotations

from sft.export._adapter import Adapter, merge_adapter
from sft.export._card import SCHEMA, Check, ModelCard, Share, read_card
from sft.export._errors import ExportError, SpaceError
from sft.export._folders import clean_up, prune_epochs
from sft.export._probe import Probe, distance, tolerance
from sft.export._verify import Verified, require_tokenizer, verify_checkpoint
from sft.export._weights import base_shapes
from sft.export._write import write_checkpoint

__all__ = [
    "SCHEMA",
    "Adapter",
    "Check",
    "ExportError",
    "ModelCard",
    "Probe",
    "Share",
    "SpaceError",
    "Verified",
    "base_shapes",
    "clean_up",
    "distance",
    "merge_adapter",
    "prune_epochs",
    "read_card",
    "require_tokenizer",
    "tolerance",
    "verify_checkpoint",
    "write_checkpoint",
]
