"""``judge answer``."""

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
    Ledger,
    MaxAttempts,
    MaxTokens,
    Price,
    Rpm,
    Temperature,
    Timeout,
    Tpm,
)
from judge.cli._root import app

_LARGEST_SEED = 2**31 - 1
"""What every server takes."""


@app.command()
def answer(
    model: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="openai:MODEL, http://HOST:PORT/v1#MODEL, vllm:PATH or hf:PATH. One model.",
        ),
    ],
    questions: Annotated[
        str, typer.Option(metavar="FILE|NAME", help="Question set, e.g. monetization.")
    ],
    name: Annotated[
        str | None,
        typer.Option(
            metavar="LABEL",
            help="Name under which the answers are kept. Default: the model, as in the SPEC.",
        ),
    ] = None,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each question.")] = 1,
    system: Annotated[
        str | None, typer.Option(metavar="TEXT", help="System message. Default: none is sent.")
    ] = None,
    temperature: Temperature = "0.7",
    top_p: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Nucleus sampling. Default: left to the server."),
    ] = None,
    max_tokens: MaxTokens = 2048,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, max=_LARGEST_SEED, help="Seed of the first sample; the next one gets seed + 1."
        ),
    ] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(metavar="TEXT", help="Text at which an answer ends. Repeatable."),
    ] = None,
    strip_thinking: Annotated[
        bool,
        typer.Option(
            "--strip-thinking", help="Leave out a block of thoughts (<think>) before the answer."
        ),
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Only the first N questions.")
    ] = None,
    occasion: Annotated[
        str,
        typer.Option(
            metavar="X",
            help="Answer anew under this name, e.g. a date. Without it, answers are reused.",
        ),
    ] = "",
    concurrency: Concurrency = 32,
    timeout: Timeout = 120.0,
    max_attempts: MaxAttempts = 6,
    rpm: Rpm = None,
    tpm: Tpm = None,
    budget: Budget = None,
    price: Price = None,
    max_unscored: Annotated[
        float, typer.Option(min=0, max=1, help="More than this share missing: exit code 12.")
    ] = 0.05,
    dry_run: DryRun = False,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Also write them to a .jsonl, .csv or .parquet file."),
    ] = None,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Get a model's answers to a question set.

    For example: judge answer --model http://127.0.0.1:8000/v1#MODEL --questions monetization

    Every model is asked the same way, zero-shot or tuned. The answers go into the ledger, where
    judge score finds them (--models LABEL). What the ledger holds already is not paid for again.
    Interrupted or killed, the same command goes on where it stopped.
    """
    from judge.cli import _answering
    from judge.cli._sending import SendingOptions

    _answering.answer(
        _answering.AnswerOptions(
            model=model,
            questions=questions,
            name=name,
            samples=samples,
            occasion=occasion,
            system=system,
            temperature=temperature,
            top_p=top_p,
            max_tokens=max_tokens,
            seed=seed,
            stop=stop or [],
            strip_thinking=strip_thinking,
            limit=limit,
            out=out,
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
