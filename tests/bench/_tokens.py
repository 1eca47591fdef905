"""Token totals of the judging modes and prompt orders, on a server with prefix caching.

The plan is the shipped demo answers to the 45 shipped questions. Against the test server, a token
is 4 bytes, each reply explains each criterion in 40 words with one short quote, the prompt takes
3 us a token to compute, and the reply 150 to 250 ms where calls run side by side. Against a real
server (a SPEC), tokens are what it reports.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from judge.endpoint import ModelSpec, parse_spec
from judge.execution import Progress
from judge.ledger import Ledger
from judge.prompting import render_case
from judge.questions import load_questions
from judge.records import Answer, Question
from judge.resources import shipped
from judge.rubric import load_rubric
from judge.scoring import Item, ScoreSettings, item_of
from judge.settings import Mode, PromptOrder
from judge.tables import read_answers
from tests.bench._common import ledger_at, scored
from tests.chat_server import Behaviour, ChatServer

BLOCKS = (16, 128)
CONCURRENCIES = (1, 32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way to ask, and what it took."""

    block: int | None
    concurrency: int
    mode: Mode
    order: PromptOrder
    calls: int
    progress: Progress


def tokens(spec: str | None, answers: int | None) -> None:
    """Print the table, of the test server or of the server of a SPEC."""
    _show_parts(answers)
    if spec is not None:
        _show(_cells_of_spec(parse_spec(spec), answers), f"{spec}, its own count")
        return
    with ChatServer() as server:
        _show(_cells_of_test_server(server, answers), "test server, 4 bytes a token")


def _cells_of_test_server(server: ChatServer, answers: int | None) -> Iterator[Cell]:
    for block in BLOCKS:
        for concurrency in CONCURRENCIES:
            side_by_side = concurrency > 1
            server.configure(
                Behaviour(
                    prefix_cache_block=block,
                    prefill_token_s=3e-6 if side_by_side else 0.0,
                    latency_s=0.15 if side_by_side else 0.0,
                    latency_jitter_s=0.1 if side_by_side else 0.0,
                    rationale_words=40,
                    evidence="quote",
                )
            )
            for mode in Mode:
                for order in PromptOrder:
                    server.reset()
                    judge = parse_spec(server.spec())
                    yield _cell(judge, block, concurrency, mode, order, answers)


def _cells_of_spec(judge: ModelSpec, answers: int | None) -> Iterator[Cell]:
    """The same cells on a real server, whose prefix cache is emptied between them if it lets us."""
    for concurrency in CONCURRENCIES:
        for mode in Mode:
            for order in PromptOrder:
                if not _cache_was_reset(judge):
                    print("note: the server does not empty its prefix cache on request, so that "
                          "later rows also find what earlier rows left")  # fmt: skip
                yield _cell(judge, None, concurrency, mode, order, answers)


def _cache_was_reset(judge: ModelSpec) -> bool:
    """Ask a vLLM server (VLLM_SERVER_DEV_MODE=1) to forget its prefixes; others say no."""
    if judge.base_url is None:
        return False
    parts = urlsplit(judge.base_url)
    address = f"{parts.scheme}://{parts.netloc}/reset_prefix_cache"
    try:
        with urllib.request.urlopen(urllib.request.Request(address, method="POST"), timeout=30):
            return True
    except urllib.error.URLError:
        return False


def _cell(
    judge: ModelSpec,
    block: int | None,
    concurrency: int,
    mode: Mode,
    order: PromptOrder,
    answers: int | None,
) -> Cell:
    """One scoring run in a ledger of its own."""
    rubric = load_rubric("communication")
    with tempfile.TemporaryDirectory() as at:
        ledger = ledger_at(Path(at))
        items = _demo_items(ledger, answers)
        settings = ScoreSettings(mode=mode, order=order)
        outcome = asyncio.run(scored(ledger, items, rubric, judge, concurrency, settings))
        ledger.close()
    return Cell(
        block=block, concurrency=concurrency, mode=mode, order=order, calls=outcome.sent,
        progress=outcome.progress,
    )  # fmt: skip


def _demo_items(ledger: Ledger, count: int | None) -> list[Item]:
    """The shipped answers to the shipped questions, stored."""
    pairs = _demo_pairs(count)
    questions = {question.question_id: question for question, _ in pairs}
    ids = ledger.add_answers([answer for _, answer in pairs], questions)
    return [
        item_of(answer_id, answer, question)
        for answer_id, (question, answer) in zip(ids, pairs, strict=True)
    ]


def _demo_pairs(count: int | None) -> list[tuple[Question, Answer]]:
    questions = {question.question_id: question for question in load_questions("monetization")}
    answers = read_answers(shipped("demo/answers.jsonl")).answers[:count]
    return [(questions[answer.question_id], answer) for answer in answers]


def _show_parts(count: int | None) -> None:
    """Print how large the parts of a per-criterion prompt are, in tokens of 4 bytes."""
    rubric = load_rubric("communication")
    sizes: dict[str, list[int]] = {"instructions": [], "case": [], "criterion and reply": []}
    for question, answer in _demo_pairs(count):
        case = render_case(question, answer.answer)
        for criterion in rubric.criteria:
            system, user = (len(m["content"].encode()) for m in case.messages(criterion))
            shared = len(case.text.encode())
            for name, size in zip(sizes, (system, shared, user - shared), strict=True):
                sizes[name].append(size)
    means = (f"{name} {statistics.mean(size) / 4:.0f}" for name, size in sizes.items())
    print(
        f"\nMean tokens of the parts of a per-criterion prompt (4 bytes each): {', '.join(means)}"
    )


def _show(cells: Iterator[Cell], where: str) -> None:
    """Print cells as they come; shares are of the first cell with the same cache and width."""
    print(f"\nTokens of one pass over the demo answers ({where}); uncached = prompt - cached")
    print(f"{'block':>6}{'conc.':>6}  {'mode':14}{'order':17}{'calls':>6}{'prompt':>10}"
          f"{'cached':>10}{'hit':>7}{'uncached':>10}{'beside first':>13}"
          f"{'completion':>11}")  # fmt: skip
    first: dict[tuple[int | None, int], int] = {}
    for cell in cells:
        p = cell.progress
        uncached = p.prompt_tokens - p.cached_tokens
        reference = first.setdefault((cell.block, cell.concurrency), uncached)
        print(f"{cell.block or '-':>6}{cell.concurrency:>6}  {cell.mode:14}{cell.order:17}"
              f"{cell.calls:>6}{p.prompt_tokens:>10}{p.cached_tokens:>10}"
              f"{p.cached_tokens / p.prompt_tokens:>7.1%}{uncached:>10}"
              f"{uncached / reference:>13.2f}{p.completion_tokens:>11}", flush=True)  # fmt: skip
