"""``judge score``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import (
    DEFAULT_LEDGER,
    Batch,
    BatchDiscount,
    BatchRest,
    BatchRestOption,
    Budget,
    Concurrency,
    DryRun,
    Json,
    Ledger,
    MaxAttempts,
    MaxTokens,
    MaxUnscored,
    NoWait,
    Occasion,
    Price,
    Questions,
    Rpm,
    RubricName,
    Samples,
    Stage,
    Timeout,
    Tpm,
    Weights,
    names_of,
)
from judge.cli._root import app
from judge.settings import Mode, PromptOrder, Scoring


class Output(StrEnum):
    """How the server is asked for JSON."""

    AUTO = "auto"
    JSON_SCHEMA = "json_schema"
    JSON_OBJECT = "json_object"
    TEXT = "text"


@app.command()
def score(
    judge: Annotated[
        str,
        typer.Option(
            metavar="SPEC[,SPEC]",
            help="openai:MODEL, http://HOST:PORT/v1#MODEL, vllm:PATH, hf:PATH, offline, or auto. "
            "Several, with commas, are a panel: each scores, and their mean is reported.",
        ),
    ],
    rubric: RubricName,
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answers to import and score (.jsonl, .csv, .parquet)."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only answers of these models. Default: all given."),
    ] = None,
    answers_occasion: Annotated[
        str | None,
        typer.Option(metavar="X", help="Only answers given on this occasion (judge answer)."),
    ] = None,
    questions: Questions = "monetization",
    mode: Annotated[
        Mode,
        typer.Option(
            help="Criteria per call: one; those of a group of the rubric; all. Fewer calls cost "
            "less, and criteria colour each other more."
        ),
    ] = Mode.PER_CRITERION,
    samples: Samples = 1,
    scoring: Annotated[
        Scoring,
        typer.Option(
            help="samples: the level that the judge names. logprobs: the expectation over its "
            "probabilities of the levels."
        ),
    ] = Scoring.SAMPLES,
    order: Annotated[
        PromptOrder | None,
        typer.Option(
            help="What stands first in the prompt, for servers with prefix caching. Default: the "
            "answer per criterion, the criteria in the other modes."
        ),
    ] = None,
    shots: Annotated[
        int,
        typer.Option(
            min=0, max=10, help="Human-rated answers to other questions shown per criterion."
        ),
    ] = 0,
    checklists: Annotated[
        bool,
        typer.Option("--checklists", help="Judge by the question's checklist where it has one."),
    ] = False,
    output: Annotated[
        Output,
        typer.Option(help="How JSON is asked for; auto: the strictest form that the server takes."),
    ] = Output.AUTO,
    concurrency: Concurrency = 32,
    occasion: Occasion = "",
    weights: Weights = "equal",
    stage: Stage = None,
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
    batch: Batch = False,
    no_wait: NoWait = False,
    batch_rest: BatchRestOption = BatchRest.OPEN,
    batch_discount: BatchDiscount = 1.0,
    retry_unscored: Annotated[
        list[str] | None,
        typer.Option(metavar="REASON", help="Ask again where this was the reason. Repeatable."),
    ] = None,
    max_unscored: MaxUnscored = 0.05,
    dry_run: DryRun = False,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Score answers with a judge, or a panel of judges, per criterion.

    For example: judge score --judge openai:MODEL --rubric communication --answers answers.jsonl
    --dry-run

    What the ledger holds already is not paid for again. Interrupted or
    killed, the same command goes on where it stopped. Failed verdicts are never turned into
    numbers: they are unscored, with a reason, or open.
    """
    from judge.cli import _scoring
    from judge.cli._batching import BatchOptions
    from judge.cli._scoring_job import ScoreOptions
    from judge.cli._sending import SendingOptions
    from judge.endpoint import OutputMode
    from judge.errors import UsageError

    if not batch and (no_wait or batch_rest is not BatchRest.OPEN or batch_discount != 1.0):
        raise UsageError("--no-wait, --batch-rest and --batch-discount go with --batch.")
    _scoring.score(
        ScoreOptions(
            judge=judge,
            rubric=rubric,
            answers=answers,
            models=names_of(models),
            answers_occasion=answers_occasion,
            questions=questions,
            mode=mode,
            scoring=scoring,
            order=order,
            output=None if output is Output.AUTO else OutputMode(output.value),
            shots=shots,
            checklists=checklists,
            samples=samples,
            occasion=occasion,
            weights=weights,
            stage=stage,
            temperature=temperature,
            max_tokens=max_tokens,
            sending=SendingOptions(
                concurrency=concurrency,
                timeout=timeout,
                max_attempts=max_attempts,
                rpm=rpm,
                tpm=tpm,
                budget=budget,
                price=price,
            ),
            batching=BatchOptions(wait=not no_wait, rest=batch_rest.value, discount=batch_discount)
            if batch
            else None,
            retry_unscored=retry_unscored or [],
            max_unscored=max_unscored,
        ),
        ledger_url=ledger,
        dry_run=dry_run,
        as_json=json,
    )
