"""``judge report``."""

from __future__ import annotations

from typing import Annotated

import typer

from judge.cli._options import (
    DEFAULT_LEDGER,
    DEFAULT_REPORT,
    Json,
    Ledger,
    Out,
    Stage,
    Weights,
)
from judge.cli._root import app


@app.command()
def report(
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Run to report on. Default: the newest.")
    ] = None,
    weights: Weights = "equal",
    stage: Stage = None,
    lang: Annotated[
        str, typer.Option("--lang", metavar="en|zh", help="Language of the report's own words.")
    ] = "en",
    ledger: Ledger = DEFAULT_LEDGER,
    out: Out = DEFAULT_REPORT,
    json: Json = False,
) -> None:
    """Write the report of a run.

    One self-contained HTML file, and the same as JSON. For example: judge report --weights paper
    --out my-report
    """
    from judge.cli import _reporting

    _reporting.report(
        run=run,
        weights=weights,
        stage=stage,
        lang=lang,
        ledger_url=ledger,
        out=out,
        as_json=json,
    )
