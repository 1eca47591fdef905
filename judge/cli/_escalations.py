"""``judge escalations``: the list, its files, and decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from judge.escalations import (
    Decision,
    Escalation,
    Finding,
    Queue,
    escalations,
    review_of,
    rubric_of,
    threshold_of,
)
from judge.hardening import SUSPICIOUS, as_data
from judge.ledger import Ledger, open_ledger
from judge.runs import scored_run
from judge.tables import write_rows
from judge.terminal import print_json, say
from judge.weights import load_profile

_SHOWN_ID = 8
_LONGEST_TEXT = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options that listing and resolving share, as typed."""

    run: str | None
    threshold: float | None
    weights: str
    ledger_url: str
    as_json: bool


def show(options: Options, *, every: bool, out: Path | None) -> None:
    """List the open escalations, or all, and write them to a file if asked."""
    ledger = open_ledger(options.ledger_url, create=False)
    try:
        queue = _queue(ledger, options)
    finally:
        ledger.close()
    items = queue.items if every else queue.open
    if out is not None:
        write_rows(out, [_row(item, queue) for item in items])
    for item in items:
        say(_block(item))
    say(_summary(queue, every))
    if out is not None:
        say(f"Wrote {len(items)} escalations to {out}.")
    if options.as_json:
        print_json({"escalations": _object(queue, items)})


def resolve(options: Options, wanted: str, *, decision: str, reviewer: str, note: str) -> None:
    """Append a decision on one escalation to the ledger."""
    ledger = open_ledger(options.ledger_url, create=False)
    try:
        item = _queue(ledger, options).find(wanted)
        ledger.add_review(review_of(item, Decision(decision), reviewer, note))
        queue = _queue(ledger, options)
    finally:
        ledger.close()
    say(
        f"{item.id[:_SHOWN_ID]} ({item.reason.value}, {item.question_id} × {item.model}) is "
        f"{decision} by {reviewer.strip()}. {len(queue.open)} open."
    )
    if options.as_json:
        print_json({"escalation": _row(queue.find(item.id), queue)})


def _queue(ledger: Ledger, options: Options) -> Queue:
    run = scored_run(ledger, options.run)
    threshold = options.threshold
    if threshold is None:
        threshold = threshold_of(load_profile(options.weights, rubric_of(ledger, run)))
    return escalations(ledger, run, threshold)


def _object(queue: Queue, items: Sequence[Escalation]) -> dict[str, Any]:
    n_open = len(queue.open)
    return {
        "run": queue.run,
        "threshold": queue.threshold,
        "criteria": list(queue.criteria),
        "open": n_open,
        "resolved": len(queue.items) - n_open,
        "unjudged": queue.unjudged,
        "items": [_row(item, queue) for item in items],
    }


def _row(item: Escalation, queue: Queue) -> dict[str, Any]:
    """One escalation as a row of a file and of ``--json``; every text in it is redacted."""
    review = item.review
    return {
        "id": item.id,
        "run": queue.run,
        "reason": item.reason.value,
        "status": "open" if review is None else review.decision,
        "question_id": item.question_id,
        "model": item.model,
        "sample": item.answer_sample,
        "findings": [_finding(finding) for finding in item.findings],
        "personal_data": dict(item.kinds),
        "injection_score": round(item.injection, 3),
        "injection_families": list(item.families),
        "null": list(item.nulls),
        "question": item.question,
        "answer": item.answer,
        "reviewer": None if review is None else review.reviewer,
        "note": None if review is None else review.note,
        "decided_at": None if review is None else review.at,
    }


def _finding(finding: Finding) -> dict[str, Any]:
    return {
        "criterion": finding.criterion,
        "judge": finding.judge,
        "score": finding.score,
        "count": finding.count,
        "samples": finding.samples,
        "reason": finding.reason,
        "rationale": finding.rationale,
    }


def _block(item: Escalation) -> str:
    """One escalation for people. Invisible and control characters are shown, not sent."""
    lines = [
        f"{item.id[:_SHOWN_ID]}  {item.reason.value}  {item.question_id} × {item.model}, "
        f"sample {item.answer_sample}"
    ]
    lines += [f"  {_said(finding)}" for finding in item.findings]
    if item.kinds:
        kinds = ", ".join(f"{count} {kind}" for kind, count in item.kinds.items())
        lines.append(f"  personal data: {kinds}")
    hints = [f"null answer: {kind}" for kind in item.nulls]
    if item.injection >= SUSPICIOUS:
        hints.append(f"injection score {item.injection:.2f} ({', '.join(item.families)})")
    if hints:
        lines.append(f"  hints: {'; '.join(hints)}")
    lines += [f"  question: {_excerpt(item.question)}", f"  answer: {_excerpt(item.answer)}"]
    if item.review is not None:
        note = f": {_excerpt(item.review.note)}" if item.review.note else ""
        lines.append(f"  {item.review.decision} by {item.review.reviewer}{note}")
    return "\n".join(lines) + "\n"


def _said(finding: Finding) -> str:
    rationale = f": {_excerpt(finding.rationale)}" if finding.rationale else ""
    of = f"{finding.count} of {finding.samples} samples"
    if finding.score is None:
        return f"{finding.criterion}, {finding.judge}: {finding.reason} in {of}{rationale}"
    return f"{finding.criterion}, {finding.judge}: {finding.score:.2f}, {of} failed{rationale}"


def _excerpt(text: str) -> str:
    shown = as_data(text).replace("\n", "\n    ")
    return shown if len(shown) <= _LONGEST_TEXT else f"{shown[:_LONGEST_TEXT]} [...]"


def _summary(queue: Queue, every: bool) -> str:
    n_open = len(queue.open)
    n_resolved = len(queue.items) - n_open
    text = f"Run {queue.run}: {n_open} open, {n_resolved} resolved"
    text += "." if every or not n_resolved else " (--all shows them)."
    if not queue.criteria:
        text += " The rubric has no P0 criterion: only the answers' texts were looked at."
    if queue.unjudged:
        text += (
            f" {queue.unjudged} verdicts on P0 criteria are still open: score again, then list "
            "again."
        )
    if n_open:
        text += (
            " Decide with: judge escalations resolve ID --decision confirmed|dismissed --reviewer "
            "NAME"
        )
    return text
