"""Options that several commands share. Light: nothing here loads a data library."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

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
JudgeSpec = Annotated[
    str,
    typer.Option(
        "--judge",
        metavar="SPEC",
        help="openai:MODEL, http://HOST:PORT/v1#MODEL, vllm:PATH, hf:PATH, offline, or auto.",
    ),
]
RubricName = Annotated[str, typer.Option("--rubric", metavar="FILE|NAME", help="The rubric.")]
Questions = Annotated[
    str,
    typer.Option(
        "--questions",
        metavar="FILE|NAME",
        help="Question set for answers that come without their question, and for references, "
        "facts and checks.",
    ),
]
Weights = Annotated[
    str,
    typer.Option(
        "--weights", metavar="FILE|NAME", help="Weight profile of the overall (equal, paper, ...)."
    ),
]
Stage = Annotated[
    str | None,
    typer.Option(
        "--stage",
        metavar="STAGE",
        help="Training stage of the weights: base, early, late, release.",
    ),
]
Samples = Annotated[int, typer.Option("--samples", min=1, help="Judge samples per verdict.")]
Concurrency = Annotated[int, typer.Option("--concurrency", min=1, help="Most calls at once.")]
Occasion = Annotated[
    str,
    typer.Option(
        "--occasion",
        metavar="X",
        help="Measure anew under this name, e.g. a date. Without it, stored calls are reused.",
    ),
]
Temperature = Annotated[
    str, typer.Option("--temperature", metavar="T|none", help="none: leave it to the server.")
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", min=16, help="Most tokens of a reply.")]
Timeout = Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds per try.")]
MaxAttempts = Annotated[
    int, typer.Option("--max-attempts", min=1, help="Tries per call before its unit is left open.")
]
Rpm = Annotated[int | None, typer.Option("--rpm", min=1, help="Most requests per minute.")]
Tpm = Annotated[int | None, typer.Option("--tpm", min=1, help="Most tokens per minute.")]
Budget = Annotated[
    str | None,
    typer.Option("--budget", metavar="AMOUNT", help="e.g. 5USD (with --price) or 2000000tokens."),
]
Price = Annotated[
    str | None,
    typer.Option(
        "--price",
        metavar="P,C,O",
        help="USD per million prompt, cached, completion tokens; of a panel, one for all or one "
        "for each judge with ; between.",
    ),
]
MaxUnscored = Annotated[
    float,
    typer.Option(
        "--max-unscored",
        min=0,
        max=1,
        help="More than this share unscored or open: exit code 12.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be sent and its worst cost.")
]
Batch = Annotated[
    bool,
    typer.Option(
        "--batch", help="Have the calls done by the provider's batch API: cheaper, within a day."
    ),
]
NoWait = Annotated[
    bool,
    typer.Option(
        "--no-wait", help="With --batch: submit or collect, and end; 12 while some are pending."
    ),
]
BatchDiscount = Annotated[
    float,
    typer.Option(
        "--batch-discount",
        min=0,
        max=1,
        metavar="SHARE",
        help="What a batch costs as a share of --price, e.g. 0.5.",
    ),
]


class BatchRest(StrEnum):
    """What becomes of calls that batches did not bring."""

    OPEN = "open"
    LIVE = "live"


BatchRestOption = Annotated[
    BatchRest,
    typer.Option("--batch-rest", help="Calls that batches did not bring: left open, or sent live."),
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of report.html and .json.")]


def names_of(text: str | None) -> list[str] | None:
    """The names of an option that takes several with commas; None where it was not given."""
    return None if text is None else [name.strip() for name in text.split(",")]
