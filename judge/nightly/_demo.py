"""A made-up month for a first look: nights of answers with a drop that is planted on the 21st.

The answers are the shipped demo's, written by the authors; which of the two sets a night takes for
a question is drawn. Nothing of it says anything about a model.
"""

from __future__ import annotations

import datetime
import json
from pathlib import Path

from judge.errors import UsageError
from judge.nightly._measure import seeded
from judge.resources import shipped

NIGHTS = 30
DROP = 20
"""Nights before the drop."""
_HASTY = (0.15, 0.50)
"""The share of questions with the hasty answer, before the drop and from then on."""
_CONFIG = """\
# A made-up series: answers of files, judged by the offline baseline (fixed formulas, no model).
# For one of your own see docs/nightly-config.md; the fields that matter first are these.
series: demo
description: SYNTHETIC. Shipped demo answers, mixed at random; a drop is planted on the 21st night.
ledger: sqlite:///nightly.db
out: site
questions: monetization
rubric: communication
weights: equal
candidate:
  answers: "answers/{date}.jsonl"   # or model: vllm:checkpoints/latest, openai:MODEL, http://...
  name: demo
again: {samples: 1}                 # the A/A arm: a second set of answers of the same candidate
judge: {model: offline}
baseline: {nights: 10}
anchors: {n: 0}                     # frozen, human-rated answers; there are none here
max_unscored: 0.2                   # the offline baseline cannot assess everything
notify: {when: [alarm]}
"""


def write_demo(folder: Path, last: datetime.date) -> tuple[Path, list[str]]:
    """Write the configuration and 30 nights of answers that end on ``last``; what is there stays.

    Returns the configuration and the dates that have answers. Raises UsageError where the folder
    cannot be written.
    """
    config, answers = folder / "nightly.yaml", folder / "answers"
    try:
        answers.mkdir(parents=True, exist_ok=True)
        if not config.exists():
            config.write_text(_CONFIG, "utf-8")
        there = sorted(path.stem for path in answers.glob("*.jsonl"))
        first = (
            datetime.date.fromisoformat(there[0])
            if there
            else last - datetime.timedelta(days=NIGHTS - 1)
        )
        for number in range((last - first).days + 1):
            path = answers / f"{(first + datetime.timedelta(days=number)).isoformat()}.jsonl"
            if not path.exists() and number < NIGHTS:
                path.write_text(_night(number), "utf-8")
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written ({error.strerror}). Name another folder."
        ) from error
    return config, sorted(path.stem for path in answers.glob("*.jsonl"))


def _night(number: int) -> str:
    """Two answers per question: one for the candidate, one for its A/A twin."""
    rng = seeded("demo", str(number))
    rows = [json.loads(line) for line in shipped("demo/answers.jsonl").read_text().splitlines()]
    texts: dict[str, dict[str, str]] = {}
    for row in rows:
        texts.setdefault(row["question_id"], {})[row["model"]] = row["answer"]
    share = _HASTY[number >= DROP]
    lines = []
    for question, of in sorted(texts.items()):
        for sample in (0, 1):
            name = "demo-hasty" if rng.random() < share else "demo-careful"
            row = {
                "question_id": question, "model": "demo", "sample": sample, "answer": of[name],
                "generation": {"written_by": "Plumbline authors", "synthetic": True},
            }  # fmt: skip
            lines.append(json.dumps(row, ensure_ascii=False))
    return "\n".join(lines) + "\n"
