"""A comparison as Markdown: tables for a pull request or a wiki; answers stay on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from judge.comparison import _words as words
from judge.comparison._words import Fields
from judge.figures import DASH, number, signed
from judge.report import visible

_ENTITIES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;"}
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+!|~:@])")


def safe(text: object) -> str:
    """A text as Markdown that shows it as it is: no markup, link, mention or HTML."""
    line = " ".join(str(visible(str(text))).split())
    return _SPECIAL.sub(r"\\\1", line).translate(_ENTITIES)


def render_markdown(body: Fields) -> str:
    """The tables and findings of a comparison."""
    return "\n".join(_lines(body)) + "\n"


def _lines(body: Fields) -> Iterator[str]:
    names = {key: safe(name) for key, name in words.names_of(body).items()}
    models = [one["model"] for one in body["models"]]
    title = body["published"]["title"] if body["published"] else "Comparison of models"
    yield f"# {safe(title)}"
    yield ""
    if body["synthetic"]:
        yield f"**{words.BANNER}**"
        yield ""
    if body["offline"]:
        yield f"**{words.OFFLINE}**"
        yield ""
    yield f"Numbers are {words.BASES[body['basis']]}."
    yield f"Source: {safe(body['source'])}. Weights: {safe(body['weights'])}" + (
        f", stage {safe(body['stage'])}." if body["stage"] else "."
    )
    yield ""
    cells = words.cells(body)
    yield _row(["", *(safe(model) for model in models)])
    yield _row(["---", *("---:" for _ in models)])
    for criterion, name in names.items():
        yield _row([name, *(_cell(cells.get((criterion, model))) for model in models)])
    yield ""
    if body["kind"] == "study":
        yield (
            f"\\* the best within noise: the highest, or its paired {body['confidence']:.0%} "
            "interval against the highest includes 0. No correction for the number of models."
        )
        yield ""
    yield from _differences(body, names)
    yield from _trends(body, names)
    yield from _consistency(body, names)
    yield from _published(body, names)
    yield from _decisions(body, names)
    yield from _benchmarks(body)


def _differences(body: Fields, names: dict[str, str]) -> Iterator[str]:
    if not body["differences"]:
        return
    pairs = list(dict.fromkeys((one["model"], one["other"]) for one in body["differences"]))
    by = {(one["criterion"], one["model"], one["other"]): one for one in body["differences"]}
    yield "## Paired differences"
    yield ""
    yield "In bold where the interval excludes 0."
    yield ""
    yield _row(["", *names.values()])
    yield _row(["---", *("---:" for _ in names)])
    for one, two in pairs:
        yield _row(
            [f"{safe(one)} less {safe(two)}", *(_gap(by.get((name, one, two))) for name in names)]
        )
    yield ""


def _trends(body: Fields, names: dict[str, str]) -> Iterator[str]:
    trends = body["trends"]
    for curve in trends["epochs"]:
        yield f"## By epoch: {safe(curve['label'])}"
        yield ""
        for optimum in curve["optima"]:
            yield f"- {words.optimum_sentence(optimum, names[optimum['criterion']])}"
        for one in trends["brevity"]:
            if one["label"] == curve["label"]:
                yield f"- {words.brevity_sentence(one)}"
        for one in trends["languages"]["trends"]:
            if one["label"] == curve["label"]:
                slope = one["slope"]
                yield (
                    f"- Overall in {safe(one['language'])}: {signed(slope['value'])} per "
                    f"epoch {words.bounds(slope['low'], slope['high'], plus=True)}."
                )
        yield ""
    for curve in trends["sizes"]:
        yield f"## By size: {safe(curve['label'])}"
        yield ""
        for slope in curve["slopes"]:
            yield (
                f"- {names[slope['criterion']]}: {signed(slope['value'])} per doubling "
                f"{words.bounds(slope['low'], slope['high'], plus=True)}"
            )
        yield ""
    if trends["blends"]:
        yield "## General against in-domain questions"
        yield ""
        yield _row(["Model", "In-domain data", "General", "In-domain", "On the front"])
        yield _row(["---", "---:", "---:", "---:", "---:"])
        for one in trends["blends"]["models"]:
            yield _row([
                safe(one["model"]), words.percent(one["domain_share"]),
                f"{number(one['general'])} "
                f"{words.bounds(one['general_low'], one['general_high'])}",
                f"{number(one['in_domain'])} "
                f"{words.bounds(one['in_domain_low'], one['in_domain_high'])}",
                f"{'yes' if one['front'] else 'no'} ({words.percent(one['front_share'])})",
            ])  # fmt: skip
        yield ""
    for one in trends["tuning"]:
        yield f"## Tuned against zero-shot: {safe(one['tuned'])}, {safe(one['zero_shot'])}"
        yield ""
        for gap in one["gaps"]:
            yield f"- {names[gap['criterion']]}: {_gap(gap)}"
        yield ""


def _consistency(body: Fields, names: dict[str, str]) -> Iterator[str]:
    if not body["consistency"]:
        return
    by = {(one["criterion"], one["model"]): one for one in body["consistency"]}
    models = list(dict.fromkeys(one["model"] for one in body["consistency"]))
    yield "## Consistency of a model with itself"
    yield ""
    yield "Standard deviation between a model's answers to one question, with the judge's noise."
    yield ""
    yield _row(["", *(safe(model) for model in models)])
    yield _row(["---", *("---:" for _ in models)])
    for criterion, name in names.items():
        of = [by.get((criterion, model)) for model in models]
        told = (
            DASH if one is None else f"{number(one['sd'])} {words.bounds(one['low'], one['high'])}"
            for one in of
        )
        yield _row([name, *told])
    yield ""


def _published(body: Fields, names: dict[str, str]) -> Iterator[str]:
    if (table := body["published"]) is None:
        return
    digits = table["decimals"]
    yield "## The overall from the weights"
    yield ""
    yield _row(["Model", "Printed", "Computed", ""])
    yield _row(["---", "---:", "---:", "---"])
    for one in table["reproduced"]:
        yield _row([
            safe(one["model"]), number(one["printed"], digits),
            number(one["computed"], digits), "same" if one["agrees"] else "differs",
        ])  # fmt: skip
    yield ""
    yield "## Which weights explain the table"
    yield ""
    yield from _explained(table["explained"], names)


def _explained(explained: Fields, names: dict[str, str]) -> Iterator[str]:
    if not explained["possible"]:
        yield (
            "No weighted mean reproduces the overalls: the nearest misses one of them by "
            f"{explained['misfit']:.4f}."
        )
        yield ""
        return
    yield _row(["Criterion", "Lowest", "Highest", "Maximum entropy"])
    yield _row(["---", "---:", "---:", "---:"])
    for one in explained["bounds"]:
        numbers = [number(one[field]) for field in ("low", "high", "max_entropy")]
        yield _row([names[one["criterion"]], *numbers])
    yield ""


def _decisions(body: Fields, names: dict[str, str]) -> Iterator[str]:
    if (found := body["decisions"]) is None:
        return
    yield "## What the weights decide"
    yield ""
    if basis := words.decisions_basis(body):
        yield basis
        yield ""
    for pair in found["pairs"]:
        shown = {**pair, "ahead": safe(pair["ahead"]), "behind": safe(pair["behind"])}
        yield f"- {words.pair_sentence(shown, names, found['region'])}"
    if found["stages"]:
        yield ""
        yield _row(["Stage", "Order from the best"])
        yield _row(["---", "---"])
        for one in found["stages"]:
            order = ", ".join(
                f"{safe(name)} {number(one['overalls'][name])}" for name in one["ranking"]
            )
            yield _row([one["stage"], order])
    yield ""


def _benchmarks(body: Fields) -> Iterator[str]:
    if not body["benchmarks"]:
        return
    yield "## Standard benchmarks"
    yield ""
    yield _row(["Model", "Task", "Metric", "Value", "SE"])
    yield _row(["---", "---", "---", "---:", "---:"])
    for one in body["benchmarks"]:
        yield _row([
            safe(one["model"]), safe(one["task"]), safe(one["metric"]),
            number(one["value"]), number(one["stderr"]),
        ])  # fmt: skip
    yield ""


def _cell(one: Fields | None) -> str:
    if one is None:
        return "n/a"
    if one["value"] is None:
        return "not stated"
    star = r" \*" if one["best"] and one["low"] is not None else ""
    coverage = f" ({words.percent(one['coverage'])} scored)" if one["coverage"] < 1 else ""
    text = f"{number(one['value'])} {words.bounds(one['low'], one['high'])}".strip()
    return f"{text}{star}{coverage}"


def _gap(gap: Fields | None) -> str:
    if gap is None or gap["value"] is None:
        return DASH
    value = signed(gap["value"])
    value = f"**{value}**" if gap["clear"] else value
    return f"{value} {words.bounds(gap['low'], gap['high'], plus=True)}"


def _row(parts: Sequence[str]) -> str:
    return f"| {' | '.join(parts)} |"
