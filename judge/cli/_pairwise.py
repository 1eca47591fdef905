"""``judge pairwise``."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from judge.cli._answers import GivenAnswers, items_of_ledger, read_given
from judge.cli._auto import auto_judge
from judge.cli._console import console, print_json, say
from judge.cli._display import RunDisplay, traffic_summary
from judge.cli._sending import Sending, SendingOptions, temperature_of
from judge.cli._serving import served
from judge.endpoint import Decoding, ModelSpec, parse_spec
from judge.errors import ExitCode, Incomplete, NoLedgerError, UsageError
from judge.execution import INTERRUPTED
from judge.ledger import Ledger, open_ledger
from judge.pairwise import (
    Pairing,
    PairRun,
    PairSettings,
    compare,
    comparison,
    paired,
    render_page,
    share,
    signed,
    workload,
)
from judge.rubric import Criterion, Rubric, load_rubric
from judge.weights import Weights, load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class PairwiseOptions:
    """The options of ``judge pairwise``, as typed."""

    judge: str
    rubric: str
    models: str
    answers: Path | None = None
    questions: str = "monetization"
    criteria: str | None = None
    samples: int = 1
    occasion: str = ""
    weights: str = "equal"
    stage: str | None = None
    temperature: str = "0.7"
    max_tokens: int = 2048
    max_unscored: float = 0.05
    out: Path | None = None
    sending: SendingOptions = field(default_factory=SendingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Options, checked and parsed, before anything is opened or sent."""

    spec: ModelSpec
    rubric: Rubric
    criteria: tuple[Criterion, ...]
    models: tuple[str, ...]
    weights: Weights
    settings: PairSettings
    sending: Sending
    given: GivenAnswers | None


def pairwise(options: PairwiseOptions, *, ledger_url: str, dry_run: bool, as_json: bool) -> None:
    """Compare two models, print what came out, and end with the code that says how it went."""
    job = _prepare(options)
    if dry_run:
        _show_workload(options, job, ledger_url, as_json)
        return
    ledger = open_ledger(ledger_url, create=job.given is not None)
    try:
        pairing = _pairing(options, job, ledger)
        work = workload(ledger, pairing.pairs, job.criteria, job.spec, job.settings)
        outcome = _run(options, job, ledger, pairing, needed=work.calls > 0)
    finally:
        ledger.close()
    result = comparison(
        outcome,
        pairing.pairs,
        job.rubric,
        job.criteria,
        job.models,
        job.weights,
        options.stage,
        judge=job.spec.identity,
        settings=job.settings,
        unpaired=len(pairing.unpaired),
    )
    show(result)
    shown: dict[str, Any] = {"run": run_object(outcome, job), "pairwise": result["pairwise"]}
    if options.out is not None:
        shown["report"] = write(result, options.out)
    if as_json:
        print_json(shown)
    _end(outcome, options)


def _prepare(options: PairwiseOptions) -> _Job:
    rubric = load_rubric(options.rubric)
    weights = load_profile(options.weights, rubric)
    weights.vector(stage=options.stage)
    models = tuple(name.strip() for name in options.models.split(","))
    if len(models) != 2 or models[0] == models[1] or not all(models):
        raise UsageError(
            f"--models {options.models}: expected two different models, e.g. --models old,new."
        )
    spec = parse_spec(auto_judge(options.judge))
    if spec.offline:
        raise UsageError(
            "--judge offline: the baseline's formulas read one answer at a time and cannot compare "
            "two. Name a model, e.g. openai:MODEL."
        )
    sending = Sending(options.sending)
    if spec.local is None:
        spec.api_key()
    settings = PairSettings(
        samples=options.samples,
        occasion=options.occasion,
        decoding=Decoding(
            temperature=temperature_of(options.temperature), max_tokens=options.max_tokens
        ),
    )
    given = None
    if options.answers is not None:
        given = read_given(options.answers, options.questions, models)
    return _Job(
        spec=spec,
        rubric=rubric,
        criteria=_criteria(options.criteria, rubric),
        models=models,
        weights=weights,
        settings=settings,
        sending=sending,
        given=given,
    )


def _criteria(text: str | None, rubric: Rubric) -> tuple[Criterion, ...]:
    """The criteria to compare on, in the order of the rubric; all without --criteria."""
    if text is None:
        return rubric.criteria
    wanted = [name.strip() for name in text.split(",")]
    known = [criterion.criterion for criterion in rubric.criteria]
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"--criteria {name}: not a criterion of {rubric.name}; it has {', '.join(known)}."
            )
    return tuple(criterion for criterion in rubric.criteria if criterion.criterion in wanted)


def _pairing(options: PairwiseOptions, job: _Job, ledger: Ledger | None) -> Pairing:
    """The pairs of the file's answers (stored on the way), or of those that the ledger holds."""
    if job.given is not None:
        items = job.given.items(ledger)
    else:
        assert ledger is not None
        items = items_of_ledger(ledger, options.questions, job.models)
    pairing = paired(items, job.models)
    if pairing.unpaired:
        first = pairing.unpaired[0].answer
        say(
            f"{len(pairing.unpaired)} answers have no counterpart of the other model and are left "
            f"out (the first: {first.model} on {first.question_id}, sample {first.sample})."
        )
    return pairing


def _run(
    options: PairwiseOptions, job: _Job, ledger: Ledger, pairing: Pairing, *, needed: bool
) -> PairRun:
    with served(job.spec, needed=needed) as spec:
        display: RunDisplay[PairRun] = RunDisplay(
            f"comparing with {job.spec.identity}", summary=summary, troubles=_troubles
        )
        with display:
            return asyncio.run(
                compare(
                    ledger,
                    pairing.pairs,
                    job.rubric,
                    job.criteria,
                    job.models,
                    spec,
                    job.settings,
                    job.sending.opener(spec),
                    display.update,
                    wave=options.sending.concurrency,
                )
            )


def run_object(outcome: PairRun, job: _Job) -> dict[str, Any]:
    """The ``run`` object of ``--json``."""
    progress = outcome.progress
    unpriced = job.sending.prices is None or progress.unpriced
    return {
        "run": outcome.run,
        "judge": job.spec.identity,
        "models": list(job.models),
        "planned": progress.planned,
        "sent": outcome.sent,
        "from_ledger": progress.from_ledger,
        "scored": outcome.scored,
        "not_applicable": outcome.not_applicable,
        "unscored": dict(sorted(outcome.unscored.items())),
        "open": progress.open,
        "open_why": progress.open_why,
        "repaired": outcome.repaired,
        "tokens": {
            "prompt": progress.prompt_tokens,
            "cached": progress.cached_tokens,
            "completion": progress.completion_tokens,
        },
        "cost": None if unpriced else round(progress.cost, 6),
        "stopped": progress.stopped or None,
    }


def summary(run: PairRun) -> str:
    """A run in a few sentences."""
    missing = ", ".join(f"{count} {reason}" for reason, count in run.unscored.most_common())
    return (
        f"{run.progress.planned} units: {run.scored} scored, {run.not_applicable} not applicable, "
        f"{run.unscored.total()} unscored"
        + (f" ({missing})" if missing else "")
        + f", {run.progress.open} open. "
        + traffic_summary(run)
    )


def _troubles(run: PairRun) -> str:
    return f"{run.unscored.total()} unscored" if run.unscored else ""


def show(result: dict[str, Any]) -> None:
    """Print preference, then consistency, per criterion with the overall last."""
    first, second = result["run"]["models"]
    entries = result["pairwise"]
    _table(
        f"Preference, from -1 ({first} better) to +1 ({second} better)",
        ("preference", f"{second} better", "tied", f"{first} better"),
        entries,
        lambda entry: (
            _cell(entry, "preference", "", signed),
            *(share(entry[name]) for name in ("wins", "ties", "losses")),
        ),
    )
    _table(
        "Do both orders agree? Direction above 0: a lean to the first place",
        ("position consistency", "direction", "inconsistent"),
        entries,
        lambda entry: (
            _cell(entry, "position_consistency", "pc_", share),
            _cell(entry, "direction", "direction_", signed),
            str(entry["n_inconsistent"]),
        ),
    )
    if any(entry["coverage"] < 1 for entry in entries):
        say("Some comparisons lack an order and are left out; --out DIR says which and why.")


def _table(
    title: str,
    headings: Sequence[str],
    entries: Sequence[dict[str, Any]],
    cells: Callable[[dict[str, Any]], Sequence[str]],
) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title), box=None)
    table.add_column("criterion", no_wrap=True)
    table.add_column(headings[0], justify="right", no_wrap=True)
    for heading in headings[1:]:
        table.add_column(Text(heading), justify="right")
    for entry in entries:
        table.add_row(entry["criterion"], *cells(entry))
    console.print(table)


def _cell(
    entry: dict[str, Any], value: str, bounds: str, shown: Callable[[float | None], str]
) -> str:
    if entry[value] is None:
        return "none"
    low, high = entry[f"{bounds}low"], entry[f"{bounds}high"]
    return f"{shown(entry[value])} [{shown(low)}, {shown(high)}]"


def write(result: dict[str, Any], out: Path) -> dict[str, str]:
    """Write pairwise.html and pairwise.json into a folder, which is created if it is missing."""
    html, json = out / "pairwise.html", out / "pairwise.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        _replace(html, render_page(result).encode())
        _replace(json, orjson.dumps(result, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise UsageError(
            f"{out}: the result cannot be written ({error.strerror}). Name another folder with "
            "--out."
        ) from error
    say(f"Result: {html.resolve()}")
    return {"html": str(html), "json": str(json)}


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _show_workload(options: PairwiseOptions, job: _Job, ledger_url: str, as_json: bool) -> None:
    """Say what would be sent; a ledger that is not there yet is not created."""
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            ledger = open_ledger(ledger_url, create=False)
        except NoLedgerError:
            if job.given is None:
                raise
            ledger = open_ledger(f"sqlite:///{nowhere}/empty.db")
        try:
            held = None if job.given is not None else ledger
            pairs = _pairing(options, job, held).pairs
            work = workload(ledger, pairs, job.criteria, job.spec, job.settings)
        finally:
            ledger.close()
    prices = job.sending.prices
    cost = None if prices is None else prices.cost(work.prompt_tokens, 0, work.completion_tokens)
    if as_json:
        run = {
            "planned": work.planned, "from_ledger": work.planned - work.calls, "sent": 0,
            "would_send": work.calls, "prompt_tokens": work.prompt_tokens,
            "completion_tokens_at_most": work.completion_tokens, "cost_at_most": cost,
        }  # fmt: skip
        print_json({"run": run})
    say(
        f"{work.planned} units; {work.planned - work.calls} need no call, {work.calls} would be "
        f"sent to {job.spec.identity}: about {work.prompt_tokens:,} prompt tokens and at most "
        f"{work.completion_tokens:,} reply tokens"
        + ("" if cost is None else f", at most ${cost:,.2f}")
        + ". Nothing was sent."
    )


def _end(outcome: PairRun, options: PairwiseOptions) -> None:
    """End with 130 after an interrupt, with 12 where too much is missing."""
    if outcome.progress.stopped == INTERRUPTED:
        say("Interrupted; finished work is kept. Run the same command again to go on.")
        sys.exit(ExitCode.INTERRUPTED)
    if outcome.missing_share > options.max_unscored or outcome.progress.stopped:
        raise Incomplete(_incomplete_text(outcome, options))


def _incomplete_text(outcome: PairRun, options: PairwiseOptions) -> str:
    progress = outcome.progress
    parts, remedies = [], []
    if progress.stopped:
        parts.append(f"stopped early: {progress.stopped}")
    if progress.open:
        left = dict(progress.open_why)
        if unreached := progress.open - sum(left.values()):
            left["not reached"] = unreached
        listed = "; ".join(f"{count} {reason}" for reason, count in left.items())
        parts.append(f"{progress.open} open ({listed})")
        remedies.append("the same command goes on with open units")
    if progress.last_rejection:
        parts.append(f"the last rejection said: {progress.last_rejection}")
    if outcome.unscored:
        why = ", ".join(f"{count} {reason}" for reason, count in outcome.unscored.most_common())
        parts.append(f"{outcome.unscored.total()} unscored ({why})")
        remedies.append("--occasion NAME asks anew, and --max-unscored allows more missing")
    return (
        f"incomplete: {'; '.join(parts)}. {outcome.missing_share:.1%} of the wanted verdicts are "
        f"missing, {options.max_unscored:.1%} are allowed (--max-unscored). To go on: "
        f"{'; '.join(remedies)}."
    )
