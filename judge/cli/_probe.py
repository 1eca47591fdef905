"""``judge probe``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from judge import __version__
from judge.cli._answers import items_of_ledger, read_given
from judge.cli._auto import auto_judge
from judge.cli._criteria import criteria_of
from judge.cli._display import RunDisplay
from judge.cli._dry_run import at_most, ledger_or_empty, workload_object, worst_cost
from judge.cli._outcome import (
    account_object,
    end_if_interrupted,
    reasons,
    require_complete,
    troubles,
)
from judge.cli._sending import Sending, SendingOptions, temperature_of
from judge.cli._serving import served
from judge.endpoint import ChatEndpoint, Decoding, ModelSpec, parse_spec
from judge.errors import UsageError
from judge.execution import Workload
from judge.figures import signed
from judge.ledger import Ledger, open_ledger
from judge.probes import (
    Batch,
    Collected,
    Study,
    bounds,
    carry_out,
    chosen,
    findings,
    plan_study,
    render_html,
    study_workload,
)
from judge.report import write_page
from judge.rubric import Rubric, load_rubric
from judge.scoring import Item, ScoreRun, ScoreSettings
from judge.settings import Mode, PromptOrder, Scoring
from judge.terminal import console, print_json, say

CLAIM = (
    "These figures hold for this judge, this rubric, these prompts and this date, on answers like "
    "those drawn. They say nothing about another judge, another rubric or another version of this "
    "one."
)

_UNSCORED_REMEDY = "the page shows what is missing where"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeOptions:
    """The options of ``judge probe``, as typed."""

    judge: str
    rubric: str
    out: Path
    answers: Path | None = None
    models: list[str] | None = None
    questions: str = "monetization"
    probes: str = "all"
    expectations: str = "communication"
    criteria: list[str] | None = None
    limit: int = 30
    seed: int = 0
    samples: int = 1
    mode: Mode = Mode.PER_CRITERION
    scoring: Scoring = Scoring.SAMPLES
    order: PromptOrder | None = None
    occasion: str = ""
    temperature: str | None = None
    max_tokens: int = 2048
    max_unscored: float = 0.05
    sending: SendingOptions = field(default_factory=SendingOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Options, checked and parsed, before anything is opened or sent."""

    spec: ModelSpec
    rubric: Rubric
    settings: ScoreSettings
    sending: Sending


def probe(options: ProbeOptions, *, ledger_url: str, dry_run: bool, as_json: bool) -> None:
    """Carry a study out, write its page, and end with the exit code that says how it went."""
    job = _prepare(options)
    stored = options.answers is None
    opened: AbstractContextManager[Ledger] = (
        ledger_or_empty(ledger_url, needed=stored)
        if dry_run
        else closing(open_ledger(ledger_url, create=not stored))
    )
    with opened as ledger:
        study = _study(options, job, _items(options, ledger))
        work = study_workload(ledger, study, job.spec, job.settings)
        say(_announcement(study, job, work))
        if dry_run:
            if as_json:
                print_json({"run": _workload_object(study, job, work)})
            say("Nothing was sent.")
            return
        collected = _carry_out(job, ledger, study, work)
    account = collected.account
    end_if_interrupted(account)
    report = {
        "study": _study_object(options, job, study, collected),
        **findings(study, collected, options.seed),
    }
    written = write_page(options.out, "probe", render_html(report), report)
    show(report)
    if as_json:
        print_json({"probe": report, **written.object()})
    say(f"Report: {written.html.resolve()}")
    require_complete(account, options.max_unscored, [_UNSCORED_REMEDY])


def _prepare(options: ProbeOptions) -> _Job:
    rubric = load_rubric(options.rubric)
    rubric = replace(rubric, criteria=criteria_of(rubric, options.criteria))
    chosen(options.probes, options.expectations)
    spec = parse_spec(auto_judge(options.judge))
    sending = Sending(options.sending)
    if not spec.offline and spec.local is None:
        spec.api_key()
    settings = ScoreSettings(
        samples=1 if spec.offline else options.samples,
        occasion=options.occasion,
        mode=options.mode,
        scoring=options.scoring,
        order=options.order or options.mode.order,
        decoding=Decoding(
            temperature=temperature_of(options.temperature, options.scoring.temperature),
            max_tokens=options.max_tokens,
        ),
    )
    return _Job(spec=spec, rubric=rubric, settings=settings, sending=sending)


def _items(options: ProbeOptions, ledger: Ledger) -> Sequence[Item]:
    if options.answers is None:
        return items_of_ledger(ledger, options.questions, options.models)
    return read_given(options.answers, options.questions, options.models).items(None)


def _study(options: ProbeOptions, job: _Job, items: Sequence[Item]) -> Study:
    study = plan_study(
        items,
        job.rubric,
        chosen(options.probes, options.expectations),
        limit=options.limit,
        samples=job.settings.samples,
        seed=options.seed,
        mode=options.mode,
        reads_prompts=not job.spec.offline,
    )
    if not study.originals:
        raise UsageError("every answer is blank: there is nothing to alter.")
    if not study.batches:
        why = "; ".join(f"{name}: {reason}" for name, reason in study.skipped.items())
        raise UsageError(f"none of the probes can be made. {why}.")
    return study


def _announcement(study: Study, job: _Job, work: Workload) -> str:
    """What is about to be judged, and the most that it can cost."""
    planned = sum(each.name not in study.skipped for each in study.probes)
    text = (
        f"{planned} probes on {len(study.originals)} answers: {work.planned} units, "
        f"{work.calls} calls to send to {job.spec.identity}"
    )
    if work.calls:
        text += f", {at_most(work, worst_cost(work, job.sending.prices))}"
    text += "."
    for batch in study.batches:
        text += (
            f"\n  {batch.name}: {len(batch.items)} answers × {len(batch.rubric.criteria)} criteria"
            f" × {batch.samples} sample{'s' if batch.samples > 1 else ''}"
        )
    for name, why in study.skipped.items():
        text += f"\n  skipped, {name}: {why}"
    return text


def _workload_object(study: Study, job: _Job, work: Workload) -> dict[str, Any]:
    return {
        **workload_object(work, worst_cost(work, job.sending.prices)),
        "batches": [
            {"name": b.name, "answers": len(b.items), "samples": b.samples} for b in study.batches
        ],
        "skipped": dict(study.skipped),
    }


def _carry_out(job: _Job, ledger: Ledger, study: Study, work: Workload) -> Collected:
    """Judge, with a bar for each batch."""
    with served(job.spec, needed=work.calls > 0) as spec, ExitStack() as bar:

        def on_batch(batch: Batch) -> Callable[[ScoreRun, ChatEndpoint | None], None]:
            bar.close()
            display: RunDisplay[ScoreRun] = RunDisplay(
                f"{batch.name}", summary=lambda run: _summary(batch, run), troubles=troubles
            )
            return bar.enter_context(display).update

        return asyncio.run(
            carry_out(ledger, study, spec, job.settings, job.sending.opener(spec), on_batch)
        )


def _summary(batch: Batch, run: ScoreRun) -> str:
    missing = reasons(run.unscored)
    return (
        f"{batch.name}: {run.scored} of {run.progress.planned - run.not_applicable} scored"
        + (f", {missing}" if missing else "")
        + (f", {run.progress.open} open" if run.progress.open else "")
        + f"; {run.sent} requests sent."
    )


def _study_object(
    options: ProbeOptions, job: _Job, study: Study, collected: Collected
) -> dict[str, Any]:
    """What was asked of whom and when, and what is missing."""
    account = collected.account
    return {
        "claim": CLAIM,
        "judge": job.spec.identity,
        "rubric": job.rubric.name,
        "rubric_version": job.rubric.version,
        "rulers": collected.rulers,
        "mode": job.settings.mode.value,
        "scoring": job.settings.scoring.value,
        "order": job.settings.order.value,
        "samples": job.settings.samples,
        "occasion": job.settings.occasion,
        "temperature": job.settings.decoding.temperature,
        "seed": options.seed,
        "limit": options.limit,
        "n_given": study.n_given,
        "n_drawn": len(study.originals),
        "n_questions": len({item.question.question_id for item in study.originals}),
        "made_at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "version": __version__,
        **account_object(
            account,
            scored=account.scored,
            not_applicable=account.not_applicable,
            repaired=account.repaired,
            priced=job.sending.prices is not None,
        ),
        "wanted": account.progress.planned - account.not_applicable,
        "missing_share": account.missing_share,
    }


def show(report: Mapping[str, Any]) -> None:
    """Print a line per probe: its verdict and what decided it."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(f"Probes of {report['study']['judge']}"), box=None)
    for column in ("probe", "verdict", "shifts that decided it"):
        table.add_column(column)
    for entry in report["probes"]:
        if entry["skipped"]:
            continue
        table.add_row(entry["probe"], entry["outcome"] or "not judged", Text(_decisive(entry)))
    console.print(table)
    if (halo := report["halo"]) is not None:
        say(f"Halo: {signed(halo['value'], 2)} {bounds(halo, 2)} of a targeted change spills over.")
    say(report["study"]["claim"])


def _decisive(entry: Mapping[str, Any]) -> str:
    rows = [(row["criterion"], row) for row in entry.get("criteria", ())]
    rows += [(f"slot {row['slot']}", row) for row in entry.get("slots", ())]
    failed = [(name, row) for name, row in rows if row["surely"]]
    if failed:
        return "; ".join(
            f"{name} {signed(row['value'], 2)} {bounds(row, 2)}" for name, row in failed
        )
    if (rate := entry.get("rate")) is not None:
        return (
            f"{rate['successes']} of {rate['tries']} attacks succeeded, at most {rate['high']:.1%}"
        )
    if "kinds" in entry:
        paid = [row for row in entry["kinds"] if row["outcome"] == "fail"]
        return "; ".join(f"{row['kind']}: {row['criterion']} {row['value']:.2f}" for row in paid)
    if "flagged" in entry:
        return f"{entry['n_raised']} of {len(entry['flagged'])} flagged answers owe it their score"
    needed = [row["needed"] for row in entry.get("criteria", ()) if row.get("needed")]
    return f"about {max(needed)} questions would decide" if needed else ""
