"""Repair of texts: what no reader meant to be there goes, and everything else stays."""

from __future__ import annotations

import polars as pl
import pytest
from ftfy.badness import is_bad
from hypothesis import given
from hypothesis import strategies as st

from sft.cleaning._repair import mend, suspect
from sft.cleaning._structure import Turn
from tests.cleaning_rows import answer_after, cleaned, exchange, kinds_after, reason_for, talks_of

TEXTS = [
    "a naïve café, déjà vu à la carte",
    "It’s “fine” – really…",
    "schön, größer, Übung",
    "10 € für alles",
    "Здравствуйте, мир",
    "大熊猫吃竹子。",
    "こんにちは世界",
    "ação é não",
    "👍 great",
    "العربية لغة جميلة",
    "한국어 문장입니다",
    "Łódź żółć",
]


def read_wrongly(text: str) -> str:
    """UTF-8 read as Windows-1252, whose five gaps are read as controls, as browsers do."""
    return "".join(
        chr(byte) if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else bytes([byte]).decode("cp1252")
        for byte in text.encode()
    )


@pytest.mark.parametrize("text", TEXTS)
def test_text_decoded_in_the_wrong_way_is_decoded_again(text: str) -> None:
    for wrong in (text.encode().decode("latin-1"), read_wrongly(text)):
        assert answer_after(wrong) == text
        assert kinds_after(wrong) == {"mojibake"}


@pytest.mark.parametrize("text", TEXTS)
def test_text_decoded_wrongly_twice_is_repaired(text: str) -> None:
    assert answer_after(read_wrongly(read_wrongly(text))) == text
    assert answer_after(read_wrongly(text.encode().decode("latin-1"))) == text


def test_only_the_lines_that_are_broken_are_decoded_again() -> None:
    assert answer_after("大熊猫 eats bamboo.\nschÃ¶n\n“quoted” — naïve") == (
        "大熊猫 eats bamboo.\nschön\n“quoted” — naïve"
    )


@pytest.mark.parametrize(
    "text",
    [
        "中文“引号”，全角！ＦＵＬＬ　空格……——《书》",
        "ｶﾀｶﾅ「括弧」　全角",
        "The café's “naïve” résumé – £5, 10 €, 20 °C, ½, x², ©",
        "INFORMAÇÃO, AÇÃO, NÃO, CORAÇÃO; SÃO PAULO",
        "Tiếng Việt có dấu: Nguyễn Ái Quốc, Ấn Độ",
        "Łódź, Škoda, Dvořák, ÅSTRÖM, Æsop",
        "« Ça va ? » – Œuvre, l’été",
        "¿Qué tal? ¡Olé! «¡Vámonos!»—y se fue…",
        "Tschüß! Größe: 5'10\" und Â, Ã oder É",
        "Привет, «мир» — ёлка № 5",
        "مرحبا بالعالم، كيف الحال؟",
        "(╯°□°)╯︵ ┻━┻ ʕ•ᴥ•ʔ ¯\\_(ツ)_/¯",
        "ﬁn de siècle: &lt;b&gt; &amp; &nbsp;",
        "√2 ≈ 1.41, ∑ ∫ ≤ ≥ ± × ÷ µ ‰ † ‡",
        "┌──┐\n│ a│\n└──┘",
    ],
)
def test_sound_text_stays_as_it_is(text: str) -> None:
    assert answer_after(text) == text
    assert kinds_after(text) == set()


def test_a_conversation_about_encodings_may_show_wrong_decoding() -> None:
    asked = exchange("Why does Python show Ã© for é?", "The UTF-8 bytes were read as Latin-1: Ã©.")
    assert talks_of(cleaned(asked).kept) == [asked]


def test_line_ends_become_line_feeds() -> None:
    assert answer_after("one\r\ntwo\rthree\u2028four\u2029five\x0csix") == (
        "one\ntwo\nthree\nfour\nfive\nsix"
    )
    assert kinds_after("one\r\ntwo") == {"line_ends"}


def test_controls_and_terminal_colours_go_but_tabs_stay() -> None:
    assert answer_after("a\x00b\x07c\td \x1b[31mred\x1b[0m\x7f.") == "abc\td red."
    assert kinds_after("a\x00b") == {"control_characters"}


@pytest.mark.parametrize(
    "character",
    ["\u200b", "\ufeff", "\u00ad", "\u2060", *map(chr, range(0x202A, 0x202F))]
    + [chr(code) for code in range(0x2066, 0x206A)],
)
def test_invisible_characters_go(character: str) -> None:
    assert answer_after(f"pan{character}da") == "panda"
    assert kinds_after(f"pan{character}da") == {"invisible_characters"}


@pytest.mark.parametrize(
    "text",
    [
        "👩\u200d👩\u200d👧 ❤\ufe0f 🏳\ufe0f\u200d🌈 1\ufe0f⃣",
        "می\u200cخواهم",
        "क\u094d\u200dष श\u094dर\u0940",
        "שלום (abc\u200f)",
    ],
    ids=["emoji", "Persian", "Hindi", "Hebrew"],
)
def test_joiners_and_selectors_stay_where_a_script_or_an_emoji_needs_them(text: str) -> None:
    assert answer_after(text) == text


def test_joiners_between_latin_letters_go() -> None:
    assert answer_after("pan\u200dda\ufe0f") == "panda"


def test_foreign_spaces_become_spaces_and_the_ideographic_one_stays() -> None:
    assert answer_after("10\u00a0km\u2009von\u202fhier\u3000去") == "10 km von hier\u3000去"
    assert kinds_after("10\u00a0km") == {"unicode_spaces"}


def test_decomposed_letters_are_composed() -> None:
    assert answer_after("cafe\u0301 \u1112\u1161\u11ab") == "café \ud55c"
    assert kinds_after("cafe\u0301") == {"normal_form"}


def test_white_space_at_edges_and_line_ends_goes_and_two_blank_lines_remain() -> None:
    assert answer_after("\n \n one  two \t\n\n \n\n\nthree\u3000\n\n") == "one  two\n\n\nthree"
    assert kinds_after(" one") == {"white_space"}


CODE = "def f(x):\n\tif x:   # é e\u0301 Ã©  \n\n\n\n\n\t\treturn  x \n\n\nclass A:\n    pass"


def test_fenced_code_stays_as_it_is() -> None:
    text = f"Here:\n\n```python\n{CODE}\n```\nDone."
    assert answer_after(text) == text
    assert answer_after(f"Read on:\n~~~\n{CODE}  \n~~~\nÃ¼ber") == (
        f"Read on:\n~~~\n{CODE}  \n~~~\nüber"
    )


def test_invisible_characters_in_code_go_and_foreign_spaces_keep_their_width() -> None:
    assert answer_after("So:\n```\nif x:\n\u00a0\u00a0\u00a0\u00a0y\u200b = 1\r\n```") == (
        "So:\n```\nif x:\n    y = 1\n```"
    )


@pytest.mark.parametrize(
    "text",
    [
        "    return x",
        "\treturn x",
        "  x = 1\n  return x",
        "  x = 1\n\n    return x",
        "for x in y:\n        z(x,  1)\n    w()",
        "\u3000\u3000第一段。\n\u3000\u3000第二段。",
    ],
)
def test_indentation_of_code_without_fences_stays(text: str) -> None:
    assert answer_after(text) == text


def test_a_stray_space_before_prose_goes() -> None:
    assert answer_after(" Pandas eat bamboo.\nThey sleep.") == "Pandas eat bamboo.\nThey sleep."
    assert answer_after("\n\n  Pandas.\n- eat\n  - bamboo") == "Pandas.\n- eat\n  - bamboo"


def test_a_lost_character_stays_and_is_counted() -> None:
    result = cleaned(exchange("What did he say?", "He said: caf\ufffd."))
    assert talks_of(result.kept)[0][1][1] == "He said: caf\ufffd."
    assert result.found == {("tales", "replacement_character"): 1}
    assert not result.changed


@pytest.mark.parametrize(("lost", "length", "reason"), [
    (1, 10, None),  # one is no pattern
    (2, 399, "broken_encoding"),  # 2 > 399 / 200
    (2, 400, None),  # 2 = 400 / 200
    (3, 400, "broken_encoding"),
])  # fmt: skip
def test_a_text_with_many_lost_characters_is_removed(
    lost: int, length: int, reason: str | None
) -> None:
    words = " ".join(f"w{number}" for number in range(200))
    text = ("\ufffd" * lost + words)[:length]
    assert reason_for(exchange("Tell me more.", text)) == reason
    assert reason_for(exchange(text, "Here is more.")) == reason


def test_a_conversation_about_encodings_may_show_lost_characters() -> None:
    assert reason_for(exchange("What is U+FFFD in Unicode?", "It looks like \ufffd\ufffd.")) is None


PIECES = [
    *"abeé\u0301\u0300ÃÂ©¤ \n\r\t`~#<>$;{}.\x00\x1b\x85\x93\u00ad\u00a0\ufffd大熊。",
    *"\u0600\u0645🐼\ufe0f\u200b\u200c\u200d\u2003\u2028\u202e\u3000\ufeff\U000e0041\U0001f468",
    *("```", "\n```\n", "~~~", "\n\n\n\n", "\x1b[0m", "utf-8"),
    *("â€™", "Ã¶", "å¤§", "ï»¿", "Ð¿", "Ã\u00a0", "ÃƒÂ¶"),
]
NASTY = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@given(NASTY | st.text(max_size=60))
def test_what_is_not_suspect_needs_no_repair_and_a_repaired_text_needs_none_either(
    text: str,
) -> None:
    turns = (Turn("user", "Go on."), Turn("assistant", text))
    arranged = mend(turns)
    if text and not suspect(pl.Series([text])).item():
        assert arranged.turns == turns
        assert arranged.changes == ()
    if arranged.refusal is None:
        assert mend(arranged.turns) == (arranged.turns, (), None)


@given(NASTY)
def test_everything_that_ftfy_takes_for_wrongly_decoded_is_suspect(text: str) -> None:
    if any(is_bad(line) for line in text.splitlines(keepends=True)):
        assert suspect(pl.Series([text])).item()


@pytest.mark.parametrize(
    "text",
    [
        "a" + " " * 150_000 + "b",
        "a" + "\u0301" * 60_000,
        "\u200b" * 100_000 + "a",
        "`" * 150_000,
        "```" + "x" * 100_000 + "`",
        "Ã" * 30_000,
        "a\n" + "\n" * 150_000 + "b",
        "\x1b[" + "0" * 100_000,
        "<" * 100_000,
        "x = " * 40_000,
        "if (" * 40_000,
    ],
    ids=lambda text: ascii(text[:6]),
)
def test_runs_of_one_thing_take_no_square_of_their_length(text: str) -> None:
    """Each takes well under a second; in quadratic time the test would run into its timeout."""
    result = cleaned(exchange("Please go on with the story.", text))
    assert len(result.kept) + len(result.removed) == 1
