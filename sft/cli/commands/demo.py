"""``sft demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.cli._root import app


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if missing.")],
    rows: Annotated[
        int, typer.Option("--rows", min=100, help="Conversations in each of the three sources.")
    ] = 2000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Other data for another seed.")] = 0,
) -> None:
    """Write synthetic training data with planted faults, a tokenizer and a blend.yaml to run.

    Three sources in three formats: public Q&A, business Q&A, multilingual alignment. They were
    put together from parts that were written for this purpose; the personal data in them is
    invented.
    """
    from judge.terminal import say
    from sft.cli._extras import require_data
    from sft.demo import write_demo

    require_data()
    config = write_demo(folder, rows=rows, seed=seed)
    say(f"Wrote three synthetic sources and a tokenizer to {folder}. Next: sft blend {config}")
