"""Cleaning of frames: no row is lost, none depends on another, and twice is as good as once."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from sft.cleaning import CHANGES, REASONS, clean
from sft.cleaning._tallies import excerpts
from sft.records import MOST_EXAMPLES, REMOVED, ROWS
from sft.settings import CleanSettings
from tests.cleaning_rows import DISTINCT, Talk, cleaned, exchange, frame, source, talks_of

SOURCES = {"tales": source("tales", "en", "zh"), "songs": source("songs")}
SETTINGS = CleanSettings(min_answer_chars=3, max_chars=400)
PIECES = [
    *("The panda eats bamboo. ", "大熊猫吃竹子。", "Les pandas mangent du bambou. ", "panda " * 60),
    *("Ã¶", "â€™", "\r\n", "\u200b", "\u00a0", "e\u0301", " ", "\n\n\n\n", "\x00", "\ufffd\ufffd"),
    *("```\nx = 1  \n```\n", "x = y;\n", "ha" * 101, "utf-8", "🐼\ufe0f", "\U00020000", "\u0301"),
]
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=8), max_size=6).map("".join)
ORDERLY = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=2).map(
    lambda pairs: [turn for pair in pairs for turn in exchange(*pair)]
)
DISORDERLY = st.lists(
    st.tuples(st.sampled_from(["system", "user", "assistant"]), TEXTS), max_size=5
)
FRAMES = st.tuples(
    st.lists(ORDERLY | DISORDERLY, max_size=5), st.lists(ORDERLY | DISORDERLY, max_size=2)
).map(lambda both: pl.concat([frame(both[0], "tales"), frame(both[1], "songs")]))


@given(FRAMES)
def test_every_row_is_kept_or_removed_in_order(rows: pl.DataFrame) -> None:
    rows = rows.with_columns(pl.format("r{}", pl.int_range(pl.len()) + 10).alias("row_id"))
    result = clean(rows, SOURCES, SETTINGS)
    kept, removed = result.kept["row_id"].to_list(), result.removed["row_id"].to_list()
    assert sorted(kept + removed) == rows["row_id"].to_list()
    assert kept == sorted(kept)
    assert removed == sorted(removed)
    assert result.kept.schema == dict(ROWS)
    assert result.removed.schema == dict(REMOVED)
    assert set(result.removed["reason"]) <= set(REASONS)
    assert {kind for _, kind in result.changed} <= set(CHANGES)
    assert_frame_equal(
        result.removed.select(*ROWS), rows.filter(pl.col("row_id").is_in(removed)).select(*ROWS)
    )


@given(FRAMES)
def test_cleaning_what_was_kept_changes_nothing(rows: pl.DataFrame) -> None:
    once = clean(rows, SOURCES, SETTINGS)
    twice = clean(once.kept, SOURCES, SETTINGS)
    assert_frame_equal(twice.kept, once.kept)
    assert not twice.changed
    assert not twice.examples
    assert twice.found == once.found


@given(FRAMES, st.integers(0, 7))
def test_the_outcome_does_not_depend_on_how_rows_are_cut_into_frames(
    rows: pl.DataFrame, cut: int
) -> None:
    whole = clean(rows, SOURCES, SETTINGS)
    parts = [clean(part, SOURCES, SETTINGS) for part in (rows[:cut], rows[cut:])]
    assert_frame_equal(whole.kept, pl.concat(part.kept for part in parts))
    assert_frame_equal(whole.removed, pl.concat(part.removed for part in parts))
    assert whole.changed == parts[0].changed + parts[1].changed
    assert whole.found == parts[0].found + parts[1].found


def test_kept_turns_are_in_order_and_hold_text() -> None:
    talk = [
        ("user", "Hi"),
        ("system", ""),
        ("user", " there "),
        ("assistant", "Hi!"),
        ("user", "?"),
    ]
    assert talks_of(cleaned(talk).kept) == [[("user", "Hi\n\nthere"), ("assistant", "Hi!")]]


def test_a_frame_without_rows() -> None:
    result = cleaned()
    assert result.kept.schema == dict(ROWS)
    assert result.removed.schema == dict(REMOVED)
    assert len(result.kept) == len(result.removed) == 0


def test_a_row_counts_once_for_each_kind_of_change() -> None:
    talk: Talk = [("user", " Who?\r\n"), ("assistant", " Me.\r\n"), ("user", "Thanks.")]
    result = cleaned(talk, talk)
    assert result.changed == {
        ("tales", "line_ends"): 2,
        ("tales", "white_space"): 2,
        ("tales", "unanswered_prompt"): 2,
    }


def test_examples_show_the_place_that_changed() -> None:
    words = " ".join(DISTINCT)
    talk = exchange("Who said this?", f"{words} It was schÃ¶n, she said. {words[::-1]}")
    (example,) = cleaned(talk).examples
    assert (example.source, example.kind, example.place) == ("tales", "mojibake", "tales.jsonl:1")
    # 29 + len(" It was sch") = 40 = len("n, she said. ") + 27
    assert example.before == f"…{words[-29:]} It was schÃ¶n, she said. {words[::-1][:27]}…"
    assert example.after == f"…{words[-29:]} It was schön, she said. {words[::-1][:27]}…"


def test_there_are_no_more_examples_than_a_report_shows() -> None:
    result = cleaned(*[exchange("Who?", "It was\u200b me.")] * (MOST_EXAMPLES + 2))
    assert result.changed["tales", "invisible_characters"] == MOST_EXAMPLES + 2
    assert [example.place for example in result.examples] == [
        f"tales.jsonl:{line}" for line in range(1, MOST_EXAMPLES + 1)
    ]


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("pan\u200bda", "panda", ("pan⟦U+200B⟧da", "panda")),
        ("one  \ntwo", "one\ntwo", ("one␣␣\ntwo", "one\ntwo")),
        ("  one", "one", ("␣␣one", "one")),
        ("a" * 100 + "\r\n", "a" * 100, ("…" + "a" * 40 + "⟦U+000D⟧\n", "…" + "a" * 40)),
        ("a" + "b" * 400, "a" + "c" * 400, ("a" + "b" * 159 + "…", "a" + "c" * 159 + "…")),
    ],
)
def test_excerpts_make_the_invisible_visible(
    before: str, after: str, shown: tuple[str, str]
) -> None:
    assert excerpts(before, after) == shown


def test_row_ids_and_places_stay_with_their_rows() -> None:
    rows = frame([exchange("Who?", " A\u200b panda. "), exchange("Where?", "In China.")])
    result = clean(rows, SOURCES, CleanSettings())
    assert_frame_equal(
        result.kept.select("row_id", "source", "file", "line"),
        rows.select("row_id", "source", "file", "line"),
    )


def test_a_source_that_is_not_described_is_a_fault_of_the_caller() -> None:
    rows = frame([exchange("Who?", "Me.")], "unheard")
    with pytest.raises(ValueError, match="rows of sources that are not described: unheard"):
        clean(rows, SOURCES, CleanSettings())
