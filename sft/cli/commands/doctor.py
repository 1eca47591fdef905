"""``sft doctor``."""

from __future__ import annotations

from typing import Annotated

import typer

from sft.cli._root import app


@app.command()
def doctor(
    stages: Annotated[
        str, typer.Option("--zero", metavar="STAGES", help="ZeRO stages to check, as 2 or 0,1,2,3.")
    ] = "0,1,2,3",
    processes: Annotated[
        int | None,
        typer.Option("--processes", min=1, help="Processes to check with; all GPUs, or 1."),
    ] = None,
    bf16: Annotated[
        bool, typer.Option("--bf16/--no-bf16", help="Whether to check bf16 beside fp32.")
    ] = True,
    json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable object on stdout.")
    ] = False,
) -> None:
    """Check that DeepSpeed computes here what plain PyTorch computes. Ends with 2 if it does not.

    A tiny model is trained for a few steps by the engine, packed, in several passes and processes,
    and once more sample by sample with nothing but torch; losses, gradients and weights have to
    agree. Samples of a pack must not see each other. Some ten seconds per stage on a CPU.
    """
    from sft.cli import _doctor

    _doctor.doctor(stages, processes=processes, bf16=bf16, as_json=json)
