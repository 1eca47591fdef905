"""``sft export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.cli._root import app


@app.command()
def export(
    config: Annotated[
        str, typer.Argument(metavar="CONFIG", help="The configuration that is being trained.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The run's folder; out/NAME of CONFIG."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Where to; DIR/step-N of the run.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Processes on this machine; all GPUs, or 1."),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable object on stdout.")
    ] = False,
) -> None:
    """Write the newest training state of a run as a Hugging Face checkpoint.

    For looking at a run between epochs' ends, where `sft train` writes one by itself; the run must
    not be at work. The checkpoint passes the same checks, and the run stays as it is.
    """
    from sft.cli import _training

    _training.export(config, out=out, to=to, processes=processes, as_json=json)
