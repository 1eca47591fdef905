"""``judge report``, and the table that ``judge score`` prints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from judge.ledger import open_ledger
from judge.report import Written, build_report, render_html, write_page
from judge.terminal import console, print_json, say


def report(
    *,
    run: str | None,
    weights: str,
    stage: str | None,
    lang: str = "en",
    ledger_url: str,
    out: Path,
    as_json: bool,
) -> None:
    """Write the report of a run and print its numbers."""
    ledger = open_ledger(ledger_url, create=False)
    try:
        data = build_report(ledger, run, weights, stage, lang=lang)
    finally:
        ledger.close()
    written = write(data, out)
    show_overall(data)
    if as_json:
        print_json(written.object())
    say(f"Report: {written.html.resolve()}")


def write(report: Mapping[str, Any], out: Path) -> Written:
    """Write report.html and report.json into a folder, which is created if it is missing."""
    return write_page(out, "report", render_html(report), report)


def show_overall(data: Mapping[str, Any]) -> None:
    """Print overall and criteria per model, in the order of the input: no ranking."""
    from rich.table import Table
    from rich.text import Text

    title = Text(f"Mean scores (0 to 1) under {data['run']['weights']} weights")
    table = Table(title=title, box=None)
    table.add_column("criterion")
    for model in data["models"]:
        table.add_column(Text(model), justify="right")
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
        if estimate["unscored"]:
            return "unscored"
        return "open" if estimate["open"] else "n/a"
    text = f"{estimate['value']:.3f} [{estimate['low']:.3f}, {estimate['high']:.3f}]"
    return text + (" " if estimate["coverage"] == 1 else "*")
