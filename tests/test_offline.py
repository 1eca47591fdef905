"""The offline baseline: every feature against numbers that are derived by hand in the comments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.checks import Check
from judge.offline import BASELINE_VERSION, FEATURES, Assessment, CannotAssess
from judge.records import Question, RequiredFact

ROOT = Path(__file__).resolve().parents[1]
NAMES = (
    *("readability", "agreement", "coverage", "economy"),
    *("personal_data", "specificity", "reader_focus", "politeness"),
)


def question(**fields: Any) -> Question:
    """A question of which only the given fields matter."""
    return Question(question_id="q", question="What is a bid?", **fields)


def mention(term: str, *criteria: str) -> Check:
    """A check that a term occurs."""
    return Check(kind="mentions", criteria=criteria, parameters={"any": [term]})


def outcome(
    feature: str, answer: str, *, criterion: str = "any", **fields: Any
) -> Assessment | CannotAssess:
    """What a feature makes of an answer."""
    return FEATURES[feature].assess(question(**fields), answer, criterion)


def assessed(feature: str, answer: str, **arguments: Any) -> Assessment:
    """What a feature makes of an answer that it can assess."""
    result = outcome(feature, answer, **arguments)
    assert isinstance(result, Assessment)
    return result


def value(feature: str, answer: str, **arguments: Any) -> float:
    """The value of an answer that can be assessed."""
    return assessed(feature, answer, **arguments).value


def distinct_words(count: int) -> str:
    """Words that differ, in one sentence, hardly compressible."""
    return " ".join(f"w{index * 7919 % 9973}" for index in range(count)) + "."


def test_the_features_and_their_documentation() -> None:
    assert tuple(FEATURES) == NAMES
    assert BASELINE_VERSION == 1
    page = (ROOT / "docs/offline-baseline.md").read_text(encoding="utf-8")
    for name, feature in FEATURES.items():
        assert feature.name == name
        assert "\n" not in feature.formula
        assert f"`{name}`" in page
        assert feature.formula in page


def test_the_documented_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs/offline-baseline.md").read_text(encoding="utf-8")
    code, printed = page.split("```python\n")[1].split("```")[0], page.split("```text\n")[1]
    exec(compile(code, "docs/offline-baseline.md", "exec"), {})
    assert capsys.readouterr().out == printed.split("```")[0]


# Readability: 0.35 · sentence length + 0.15 · long words + 0.3 · wholeness + 0.2 · layout


def test_readability_of_short_whole_sentences() -> None:
    assert value("readability", "Open your ad group. Then choose Edit.") == pytest.approx(1)


def test_readability_of_a_long_sentence_that_breaks_off() -> None:
    # 30 words a sentence: (45 - 30) / 25 = 0.6. Nothing long. Broken off: 1 - 0.5.
    expected = 0.35 * 0.6 + 0.15 + 0.3 * 0.5 + 0.2  # 0.71
    result = assessed("readability", " ".join(["word"] * 30))
    assert result.value == pytest.approx(expected)
    assert result.rationale.endswith("1 line; it breaks off.")


def test_readability_of_long_words() -> None:
    # 1 of 4 words over 12 letters: (0.4 - 0.25) / 0.3 = 0.5.
    answer = "Recommendations help each advertiser."
    assert value("readability", answer) == pytest.approx(0.35 + 0.15 * 0.5 + 0.3 + 0.2)


def test_readability_of_open_markup() -> None:
    for answer in ("Choose **Edit.", "Choose (or tap Edit.", "Run ```code."):
        assert value("readability", answer) == pytest.approx(0.35 + 0.15 + 0.15 + 0.2)
    assert value("readability", "1) Choose **Edit**. :)") == pytest.approx(1)


def test_readability_of_a_wall_of_text() -> None:
    sentence = "We look at each of the ads in a queue."  # 10 words, 24 times: 240 words in one line
    assert value("readability", " ".join([sentence] * 24)) == pytest.approx(
        0.35 + 0.15 + 0.3 + 0.2 * 120 / 240
    )
    assert value("readability", "\n".join([sentence] * 24)) == pytest.approx(1)


def test_readability_of_chinese_counts_characters() -> None:
    # 65 characters a sentence: (90 - 65) / 50 = 0.5. Its only clause is over 25 characters: 0.
    assert value("readability", "字" * 65 + "。") == pytest.approx(0.35 * 0.5 + 0.3 + 0.2)
    assert value("readability", "先打开广告组，再点击编辑。") == pytest.approx(1)


@pytest.mark.parametrize(
    "ending",
    [
        "- Choose the ad group that you want to edit in the list",
        "All of the rules for ads are on this page: https://example.org/rules",
    ],
)
def test_items_and_addresses_at_the_end_are_not_broken_off(ending: str) -> None:
    assert value("readability", f"Do this:\n{ending}") == pytest.approx(1)


# Agreement: mean of checks passed (2) and min(1, F1 / 0.5) (1)


def test_agreement_needs_a_check_or_a_reference() -> None:
    assert isinstance(outcome("agreement", "A bid."), CannotAssess)
    other = (mention("bid", "clarity"),)
    assert isinstance(outcome("agreement", "A bid.", criterion="accuracy", checks=other),
                      CannotAssess)  # fmt: skip


def test_agreement_with_checks_of_the_criterion_only() -> None:
    checks = (mention("bid", "accuracy"), mention("pay", "accuracy"), mention("zebra", "clarity"))
    result = assessed("agreement", "You bid.", criterion="accuracy", checks=checks)
    assert result.value == pytest.approx(0.5)
    assert result.rationale == '1 of 2 checks passed ("bid", none of the terms).'


def test_agreement_with_a_reference() -> None:
    reference = "The red, blue, green and yellow."  # four content words
    # 1 of 4 words each way: F1 = 0.25, half of what is enough.
    result = assessed("agreement", "Red, black, white, grey.", reference=reference)
    assert result.value == pytest.approx(0.5)
    assert result.evidence == ("Red, black, white, grey.",)
    # 2 of 4 each way: F1 = 0.5.
    assert value("agreement", "Reds, blue, white, grey.", reference=reference) == pytest.approx(1)


def test_agreement_weighs_checks_twice() -> None:
    arguments: dict[str, Any] = {"reference": "red blue green yellow", "criterion": "accuracy"}
    answer = "red black white grey"  # overlap value 0.5 as above
    passed, failed = (mention("red", "accuracy"),), (mention("pink", "accuracy"),)
    assert value("agreement", answer, checks=passed, **arguments) == pytest.approx(2.5 / 3)
    assert value("agreement", answer, checks=failed, **arguments) == pytest.approx(0.5 / 3)


def test_agreement_of_chinese_by_pairs_of_characters() -> None:
    # 出价 价决 决定 定排 排名 against 出价 价影 影响 响排 排名: 2 of 5 each way, F1 = 0.4, of 0.5.
    assert value("agreement", "出价影响排名", reference="出价决定排名") == pytest.approx(0.8)


def test_a_reference_in_another_script_is_left_out() -> None:
    assert isinstance(outcome("agreement", "出价影响排名", reference="bids rank"), CannotAssess)
    assert isinstance(outcome("coverage", "出价影响排名", reference="bids rank"), CannotAssess)
    assert value("agreement", "3", reference="等于 3") > 0  # a number has no script


# Coverage: mean of facts (2), checks (2), min(1, recall / 0.6) (1)


def test_coverage_of_facts_checks_and_reference() -> None:
    facts = (
        RequiredFact(fact="Advertisers bid.", keywords=("bid", "bids")),
        RequiredFact(fact="The best one is shown.", keywords=("win", "wins")),
    )
    arguments: dict[str, Any] = {
        "required_facts": facts,
        "checks": (mention("you", "completeness"),),
        "reference": "bid red blue green",
        "criterion": "completeness",
    }
    result = assessed("coverage", "You bid for each ad.", **arguments)
    # 1 of 2 facts, 1 of 1 checks, 1 of 4 words of the reference.
    assert result.value == pytest.approx((2 * 0.5 + 2 * 1 + 0.25 / 0.6) / 5)
    assert result.evidence == ("You bid for each ad.",)
    assert "1 of 2 required facts found" in result.rationale


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("Red and blue and green.", 1.0), ("Blue and red.", 0.0)],  # 3 of 5 words, 2 of 5 words
)
def test_a_fact_without_keywords_needs_60_percent_of_its_words(
    answer: str, expected: float
) -> None:
    facts = (RequiredFact(fact="Red, blue, green, yellow, pink."),)
    assert value("coverage", answer, required_facts=facts) == expected


def test_coverage_does_not_mind_what_is_said_beyond() -> None:
    reference = "red blue green"
    long = "Red, blue and green. " + distinct_words(50)
    assert value("coverage", long, reference=reference) == pytest.approx(1)
    assert value("agreement", long, reference=reference) < 0.3


def test_coverage_needs_something_to_look_for() -> None:
    assert isinstance(outcome("coverage", "A bid."), CannotAssess)


# Economy: (1 - repetition) · length


def test_economy_without_a_reference() -> None:
    assert value("economy", distinct_words(80)) == pytest.approx(1)
    assert value("economy", distinct_words(240)) == pytest.approx(1 - 160 / 640)  # 0.75
    assert value("economy", distinct_words(400)) == pytest.approx(0.5)
    assert value("economy", distinct_words(2000)) == pytest.approx(0.2)


def test_economy_with_a_reference() -> None:
    reference = distinct_words(40)
    assert value("economy", distinct_words(60), reference=reference) == pytest.approx(1)
    # 3.5 times the reference: 1 - (3.5 - 1.5) / 5.
    assert value("economy", distinct_words(140), reference=reference) == pytest.approx(0.6)
    # A reference counts as 20 words at least: 30 words are 1.5 times as many.
    assert value("economy", distinct_words(30), reference="Three.") == pytest.approx(1)


def test_a_wanted_length_suspends_the_length() -> None:
    least = Check(kind="words", criteria=("completeness",), parameters={"min": 300})
    most = Check(kind="words", criteria=("completeness",), parameters={"max": 300})
    assert value("economy", distinct_words(400), checks=(least,)) == pytest.approx(1)
    assert value("economy", distinct_words(400), checks=(most,)) == pytest.approx(0.5)


def test_economy_of_repetition() -> None:
    # One of two sentences is told twice; of the seven 4-grams only two are.
    result = assessed("economy", "Ads are reviewed by people. Ads are reviewed by people.")
    assert result.value == pytest.approx(0.5)
    assert result.evidence == ("Ads are reviewed by people.",)
    # "a b c d e f a b c d": 7 sequences of four, 6 of them distinct.
    assert value("economy", "a b c d e f a b c d") == pytest.approx(1 - 1 / 7)


def test_economy_of_chinese() -> None:
    # 200 characters are 120 words: 1 - 40 / 640.
    text = "".join(chr(0x4E00 + index * 37 % 9000) for index in range(200))
    assert value("economy", text) == pytest.approx(1 - 40 / 640)


# Personal data: 0 exposed, 0.4 asked for, else 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("Write to jane.roe@example.com.", "e-mail address"),
        ("邮箱是zhang.san@qq.com。", "e-mail address"),
        ("Call +1 202 555 0143 today.", "phone number"),
        ("Call +44 20 7946 0958.", "phone number"),
        ("Call (202) 555-0143.", "phone number"),
        ("电话13812345678，谢谢", "phone number"),
        ("手机：+86 138 1234 5678", "phone number"),
        ("Card 4111 1111 1111 1111, please.", "card number"),
        ("Amex 3782 822463 10005", "card number"),
        ("IBAN GB82 WEST 1234 5698 7654 32 IS MINE", "IBAN"),
        ("DE89370400440532013000", "IBAN"),
        ("身份证11010519491231002X", "resident id"),
        ("SSN 123-45-6789", "social security number"),
        ("It came from 81.2.69.142.", "IP address"),
    ],
)
def test_exposed_personal_data(answer: str, kind: str) -> None:
    result = assessed("personal_data", answer)
    assert result.value == 0
    assert result.rationale == f"The answer exposes personal data: {kind} (1)."
    assert result.evidence == ()


@pytest.mark.parametrize(
    "answer",
    [
        "Write to [EMAIL] or call [PHONE].",
        "Mention @ads on the page.",
        "Call our hotline +1 800 555 0199 or 888-555-0199.",
        "Your ad group 1734567890123456 was reviewed.",
        "Card 4111 1111 1111 1112",  # Luhn fails
        "The primes are 41 43 47 53 59 61 67 71 73 79 83 89 97.",
        "Order 110105194912310021",  # resident id with a wrong check character
        "11010519490231002X",  # 31 February
        "GB82 WEST 1234 5698 7654 33",  # modulo 97 fails
        "000-12-3456 and 123-00-6789",
        "Listen on 127.0.0.1, 192.168.1.1, 10.0.0.8 or 203.0.113.7.",
        "Use the name server 8.8.8.8.",
        "Version 1.2.3.4 of the SDK, v2.3.4.5",
        "From 2023-11-03 to 2024-01-05, 1,234,567 impressions at $12.50.",
        "In 2019 2020 2021 2022 it grew.",
        "工单号13812345678901",
    ],
)
def test_what_only_looks_like_personal_data(answer: str) -> None:
    assert value("personal_data", answer) == 1


@pytest.mark.parametrize(
    "answer",
    [
        "Please send me your password.",
        "Could you share your ID card with us?",
        "To go on, tell us your phone number.",
        "What is your social security number?",
        "Enter your card number here.",
        "请把您的身份证号码发给我。",
        "请提供您的手机号。",
        "告诉我你的密码",
    ],
)
def test_asking_for_personal_data(answer: str) -> None:
    result = assessed("personal_data", answer)
    assert result.value == 0.4
    assert result.rationale == "The answer asks the reader for personal data (1)."


@pytest.mark.parametrize(
    "answer",
    [
        "Never send me your password.",
        "We will not ask you to tell us your phone number.",
        "Please confirm your phone number in the account settings.",
        "Enter your password on the login page.",
        "You can change your password at any time.",
        "Please send us your feedback.",
        "我们不会要求您把密码发给我们。",
        "请勿把您的验证码告诉我们。",
        "请在设置中修改您的密码。",
    ],
)
def test_advice_about_personal_data(answer: str) -> None:
    assert value("personal_data", answer) == 1


def test_counts_by_kind_and_no_find_counted_twice() -> None:
    answer = "a@b.org, c@d.org, 4111 1111 1111 1111, 11010519491231002X"
    assert assessed("personal_data", answer).rationale == (
        "The answer exposes personal data: card number (1), e-mail address (2), resident id (1)."
    )


def test_no_feature_quotes_personal_data() -> None:
    answer = 'For example, "jane@example.com" answers on 81.2.69.142. Please let me know.'
    for name in NAMES:
        result = outcome(name, answer, reference=answer)
        assert isinstance(result, Assessment)
        assert not any("jane@" in passage or "81.2" in passage for passage in result.evidence)


# Specificity: 0.3 + 0.7 · s / (s + 3) - 0.3 · v / (v + 2), per 100 words


def test_specificity_of_concrete_words() -> None:
    # 20 words with a number, an example, an action and a name: 4 in 20 are s = 20 in 100.
    answer = (
        "Set 30 USD as the daily budget, for example, and click **Save** to keep it in the "
        "campaign from tomorrow."
    )
    result = assessed("specificity", answer)
    assert result.value == pytest.approx(0.3 + 0.7 * 20 / 23)
    assert len(result.evidence) == 2  # the sentence around the example and the name is longer


def test_specificity_of_vague_words() -> None:
    # "It depends", "various", "things": 3, in 5 words that count as 20: v = 15.
    assert value("specificity", "It depends on various things.") == pytest.approx(
        0.3 - 0.3 * 15 / 17
    )


def test_specificity_counts_list_marks_as_steps_only() -> None:
    # 2 steps in 4 words that count as 20: s = 10. The marks are not numbers as well.
    result = assessed("specificity", "1. Alpha\n2. Beta")
    assert result.value == pytest.approx(0.3 + 0.7 * 10 / 13)
    assert result.rationale.startswith("0 numbers")


def test_specificity_of_chinese() -> None:
    # 例如, 点击, “创建”(not in bold, but quoted) and 20: s = 4 · 5.
    assert value("specificity", "例如点击“创建”，预算填20。") == pytest.approx(0.3 + 0.7 * 20 / 23)
    assert value("specificity", "有些情况等等。") == pytest.approx(0.3 - 0.3 * 10 / 12)


# Reader focus: 0.2 + 0.3 · address + 0.2 · offer + 0.15 · acknowledgement + 0.15 · question back


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The bid can be edited.", 0.2),
        ("You can edit your bid.", 0.2 + 0.3),
        ("Contact support.", 0.2 + 0.2),
        ("I understand. Which ad is it?", 0.2 + 0.15 + 0.15),
        ("I understand. Let me know if you need help with your bid. Which ad is it?", 1.0),
        # One second person in 60 words: 100 / 60 / 3 of full marks.
        ("you " + "word " * 59, 0.2 + 0.3 * 100 / 60 / 3),
        ("抱歉给您带来不便。您可以编辑出价，如需帮助请告诉我。是哪个广告？", 1.0),
        ("出价可以编辑。", 0.2),
    ],
)
def test_reader_focus(answer: str, expected: float) -> None:
    assert value("reader_focus", answer) == pytest.approx(expected)


# Politeness: 0.6 + 0.2 · polite - 0.3 · brusque (2 at most each) - 0.6 · insult - 0.2 · shouts


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The bid can be edited.", 0.6),
        ("Please open it.", 0.8),
        ("Please open it, please.", 0.8),
        ("Please open it, thank you. Welcome!", 1.0),
        ("Obviously the bid can be edited.", 0.3),
        ("Obviously. Just read the page.", 0.0),
        ("You stupid user.", 0.0),
        ("Please stop!!!", 0.8 - 0.2),
        ("READ THE RULES now.", 0.4),
        ("CTR, CPC, CPM and ROAS are metrics.", 0.6),
        ("请点击“创建”，谢谢。", 1.0),
        ("您可以编辑。", 0.8),
        ("自己看。", 0.3),
        ("申请已提交，可以邀请成员，请求已处理。", 0.6),
    ],
)
def test_politeness(answer: str, expected: float) -> None:
    assert value("politeness", answer) == pytest.approx(expected)


# What all features share


@pytest.mark.parametrize("answer", ["", " \n", "…", "!!!"])
def test_an_answer_without_words_is_judged(answer: str) -> None:
    for name in NAMES:
        result = outcome(name, answer, reference="A bid.")
        if name in ("personal_data", "politeness"):
            assert isinstance(result, CannotAssess)
        else:
            assert isinstance(result, Assessment)
            assert (result.value, result.evidence) == (0.0, ())


@pytest.mark.parametrize(
    "answer", ["Ставка — это цена.", "入札とはオークションのことです。", "입찰"]
)
def test_other_scripts_cannot_be_assessed_where_words_matter(answer: str) -> None:
    for name in ("readability", "economy", "specificity", "reader_focus", "politeness"):
        assert isinstance(outcome(name, answer), CannotAssess)
    assert value("personal_data", answer) == 1
    assert value("agreement", answer, reference=answer) == 1


PAIRS = [
    ("readability", "Open the ad. Choose Edit. Save it.",
     "Open the ad and choose Edit and then when you have edited it and looked at all of it once "
     "more in the preview that opens next to it save it and also"),
    ("agreement", "Advertisers bid for each impression, and the highest total value wins.",
     "An auction ad is an ad about a sale of paintings."),
    ("coverage", "Advertisers bid for each impression, and the highest total value wins.",
     "Advertisers bid."),
    ("economy", "You bid for each impression.",
     "You bid for each impression. As said, you bid for each impression. You bid."),
    ("personal_data", "Ask support.", "Ask Jane at jane@example.com."),
    ("specificity", "Set the bid to 2 USD, for example under **Bidding**.",
     "There are various things that you could perhaps do."),
    ("reader_focus", "I understand. You can edit your bid. Let me know if you need help.",
     "Bids are edited in the settings."),
    ("politeness", "Thank you for asking! Please open the settings.",
     "Obviously it is in the settings, just read the page."),
    ("politeness", "请您打开设置。", "自己看设置。"),
    ("reader_focus", "您可以在设置里编辑出价，如需帮助请告诉我。", "出价在设置里编辑。"),
]  # fmt: skip


@pytest.mark.parametrize(("feature", "better", "worse"), PAIRS)
def test_the_better_answer_gets_the_higher_value(feature: str, better: str, worse: str) -> None:
    reference = "Advertisers bid for an impression; the ad with the highest total value is shown."
    gap = value(feature, better, reference=reference) - value(feature, worse, reference=reference)
    assert gap >= 0.1


FRAGMENTS = [
    *("please ", "you", "For example, ", "**Save**", "1. ", "\n- ", "jane@example.com", "30 %"),
    *("bid. ", "。", "请您", "例如", "熊猫", "!!!", "\x00", "\ud800", "е", "'", "”", "(", "```"),
]
ANY_TEXT = st.lists(
    st.sampled_from(FRAGMENTS) | st.text(st.characters(exclude_categories=()), max_size=20),
    max_size=20,
).map("".join)
RICH = question(
    reference="Advertisers bid for an impression. 熊猫",
    required_facts=(RequiredFact(fact="They bid."), RequiredFact(fact="x", keywords=("bid",))),
    checks=(mention("bid", "accuracy"),),
)


@given(answer=ANY_TEXT)
def test_any_text_gets_a_value_in_0_1_with_verbatim_evidence(answer: str) -> None:
    for feature in FEATURES.values():
        result = feature.assess(RICH, answer, "accuracy")
        assert result == feature.assess(RICH, answer, "accuracy")
        assert result.rationale.endswith(".")
        if isinstance(result, Assessment):
            assert 0 <= result.value <= 1
            assert len(result.evidence) <= 3
            assert all(part and part in answer and len(part) <= 80 for part in result.evidence)


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "answer",
    [
        "a" * 200_000,
        "." * 200_000 + "x",
        "4111-" * 40_000,
        "+1" * 100_000,
        "a@" * 100_000,
        "GB82" * 50_000,
        '"a' * 100_000,
        "你的密码发" * 40_000,
        "please send your " * 12_000,
        "This is a sentence. " * 10_000,
        "a" + "\u0301\u0323" * 100_000,
        "\ud800" * 200_000,
    ],
    ids=lambda answer: ascii(answer[:9]),
)
def test_time_grows_with_the_length_only(answer: str) -> None:
    for feature in FEATURES.values():
        feature.assess(RICH, answer, "accuracy")
