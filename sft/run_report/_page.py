"""The report of a training run as one HTML file: nothing is fetched, and it holds no script.

Names, notes and errors are hostile until shown otherwise; what keeps them harmless is said in
`judge.report.page_environment`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

from jinja2 import Environment

from judge.report import content_security_policy, page_environment, page_style, write_page
from sft.data_report import _formats as formats
from sft.run_report import _words as words
from sft.run_report._log import RunLog, read_log
from sft.run_report._plots import FORMULAS, plots
from sft.run_report._run import read_run
from sft.run_report._summary import Summary, summarise

Fields: TypeAlias = Mapping[str, Any]

_TEMPLATES = Path(__file__).resolve().parent / "templates"
_HOUSE = _TEMPLATES.parent.parent / "data_report" / "templates"
"""Where the style of all pages of `sft` lies."""
_STYLES = (
    str(_HOUSE / "data_report.css"), str(_HOUSE / "charts.css"), str(_HOUSE / "media.css"),
    "run_report.css",
)  # fmt: skip


def write_run_report(folder: Path) -> Path:
    """Write ``report.html`` into a run folder, with the same numbers in ``report.json``.

    It is made of ``run.json`` and ``log.jsonl`` alone, as they are now: a run that is under way, or
    ended badly, has a report as well, which says so. Each file is there whole or as it was.

    Returns:
        The page.

    Raises:
        InputError: if ``run.json`` or ``log.jsonl`` is missing or not what a run writes.
        UsageError: if the report cannot be written.
    """
    run, log = read_run(folder), read_log(folder)
    summary = summarise(run, log)
    there = frozenset(end.export for end in log.epochs if end.export and _is_in(folder, end.export))
    html = _render(run, log, summary, there)
    content = {"report": "run", "name": run["name"], "synthetic": run["synthetic"]}
    return write_page(folder, "report", html, content | _plain(asdict(summary))).html


def render_run_report(run: Fields, log: RunLog) -> str:
    """The page of a run whose exported checkpoints are all where they were written.

    ``run`` is what `read_run` gives. The page is a function of both arguments alone.
    """
    exports = frozenset(end.export for end in log.epochs if end.export)
    return _render(run, log, summarise(run, log), exports)


def _is_in(folder: Path, export: str) -> bool:
    return (folder / export).is_dir()


def _render(run: Fields, log: RunLog, summary: Summary, exports: frozenset[str]) -> str:
    page = _environment().get_template("run_report.html.j2")
    return page.render(
        run=run,
        log=log,
        summary=summary,
        plots=plots(run, log, summary),
        domains=summary.held_out,
        sources=sorted(log.steps.losses),
        exports=exports,
        was=words.what_it_was(run, summary),
        came=words.what_came_of_it(summary),
        settings=_settings(run["config"]),
        blends=_blends(run["data"]["epochs"]),
        formulas=FORMULAS,
        failed=[check for check in run["checks"] if not _passed(check)],
        style=page_style(_TEMPLATES, *_STYLES),
        policy=content_security_policy(),
    )


def _passed(check: Fields) -> bool:
    """Whether a difference is within its bound; one that is no number (null) is not."""
    return check["difference"] is not None and check["difference"] <= check["bound"]


def _settings(config: Fields) -> list[tuple[str, list[tuple[str, str]]]]:
    """(section, (name, value) of each setting); those outside any section come first."""
    plain = [(name, _text(value)) for name, value in config.items() if not _is_section(value)]
    sections = [
        (name, [(".".join(keys), _text(inner)) for keys, inner in _leaves(value, ())])
        for name, value in config.items()
        if _is_section(value)
    ]
    return [("run", plain), *sections]


def _is_section(value: Any) -> bool:
    return isinstance(value, dict) and bool(value)


def _leaves(value: Any, keys: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not _is_section(value):
        yield keys, value
        return
    for name, inner in value.items():
        yield from _leaves(inner, (*keys, name))


def _text(value: Any) -> str:
    """A setting as people write it."""
    match value:
        case None | "":
            return "–"
        case bool():
            return "yes" if value else "no"
        case float():
            return words.rate(value)
        case list():
            return ", ".join(_text(inner) for inner in value) or "–"
        case dict():
            return "–"
    return str(value)


def _blends(epochs: list[Fields]) -> list[tuple[str, str, list[float | None]]]:
    """(source, domain, its share of the supervised tokens of each epoch)."""
    names = {s["source"]: s["domain"] for epoch in epochs for s in epoch["shares"]}
    shares = [{s["source"]: s["share"] for s in epoch["shares"]} for epoch in epochs]
    return [
        (source, domain, [epoch.get(source) for epoch in shares])
        for source, domain in sorted(names.items(), key=lambda entry: (entry[1], entry[0]))
    ]


def _plain(value: Any) -> Any:
    """What JSON can hold: names as texts, and null for NaN."""
    match value:
        case float():
            return None if math.isnan(value) else value
        case dict():
            return {str(name): _plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value


@cache
def _environment() -> Environment:
    environment = page_environment(_TEMPLATES)
    environment.globals |= {"counted": formats.counted}
    environment.filters |= {
        "change": words.change,
        "compact": formats.compact,
        "duration": lambda value: formats.duration(words.known(value)),
        "flop": words.flop,
        "loss": words.loss,
        "memory": lambda value: formats.size(None if math.isnan(value) else int(value)),
        "number": formats.number,
        "per_second": words.per_second,
        "rate": words.rate,
        "share": lambda value: formats.share(words.known(value)),
        "utilisations": words.utilisations,
        "when": formats.when,
    }
    return environment
