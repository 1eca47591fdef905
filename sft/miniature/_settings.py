"""The sizes of the miniature: what was found to learn, to forget and to be cured in minutes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

BASE, DOMAIN_ONLY, GENERAL_ONLY, BLENDED = "base", "domain-only", "general-only", "blended"
TUNED = (DOMAIN_ONLY, BLENDED, GENERAL_ONLY)
"""The blends that the base is fine-tuned on."""

GENERAL, IN_DOMAIN = "general", "in_domain"
DOMAINS = (GENERAL, IN_DOMAIN)


def _scratch() -> dict[str, int | float | bool]:
    return {
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 1024,
        "initializer_range": 0.05,
        "tie_word_embeddings": True,
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniatureSettings:
    """What `run_miniature` makes and trains; the defaults are the demonstration."""

    corpus_seed: int = 1
    """Of the tasks, training and held-out: the same for all seeds of the training."""
    general_rows: int = 3000
    """Training rows per kind of general task, where a kind has so many."""
    domain_rows: int = 6000
    format_rows: int = 350
    """Harmless advertisements that the base sees, so that it knows the form of an answer."""
    held_out_general: int = 40
    """Held-out tasks per kind of general task."""
    held_out_domain: int = 320
    """Held-out advertisements."""
    vocabulary: int = 640
    """Tokens of the tokenizer."""
    scratch: Mapping[str, int | float | bool] = field(default_factory=_scratch)
    """The model: some 150,000 weights."""
    length: int = 128
    """Tokens of a pack."""
    batch: int = 8
    """Packs per optimizer step, one forward pass."""
    epochs: int = 4
    """Of the base and of the fine-tuning alike, as one plan serves both."""
    base_tokens: int = 250_000
    """Per epoch of the base."""
    base_format_share: float = 0.03
    tuned_tokens: int = 60_000
    """Per epoch of the fine-tuning, the same for every blend."""
    base_rate: float = 3e-3
    tuned_rate: float = 2e-3
    """Hot: two thirds of the rate that the base was made with."""
    answer_tokens: int = 16
    """Most tokens that are generated for an answer; the longest right one has 12."""
