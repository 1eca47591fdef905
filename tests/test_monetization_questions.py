"""The shipped question set: the 45 questions of arXiv 2310.04945, Appendix A."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]


def load_yaml(path: Path) -> Any:
    """The content of a YAML file."""
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


DOCUMENT: dict[str, Any] = load_yaml(ROOT / "prompts/questions/monetization.yaml")
QUESTIONS: list[dict[str, Any]] = DOCUMENT["questions"]
BY_ID = {entry["question_id"]: entry for entry in QUESTIONS}


def keywords_of(entry: dict[str, Any]) -> list[list[str]]:
    """Lists of alternatives: those of the required facts and those of the `mentions` checks."""
    facts = [fact["keywords"] for fact in entry.get("required_facts", [])]
    return facts + [check["any"] for check in checks_of(entry, "mentions")]


def checks_of(entry: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The checks of one kind."""
    return [check for check in entry.get("checks", []) if check["kind"] == kind]


def says(text: str, term: str) -> bool:
    """Whether a text holds a term as whole words; Chinese characters need no word boundary."""
    pattern = rf"(?<![a-z0-9]){re.escape(term.casefold())}(?![a-z0-9])"
    return re.search(pattern, text.casefold()) is not None


def primes_up_to(limit: int) -> list[int]:
    """Primes by the sieve of Eratosthenes."""
    is_prime = [False, False] + [True] * (limit - 1)
    for number in range(2, limit + 1):
        if is_prime[number]:
            for multiple in range(number * number, limit + 1, number):
                is_prime[multiple] = False
    return [number for number, prime in enumerate(is_prime) if prime]


def test_valid_against_the_schema() -> None:
    schema = json.loads((ROOT / "judge/schemas/questions.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(DOCUMENT)


def test_45_questions_each_once_and_in_order() -> None:
    ids = [entry["question_id"] for entry in QUESTIONS]
    assert ids == [f"monetization-{number:02d}" for number in range(1, 46)]
    assert len({entry["question"] for entry in QUESTIONS}) == 45


def test_counts_by_domain_and_category() -> None:
    counts = Counter((entry["domain"], entry["category"]) for entry in QUESTIONS)
    assert counts == {
        ("general", "interactive"): 5,
        ("general", "math and logic"): 3,
        ("general", "creative"): 2,
        ("general", "multilingual"): 1,
        ("in_domain", "term explanation"): 6,
        ("in_domain", "operational guidance"): 10,
        ("in_domain", "classification"): 7,
        ("in_domain", "generation"): 11,
    }


def test_only_the_panda_is_wanted_in_chinese() -> None:
    languages = {entry["question_id"]: entry["language"] for entry in QUESTIONS}
    assert languages.pop("monetization-45") == "zh"
    assert set(languages.values()) == {"en"}


def test_references_wherever_there_is_something_to_refer_to() -> None:
    without = {entry["category"] for entry in QUESTIONS if "reference" not in entry}
    assert without == {"interactive", "creative"}
    assert sum("reference" in entry for entry in QUESTIONS) == 38
    for entry in QUESTIONS:
        if entry["domain"] == "in_domain":
            assert "reference" in entry or "required_facts" in entry, entry["question_id"]


def test_explanations_guidance_and_ten_item_lists_name_two_to_five_facts() -> None:
    for entry in QUESTIONS:
        wants_facts = entry["category"] in ("term explanation", "operational guidance") or any(
            check.get("max") for check in checks_of(entry, "list_items")
        )
        if wants_facts or "required_facts" in entry:
            assert 2 <= len(entry["required_facts"]) <= 5, entry["question_id"]


def test_keywords_are_lower_case_distinct_and_not_blank() -> None:
    for entry in QUESTIONS:
        for alternatives in keywords_of(entry):
            assert alternatives
            assert len(set(alternatives)) == len(alternatives), entry["question_id"]
            for keyword in alternatives:
                assert keyword.strip() == keyword != ""
                assert keyword == keyword.lower(), keyword


def test_an_echo_of_the_question_states_no_fact() -> None:
    for entry in QUESTIONS:
        for alternatives in keywords_of(entry):
            echoed = [keyword for keyword in alternatives if says(entry["question"], keyword)]
            assert not echoed, entry["question_id"]


def test_the_reference_states_every_fact_and_passes_the_checks_on_terms() -> None:
    for entry in QUESTIONS:
        if "reference" not in entry:
            continue
        for alternatives in keywords_of(entry):
            assert any(says(entry["reference"], keyword) for keyword in alternatives), (
                entry["question_id"],
                alternatives,
            )
        for check in checks_of(entry, "avoids"):
            assert not any(says(entry["reference"], term) for term in check["terms"])
        for check in checks_of(entry, "list_items"):
            items = re.findall(r"^(?:-|\d+\.) ", entry["reference"], re.MULTILINE)
            assert check["min"] <= len(items) <= check.get("max", len(items)), entry["question_id"]


def test_criteria_of_checks_exist_in_the_rubric() -> None:
    rubric = load_yaml(ROOT / "rubrics/communication.yaml")
    ids = {criterion["id"] for criterion in rubric["criteria"]}
    for entry in QUESTIONS:
        for check in entry.get("checks", []):
            assert set(check["criteria"]) <= ids, entry["question_id"]


def test_primes_are_the_25_primes_within_100() -> None:
    entry = BY_ID["monetization-07"]
    (check,) = entry["checks"]
    primes = primes_up_to(100)
    assert len(primes) == 25
    assert check["kind"] == "number_set"
    assert check["numbers"] == primes
    assert [int(number) for number in entry["reference"].split(",")] == primes


def test_quotient_of_9_and_3() -> None:
    (check,) = BY_ID["monetization-08"]["checks"]
    assert (check["kind"], check["value"]) == ("number", 3)


@pytest.mark.parametrize("question_id", ["monetization-30", "monetization-31", "monetization-37"])
def test_labels_are_those_of_the_question_and_the_expected_ones_among_them(
    question_id: str,
) -> None:
    entry = BY_ID[question_id]
    (check,) = checks_of(entry, "label")
    assert all(label in entry["question"] for label in check["labels"])
    assert set(check["expected"]) < set(check["labels"])


@pytest.mark.parametrize("question_id", ["monetization-28", "monetization-36", "monetization-42"])
def test_ten_items_are_counted_where_ten_are_asked_for(question_id: str) -> None:
    entry = BY_ID[question_id]
    assert " 10 " in entry["question"]
    (check,) = checks_of(entry, "list_items")
    assert (check["min"], check["max"]) == (10, 10)


@pytest.mark.parametrize("question_id", ["monetization-40", "monetization-41"])
def test_rewrites_must_avoid_what_the_original_claims(question_id: str) -> None:
    entry = BY_ID[question_id]
    (check,) = checks_of(entry, "avoids")
    assert any(says(entry["question"], term) for term in check["terms"])


def test_more_than_1000_words() -> None:
    (check,) = BY_ID["monetization-43"]["checks"]
    assert (check["kind"], check["min"]) == ("words", 1001)
