"""The root of the command line: the application, its version and its help."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="judge",
    help="Score answers with a model judge, per criterion, and say how sure that is.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


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
