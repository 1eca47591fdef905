"""The results as a table: Markdown for people and repositories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sft.miniature._settings import DOMAINS, GENERAL, IN_DOMAIN
from sft.miniature._statistics import Estimate, written

Fields = Mapping[str, Any]

HEADS: Mapping[str, str] = {GENERAL: "general", IN_DOMAIN: "in-domain"}
"""Domain → as people read it."""


def estimate_of(entry: Fields) -> Estimate:
    """An estimate as ``results.json`` holds it."""
    return Estimate(entry["mean"], entry["low"], entry["high"], entry["seeds"])


def cells(entry: Fields) -> list[str]:
    """Exact match and loss of a summary's entry, general before in-domain."""
    return [
        written(estimate_of(entry[kind][domain]), signed=False)
        for kind in ("exact_match", "loss")
        for domain in DOMAINS
    ]


def heads() -> list[str]:
    """What stands over the cells."""
    return [f"{kind}, {HEADS[domain]}" for kind in ("exact match", "loss") for domain in DOMAINS]


def markdown(results: Fields) -> str:
    """``results.json`` in words and one table."""
    rows = [
        [entry["blend"], str(entry["epoch"] or "–"), *cells(entry)] for entry in results["summary"]
    ]
    head = ["blend", "epoch", *heads()]
    lines = [head, ["---", "--:", *["---:"] * (len(head) - 2)], *rows]
    seeds = len(results["seeds"])
    return "\n".join(
        [
            "# Forgetting and its cure, in miniature",
            "",
            "Synthetic tasks, a tiny model: measured here, and no finding about real models.",
            "",
            *(f"- {sentence}" for sentence in results["findings"]["sentences"]),
            "",
            f"Means over {seeds} seed{'' if seeds == 1 else 's'}"
            + ("" if seeds == 1 else ", with 95 % t-intervals over seeds")
            + "; loss in nats per supervised token.",
            "",
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
        ]
    )
