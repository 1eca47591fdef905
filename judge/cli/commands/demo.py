"""``judge demo``."""

from __future__ import annotations

from typing import Annotated

import typer

from judge.cli._options import (
    DEFAULT_LEDGER,
    DEFAULT_REPORT,
    Budget,
    Concurrency,
    Json,
    Ledger,
    Out,
    Price,
    Samples,
    Stage,
    Weights,
)
from judge.cli._root import app


@app.command()
def demo(
    judge: Annotated[
        str,
        typer.Option(
            metavar="SPEC",
            help="auto: the configured endpoint (PLUMBLINE_JUDGE, or OPENAI_API_KEY / "
            "OPENAI_BASE_URL), else offline.",
        ),
    ] = "auto",
    samples: Samples = 1,
    concurrency: Concurrency = 32,
    weights: Weights = "equal",
    stage: Stage = None,
    budget: Budget = None,
    price: Price = None,
    ledger: Ledger = DEFAULT_LEDGER,
    out: Out = DEFAULT_REPORT,
    json: Json = False,
) -> None:
    """Score the demo answers and write a report.

    45 questions, two answer sets, eight criteria. The answers were written by the authors of
    Plumbline to show the path; their scores say nothing about any model. Running it again pays
    for nothing twice.
    """
    from judge.cli import _scoring
    from judge.cli._scoring_job import ScoreOptions
    from judge.cli._sending import SendingOptions

    _scoring.demo(
        ScoreOptions(
            judge=judge,
            rubric="communication",
            weights=weights,
            stage=stage,
            samples=samples,
            sending=SendingOptions(concurrency=concurrency, budget=budget, price=price),
        ),
        ledger_url=ledger,
        out=out,
        as_json=json,
    )
