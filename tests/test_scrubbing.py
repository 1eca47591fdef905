"""Scrubbing: what is found, what is left alone, and placeholders that mean the same throughout."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.errors import UsageError
from sft.records import ROWS
from sft.scrubbing import KINDS, find_in, scrub, scrub_text
from sft.settings import ScrubSettings
from tests.bench._scrubbing import measured
from tests.personal_data_set import cases, hard_negatives

DEFAULT = ScrubSettings()


def rows(*conversations: list[str], source: str = "s") -> pl.DataFrame:
    """A row per conversation; its texts are the user's and the assistant's in turn."""
    return pl.DataFrame(
        [
            {
                "row_id": str(number), "source": source, "file": "f", "line": number + 1,
                "language": "en",
                "messages": [
                    {"role": ("user", "assistant")[turn % 2], "content": text}
                    for turn, text in enumerate(texts)
                ],
            }
            for number, texts in enumerate(conversations)
        ],
        schema=dict(ROWS),
    )  # fmt: skip


def contents(frame: pl.DataFrame) -> list[list[str]]:
    return [[message["content"] for message in row] for row in frame["messages"]]


class TestFinds:
    """Floors below what was measured; `python -m tests.bench scrubbing` prints the figures."""

    def test_the_development_set_is_found_whole(self) -> None:
        result = measured("development")
        assert result.recall == 1
        assert result.false_alarms == 0

    def test_most_of_the_held_out_set_is_found(self) -> None:
        result = measured("held-out")
        assert sum(tally.planted for tally in result.by_kind.values()) >= 500
        assert result.recall >= 0.93
        assert result.precision >= 0.99
        assert result.negatives >= 150
        assert result.false_alarms <= 4

    def test_the_sets_have_forms_and_both_languages(self) -> None:
        held_out = cases("held-out")
        assert len({case.form for case in held_out}) >= 60
        assert {case.language for case in held_out} == {"en", "zh"}
        for case in held_out:
            assert case.planted is not None
            assert case.text[case.planted.start : case.planted.end].strip()
        assert all(case.planted is None for case in hard_negatives("held-out"))

    @pytest.mark.parametrize(
        "text",
        [
            "Ask at support@example.com or git@github.com:org/repo.git.",
            "@property\ndef name(self): ...",
            "npm install @angular/core, then open http://127.0.0.1:8000/ or 192.168.0.10.",
            "Released on 2024-05-17, version 3.11.7.2; see ISBN 978-3-16-148410-0.",
            "Press 1 2 3 4 5 6 7 8 9 in this order.",
            "password: your_password, token = os.environ['TOKEN'], api_key: <YOUR_API_KEY>",
            "订单编号 20240517123456 已发货，金额 1299.00 元。",
        ],
    )
    def test_look_alikes_stay(self, text: str) -> None:
        assert scrub_text(text, DEFAULT) == text

    @pytest.mark.parametrize(
        ("text", "after"),
        [
            ("写信给li.na@post.cn吧", "写信给[EMAIL_1]吧"),
            ("我的身份证号是11010519491231002X。", "我的身份证号是[ID_1]。"),
            ("SSN 536-90-4399", "SSN [ID_1]"),
            ("Card 4111-1111-1111-1111, thanks", "Card [CARD_1], thanks"),
            ("GB82 WEST 1234 5698 7654 32 is mine", "[IBAN_1] is mine"),
            ("from 203.0.113.9 and 45.60.7.8", "from 203.0.113.9 and [IP_1]"),  # one is reserved
            ("psql postgres://ann:s3cret9@db/x", "psql postgres://[CREDENTIALS_1]@db/x"),
            ("anna [at] post [dot] cn", "[EMAIL_1]"),
            ("密码：hunter2024", "密码：[KEY_1]"),
            ("born on 3 May 1984 in Ulm", "born on [BIRTH_DATE_1] in Ulm"),
        ],
    )
    def test_by_hand(self, text: str, after: str) -> None:
        assert scrub_text(text, DEFAULT) == after

    def test_a_private_key_goes_whole(self) -> None:
        key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----"
        assert scrub_text(f"here:\n{key}\nbye", DEFAULT) == "here:\n[KEY_1]\nbye"

    def test_check_digits_decide(self) -> None:
        for wrong in ("4111 1111 1111 1112", "GB82 WEST 1234 5698 7654 33", "110105194912310021"):
            assert not [f for f in find_in(f"It is {wrong}.", DEFAULT) if f.kind != "phone"]


class TestPlaceholders:
    def test_the_same_datum_has_the_same_one_in_all_turns(self) -> None:
        frame = rows(
            ["Write to A.B@post.cn or c@post.cn.", "Sent to a.b@post.cn.", "And C@post.cn?", "Yes."]
        )
        assert contents(scrub(frame, DEFAULT).kept) == [
            ["Write to [EMAIL_1] or [EMAIL_2].", "Sent to [EMAIL_1].", "And [EMAIL_2]?", "Yes."]
        ]

    def test_ways_of_writing_a_number_are_one_number(self) -> None:
        text = "Call (415) 655-2671, that is +1 415-655-2671."
        assert scrub_text(text, DEFAULT) == "Call [PHONE_1], that is [PHONE_1]."

    def test_placeholders_that_are_there_keep_their_numbers(self) -> None:
        frame = rows(["[EMAIL_3] wrote to me@post.cn", "and [PHONE] called"])
        assert contents(scrub(frame, DEFAULT).kept) == [
            ["[EMAIL_3] wrote to [EMAIL_4]", "and [PHONE] called"]
        ]

    def test_conversations_do_not_know_of_each_other(self) -> None:
        frame = rows(["a@post.cn", "."], ["b@post.cn", "."])
        assert contents(scrub(frame, DEFAULT).kept) == [["[EMAIL_1]", "."], ["[EMAIL_1]", "."]]


class TestSettings:
    def test_only_the_kinds_that_are_named(self) -> None:
        only = ScrubSettings(kinds=("phone",))
        text = "a@post.cn, +86 138 1234 5678"
        assert scrub_text(text, only) == "a@post.cn, [PHONE_1]"

    def test_what_is_kept(self) -> None:
        mine = ScrubSettings(keep=("help@acme.io",))
        assert scrub_text("help@acme.io, a@acme.io", mine) == "help@acme.io, [EMAIL_1]"

    def test_regions(self) -> None:
        text = "Tel: 044 668 18 00"
        assert scrub_text(text, ScrubSettings(regions=("CH",))) == "Tel: [PHONE_1]"

    def test_names_need_a_model_that_is_there(self) -> None:
        named = ScrubSettings(names_model="no_such_model")
        with pytest.raises(UsageError, match="names_model"):
            scrub_text("Ann wrote.", named)

    def test_names_by_a_model(self, tmp_path: Path) -> None:
        spacy = pytest.importorskip("spacy")
        pipeline = spacy.blank("en")
        ruler = pipeline.add_pipe("entity_ruler")
        ruler.add_patterns([{"label": "PERSON", "pattern": "Ann Lee"}])
        pipeline.to_disk(tmp_path / "m")
        named = ScrubSettings(names_model=str(tmp_path / "m"))
        frame = rows(["I am Ann Lee.", "Hello, Ann Lee, at a@post.cn."])
        assert contents(scrub(frame, named).kept) == [
            ["I am [NAME_1].", "Hello, [NAME_1], at [EMAIL_1]."]
        ]


class TestStep:
    def test_rows_finds_and_examples_are_counted(self) -> None:
        frame = rows(["a@post.cn b@post.cn", "."], ["c@post.cn", "+86 138 1234 5678"], ["x", "y"])
        result = scrub(frame, DEFAULT)
        assert len(result.removed) == 0
        assert result.kept["row_id"].to_list() == ["0", "1", "2"]
        assert dict(result.changed) == {("s", "email"): 2, ("s", "phone"): 1}
        assert dict(result.found) == {("s", "email"): 3, ("s", "phone"): 1}
        (first, *_) = result.examples
        assert first.before == "[email: 9 characters] [email: 9 characters]"
        assert first.after == "[EMAIL_1] [EMAIL_2]"
        assert not any("post.cn" in e.before + (e.after or "") for e in result.examples)

    def test_no_rows(self) -> None:
        assert len(scrub(rows(), DEFAULT).kept) == 0

    def test_the_prefilter_hides_nothing(self) -> None:
        texts = [case.text for case in cases("held-out")] + [
            case.text for case in cases("development")
        ]
        frame = scrub(rows(*([text] for text in texts)), DEFAULT).kept
        assert [c[0] for c in contents(frame)] == [scrub_text(text, DEFAULT) for text in texts]

    pieces = st.sampled_from(
        [
            "a.b@post.cn", "+86 138 1234 5678", "4111 1111 1111 1111", "password: hunter22x",
            "@ann_9", "[EMAIL_1]", "GB82WEST12345698765432", "203.0.113.9", "45.60.7.8", " ", ", ",
            "电话", "x", "1", "-", "11010519491231002X", "https://u9:p9@h.io/", "\n", "u/ann_lee",
            "(415) 655-2671",
        ]
    )  # fmt: skip

    @given(st.lists(pieces, max_size=12).map("".join))
    @settings(max_examples=300, deadline=None)
    def test_scrubbing_twice_changes_nothing(self, text: str) -> None:
        once = scrub_text(text, DEFAULT)
        assert scrub_text(once, DEFAULT) == once

    @given(st.text(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_any_text_has_finds_that_do_not_overlap(self, text: str) -> None:
        at = 0
        for find in find_in(text, DEFAULT):
            assert at <= find.start < find.end <= len(text)
            assert find.kind in KINDS
            at = find.end

    @pytest.mark.timeout(120)
    @pytest.mark.parametrize(
        "unit",
        ["1", "1 ", "1-", "a@", "a.", "a@a.", "A1", "A ", "(1", "+", "password ", "password=a",
         "sk-", "http://a:", "u/", "1:", "[at]", "passport ", "born ", "eyJa.", "用户名", "x.com/"],
    )  # fmt: skip
    def test_long_texts_without_end_take_no_for_ever(self, unit: str) -> None:
        scrub_text(unit * (100_000 // len(unit)), DEFAULT)


def test_placeholders_are_those_that_are_documented() -> None:
    page = (Path(__file__).parent.parent / "docs" / "blending.md").read_text()
    for case in cases("development"):
        for label in re.findall(r"\[([A-Z_]+)_\d+\]", scrub_text(case.text, DEFAULT)):
            assert f"`{label}`" in page
