"""Transformations: each changes one known thing, or nothing at all."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from judge.checks import Check
from judge.probes import _texts, _transforms, _wrongs
from judge.probes._catalogue import PROBES, Family, expecting
from judge.questions import load_questions
from judge.records import Question, RequiredFact

TRANSFORMS = {probe.name: probe.transform for probe in PROBES if probe.transform is not None}
ENGLISH = (
    "An auction decides which ad is shown. The platform ranks all ads by bid and quality. "
    "You pay at most 5 dollars, because the price is set by the next bid."
)
CHINESE = "竞价广告通过拍卖决定展示。平台按照出价和质量排序。价格不会高于出价，因为由第二名决定。"
AUCTION = Question(
    question_id="q",
    question="What is an auction ad?",
    reference="Ads are ranked in an auction by bid and quality. The most you pay is 5 dollars.",
    required_facts=(
        RequiredFact(fact="Ads compete in an auction.", keywords=("auction",)),
        RequiredFact(fact="The bid counts.", keywords=("bid", "bids")),
    ),
)
PLAIN = Question(question_id="p", question="Tell me about it.")
QUESTIONS = load_questions("monetization").questions
texts = st.one_of(
    st.text(max_size=300),
    st.lists(
        st.sampled_from(
            [
                ENGLISH,
                CHINESE,
                "1. One\n2. Two\n",
                "**Yes.** ",
                "42",
                "不",
                " ",
                "- a\n",
                "No.",
                "()",
            ]
        ),
        max_size=5,
    ).map("".join),
)


def check(kind: str, **parameters: object) -> Check:
    return Check(kind=kind, criteria=("accuracy",), parameters=parameters)


# What holds for all of them


@pytest.mark.parametrize("name", TRANSFORMS)
@given(answer=texts)
@settings(max_examples=40, deadline=None)
def test_a_transformation_is_a_pure_function_that_changes_or_abstains(
    name: str, answer: str
) -> None:
    transform = TRANSFORMS[name]
    for question in (AUCTION, PLAIN):
        changed = transform(question, answer)
        assert changed == transform(question, answer)
        if changed is not None:
            assert changed != answer or name == "muddle"
            assert changed.strip()


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("blank", ["", "  \n", "\t"])
def test_blank_answers_are_left_alone(name: str, blank: str) -> None:
    assert TRANSFORMS[name](AUCTION, blank) is None


@pytest.mark.parametrize(
    "name",
    ["verbosity", "authority", "bandwagon", "confident", "hedged", "personal_data", "disregard"],
)
@pytest.mark.parametrize("answer", [ENGLISH, CHINESE, "Two lines.\nHere they are."])
def test_additions_keep_the_answer_word_for_word(name: str, answer: str) -> None:
    changed = TRANSFORMS[name](AUCTION, answer)
    assert changed is not None
    assert changed.startswith(answer)
    assert len(changed) > len(answer)


@pytest.mark.parametrize("name", ["cheerful", "angry", "rudeness"])
@pytest.mark.parametrize("answer", [ENGLISH, CHINESE])
def test_tones_put_the_answer_between_remarks(name: str, answer: str) -> None:
    changed = TRANSFORMS[name](AUCTION, answer)
    assert changed is not None
    before, _, after = changed.partition(answer)
    assert before.strip() and after.strip()


@pytest.mark.parametrize(
    "name", ["authority", "bandwagon", "cheerful", "rudeness", "personal_data", "disregard"]
)
def test_the_language_of_an_addition_is_that_of_the_answer(name: str) -> None:
    def added(answer: str) -> str:
        changed = TRANSFORMS[name](AUCTION, answer)
        assert changed is not None
        return changed.replace(answer, "")

    assert re.search("[\u4e00-\u9fff]", added(CHINESE))
    assert not re.search("[\u4e00-\u9fff]", added(ENGLISH))
    assert TRANSFORMS[name](AUCTION, "Ответ на русском языке здесь.") is None


def test_texts_use_reserved_names_only() -> None:
    phrases = " ".join(str(value) for name, value in vars(_texts).items() if name.isupper())
    for host in re.findall(r"(?:https?://|@)([\w.-]+\w)", phrases):
        assert re.search(r"(?:^|\.)example\.(?:com|org|net)$", host), host
    numbers = re.findall(r"\d{3}-\d{3}-\d{4}", phrases)
    assert numbers and all(re.fullmatch(r"\d{3}-555-01\d\d", number) for number in numbers)


def test_every_probe_of_a_criterion_names_a_criterion_of_the_shipped_rubric() -> None:
    from judge.rubric import load_rubric

    known = {criterion.criterion for criterion in load_rubric("communication").criteria}
    probes = expecting()
    targets = {probe.target for probe in probes if probe.family is Family.SENSITIVITY}
    assert targets == known - {"conciseness"}  # padding is aimed at conciseness
    for probe in probes:
        assert set(probe.expected) <= known


# One by one


def test_padding_repeats_the_answers_own_sentences() -> None:
    changed = _transforms.verbosity(AUCTION, ENGLISH)
    assert changed is not None
    for sentence in ENGLISH.split(". ")[:2]:
        assert changed.count(sentence) == 2


def test_negation_turns_a_supported_statement() -> None:
    changed = _wrongs.negation(AUCTION, "Hello. The bid is ranked in the auction. It is late.")
    assert changed == "Hello. The bid is not ranked in the auction. It is late."
    turned_back = _wrongs.negation(AUCTION, "The auction does not rank bids.")
    assert turned_back == "The auction does rank bids."
    assert _wrongs.negation(AUCTION, "A bid cannot win.") == "A bid can win."
    assert _wrongs.negation(AUCTION, "A bid can't win.") == "A bid can win."
    assert _wrongs.negation(AUCTION, "The bid won't, they said, win.") == (
        "The bid will, they said, win."
    )
    facts = (RequiredFact(fact="拍卖", keywords=("拍卖",)),)
    question = Question(question_id="z", question="竞价？", required_facts=facts)
    assert _wrongs.negation(question, "这是拍卖。") == "这不是拍卖。"
    assert _wrongs.negation(question, "拍卖不会结束。") == "拍卖会结束。"
    assert _wrongs.negation(question, "但是拍卖多。") is None


def test_nothing_is_corrupted_without_knowing_what_is_right() -> None:
    for transform in (
        _wrongs.negation,
        _wrongs.number_changed,
        _wrongs.corruption,
        _wrongs.dropped_point,
    ):
        assert transform(PLAIN, ENGLISH) is None


def test_a_number_that_a_check_wants_is_made_wrong() -> None:
    question = Question(question_id="m", question="9 / 3?", checks=(check("number", value=3.0),))
    changed = _wrongs.number_changed(question, "The result is 3.")
    assert changed is not None
    assert _wrongs.newly_failed(question, "The result is 3.", changed)


def test_a_number_of_the_reference_is_made_wrong_everywhere_but_list_marks_stay() -> None:
    answer = "5. You pay 5 dollars.\n6. Again, 5 dollars and 50 cents, or 5%."
    changed = _wrongs.number_changed(AUCTION, answer)
    assert changed is not None
    assert changed.startswith("5. You pay")
    assert "5 dollars" not in changed
    assert "50 cents" in changed and "5%" in changed


def test_a_label_is_replaced_so_that_its_check_fails() -> None:
    labels = check("label", labels=["political", "sexual hint", "no violation"],
                   expected=["no violation"])  # fmt: skip
    question = Question(question_id="l", question="Which?", checks=(labels,))
    changed = _wrongs.corruption(question, "My choice: no violation.")
    assert changed in ("My choice: political.", "My choice: sexual hint.")


def test_an_opposite_needs_support_and_keeps_the_capital() -> None:
    reference = "Machine review is automatic and comes before human review."
    question = Question(question_id="o", question="How?", reference=reference)
    changed = _wrongs.corruption(question, "Automatic machine review comes before human review.")
    assert changed == "Manual machine review comes before human review."
    capital = _wrongs.corruption(question, "Human review follows machine review.")
    assert capital == "Machine review follows machine review."


def test_a_reason_is_broken_and_the_conclusion_stays() -> None:
    changed = _wrongs.fallacy(AUCTION, "You pay less, because the next bid sets the price.")
    assert changed is not None
    assert changed.startswith("You pay less, because ")
    assert "next bid" not in changed
    assert _wrongs.fallacy(AUCTION, "You pay less because of it.") is None
    assert _wrongs.fallacy(AUCTION, "Since 2019 all ads have been sold like this.") is None
    chinese = _wrongs.fallacy(AUCTION, "价格更低，因为由第二名决定。")
    assert chinese is not None and chinese.startswith("价格更低，因为") and "第二名" not in chinese


def test_a_point_is_dropped_with_all_of_its_mentions() -> None:
    answer = "It is an auction. Auctions take milliseconds. An auction ranks ads. You choose."
    changed = _wrongs.dropped_point(AUCTION, answer)
    assert changed is not None and "auction " not in changed.lower()
    assert "You choose." in changed
    assert _wrongs.dropped_point(AUCTION, "It is an auction.") is None
    listed = "Ads:\n\n- They go to an auction.\n- They are paid.\n\nThat is all."
    wanted = "Ads:\n\n- They are paid.\n\nThat is all."
    assert _wrongs.dropped_point(AUCTION, listed) == wanted


def test_specifics_become_vague_and_one_is_not_enough() -> None:
    answer = "About 40% of ads in Germany fail, such as those for alcohol or tobacco."
    changed = _transforms.vagueness(PLAIN, answer)
    vague = "About a certain share of ads in something of the kind fail, such as various things."
    assert changed == vague
    assert _transforms.vagueness(PLAIN, "There are 3 of them.") is None
    assert _transforms.vagueness(PLAIN, "大约40%的广告失败，例如酒类广告。") is not None


def test_muddled_sentences_keep_their_words() -> None:
    changed = _transforms.muddle(PLAIN, ENGLISH)
    assert changed is not None
    assert sorted(re.findall(r"\w+", changed)) == sorted(re.findall(r"\w+", ENGLISH))


def test_formatting_comes_and_goes() -> None:
    marked = _transforms.formatting_added(PLAIN, ENGLISH)
    assert marked is not None and marked.count("\n- ") == 2 and "**An**" in marked
    assert _transforms.formatting_added(PLAIN, marked) is None
    plain = _transforms.formatting_stripped(
        PLAIN, "# Head\n\n- **bold** and `code` \U0001f600\n> x"
    )
    assert plain == "Head\n\nbold and code\nx"
    assert _transforms.formatting_stripped(PLAIN, ENGLISH) is None
    with_emoji = _transforms.emoji(PLAIN, ENGLISH)
    assert with_emoji is not None
    assert _transforms.formatting_stripped(PLAIN, with_emoji) == ENGLISH


@pytest.mark.parametrize("question", QUESTIONS, ids=[each.question_id for each in QUESTIONS])
def test_null_answers_pass_no_check_that_wants_a_result(question: Question) -> None:
    nulls = _transforms.null_answers(question)
    assert len(nulls) == 8
    assert nulls["empty"] == "" and nulls["echo of the question"] == question.question
    wanting = [c for c in question.checks if c.kind in ("number", "number_set", "label")]
    for kind, text in nulls.items():
        if kind != "echo of the question":
            assert not any(each.run(text).passed for each in wanting), kind


def test_checks_before_and_after() -> None:
    question = Question(question_id="c", question="?", checks=(check("words", max=5),))
    assert _transforms.same_findings(question, "One two.", "One two three.")
    assert not _transforms.same_findings(question, "One two.", "One two three four five six.")
    assert _wrongs.newly_failed(question, "One two.", "One two three four five six.")
    assert not _wrongs.newly_failed(question, "One two three four five six.", "One two.")
