"""The log of a training run, ``log.jsonl``, read into columns and records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from sft.errors import InputError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Fields: TypeAlias = Mapping[str, Any]

LOG = "log.jsonl"

_REMEDY = "It was changed or damaged since the run wrote it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The optimizer steps of a run as columns, (n_steps,) each, in order.

    What was no number, or not measured, is NaN.
    """

    step: Ints
    """From 1."""
    epoch: Ints
    """From 1."""
    loss: Floats
    """Mean nats per supervised token of the global batch."""
    learning_rate: Floats
    gradient_norm: Floats
    """Before clipping."""
    tokens: Ints
    """Real ones, without padding, over all processes."""
    supervised_tokens: Ints
    seconds: Floats
    memory_bytes: Floats
    losses: Mapping[str, Floats]
    """Source → mean nats per supervised token; NaN where a step had none of the source."""

    def __len__(self) -> int:
        """Number of steps."""
        return len(self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """Held-out losses after a step; those of epoch 0 are from before training."""

    step: int
    epoch: int
    losses: Mapping[str, float]
    """Domain → mean nats per supervised token; NaN where it was no number."""
    tokens: Mapping[str, int]
    """Domain → supervised tokens that the loss is the mean of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """The end of an epoch, with the folder of its checkpoint."""

    step: int
    epoch: int
    export: str | None
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Something that happened in a run."""

    step: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLog:
    """All that a run wrote down while it went."""

    steps: Steps
    evaluations: tuple[Evaluation, ...]
    epochs: tuple[EpochEnd, ...]
    notes: tuple[Note, ...]
    cut: bool
    """Whether the last line was cut off, by a kill or a full disk, and is left out."""


def read_log(folder: Path) -> RunLog:
    """The log of a run folder.

    A last line without a line feed that is no JSON was cut off and is left out; so is nothing else.
    Numbers that are null, NaN or infinite where a loss, a rate or a norm stands become NaN.

    Raises:
        InputError: if the log is missing or cannot be read, with file and line if a line is not
            JSON, not one of its four kinds of record, lacks a field or holds a wrong value, or if
            a step does not come after the step before.
    """
    path = folder / LOG
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            path=path,
            expected=f"the log of a training run; it cannot be read ({error.strerror})",
            remedy="Name the folder of a run",
        ) from error
    reader = _Reader(path)
    lines = content.split(b"\n")
    tail = lines.pop()  # empty where the log ends as it should
    for number, line in enumerate(lines, start=1):
        reader.take(number, _parsed(line))
    cut = False
    if tail:
        record = _parsed(tail)
        cut = record is None
        if not cut:
            reader.take(len(lines) + 1, record)
    return reader.log(cut=cut)


def _parsed(line: bytes) -> Any:
    """The JSON of a line, None where it is none; JSON's dialect with NaN is understood."""
    try:
        return orjson.loads(line)
    except ValueError:
        pass
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


class _Reader:
    """Takes the records of a log one after the other, and checks each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line = 0
        self._last = 0
        self._columns: dict[str, list[Any]] = {
            name: []
            for name in (
                "step", "epoch", "loss", "learning_rate", "gradient_norm", "tokens",
                "supervised_tokens", "seconds", "memory_bytes",
            )
        }  # fmt: skip
        self._losses: dict[str, tuple[list[int], list[float]]] = {}
        self._evaluations: list[Evaluation] = []
        self._epochs: list[EpochEnd] = []
        self._notes: list[Note] = []

    def take(self, number: int, record: Any) -> None:
        """Take the record of a line, numbered from 1."""
        self._line = number
        if not isinstance(record, dict):
            raise self._broken("an object of JSON", _shown(record))
        match record.get("kind"):
            case "step":
                self._take_step(record)
            case "evaluation":
                self._evaluations.append(
                    Evaluation(
                        step=self._count(record, "step"),
                        epoch=self._count(record, "epoch"),
                        losses=dict(self._numbers(record)),
                        tokens={
                            name: self._count(self._object(record, "tokens"), name)
                            for name in self._object(record, "losses")
                        },
                    )
                )
            case "epoch":
                self._epochs.append(
                    EpochEnd(
                        step=self._count(record, "step"),
                        epoch=self._count(record, "epoch"),
                        export=None
                        if record.get("export") is None
                        else self._text(record, "export"),
                        seconds=self._number(record, "seconds"),
                    )
                )
            case "note":
                self._notes.append(
                    Note(step=self._count(record, "step"), text=self._text(record, "text"))
                )
            case other:
                raise self._broken(
                    "step, evaluation, epoch or note", _shown(other), "kind"
                )  # fmt: skip

    def _take_step(self, record: Fields) -> None:
        step = self._count(record, "step")
        if step <= self._last:
            raise self._broken(f"a step after {self._last}", str(step), "step")
        self._last = step
        columns = self._columns
        row = len(columns["step"])
        columns["step"].append(step)
        for name in ("epoch", "tokens", "supervised_tokens"):
            columns[name].append(self._count(record, name))
        for name in ("loss", "learning_rate", "gradient_norm", "seconds", "memory_bytes"):
            columns[name].append(self._number(record, name))
        for source, loss in self._numbers(record):
            rows, losses = self._losses.setdefault(source, ([], []))
            rows.append(row)
            losses.append(loss)

    def log(self, *, cut: bool) -> RunLog:
        """All that was taken."""
        count = len(self._columns["step"])
        losses = {}
        for source, (rows, values) in self._losses.items():
            losses[source] = np.full(count, np.nan)
            losses[source][rows] = values
        steps = Steps(
            step=self._ints("step"),
            epoch=self._ints("epoch"),
            loss=self._floats("loss"),
            learning_rate=self._floats("learning_rate"),
            gradient_norm=self._floats("gradient_norm"),
            tokens=self._ints("tokens"),
            supervised_tokens=self._ints("supervised_tokens"),
            seconds=self._floats("seconds"),
            memory_bytes=self._floats("memory_bytes"),
            losses=losses,
        )
        return RunLog(
            steps=steps,
            evaluations=tuple(self._evaluations),
            epochs=tuple(self._epochs),
            notes=tuple(self._notes),
            cut=cut,
        )

    def _ints(self, name: str) -> Ints:
        return np.array(self._columns[name], np.int64)

    def _floats(self, name: str) -> Floats:
        return np.array(self._columns[name], np.float64)

    def _count(self, record: Fields, name: str) -> int:
        value = record.get(name)
        if type(value) is not int or not 0 <= value < 2**63:
            raise self._broken("a whole number, 0 or more", _shown(value), name)
        return value

    def _number(self, record: Fields, name: str) -> float:
        """A number; NaN where it is null, NaN or infinite."""
        value = record.get(name, "")
        if value is None:
            return np.nan
        if type(value) not in (int, float):
            raise self._broken(
                "a number or null", "nothing" if value == "" else _shown(value), name
            )
        number = float(value)
        return number if abs(number) < np.inf else np.nan

    def _text(self, record: Fields, name: str) -> str:
        value = record.get(name)
        if not isinstance(value, str):
            raise self._broken("a text", _shown(value), name)
        return value

    def _object(self, record: Fields, name: str) -> Fields:
        value = record.get(name)
        if not isinstance(value, dict):
            raise self._broken("an object", _shown(value), name)
        return value

    def _numbers(self, record: Fields) -> Iterator[tuple[str, float]]:
        losses = self._object(record, "losses")
        for name in losses:
            yield name, self._number(losses, name)

    def _broken(self, expected: str, found: str, field: str | None = None) -> InputError:
        return InputError(
            path=self._path,
            line=self._line,
            field=field,
            found=found,
            expected=expected,
            remedy=_REMEDY,
        )


def _shown(value: Any) -> str:
    """A value for an error's text: short, and "nothing" where there is none."""
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
