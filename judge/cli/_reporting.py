"""``judge report``, and the table that ``judge score`` prints."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from judge.cli._console import console, print_json, say
from judge.errors import UsageError
from judge.ledger import Ledger, open_ledger
from judge.report import build_report, render_html


@dataclass(frozen=True, slots=True)
class Written:
    """Where a report lies."""

    html: Path
    json: Path

    def object(self) -> dict[str, Any]:
        """The ``report`` object of ``--json``."""
        return {"report": {"html": str(self.html), "json": str(self.json)}}


def report(
    *,
    run: str | None,
    weights: str,
    stage: str | None,
    ledger_url: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write the report of a run."""
    ledger = open_ledger(ledger_url, create=False)
    try:
        written = write(ledger, run, weights, stage, out)
    finally:
        ledger.close()
    if as_json:
        print_json(written.object())
    say(f"Report: {written.html.resolve()}")


def write(
    ledger: Ledger,
    run: str | None,
    weights: str,
    stage: str | None,
    out: Path,
    demo: bool = False,
) -> Written:
    """Write report.html and report.json into a folder, which is created if it is missing."""
    data = build_report(ledger, run, weights, stage, demo=demo)
    try:
        out.mkdir(parents=True, exist_ok=True)
        written = Written(out / "report.html", out / "report.json")
        _replace(written.html, render_html(data).encode())
        _replace(written.json, orjson.dumps(data, option=orjson.OPT_INDENT_2))
    except OSError as error:
        raise UsageError(
            f"{out}: the report cannot be written ({error.strerror}). Name another folder with "
            "--out."
        ) from error
    return written


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def show_overall(ledger: Ledger, run: str, weights: str, stage: str | None) -> None:
    """Print overall and criteria per model, in the order of the input: no ranking."""
    from rich.table import Table

    data = build_report(ledger, run, weights, stage)
    table = Table(title=f"Mean scores (0 to 1) under {data['run']['weights']} weights", box=None)
    table.add_column("criterion")
    for model in data["models"]:
        table.add_column(model, justify="right")
    by = {(entry["criterion"], entry["model"]): entry for entry in data["estimates"]}
    names = [criterion["criterion"] for criterion in data["criteria"]]
    for name in (*names, "overall"):
        table.add_row(name, *(_cell(by[name, model]) for model in data["models"]))
    console.print(table)
    if any(entry["value"] is not None and entry["coverage"] < 1 for entry in data["estimates"]):
        say("* some of the wanted scores are missing; the report says which and why.")
    for note in data["notes"]:
        say(note)


def _cell(estimate: dict[str, Any]) -> str:
    if estimate["value"] is None:
        return "unscored"
    text = f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return text + (" " if estimate["coverage"] == 1 else "*")
