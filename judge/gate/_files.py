"""A release decision as files: JUnit XML for the CI, Markdown for a pull request."""

from __future__ import annotations

import re
from xml.etree import ElementTree as Tree

from judge.figures import signed
from judge.gate._failures import failures_words
from judge.gate._result import CriterionResult, Decision, GateResult
from judge.gate._words import attainability_lines, counted, flag_of, undecided

_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def junit_of(result: GateResult, *, inconclusive_fails: bool = False) -> str:
    """JUnit XML: a test case for the release, one for the overall, one per criterion and category.

    A regression is a failure. An inconclusive case is skipped, with its reason, since it has shown
    nothing; ``inconclusive_fails`` makes it a failure, for a CI that reads the file and not the
    exit code. Categories are not needed for a pass: an undecided one is skipped in either case.
    """
    suite = Tree.Element("testsuite", name="judge gate")
    release = Tree.SubElement(
        suite, "testcase", classname="gate", name=_clean(f"{result.candidate} may be released")
    )
    text = "\n".join([result.summary, *result.reasons])
    _outcome(release, result.decision, result.summary, text, inconclusive_fails)
    cases = [("gate.criteria", one) for one in (result.overall, *result.criteria)]
    cases += [("gate.categories", one) for one in result.categories]
    for group, one in cases:
        case = Tree.SubElement(suite, "testcase", classname=group, name=_clean(one.criterion))
        fails = inconclusive_fails and group == "gate.criteria"
        words = sentence(one)
        _outcome(case, one.decision, words, words, fails)
    failures = sum(1 for case in suite if case.find("failure") is not None)
    skipped = sum(1 for case in suite if case.find("skipped") is not None)
    for name, number in (
        ("tests", len(suite)), ("failures", failures), ("errors", 0), ("skipped", skipped),
    ):  # fmt: skip
        suite.set(name, str(number))
    root = Tree.Element("testsuites")
    root.append(suite)
    Tree.indent(root)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n' + Tree.tostring(root, encoding="unicode") + "\n"
    )


def _outcome(case: Tree.Element, decision: Decision, message: str, text: str, fails: bool) -> None:
    case.set("time", "0")
    if decision is Decision.PASS:
        Tree.SubElement(case, "system-out").text = _clean(text)
        return
    failed = decision is Decision.REGRESS or fails
    found = Tree.SubElement(case, "failure" if failed else "skipped", message=_clean(message))
    if failed:
        found.set("type", decision.value)
    found.text = _clean(text)


def sentence(one: CriterionResult) -> str:
    """One criterion in one line."""
    if one.difference is None:
        return f"{one.criterion}: inconclusive: {one.note}"
    told = (
        f"{one.criterion}: {one.decision.value}, {signed(one.difference)} [{signed(one.low)}, "
        f"{signed(one.high)}], margin {one.margin:g}, {counted(one.n_questions, 'question')}"
    )
    if one.mde is not None:
        told += f", smallest visible drop {one.mde:.3f}"
    if flag := flag_of(one):
        told += f", {flag}"
    if one.decision is Decision.INCONCLUSIVE:
        told += f"; {undecided(one)}"
    found = one.total_failures
    return told if found is None else f"{told}; {failures_words(found)}"


def markdown_of(result: GateResult) -> str:
    """A summary for a pull request."""
    lines = [
        f"## Release gate: {result.decision.value}",
        "",
        f"**{_cell(result.candidate)}** against **{_cell(result.baseline)}** on "
        f"{counted(result.n_questions, 'question')}: {_cell(result.summary)} "
        f"({result.confidence:.0%} intervals, paired by question).",
        "",
    ]
    lines += [f"- {_cell(reason)}" for reason in result.reasons]
    lines += ["", *_table((result.overall, *result.criteria))]
    if result.categories:
        lines += [
            "",
            "Overall by category (not needed for a pass):",
            "",
            *_table(result.categories),
        ]
    told = facts(result)
    if told:
        lines += ["", *(f"- {_cell(line)}" for line in told)]
    return "\n".join(lines) + "\n"


def facts(result: GateResult) -> list[str]:
    """What else a reader has to know: margins out of reach, what is missing, the remedy."""
    lines = []
    if result.worse_within_margin and result.decision is not Decision.REGRESS:
        names = ", ".join(
            one.criterion for one in (result.overall, *result.criteria) if one.worse_within_margin
        )
        lines.append(f"worse, but not called a regression: {names}")
    for model, alone in (
        (result.baseline, result.baseline_only), (result.candidate, result.candidate_only),
    ):  # fmt: skip
        if alone:
            shown = ", ".join(alone[:10]) + (", ..." if len(alone) > 10 else "")
            lines.append(f"{counted(len(alone), 'question')} only {model} has: {shown}")
    failures = result.failures
    if failures.candidate_more or failures.baseline_more:
        lines.append(
            f"questions with more missing verdicts of the candidate: {failures.candidate_more}, of "
            f"the baseline: {failures.baseline_more} (if neither failed more often, as many or "
            f"more of the candidate would be seen with probability {failures.p:.3f})"
        )
    lines += [
        f"total failures on {one.criterion}: {failures_words(one.total_failures)}"
        for one in result.criteria
        if one.total_failures is not None
    ]
    lines += attainability_lines(result)
    if result.remedy is not None:
        lines.append(
            f"cheapest remedy: {result.remedy.text} ({result.remedy.criterion} needs the most)"
        )
    return lines


def _table(results: tuple[CriterionResult, ...]) -> list[str]:
    rows = [
        "| | difference | interval | margin | smallest visible drop | questions | |",
        "|---|---:|---:|---:|---:|---:|---|",
    ]
    for one in results:
        span = "\u2013" if one.low is None else f"{signed(one.low)} to {signed(one.high)}"
        mde = "\u2013" if one.mde is None else f"{one.mde:.3f}"
        flag = f", {flag_of(one)}" if flag_of(one) else ""
        rows.append(
            f"| {_cell(one.criterion)} | {signed(one.difference)} | {span} | {one.margin:g} "
            f"| {mde} | {one.n_questions} | {one.decision.value}{flag} |"
        )
    return rows


def _cell(text: str) -> str:
    """Text of a file, such as a model's name, without meaning to Markdown or HTML."""
    flat = " ".join(_clean(text).split())
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", flat).replace("&", "&amp;")


def _clean(text: str) -> str:
    return _CONTROLS.sub("\ufffd", text)
