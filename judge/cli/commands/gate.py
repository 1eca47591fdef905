"""``judge gate``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import DEFAULT_LEDGER, Json, Ledger, Stage, Weights
from judge.cli._root import app
from judge.cli.commands.calibrate import FileRubric, RunId

VerdictFiles = Annotated[
    list[Path] | None,
    typer.Option(
        "--verdicts",
        metavar="FILE",
        help="Verdicts of a file (.jsonl, .csv, .parquet) instead of a run of the ledger; may be "
        "repeated where models have files of their own.",
    ),
]


class JUnitInconclusive(StrEnum):
    """What an inconclusive test case is in the JUnit file."""

    SKIPPED = "skipped"
    FAILURE = "failure"


@app.command()
def gate(
    baseline: Annotated[str, typer.Option("--baseline", metavar="MODEL", help="The model in use.")],
    candidate: Annotated[
        str, typer.Option("--candidate", metavar="MODEL", help="The model that may replace it.")
    ],
    margin: Annotated[
        float,
        typer.Option(
            "--margin",
            min=0,
            max=0.999,
            help="Largest drop of the overall that is accepted; those of the criteria stand in "
            "the weights file.",
        ),
    ] = 0.03,
    verdicts: VerdictFiles = None,
    run: RunId = None,
    rubric: FileRubric = None,
    weights: Weights = "equal",
    stage: Stage = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            metavar="FILE",
            help="Compare on the human scale: calibration.json of the same judge and rubric.",
        ),
    ] = None,
    confidence: Annotated[
        float,
        typer.Option(
            "--confidence",
            min=0.5,
            max=0.999,
            help="Of the two-sided intervals; 0.9 risks 5 % on either side.",
        ),
    ] = 0.90,
    max_unscored: Annotated[
        float,
        typer.Option(
            "--max-unscored",
            min=0,
            max=1,
            help="More than this share of a criterion's verdicts missing: inconclusive.",
        ),
    ] = 0.05,
    junit: Annotated[
        Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML.")
    ] = None,
    junit_inconclusive: Annotated[
        JUnitInconclusive,
        typer.Option("--junit-inconclusive", help="What an inconclusive case is in JUnit XML."),
    ] = JUnitInconclusive.SKIPPED,
    markdown: Annotated[
        Path | None,
        typer.Option("--markdown", metavar="FILE", help="Write a summary for a pull request."),
    ] = None,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Decide whether a model may replace another: pass, regress or inconclusive.

    Both are compared on the same questions. It passes only if nothing can be worse than its
    margin, regresses if something is beyond doubt, and is inconclusive otherwise, with the
    cheapest way out. Exit codes: 0 pass, 10 regress, 11 inconclusive. For example: judge gate
    --baseline ours-v1 --candidate ours-v2 --junit gate.xml --markdown gate.md
    """
    from judge.cli import _gating

    _gating.run_gate(
        _gating.GateOptions(
            baseline=baseline,
            candidate=candidate,
            margin=margin,
            verdicts=verdicts or [],
            run=run,
            rubric=rubric,
            weights=weights,
            stage=stage,
            calibration=calibration,
            confidence=confidence,
            max_unscored=max_unscored,
            junit=junit,
            inconclusive_fails=junit_inconclusive is JUnitInconclusive.FAILURE,
            markdown=markdown,
            ledger_url=ledger,
            as_json=json,
        )
    )
