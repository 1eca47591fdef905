"""The blends of a run: shares, draws and packs of every epoch, on disk and in numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sft.blending import (
    BlendError,
    BlendTargets,
    Estimate,
    Ints,
    Samples,
    draws,
    estimate,
    realised,
    samples_of,
    targets,
)
from sft.config import blend_error
from sft.errors import InputError
from sft.packing import EpochPlan, plan_epoch
from sft.pipeline._progress import Progress
from sft.settings import BlendConfig, BlendSettings
from sft.tokenisation import SampleStore

ARRAYS = ("items", "pack_offsets", "step_offsets")
"""The files of an epoch's plan; see `sft.packing.EpochPlan`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendPlan:
    """A blend before its packs are made."""

    settings: BlendSettings
    targets: BlendTargets


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedBlend:
    """A blend with its packs on disk."""

    plan: BlendPlan
    epochs: Sequence[dict[str, Any]]
    """What every epoch holds, as report.json has it."""
    hashes: Sequence[str]
    """Content hashes of the epochs' plans."""
    estimates: Sequence[Estimate]

    @property
    def notes(self) -> list[str]:
        """What people should know of this blend before they train on it."""
        notes = []
        name = self.plan.settings.name
        for entry in self.plan.targets.sources:
            if entry.passes > 1:
                notes.append(
                    f"Blend {name} repeats {entry.source} {entry.passes:.2f} times in an epoch: "
                    f"its share is larger than what it has."
                )
        worst = max(epoch["step_balance"]["worst"] for epoch in self.epochs)
        capacity = self.epochs[0]["step_balance"]["capacity"]
        if worst > capacity:
            notes.append(
                f"Blend {name}: an optimizer step is {worst:,.0f} supervised tokens from the "
                f"blend's shares, more than a pack of {capacity:,}."
            )
        return notes

    def to_json(self) -> dict[str, Any]:
        """The blend in report.json."""
        settings, total = self.plan.settings, self.plan.targets.total
        return {
            "name": settings.name,
            "by": settings.by,
            "group": settings.group,
            "temperature": settings.temperature,
            "total": total,
            "sources": [
                {
                    "source": entry.source,
                    "ratio": entry.ratio,
                    "available": entry.available,
                    "target": entry.target,
                    "passes": entry.passes,
                    "epochs_cap": entry.max_epochs,
                }
                for entry in self.plan.targets.sources
            ],
            "epochs": list(self.epochs),
            "estimate": [asdict(entry) for entry in self.estimates],
        }

    def to_manifest(self) -> dict[str, Any]:
        """The blend in manifest.json: settings, targets and hashes, in an order of its own."""
        sources = sorted(self.plan.targets.sources, key=lambda entry: entry.source)
        return {
            "name": self.plan.settings.name,
            "by": self.plan.settings.by,
            "total": self.plan.targets.total,
            "targets": {entry.source: entry.target for entry in sources},
            "epochs": [
                {
                    "folder": f"blends/{self.plan.settings.name}/epoch-{epoch['epoch']}",
                    "hash": content_hash,
                    **{
                        name: epoch[name]
                        for name in ("samples", "tokens", "supervised_tokens", "packs", "steps")
                    },
                }
                for epoch, content_hash in zip(self.epochs, self.hashes, strict=True)
            ],
        }


def make_blends(
    config: BlendConfig,
    store: SampleStore,
    out: Path,
    progress: Progress,
    on_plan: Callable[[BlendPlan], None],
) -> list[PlannedBlend]:
    """Plan all blends, show each plan, then draw and pack every epoch into ``out``/NAME/epoch-N.

    What lay in ``out`` from an earlier run is replaced. Raises InputError, with the field of the
    configuration, for a blend that cannot be drawn.
    """
    # By name, so that nothing depends on the order of the configuration.
    names = sorted(source.name for source in config.sources)
    frame = store.samples
    samples = samples_of(frame, names)
    plans = _plans(config, samples)
    for plan in plans:
        on_plan(plan)
    if out.exists():
        shutil.rmtree(out)
    tagged = _tagged(frame, config)
    blends = []
    with progress.step("pack", len(plans) * config.epochs, unit="epochs") as advance:
        for plan in plans:
            epochs, hashes = [], []
            drawing = draws(samples, plan.targets, seed=config.seed)
            for epoch, drawn in zip(range(1, config.epochs + 1), drawing, strict=False):
                if not len(drawn):
                    raise _nothing_drawn(config, plan, epoch)
                packs = plan_epoch(
                    samples,
                    drawn,
                    capacity=config.tokens.length,
                    batch=config.batch,
                    seed=config.seed,
                    epoch=epoch,
                )
                _save(packs, out / plan.settings.name / f"epoch-{epoch}")
                epochs.append(_epoch(epoch, drawn, packs, tagged, plan.settings))
                hashes.append(packs.content_hash())
                advance(1)
            blends.append(
                PlannedBlend(
                    plan=plan,
                    epochs=epochs,
                    hashes=hashes,
                    estimates=estimate(
                        config.estimate,
                        tokens=[epoch["tokens"] for epoch in epochs],
                        packs=[epoch["packs"] for epoch in epochs],
                        length=config.tokens.length,
                        batch=config.batch,
                    ),
                )
            )
    return blends


def _nothing_drawn(config: BlendConfig, plan: BlendPlan, epoch: int) -> InputError:
    total, by = plan.targets.total, plan.settings.by
    error = BlendError(
        ("total",),
        found=f"{total:,} {by} per epoch, in which epoch {epoch} has no sample",
        expected="as much as samples hold",
        remedy="Raise the total" if plan.settings.total else "Add data, or raise max_epochs",
    )
    return blend_error(config.path, plan.settings.name, error)


def _plans(config: BlendConfig, samples: Samples) -> list[BlendPlan]:
    """The targets of every blend; those without a total share the smallest that one of them has.

    Blends of a sweep are compared with each other, and must differ in nothing but their shares.
    """
    first = [_targets(config, settings, samples) for settings in config.blends]
    by_unit = {
        settings.by: min(
            found.total
            for other, found in zip(config.blends, first, strict=True)
            if other.total is None and other.by is settings.by
        )
        for settings in config.blends
        if settings.total is None
    }
    return [
        BlendPlan(
            settings=settings,
            targets=found
            if settings.total is not None
            else _targets(config, replace(settings, total=by_unit[settings.by]), samples),
        )
        for settings, found in zip(config.blends, first, strict=True)
    ]


def _targets(config: BlendConfig, settings: BlendSettings, samples: Samples) -> BlendTargets:
    try:
        return targets(
            settings, config.sources, samples.available(settings.by), epochs=config.epochs
        )
    except BlendError as error:
        raise blend_error(config.path, settings.name, error) from None


def _tagged(frame: pl.DataFrame, config: BlendConfig) -> pl.DataFrame:
    """The samples with domain and task of their sources."""
    tags = pl.DataFrame(
        [{"source": s.name, "domain": s.domain, "task": s.task} for s in config.sources]
    )
    return frame.select("source", "language", "n_tokens", "n_supervised").join(
        tags, on="source", maintain_order="left"
    )


def _epoch(
    epoch: int, drawn: Ints, packs: EpochPlan, tagged: pl.DataFrame, settings: BlendSettings
) -> dict[str, Any]:
    """An epoch in numbers."""

    def by(column: str) -> list[dict[str, Any]]:
        mixture = realised(tagged, drawn, column, settings.by)
        return mixture.with_columns(pl.col(column).fill_null("unknown")).to_dicts()

    return {
        "epoch": epoch,
        "samples": len(drawn),
        "tokens": packs.n_tokens,
        "supervised_tokens": packs.n_supervised,
        "packs": packs.n_packs,
        "steps": packs.n_steps,
        "fill": packs.fill,
        "shares": by("source"),
        "by_language": [entry for entry in by("language") if entry["samples"]],
        "by_task": by("task"),
        "by_domain": by("domain"),
        "step_balance": {"worst": packs.worst, "capacity": packs.capacity},
    }


def _save(packs: EpochPlan, folder: Path) -> None:
    """Write the arrays of a plan, which training maps into memory."""
    folder.mkdir(parents=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(packs, name))
