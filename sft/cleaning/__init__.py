"""Cleaning: texts repaired, turns in order, and no row that is broken, endless or off language."""

from sft.cleaning._clean import REASONS, clean, declared_languages
from sft.cleaning._repair import CHANGES
from sft.cleaning._repetition import endless_run, repetition

__all__ = [
    "CHANGES",
    "REASONS",
    "clean",
    "declared_languages",
    "endless_run",
    "repetition",
]
