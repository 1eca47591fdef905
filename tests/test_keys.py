"""The key of a call: a hash of everything that reaches the model, the sample and the occasion."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from judge.canonical import canonical, digest, text_hash
from judge.endpoint import Capabilities, Decoding, OutputMode, parse_spec
from judge.execution import Progress
from judge.ledger import Ledger
from judge.records import Answer, Question, RequiredFact
from judge.rubric import Criterion
from judge.scoring import ScoreRun, ScoreSettings, Unit, item_of, rulers_of
from judge.scoring._asking import Asking
from judge.scoring._task import ScoringTask
from tests.support import criterion, ledger_at, rubric

SPEC = parse_spec("http://127.0.0.1:1/v1#m")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    return ledger_at(Path(tmp_path_factory.mktemp("keys")))


def key(
    ledger: Ledger,
    question: Question,
    answer: str,
    of: Criterion,
    *,
    spec: Any = SPEC,
    sample: int = 0,
    model: str = "anyone",
    score_settings: ScoreSettings | None = None,
    capabilities: Capabilities | None = None,
) -> bytes:
    """The key of one unit, as scoring plans it."""
    wanted, known = score_settings or ScoreSettings(), capabilities or Capabilities()
    one = rubric(of)
    rulers = rulers_of(one, spec, wanted, known)
    outcome = ScoreRun(run="", rulers=rulers, progress=Progress())
    asking = Asking(one, spec, wanted, known, None)
    task = ScoringTask(ledger, asking, known, outcome)
    given_answer = Answer(question_id=question.question_id, model=model, answer=answer)
    ((_, request),) = task._requests([Unit(item_of(0, given_answer, question), of, sample)])
    return request.key


BASE = Question(question_id="q", question="Why?", category="c", reference="Because.")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(TEXT, TEXT), min_size=2, max_size=2, unique=True))
def test_different_texts_have_different_keys_and_equal_ones_the_same(
    ledger: Ledger, pairs: list[tuple[str, str]]
) -> None:
    tact = criterion("tact")
    first, second = (
        key(ledger, replace(BASE, question=question), answer, tact) for question, answer in pairs
    )
    again = key(ledger, replace(BASE, question=pairs[0][0]), pairs[0][1], tact)
    assert first == again
    assert first != second


def test_everything_that_reaches_the_model_is_in_the_key(ledger: Ledger) -> None:
    tact = criterion("tact")
    keys = {
        "base": key(ledger, BASE, "A.", tact),
        "answer": key(ledger, BASE, "B.", tact),
        "question": key(ledger, replace(BASE, question="Who?"), "A.", tact),
        "reference": key(ledger, replace(BASE, reference="So."), "A.", tact),
        "facts": key(
            ledger, replace(BASE, required_facts=(RequiredFact(fact="f"),)), "A.", tact
        ),
        "criterion": key(ledger, BASE, "A.", replace(tact, definition="Other.")),
        "judge": key(ledger, BASE, "A.", tact, spec=parse_spec("http://127.0.0.1:1/v1#n")),
        "address": key(ledger, BASE, "A.", tact, spec=parse_spec("http://127.0.0.1:2/v1#m")),
        "sample": key(ledger, BASE, "A.", tact, sample=1),
        "occasion": key(
            ledger, BASE, "A.", tact, score_settings=ScoreSettings(occasion="2026-11-21")
        ),
        "temperature": key(
            ledger, BASE, "A.", tact,
            score_settings=ScoreSettings(decoding=Decoding(temperature=0.0)),
        ),
        "output": key(
            ledger, BASE, "A.", tact, capabilities=Capabilities(output_mode=OutputMode.TEXT)
        ),
    }  # fmt: skip
    assert len(set(keys.values())) == len(keys)


def test_what_does_not_reach_the_model_is_not_in_the_key(ledger: Ledger) -> None:
    tact = criterion("tact")
    base = key(ledger, BASE, "A.", tact)
    assert base == key(ledger, BASE, "A.", tact, model="someone-else")
    assert base == key(ledger, replace(BASE, question_id="other", domain="general"), "A.", tact)
    assert base == key(ledger, BASE, "A.", replace(tact, priority="P0", baseline="economy"))


@given(JSON)
def test_canonical_json_is_the_same_for_equal_values_in_any_order(value: Any) -> None:
    def shuffled(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: shuffled(node[name]) for name in reversed(list(node))}
        return [shuffled(item) for item in node] if isinstance(node, list) else node

    assert canonical(value) == canonical(shuffled(value))
    assert orjson.loads(canonical(value)) == value
    assert len(digest(value)) == 16


@given(TEXT, TEXT)
def test_text_hashes_tell_texts_apart(first: str, second: str) -> None:
    assert (text_hash(first) == text_hash(second)) == (first == second)
