"""``sft blend``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.cli._root import app


@app.command()
def blend(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="What to blend, as YAML.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to; out/NAME of the configuration."),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes at work; as many as there are cores."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the configuration, say what would be done.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable object on stdout.")
    ] = False,
) -> None:
    """Clean, scrub, deduplicate, decontaminate, tokenise, blend and pack training data.

    Every row that does not come through is kept in quarantine.parquet with the step and the
    reason. The samples lie tokenised on disk; a blend is lists of them, packed anew for every
    epoch. What came of it is in report.html; manifest.json has the hashes.

    The same data, configuration and seed give the same bytes, whatever the order of files and the
    number of workers. Interrupted, the same command goes on; changed settings redo only the steps
    that they concern.
    """
    from sft.cli import _blending

    _blending.blend(config, out=out, workers=workers, dry_run=dry_run, as_json=json)
