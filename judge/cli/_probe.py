"""``judge probe``."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from judge import __version__
from judge.cli._answers import items_of_ledger, read_given
from judge.cli._auto import auto_judge
from judge.cli._console import console, print_json, say
from judge.cli._display import RunDisplay
from judge.cli._sending import Sending, SendingOptions, temperature_of
from judge.cli._serving import served
from judge.endpoint import ChatEndpoint, Decoding, ModelSpec, parse_spec
from judge.errors import ExitCode, Incomplete, NoLedgerError, UsageError
from judge.execution import INTERRUPTED
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
    signed,
    study_workload,
)
from judge.rubric import Rubric, load_rubric
from judge.scoring import Item, ScoreRun, ScoreSettings, Workload
from judge.settings import Mode, PromptOrder, Scoring

CLAIM = (
    "These figures hold for this judge, this rubric, these prompts and this date, on answers like "
    "those drawn. They say nothing about another judge, another rubric or another version of this "
    "one."
)


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
    with _opened(ledger_url, options, dry_run=dry_run) as ledger:
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
    if account.stopped == INTERRUPTED:
        say("Interrupted; finished work is kept. Run the same command again to go on.")
        sys.exit(ExitCode.INTERRUPTED)
    report = {
        "study": _study_object(options, job, study, collected),
        **findings(study, collected, options.seed),
    }
    html, data = _write(report, options.out)
    show(report)
    if as_json:
        print_json({"probe": report, "report": {"html": str(html), "json": str(data)}})
    say(f"Report: {html.resolve()}")
    if account.stopped or account.missing_share > options.max_unscored:
        raise Incomplete(_incomplete_text(collected, options))


def _prepare(options: ProbeOptions) -> _Job:
    rubric = load_rubric(options.rubric)
    if options.criteria is not None:
        known = {criterion.criterion: criterion for criterion in rubric.criteria}
        for name in options.criteria:
            if name not in known:
                raise UsageError(
                    f"--criteria {name}: the rubric {rubric.name} has {', '.join(known)}."
                )
        wanted = tuple(c for c in rubric.criteria if c.criterion in options.criteria)
        rubric = replace(rubric, criteria=wanted)
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


@contextmanager
def _opened(url: str, options: ProbeOptions, *, dry_run: bool) -> Iterator[Ledger]:
    """The ledger; a dry run does not create one that is not there yet."""
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            ledger = open_ledger(url, create=options.answers is not None and not dry_run)
        except NoLedgerError:
            if options.answers is None:
                raise
            ledger = open_ledger(f"sqlite:///{nowhere}/empty.db")
        try:
            yield ledger
        finally:
            ledger.close()


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
        text += (
            f", about {work.prompt_tokens:,} prompt tokens and at most "
            f"{work.completion_tokens:,} reply tokens"
        )
    cost = _cost(job, work)
    text += "." if cost is None else f", at most ${cost:,.2f}."
    for batch in study.batches:
        text += (
            f"\n  {batch.name}: {len(batch.items)} answers × {len(batch.rubric.criteria)} criteria"
            f" × {batch.samples} sample{'s' if batch.samples > 1 else ''}"
        )
    for name, why in study.skipped.items():
        text += f"\n  skipped, {name}: {why}"
    return text


def _cost(job: _Job, work: Workload) -> float | None:
    if job.sending.prices is None:
        return None
    return job.sending.prices.cost(work.prompt_tokens, 0, work.completion_tokens)


def _workload_object(study: Study, job: _Job, work: Workload) -> dict[str, Any]:
    return {
        "planned": work.planned,
        "would_send": work.calls,
        "sent": 0,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens_at_most": work.completion_tokens,
        "cost_at_most": _cost(job, work),
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
                f"{batch.name}", summary=lambda run: _summary(batch, run), troubles=_troubles
            )
            return bar.enter_context(display).update

        return asyncio.run(
            carry_out(ledger, study, spec, job.settings, job.sending.opener(spec), on_batch)
        )


def _summary(batch: Batch, run: ScoreRun) -> str:
    missing = ", ".join(f"{count} {reason}" for reason, count in run.unscored.most_common())
    return (
        f"{batch.name}: {run.scored} of {run.progress.planned - run.not_applicable} scored"
        + (f", {missing}" if missing else "")
        + (f", {run.progress.open} open" if run.progress.open else "")
        + f"; {run.sent} requests sent."
    )


def _troubles(run: ScoreRun) -> str:
    return f"{run.unscored.total()} unscored" if run.unscored else ""


def _study_object(
    options: ProbeOptions, job: _Job, study: Study, collected: Collected
) -> dict[str, Any]:
    """What was asked of whom and when, and what is missing."""
    account = collected.account
    unpriced = job.sending.prices is None or account.unpriced
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
        "planned": account.planned,
        "wanted": account.planned - account.not_applicable,
        "scored": account.scored,
        "unscored": dict(sorted(account.unscored.items())),
        "open": account.open,
        "missing_share": account.missing_share,
        "sent": account.sent,
        "from_ledger": account.from_ledger,
        "cost": None if unpriced else round(account.cost, 6),
        "stopped": account.stopped,
    }


def _write(report: Mapping[str, Any], out: Path) -> tuple[Path, Path]:
    """Write probe.html and probe.json into a folder, which is created if it is missing."""
    html, data = out / "probe.html", out / "probe.json"
    try:
        out.mkdir(parents=True, exist_ok=True)
        _replace(html, render_html(report).encode())
        _replace(data, orjson.dumps(report, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise UsageError(
            f"{out}: the report cannot be written ({error.strerror}). Name another folder with "
            "--out."
        ) from error
    return html, data


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


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


def _incomplete_text(collected: Collected, options: ProbeOptions) -> str:
    account = collected.account
    parts = []
    if account.stopped:
        parts.append(f"stopped early: {account.stopped}")
    if account.open:
        why = "; ".join(f"{count} {reason}" for reason, count in account.open_why.most_common())
        parts.append(f"{account.open} open ({why})" if why else f"{account.open} open")
    if account.unscored:
        why = ", ".join(f"{count} {reason}" for reason, count in account.unscored.most_common())
        parts.append(f"{account.unscored.total()} unscored ({why})")
    return (
        f"incomplete: {'; '.join(parts)}. {account.missing_share:.1%} of the wanted verdicts are "
        f"missing, {options.max_unscored:.1%} are allowed (--max-unscored). The same command goes "
        "on with open ones; the page shows what is missing where."
    )
