"""Decontamination: questions of an evaluation are found however they are written; others stay."""

from __future__ import annotations

import pickle
import unicodedata
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge.questions import QuestionSet, load_questions
from judge.records import Question
from sft.decontamination import ContaminationIndex, contamination_index, decontaminate
from sft.records import REMOVED, ROWS
from sft.settings import DecontaminationSettings
from sft.words import fold, tokens_of

Talk = Sequence[tuple[str, str]]
MONETIZATION = load_questions("monetization")
INDEX = contamination_index([MONETIZATION], DecontaminationSettings())

CHINESE = {
    # 19 characters: windows of 16.
    "long": "为什么我的广告组在不同地区的审核中被拒绝",
    "short": "如何创建一个广告组",  # 9 characters: all of it
    "tiny": "你是谁",
    # 5 words (10) and 8 characters: windows of 16 halves.
    "mixed": "请用 Smart Fix 修改 Ad Group 的出价 CPM",
}  # synthetic
CHINESE_REFERENCE = "审核人员会检查广告的图片和文字是否符合平台的政策要求"


def rows_of(*talks: Talk) -> pl.DataFrame:
    """Rows numbered from 0."""
    return pl.DataFrame(
        {
            "row_id": [str(number) for number in range(len(talks))],
            "source": "s",
            "file": "s.jsonl",
            "line": range(1, len(talks) + 1),
            "language": None,
            "messages": [
                [{"role": role, "content": content} for role, content in talk] for talk in talks
            ],
        },
        schema=dict(ROWS),
    )


def asked(text: str, answer: str = "I can help you with that.") -> Talk:
    """A question with its answer."""
    return [("user", text), ("assistant", answer)]


def set_of(questions: dict[str, str], references: dict[str, str] | None = None) -> QuestionSet:
    """A question set by ids."""
    return QuestionSet(
        name="own",
        description="",
        questions=tuple(
            Question(question_id=name, question=text, reference=(references or {}).get(name))
            for name, text in questions.items()
        ),
    )


def index_of(
    questions: dict[str, str], references: dict[str, str] | None = None, ngram: int = 8
) -> ContaminationIndex:
    """The index of one set."""
    return contamination_index(
        [set_of(questions, references)], DecontaminationSettings(ngram=ngram)
    )


def hits(index: ContaminationIndex, *talks: Talk) -> list[set[str]]:
    """Of every conversation, the questions that it overlaps with (alone in its frame)."""
    found = []
    for talk in talks:
        result = decontaminate(rows_of(talk), index)
        assert len(result.kept) + len(result.removed) == 1
        assert bool(result.found) == (len(result.removed) == 1)
        found.append({name.split("/")[1] for _, name in result.found})
    return found


def hit(index: ContaminationIndex, text: str, role: str = "user") -> set[str]:
    """The questions that one turn overlaps with."""
    (found,) = hits(index, [(role, text)])
    return found


def full_width(text: str) -> str:
    """ASCII in its full-width forms."""
    wide = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)
    assert unicodedata.normalize("NFKC", wide) == unicodedata.normalize("NFKC", text)
    return wide


DISGUISES: dict[str, Callable[[str], str]] = {
    "verbatim": lambda text: text,
    "upper case": str.upper,
    "lower case": str.lower,
    "other punctuation": lambda text: "— " + text.replace(" ", " … ").replace("?", "!!"),
    "no punctuation": lambda text: " ".join(tokens_of(fold(pl.Series([text]))).words(0)),
    "full width": full_width,
    "white space": lambda text: text.replace(" ", "\n \u00a0"),
    "zero width": "\u200b".join,
    "quoted": lambda text: f"“{text}”",
}
EMBEDDED: dict[str, Callable[[str], str]] = {
    "after an instruction": lambda text: f"Answer politely and in one paragraph.\n\n{text}",
    "before one": lambda text: f"{text} Reply in the style of a pirate, please.",
    "in a list": lambda text: f"1. Greet me.\n2. {text}\n3. Say goodbye.",
}


class TestShippedQuestions:
    """The 45 questions that the project judges by."""

    @pytest.mark.parametrize("disguise", DISGUISES)
    def test_each_is_found_in_any_dress(self, disguise: str) -> None:
        assert len(MONETIZATION) == 45
        for question in MONETIZATION:
            text = DISGUISES[disguise](question.question)
            assert question.question_id in hit(INDEX, text), text

    @pytest.mark.parametrize("place", EMBEDDED)
    def test_each_of_four_words_is_found_inside_a_prompt(self, place: str) -> None:
        tiny = {"monetization-01", "monetization-03", "monetization-05"}
        for question in MONETIZATION:
            found = hit(INDEX, EMBEDDED[place](question.question))
            assert (question.question_id in found) is (question.question_id not in tiny)

    @pytest.mark.parametrize("role", ["system", "user", "assistant"])
    def test_long_ones_are_found_in_any_turn_and_shorter_ones_in_prompts(self, role: str) -> None:
        long = "Will the company use machine learning models to moderate ad groups?"
        assert hit(INDEX, f"They ask: {long}", role) == {"monetization-13"}
        short = "So I wonder how to create an ad for my shop."
        expected = set() if role == "assistant" else {"monetization-18"}
        assert hit(INDEX, short, role) == expected
        tiny = {"monetization-03"} if role == "user" else set()
        assert hit(INDEX, "Who are you?", role) == tiny

    def test_every_reference_of_eight_words_is_found(self) -> None:
        numbers = {"monetization-07"}  # the primes: any right answer has them
        for question in MONETIZATION:
            words = tokens_of(fold(pl.Series([question.reference or ""])))
            if len(words.hashes) < 8:
                continue
            found = hits(INDEX, asked("Tell me.", f"Sure: {question.reference}"))[0]
            assert (question.question_id in found) is (question.question_id not in numbers)

    def test_other_business_talk_stays(self) -> None:
        """Synthetic: 600 conversations of the same trade."""
        things = ["campaign", "audience", "budget", "invoice", "landing page", "pixel"]
        wishes = [
            "How do I change the {} of my shop?",
            "Explain in two sentences what a {} is good for.",
            "My {} has been under review since Monday, what can I do?",
            "Write a friendly note to a customer whose {} was paused.",
            "What ad policy does the following text violate? Get our new {} at half the price!",
        ]
        answers = [
            "Open the settings, choose the {}, and save what you changed.",
            "A {} tells the system whom to show an ad, and how much it may cost.",
            "Reviews take up to 24 hours; please write to us if your {} waits longer than that.",
            "Hello, your {} was paused since its payment failed. Update it to go on.",
        ]
        talks = [
            asked(f"{wish.format(thing)} {extra}", answer.format(other))
            for wish, answer, thing, other, extra in product(
                wishes, answers, things, things[:5], ["Thanks!"]
            )
        ]
        result = decontaminate(rows_of(*talks), INDEX)
        assert result.removed["detail"].to_list() == []
        assert len(result.kept) == 600

    def test_an_instruction_alone_is_no_overlap_but_what_follows_it_is(self) -> None:
        # Three of the questions begin with it.
        instruction = "What ad policy does the following text violate?"
        assert hit(INDEX, f"{instruction} Buy two watches and get a third one for nothing") == set()
        assert hit(INDEX, instruction) == set()
        assert hit(INDEX, "Is this fine: LONELY, and thirsty for a man?") == {"monetization-25"}
        assert "monetization-25" in hit(INDEX, f"{instruction} Lonely and thirsty for a man")
        # What several questions quote in different places is no instruction.
        assert hit(INDEX, "Our soap: a 100% natural product for all females and all ages.") == {
            f"monetization-{number}" for number in (37, 38, 39, 40)
        }  # fmt: skip


class TestLengths:
    """The rule by length, at its bounds."""

    NINE = "alpha bravo charlie delta echo foxtrot golf hotel india"

    def test_eight_words_in_a_row_are_an_overlap_and_seven_are_not(self) -> None:
        index = index_of({"q": self.NINE})
        words = self.NINE.split()
        for first in (0, 1):
            assert hit(index, f"x {' '.join(words[first : first + 8])} y") == {"q"}
        assert hit(index, " ".join(words[:7]) + " y " + " ".join(words[2:9])) == set()
        assert hits(index, [("user", " ".join(words[:4])), ("user", " ".join(words[4:]))]) == [
            set()
        ]

    def test_the_window_is_a_setting(self) -> None:
        words = self.NINE.split()
        for ngram in (3, 5, 9):
            index = index_of({"q": self.NINE}, ngram=ngram)
            assert hit(index, "x " + " ".join(words[9 - ngram :])) == {"q"}
            assert hit(index, "x " + " ".join(words[: ngram - 1])) == set()
        # Nine words are fewer than ten: all of them, then.
        index = index_of({"q": self.NINE}, ngram=10)
        assert hit(index, f"x {self.NINE} y") == {"q"}
        assert hit(index, "x " + " ".join(words[:8])) == set()

    def test_four_words_are_looked_for_inside_and_three_are_not(self) -> None:
        index = index_of({"four": "explain our bidding rules", "three": "explain bidding rules"})
        assert hit(index, "Please explain our bidding rules now") == {"four"}
        assert hit(index, "Please explain bidding rules now") == set()
        assert hit(index, "Explain: bidding rules!") == {"three"}

    def test_references_count_from_a_window_on_and_not_as_mere_numbers(self) -> None:
        index = index_of(
            {"short": "one one one one", "numbers": "two two two two", "long": "six six six six"},
            {
                "short": "it is three of them",
                "numbers": "1, 2, 3, 4, 5, 6, 7, 8, 9 and 10",
                "long": "in the year 1999 it was 4 percent of all",
            },
        )
        assert hit(index, "it is three of them", "assistant") == set()
        assert hit(index, "1 2 3 4 5 6 7 8 9 and 10", "assistant") == set()
        assert hit(index, "the year 1999 it was 4 percent of", "assistant") == {"long"}

    def test_questions_without_words_are_found_nowhere(self) -> None:
        index = index_of({"q": "?!"})
        assert hit(index, "?!") == set()
        assert hit(index_of({}), "anything") == set()


class TestChinese:
    """Characters are half words."""

    INDEX = index_of(CHINESE, {"short": CHINESE_REFERENCE})

    @pytest.mark.parametrize("name", CHINESE)
    def test_each_is_found(self, name: str) -> None:
        assert hit(self.INDEX, CHINESE[name]) == {name}
        assert hit(self.INDEX, CHINESE[name].replace("的", "\n的 ") + "？") == {name}
        embedded = hit(self.INDEX, f"你好！{CHINESE[name]}，请回答。")
        assert embedded == ({name} - {"tiny"})

    def test_sixteen_characters_are_a_window(self) -> None:
        text = CHINESE["long"]
        assert hit(self.INDEX, f"好{text[2:18]}好", "assistant") == {"long"}
        assert hit(self.INDEX, f"好{text[2:17]}好{text[3:18]}") == set()

    def test_references_are_found_in_answers(self) -> None:
        assert hit(self.INDEX, f"是的。{CHINESE_REFERENCE[4:22]}等。", "assistant") == {"short"}

    def test_words_and_characters_add_up(self) -> None:
        # smart fix 修 改 ad group 的 出 价 cpm: 5 words and 5 characters are 15 halves; with the
        # 用 before them 16.
        assert hit(self.INDEX, "用smart fix修改ad group的出价CPM", "assistant") == {"mixed"}
        assert hit(self.INDEX, "smart fix修改ad group的出价CPM", "assistant") == set()

    def test_other_chinese_stays(self) -> None:
        """Synthetic."""
        for text in ("我的账户为什么没有预算了？", "请写一篇关于广告组的短文", "你是谁的朋友"):
            assert hit(self.INDEX, text) == set()


class TestInstructions:
    """Text that three questions begin or end with."""

    BEGINNING = "Sort the following customer comment into one of our four labels"
    OWN = ("The parcel came late again", "They never call me back", "Half of it was broken")

    def test_at_the_beginning_and_at_the_end(self) -> None:
        for questions in (
            [f"{self.BEGINNING}: {own}" for own in self.OWN],
            [f"{own} -- {self.BEGINNING}" for own in self.OWN],
        ):
            index = index_of({str(number): text for number, text in enumerate(questions)})
            assert hit(index, f"{self.BEGINNING}: Great shop, thank you very much") == set()
            for number, (text, own) in enumerate(zip(questions, self.OWN, strict=True)):
                assert hit(index, text) == {str(number)}
                assert hit(index, f"See: {own}") == {str(number)}
                assert hit(index, f"See: {own}", "assistant") == set()

    def test_two_questions_make_no_instruction(self) -> None:
        questions = {str(n): f"{self.BEGINNING}: {own}" for n, own in enumerate(self.OWN[:2])}
        # Nor does a question that the set holds twice.
        questions["2"] = questions["1"].upper()
        found = hit(index_of(questions), f"{self.BEGINNING}: Great shop, thank you")
        assert found == {"0", "1", "2"}

    def test_questions_of_other_sets_make_no_instruction(self) -> None:
        sets = [
            QuestionSet(
                name=f"set {number}",
                description="",
                questions=(Question(question_id="q", question=f"{self.BEGINNING}: {own}"),),
            )
            for number, own in enumerate(self.OWN)
        ]
        index = contamination_index(sets, DecontaminationSettings())
        result = decontaminate(rows_of(asked(self.BEGINNING)), index)
        assert result.found == {("s", f"set {number}/q"): 1 for number in range(3)}

    def test_a_long_passage_is_none(self) -> None:
        passage = " ".join(f"word{number}" for number in range(33))
        questions = {str(n): f"{passage} {own}" for n, own in enumerate(self.OWN)}
        assert hit(index_of(questions), passage) == {"0", "1", "2"}
        shorter = passage.rsplit(" ", 1)[0]  # 32 words are four windows
        questions = {str(n): f"{shorter} {own}" for n, own in enumerate(self.OWN)}
        assert hit(index_of(questions), shorter) == set()

    def test_questions_with_little_of_their_own_keep_theirs(self) -> None:
        text = "How do I create an ad group on the platform for"
        questions = {
            str(n): f"{text} my {thing}" for n, thing in enumerate(("shop", "app", "book"))
        }
        assert hit(index_of(questions), f"{text} this") == {"0", "1", "2"}


class TestResult:
    """What the step says about the rows that it removes."""

    def test_detail_reason_and_counts(self) -> None:
        rows = rows_of(
            asked("How do bids work?"),
            [("system", "Be brief."), *asked("List ALL the prime numbers -- within 100!")],
            asked("Explain.", str(MONETIZATION.questions[9].reference)),
            asked("Who are you?", "I am a bot. When were my ad groups rejected?"),
        )
        result = decontaminate(rows, INDEX)
        assert result.kept.equals(rows[:1])
        assert result.removed.schema == pl.Schema(dict(REMOVED))
        assert result.removed.select(*ROWS).equals(rows[1:])
        assert result.removed["step"].unique().to_list() == ["decontaminate"]
        assert result.removed["reason"].to_list() == [
            "question_overlap", "reference_overlap", "question_overlap",
        ]  # fmt: skip
        details = result.removed["detail"].to_list()
        assert details[0] == (
            "question monetization/monetization-07 in turn 2 (user): "
            '"list all the prime numbers -- within 100"'
        )
        assert details[1].startswith(
            'reference monetization/monetization-10 in turn 2 (assistant): "pre-audit is an '
        )
        assert len(details[1]) < 250
        assert details[2].endswith('monetization-03 in turn 1 (user): "who are you"')
        assert result.found == {
            ("s", "monetization/monetization-07"): 1,
            ("s", "monetization/monetization-10"): 1,
            ("s", "monetization/monetization-03"): 1,
        }

    def test_a_row_counts_once_for_each_of_its_questions(self) -> None:
        talk = [
            *asked("Who are you?"),
            *asked("what is machine moderation"),
            ("user", "Who are YOU"),
        ]
        result = decontaminate(rows_of(talk, talk), INDEX)
        assert result.found == {
            ("s", "monetization/monetization-03"): 2,
            ("s", "monetization/monetization-11"): 2,
        }
        everything = "\n".join(question.question for question in MONETIZATION)
        (detail,) = decontaminate(rows_of(asked(everything)), INDEX).removed["detail"]
        assert detail.count(" in turn 1 (user)") == 3
        assert detail.endswith("; and 39 more")  # of 45 less 3 tiny ones

    def test_empty_frames(self) -> None:
        result = decontaminate(rows_of(), INDEX)
        assert result.kept.is_empty()
        assert result.removed.schema == pl.Schema(dict(REMOVED))
        nothing = contamination_index([], DecontaminationSettings())
        assert len(decontaminate(rows_of(asked("x")), nothing).kept) == 1

    def test_the_index_survives_pickling(self) -> None:
        copy = pickle.loads(pickle.dumps(INDEX))
        rows = rows_of(*(asked(question.question) for question in MONETIZATION))
        assert decontaminate(rows, copy).removed.equals(decontaminate(rows, INDEX).removed)


WORDS = st.sampled_from(["a", "b", "c", "广", "告"])


@given(
    question=st.lists(WORDS, min_size=1, max_size=12),
    turns=st.lists(
        st.tuples(st.sampled_from(["system", "user", "assistant"]), st.lists(WORDS, max_size=14)),
        min_size=1,
        max_size=3,
    ),
)
def test_the_rule_by_brute_force(question: list[str], turns: list[tuple[str, list[str]]]) -> None:
    def size(words: list[str]) -> int:
        return sum(1 if word in "广告" else 2 for word in words)

    def inside(run: list[str], words: list[str]) -> bool:
        return any(words[at : at + len(run)] == run for at in range(len(words) - len(run) + 1))

    runs = [question[i:j] for i in range(len(question)) for j in range(i + 1, len(question) + 1)]
    windows = [run for run in runs if size(run) >= 10]  # of 5 words
    expected = any(
        any(inside(run, words) for run in windows)
        if windows
        else (role != "assistant" and inside(question, words))
        if size(question) >= 8
        else role == "user" and words == question
        for role, words in turns
    )
    index = index_of({"q": " ".join(question)}, ngram=5)
    talk = [(role, " ".join(words)) for role, words in turns]
    assert hits(index, talk) == [{"q"} if expected else set()]


def test_equal_hashes_of_other_words_are_no_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every run of tokens gets the same hash; only the words themselves can tell."""
    monkeypatch.setattr(
        "sft.decontamination._index.window_hashes",
        lambda hashes, length, at=None: np.ones(
            max(0, len(hashes) - length + 1) if at is None else len(at), np.uint64
        ),
    )
    index = index_of({"q": "explain our bidding rules", "tiny": "who are you"})
    assert hit(index, "Tell us about the best rules of bidding") == set()
    assert hit(index, "how old are") == set()
    assert hit(index, "Please explain our bidding rules") == {"q"}
    assert hit(index, "Who are you?") == {"tiny"}
