"""A run from its first step, or from where it was left, to its last checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from sft.errors import PlumblineError, UsageError
from sft.export import clean_up, exported_epochs, require_apart, require_replaceable
from sft.files import alone
from sft.recipe import TrainConfig, config_hash, differences, to_json
from sft.training._data import MANIFEST, TrainingData
from sft.training._engine import Process, precision_of, start_process, zero_stage
from sft.training._exporting import EXPORT, export_model, exported
from sft.training._finite import first_unsound
from sft.training._held_out import held_out_losses
from sft.training._log import LOG, History, read_lines, read_run
from sft.training._loop import REPORT, STATES, Loop, Progress, Trained, agreed, watched
from sft.training._setup import Setup, prepare, require_possible
from sft.training._states import (
    CONVERTED,
    State,
    clean_up_states,
    find_states,
    load_state,
)
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
    _require_place(out)
    data = TrainingData.open(config)
    before = read_run(out)
    _require_same(config, data, before, out)
    if before is not None and before["finished"] and (done := _outcome_of(out, before, config)):
        _say_finished(before, config, progress)
        return done
    require_possible(config, data)
    process = start_process()
    if before is not None and process.device.type == "cpu":
        # Another number of threads sums in another order.
        torch.set_num_threads(before["hardware"]["threads"])
    with ExitStack() as stack:
        heartbeat = stack.enter_context(watched(process, config.guards))
        if process.leads:
            stack.enter_context(_leaving_nothing(out))
            stack.enter_context(alone(out, "run"))
            clean_up(out)
            clean_up_states(out / STATES)
        state = _newest(out / STATES, config, process)
        _require_steps_left(config, data, state, out)
        universal = state is not None and _must_convert(state, process)
        setup = prepare(config, process, data, universal=universal)
        if state is not None:
            _restore(setup, state, universal=universal)
            heartbeat.saved(state.step)
        heartbeat.beat(state.step if state else 0)
        run = Loop(setup, out, state.step if state else 0, progress, heartbeat)
        stack.enter_context(run.opened(before))
        return run.go()


def export(config: TrainConfig, out: Path, target: Path | None) -> Path:
    """Write the newest training state of a run as a checkpoint; called by every process alike.

    ``target`` is the folder to be; None: ``step-N`` in the run folder. The run itself stays as it
    is. Held-out losses that the run has not taken at this step are taken now, for the card. Raises
    UsageError if there is no state of this configuration, or the folder is one that a checkpoint
    must not replace; SaveError if the checkpoint cannot be written or does not pass its checks.
    """
    data = TrainingData.open(config)
    before = read_run(out)
    _require_same(config, data, before, out)
    target = None if target is None else _free_place(target, config, out)
    require_possible(config, data)
    process = start_process()
    with ExitStack() as stack:
        stack.enter_context(watched(process, config.guards))
        if process.leads:
            stack.enter_context(_leaving_nothing(out))
            stack.enter_context(alone(out, "run"))
            clean_up_states(out / STATES)
        state = _newest(out / STATES, config, process)
        if before is None or state is None:
            raise UsageError(
                f"{out}: there is no training state here. Run sft train first, or name its folder "
                "with --out"
            )
        folder = target or out / f"step-{state.step}"
        require_replaceable(folder)
        universal = _must_convert(state, process)
        setup = prepare(config, process, data, universal=universal)
        _restore(setup, state, universal=universal)
        history = History(out, state.step) if process.leads else None
        losses = None
        if not agreed(history is not None and state.step in history.evaluated, process):
            losses = held_out_losses(
                setup.objective, setup.held_out, process, config.micro_batch, setup.row_length,
                alive=lambda: None,
            )  # fmt: skip
        export_model(setup, folder, state.step, before, history, losses)
        torch.distributed.barrier()
    return folder


def _free_place(target: Path, config: TrainConfig, out: Path) -> Path:
    """The folder of an export, absolute; refused where something would be lost by it."""
    place = target.resolve()
    base = Path(config.model.path)
    kept = {
        "the current folder": Path.cwd(),
        "the run": out,
        "the data": config.data.folder,
        **({"the base model": base} if config.model.path and base.is_dir() else {}),
    }
    require_apart(place, kept)
    if place in {path.resolve() for path in exported_epochs(out).values()}:
        raise UsageError(
            f"{target}: is the checkpoint of an epoch of this run, which the newest state is not. "
            "Name another place"
        )
    require_replaceable(place)
    return place


@contextmanager
def _leaving_nothing(out: Path) -> Iterator[None]:
    """Have a run that is refused before it has written anything leave no folder of its own."""
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    try:
        yield
    except PlumblineError:
        if made and out.is_dir() and {path.name for path in out.iterdir()} <= {".lock"}:
            (out / ".lock").unlink(missing_ok=True)
            with suppress(OSError):  # something else has come into one of them
                for folder in made:
                    folder.rmdir()
        raise


def _require_place(out: Path) -> None:
    """Refuse a folder of training data, and one whose name DeepSpeed would read as a pattern."""
    if (out / MANIFEST).exists():
        raise UsageError(
            f"{out}: holds training data (its {MANIFEST}), whose report a run would replace. Name "
            "another folder with --out"
        )
    if marks := set(str(out.resolve())) & set("*?[]"):
        raise UsageError(
            f"{out}: the folder's path has {' '.join(sorted(marks))} in it, which DeepSpeed reads "
            "as a pattern. Name another folder with --out"
        )


def _require_steps_left(
    config: TrainConfig, data: TrainingData, state: State | None, out: Path
) -> None:
    """Refuse to end a run before where it is."""
    last = min(data.steps, config.max_steps or data.steps)
    if state is not None and state.step > last:
        raise UsageError(
            f"{out}: {state.step:,} steps are done, and max_steps is {last:,}. Raise it or leave "
            "it out, or name another folder with --out"
        )


def _say_finished(run: Mapping[str, Any], config: TrainConfig, progress: Progress) -> None:
    progress.say("This run is finished; nothing is left to do.")
    if run["config"]["data"]["held_out"] != to_json(config)["data"]["held_out"]:
        progress.say(
            "data.held_out has changed since: the losses are those of the files that it had."
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
    """Put the engine into a state, whatever number of processes saved it.

    Raises PlumblineError if it cannot be read, or its weights are no numbers.
    """
    if universal:
        _restore_converted(setup, state)
    else:
        load_state(setup.engine, state.folder)
    if name := first_unsound(setup.model, setup.process):
        raise PlumblineError(
            f"{state.folder}: {name} has NaN or infinite numbers in this training state, which is "
            "of no use. Delete the folder and run the same command again: the run goes on from the "
            "state before it"
        )


def _restore_converted(setup: Setup, state: State) -> None:
    folder = state.folder.with_name(f"{CONVERTED}{state.folder.name}")
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
