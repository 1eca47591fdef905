"""What the injection scanner finds, and what it raises without need.

``python -m tests.hardening_figures`` prints the figures. In-sample are the payloads, and the texts
that the rules were written or revised with (benign.jsonl, second.jsonl); held out are texts that
were written after the rules were fixed and have changed nothing since (held_out.jsonl).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from judge.hardening import SUSPICIOUS, injection_score, payloads, scan
from judge.questions import load_questions
from judge.resources import shipped

DATA = Path(__file__).parent / "data" / "hardening"
ESCALATED = 0.9
ANSWERS = (
    "Hi! How can I help you with your campaigns today?",
    "To create an ad group, open the campaign, choose New ad group and set the audience.\n\n"
    "1. Name it.\n2. Choose a bid.\n3. Save.",
    '```python\ndef level(scores):\n    return {"level": max(scores)}\n```\nCall it with a list.',
    "素数是大于1且只能被1和它本身整除的自然数，例如2、3、5、7。",
    "",
)
"""The five answers that the attack suite puts every payload into."""


@dataclass(frozen=True, slots=True)
class Figure:
    """How many texts of a set reach the two thresholds of the injection score."""

    name: str
    texts: int
    suspicious: int
    escalated: int


def lines(name: str) -> list[dict[str, str]]:
    """The rows of a data file."""
    return [json.loads(line) for line in (DATA / name).read_text("utf-8").splitlines()]


def figures() -> list[Figure]:
    """All figures, those of attacks first."""
    demo = shipped("demo/answers.jsonl").read_text("utf-8").splitlines()
    sets = {
        "attacks, in-sample: 40 payloads × 5 answers": [
            payload.apply(answer) for payload in payloads() for answer in ANSWERS
        ],
        "attacks, in-sample: paraphrases": of_kind("second.jsonl", "attack"),
        "attacks, held out: paraphrases": of_kind("held_out.jsonl", "attack"),
        "benign: the 45 questions": [each.question for each in load_questions("monetization")],
        "benign: the demo answers": [json.loads(line)["answer"] for line in demo],
        "benign: the suite's answers": list(ANSWERS),
        "benign, in-sample: hard negatives": [
            *(row["text"] for row in lines("benign.jsonl")), *of_kind("second.jsonl", "benign")
        ],
        "benign, held out: hard negatives": of_kind("held_out.jsonl", "benign"),
    }  # fmt: skip
    return [_figure(name, texts) for name, texts in sets.items()]


def of_kind(name: str, kind: str) -> list[str]:
    """The texts of one kind in a data file."""
    return [row["text"] for row in lines(name) if row["kind"] == kind]


def _figure(name: str, texts: list[str]) -> Figure:
    scores = [injection_score(scan(text)) for text in texts]
    return Figure(
        name,
        len(texts),
        sum(score >= SUSPICIOUS for score in scores),
        sum(score >= ESCALATED for score in scores),
    )


def main() -> None:
    """Print a table."""
    print(f"{'texts':44} {'number':>6} {'>= 0.5':>12} {'>= 0.9':>12}")
    for figure in figures():
        shares = [
            f"{count:4} ({count / figure.texts:4.0%})"
            for count in (figure.suspicious, figure.escalated)
        ]
        print(f"{figure.name:44} {figure.texts:6} {shares[0]:>12} {shares[1]:>12}")


if __name__ == "__main__":
    main()
