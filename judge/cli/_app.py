"""Commands and options; what they do lies behind lazy imports, so that --help is quick."""

from __future__ import annotations

import sys
import traceback
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from judge.errors import ExitCode, PlumblineError

app = typer.Typer(
    name="judge",
    help="Score answers with a model judge, per criterion, and say how sure that is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

DEFAULT_LEDGER = "sqlite:///plumbline.db"
DEFAULT_REPORT = Path("plumbline-report")

Ledger = Annotated[
    str,
    typer.Option(
        "--ledger",
        envvar="PLUMBLINE_LEDGER",
        metavar="URL",
        help="Where calls and verdicts are kept: sqlite:///FILE or postgresql://...",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one machine-readable object on stdout.")]
Weights = Annotated[
    str,
    typer.Option(metavar="FILE|NAME", help="Weight profile of the overall (equal, paper, ...)."),
]
Stage = Annotated[
    str | None,
    typer.Option(
        metavar="STAGE", help="Training stage of the weights: base, early, late, release."
    ),
]
Samples = Annotated[int, typer.Option(min=1, help="Judge samples per verdict.")]
Concurrency = Annotated[int, typer.Option(min=1, help="Most calls at once.")]
Budget = Annotated[
    str | None, typer.Option(metavar="AMOUNT", help="e.g. 5USD (with --price) or 2000000tokens.")
]
Price = Annotated[
    str | None,
    typer.Option(metavar="P,C,O", help="USD per million prompt, cached, completion tokens."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of report.html and .json.")]


class Mode(StrEnum):
    """How many criteria a judge call covers."""

    PER_CRITERION = "per-criterion"


class Kind(StrEnum):
    """What can be imported."""

    ANSWERS = "answers"
    VERDICTS = "verdicts"
    RATINGS = "ratings"


class ExportKind(StrEnum):
    """What can be exported."""

    ANSWERS = "answers"
    VERDICTS = "verdicts"
    SCORES = "scores"
    RATINGS = "ratings"


def _version(wanted: bool) -> None:
    if wanted:
        from judge import __version__

        typer.echo(f"plumbline {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Score answers with a model judge, per criterion, and say how sure that is.

    Start with `judge demo`. A SPEC names a model: openai:MODEL, http://HOST:PORT/v1#MODEL, or
    offline (a baseline of fixed formulas, no model). Keys: OPENAI_API_KEY for openai:,
    PLUMBLINE_API_KEY for other servers.

    Exit codes: 0 done, 2 usage or input error, 12 incomplete, 70 a defect of ours, 130
    interrupted (run the same command again to go on).
    """


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

    _scoring.demo(
        _scoring.ScoreOptions(
            judge=judge,
            rubric="communication",
            weights=weights,
            stage=stage,
            samples=samples,
            concurrency=concurrency,
            budget=budget,
            price=price,
        ),
        ledger_url=ledger,
        out=out,
        as_json=json,
    )


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


@app.command("import")
def import_(
    kind: Annotated[Kind, typer.Argument(help="What the file holds.")],
    file: Annotated[Path, typer.Argument(help="A .jsonl, .csv or .parquet file.")],
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Import answers, verdicts or ratings.

    All rows, or none. For example: judge import answers answers.csv
    """
    from judge.cli import _transfer

    _transfer.import_file(kind.value, file, ledger_url=ledger, as_json=json)


@app.command()
def export(
    kind: Annotated[ExportKind, typer.Argument(help="What to write.")],
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="A .jsonl, .csv or .parquet file.")
    ],
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Export answers, verdicts, scores or ratings.

    Verdicts carry raw levels, scores lie in 0 to 1. For example: judge export scores --out s.csv
    """
    from judge.cli import _transfer

    _transfer.export_file(kind.value, out, ledger_url=ledger, as_json=json)


@app.command()
def report(
    run: Annotated[
        str | None, typer.Option(metavar="ID", help="Run to report on. Default: the newest.")
    ] = None,
    weights: Weights = "equal",
    stage: Stage = None,
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
        run=run, weights=weights, stage=stage, ledger_url=ledger, out=out, as_json=json
    )


def main() -> None:
    """Run the command; errors for people get one paragraph, and exit codes mean something."""
    try:
        app()  # ends the process itself: 0 when done, 2 on a usage error, 130 on an interrupt
    except SystemExit as ended:
        if ended.code == ExitCode.INTERRUPTED:
            print("judge: run the same command again to go on.", file=sys.stderr)
        raise
    except PlumblineError as error:
        print(f"judge: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception:  # noqa: BLE001 - the last resort, reported as our defect
        traceback.print_exc()
        print(
            "judge: this is a defect of Plumbline. What was committed to the ledger is intact. "
            "Please report it with the lines above.",
            file=sys.stderr,
        )
        sys.exit(ExitCode.DEFECT)
