"""``judge pairwise``."""

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
    Stage,
    Temperature,
    Timeout,
    Tpm,
    Weights,
)
from judge.cli._root import app


@app.command()
def pairwise(
    judge: JudgeSpec,
    rubric: RubricName,
    models: Annotated[
        str,
        typer.Option(
            metavar="A,B", help="The two models. A preference above 0 means that B is better."
        ),
    ],
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answers to import and compare. Default: the ledger's."),
    ] = None,
    questions: Questions = "monetization",
    criteria: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only these criteria. Default: all of the rubric."),
    ] = None,
    samples: Samples = 1,
    concurrency: Concurrency = 32,
    occasion: Occasion = "",
    weights: Weights = "equal",
    stage: Stage = None,
    temperature: Temperature = "0.7",
    max_tokens: MaxTokens = 2048,
    timeout: Timeout = 120.0,
    max_attempts: MaxAttempts = 6,
    rpm: Rpm = None,
    tpm: Tpm = None,
    budget: Budget = None,
    price: Price = None,
    max_unscored: MaxUnscored = 0.05,
    dry_run: DryRun = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write pairwise.html and pairwise.json there."),
    ] = None,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Compare the answers of two models, each pair in both orders.

    For example: judge pairwise --judge openai:MODEL --rubric communication --models old,new
    --out old-new

    One call per criterion and order. What the ledger holds already is not paid for again, also
    with --models the other way round. It reports the preference, and how far the judge agrees
    with itself when the answers change places; it does not decide about a release.
    """
    from judge.cli import _pairwise
    from judge.cli._sending import SendingOptions

    _pairwise.pairwise(
        _pairwise.PairwiseOptions(
            judge=judge,
            rubric=rubric,
            models=models,
            answers=answers,
            questions=questions,
            criteria=criteria,
            samples=samples,
            occasion=occasion,
            weights=weights,
            stage=stage,
            temperature=temperature,
            max_tokens=max_tokens,
            max_unscored=max_unscored,
            out=out,
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
