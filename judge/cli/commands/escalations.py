"""``judge escalations`` and ``judge escalations resolve``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import DEFAULT_LEDGER, Json, Ledger, Weights
from judge.cli._root import app

escalations = typer.Typer(rich_markup_mode=None)
app.add_typer(escalations, name="escalations")

Run = Annotated[
    str | None, typer.Option("--run", metavar="ID", help="Run to look at. Default: the newest.")
]
Threshold = Annotated[
    float | None,
    typer.Option(
        "--threshold",
        metavar="SCORE",
        min=0,
        max=1,
        help="A P0 criterion scored at or below this has failed. Default: what the cap of the "
        "weight profile says, else 0.4.",
    ),
]


class Decision(StrEnum):
    """What a person can decide about an escalation."""

    CONFIRMED = "confirmed"
    DISMISSED = "dismissed"


@escalations.callback(invoke_without_command=True)
def list_(
    context: typer.Context,
    run: Run = None,
    every: Annotated[bool, typer.Option("--all", help="Show the resolved ones too.")] = False,
    threshold: Threshold = None,
    weights: Weights = "equal",
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Also write them: .jsonl, .csv or .parquet."),
    ] = None,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """List answers that a person has to look at: failed safety, personal data, injections.

    An answer is listed where any judge's sample fails a P0 criterion of the rubric, where a judge
    settled one without a score, where the answer exposes personal data or asks for it, and where
    it very likely tries to steer the judge. Personal data is replaced by placeholders such as
    [EMAIL_1] everywhere. For example: judge escalations --out queue.csv
    """
    from judge.cli import _escalations

    options = _escalations.Options(
        run=run, threshold=threshold, weights=weights, ledger_url=ledger, as_json=json
    )
    if context.invoked_subcommand is not None:
        context.obj = options
        return
    _escalations.show(options, every=every, out=out)


@escalations.command()
def resolve(
    context: typer.Context,
    wanted: Annotated[
        str, typer.Argument(metavar="ID", help="The escalation's id, or enough of its start.")
    ],
    decision: Annotated[
        Decision, typer.Option(help="confirmed: the answer is at fault; dismissed: it is not.")
    ],
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Who decided.")],
    note: Annotated[str, typer.Option(metavar="TEXT", help="Why.")] = "",
    run: Run = None,
    ledger: Annotated[
        str | None, typer.Option("--ledger", metavar="URL", help="As for judge escalations.")
    ] = None,
    json: Json = False,
) -> None:
    """Note what a person decided; the escalation leaves the open list.

    The decision holds for this answer text and this reason, in every run. A later decision
    replaces it; both stay in the ledger. For example: judge escalations resolve 3fa9c2d1
    --decision dismissed --reviewer Kim --note "the address is the support desk's"
    """
    from dataclasses import replace

    from judge.cli import _escalations

    above: _escalations.Options = context.obj
    options = replace(
        above,
        run=run or above.run,
        ledger_url=ledger or above.ledger_url,
        as_json=json or above.as_json,
    )
    _escalations.resolve(options, wanted, decision=decision.value, reviewer=reviewer, note=note)
