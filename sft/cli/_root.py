"""The root of the command line: the application, its version and its help."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="sft",
    help="Make training data that can be answered for.",
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
    """Make training data that can be answered for: what came in, what went, why, and the mixture.

    Start with `sft demo DIR`, which writes synthetic sources, a small tokenizer and a commented
    blend.yaml; then `sft blend DIR/blend.yaml`. Training comes with a later version.

    Exit codes: 0 done, 2 usage or input error, 70 a defect of ours, 130 interrupted (run the same
    command again to go on).
    """
