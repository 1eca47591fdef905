"""``judge probe``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import (
    DEFAULT_LEDGER,
    Budget,
    Concurrency,
    DryRun,
    Json,
    JudgeSpec,
    Ledger,
    MaxAttempts,
    MaxTokens,
    MaxUnscored,
    Occasion,
    Price,
    Questions,
    Rpm,
    RubricName,
    Samples,
    Timeout,
    Tpm,
    names_of,
)
from judge.cli._root import app
from judge.settings import Mode, PromptOrder, Scoring


@app.command()
def probe(
    judge: JudgeSpec,
    rubric: RubricName,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of probe.html and probe.json.")
    ],
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answers to alter. Default: those of the ledger."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only answers of these models. Default: all given."),
    ] = None,
    questions: Questions = "monetization",
    probes: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="Names, or the families bias, sensitivity and attacks, or all."
        ),
    ] = "all",
    expectations: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAME", help="What each probe asks of which criterion of the rubric."
        ),
    ] = "communication",
    criteria: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these criteria. Default: all of the rubric."),
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, help="Answers to draw, spread over the questions.")
    ] = 30,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the draw and of the intervals.")] = 0,
    samples: Samples = 1,
    mode: Annotated[Mode, typer.Option(help="How many criteria a call covers.")] = (
        Mode.PER_CRITERION
    ),
    scoring: Annotated[Scoring, typer.Option(help="What is read from a reply.")] = Scoring.SAMPLES,
    order: Annotated[
        PromptOrder | None,
        typer.Option(
            help="What comes first in a prompt. Default: as judge score, the answer per criterion, "
            "the criteria in the other modes."
        ),
    ] = None,
    concurrency: Concurrency = 32,
    occasion: Occasion = "",
    temperature: Annotated[
        str | None,
        typer.Option(
            metavar="T|none",
            help="none: leave it to the server. Default: 0.7, or 0 with --scoring logprobs.",
        ),
    ] = None,
    max_tokens: MaxTokens = 2048,
    timeout: Timeout = 120.0,
    max_attempts: MaxAttempts = 6,
    rpm: Rpm = None,
    tpm: Tpm = None,
    budget: Budget = None,
    price: Price = None,
    max_unscored: MaxUnscored = 0.05,
    dry_run: DryRun = False,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Measure a judge's biases and how it resists attacks.

    Alters answers in known ways, judges both versions and compares the scores: padding, made-up
    sources, tone, formatting and claims of certainty deserve nothing; corrupted facts, omissions,
    personal data and insults cost points on one criterion; attacks must not pay. Each finding has
    an interval and one of three verdicts. A failed probe is a finding, not an error: the exit code
    is 0. All figures hold for this judge, rubric, prompts and date.

    For example: judge probe --judge openai:MODEL --rubric communication --answers answers.jsonl
    --out probes --dry-run
    """
    from judge.cli import _probe
    from judge.cli._sending import SendingOptions

    _probe.probe(
        _probe.ProbeOptions(
            judge=judge,
            rubric=rubric,
            out=out,
            answers=answers,
            models=names_of(models),
            questions=questions,
            probes=probes,
            expectations=expectations,
            criteria=names_of(criteria),
            limit=limit,
            seed=seed,
            samples=samples,
            mode=mode,
            scoring=scoring,
            order=order,
            occasion=occasion,
            temperature=temperature,
            max_tokens=max_tokens,
            max_unscored=max_unscored,
            sending=SendingOptions(
                concurrency=concurrency,
                timeout=timeout,
                max_attempts=max_attempts,
                rpm=rpm,
                tpm=tpm,
                budget=budget,
                price=price,
            ),
        ),
        ledger_url=ledger,
        dry_run=dry_run,
        as_json=json,
    )
