"""``judge compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import DEFAULT_LEDGER, Json, Ledger, Stage
from judge.cli._root import app
from judge.cli.commands.calibrate import Confidence, FileRubric, Ratings, RunId, Seed
from judge.cli.commands.gate import VerdictFiles

DEFAULT_COMPARISON = Path("plumbline-comparison")


@app.command()
def compare(
    run: RunId = None,
    verdicts: VerdictFiles = None,
    ratings: Ratings = None,
    rubric: FileRubric = None,
    answers: Annotated[
        Path | None,
        typer.Option(
            "--answers",
            metavar="FILE",
            help="With --verdicts: the answers, for their texts, lengths, domains and languages.",
        ),
    ] = None,
    questions: Annotated[
        str | None,
        typer.Option(
            "--questions",
            metavar="FILE|NAME",
            help="With --verdicts: the question set, for texts, domains and languages.",
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option("--models", metavar="A,B,...", help="These models only, in this order."),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            "--weights",
            metavar="FILE|NAME",
            help="Weight profile of the overall. Default: equal, or that of the --table.",
        ),
    ] = None,
    stage: Stage = None,
    meta: Annotated[
        Path | None,
        typer.Option(
            "--meta",
            metavar="FILE",
            help="What the models are, in YAML: models: {NAME: {base, size_b, epoch, ...}}.",
        ),
    ] = None,
    cards: Annotated[
        str | None,
        typer.Option(
            "--cards",
            metavar="DIR,...",
            help="Checkpoints of sft train, or folders of them; MODEL=DIR names the model.",
        ),
    ] = None,
    benchmarks: Annotated[
        str | None,
        typer.Option(
            "--benchmarks",
            metavar="FILE,...",
            help="Output files of lm-evaluation-harness; MODEL=FILE names the model.",
        ),
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            "--table",
            metavar="FILE|NAME",
            help="A published table instead of scores of your own: paper-table2, or a file.",
        ),
    ] = None,
    weight_region: Annotated[
        float,
        typer.Option(
            "--weight-region",
            min=0,
            max=1,
            help="How far each weight may lie from the chosen one when asked what it decides.",
        ),
    ] = 0.05,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of comparison.html, .json, .md, .csv and differences.",
        ),
    ] = DEFAULT_COMPARISON,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Put models beside each other: scores, differences, trends, and what the weights decide.

    With people's ratings the numbers are calibrated; without, they are the judge's means and say
    so. Curves by epoch and size, the balance of general and in-domain skills and the effect of
    tuning need to know what the models are: --cards, or --meta.

    For example: judge compare --models base,epoch-1,epoch-2 --cards runs/ads --weights paper

    The table of the paper: judge compare --table paper-table2
    """
    from judge.cli import _comparing
    from judge.cli._evidence import Wanted

    _comparing.compare(
        Wanted(
            verdicts=verdicts[0] if verdicts else None, ratings=ratings, run=run, rubric=rubric,
            weights=weights or "equal", stage=stage, ledger_url=ledger,
            further=(verdicts or [])[1:],
        ),
        _comparing.Beside(
            answers=answers, questions=questions, models=models, meta=meta, cards=cards,
            benchmarks=benchmarks,
        ),
        table=table,
        weights=weights,
        region=weight_region,
        confidence=confidence,
        seed=seed,
        out=out,
        as_json=json,
    )  # fmt: skip
