"""``judge score`` and ``judge demo``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from judge.anchors import frozen_answers
from judge.batching import BatchAccount
from judge.cli import _reporting
from judge.cli._answers import GivenAnswers, items_of_ledger, read_given
from judge.cli._auto import auto_judge
from judge.cli._batching import (
    batch_objects,
    for_the_rest,
    pending_note,
    prefill_for_score,
    require_collected,
)
from judge.cli._display import RunDisplay
from judge.cli._dry_run import ledger_or_empty, show_workload, worst_cost
from judge.cli._outcome import summary, troubles
from judge.cli._scoring_job import ScoreJob, ScoreOptions, score_job
from judge.cli._scoring_outcome import end, run_object
from judge.cli._serving import served
from judge.endpoint import ChatEndpoint, ModelSpec
from judge.examples import ExamplePool, pool_of
from judge.execution import INTERRUPTED, Workload
from judge.ledger import Ledger, open_ledger
from judge.report import build_report, build_summary
from judge.resources import shipped
from judge.scoring import (
    Item,
    ScoreRun,
    ScoreSettings,
    missing_calls,
    record_panel,
    workload,
)
from judge.scoring import score as run_score
from judge.terminal import print_json, say


def score(options: ScoreOptions, *, ledger_url: str, dry_run: bool, as_json: bool) -> None:
    """Score answers, print what came out, and end with the exit code that says how it went."""
    job = score_job(options)
    given = _given(options)
    if dry_run:
        _show_workload(options, job, given, ledger_url, as_json)
        return
    ledger = open_ledger(ledger_url, create=given is not None)
    try:
        items = _items(options, given, ledger)
        batches = _batches(options, job, ledger, items, as_json)
        run, outcomes = _run(options, job, ledger, items)
        report = build_summary(ledger, run, options.weights, options.stage)
    finally:
        ledger.close()
    _reporting.show_overall(report)
    if as_json:
        found = {"run": run_object(run, outcomes, job), "estimates": report["estimates"]}
        print_json(found | ({"batches": batch_objects(batches)} if batches else {}))
    say(f"Report: judge report --run {run} --ledger {ledger.url}")
    end(outcomes, options)


def demo(options: ScoreOptions, *, ledger_url: str, out: Path, as_json: bool) -> None:
    """Score the shipped demo answers and write the report, unless nothing could be scored."""
    options = replace(
        options, judge=auto_judge(options.judge), answers=shipped("demo/answers.jsonl")
    )
    job = score_job(options)
    given = _given(options)
    ledger = open_ledger(ledger_url)
    try:
        run, outcomes = _run(options, job, ledger, _items(options, given, ledger))
        report = build_report(ledger, run, options.weights, options.stage)
    finally:
        ledger.close()
    if not any(outcome.scored for outcome in outcomes):
        end(outcomes, options)
    _reporting.show_overall(report)
    written = _reporting.write(report, out)
    if as_json:
        print_json(
            {
                "run": run_object(run, outcomes, job),
                "estimates": report["estimates"],
                **written.object(),
            }
        )
    say(f"Report: {written.html.resolve()}")
    end(outcomes, replace(options, max_unscored=1.0) if job.offline else options)


def score_demo(ledger_url: str) -> str:
    """Score the shipped demo answers with the offline baseline; the run, without a report."""
    options = ScoreOptions(
        judge="offline", rubric="communication", answers=shipped("demo/answers.jsonl")
    )
    job = score_job(options)
    given = _given(options)
    ledger = open_ledger(ledger_url)
    try:
        run, outcomes = _run(options, job, ledger, _items(options, given, ledger))
    finally:
        ledger.close()
    end(outcomes, replace(options, max_unscored=1.0))
    return run


def _given(options: ScoreOptions) -> GivenAnswers | None:
    """The answers of the file, read and checked before anything is opened or created."""
    if options.answers is None:
        return None
    return read_given(options.answers, options.questions, options.models, options.answers_occasion)


def _items(options: ScoreOptions, given: GivenAnswers | None, ledger: Ledger) -> list[Item]:
    """The answers to score: those of the file (stored on the way), or what the ledger holds."""
    if given is None:
        return items_of_ledger(ledger, options.questions, options.models, options.answers_occasion)
    return given.items(ledger)


def _run(
    options: ScoreOptions, job: ScoreJob, ledger: Ledger, items: Sequence[Item]
) -> tuple[str, list[ScoreRun]]:
    """Run every judge of a job; the run to report on, and each judge's account.

    An interrupt ends a panel with the judge that was at work; its run is then the one reported on.
    """
    examples = _examples(options, job, ledger)
    outcomes: list[ScoreRun] = []
    for number, (spec, settings) in enumerate(job.judges):
        outcome = _run_judge(job, number, spec, settings, ledger, items, examples)
        outcomes.append(outcome)
        if outcome.progress.stopped == INTERRUPTED:
            break
    if len(job.judges) == 1 or len(outcomes) < len(job.judges):
        return outcomes[-1].run, outcomes
    return record_panel(ledger, job.name, [outcome.run for outcome in outcomes]), outcomes


def _batches(
    options: ScoreOptions, job: ScoreJob, ledger: Ledger, items: Sequence[Item], as_json: bool
) -> dict[str, BatchAccount]:
    """Have the calls of every judge done in batches; all are submitted before one is waited for.

    Without --batch, say which calls are in batches and will be waited for.
    """
    if job.batching is None:
        for spec, _ in job.judges:
            if note := pending_note(ledger, spec):
                say(note)
        return {}
    examples = _examples(options, job, ledger)
    several = job.batching.wait and len(job.judges) > 1
    accounts: dict[str, BatchAccount] = {}
    for wait in (False, True) if several else (job.batching.wait,):
        for number, (spec, settings) in enumerate(job.judges):
            if spec.offline and len(job.judges) > 1:
                continue
            account = accounts[spec.identity] = prefill_for_score(
                ledger,
                spec,
                items,
                job.rubric,
                settings,
                examples,
                open_endpoint=job.sending.opener(spec, number),
                options=replace(job.batching, wait=wait),
                prices=job.sending.prices_of(number),
                cap=job.sending.cap,
            )
            job.sending.book(account)
    if as_json and any(account.pending for account in accounts.values()):
        print_json({"batches": batch_objects(accounts)})
    require_collected(accounts)
    return accounts


def _run_judge(
    job: ScoreJob,
    number: int,
    spec: ModelSpec,
    settings: ScoreSettings,
    ledger: Ledger,
    items: Sequence[Item],
    examples: ExamplePool | None,
) -> ScoreRun:
    def open_rest(at: ModelSpec) -> Callable[[], ChatEndpoint]:
        usual = job.sending.opener(at, number)
        return usual if job.batching is None else for_the_rest(usual, job.batching)

    missing = missing_calls(ledger, items, job.rubric, spec, settings, examples)
    with served(spec, needed=spec.local is not None and next(missing, None) is not None) as at:
        title = f"judging with {spec.identity}"
        with RunDisplay[ScoreRun](title, summary=summary, troubles=troubles) as display:
            return asyncio.run(
                run_score(
                    ledger,
                    items,
                    job.rubric,
                    at,
                    settings,
                    open_rest(at),
                    display.update,
                    examples,
                )
            )


def _examples(options: ScoreOptions, job: ScoreJob, ledger: Ledger) -> ExamplePool | None:
    """The pool of few-shot examples from the ledger's human ratings, if any are wanted."""
    if not options.shots:
        return None
    frozen = frozen_answers(ledger)
    stored = [
        (answer, row.question)
        for row in ledger.answers()
        for answer in [row.answer]
        if (answer.question_id, answer.model, answer.sample) not in frozen
    ]
    return pool_of(ledger.ratings(), stored, job.rubric, options.shots)


def _show_workload(
    options: ScoreOptions,
    job: ScoreJob,
    given: GivenAnswers | None,
    ledger_url: str,
    as_json: bool,
) -> None:
    """Say what would be sent."""
    with ledger_or_empty(ledger_url, needed=given is None) as ledger:
        items = _items(options, None, ledger) if given is None else given.items(None)
        examples = _examples(options, job, ledger)
        work, cost = Workload(), 0.0
        for number, (spec, settings) in enumerate(job.judges):
            one = workload(ledger, items, job.rubric, spec, settings, examples)
            work.add(one)
            cost += worst_cost(one, job.sending.prices_of(number)) or 0.0
    priced = job.sending.prices is not None
    show_workload(work, job.name, cost if priced else None, as_json=as_json)
