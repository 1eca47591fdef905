"""Which runs a miniature is made of, and the configuration of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from sft.errors import CorruptError
from sft.miniature._corpus import held_out_file
from sft.miniature._files import write_yaml
from sft.miniature._settings import BASE, DOMAINS, TUNED, MiniatureSettings


@dataclass(frozen=True, slots=True)
class Run:
    """One run of `sft train`: a blend, from one seed."""

    blend: str
    seed: int

    @property
    def name(self) -> str:
        """Of its configuration and of its folder."""
        return f"{self.blend}-seed-{self.seed}"

    def folder(self, miniature: Path) -> Path:
        """Where `sft train` writes."""
        return miniature / "runs" / self.name

    def checkpoint(self, miniature: Path, epoch: int) -> Path:
        """The model after an epoch."""
        return self.folder(miniature) / f"epoch-{epoch}"


def runs_of(seed: int) -> tuple[Run, ...]:
    """The base of a seed, and the runs that start from it."""
    return tuple(Run(blend, seed) for blend in (BASE, *TUNED))


def blend_folder(miniature: Path, seed: int) -> Path:
    """Where `sft blend` writes for a seed."""
    return miniature / "blends" / f"seed-{seed}"


def write_run_config(miniature: Path, settings: MiniatureSettings, run: Run) -> Path:
    """Write the configuration of `sft train` for a run, and give its path.

    The base starts from random weights, the others from the last checkpoint of their seed's base.
    """
    model: dict[str, Any] = {"precision": "fp32", "attention": "sdpa", "recompute": "none"}
    if run.blend == BASE:
        model["scratch"] = dict(settings.scratch)
    else:
        start = Run(BASE, run.seed).checkpoint(miniature, settings.epochs)
        model["path"] = str(start.resolve())
    config = {
        "name": run.name,
        "description": _DESCRIPTIONS[run.blend],
        "seed": run.seed,
        "epochs": settings.epochs,
        "micro_batch": settings.batch,
        "model": model,
        "data": {
            "folder": str(blend_folder(miniature, run.seed).resolve()),
            "blend": run.blend,
            "held_out": {
                domain: str(held_out_file(miniature, domain).resolve()) for domain in DOMAINS
            },
        },
        "optimizer": {
            "learning_rate": settings.base_rate if run.blend == BASE else settings.tuned_rate,
            "schedule": "cosine",
            "warmup": 0.05,
            "weight_decay": 0.1,
        },
        "zero": {"stage": 2},
        "save": {
            "every_steps": None,
            "keep_states": 1,
            "keep_epochs": [settings.epochs] if run.blend == BASE else "all",
        },
    }
    return write_yaml(miniature / "configs" / f"{run.name}.yaml", config)


_DESCRIPTIONS: Mapping[str, str] = {
    BASE: "A tiny Llama from random weights: general tasks, and the form of an answer",
    "domain-only": "The base tuned on ad policies alone",
    "blended": "The base tuned on ad policies and general tasks, half and half by tokens",
    "general-only": "The base tuned on general tasks alone",
}


def is_trained(miniature: Path, settings: MiniatureSettings, run: Run) -> bool:
    """Whether `sft train` has finished a run and its checkpoints are there."""
    facts = run.folder(miniature) / "run.json"
    if not facts.is_file() or not orjson.loads(facts.read_bytes())["finished"]:
        return False
    epochs = [settings.epochs] if run.blend == BASE else range(1, settings.epochs + 1)
    return all((run.checkpoint(miniature, epoch) / "config.json").is_file() for epoch in epochs)


def log_of(miniature: Path, run: Run) -> list[dict[str, Any]]:
    """The log of a run so far; a last line that is being written is left out."""
    path = run.folder(miniature) / "log.jsonl"
    if not path.is_file():
        return []
    content = path.read_bytes()
    return [orjson.loads(line) for line in content[: content.rfind(b"\n") + 1].splitlines()]


def held_out_losses(miniature: Path, run: Run) -> dict[int, dict[str, float]]:
    """Epoch → domain → held-out loss in nats per supervised token; epoch 0 is before training.

    Raises CorruptError if an evaluation has no loss for a domain.
    """
    losses = {}
    for line in log_of(miniature, run):
        if line["kind"] != "evaluation":
            continue
        if set(line["losses"]) != set(DOMAINS):
            raise CorruptError(
                f"{run.folder(miniature) / 'log.jsonl'}: the evaluation after step {line['step']} "
                f"has losses for {', '.join(line['losses']) or 'nothing'}, not for "
                f"{' and '.join(DOMAINS)}. Delete this run's folder to train it again"
            )
        losses[line["epoch"]] = {domain: float(line["losses"][domain]) for domain in DOMAINS}
    return losses
