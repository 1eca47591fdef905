"""``judge answer``."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from judge.answering import AnswerRun, AnswerSettings, answer_workload
from judge.answering import answer as run_answer
from judge.cli._display import RunDisplay, traffic_summary
from judge.cli._dry_run import ledger_or_empty, show_workload, worst_cost
from judge.cli._outcome import account_object, end_if_interrupted, require_complete
from judge.cli._sending import Sending, SendingOptions, temperature_of
from judge.cli._serving import served
from judge.endpoint import Decoding, ModelSpec, parse_spec
from judge.errors import UsageError
from judge.execution import Workload
from judge.ledger import Ledger, open_ledger
from judge.questions import load_questions
from judge.records import Question
from judge.tables import FORMATS, Row, write_rows
from judge.terminal import path_text, print_json, say

_UNANSWERED_REMEDY = "serve the model with a longer context window, or leave these questions out"


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOptions:
    """The options of ``judge answer``, as typed."""

    model: str
    questions: str
    name: str | None = None
    samples: int = 1
    occasion: str = ""
    system: str | None = None
    temperature: str = "0.7"
    top_p: float | None = None
    max_tokens: int = 2048
    seed: int | None = None
    stop: list[str] = field(default_factory=list)
    strip_thinking: bool = False
    limit: int | None = None
    out: Path | None = None
    max_unscored: float = 0.05
    sending: SendingOptions = field(default_factory=SendingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Options, checked and parsed, before anything is opened or sent."""

    spec: ModelSpec
    questions: Sequence[Question]
    settings: AnswerSettings
    sending: Sending


def answer(options: AnswerOptions, *, ledger_url: str, dry_run: bool, as_json: bool) -> None:
    """Get a model's answers and end with the exit code that says how it went."""
    job = _prepare(options)
    if dry_run:
        _show_workload(job, ledger_url, as_json)
        return
    ledger = open_ledger(ledger_url)
    try:
        # Before a model is started: what is asked for can contradict what the ledger holds.
        work = answer_workload(ledger, job.questions, job.spec, job.settings)
        outcome = _run(job, ledger, work)
        rows = [] if options.out is None else _rows_of(job, ledger)
        occasions = {row.answer.occasion for row in ledger.answers(models=[job.settings.name])}
    finally:
        ledger.close()
    result: dict[str, Any] = {"run": run_object(outcome, job)}
    if options.out is not None:
        write_rows(options.out, rows)
        written = {"kind": "answers", "rows": len(rows), "file": path_text(options.out)}
        result["export"] = written
        say(f"Wrote {len(rows)} answers to {options.out}.")
    if as_json:
        print_json(result)
    for note in _notes(outcome, job):
        say(note)
    if outcome.answered:
        say(_next_command(job, options, ledger.url, len(occasions)))
    end_if_interrupted(outcome)
    require_complete(outcome, options.max_unscored, [_UNANSWERED_REMEDY], wanted="answers")


def _prepare(options: AnswerOptions) -> _Job:
    if "," in options.model and not options.model.startswith(("vllm:", "hf:")):
        raise UsageError(
            f"--model {options.model}: one model per call; run the command once for each of them."
        )
    _require_sendable({"--system": options.system or "", "--occasion": options.occasion})
    for stop in options.stop:
        _require_sendable({"--stop": stop})
        if not stop:
            raise UsageError("--stop: expected a text that is not empty.")
    questions = load_questions(options.questions).questions
    spec = parse_spec(options.model)
    if spec.offline:
        raise UsageError(
            "--model offline: the offline baseline judges answers, it gives none. Name a model: "
            "openai:MODEL, http://HOST:PORT/v1#MODEL, vllm:PATH or hf:PATH."
        )
    sending = Sending(options.sending)
    if spec.local is None:
        spec.api_key()
    if options.out is not None:
        _require_writable(options.out)
    decoding = Decoding(
        temperature=temperature_of(options.temperature),
        top_p=options.top_p,
        max_tokens=options.max_tokens,
        seed=options.seed,
    )
    settings = AnswerSettings(
        name=_name(options, spec),
        samples=options.samples,
        occasion=options.occasion,
        system=options.system,
        decoding=decoding,
        stop=tuple(options.stop),
        strip_thinking=options.strip_thinking,
    )
    return _Job(spec=spec, questions=questions[: options.limit], settings=settings, sending=sending)


def _name(options: AnswerOptions, spec: ModelSpec) -> str:
    """The name of the answers: as given, or the model as its SPEC calls it."""
    name = spec.model if options.name is None else options.name
    if not name or name != name.strip() or "," in name or not name.isprintable():
        raise UsageError(
            f"--name {name!r}: expected a name without commas, control characters and white space "
            "around it, under which the answers are kept and scored (judge score --models NAME)."
        )
    return name


def _require_sendable(texts: Mapping[str, str]) -> None:
    """Refuse texts of the command line that are not valid Unicode, which JSON cannot hold."""
    for option, text in texts.items():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UsageError(f"{option}: the text is not valid UTF-8.") from None


def _require_writable(out: Path) -> None:
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: expected a file that ends in {', '.join(FORMATS)}.")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out}: the folder does not exist. Create it first.")


def _run(job: _Job, ledger: Ledger, work: Workload) -> AnswerRun:
    with served(job.spec, needed=work.calls > 0) as spec:
        display: RunDisplay[AnswerRun] = RunDisplay(
            f"answers of {job.settings.name}", summary=summary, troubles=_troubles
        )
        with display:
            return asyncio.run(
                run_answer(
                    ledger,
                    job.questions,
                    spec,
                    job.settings,
                    job.sending.opener(spec),
                    display.update,
                )
            )


def _rows_of(job: _Job, ledger: Ledger) -> list[Row]:
    """The stored answers of this plan as rows of an answers file, in the order of the plan."""
    from judge.cli._transfer import answer_rows

    settings = job.settings
    place = {question.question_id: at for at, question in enumerate(job.questions)}
    rows = [
        row
        for row in answer_rows(ledger)
        if (row["model"], row["occasion"]) == (settings.name, settings.occasion)
        and row["question_id"] in place
        and row["sample"] < settings.samples
    ]
    return sorted(rows, key=lambda row: (place[row["question_id"]], row["sample"]))


def run_object(outcome: AnswerRun, job: _Job) -> dict[str, Any]:
    """The ``run`` object of ``--json``; an answer counts as scored, as a verdict would."""
    return {
        "model": job.settings.name,
        "spec": job.spec.identity,
        "occasion": job.settings.occasion,
        **account_object(
            outcome,
            scored=outcome.answered,
            truncated=outcome.truncated,
            filtered=outcome.filtered,
            empty=outcome.empty,
            with_thoughts=outcome.thoughts,
            priced=job.sending.prices is not None,
        ),
    }


def _show_workload(job: _Job, ledger_url: str, as_json: bool) -> None:
    """Say what would be sent; a ledger that is not there yet is not created."""
    with ledger_or_empty(ledger_url, needed=False) as ledger:
        work = answer_workload(ledger, job.questions, job.spec, job.settings)
    cost = worst_cost(work, job.sending.prices)
    show_workload(work, job.spec.identity, cost, as_json=as_json, units="answers")


def summary(run: AnswerRun) -> str:
    """A run in a few sentences."""
    kinds = {"cut off": run.truncated, "filtered": run.filtered, "empty": run.empty}
    listed = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
    return (
        f"{run.progress.planned} units: {run.answered} answers"
        + (f" ({listed})" if listed else "")
        + f", {run.unscored.total()} without an answer for good, {run.progress.open} open. "
        + traffic_summary(run)
    )


def _troubles(run: AnswerRun) -> str:
    return f"{run.truncated} cut off" if run.truncated else ""


def _notes(outcome: AnswerRun, job: _Job) -> list[str]:
    """What a person should know of the answers before they are scored, and the remedy."""
    notes = []
    if outcome.truncated:
        notes.append(
            f"{outcome.truncated} answers reached the limit of {job.settings.decoding.max_tokens} "
            "tokens and are cut off there. For whole ones, run again with a larger --max-tokens "
            "under another --name or --occasion."
        )
    if outcome.thoughts:
        notes.append(
            f"{outcome.thoughts} answers begin with the model's thoughts (<think>), which a judge "
            "would read as part of the answer. Run again with --strip-thinking under another "
            "--name: the stored calls are read again, nothing is sent."
        )
    if outcome.unscored:
        notes.append(
            f"{outcome.unscored.total()} prompts exceed the model's context window and have no "
            f"answer. To get them: {_UNANSWERED_REMEDY}."
        )
    return notes


def _next_command(job: _Job, options: AnswerOptions, url: str, occasions: int) -> str:
    """How to score what was answered."""
    settings = job.settings
    if occasions > 1 and options.out is None:
        return (
            f"The ledger holds answers of {settings.name} from {occasions} occasions, and one run "
            "scores one of them: run again with --out FILE (nothing is sent), then judge score "
            "--answers FILE."
        )
    words = ["judge", "score", "--judge", "SPEC", "--rubric", "communication"]
    if occasions > 1:
        words += ["--answers", str(options.out), "--questions", options.questions]
    else:
        words += ["--models", settings.name, "--questions", options.questions]
    return f"Score them: {shlex.join([*words, '--ledger', url])}"
