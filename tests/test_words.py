"""Comparison tokens: what counts as one, what is folded away, and hashes that never change."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.words import Tokens, fold, mixed, tokens_of, turns, window_hashes

ALPHABET = "aZéß9_ .,-'\n\u0301\u00ad你好々がァราहि한Ａ①ﬁΣ😀"
UNSPACED = ("CJK UNIFIED", "IDEOGRAPHIC", "HIRAGANA", "KATAKANA", "THAI")


def tokens(*texts: str) -> Tokens:
    """Tokens of texts as they are written."""
    return tokens_of(fold(pl.Series(texts, dtype=pl.String)))


def words(text: str) -> list[str]:
    """The tokens of one text."""
    return tokens(text).words(0)


def words_one_by_one(folded: str) -> list[str]:
    """The definition, character by character."""
    found: list[str] = []
    open_word = False
    for char in folded:
        category = unicodedata.category(char)
        alone = unicodedata.name(char, "").startswith(UNSPACED) and category != "Nd"
        if category[0] not in "LNM":
            open_word = False
        elif alone or not open_word:
            found.append(char)
            open_word = not alone
        else:
            found[-1] += char
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop: 3.14, x_y!", ["don", "t", "stop", "3", "14", "x", "y"]),
        ("ＦＵＬＬ－Width ①", ["full", "width", "1"]),
        ("STRASSE Straße", ["strasse", "strasse"]),
        ("ΣΊΣΥΦΟΣ σίσυφος", ["σίσυφοσ", "σίσυφοσ"]),
        ("cafe\u0301 café", ["café", "café"]),
        ("ad\u200bver\u00adtise", ["advertise"]),  # zero-width space, soft hyphen
        ("广告group审核3月", ["广", "告", "group", "审", "核", "3", "月"]),
        ("ありがとう、カタカナ", list("ありがとうカタカナ")),
        ("ราคา", list("ราคา")),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("광고 심사", ["광고", "심사"]),
        ("😀 … -- !", []),
        ("", []),
    ],
)
def test_tokens_of_examples(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(ALPHABET))
def test_tokens_are_as_defined(text: str) -> None:
    (folded,) = fold(pl.Series([text], dtype=pl.String))
    assert words(text) == words_one_by_one(folded)


@given(st.lists(st.text(ALPHABET), max_size=6))
def test_a_text_has_the_same_tokens_in_any_company(texts: list[str]) -> None:
    together = tokens(*texts)
    assert len(together.offsets) == len(texts) + 1
    for index, text in enumerate(texts):
        alone = tokens(text)
        assert together.words(index) == alone.words(0)
        mine = slice(together.offsets[index], together.offsets[index + 1])
        np.testing.assert_array_equal(together.hashes[mine], alone.hashes)
        np.testing.assert_array_equal(together.characters[mine], alone.characters)


@given(st.text(ALPHABET), st.text(ALPHABET))
def test_tokens_share_a_hash_just_where_they_are_equal(one: str, other: str) -> None:
    both = tokens(one, other)
    every = both.words(0) + both.words(1)
    assert len(set(zip(every, both.hashes.tolist(), strict=True))) == len(set(every))
    assert len(set(both.hashes.tolist())) == len(set(every))


def test_case_width_and_punctuation_do_not_count() -> None:
    one = tokens("Why were my ad groups rejected?")
    other = tokens("ＷＨＹ were -- my “Ad Groups”\nREJECTED!!")
    np.testing.assert_array_equal(one.hashes, other.hashes)


def test_long_texts_are_hashed_as_short_ones_are() -> None:
    # 400,000 characters are more than are hashed at a time.
    long = tokens("word " * 80_000, "other", "")
    assert np.diff(long.offsets).tolist() == [80_000, 1, 0]
    assert set(long.hashes[:80_000].tolist()) == set(tokens("word").hashes.tolist())
    assert long.words(0, 79_999) == ["word"]


def test_a_run_of_marks_takes_no_quadratic_time() -> None:
    text = "a" + "\u0301\u0323\u0316\u0308" * 50_000  # minutes in Python's own normalisation
    assert len(words(text)) == 1


def finalised(value: int) -> int:
    """SplitMix64's last steps, in integers without bounds."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        value = (value ^ value >> shift) * factor % 2**64
    return value


def test_hashes_are_the_published_formula() -> None:
    # Stored fingerprints and the choice of who stays rest on these: they must never change.
    base = 0x9E3779B97F4A7C15
    by_hand = [
        finalised((sum(ord(c) * base**i for i, c in enumerate(word)) + len(word)) % 2**64)
        for word in ("not", "toy", "广")
    ]
    assert tokens("Not TOY 广").hashes.tolist() == by_hand
    token_base = 0xD6E8FEB86659FD93
    pairs = [finalised((one * token_base + other) % 2**64) for one, other in pairwise(by_hand)]
    assert window_hashes(tokens("not toy 广").hashes, 2).tolist() == pairs


def test_mixing_is_known_and_loses_nothing() -> None:
    # The first output of SplitMix64 from seed 0 (Steele, Lea, Flood 2014) is mix(golden gamma).
    assert int(mixed(np.array([0x9E3779B97F4A7C15], np.uint64))[0]) == 0xE220A8397B1DCDAF
    assert len(np.unique(mixed(np.arange(100_000, dtype=np.uint64)))) == 100_000


def test_windows_at_places_are_those_of_all_places() -> None:
    hashes = tokens("a b c d e f").hashes
    every = window_hashes(hashes, 3)
    assert len(every) == 4
    np.testing.assert_array_equal(window_hashes(hashes, 3, np.array([3, 0])), every[[3, 0]])
    assert len(window_hashes(hashes, 7)) == 0
    assert window_hashes(tokens("a b").hashes, 2) != window_hashes(tokens("b a").hashes, 2)


def test_turns_are_numbered_within_their_rows() -> None:
    message = pl.Struct({"role": pl.String, "content": pl.String})
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = pl.DataFrame({"messages": [talk, [], talk[:1]]}, schema={"messages": pl.List(message)})
    assert turns(rows).rows() == [
        (0, 0, "user", "q"),
        (0, 1, "assistant", "a"),
        (2, 0, "user", "q"),
    ]
    assert turns(rows.clear()).rows() == []
