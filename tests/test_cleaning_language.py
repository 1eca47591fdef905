"""Languages of conversations: what is detected, what is removed, and what is not.

All conversations are invented for these tests.
"""

from __future__ import annotations

import itertools

import pytest

from sft.cleaning import declared_languages
from sft.errors import UsageError
from sft.settings import CleanSettings
from tests.cleaning_rows import Talk, cleaned, exchange, reason_for, source

PANDAS = {
    "en": (
        "Explain how giant pandas live.",
        "Giant pandas live in the bamboo forests of central China, where they spend most of the "
        "day eating. A grown animal needs up to twenty kilograms of bamboo a day.",
    ),
    "zh": (
        "请介绍一下大熊猫的生活习性。",
        "大熊猫生活在中国中部的竹林里，一天中的大部分时间都在进食。成年大熊猫每天需要多达二十公斤的竹子。",
    ),
    "de": (
        "Erkläre, wie Große Pandas leben.",
        "Große Pandas leben in den Bambuswäldern Zentralchinas und fressen dort fast den ganzen "
        "Tag. Ein ausgewachsenes Tier braucht bis zu zwanzig Kilogramm Bambus am Tag.",
    ),
    "fr": (
        "Explique comment vivent les pandas géants.",
        "Les pandas géants vivent dans les forêts de bambous du centre de la Chine, où ils passent "
        "la plus grande partie de la journée à manger.",
    ),
    "es": (
        "Explica cómo viven los pandas gigantes.",
        "Los pandas gigantes viven en los bosques de bambú del centro de China, donde pasan la "
        "mayor parte del día comiendo. Un adulto necesita hasta veinte kilos de bambú al día.",
    ),
    "ja": (
        "ジャイアントパンダの暮らしを説明してください。",
        "ジャイアントパンダは中国中部の竹林に住み、一日の大半を食べて過ごします。大人のパンダは一日に最大二十キロの竹を必要とします。",
    ),
    "ru": (
        "Расскажи, как живут большие панды.",
        "Большие панды живут в бамбуковых лесах центрального Китая, где едят почти весь день. "
        "Взрослому животному нужно до двадцати килограммов бамбука в день.",
    ),
    "ar": (
        "اشرح كيف تعيش الباندا العملاقة.",
        "تعيش الباندا العملاقة في غابات الخيزران في وسط الصين حيث تقضي معظم اليوم في الأكل. ويحتاج "
        "الحيوان البالغ إلى عشرين كيلوغراما من الخيزران يوميا.",
    ),
    "ko": (
        "대왕판다의 생활을 설명해 주세요.",
        "대왕판다는 중국 중부의 대나무 숲에 살며 하루의 대부분을 먹으면서 보냅니다.",
    ),
    "hi": (
        "विशाल पांडा के जीवन के बारे में बताइए।",
        "विशाल पांडा मध्य चीन के बांस के जंगलों में रहते हैं और दिन का अधिकांश समय खाने में बिताते हैं।",
    ),
    "vi": (
        "Hãy giải thích cuộc sống của gấu trúc lớn.",
        "Gấu trúc lớn sống trong rừng tre ở miền trung Trung Quốc và dành phần lớn thời gian "
        "để ăn.",
    ),
}
FUNCTION = """\
def evens(numbers):
    found = []
    for number in numbers:
        if number % 2 == 0:
            found.append(number)
    return found"""


def language_of(talk: Talk, *languages: str) -> str | None:
    kept = cleaned(talk, languages=languages).kept
    assert len(kept) == 1
    language: str | None = kept["language"].item()
    return language


@pytest.mark.parametrize("language", PANDAS)
def test_the_language_is_filled_and_a_declared_one_stays(language: str) -> None:
    talk = exchange(*PANDAS[language])
    assert language_of(talk) == language
    assert language_of(talk, language) == language
    assert language_of(talk, "pl", language) == language


@pytest.mark.parametrize("language", PANDAS)
def test_any_other_language_is_removed(language: str) -> None:
    talk = exchange(*PANDAS[language])
    others = [other for other in PANDAS if other != language]
    assert [reason_for(talk, languages=[other]) for other in others] == ["language"] * len(others)
    assert reason_for(talk, languages=others) == "language"


def test_the_detail_says_what_was_found_and_what_was_declared() -> None:
    result = cleaned(exchange(*PANDAS["ko"]), languages=["zh", "en"])
    assert result.removed["detail"].to_list() == ["detected ko (1.00), declared en, zh"]


@pytest.mark.parametrize(("asked", "answered"), list(itertools.permutations(PANDAS, 2)))
def test_an_answer_may_be_in_another_language_than_its_prompt(asked: str, answered: str) -> None:
    talk = exchange(PANDAS[asked][0], PANDAS[answered][1])
    assert reason_for(talk, languages=[asked]) is None
    assert reason_for(talk, languages=[answered]) is None
    other = next(language for language in PANDAS if language not in (asked, answered))
    assert reason_for(talk, languages=[other]) == "language"


@pytest.mark.parametrize(
    ("talk", "languages"),
    [
        (exchange("Describe the panda in Chinese.", PANDAS["zh"][1]), ["en"]),
        (exchange(f"Translate into English: {PANDAS['zh'][1]}", PANDAS["en"][1]), ["en"]),
        (exchange(f"翻译成中文：{PANDAS['en'][1]}", PANDAS["zh"][1]), ["en"]),
        (exchange("TRANSLATE INTO FRENCH: THE CAT SLEEPS", "LE CHAT DORT SUR LA TABLE"), ["en"]),
        (exchange("List five German words.", "Haus, Baum, Straße, Garten, Wolke"), ["en"]),
        (exchange("Which pandas speak French?", "Aucun."), ["en"]),
    ],
)
def test_translations_stay_where_either_language_is_declared(
    talk: Talk, languages: list[str]
) -> None:
    assert reason_for(talk, languages=languages) is None


@pytest.mark.parametrize(
    "talk",
    [
        exchange("Yes?", "No."),
        exchange("2 + 2?", "4"),
        exchange("да", "нет"),
        exchange("https://example.org/vivent-les-pandas?le=monde", "👍"),
        exchange("x", "$$\\frac{1}{2}$$"),
    ],
)
def test_texts_that_are_too_short_decide_nothing(talk: Talk) -> None:
    assert reason_for(talk, languages=["de"]) is None


def test_a_text_without_words_has_no_language() -> None:
    assert language_of(exchange("2 + 2?", "4")) is None
    assert language_of(exchange("2 + 2?", "4"), "en") is None


@pytest.mark.parametrize(
    ("talk", "language"),
    [
        (exchange("Hallo!", "Guten Morgen!"), "de"),
        (exchange("Name?", "Müller"), "de"),
        (exchange("Ciao!", "Ciao, come stai?"), "it"),
        (exchange("مرحبا", "مرحبا!"), "ar"),  # looks more like Persian to the identifier
    ],
)
def test_short_texts_are_taken_for_the_declared_language(talk: Talk, language: str) -> None:
    assert reason_for(talk, languages=[language]) is None


@pytest.mark.parametrize(
    ("answer", "language"),
    [
        ("大熊貓生活在中國中部的竹林裡，牠幾乎整天都在吃竹葉。", "zh"),
        ("我哋今日去飲茶，好唔好呀？佢哋話唔得閒，聽日先去。", "zh"),
        ("الباندا العملاقة عايشة في غابات الخيزران في وسط الصين وبتاكل طول اليوم.", "ar"),
    ],
    ids=["traditional", "Cantonese", "Egyptian"],
)
def test_variants_have_the_language_of_their_writers(answer: str, language: str) -> None:
    assert language_of(exchange("?", answer), language) == language
    assert language_of(exchange("?", answer)) == language


@pytest.mark.parametrize(
    ("code", "language"),
    [("zh-CN", "zh"), ("zh_Hant_TW", "zh"), ("yue", "zh"), ("EN", "en"), ("de-AT", "de")],
)
def test_codes_may_name_regions_and_scripts(code: str, language: str) -> None:
    assert reason_for(exchange(*PANDAS[language]), languages=[code]) is None
    assert reason_for(exchange(*PANDAS["ru"]), languages=[code]) == "language"


def test_standards_of_one_language_pass_for_each_other() -> None:
    croatian = exchange(
        "Objasni kako žive divovske pande.",
        "Divovske pande žive u bambusovim šumama središnje Kine i jedu gotovo cijeli dan.",
    )
    assert {reason_for(croatian, languages=[code]) for code in ("hr", "sr", "bs")} == {None}
    assert reason_for(croatian, languages=["pl"]) == "language"


def test_chinese_characters_without_kana_are_japanese_only_where_that_is_declared() -> None:
    names = exchange("都道府県", "東京都、大阪府、北海道、京都府、神奈川県")
    assert reason_for(names, languages=["ja"]) is None
    assert reason_for(names, languages=["zh"]) is None
    assert language_of(names) == "zh"


@pytest.mark.parametrize("code", ["english", "xx", ""])
def test_an_unknown_code_is_refused(code: str) -> None:
    with pytest.raises(UsageError, match=f"source tales: languages: .*{code!r}.*ISO 639-1"):
        declared_languages({"tales": source("tales", "en", code)})


@pytest.mark.parametrize(
    ("talk", "what"),
    [
        (exchange("Write a function for the even numbers.", f"```python\n{FUNCTION}\n```"), "code"),
        (exchange("Write a function for the even numbers.", FUNCTION), "code"),
        (exchange("Fix it.", "SELECT name, size\nFROM animals\nWHERE size > 3;"), "code"),
        (exchange("A list?", '<ul>\n  <li>one</li>\n  <li>two</li>\n</ul>'), "code"),
        (exchange(f"What does this do?\n\n{FUNCTION}", "It collects the even numbers. " * 7), "en"),
        (exchange("Write a note.", f"```markdown\n{PANDAS['en'][1]}\n```"), "en"),
        (exchange(*PANDAS["en"]), "en"),
        (exchange("Solve it.", "From $x^2 = 4$ it follows that x is 2 or -2 (see above)."), "en"),
        (exchange("Solve it.", "\\begin{aligned}\nx &= \\frac{a}{b} \\\\\n\\end{aligned}"), "en"),
    ],
)  # fmt: skip
def test_what_is_mostly_code_is_labelled_so(talk: Talk, what: str) -> None:
    assert language_of(talk) == what


def test_code_stays_where_it_or_the_language_around_it_is_declared() -> None:
    asked = f"Schreibe eine Funktion, die alle geraden Zahlen sammelt.\n```\n{FUNCTION}\n```"
    talk = exchange(asked, f"```python\n{FUNCTION}\n```")
    assert language_of(talk, "de") == "code"
    assert language_of(talk, "code") == "code"
    assert reason_for(talk, languages=["zh"]) == "language"
    assert reason_for(exchange(FUNCTION, FUNCTION), languages=["zh"]) is None
    assert reason_for(exchange(*PANDAS["en"]), languages=["code"]) == "language"


def test_identifiers_in_code_do_not_decide_the_language() -> None:
    answer = f"So geht es:\n\n```python\n{FUNCTION}\n{FUNCTION}\n```\n{PANDAS['de'][1]}"
    assert reason_for(exchange("Wie sammelt man Zahlen?", answer), languages=["de"]) is None
    assert reason_for(exchange("Wie sammelt man Zahlen?", answer), languages=["en"]) == "language"


def test_an_unsure_identifier_removes_nothing() -> None:
    unsure = exchange(
        "Explique como vivem os pandas-gigantes.",
        "Os pandas-gigantes vivem nas florestas de bambu da China.",
    )
    sure = CleanSettings(language_confidence=0.3)
    assert reason_for(unsure, languages=["zh"], settings=sure) == "language"
    never = CleanSettings(language_confidence=1.0)
    assert reason_for(unsure, languages=["zh"], settings=never) is None


def test_the_system_message_does_not_count() -> None:
    system = ("system", PANDAS["en"][1])
    assert reason_for([system, *exchange(*PANDAS["fr"])], languages=["en"]) == "language"


def test_all_prompts_and_answers_count() -> None:
    talk = [*exchange("OK?", "OK."), *exchange(*PANDAS["fr"])]
    assert reason_for(talk, languages=["en"]) == "language"
    assert reason_for([*talk, *exchange(*PANDAS["en"])], languages=["fr"]) is None
