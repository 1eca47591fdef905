"""``judge nightly``, ``judge baseline`` and ``judge bridge``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from judge.cli._options import Json
from judge.cli._root import app

Config = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The YAML of the series (docs/nightly-config.md).")
]
OwnLedger = Annotated[
    str | None,
    typer.Option(
        "--ledger",
        envvar="PLUMBLINE_LEDGER",
        metavar="URL",
        help="The ledger; default: that of CONFIG, else sqlite:///plumbline.db.",
    ),
]
Date = Annotated[
    str | None,
    typer.Option(
        "--date", metavar="YYYY-MM-DD", help="The night's date; default: today, local time."
    ),
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who does this; it is recorded.")]


@app.command()
def nightly(
    config: Annotated[
        Path | None,
        typer.Argument(metavar="CONFIG", help="The YAML of the series (docs/nightly-config.md)."),
    ] = None,
    date: Date = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Measure nothing: replay years on your own noise (or on --sd) and say how many "
            "false alarms to expect, and how fast which drop is found.",
        ),
    ] = False,
    sd: Annotated[
        float | None,
        typer.Option(
            "--sd",
            min=0.001,
            max=0.5,
            help="With --simulate: the spread of a question's score from night to night, instead "
            "of the series' own.",
        ),
    ] = None,
    years: Annotated[
        int, typer.Option("--years", min=50, max=20000, help="With --simulate: how many years.")
    ] = 500,
    seed: Annotated[int, typer.Option("--seed", help="With --simulate: the seed.")] = 0,
    demo: Annotated[
        Path | None,
        typer.Option(
            "--demo",
            metavar="DIR",
            help="Write a series of 30 made-up nights into DIR and run it: a drop is planted on "
            "the 21st.",
        ),
    ] = None,
    ledger: OwnLedger = None,
    json: Json = False,
) -> None:
    """Answer, score and decide for one night: is the candidate worse than its baseline?

    Runs once per date: what is there is not asked for again, and a second run on the same date
    sends nothing. The first ten complete nights become the baseline; later ones replace it only by
    judge baseline accept. False alarms are bounded per year. A frozen, human-rated set of answers
    is judged again every night, so that a judge that moved is not taken for a model that did.

    Exit codes: 0 pass (or the baseline is still collected), 10 regress, 11 inconclusive (also: cut
    short, or the judge moved), 130 interrupted. For example: judge nightly support.yaml
    """
    from judge.cli import _nightly as work

    if demo is not None and config is not None:
        raise typer.BadParameter("a CONFIG and --demo: give one of the two", param_hint="CONFIG")
    if demo is not None:
        work.demo(demo, as_json=json)
        return
    if sd is not None and not simulate:
        raise typer.BadParameter("goes with --simulate", param_hint="--sd")
    if config is None:
        raise typer.BadParameter("name the YAML of the series, or --demo DIR", param_hint="CONFIG")
    if simulate:
        from judge.cli._nightly_simulation import simulate as replay

        replay(config, sd=sd, years=years, seed=seed, ledger_url=ledger, as_json=json)
        return
    work.nightly(work.NightlyOptions(config=config, date=date, ledger=ledger, as_json=json))


baseline = typer.Typer(
    no_args_is_help=True,
    help="What nights are compared with.",
    rich_markup_mode=None,
)
app.add_typer(baseline, name="baseline")


@baseline.command("accept")
def accept(
    config: Config,
    by: By,
    nights: Annotated[
        str | None,
        typer.Option(
            "--nights",
            metavar="FROM..TO",
            help="Dates of the nights; default: the newest complete ones.",
        ),
    ] = None,
    note: Annotated[str, typer.Option("--note", help="Why; it is recorded.")] = "",
    ledger: OwnLedger = None,
    json: Json = False,
) -> None:
    """Accept nights as the new baseline, from the next night on.

    At least ten complete nights of one epoch (the same judge, rubric, prompts, weights and
    questions). Open alarms end with it. For example: judge baseline accept support.yaml --by ann
    """
    from judge.cli import _nightly as work

    work.accept(config, by=by, note=note, nights=nights, ledger_url=ledger, as_json=json)


@app.command()
def bridge(
    config: Config,
    by: By,
    sample: Annotated[
        int,
        typer.Option(
            "--sample", min=8, help="How many answers of baseline nights are judged again."
        ),
    ] = 90,
    date: Date = None,
    ledger: OwnLedger = None,
    json: Json = False,
) -> None:
    """Equate two rulers: judge stored answers again, and map the baseline to the scores of now.

    After a change of judge, rubric, prompt or decoding, and after an alarm that the judge moved,
    nights cannot be compared with the baseline. The same answers of baseline nights, scored by the
    judge of now, tell how old scores read under the new ruler, with an interval. For example:
    judge bridge support.yaml --by ann
    """
    from judge.cli import _nightly as work

    work.bridge(config, sample=sample, by=by, date=date, ledger_url=ledger, as_json=json)
