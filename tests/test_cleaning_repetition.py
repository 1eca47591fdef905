"""Repetition: shares counted by hand, and what must not be taken for it."""

from __future__ import annotations

import random
import textwrap

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.cleaning import endless_run, repetition
from sft.cleaning._repetition import Run
from sft.settings import CleanSettings
from tests.cleaning_rows import DISTINCT, cleaned, exchange, reason_for


def test_different_words_do_not_repeat() -> None:
    assert repetition(" ".join(DISTINCT)) == 0


def test_a_loop_of_ten_words() -> None:
    # 60 words have 56 5-grams; in a loop of 10 words, 10 of them differ.
    assert repetition(" ".join(DISTINCT[:10] * 6)) == pytest.approx(46 / 56)


def test_an_answer_given_twice() -> None:
    # 120 words have 116 5-grams: 56 lie in each half, of which the second repeats the first, and 4
    # span both. As lines: half of the characters repeat.
    half = " ".join(DISTINCT[:60])
    assert repetition(f"{half} {half}") == pytest.approx(56 / 116)
    assert repetition(f"{half}\n{half}") == pytest.approx(1 / 2)


def test_n_grams_without_a_letter_are_no_repeats() -> None:
    # 80 words, then 40 zeros: 116 5-grams. The 36 of zeros alone do not count; the words differ.
    assert repetition(" ".join([*DISTINCT, *"0" * 40])) == 0
    # "no 1 no 2 no 1 no 2 ...": 60 tokens, a loop of 4; 56 5-grams, of which 4 differ.
    assert repetition("no 1 no 2 " * 15) == pytest.approx(52 / 56)


def test_characters_of_scripts_without_spaces() -> None:
    # 60 characters have 51 10-grams; in a loop of 20 characters, 20 of them differ.
    loop = "大熊猫生活在中国中部的竹林里每天都吃很多"
    assert len(loop) == 20
    assert repetition(loop * 3) == pytest.approx(31 / 51)
    # White space is no character, so line breaks change nothing.
    assert repetition("\n".join([loop[:9], loop[9:]] * 3)) == pytest.approx(31 / 51)


def test_lines_in_another_order() -> None:
    # 12 lines of 6 words, 3 of them different: 9 of 12 lines are repeats. Of the 68 5-grams only
    # 26 are: 18 of the 24 within a line, and 4 for each of the two boundaries that come twice.
    words = DISTINCT[:18]
    a, b, c = (" ".join(words[first : first + 6]) for first in (0, 6, 12))
    text = "\n".join([a, b, c, a, c, b, a, a, b, b, c, c])
    assert repetition(text) == pytest.approx(9 / 12)
    assert repetition(text.replace("\n", " ")) == pytest.approx(26 / 68)


def test_less_than_fifty_tokens_are_not_judged() -> None:
    assert repetition("word " * 49) == 0
    assert repetition("word " * 50) == pytest.approx(45 / 46)
    assert repetition("好" * 49) == 0
    assert repetition("好" * 50) == pytest.approx(40 / 41)
    assert repetition("") == 0


POEM = """\
The river goes down to the sea, my dear,
The river goes down to the sea.
It carries the leaves of the fading year
And a word that you said to me.

    And the wind blows over the water,
    And the wind blows over the sand.

The miller looks up from his turning stone,
The heron looks up from the reed,
And I on the bank of it, all alone,
Have time and have bread, all I need.

    And the wind blows over the water,
    And the wind blows over the sand.

The evening comes slow with a lantern of red,
The night with a basket of stars,
They ask where you went and I shake my head
And count out the meadows and bars.

    And the wind blows over the water,
    And the wind blows over the sand."""
TABLE = "| name | good | bad |\n|---|---|---|\n" + "| panda | yes | no |\n" * 40
NUMBERS = "\n".join("0 0 0 1 0 0 0 1 0 0" for _ in range(30))
CODE = "```c\n" + '    printf("all the same again and again");\n' * 40 + "```"
LIST = "\n".join(f"{number}. positive" for number in range(1, 80))
STEPS = "\n".join(
    f"{number}. Mix the {name} with the flour and stir for {number + 2} minutes."
    for number, name in enumerate(DISTINCT[:12], start=1)
)


@pytest.mark.parametrize("text", [POEM, TABLE, NUMBERS, CODE, LIST, STEPS])
def test_poems_tables_code_lists_and_numbers_are_kept(text: str) -> None:
    assert len(text.split()) >= 50
    assert repetition(text) <= 0.5
    assert reason_for(exchange("Please go on like this.", text)) is None


def test_the_bound_may_be_reached_but_not_passed() -> None:
    text = "\n".join([" ".join(DISTINCT[:60])] * 2)
    talk = exchange("Please go on like this.", text)
    assert reason_for(talk) is None
    assert reason_for(talk, settings=CleanSettings(max_repetition=0.49)) == "repetition"


def test_only_answers_are_judged_but_all_of_them() -> None:
    loop = "I am a panda and I eat. " * 30
    assert reason_for(exchange(loop, "Nice to meet you, panda.")) is None
    talk = [*exchange("Who are you?", loop), *exchange("And now?", "A panda, as I said.")]
    result = cleaned(talk)
    # 210 words, a loop of 7: 206 5-grams, of which 7 differ.
    assert result.removed["detail"].to_list() == [f"repetition {199 / 206:.2f} (at most 0.5)"]


@pytest.mark.parametrize(
    ("text", "run"),
    [
        ("ha" * 101, Run("ha", 101)),
        ("ha" * 100, None),
        ("Well: " + "ha, " * 150 + "!", Run(" ha,", 150)),
        ("好" * 101, Run("好", 101)),
        ("!" * 101, Run("!", 101)),
        ("🐼" * 101, Run("🐼", 101)),
        (("".join(DISTINCT)[:20]) * 101, Run("".join(DISTINCT)[:20], 101)),
        (("".join(DISTINCT)[:21]) * 101, None),
        ("=" * 500, None),
        ("- " * 500, None),
        ("[" + "0, " * 500 + "0]", None),
        ("Chapter 1 " + "." * 300 + " 7", None),
        ("─" * 200 + "\n" + "└──" * 120, None),
        ("=" * 500 + "\n" + "no" * 120, Run("no", 120)),
        ("```\n" + "A" * 500 + "\n```", None),
        ("", None),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_units_repeated_on_end(text: str, run: Run | None) -> None:
    assert endless_run(text) == run


def test_an_endless_answer_is_removed() -> None:
    result = cleaned(exchange("Please laugh.", "Ho " + "ha" * 200))
    assert result.removed["reason"].to_list() == ["repetition"]
    assert result.removed["detail"].to_list() == ["'ha' 200 times on end"]


@given(
    st.text("abc \n大", max_size=200),
    st.text("xyz好", min_size=1, max_size=20),
    st.integers(101, 110),
    st.text("abc \n大", max_size=200),
)
def test_a_run_is_found_wherever_it_stands(before: str, unit: str, times: int, after: str) -> None:
    run = endless_run(before + unit * times + after)
    assert run is not None
    assert run.times >= times
    assert len(unit) % len(run.unit) == 0


@given(st.lists(st.sampled_from(["a", "b", "7", "-"]), max_size=90))
def test_the_share_of_words_is_what_counting_gives(words: list[str]) -> None:
    grams = [tuple(words[start : start + 5]) for start in range(len(words) - 4)]
    again = sum(
        gram in grams[:place] and ("a" in gram or "b" in gram) for place, gram in enumerate(grams)
    )
    share = again / len(grams) if len(words) >= 50 else 0
    assert repetition(" ".join(words)) == pytest.approx(share)


@given(st.text("大熊", min_size=50, max_size=120))
def test_the_share_of_characters_is_what_counting_gives(text: str) -> None:
    grams = [text[start : start + 10] for start in range(len(text) - 9)]
    again = sum(gram in grams[:place] for place, gram in enumerate(grams))
    assert repetition(text) == pytest.approx(again / len(grams))


def test_ordinary_prose_is_far_from_the_bound() -> None:
    rng = random.Random(3)
    prose = " ".join(rng.choice(DISTINCT[:40]) for _ in range(2000))
    assert repetition(textwrap.fill(prose, 80)) < 0.01
