"""The same answers scored in every mode and prompt order by a real vLLM with a random model."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from judge.endpoint import ChatEndpoint, Decoding, ModelSpec
from judge.ledger import Ledger, open_ledger
from judge.logprobs import LEAST_ALLOWED_MASS
from judge.records import Answer, Question, ScoreKind
from judge.rubric import load_rubric
from judge.scoring import Item, ScoreRun, ScoreSettings, item_of, score
from judge.settings import Mode, PromptOrder, Scoring

RUBRIC = load_rubric("communication")
CALLS = {Mode.PER_CRITERION: 8, Mode.GROUPED: 4, Mode.JOINT: 1}
ANSWERS = 3
MOST_REPLY = 400
FINAL = {
    "truncated", "invalid", "out_of_range", "fabricated_evidence", "cannot_assess",
    "low_allowed_mass",
}  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}")
    yield opened
    opened.close()


def items_of(ledger: Ledger, mark: str, words: int) -> list[Item]:
    """Answers that share nothing with those of another mark, of about ``words`` words."""
    pairs = []
    for number in range(ANSWERS):
        name = f"{mark}{number}"
        question = Question(question_id=name, question=f"{name}: what is an auction ad?")
        text = f"{name}. " + " ".join(
            f"{mark} bids number {number} and {n} for the chance to show an ad"
            for n in range(words // 12)
        )
        pairs.append((Answer(question_id=name, model="m", answer=text), question))
    ids = ledger.add_answers([a for a, _ in pairs], {q.question_id: q for _, q in pairs})
    return [item_of(n, a, q) for n, (a, q) in zip(ids, pairs, strict=True)]


def scored(ledger: Ledger, spec: ModelSpec, items: list[Item], settings: ScoreSettings) -> ScoreRun:
    return asyncio.run(
        score(
            ledger, items, RUBRIC, spec, settings,
            lambda: ChatEndpoint(spec, concurrency=4, timeout_s=300.0),
        )
    )  # fmt: skip


def short(**changes: object) -> ScoreSettings:
    decoding = Decoding(temperature=0.7, max_tokens=MOST_REPLY)
    return ScoreSettings(decoding=decoding, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", Mode)
@pytest.mark.parametrize("scoring", Scoring)
def test_every_verdict_is_valid_or_honestly_unscored(
    ledger: Ledger, tiny_vllm: ModelSpec, mode: Mode, scoring: Scoring
) -> None:
    items = items_of(ledger, f"{mode.value}{scoring.value}", 24)
    settings = short(mode=mode, scoring=scoring)
    outcome = scored(ledger, tiny_vllm, items, settings)
    assert outcome.progress.open == 0
    assert outcome.given_up == []
    assert outcome.scored + outcome.unscored.total() == 8 * ANSWERS
    assert set(outcome.unscored) <= FINAL
    assert CALLS[mode] * ANSWERS <= outcome.sent <= 2 * CALLS[mode] * ANSWERS
    rows = ledger.verdicts()
    kind = ScoreKind.SAMPLES if scoring is Scoring.SAMPLES else ScoreKind.LOGPROBS_GRAMMAR
    assert set(rows["kind"]) == {kind.value}
    for row in rows.iter_rows(named=True):
        assert (row["score"] is None) is (row["status"] == "unscored")
        if row["score"] is not None:
            assert 0 <= row["level"] <= 5
            if scoring is Scoring.LOGPROBS:
                assert row["allowed_mass"] >= LEAST_ALLOWED_MASS
    again = scored(ledger, tiny_vllm, items, settings)
    assert (again.sent, again.scored) == (0, outcome.scored)


def test_cached_tokens_rise_with_the_prompt_order_that_shares_more(
    ledger: Ledger, tiny_vllm: ModelSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long answers share more when they stand first, short ones when the criterion does."""
    share: dict[tuple[int, PromptOrder], float] = {}
    for words in (24, 1800):
        for order in PromptOrder:
            items = items_of(ledger, f"w{words}{order.value.replace('-', '')}", words)
            progress = scored(ledger, tiny_vllm, items, short(order=order)).progress
            share[words, order] = progress.cached_tokens / progress.prompt_tokens
    with capsys.disabled():
        for (words, order), part in share.items():
            print(f"\nanswers of {words} words, {order}: {part:.1%} of the prompt tokens cached")
    first, last = PromptOrder.ANSWER_FIRST, PromptOrder.CRITERION_FIRST
    assert share[1800, first] > share[1800, last] + 0.2
    assert share[24, last] > share[24, first]
    assert share[1800, first] > 0.6


def test_modes_send_fewer_prompt_tokens(ledger: Ledger, tiny_vllm: ModelSpec) -> None:
    totals = []
    for mode in Mode:
        items = items_of(ledger, f"total{mode.value.replace('-', '')}", 240)
        outcome = scored(ledger, tiny_vllm, items, short(mode=mode))
        calls = ledger.call_frame(
            [key for key in ledger.verdicts()["call_key"].unique().to_list() if key]
        )
        first = calls.filter(calls["parent"].is_null() & (calls["key"].is_not_null()))
        totals.append(outcome.progress.prompt_tokens / max(outcome.sent, 1) * CALLS[mode])
        assert first.height >= CALLS[mode] * ANSWERS
    assert totals[0] > totals[1] > totals[2]
