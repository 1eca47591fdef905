"""What the parts share: answers to score, one scoring run, and a clock for both kinds of time."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from judge.endpoint import ChatEndpoint, ModelSpec, parse_spec
from judge.ledger import Ledger, open_ledger
from judge.records import Answer, Question
from judge.rubric import Rubric, load_rubric
from judge.scoring import Item, ScoreRun, ScoreSettings, item_of, score

WARM_UP = 64
"""Calls before the clock starts, for imports and caches."""
_TEXT = "An auction ad is shown when its bid and its expected response win an auction. " * 6


class Measured(NamedTuple):
    """Wall seconds, and CPU milliseconds of this process per call."""

    wall_s: float
    cpu_ms: float


def items_in(ledger: Ledger, count: int) -> tuple[list[Item], Rubric]:
    """Stored answers whose eight-criteria plan has ``count`` units."""
    rubric = load_rubric("communication")
    questions = [
        Question(question_id=f"q{n}", question="What is an auction ad?", reference=_TEXT[:80])
        for n in range(count // len(rubric.criteria))
    ]
    answers = [
        Answer(question_id=question.question_id, model="m", answer=f"{_TEXT}{question.question_id}")
        for question in questions
    ]
    ids = ledger.add_answers(answers, {question.question_id: question for question in questions})
    return [item_of(*triple) for triple in zip(ids, answers, questions, strict=True)], rubric


def ledger_at(folder: Path) -> Ledger:
    """The ledger of a folder, which is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return open_ledger(f"sqlite:///{folder / 'bench.db'}")


async def scored(
    ledger: Ledger,
    items: Sequence[Item],
    rubric: Rubric,
    spec: str | ModelSpec,
    concurrency: int,
    settings: ScoreSettings | None = None,
    endpoint: type[ChatEndpoint] = ChatEndpoint,
) -> ScoreRun:
    """One scoring run; raises where anything is left open or unscored."""
    judge = parse_spec(spec) if isinstance(spec, str) else spec
    outcome = await score(
        ledger, items, rubric, judge, settings or ScoreSettings(),
        lambda: endpoint(judge, concurrency=concurrency),
    )  # fmt: skip
    if outcome.progress.open:
        raise RuntimeError(f"{outcome.progress.open} units are open: {outcome.progress.open_why}")
    return outcome


def measured(work: Callable[[], Awaitable[object]], calls: int) -> Measured:
    """Run once, on the clock."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    asyncio.run(cast(Coroutine[Any, Any, object], work()))
    return Measured(time.perf_counter() - wall, (time.process_time() - cpu) / calls * 1000)


def spread(values: Sequence[float], form: str) -> str:
    """Median and range."""
    ordered = sorted(values)
    middle = statistics.median(ordered)
    return f"{middle:{form}} ({ordered[0]:{form}}-{ordered[-1]:{form}})"


def bodies_of(ledger: Ledger) -> list[bytes]:
    """The request bodies of all verdicts' calls."""
    keys = ledger.verdicts()["call_key"].to_list()
    return [call.request for call in ledger.calls(keys).values()]
