"""``sft miniature``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.cli._root import app


@app.command()
def miniature(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if missing.")],
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, help="Runs of everything, for the intervals.")
    ] = 5,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Trainings at a time, one thread each.")
    ] = 2,
    judge: Annotated[
        bool,
        typer.Option(
            "--judge/--no-judge", help="Whether checkpoints answer the 45 questions at the end."
        ),
    ] = True,
    json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable object on stdout.")
    ] = False,
) -> None:
    """Show forgetting and its cure, measured: the whole loop on a CPU, in minutes.

    Writes a synthetic corpus of general and in-domain tasks, trains a tokenizer and a tiny Llama
    on the general ones, fine-tunes it domain-only, general-only and blended with DeepSpeed, and
    measures exact match and loss on held-out tasks after every epoch, for several seeds. At the
    end checkpoints answer the 45 questions through `judge answer` and are scored by the offline
    baseline, to show the path: nothing follows from these scores.

    Interrupted, the same command goes on.
    """
    from sft.cli import _miniature

    _miniature.miniature(folder, seeds=seeds, workers=workers, judge=judge, as_json=json)
