"""``judge score``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import (
    DEFAULT_LEDGER,
    Budget,
    Concurrency,
    Json,
    Ledger,
    Price,
    Samples,
    Stage,
    Weights,
)
from judge.cli._root import app


class Mode(StrEnum):
    """How many criteria a judge call covers."""

    PER_CRITERION = "per-criterion"


@app.command()
def score(
    judge: Annotated[
        str,
        typer.Option(
            metavar="SPEC", help="openai:MODEL, http://HOST:PORT/v1#MODEL, offline, or auto."
        ),
    ],
    rubric: Annotated[str, typer.Option(metavar="FILE|NAME", help="The rubric.")],
    answers: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Answers to import and score (.jsonl, .csv, .parquet)."),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(metavar="A,B", help="Only answers of these models. Default: all given."),
    ] = None,
    questions: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAME",
            help="Question set for answers that come without their question, and for references, "
            "facts and checks.",
        ),
    ] = "monetization",
    mode: Annotated[Mode, typer.Option(help="One call per criterion.")] = Mode.PER_CRITERION,
    samples: Samples = 1,
    concurrency: Concurrency = 32,
    occasion: Annotated[
        str,
        typer.Option(
            metavar="X",
            help="Measure anew under this name, e.g. a date. Without it, verdicts are reused.",
        ),
    ] = "",
    weights: Weights = "equal",
    stage: Stage = None,
    temperature: Annotated[
        str, typer.Option(metavar="T|none", help="none: leave it to the server.")
    ] = "0.7",
    max_tokens: Annotated[int, typer.Option(min=16, help="Most tokens of a reply.")] = 2048,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds per try.")] = 120.0,
    max_attempts: Annotated[
        int, typer.Option(min=1, help="Tries per call before its unit is left open.")
    ] = 6,
    rpm: Annotated[int | None, typer.Option(min=1, help="Most requests per minute.")] = None,
    tpm: Annotated[int | None, typer.Option(min=1, help="Most tokens per minute.")] = None,
    budget: Budget = None,
    price: Price = None,
    retry_unscored: Annotated[
        list[str] | None,
        typer.Option(metavar="REASON", help="Ask again where this was the reason. Repeatable."),
    ] = None,
    max_unscored: Annotated[
        float,
        typer.Option(min=0, max=1, help="More than this share unscored or open: exit code 12."),
    ] = 0.05,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be sent and its worst cost.")
    ] = False,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Score answers with a judge, per criterion.

    For example: judge score --judge openai:MODEL --rubric communication --answers answers.jsonl
    --dry-run

    What the ledger holds already is not paid for again. Interrupted or
    killed, the same command goes on where it stopped. Failed verdicts are never turned into
    numbers: they are unscored, with a reason, or open.
    """
    from judge.cli import _scoring

    _scoring.score(
        _scoring.ScoreOptions(
            judge=judge,
            rubric=rubric,
            answers=answers,
            models=None if models is None else [name.strip() for name in models.split(",")],
            questions=questions,
            samples=samples,
            concurrency=concurrency,
            occasion=occasion,
            weights=weights,
            stage=stage,
            temperature=temperature,
            max_tokens=max_tokens,
            timeout=timeout,
            max_attempts=max_attempts,
            rpm=rpm,
            tpm=tpm,
            budget=budget,
            price=price,
            retry_unscored=retry_unscored or [],
            max_unscored=max_unscored,
        ),
        ledger_url=ledger,
        dry_run=dry_run,
        as_json=json,
    )
