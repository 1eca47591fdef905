"""``judge score`` and ``judge demo``."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from judge.cli import _reporting
from judge.cli._answers import GivenAnswers, items_of_ledger, read_given
from judge.cli._auto import auto_judge
from judge.cli._console import ScoreDisplay, print_json, say
from judge.endpoint import (
    Budget,
    ChatEndpoint,
    Decoding,
    ModelSpec,
    Prices,
    RateLimits,
    RetryPolicy,
    parse_spec,
)
from judge.errors import ExitCode, Incomplete, NoLedgerError, UsageError
from judge.ledger import Ledger, open_ledger
from judge.offline import FEATURES
from judge.records import Reason
from judge.report import build_report
from judge.resources import shipped
from judge.rubric import Rubric, load_rubric
from judge.scoring import (
    INTERRUPTED,
    Item,
    ScoreRun,
    ScoreSettings,
    workload,
)
from judge.scoring import score as run_score
from judge.weights import load_profile


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """The options of ``judge score``, as typed."""

    judge: str
    rubric: str
    answers: Path | None = None
    models: list[str] | None = None
    questions: str = "monetization"
    samples: int = 1
    concurrency: int = 32
    occasion: str = ""
    weights: str = "equal"
    stage: str | None = None
    temperature: str = "0.7"
    max_tokens: int = 2048
    timeout: float = 120.0
    max_attempts: int = 6
    rpm: int | None = None
    tpm: int | None = None
    budget: str | None = None
    price: str | None = None
    retry_unscored: list[str] = field(default_factory=list)
    max_unscored: float = 0.05


def score(options: ScoreOptions, *, ledger_url: str, dry_run: bool, as_json: bool) -> None:
    """Score answers, print what came out, and end with the exit code that says how it went."""
    job = _prepare(options)
    given = _given(options)
    if dry_run:
        _show_workload(options, job, given, ledger_url, as_json)
        return
    ledger = open_ledger(ledger_url, create=given is not None)
    try:
        outcome = _run(options, job, ledger, _items(options, given, ledger))
        report = build_report(ledger, outcome.run, options.weights, options.stage)
    finally:
        ledger.close()
    _reporting.show_overall(report)
    if as_json:
        print_json({"run": run_object(outcome, job), "estimates": report["estimates"]})
    say(f"Report: judge report --run {outcome.run} --ledger {ledger.url}")
    _end(outcome, options)


def demo(options: ScoreOptions, *, ledger_url: str, out: Path, as_json: bool) -> None:
    """Score the shipped demo answers and write the report, unless nothing could be scored."""
    options = replace(
        options, judge=auto_judge(options.judge), answers=shipped("demo/answers.jsonl")
    )
    job = _prepare(options)
    given = _given(options)
    ledger = open_ledger(ledger_url)
    try:
        outcome = _run(options, job, ledger, _items(options, given, ledger))
        report = build_report(ledger, outcome.run, options.weights, options.stage)
    finally:
        ledger.close()
    if outcome.scored == 0:
        _end(outcome, options)
    _reporting.show_overall(report)
    written = _reporting.write(report, out)
    if as_json:
        print_json(
            {
                "run": run_object(outcome, job),
                "estimates": report["estimates"],
                **written.object(),
            }
        )
    say(f"Report: {written.html.resolve()}")
    _end(outcome, replace(options, max_unscored=1.0) if job.spec.offline else options)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """Options, checked and parsed, before anything is opened or sent."""

    spec: ModelSpec
    rubric: Rubric
    settings: ScoreSettings
    prices: Prices | None
    budget: tuple[float, str] | None


def _prepare(options: ScoreOptions) -> _Job:
    rubric = load_rubric(options.rubric)
    _require_known_baselines(rubric, options.rubric)
    load_profile(options.weights, rubric).vector(stage=options.stage)
    spec = parse_spec(auto_judge(options.judge))
    prices = None if options.price is None else Prices.parse(options.price)
    budget = None if options.budget is None else Budget.parse(options.budget)
    if budget is not None and budget[1] == "USD" and prices is None:
        raise UsageError(
            f"--budget {options.budget}: a budget in USD needs the model's prices; add "
            "--price PROMPT,CACHED,COMPLETION (USD per million tokens), or give it in tokens."
        )
    if not spec.offline:
        spec.api_key()
    settings = ScoreSettings(
        samples=1 if spec.offline else options.samples,
        occasion=options.occasion,
        decoding=Decoding(
            temperature=_temperature(options.temperature), max_tokens=options.max_tokens
        ),
        retry=frozenset(_reason(name) for name in options.retry_unscored),
    )
    return _Job(spec=spec, rubric=rubric, settings=settings, prices=prices, budget=budget)


def _require_known_baselines(rubric: Rubric, name: str) -> None:
    for criterion in rubric.criteria:
        if criterion.baseline is not None and criterion.baseline not in FEATURES:
            raise UsageError(
                f"{name}: {criterion.criterion}: found baseline {criterion.baseline}, expected "
                f"one of {', '.join(FEATURES)}, or none."
            )


def _temperature(text: str) -> float | None:
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise UsageError(f"--temperature {text}: expected a number from 0 to 2, or none.")
    return value


def _reason(name: str) -> Reason:
    try:
        return Reason(name)
    except ValueError:
        names = ", ".join(reason.value for reason in Reason)
        raise UsageError(f"--retry-unscored {name}: expected one of {names}.") from None


def _given(options: ScoreOptions) -> GivenAnswers | None:
    """The answers of the file, read and checked before anything is opened or created."""
    if options.answers is None:
        return None
    return read_given(options.answers, options.questions, options.models)


def _items(options: ScoreOptions, given: GivenAnswers | None, ledger: Ledger) -> list[Item]:
    """The answers to score: those of the file (stored on the way), or what the ledger holds."""
    if given is None:
        return items_of_ledger(ledger, options.questions, options.models)
    return given.items(ledger)


def _run(options: ScoreOptions, job: _Job, ledger: Ledger, items: Sequence[Item]) -> ScoreRun:
    budget = None if job.budget is None else Budget(job.budget[0])

    def open_endpoint() -> ChatEndpoint:
        return ChatEndpoint(
            job.spec,
            concurrency=options.concurrency,
            timeout_s=options.timeout,
            retry=RetryPolicy(max_attempts=options.max_attempts),
            rates=RateLimits(requests=options.rpm, tokens=options.tpm),
            prices=job.prices,
            budget=budget,
            budget_unit="tokens" if job.budget is None else job.budget[1],
        )

    with ScoreDisplay(job.spec.identity) as display:
        return asyncio.run(
            run_score(
                ledger, items, job.rubric, job.spec, job.settings, open_endpoint, display.update
            )
        )


def run_object(outcome: ScoreRun, job: _Job) -> dict[str, Any]:
    """The ``run`` object of ``--json``."""
    progress = outcome.progress
    return {
        "run": outcome.run,
        "judge": job.spec.identity,
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
        "cost": None if job.prices is None or progress.unpriced else round(progress.cost, 6),
        "stopped": progress.stopped or None,
    }


def _show_workload(
    options: ScoreOptions, job: _Job, given: GivenAnswers | None, ledger_url: str, as_json: bool
) -> None:
    """Say what would be sent; a ledger that is not there yet is not created."""
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            ledger = open_ledger(ledger_url, create=False)
        except NoLedgerError:
            if given is None:
                raise
            ledger = open_ledger(f"sqlite:///{nowhere}/empty.db")
        try:
            if given is None:
                items = items_of_ledger(ledger, options.questions, options.models)
            else:
                items = given.items(None)
            work = workload(ledger, items, job.rubric, job.spec, job.settings)
        finally:
            ledger.close()
    cost = None
    if job.prices is not None:
        cost = job.prices.cost(work.prompt_tokens, 0, work.completion_tokens)
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


def _end(outcome: ScoreRun, options: ScoreOptions) -> None:
    """End with 130 after an interrupt, with 12 where too much is missing."""
    if outcome.progress.stopped == INTERRUPTED:
        say("Interrupted; finished work is kept. Run the same command again to go on.")
        sys.exit(ExitCode.INTERRUPTED)
    if outcome.missing_share > options.max_unscored or outcome.progress.stopped:
        raise Incomplete(_incomplete_text(outcome, options))


def _incomplete_text(outcome: ScoreRun, options: ScoreOptions) -> str:
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
        remedies.append(_unscored_remedy(outcome, options))
    return (
        f"incomplete: {'; '.join(parts)}. {outcome.missing_share:.1%} of the wanted verdicts are "
        f"missing, {options.max_unscored:.1%} are allowed (--max-unscored). To go on: "
        f"{'; '.join(remedies)}."
    )


def _unscored_remedy(outcome: ScoreRun, options: ScoreOptions) -> str:
    """What can be done about verdicts that are missing for good."""
    if options.judge == "offline":
        return (
            "the offline baseline needs a reference, required facts or checks to assess some "
            "criteria (columns of the answers, or a question set): add them, use a model as the "
            "judge, or allow more missing"
        )
    reason = outcome.unscored.most_common(1)[0][0]
    return f"--retry-unscored {reason} asks again"
