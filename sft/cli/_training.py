"""What `sft train` does around the training: processes, bars, the dry run, the object of --json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from judge.terminal import Bar, path_text, print_json, say
from sft.cli._extras import require_train
from sft.cli._launch import in_processes
from sft.recipe import TrainConfig, load_train_config

Fields = Mapping[str, Any]


class TerminalProgress:
    """A bar with what a person watching wants to know."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        """Nothing to show yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.__exit__(kind, error, trace)

    def step(self, record: Fields, steps: int, run: Fields) -> None:
        """Move the bar."""
        if self._bar is None:
            self._bar = Bar("Training", time_left=True)
            self._bar.__enter__()
        rate = record["tokens"] / record["seconds"] if record["seconds"] else 0.0
        norm = record["gradient_norm"]
        parts = [
            f"epoch {record['epoch']}",
            f"loss {record['loss']:.4f}",
            f"lr {record['learning_rate']:.2e}",
            *([f"norm {norm:.2f}"] if norm is not None else []),
            f"{rate:,.0f} tokens/s",
            *_utilisation(rate, run),
            f"{record['memory_bytes'] / 1e9:.1f} GB",
        ]
        self._bar.show(record["step"], steps, parts)

    def say(self, text: str) -> None:
        """Print a line for people."""
        say(text)


class Silence:
    """What the processes say that don't lead: nothing."""

    def step(self, record: Fields, steps: int, run: Fields) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """Nothing."""


def _utilisation(rate: float, run: Fields) -> list[str]:
    hardware = run["hardware"]
    if not hardware["peak_flops"]:
        return []
    peak = hardware["peak_flops"] * hardware["processes"]
    return [f"MFU {rate * run['flops_per_token']['A'] / peak:.1%}"]


def train(
    name: str,
    *,
    out: Path | None,
    processes: int | None,
    dry_run: bool,
    gpu: str | None,
    as_json: bool,
) -> None:
    """Train, or say what it would take; as one process, as one of several, or by starting them."""
    require_train()
    config = load_train_config(name)
    folder = out or Path("out") / config.name
    if dry_run:
        from sft.cli import _estimates

        _estimates.show(config, processes=processes, gpu=gpu, as_json=as_json)
        return
    in_processes(lambda leads: _train(config, folder, as_json, leads=leads), processes)


def export(
    name: str, *, out: Path | None, to: Path | None, processes: int | None, as_json: bool
) -> None:
    """Write the newest state of a run as a checkpoint."""
    require_train()
    config = load_train_config(name)
    folder = out or Path("out") / config.name

    def write(leads: bool) -> None:
        from sft.training import export as run

        target = run(config, folder, to)
        if leads:
            say(f"Checkpoint: {target}")
            if as_json:
                print_json({"export": {"folder": path_text(target)}})

    in_processes(write, processes)


def _train(config: TrainConfig, folder: Path, as_json: bool, *, leads: bool) -> None:
    from sft.training import train as run

    if not leads:
        run(config, folder, progress=Silence())
        return
    with TerminalProgress() as progress:
        trained = run(config, folder, progress=progress)
    for epoch in trained.epochs:
        say(f"Checkpoint: {epoch}")
    say(f"Report: {trained.report}")
    if as_json:
        print_json(
            {
                "train": {
                    "folder": path_text(trained.folder),
                    "steps": trained.steps,
                    "epochs": [path_text(epoch) for epoch in trained.epochs],
                    "losses": dict(trained.losses),
                },
                "report": {"html": path_text(trained.report)},
            }
        )
