"""The order of turns: one system message at most, then prompts and answers in turn."""

from __future__ import annotations

import pytest

from sft.settings import CleanSettings
from tests.cleaning_rows import Talk, cleaned, exchange, reason_for, talks_of

ASK, ANSWER = ("user", "Where do pandas live?"), ("assistant", "In bamboo forests.")
SYSTEM = ("system", "Be brief.")


@pytest.mark.parametrize("talk", [[ASK, ANSWER], [SYSTEM, ASK, ANSWER], [ASK, ANSWER, ASK, ANSWER]])
def test_turns_in_order_stay(talk: Talk) -> None:
    result = cleaned(talk)
    assert talks_of(result.kept) == [talk]
    assert not result.changed
    assert not result.examples


@pytest.mark.parametrize(
    ("kind", "before", "after"),
    [
        (
            "joined_system",
            [SYSTEM, ("system", "Be kind."), ASK, ANSWER],
            [("system", "Be brief.\n\nBe kind."), ASK, ANSWER],
        ),
        ("empty_system", [("system", ""), ASK, ANSWER], [ASK, ANSWER]),
        ("empty_system", [ASK, ("system", ""), ANSWER], [ASK, ANSWER]),
        (
            "joined_prompts",
            [ASK, ("user", "And what do they eat?"), ANSWER],
            [("user", "Where do pandas live?\n\nAnd what do they eat?"), ANSWER],
        ),
        ("unanswered_prompt", [ASK, ANSWER, ("user", "Thanks!")], [ASK, ANSWER]),
        ("unanswered_prompt", [ASK, ANSWER, ("user", "Thanks!"), ("user", "")], [ASK, ANSWER]),
    ],
)
def test_what_needs_no_guessing_is_mended(kind: str, before: Talk, after: Talk) -> None:
    result = cleaned(before)
    assert talks_of(result.kept) == [after]
    assert result.changed == {("tales", kind): 1}
    assert [example.kind for example in result.examples] == [kind]


@pytest.mark.parametrize(
    ("reason", "talk"),
    [
        ("no_prompt", []),
        ("no_prompt", [SYSTEM]),
        ("no_prompt", [ANSWER]),
        ("no_prompt", [SYSTEM, ANSWER, ASK, ANSWER]),
        ("no_answer", [ASK]),
        ("no_answer", [SYSTEM, ASK, ASK]),
        ("empty_prompt", exchange("", "In bamboo forests.")),
        ("empty_prompt", exchange(" \u200b\n", "In bamboo forests.")),
        ("empty_answer", exchange("Where do pandas live?", "")),
        ("empty_answer", exchange("Where do pandas live?", "\u00a0\ufeff \r\n")),
        ("empty_answer", [ASK, ANSWER, ASK, ("assistant", "")]),
        ("misplaced_system", [ASK, SYSTEM, ANSWER]),
        ("misplaced_system", [ASK, ANSWER, SYSTEM]),
        ("consecutive_answers", [ASK, ANSWER, ("assistant", "In China.")]),
    ],
)
def test_what_could_only_be_guessed_is_removed(reason: str, talk: Talk) -> None:
    assert reason_for(talk) == reason


def test_a_removed_row_comes_out_as_it_came_in_and_counts_no_change() -> None:
    talk = [("user", " Where?\r\n"), ("assistant", "There."), ("assistant", "Or there.")]
    result = cleaned(talk)
    assert talks_of(result.removed) == [talk]
    assert result.removed["step"].item() == "clean"
    assert result.removed["detail"].item() == (
        "turns 2 and 3 are both of the assistant: two parts, or two alternatives"
    )
    assert not result.changed
    assert not result.examples


def test_an_unknown_role_is_a_fault_of_the_caller() -> None:
    with pytest.raises(ValueError, match="row 0 has the role 'tool'"):
        cleaned([ASK, ("tool", "{}"), ANSWER])


def test_the_longest_answer_decides_whether_answers_are_too_short() -> None:
    settings = CleanSettings(min_answer_chars=5)
    assert reason_for(exchange("2 + 2?", "Four"), settings=settings) == "short_answer"
    assert reason_for(exchange("2 + 2?", "Four!"), settings=settings) is None
    # A long conversation may hold a "Yes."
    assert reason_for([ASK, ("assistant", "Yes."), ASK, ANSWER], settings=settings) is None


def test_all_turns_count_for_the_length_of_a_conversation() -> None:
    talk = [SYSTEM, ASK, ANSWER]  # 9 + 21 + 18 characters
    assert reason_for(talk, settings=CleanSettings(max_chars=48)) is None
    assert reason_for(talk, settings=CleanSettings(max_chars=47)) == "too_long"
    # White space that goes anyway does not count.
    padded = [SYSTEM, ASK, ("assistant", f"   {ANSWER[1]}\n\n")]
    assert reason_for(padded, settings=CleanSettings(max_chars=48)) is None
