"""``judge pairwise``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from judge.cli._answers import GivenAnswers, items_of_ledger, read_given
from judge.cli._auto import auto_judge
from judge.cli._criteria import criteria_of
from judge.cli._display import RunDisplay
from judge.cli._dry_run import ledger_or_empty, show_workload, worst_cost
from judge.cli._options import names_of
from judge.cli._outcome import (
    account_object,
    end_if_interrupted,
    require_complete,
    summary,
    troubles,
)
from judge.cli._sending import Sending, SendingOptions, temperature_of
from judge.cli._serving import served
from judge.endpoint import Decoding, ModelSpec, parse_spec
from judge.errors import UsageError
from judge.ledger import Ledger, open_ledger
from judge.pairwise import (
    Pairing,
    PairRun,
    PairSettings,
    compare,
    comparison,
    paired,
    render_page,
    require_model,
    share,
    signed,
    workload,
)
from judge.report import Written, write_page
from judge.rubric import Criterion, Rubric, load_rubric
from judge.terminal import console, print_json, say
from judge.weights import Weights, load_profile

_UNSCORED_REMEDY = "--occasion NAME asks anew, and --max-unscored allows more missing"


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
        shown |= write(result, options.out).object()
    if as_json:
        print_json(shown)
    end_if_interrupted(outcome)
    require_complete(outcome, options.max_unscored, [_UNSCORED_REMEDY])


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
    require_model(spec)
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
        criteria=criteria_of(rubric, names_of(options.criteria)),
        models=models,
        weights=weights,
        settings=settings,
        sending=sending,
        given=given,
    )


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
            f"comparing with {job.spec.identity}", summary=summary, troubles=troubles
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
    return {
        "run": outcome.run,
        "judge": job.spec.identity,
        "models": list(job.models),
        **account_object(
            outcome,
            scored=outcome.scored,
            not_applicable=outcome.not_applicable,
            repaired=outcome.repaired,
            priced=job.sending.prices is not None,
        ),
    }


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


def write(result: dict[str, Any], out: Path) -> Written:
    """Write pairwise.html and pairwise.json into a folder, which is created if it is missing."""
    written = write_page(out, "pairwise", render_page(result), result)
    say(f"Report: {written.html.resolve()}")
    return written


def _show_workload(options: PairwiseOptions, job: _Job, ledger_url: str, as_json: bool) -> None:
    """Say what would be sent; a ledger that is not there yet is not created."""
    with ledger_or_empty(ledger_url, needed=job.given is None) as ledger:
        pairs = _pairing(options, job, None if job.given is not None else ledger).pairs
        work = workload(ledger, pairs, job.criteria, job.spec, job.settings)
    cost = worst_cost(work, job.sending.prices)
    show_workload(work, job.spec.identity, cost, as_json=as_json)
