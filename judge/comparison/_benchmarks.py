"""Results of standard benchmarks (lm-evaluation-harness) beside the judge's scores."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judge.documents import read_text
from judge.errors import InputError, UsageError

_COUNTS = ("alias", "samples", "sample_len")
"""What stands among the metrics of a task and is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One metric of one task for a model, as the harness printed it.

    ``metric`` is the metric with its filter (``acc,none``). ``stderr`` is None where the file gives
    none; ``shots`` is the number of examples in the prompt, None where not said.
    """

    model: str
    task: str
    metric: str
    value: float
    stderr: float | None
    shots: int | None
    file: str


def read_benchmarks(named: Sequence[str], models: Sequence[str]) -> tuple[Benchmark, ...]:
    """The results of files; each entry is ``FILE`` or ``MODEL=FILE``.

    Without ``MODEL=`` the model is the one that the file names (``model_name``, or ``pretrained=``
    of its model arguments), whole or by its last part. Raises InputError for a file without
    results, UsageError where its model is not one of ``models``, and where a number is given twice.
    """
    found: dict[tuple[str, str, str], Benchmark] = {}
    for entry in named:
        name, _, rest = ("", "", "") if Path(entry).exists() else entry.rpartition("=")
        path = Path(rest or entry)
        data = _results(path)
        model = name if rest else _model_of(path, data, models)
        if model not in models:
            raise UsageError(
                f"--benchmarks {entry}: {model} is no model of this comparison: "
                f"{', '.join(models)}."
            )
        for one in _numbers(model, data, path):
            key = (model, one.task, one.metric)
            if key in found:
                raise UsageError(
                    f"--benchmarks: {one.task}, {one.metric} of {model} stands in "
                    f"{found[key].file} and in {one.file}. Keep one of the two."
                )
            found[key] = one
    return tuple(found.values())


def _results(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else None
        raise InputError(path=path, line=line, found="broken JSON", expected="JSON") from None
    if not isinstance(data, dict) or not isinstance(data.get("results"), dict):
        raise InputError(
            path=path, field="results", found="no such field",
            expected="an output file of lm-evaluation-harness, with results by task",
        )  # fmt: skip
    return data


def _model_of(path: Path, data: dict[str, Any], models: Sequence[str]) -> str:
    names = [name for name in _names(data) if name]
    wanted = [*names, *(name.rstrip("/").rpartition("/")[2] for name in names)]
    found = [model for model in dict.fromkeys(wanted) if model in models]
    if not found:
        said = f"names {', '.join(dict.fromkeys(names))}" if names else "names no model"
        raise UsageError(
            f"--benchmarks {path}: the file {said}; the models of this comparison are "
            f"{', '.join(models)}. Write MODEL={path}."
        )
    return found[0]


def _names(data: dict[str, Any]) -> Iterator[str]:
    if isinstance(data.get("model_name"), str):
        yield data["model_name"]
    config = data.get("config")
    arguments = config.get("model_args") if isinstance(config, dict) else None
    if isinstance(arguments, str):
        parts = dict(part.partition("=")[::2] for part in arguments.split(","))
        arguments = parts
    if isinstance(arguments, dict):
        for key in ("pretrained", "model"):
            if isinstance(arguments.get(key), str):
                yield arguments[key]


def _numbers(model: str, data: dict[str, Any], path: Path) -> Iterator[Benchmark]:
    shots = data.get("n-shot")
    for task, metrics in data["results"].items():
        if not isinstance(metrics, dict):
            continue
        for metric, value in metrics.items():
            base, _, kind = metric.partition(",")
            if base.endswith("_stderr") or not _finite(value) or base in _COUNTS:
                continue
            error = metrics.get(f"{base}_stderr,{kind}" if kind else f"{base}_stderr")
            count = shots.get(task) if isinstance(shots, dict) else None
            yield Benchmark(
                model=model,
                task=str(task),
                metric=str(metric),
                value=float(value),
                stderr=float(error) if error is not None and _finite(error) else None,
                shots=count if isinstance(count, int) else None,
                file=str(path),
            )


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
