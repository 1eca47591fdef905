"""lm-evaluation-harness: ``results_*.json`` with its ``samples_*.jsonl``, or one samples file.

Every metric of a task's samples is a criterion (``METRIC`` or ``METRIC,FILTER``), the document
of a task is the question, and the task its category.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from judge.errors import InputError
from judge.importers._log import UNIT, Imported, Judgment, Log, Options, number_or_nan
from judge.importers._nodes import Node, read_json, read_lines
from judge.records import Answer, Question, Reason

_SAMPLES = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d{2}-\d{2}T[\d.:-]+)\.jsonl")
_RESULTS = re.compile(r"results_(?P<date>\d{4}-\d{2}-\d{2}T[\d.:-]+)\.json")
_PRETRAINED = re.compile(r"(?:\A|,)(?:pretrained|model)=([^,]+)")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_TASK = (
    "dataset_path", "dataset_name", "test_split", "validation_split", "process_docs",
    "description", "use_prompt", "doc_to_text", "doc_to_target", "doc_to_choice",
    "target_delimiter", "gen_prefix", "generation_kwargs", "repeats", "process_results",
)  # fmt: skip
"""What of a task's settings decides what is asked and how a reply counts."""
_SHOTS = ("fewshot_split", "fewshot_delimiter", "fewshot_config")
"""The same of its examples, where it has any."""
_NO_METRIC = frozenset({
    "doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics",
    "doc_hash", "prompt_hash", "target_hash",
})  # fmt: skip


def read_lm_eval(path: Path, options: Options) -> Imported:
    """The answers and judgments of a run of the harness, of all its tasks or of one."""
    log = Log("lm-eval", options)
    results, files = _files(path)
    model = options.model or _model(results, path)
    for task, file in files:
        rows = read_lines(file)
        if results is not None:
            rows = [row.told(results.written_by) for row in rows]
        else:
            log.note(
                f"{file.name}: no results file of the same run lies beside it, so the settings of "
                "the metrics are unknown and no part of the rulers."
            )
        _read_task(log, task, model, rows, results)
    return log.close()


def _files(path: Path) -> tuple[Node | None, list[tuple[str, Path]]]:
    """The results, where there are any, and the samples file of each task."""
    if found := _SAMPLES.fullmatch(path.name):
        beside = path.with_name(f"results_{found['date']}.json")
        return (_results(beside) if beside.is_file() else None), [(found["task"], path)]
    if path.suffix == ".jsonl":
        return None, [(path.stem.removeprefix("samples_"), path)]
    results = _results(path)
    date = _RESULTS.fullmatch(path.name)
    files = sorted(
        (match["task"], each)
        for each in path.parent.glob("samples_*.jsonl")
        if (match := _SAMPLES.fullmatch(each.name)) and date and match["date"] == date["date"]
    )
    if not files:
        raise InputError(
            path=path, found="no samples_*.jsonl of the same run beside it",
            expected="the samples of the run",
            remedy="Run the harness with --log_samples, and keep the files of a run together",
        )  # fmt: skip
    return results, files


def _results(path: Path) -> Node:
    node = read_json(path)
    version = node.get("lm_eval_version")
    told = f"lm_eval {'of unknown version' if version is None else version.name()}"
    node = node.told(told)
    node.at("results").object()
    return node


def _model(results: Node | None, path: Path) -> str:
    if results is not None:
        name = results.get("model_name")
        if name is not None and str(name.value).strip():
            return name.name()
        config = results.get("config")
        given = config.get("model_args") if config is not None else None
        if given is not None and (named := _of_arguments(given)):
            return named
    raise InputError(
        path=path, field="model_name", found="no name of the evaluated model",
        expected="the results file with it beside the samples", remedy="Or name it with --model",
    )  # fmt: skip


def _of_arguments(given: Node) -> str:
    """The model that the harness was started with, as older versions keep it; "" if not there."""
    if isinstance(given.value, dict):
        found = given.get("pretrained") or given.get("model")
        return "" if found is None else found.name()
    match = _PRETRAINED.search(given.text())
    return "" if match is None else match[1]


def _read_task(log: Log, task: str, model: str, rows: list[Node], results: Node | None) -> None:
    about = _Metrics(results, task)
    for row in rows:
        question_id = f"{task}/{row.at('doc_id').name()}"
        _answer(log, row, question_id, task, model)
        name = row.optional_text("filter") or "none"
        judged = False
        for metric, node in _metrics(row):
            if metric == "bypass" or not isinstance(node.value, int | float):
                log.note(
                    f"{task}: {metric} has no value per answer (the harness computes it over all "
                    "of them), so it was left out."
                )
                continue
            judged = True
            value = number_or_nan(node)
            missing = math.isnan(value)
            log.judgment(
                node,
                Judgment(
                    question_id=question_id, model=model,
                    criterion=metric if name == "none" else f"{metric},{name}",
                    judge="lm-eval", settings=about.settings(metric, name),
                    value=None if missing else value,
                    reason=Reason.CANNOT_ASSESS if missing else None,
                    scale=about.scale(metric),
                    detail="the metric is not a number" if missing else "",
                ),
            )  # fmt: skip
        if not judged and not any(True for _ in _metrics(row)):
            raise row.error("the values of at least one metric", "none")


def _metrics(row: Node) -> list[tuple[str, Node]]:
    """The metrics of a sample: those that it lists, else all fields that mean nothing else."""
    listed = row.get("metrics")
    if listed is not None:
        return [(each.name(), row.at(each.name())) for each in listed.items()]
    return [(name, node) for name, node in row.fields() if name not in _NO_METRIC]


class _Metrics:
    """What the results file says of a task's metrics."""

    def __init__(self, results: Node | None, task: str) -> None:
        configs = results.get("configs") if results is not None else None
        self._config = configs.get(task) if configs is not None else None
        better = results.get("higher_is_better") if results is not None else None
        self._better = better.get(task) if better is not None else None
        self._asked: dict[str, Any] = {}
        if results is not None and self._config is not None:
            self._asked = _task_settings(results, task, self._config)

    def settings(self, metric: str, filter_name: str) -> dict[str, Any]:
        """How the metric was computed: its own settings, the filter's, and those of the task."""
        if self._config is None:
            return {"metric": metric, "filter": filter_name}
        return {
            "metric": self._entry("metric_list", "metric", metric),
            "filter": self._entry("filter_list", "name", filter_name),
            "output_type": self._config.optional_text("output_type"),
            "task": self._asked,
        }

    def scale(self, metric: str) -> tuple[float, float]:
        """The ends of the unit scale, the worst first."""
        node = self._better.get(metric) if self._better is not None else None
        return UNIT if node is None or node.truth() else (1.0, 0.0)

    def _entry(self, table: str, key: str, name: str) -> Any:
        assert self._config is not None
        listed = self._config.get(table)
        for each in listed.items() if listed is not None else []:
            if each.object().get(key) == name:
                return each.value
        return name


def _task_settings(results: Node, task: str, config: Node) -> dict[str, Any]:
    """What was asked, and of how many examples: settings under which scores are comparable.

    The evaluated model's own (its chat template, its arguments) are none of them.
    """

    def of_task(table: str) -> Any:
        listed = results.get(table)
        return None if listed is None else listed.object().get(task)

    shots = of_task("n-shot")
    shots = config.object().get("num_fewshot") if shots is None else shots
    settings: dict[str, Any] = {
        "shots": shots or 0,
        "version": of_task("versions"),
        "system": results.object().get("system_instruction"),
    }
    names = (*_TASK, *_SHOTS) if shots else _TASK
    if shots:
        run = results.get("config")
        settings["seed"] = None if run is None else run.object().get("fewshot_seed")
        settings["turns"] = results.object().get("fewshot_as_multiturn")
    settings |= {name: config.object().get(name) for name in names}
    return {name: _plain(value) for name, value in settings.items() if value is not None}


def _plain(value: Any) -> Any:
    """A setting without the addresses of functions, which differ from run to run."""
    if isinstance(value, str):
        return _ADDRESS.sub("", value)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _answer(log: Log, row: Node, question_id: str, task: str, model: str) -> None:
    asked = _asked(row.at("arguments"))
    replies = row.at("resps").items()
    if not asked or not replies:
        raise row.error("at least one request with its response", "none")
    target = row.get("target")
    reference = _text(target) if target is not None else ""
    single = len(asked) == 1
    answer: str | None
    if single:
        answers = replies[0].items()
        if not answers:
            raise replies[0].error("at least one response", "none")
        if len(answers) > 1:
            log.note(
                f"{task}: of several responses to a question the first stands as the answer; a "
                "metric can rest on all of them (repeats, filters such as majority votes)."
            )
        answer = None if asked[0][1] or isinstance(answers[0].value, list) else answers[0].text()
        if answer is None:
            log.note(
                f"{task}: the model wrote no text (likelihoods were taken), so it has no answers."
            )
    else:
        best = max(range(min(len(asked), len(replies))), key=lambda i: _likelihood(replies[i]))
        answer = asked[best][1].strip()
        if reference.isdecimal() and len(reference) < 6 and int(reference) < len(asked):
            reference = asked[int(reference)][1].strip()
        log.note(
            f"{task}: the answers are choices; the likeliest continuation stands as the answer."
        )
    log.question(
        row,
        Question(
            question_id=question_id, question=asked[0][0], reference=reference or None,
            category=task,
        ),
    )  # fmt: skip
    if answer is not None:
        log.answer(row, Answer(question_id=question_id, model=model, answer=answer))


def _likelihood(reply: Node) -> float:
    """The log-likelihood of a continuation: the first of [[value, is_greedy]], often as text."""
    inner = reply.items()
    while inner and isinstance(inner[0].value, list):
        inner = inner[0].items()
    if not inner:
        raise reply.error("a log-likelihood", "none")
    first = inner[0]
    try:
        return float(first.value)
    except (TypeError, ValueError, OverflowError):
        raise first.error("a log-likelihood") from None


def _asked(arguments: Node) -> list[tuple[str, str]]:
    """Context and continuation of each request, of both forms that the harness has written."""
    if isinstance(arguments.value, dict):
        pairs = [(each.at("arg_0"), each.get("arg_1")) for _, each in arguments.fields()]
    else:
        listed = [each.items() for each in arguments.items()]
        pairs = [(each[0], each[1] if len(each) > 1 else None) for each in listed if each]
    return [
        (
            _context(context),
            more.text() if more is not None and isinstance(more.value, str) else "",
        )
        for context, more in pairs
    ]


def _context(node: Node) -> str:
    """The prompt; of one chat message only its content."""
    text = _text(node.items()[0]) if isinstance(node.value, list) and node.value else _text(node)
    if not text.startswith('[{"role"'):
        return text
    try:
        messages = json.loads(text)
    except (ValueError, RecursionError):
        return text
    contents = [each.get("content") for each in messages if isinstance(each, dict)]
    if len(contents) == 1 and isinstance(contents[0], str):
        return Node(contents[0], node.path, node.field, node.line, node.written_by).text()
    return text


def _text(node: Node) -> str:
    """Text as it is; anything else as JSON."""
    if isinstance(node.value, str):
        return node.text()
    return json.dumps(node.value)
