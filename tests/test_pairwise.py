"""Pairwise judging: both orders, nothing twice, exact signs, and what is planted comes out."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import time
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from judge.cli._pairwise import PairwiseOptions, pairwise
from judge.cli._sending import SendingOptions
from judge.endpoint import Capabilities, ChatEndpoint, Decoding, parse_spec
from judge.errors import UsageError
from judge.ledger import Ledger
from judge.pairwise import (
    Better,
    Pair,
    PairRun,
    PairSettings,
    compare,
    comparison,
    paired,
    planned_units,
    read_pair,
    render_page,
    rulers_of,
    workload,
)
from judge.pairwise._prompt import render_pair
from judge.questions import question_from_dict
from judge.records import Answer, Question, Reason, Status
from judge.rubric import Rubric
from judge.scoring import Item, item_of
from judge.verdicts import Reply
from judge.weights import equal_weights
from tests.chat_server import Behaviour, ChatServer, expected_pair
from tests.support import (
    FAST,
    JUDGE,
    answers,
    criterion,
    json_of,
    judge_command,
    ledger_at,
    rubric,
    stored_items,
)

GOOD = {"evidence_first": [], "evidence_second": [], "rationale": "r", "better": "first"}
RUBRIC = """
name: tiny
version: 1
criteria:
  - id: tact
    name: Tact
    definition: How tactful the answer is.
    priority: P1
    levels:
      - {level: 0, description: rude}
      - {level: 1, description: kind}
  - id: truth
    name: Truth
    definition: How true the answer is.
    priority: P1
    levels:
      - {level: 0, description: wrong}
      - {level: 1, description: right}
"""


def read(value: Any, first: str = "the first text", second: str = "another one") -> Any:
    text = value if isinstance(value, str) else json.dumps(value)
    return read_pair(Reply(text=text, finish_reason="stop"), first, second)


def run(
    ledger: Ledger,
    pairs: tuple[Pair, ...],
    of: Rubric,
    spec: str,
    models: tuple[str, str] = ("a", "b"),
    settings: PairSettings | None = None,
) -> PairRun:
    judge = parse_spec(spec)
    return asyncio.run(
        compare(
            ledger, pairs, of, of.criteria, models, judge, settings or PairSettings(),
            lambda: ChatEndpoint(judge, concurrency=8, timeout_s=5.0, retry=FAST),
        )
    )  # fmt: skip


def result(
    outcome: PairRun,
    pairs: tuple[Pair, ...],
    of: Rubric,
    models: tuple[str, str] = ("a", "b"),
    samples: int = 1,
) -> dict[str, Any]:
    return comparison(
        outcome, pairs, of, of.criteria, models, equal_weights(of), None, judge="j",
        settings=PairSettings(samples=samples),
    )  # fmt: skip


def entries(result: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["criterion"]: entry for entry in result["pairwise"]}


def planted(gaps: list[float]) -> list[tuple[Answer, Question]]:
    """A question per gap: b is better by it, on every criterion of the scripted judge."""
    rows = []
    for number, gap in enumerate(gaps):
        question = Question(question_id=f"q{number}", question=f"Question {number}?")
        for model, truth in (("a", 0.5 - gap / 2), ("b", 0.5 + gap / 2)):
            text = f"An answer to {number}. [[truth={truth:.4f}]]"
            rows.append((Answer(question_id=f"q{number}", model=model, answer=text), question))
    return rows


class TestPrompt:
    def test_both_answers_are_fenced_data_and_no_model_is_named(self) -> None:
        question = Question(question_id="q", question="Q?", reference="R.")
        case = render_pair(question, "first text <|im_start|>", "second text")
        messages = case.messages(criterion("tact"))
        assert [message["role"] for message in messages] == ["system", "user"]
        text = messages[1]["content"]
        for name, inside in (
            ("QUESTION", "Q?"), ("REFERENCE", "R."), ("FIRST_ANSWER", "first text ⟨|im_start|⟩"),
            ("SECOND_ANSWER", "second text"),
        ):  # fmt: skip
            marked = f"<<{name}-{case.fence}>>\n{inside}\n<</{name}-{case.fence}>>"
            assert marked in text
        assert re.fullmatch("[0-9a-f]{32}", case.fence)
        assert text.index("SECOND_ANSWER") < text.index("Criterion: Tact")

    def test_the_other_order_is_another_prompt_with_another_fence(self) -> None:
        question = Question(question_id="q", question="Q?")
        one, other = render_pair(question, "x", "y"), render_pair(question, "y", "x")
        assert one.fence != other.fence
        assert one.text.index("\nx\n") < one.text.index("\ny\n")
        assert other.text.index("\ny\n") < other.text.index("\nx\n")

    def test_criteria_share_the_prompt_up_to_the_criterion(self) -> None:
        case = render_pair(Question(question_id="q", question="Q?"), "x", "y")
        texts = [case.messages(criterion(name))[1]["content"] for name in ("tact", "truth")]
        assert all(text.startswith(case.text) for text in texts)
        assert "SECOND_ANSWER" in case.text

    def test_odd_samples_list_the_levels_from_the_top(self) -> None:
        case = render_pair(Question(question_id="q", question="Q?"), "x", "y")
        up, down = (
            case.messages(criterion("tact"), descending=side)[1]["content"]
            for side in (False, True)
        )
        assert up.index("0: 0 of 5") < up.index("5: 5 of 5")
        assert down.index("5: 5 of 5") < down.index("0: 0 of 5")

    def test_checks_tell_of_both_answers(self) -> None:
        question = question_from_dict(
            {
                "question_id": "q", "question": "Q?",
                "checks": [{"kind": "number", "criteria": ["truth"], "value": 7}],
            }
        )  # fmt: skip
        case = render_pair(question, "It is 7.", "It is 8.")
        text = case.messages(criterion("truth"))[1]["content"]
        assert re.search(r"first answer met .*second answer not met", text)
        assert "A program" not in case.messages(criterion("tact"))[1]["content"]

    def test_a_reference_can_be_ruled_out(self) -> None:
        case = render_pair(Question(question_id="q", question="Q?", reference="R."), "x", "y")
        assert "out of account" in case.messages(criterion("t", reference="none"))[1]["content"]


class TestReply:
    @pytest.mark.parametrize("better", ["first", "second", "tie"])
    def test_a_good_reply(self, better: str) -> None:
        quotes = {"evidence_first": ["first  text"], "evidence_second": ["another"]}
        reading = read({**GOOD, **quotes, "better": better})
        assert (reading.status, reading.better) == (Status.SCORED, Better(better))
        assert (reading.evidence_first, reading.evidence_second) == (("first  text",), ("another",))

    def test_one_fence_is_allowed(self) -> None:
        assert read(f"```json\n{json.dumps(GOOD)}\n```").better is Better.FIRST

    def test_null_is_final_and_no_tie(self) -> None:
        reading = read({**GOOD, "better": None})
        assert (reading.status, reading.reason, reading.better, reading.mendable) == (
            Status.UNSCORED, Reason.CANNOT_ASSESS, None, False,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ("", Reason.INVALID),
            (f"So: {json.dumps(GOOD)}", Reason.INVALID),
            (json.dumps(GOOD) * 2, Reason.INVALID),
            (json.dumps(GOOD)[:-1] + ', "better": "second"}', Reason.INVALID),
            ({key: GOOD[key] for key in GOOD if key != "better"}, Reason.INVALID),
            ({**GOOD, "level": 3}, Reason.INVALID),
            ({**GOOD, "better": 1}, Reason.INVALID),
            ({**GOOD, "better": ["first"]}, Reason.INVALID),
            ({**GOOD, "better": "First"}, Reason.OUT_OF_RANGE),
            ({**GOOD, "better": "both"}, Reason.OUT_OF_RANGE),
            ({**GOOD, "rationale": None}, Reason.INVALID),
            ({**GOOD, "evidence_first": "text"}, Reason.INVALID),
            ({**GOOD, "evidence_second": [1]}, Reason.INVALID),
            ({**GOOD, "evidence_first": ["nowhere"]}, Reason.FABRICATED_EVIDENCE),
            # The words of the other answer are no evidence.
            ({**GOOD, "evidence_second": ["the first text"]}, Reason.FABRICATED_EVIDENCE),
        ],
    )
    def test_anything_else_is_refused(self, value: Any, reason: Reason) -> None:
        reading = read(value)
        assert (reading.status, reading.reason, reading.better) == (Status.UNSCORED, reason, None)
        assert reading.mendable
        assert reading.detail

    def test_the_problem_names_the_field(self) -> None:
        assert read({**GOOD, "evidence_second": ["x y z"]}).detail.startswith("evidence_second: ")

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply(text=None, finish_reason="stop", refusal="no"), Reason.REFUSED),
            (Reply(text="{", finish_reason="length"), Reason.TRUNCATED),
            (Reply(text="{}", finish_reason="content_filter"), Reason.FILTERED),
        ],
    )
    def test_what_never_was_a_verdict_is_not_asked_again(
        self, reply: Reply, reason: Reason
    ) -> None:
        reading = read_pair(reply, "x", "y")
        assert (reading.reason, reading.mendable) == (reason, False)


class TestPlan:
    def items(self, *rows: tuple[str, str, int]) -> list[Item]:
        return [
            item_of(
                0,
                Answer(question_id=name, model=model, answer=f"{model}{sample}", sample=sample),
                Question(question_id=name, question="Q?"),
            )
            for name, model, sample in rows
        ]

    def test_answers_are_paired_by_question_and_sample(self) -> None:
        items = self.items(
            ("q0", "b", 0), ("q0", "a", 0), ("q0", "b", 1), ("q1", "a", 0), ("q1", "c", 0),
            ("q2", "a", 1), ("q2", "b", 1),
        )  # fmt: skip
        for models in (("a", "b"), ("b", "a")):
            pairing = paired(items, models)
            found = [(p.question.question_id, p.sample) for p in pairing.pairs]
            assert found == [("q0", 0), ("q2", 1)]
            assert all([item.answer.model for item in p.items] == ["a", "b"] for p in pairing.pairs)
            left = {(i.answer.question_id, i.answer.model) for i in pairing.unpaired}
            assert left == {("q0", "b"), ("q1", "a")}

    @pytest.mark.parametrize("models", [("a",), ("a", "a"), ("a", "b", "c")])
    def test_two_models_are_needed(self, models: tuple[str, ...]) -> None:
        with pytest.raises(UsageError, match="two different models"):
            paired(self.items(("q0", "a", 0)), models)

    def test_nothing_in_common_and_two_wordings_are_refused(self) -> None:
        with pytest.raises(UsageError, match="answered by both"):
            paired(self.items(("q0", "a", 0), ("q1", "b", 0)), ("a", "b"))
        one, other = self.items(("q0", "a", 0), ("q0", "b", 0))
        other = item_of(0, other.answer, Question(question_id="q0", question="Other?"))
        with pytest.raises(UsageError, match="different wordings"):
            paired([one, other], ("a", "b"))

    def test_every_unit_once_in_both_orders(self) -> None:
        items = self.items(*((f"q{n}", m, 0) for n in range(5) for m in "ab"))
        pairs = paired(items, ("a", "b")).pairs
        criteria = (criterion("tact"), criterion("truth"))
        for wave in (1, 3, 32):
            units = list(planned_units(pairs, criteria, 2, wave))
            seen = Counter(
                (u.pair.question.question_id, u.criterion.criterion, u.first, u.sample)
                for u in units
            )
            assert len(seen) == len(units) == 5 * 2 * 2 * 2
        # The first of a wave are one call for each pair and order.
        assert len({(id(u.pair), u.first) for u in units[:10]}) == 10

    def test_a_criterion_that_does_not_apply_is_one_unit(self) -> None:
        question = Question(question_id="q", question="Q?", category="chat")
        pair = Pair(
            question=question, sample=0,
            items=tuple(  # type: ignore[arg-type]
                item_of(0, Answer(question_id="q", model=m, answer=m), question) for m in "ab"
            ),
        )  # fmt: skip
        criteria = (criterion("tact", except_categories=frozenset({"chat"})), criterion("truth"))
        units = list(planned_units([pair], criteria, 3))
        assert Counter(u.criterion.criterion for u in units) == {"tact": 1, "truth": 6}

    def test_rulers_differ_from_those_of_scores_and_with_what_reaches_the_judge(self) -> None:
        spec, plain = parse_spec("openai:m"), Capabilities()
        of = (criterion("tact"),)
        ruler = rulers_of(of, spec, Decoding(), plain)["tact"]
        assert ruler == rulers_of(of, spec, Decoding(), plain)["tact"]
        others = {
            rulers_of(of, parse_spec("openai:n"), Decoding(), plain)["tact"],
            rulers_of(of, spec, Decoding(temperature=0.0), plain)["tact"],
            rulers_of((criterion("tact", definition="x"),), spec, Decoding(), plain)["tact"],
        }
        assert len(others | {ruler}) == 4


class TestRun:
    def test_both_orders_are_sent_and_none_twice_whichever_model_is_named_first(
        self, tmp_path: Path
    ) -> None:
        of = rubric()
        with ChatServer(Behaviour(evidence="quote", record_bodies=True)) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(5, ("b", "a"))), ("a", "b")).pairs
            spec = server.spec()
            foreseen = workload(ledger, pairs, of.criteria, parse_spec(spec), PairSettings())
            one = run(ledger, pairs, of, spec)
            bodies = [entry["body"] for entry in server.log()]
            again = run(ledger, pairs, of, spec)
            turned = run(ledger, pairs, of, spec, ("b", "a"))
            stats = server.stats()
        assert (one.scored, one.sent, foreseen.calls) == (20, 20, 20)
        for outcome in (again, turned):
            assert (outcome.scored, outcome.sent, outcome.progress.from_ledger) == (20, 0, 20)
        assert (stats["requests"], max(stats["per_key"].values())) == (20, 1)
        standing = Counter(
            re.findall(r"the one called (\w-x)", body["messages"][1]["content"])[0]
            for body in bodies
        )
        assert standing == {"a-x": 10, "b-x": 10}
        names = list(bodies[0]["response_format"]["json_schema"]["schema"]["properties"])
        assert names == ["evidence_first", "evidence_second", "rationale", "better"]

    def test_the_other_point_of_view_flips_signs_exactly(self, tmp_path: Path) -> None:
        of = rubric(*(criterion(name) for name in ("tact", "truth", "wit")))
        behaviour = Behaviour(pair_first_bias=0.3, pair_noise=0.3, pair_tie=0.1)
        with ChatServer(behaviour) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(9, ("b", "a"))), ("a", "b")).pairs
            settings = PairSettings(samples=3)
            there = run(ledger, pairs, of, server.spec(), ("a", "b"), settings)
            back = run(ledger, pairs, of, server.spec(), ("b", "a"), settings)
        ab = entries(result(there, pairs, of, ("a", "b"), 3))
        ba = entries(result(back, pairs, of, ("b", "a"), 3))
        for name, entry in ab.items():
            other = ba[name]
            assert (other["preference"], other["low"], other["high"]) == (
                -entry["preference"], -entry["high"], -entry["low"],
            )  # fmt: skip
            assert (other["wins"], other["losses"]) == (entry["losses"], entry["wins"])
            swapped = {"preference", "low", "high", "wins", "losses"}
            assert {k: v for k, v in other.items() if k not in swapped} == {
                k: v for k, v in entry.items() if k not in swapped
            }

    def test_a_planted_gap_and_lean_come_out_exactly(self, tmp_path: Path) -> None:
        # The judge adds 0.15 to the first place and calls leads up to 0.05 a tie. With the lead g
        # of b it sees 0.15 - g where a stands first and 0.15 + g where b does:
        #   g =  0.4: second, first: b twice              4 questions
        #   g = -0.4: first, second: a twice              2
        #   g =  0.08: first, first                       3
        #   g =  0.15: tie, first: half for b             1
        gaps = [0.4] * 4 + [-0.4] * 2 + [0.08] * 3 + [0.15]
        of = rubric(criterion("tact"))
        with ChatServer(Behaviour(pair_offset=0.15, pair_tie=0.05)) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, planted(gaps)), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
        entry = entries(result(outcome, pairs, of))["tact"]
        assert entry["preference"] == pytest.approx((4 - 2 + 0.5) / 10)
        assert entry["position_consistency"] == pytest.approx(6 / 10)
        assert entry["direction"] == pytest.approx(13 / 19 - 0.5)
        assert (entry["inconsistent_first"], entry["n_inconsistent"]) == (1.0, 4)
        assert (entry["wins"], entry["ties"], entry["losses"]) == pytest.approx((0.5, 0.3, 0.2))

    @pytest.mark.parametrize("share", [0.4, -0.4])
    def test_a_planted_share_of_blind_choices_comes_out_exactly(
        self, tmp_path: Path, share: float
    ) -> None:
        """What the bodies say that the judge must do, put together without our code."""
        behaviour = Behaviour(pair_first_bias=share, record_bodies=True)
        of = rubric(criterion("tact"))
        gaps = [0.5, -0.5, 0.5, 0.5] * 6
        with ChatServer(behaviour) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, planted(gaps)), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
            bodies = [entry["body"] for entry in server.log()]
        chosen: dict[str, list[str]] = {}
        first = 0
        for body in bodies:
            text = body["messages"][1]["content"]
            name = re.search(r"Question (\d+)", text)[1]  # type: ignore[index]
            truths = re.findall(r"\[\[truth=([\d.]+)\]\]", text)
            better = expected_pair(body, behaviour)
            first += better == "first"
            a_is_first = (float(truths[0]) < float(truths[1])) == (gaps[int(name)] > 0)
            chosen.setdefault(name, []).append("a" if (better == "first") == a_is_first else "b")
        assert {len(both) for both in chosen.values()} == {2}
        agree = sum(len(set(both)) == 1 for both in chosen.values())
        lead = sum(both.count("b") - both.count("a") for both in chosen.values())
        entry = entries(result(outcome, pairs, of))["tact"]
        assert entry["position_consistency"] == pytest.approx(agree / 24)
        assert entry["direction"] == pytest.approx(first / 48 - 0.5)
        assert entry["preference"] == pytest.approx(lead / 48)
        assert entry["inconsistent_first"] == float(share > 0), "the judge is else infallible"
        assert 0 < agree < 24

    def test_a_bad_reply_is_mended_once_and_then_final(self, tmp_path: Path) -> None:
        of = rubric(criterion("tact"))
        with ChatServer(Behaviour(scripted=["prose"])) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(1, ("a", "b"))), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
            assert (outcome.scored, outcome.repaired, outcome.sent) == (2, 1, 3)
            server.configure(Behaviour(faults={"missing_key": 1.0}))
            settings = PairSettings(occasion="second night")
            bad = run(ledger, pairs, of, server.spec(), settings=settings)
            assert (bad.unscored, bad.sent) == (Counter({"invalid": 2}), 4)
            again = run(ledger, pairs, of, server.spec(), settings=settings)
            assert (again.unscored, again.sent) == (bad.unscored, 0)
            whole = run(ledger, pairs, of, server.spec())
        assert (whole.scored, whole.repaired, whole.sent) == (2, 1, 0)
        refused = entries(result(again, pairs, of))["tact"]
        assert (refused["coverage"], refused["unscored"]) == (0.0, {"invalid": 1})

    def test_an_outage_leaves_units_open_and_the_same_run_goes_on(self, tmp_path: Path) -> None:
        of = rubric(criterion("tact"))
        with ChatServer(Behaviour(faults={"500": 1.0})) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(2, ("a", "b"))), ("a", "b")).pairs
            down = run(ledger, pairs, of, server.spec())
            entry = entries(result(down, pairs, of))["tact"]
            assert (down.progress.open, entry["open"], entry["preference"]) == (4, 2, None)
            server.configure(Behaviour())
            up = run(ledger, pairs, of, server.spec())
        assert (up.progress.open, up.scored) == (0, 4)

    def test_identical_answers_are_one_call_and_no_preference(self, tmp_path: Path) -> None:
        question = Question(question_id="q", question="Q?")
        rows = [(Answer(question_id="q", model=m, answer="Same."), question) for m in "ab"]
        of = rubric(criterion("tact"))
        with ChatServer(Behaviour(pair_first_bias=1.0)) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, rows), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
        entry = entries(result(outcome, pairs, of))["tact"]
        assert (outcome.sent, outcome.scored) == (1, 2)
        assert (entry["preference"], entry["position_consistency"]) == (0.0, 0.0)
        assert (entry["direction"], entry["inconsistent_first"]) == (0.5, 1.0)

    def test_a_criterion_without_its_reference_costs_nothing(self, tmp_path: Path) -> None:
        of = rubric(criterion("tact", reference="requires"))
        with ChatServer(Behaviour()) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(2, ("a", "b"))), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
        assert (outcome.sent, outcome.unscored) == (0, Counter({"cannot_assess": 4}))

    def test_a_server_without_schemas_is_asked_for_less(self, tmp_path: Path) -> None:
        of = rubric()
        behaviour = Behaviour(json_schema_support=False, json_object_support=False)
        with ChatServer(behaviour) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(3, ("a", "b"))), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
            again = run(ledger, pairs, of, server.spec())
        assert (outcome.scored, len(outcome.given_up)) == (12, 2)
        assert (again.scored, again.sent) == (12, 0)

    def test_the_run_is_on_record(self, tmp_path: Path) -> None:
        of = rubric()
        with ChatServer(Behaviour()) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, answers(2, ("a", "b"))), ("b", "a")).pairs
            outcome = run(ledger, pairs, of, server.spec(), ("b", "a"))
        found = ledger.run(outcome.run)
        assert found is not None
        assert found.kind == "pairwise"
        assert found.body["models"] == ["b", "a"]
        assert found.body["criteria"] == ["tact", "truth"]
        assert found.body["rulers"] == outcome.rulers
        assert len(ledger.run_answers(outcome.run)) == 4
        assert len(ledger.verdicts()) == 0, "a pair's verdict is no score of an answer"

    def test_the_offline_baseline_cannot_compare(self, tmp_path: Path) -> None:
        ledger = ledger_at(tmp_path)
        pairs = paired(stored_items(ledger, answers(1, ("a", "b"))), ("a", "b")).pairs
        with pytest.raises(UsageError, match="one answer at a time"):
            run(ledger, pairs, rubric(), "offline")


class _Page(HTMLParser):
    """Tags, and everything that could load or run."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.risky: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name in {"src", "href", "style"} or name.startswith("on"):
                self.risky.append((name, value or ""))


class TestPage:
    def test_hostile_text_stays_text_and_nothing_is_loaded(self, tmp_path: Path) -> None:
        hostile = '<script>alert(1)</script><img src=x onerror="y"> \u202etxt.exe\u0007'
        question = Question(question_id="q<b>", question=hostile, reference=hostile)
        rows = [
            (Answer(question_id="q<b>", model=m, answer=f"{m}: {hostile}"), question)
            for m in ("<i>a", "b")
        ]
        of = rubric(replace(criterion("tact"), name="<u>Tact"))
        models = ("<i>a", "b")
        with ChatServer(Behaviour(evidence="quote")) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, rows), models).pairs
            outcome = run(ledger, pairs, of, server.spec(), models)
        html = render_page(result(outcome, pairs, of, models))
        page = _Page()
        page.feed(html)
        assert page.risky == []
        assert not page.tags.keys() & {"script", "img", "link", "iframe", "u", "form"}
        assert "\u202e" not in html
        assert "⟦U+202E⟧" in html
        assert "⟦U+0007⟧" in html
        assert "script-src" not in html
        assert "default-src &#39;none&#39;" in html

    def test_it_shows_what_is_there_and_what_is_not(self, tmp_path: Path) -> None:
        of = rubric(criterion("tact"), criterion("truth", reference="requires"))
        with ChatServer(Behaviour(pair_offset=0.15, pair_tie=0.05)) as server:
            ledger = ledger_at(tmp_path)
            pairs = paired(stored_items(ledger, planted([0.4, 0.08])), ("a", "b")).pairs
            outcome = run(ledger, pairs, of, server.spec())
        html = render_page(result(outcome, pairs, of))
        assert "+0.500" in html
        assert "no preference" in html
        assert "cannot assess" in html
        assert html.count("the orders disagree") == 1
        assert html.count("Rationale ") == 4, "both orders of both questions"


def write_inputs(folder: Path, gaps: list[float]) -> None:
    (folder / "tiny.yaml").write_text(RUBRIC)
    with (folder / "answers.jsonl").open("w") as file:
        for answer, question in planted(gaps):
            row = {
                "question_id": answer.question_id, "model": answer.model, "answer": answer.answer,
                "question": question.question,
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")


def arguments(server: ChatServer, *more: str) -> list[str]:
    return [
        "pairwise", "--judge", server.spec(), "--rubric", "tiny.yaml", "--models", "a,b",
        "--answers", "answers.jsonl", "--ledger", "sqlite:///l.db", "--json", *more,
    ]  # fmt: skip


class TestCommand:
    def test_from_the_dry_run_to_the_files(self, tmp_path: Path) -> None:
        write_inputs(tmp_path, [0.4, 0.4, -0.4])
        with ChatServer(Behaviour()) as server:
            dry = judge_command(*arguments(server, "--dry-run"), cwd=tmp_path)
            assert json_of(dry)["run"]["would_send"] == 12
            assert not (tmp_path / "l.db").exists()
            done = judge_command(*arguments(server, "--out", "o"), cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            stored = [
                "pairwise", "--judge", server.spec(), "--rubric", "tiny.yaml", "--models", "b,a",
                "--criteria", "truth", "--ledger", "sqlite:///l.db", "--json",
            ]  # fmt: skip
            again = judge_command(*stored, cwd=tmp_path)
            assert server.stats()["requests"] == 12
        shown = json_of(done)
        assert (shown["run"]["sent"], shown["run"]["scored"]) == (12, 12)
        assert [entry["criterion"] for entry in shown["pairwise"]] == ["tact", "truth", "overall"]
        for entry in shown["pairwise"]:
            assert entry["preference"] == pytest.approx(1 / 3)
            assert (entry["position_consistency"], entry["direction"]) == (1.0, 0.0)
        written = json.loads((tmp_path / "o" / "pairwise.json").read_text())
        assert written["pairwise"] == shown["pairwise"]
        assert len(written["questions"]) == 3
        assert "Plumbline pairwise" in (tmp_path / "o" / "pairwise.html").read_text()
        assert "from -1 (a better) to +1 (b better)" in done.stderr
        assert "position consistency" in done.stderr
        truth = json_of(again)["pairwise"][0]
        assert (truth["criterion"], truth["preference"]) == ("truth", pytest.approx(-1 / 3))
        assert json_of(again)["run"]["sent"] == 0

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"models": "a"}, "two different models"),
            ({"models": "a,a"}, "two different models"),
            ({"models": "a,z"}, "no answers of that model"),
            ({"criteria": "wit"}, "it has tact, truth"),
            ({"judge": "offline"}, "one answer at a time"),
            ({"temperature": "9"}, "from 0 to 2"),
            ({"sending": SendingOptions(budget="5USD")}, "--price"),
        ],
    )
    def test_what_cannot_be_meant_is_refused_before_anything_is_opened(
        self, tmp_path: Path, changes: dict[str, Any], said: str
    ) -> None:
        write_inputs(tmp_path, [0.4])
        options = PairwiseOptions(
            judge="http://127.0.0.1:9/v1#judge",
            rubric=str(tmp_path / "tiny.yaml"),
            models="a,b",
            answers=tmp_path / "answers.jsonl",
        )
        ledger = f"sqlite:///{tmp_path / 'l.db'}"
        with pytest.raises(UsageError, match=said):
            pairwise(replace(options, **changes), ledger_url=ledger, dry_run=False, as_json=True)
        assert not (tmp_path / "l.db").exists()

    def test_too_much_missing_ends_with_12_and_lonely_answers_are_named(
        self, tmp_path: Path
    ) -> None:
        write_inputs(tmp_path, [0.4, 0.4])
        rows = (tmp_path / "answers.jsonl").read_text().splitlines()
        (tmp_path / "answers.jsonl").write_text("\n".join(rows[:-1]) + "\n")
        with ChatServer(Behaviour(faults={"refusal": 1.0})) as server:
            done = judge_command(*arguments(server), cwd=tmp_path)
        said = " ".join(done.stderr.split())
        assert done.returncode == 12, said
        assert "1 answers have no counterpart" in said
        assert "4 unscored (4 refused)" in said
        assert json_of(done)["pairwise"][0]["preference"] is None

    def test_kill_9_and_an_interrupt_lose_nothing_that_came_back(self, tmp_path: Path) -> None:
        # b twice, a twice, the first place twice, b twice, b twice.
        write_inputs(tmp_path, [0.4, -0.4, 0.08, 0.25, 0.3] * 4)
        behaviour = Behaviour(latency_s=0.1, pair_offset=0.15, pair_tie=0.05)
        with ChatServer(behaviour) as server:
            command = [str(JUDGE), *arguments(server, "--concurrency", "8")]
            for number, after in ((signal.SIGKILL, 10), (signal.SIGINT, 32)):
                process = subprocess.Popen(
                    command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                    text=True,
                )  # fmt: skip
                while server.stats()["completed"] < after and process.poll() is None:
                    time.sleep(0.02)
                process.send_signal(number)
                _, said = process.communicate(timeout=60)
            assert process.returncode == 130, said
            assert "Run the same command again" in said
            finished = judge_command(*command[1:], cwd=tmp_path)
            stats = server.stats()
        run = json_of(finished)["run"]
        assert (run["scored"], run["open"], run["planned"]) == (80, 0, 80)
        assert 0 < run["sent"] < 80 - 24
        twice = sum(count - 1 for count in stats["per_key"].values())
        assert twice <= 8, "only calls in flight at the kill are paid twice"
        for entry in json_of(finished)["pairwise"]:
            assert entry["preference"] == pytest.approx((1 - 1 + 0 + 1 + 1) / 5)
            assert entry["position_consistency"] == pytest.approx(4 / 5)
