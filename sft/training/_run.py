"""A run from its first step, or from where it was left, to its last checkpoint."""

from __future__ import annotations

import fcntl
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any, Protocol

import torch

from sft.errors import InterruptedRun, PlumblineError, UsageError
from sft.export import clean_up, prune_epochs
from sft.recipe import TrainConfig, config_hash, differences, to_json
from sft.training._data import TrainingData
from sft.training._engine import Process, precision_of, start_process, zero_stage
from sft.training._exporting import EXPORT, export_model, exported
from sft.training._facts import run_facts
from sft.training._guards import LossGuard
from sft.training._heartbeat import Heartbeat
from sft.training._held_out import held_out_losses
from sft.training._log import LOG, History, RunLog, now, read_lines, read_run, write_run
from sft.training._setup import Setup, prepare
from sft.training._states import State, find_states, load_state, prune_states, save_state
from sft.training._steps import Stepper
from sft.training._universal import (
    cannot_convert,
    needs_conversion,
    repair_after_universal_load,
    to_universal,
)

STATES = "states"
REPORT = "report.html"


class Progress(Protocol):
    """What a person watching is told; only the leading process speaks."""

    def step(self, record: Mapping[str, Any], steps: int, run: Mapping[str, Any]) -> None:
        """A step is done."""

    def say(self, text: str) -> None:
        """A line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a run."""

    folder: Path
    steps: int
    epochs: list[Path]
    """The exported checkpoints."""
    losses: Mapping[str, float]
    """Domain → held-out loss at the end."""
    report: Path


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
        if process.leads:
            stack.enter_context(_alone(out))
            clean_up(out)
        state = _newest(out / STATES, config, process)
        universal = state is not None and _must_convert(state, process)
        setup = prepare(config, process, data, universal=universal)
        if state is not None:
            _restore(setup, state, universal=universal)
        run = _Run(setup, out, state.step if state else 0, progress)
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
        if process.leads:
            stack.enter_context(_alone(out))
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


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Keep other runs out of the folder while this one is in it."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                f"{out}: another run is at work in this folder. Wait for it, or name another "
                "folder with --out"
            ) from None
        yield


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
    if _agreed(failure is not None, setup.process):
        raise failure or PlumblineError(f"{state.folder}: the leading process cannot convert it")
    load_state(setup.engine, folder)
    repair_after_universal_load(setup.engine, setup.engine.groups)
    torch.distributed.barrier()
    if setup.process.leads:
        # As large as the state itself, and of no more use.
        shutil.rmtree(folder)


class _Run:
    """A run in progress."""

    def __init__(self, setup: Setup, out: Path, done: int, progress: Progress) -> None:
        self._setup = setup
        self._out = out
        self._done = done
        """Optimizer steps that are done."""
        self._progress = progress
        config, data = setup.config, setup.data
        self._all = data.steps
        self._last = min(data.steps, config.max_steps or data.steps)
        self._stepper = Stepper(setup, self._all)
        self._ends = [sum(data.steps_per_epoch[: e + 1]) for e in range(len(data.epochs))]
        self._log: RunLog | None = None
        self._run: dict[str, Any] = {}
        self._wants_stop = False

    @property
    def _leads(self) -> bool:
        return self._setup.process.leads

    @contextmanager
    def opened(self, before: Mapping[str, Any] | None) -> Iterator[None]:
        """The log, the signs of life, and the signals that end a run in good order."""
        guards = self._setup.config.guards
        with ExitStack() as stack:
            if self._leads:
                self._log = stack.enter_context(RunLog(self._out, self._done))
                starts = [*(before or {}).get("starts", ()), {"at": now(), "from_step": self._done}]
                self._run = {**run_facts(self._setup), "starts": starts}
                write_run(self._out, self._run)
            self._heartbeat = Heartbeat(
                self._setup.process.rank,
                self._setup.process.world,
                seconds=guards.heartbeat_seconds,
                stall_seconds=guards.stall_seconds,
            )
            stack.callback(self._heartbeat.close)
            stack.enter_context(_signals(self._stop))
            try:
                with _lost_processes(self._setup.process, self._heartbeat):
                    yield
            except BaseException as error:
                self._heartbeat.announce_failure(str(error) or type(error).__name__)
                if self._leads:
                    self._note_end(error)
                raise

    def _note_end(self, error: BaseException) -> None:
        """Write down why the run ended; what goes wrong with that must not hide the reason."""
        self._run["ended"] = str(error) or type(error).__name__
        try:
            write_run(self._out, self._run)
            self._report()
        except (PlumblineError, OSError) as problem:
            self._progress.say(f"The report could not be written: {problem}")

    def _stop(self) -> None:
        self._wants_stop = True

    def go(self) -> Trained:
        """Make the steps that are left."""
        guard = LossGuard(
            self._setup.config.guards,
            self._setup.vocabulary.size,
            self._log.recent if self._log else (),
        )
        self._say_start()
        if self._done == 0:
            self._evaluate(0)
        elif self._done in self._ends:
            self._finish_epoch(self._ends.index(self._done) + 1)
        while self._done < self._last:
            record, stop = self._stepper.step(self._done, stop=self._wants_stop)
            if self._log:
                self._log.step(record)
                self._progress.step(record, self._last, self._run)
            guard.require_sound(record)
            self._done += 1
            self._heartbeat.beat(self._done)
            self._save_if_due(stop)
            if self._done in self._ends:
                self._finish_epoch(self._ends.index(self._done) + 1)
            if stop and self._done < self._last:
                raise InterruptedRun(
                    f"Interrupted after step {self._done} of {self._last}; the training state is "
                    "saved. Run the same command again to go on"
                )
        return self._finish()

    def _say_start(self) -> None:
        if self._leads and self._done:
            self._progress.say(f"Going on after step {self._done:,} of {self._last:,}.")

    def _save_if_due(self, stop: bool) -> None:
        every = self._setup.config.save.every_steps
        due = stop or self._done in self._ends or self._done == self._last
        if due or (every is not None and self._done % every == 0):
            save_state(
                self._setup.engine,
                self._out / STATES,
                self._done,
                self._setup.process,
                stage=self._setup.stage,
                dtype=self._setup.dtype,
            )
            if self._leads:
                prune_states(self._out / STATES, self._setup.config.save.keep_states)
            self._heartbeat.saved(self._done)

    def _finish_epoch(self, epoch: int) -> None:
        """Take the held-out losses and export the checkpoint, unless that is done already."""
        started = perf_counter()
        self._evaluate(epoch)
        target = self._out / EXPORT.format(epoch=epoch)
        keep = self._setup.config.save.keep_epochs
        pruned = (
            self._log is not None and epoch in self._log.done and epoch not in (keep or [epoch])
        )
        if not _agreed(exported(target) or pruned, self._setup.process):
            export_model(self._setup, target, self._done, self._run, self._log)
        if self._log and epoch not in self._log.done:
            self._log.epoch(epoch, self._done, target.name, perf_counter() - started)
            self._progress.say(f"Epoch {epoch}: {target}{_losses_text(self._log)}")
            self._report()

    def _evaluate(self, epoch: int) -> None:
        held_out = self._setup.held_out
        known = self._log is not None and self._done in self._log.evaluated
        if not held_out or _agreed(known, self._setup.process):
            return
        losses = held_out_losses(
            self._setup.objective,
            held_out,
            self._setup.process,
            self._setup.config.micro_batch,
            self._setup.row_length,
        )
        self._heartbeat.beat(self._done)
        if self._log:
            tokens = {domain: part.tokens for domain, part in held_out.items()}
            self._log.evaluation(self._done, epoch, losses, tokens)

    def _report(self) -> Path:
        from sft.run_report import write_run_report

        return write_run_report(self._out)

    def _finish(self) -> Trained:
        torch.distributed.barrier()
        report, losses = self._out / REPORT, {}
        if self._log:
            if self._done == self._all:
                prune_epochs(self._out, self._setup.config.save.keep_epochs)
            self._run |= {"finished": now(), "ended": None}
            write_run(self._out, self._run)
            report, losses = self._report(), self._log.last_losses
        return Trained(
            folder=self._out,
            steps=self._done,
            epochs=sorted(p for p in self._out.glob(EXPORT.format(epoch="*")) if exported(p)),
            losses=losses,
            report=report,
        )


def _agreed(value: bool, process: Process) -> bool:
    """What the leading process thinks, told to all."""
    told = torch.tensor([int(value)], device=process.device)
    torch.distributed.broadcast(told, src=0)
    return bool(told)


def _losses_text(log: RunLog) -> str:
    return "".join(
        f" · held-out loss {domain} {loss:.4f}"
        + (f" ({loss - log.first_losses[domain]:+.4f})" if domain in log.first_losses else "")
        for domain, loss in log.last_losses.items()
    )


@contextmanager
def _lost_processes(process: Process, heartbeat: Heartbeat) -> Iterator[None]:
    """Say in words for people that another process is gone.

    The communication libraries know only that a connection broke, and say so in many ways.
    """
    try:
        yield
    except RuntimeError as error:
        text = str(error)
        if process.world == 1 or not re.search(r"gloo|NCCL|[Cc]onnection|[Ss]ocket", text):
            raise
        heartbeat.wait_for_news()
        raise InterruptedRun(
            f"Another process of the run is gone ({' '.join(text.split())[:160]}). The training "
            "states that were written are whole: run the same command again to go on"
        ) from error


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first SIGINT or SIGTERM end the run after its step; the second ends it at once."""
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGINT, signal.SIGTERM)}

    def first(_number: int, _frame: FrameType | None) -> None:
        stop()
        for kind in before:
            signal.signal(kind, signal.default_int_handler)

    for kind in before:
        signal.signal(kind, first)
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
