"""A run from its first step, or from where it was left, to its last checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from sft.errors import PlumblineError, UsageError
from sft.export import clean_up
from sft.files import alone
from sft.recipe import TrainConfig, config_hash, differences, to_json
from sft.training._data import TrainingData
from sft.training._engine import Process, precision_of, start_process, zero_stage
from sft.training._exporting import EXPORT, export_model, exported
from sft.training._log import LOG, History, read_lines, read_run
from sft.training._loop import REPORT, STATES, Loop, Progress, Trained, agreed, watched
from sft.training._setup import Setup, prepare
from sft.training._states import State, find_states, load_state
from sft.training._universal import (
    cannot_convert,
    needs_conversion,
    repair_after_universal_load,
    to_universal,
)


def train(config: TrainConfig, out: Path, *, progress: Progress) -> Trained:
    """Train a model as a configuration says, into a run folder; or go on with it.

    Called by every process of the run alike. Interrupted at any moment, the same call goes on from
    the last training state, and gives what it would have given: bit for bit on a CPU with as many
    threads and processes (on a GPU with ``deterministic``), to rounding with another number of
    processes.

    Raises:
        UsageError: for a configuration that cannot be trained, or a folder of another one.
        LeakError: if samples of a pack would see each other.
        DivergedError: if the loss is no number or explodes; the states are from before.
        SaveError: if a state or checkpoint cannot be written; earlier ones are intact.
        InterruptedRun: after SIGINT or SIGTERM, with the state saved.
    """
    _require_plain(out)
    data = TrainingData.open(config)
    before = read_run(out)
    _require_same(config, data, before, out)
    if before is not None and before["finished"] and (done := _outcome_of(out, before, config)):
        return done
    process = start_process()
    if before is not None and process.device.type == "cpu":
        # Another number of threads sums in another order.
        torch.set_num_threads(before["hardware"]["threads"])
    with ExitStack() as stack:
        heartbeat = stack.enter_context(watched(process, config.guards))
        if process.leads:
            stack.enter_context(alone(out, "run"))
            clean_up(out)
        state = _newest(out / STATES, config, process)
        universal = state is not None and _must_convert(state, process)
        setup = prepare(config, process, data, universal=universal)
        if state is not None:
            _restore(setup, state, universal=universal)
        heartbeat.beat(state.step if state else 0)
        run = Loop(setup, out, state.step if state else 0, progress, heartbeat)
        stack.enter_context(run.opened(before))
        return run.go()


def export(config: TrainConfig, out: Path, target: Path | None) -> Path:
    """Write the newest training state of a run as a checkpoint; called by every process alike.

    ``target`` is the folder to be; None: ``step-N`` in the run folder. The run itself stays as it
    is. Raises UsageError if there is no state of this configuration, SaveError if the checkpoint
    cannot be written or does not pass its checks.
    """
    data = TrainingData.open(config)
    before = read_run(out)
    _require_same(config, data, before, out)
    process = start_process()
    with ExitStack() as stack:
        stack.enter_context(watched(process, config.guards))
        if process.leads:
            stack.enter_context(alone(out, "run"))
        state = _newest(out / STATES, config, process)
        if before is None or state is None:
            raise UsageError(
                f"{out}: there is no training state here. Run sft train first, or name its folder "
                "with --out"
            )
        universal = _must_convert(state, process)
        setup = prepare(config, process, data, universal=universal)
        _restore(setup, state, universal=universal)
        folder = target or out / f"step-{state.step}"
        history = History(out, state.step) if process.leads else None
        export_model(setup, folder, state.step, before, history)
        torch.distributed.barrier()
    return folder


def _require_plain(out: Path) -> None:
    """Refuse a folder whose name DeepSpeed would read as a pattern."""
    if marks := set(str(out.resolve())) & set("*?[]"):
        raise UsageError(
            f"{out}: the folder's path has {' '.join(sorted(marks))} in it, which DeepSpeed reads "
            "as a pattern. Name another folder with --out"
        )


def _outcome_of(out: Path, run: Mapping[str, Any], config: TrainConfig) -> Trained | None:
    """What came of a finished run; None if steps or checkpoints of it are missing."""
    steps = sum(run["steps_per_epoch"])
    wanted = config.save.keep_epochs or range(1, config.epochs + 1)
    epochs = [out / EXPORT.format(epoch=epoch) for epoch in wanted]
    if run["steps"] < steps or config.max_steps or not all(map(exported, epochs)):
        return None
    evaluations = [line for line in read_lines(out / LOG) if line["kind"] == "evaluation"]
    return Trained(
        folder=out,
        steps=steps,
        epochs=epochs,
        losses=evaluations[-1]["losses"] if evaluations else {},
        report=out / REPORT,
    )


def _require_same(
    config: TrainConfig, data: TrainingData, before: Mapping[str, Any] | None, out: Path
) -> None:
    """Refuse a folder in which another configuration, or other data, was trained."""
    if before is None:
        return
    if before["config_hash"] != config_hash(config):
        changed = "; ".join(differences(before["config"], to_json(config)))
        raise UsageError(
            f"{out}: this run was begun with another configuration ({changed}). Name another "
            "folder with --out, or delete this one"
        )
    if before["data"]["manifest_hash"] != data.manifest_hash:
        raise UsageError(
            f"{out}: this run was begun on other data (manifest {before['data']['manifest_hash']}"
            f", now {data.manifest_hash}): {data.folder} was made anew since. Name another folder "
            "with --out, or delete this one"
        )


def _newest(states: Path, config: TrainConfig, process: Process) -> State | None:
    """The state to go on from, as the leading process sees it.

    Raises UsageError if another number of processes wrote it, and it is of no use to this one.
    """
    found: list[State | None] = [next(iter(find_states(states)), None) if process.leads else None]
    torch.distributed.broadcast_object_list(found, src=0, device=process.device)
    state = found[0]
    if state is not None and state.world != process.world:
        stage = zero_stage(config, precision_of(config, process.device))
        reason = cannot_convert(state.stage, stage, config)
        if reason is not None:
            raise UsageError(
                f"{state.folder}: this state was saved by {state.world} processes, and there are "
                f"{process.world} now: {reason}. Start {state.world} processes"
            )
    return state


def _must_convert(state: State, process: Process) -> bool:
    return state.world != process.world and needs_conversion(state.stage)


def _restore(setup: Setup, state: State, *, universal: bool) -> None:
    """Put the engine into a state, whatever number of processes saved it."""
    if not universal:
        load_state(setup.engine, state.folder)
        return
    folder = state.folder.with_name(f"universal-{state.folder.name}")
    failure: Exception | None = None
    if setup.process.leads:
        try:
            to_universal(state.folder, folder)
        except (PlumblineError, OSError) as error:
            failure = error
    if agreed(failure is not None, setup.process):
        raise failure or PlumblineError(f"{state.folder}: the leading process cannot convert it")
    load_state(setup.engine, folder)
    repair_after_universal_load(setup.engine, setup.engine.groups)
    torch.distributed.barrier()
    if setup.process.leads:
        # As large as the state itself, and of no more use.
        shutil.rmtree(folder)
