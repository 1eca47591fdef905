"""What several test files share: small rubrics and questions, and a way to score them."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from judge.endpoint import ChatEndpoint, ModelSpec, RetryPolicy, parse_spec
from judge.ledger import Ledger, open_ledger
from judge.records import Answer, Question
from judge.rubric import Criterion, Level, Rubric
from judge.scoring import Item, ScoreRun, ScoreSettings, item_of, score

JUDGE = Path(sys.executable).parent / "judge"
FAST = RetryPolicy(max_attempts=6, first_wait_s=0.01, longest_wait_s=0.05)


def criterion(name: str, **changes: Any) -> Criterion:
    """A criterion with six plain levels."""
    fields: dict[str, Any] = {
        "criterion": name,
        "name": name.title(),
        "definition": f"How much {name} the answer shows.",
        "priority": "P1",
        "levels": tuple(
            Level(level=n, description=f"{n} of 5 signs of {name}.", score=n / 5) for n in range(6)
        ),
        "categories": None,
        "except_categories": frozenset(),
        "reference": "uses",
        "baseline": None,
    }
    return Criterion(**{**fields, **changes})


def rubric(*criteria: Criterion) -> Rubric:
    """A rubric of the given criteria; two of them by default."""
    return Rubric(
        name="tiny",
        version=1,
        description="",
        criteria=criteria or (criterion("tact"), criterion("truth")),
    )


def answers(count: int, models: tuple[str, ...] = ("m",)) -> list[tuple[Answer, Question]]:
    """Distinct answers to ``count`` questions by each model."""
    pairs = []
    for number in range(count):
        question = Question(question_id=f"q{number}", question=f"What is {number} + 1?")
        for model in models:
            text = f"The sum is {number + 1}, says the one called {hash_free(model)}."
            pairs.append((Answer(question_id=f"q{number}", model=model, answer=text), question))
    return pairs


def hash_free(model: str) -> str:
    """A stand-in that differs per model without being its name."""
    return "".join(reversed(model)) + "-x"


def ledger_at(folder: Path, name: str = "ledger.db") -> Ledger:
    """A ledger in a folder."""
    return open_ledger(f"sqlite:///{folder / name}")


def stored_items(ledger: Ledger, pairs: list[tuple[Answer, Question]]) -> list[Item]:
    """Store answers and make items of them."""
    questions = {question.question_id: question for _, question in pairs}
    ids = ledger.add_answers([answer for answer, _ in pairs], questions)
    return [
        item_of(answer_id, answer, question)
        for answer_id, (answer, question) in zip(ids, pairs, strict=True)
    ]


def run(
    ledger: Ledger,
    items: list[Item],
    of: Rubric,
    spec: str | ModelSpec,
    settings: ScoreSettings | None = None,
    **endpoint: Any,
) -> ScoreRun:
    """Score items once, with quick retries unless said otherwise."""
    judge = parse_spec(spec) if isinstance(spec, str) else spec
    options = {"concurrency": 16, "timeout_s": 2.0, "retry": FAST, **endpoint}
    return asyncio.run(
        score(
            ledger,
            items,
            of,
            judge,
            settings or ScoreSettings(),
            lambda: ChatEndpoint(judge, **options),
        )
    )


def judge_command(*arguments: str, cwd: Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the console script in a folder.

    In this process, unless ``options`` of `subprocess.run` ask for one of its own: to start Python
    and load the libraries takes longer than most commands.
    """
    if options:
        return subprocess.run(
            [str(JUDGE), *arguments],
            cwd=cwd, capture_output=True, text=True, **{"timeout": 120, **options},
        )  # fmt: skip
    from judge.cli import main

    before, argv = Path.cwd(), sys.argv
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    os.chdir(cwd)
    sys.argv = [str(JUDGE), *arguments]
    code: Any = 0
    try:
        with redirect_stdout(out), redirect_stderr(err):
            try:
                main()
            except SystemExit as ended:
                code = ended.code
    finally:
        sys.argv = argv
        os.chdir(before)
    texts = [stream.buffer.getvalue().decode() for stream in (out, err)]  # type: ignore[attr-defined]
    return subprocess.CompletedProcess([str(JUDGE), *arguments], int(code or 0), *texts)


def json_of(finished: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The one JSON object on stdout."""
    value = json.loads(finished.stdout)
    assert isinstance(value, dict)
    return value
