"""The layout chat: which templates can train a model, and what of them is learnt."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.errors import UsageError
from sft.settings import Layout, Overlong, TokenSettings
from sft.tokenisation import Vocabulary, encode, load_vocabulary, open_vocabulary
from tests.test_tokenisation import frame, learnt_of, pieces
from tests.tiny_tokenizer import save_tiny_tokenizer

CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA_3 = (
    "{{ bos_token }}{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
    "{{ message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
LLAMA_2 = (
    "{% if messages[0]['role'] == 'system' %}"
    "{% set system = '<<SYS>>\n' + messages[0]['content'] + '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}"
    "{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}"
    "{% if message['role'] == 'user' %}"
    "{{ bos_token + '[INST] ' + (system if loop.first else '') + message['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + message['content'] + ' ' + eos_token }}{% endif %}"
    "{% endfor %}"
)
VICUNA = (
    "{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + '\nASSISTANT:' }}"
    "{% else %}{{ ' ' + message['content'] + END + '\n' }}{% endif %}"
    "{% endfor %}"
)
MARKED = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{%- if message['role'] == 'assistant' %}"
    "{%- generation -%}{{ message['content'] + '<|im_end|>\n' }}{%- endgeneration -%}"
    "{% else %}{{ message['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_CHATML_SPECIAL = ("<|im_start|>", "<|im_end|>")
_LLAMA_3_SPECIAL = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")

Turns = list[tuple[str, str]]


def chat_settings(
    folder: Path,
    template: str,
    special: tuple[str, ...] = _CHATML_SPECIAL,
    *,
    vocabulary: int | None = None,
    stops: list[int] | None = None,
) -> TokenSettings:
    save_tiny_tokenizer(
        folder, special=special, chat_template=template, vocabulary=vocabulary, stops=stops
    )
    return TokenSettings(tokenizer=str(folder), layout=Layout.CHAT, length=10_000)


def learnt_texts(vocabulary: Vocabulary, chosen: TokenSettings, *rows: Turns) -> list[str]:
    """What the loss is taken over, as text, of every sample."""
    return [
        vocabulary.backend.decode(learnt_of(sample), skip_special_tokens=False)
        for sample in pieces(encode(frame(*rows), vocabulary, chosen))
    ]


class TestWhatIsLearnt:
    def test_ids_and_mask_by_hand(self, tmp_path: Path) -> None:
        """Specials are 0 to 4 here, so "H" is 5 + 39 = 44 and a line break 5 + 188 + 10 = 203."""
        chosen = chat_settings(tmp_path, CHATML)
        encoded = encode(frame([("u", "H"), ("a", "I")]), load_vocabulary(chosen), chosen)
        start, end, line = 3, 4, 203
        user = [5 + ord(letter) - 0x21 for letter in "user"]
        assistant = [5 + ord(letter) - 0x21 for letter in "assistant"]
        assert pieces(encoded) == [
            (
                [start, *user, line, 44, end, line, start, *assistant, line, 45, end],
                [False] * 20 + [True] * 2,  # 1 + 4 + 1 + 1 + 1 + 1, then 1 + 9 + 1
            )
        ]

    @pytest.mark.parametrize(
        ("template", "special", "end", "before"),
        [
            (CHATML, _CHATML_SPECIAL, "<|im_end|>", ""),
            (MARKED, _CHATML_SPECIAL, "<|im_end|>", ""),
            (LLAMA_3, _LLAMA_3_SPECIAL, "<|eot_id|>", ""),
            (LLAMA_2, (), " </s>", " "),
            (VICUNA.replace("END", "eos_token"), (), "</s>", " "),
        ],
        ids=["ChatML", "generation", "Llama 3", "Llama 2", "Vicuna"],
    )
    def test_answers_and_end_tokens_of_common_templates(
        self, tmp_path: Path, template: str, special: tuple[str, ...], end: str, before: str
    ) -> None:
        chosen = chat_settings(tmp_path, template, special, vocabulary=420)
        vocabulary = load_vocabulary(chosen)
        assert vocabulary.marks_answers == (template is MARKED)
        turns = [("u", "the end"), ("a", "of the dog 熊猫😀"), ("u", "and"), ("a", "a\n\nb")]
        assert learnt_texts(vocabulary, chosen, turns, turns[2:]) == [
            f"{before}of the dog 熊猫😀{end}{before}a\n\nb{end}",
            f"{before}a\n\nb{end}",
        ]

    @pytest.mark.parametrize("template", [CHATML, LLAMA_3, LLAMA_2, MARKED])
    def test_the_tokens_are_those_that_a_server_asks_with(
        self, tmp_path: Path, template: str
    ) -> None:
        special = _LLAMA_3_SPECIAL if template is LLAMA_3 else _CHATML_SPECIAL
        chosen = chat_settings(tmp_path, template, special, vocabulary=420)
        vocabulary = load_vocabulary(chosen)
        rows = frame(
            [("s", "Be brief."), ("u", "the dog"), ("a", "yes"), ("u", "and"), ("a", "no")]
        )
        ((tokens, mask),) = pieces(encode(rows, vocabulary, chosen))
        (messages,) = rows["messages"].to_list()
        apply = vocabulary.tokenizer.apply_chat_template
        prompt = apply(messages[:-1], add_generation_prompt=True)["input_ids"]
        assert tokens[: len(prompt)] == prompt
        assert mask[len(prompt) - 1 :] == [False] + [True] * (len(tokens) - len(prompt))
        # At most a line break behind the last end token is left out.
        whole = apply(messages)["input_ids"]
        assert tokens == whole[: len(tokens)]
        assert vocabulary.tokenizer.decode(whole[len(tokens) :]) in ("", "\n")
        assert tokens.count(0) == whole.count(0)  # one <s> where the template writes one

    @given(
        exchanges=st.lists(
            st.tuples(st.text(max_size=12), st.text(max_size=12).map(str.strip).filter(bool)),
            min_size=1,
            max_size=3,
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_for_any_text(self, chatml: TokenSettings, exchanges: list[tuple[str, str]]) -> None:
        turns = [turn for u, a in exchanges for turn in (("u", u), ("a", a))]
        assert learnt_texts(_loaded(chatml), chatml, turns) == [
            "".join(answer + "<|im_end|>" for _, answer in exchanges)
        ]

    @given(
        exchanges=st.lists(
            st.tuples(st.text(max_size=9), st.text(max_size=60).map(str.strip).filter(bool)),
            min_size=1,
            max_size=4,
        ),
        length=st.integers(30, 120),
    )
    @settings(max_examples=100, deadline=None)
    def test_split_supervises_every_answer_token_once(
        self, chatml: TokenSettings, exchanges: list[tuple[str, str]], length: int
    ) -> None:
        turns = [turn for u, a in exchanges for turn in (("u", u), ("a", a))]
        rows = frame([("s", "Be"), *turns])
        (whole,) = pieces(encode(rows, _loaded(chatml), chatml))
        chosen = replace(chatml, length=length, overlong=Overlong.SPLIT)
        encoded = encode(rows, _loaded(chatml), chosen)
        if len(encoded.removed):
            assert encoded.removed["reason"].to_list() == ["prompt_too_long"]
            return
        parts = pieces(encoded)
        assert [token for part in parts for token in learnt_of(part)] == learnt_of(whole)
        assert all(len(tokens) <= length and not mask[0] for tokens, mask in parts)

    def test_split_pieces_are_conversations_of_the_template(self, tmp_path: Path) -> None:
        """The system message is repeated where the template puts it."""
        chosen = chat_settings(tmp_path, LLAMA_2, ())
        vocabulary = load_vocabulary(chosen)
        rows = frame([("s", "Be"), ("u", "H"), ("a", "Y"), ("u", "I"), ("a", "O")])
        # Each exchange has some 40 bytes with the system message.
        encoded = encode(rows, vocabulary, replace(chosen, length=50))
        first, second = (
            vocabulary.backend.decode(tokens, skip_special_tokens=False)
            for tokens, _ in pieces(encoded)
        )
        assert first == "<s>[INST] <<SYS>>\nBe\n<</SYS>>\n\nH [/INST] Y </s>"
        assert second == "<s>[INST] <<SYS>>\nBe\n<</SYS>>\n\nI [/INST] O </s>"

    def test_a_window_begins_with_bos_as_the_template_does(self, tmp_path: Path) -> None:
        chosen = chat_settings(tmp_path, LLAMA_2, ())
        vocabulary = load_vocabulary(chosen)
        assert vocabulary.bos_id == 0
        encoded = encode(
            frame([("u", "H"), ("a", "Y" * 60)]), vocabulary, replace(chosen, length=32)
        )
        assert [tokens[0] for tokens, _ in pieces(encoded)] == [0] * len(encoded.samples)
        assert (
            "".join(
                vocabulary.backend.decode(learnt_of(sample), skip_special_tokens=False)
                for sample in pieces(encoded)
            )
            == " " + "Y" * 60 + " </s>"
        )

    def test_marks_before_words_are_learnt_with_them(self, tmp_path: Path) -> None:
        """Tokenizers of words put a mark for a space before an answer, also where there is none."""
        asking = (
            "{% for message in messages %}"
            "{{ '<|' + message['role'] + '|>' + message['content'] + eos_token }}{% endfor %}"
            "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
        )
        save_tiny_tokenizer(
            tmp_path,
            special=("<|user|>", "<|assistant|>"),
            chat_template=asking,
            vocabulary=300,
            spaces="always",
        )
        chosen = TokenSettings(tokenizer=str(tmp_path), layout=Layout.CHAT)
        vocabulary = load_vocabulary(chosen)
        answers = ["the dog", "xthe dog", "x"]
        rows = frame(*([("u", "how"), ("a", answer)] for answer in answers))
        assert [
            "".join(vocabulary.tokenizer.convert_ids_to_tokens(learnt_of(sample)))
            for sample in pieces(encode(rows, vocabulary, chosen))
        ] == ["▁the▁dog</s>", "▁xthe▁dog</s>", "▁x</s>"]

    def test_a_token_that_begins_in_the_prompt_is_not_learnt(self, chatml: TokenSettings) -> None:
        """A line break before an answer is one token with the one that ends the header."""
        vocabulary = _loaded(chatml)
        assert learnt_texts(vocabulary, chatml, [("u", "Hi"), ("a", "\nYo")]) == ["Yo<|im_end|>"]

    def test_the_day_does_not_matter(self, tmp_path: Path) -> None:
        dated = "{{ strftime_now('%d %b %Y') }}" + CHATML
        chosen = chat_settings(tmp_path, dated)
        vocabulary = load_vocabulary(chosen)
        ((tokens, _),) = pieces(encode(frame([("u", "H"), ("a", "Y")]), vocabulary, chosen))
        assert vocabulary.backend.decode(tokens).startswith("26 Jul 2024")


class TestEndTokens:
    def test_all_that_may_end_an_answer(self, tmp_path: Path) -> None:
        """The tokenizer's own (1), the template's (4), and generation_config.json's (2, 4)."""
        chosen = chat_settings(tmp_path, CHATML, stops=[2, 4])
        assert load_vocabulary(chosen).end_ids == (1, 2, 4)

    def test_they_survive_being_saved(self, tmp_path: Path) -> None:
        chosen = chat_settings(tmp_path / "original", CHATML, stops=[2, 4])
        load_vocabulary(chosen).save(tmp_path / "saved")
        again = open_vocabulary(tmp_path / "saved", chosen)
        assert (again.end_ids, again.hash) == ((1, 2, 4), load_vocabulary(chosen).hash)
        assert again.added == ()
        assert again.separator_id is None

    def test_the_hash_changes_with_them(self, tmp_path: Path) -> None:
        one = load_vocabulary(chat_settings(tmp_path / "one", CHATML)).hash
        two = load_vocabulary(chat_settings(tmp_path / "two", CHATML, stops=[2])).hash
        assert one != two


class TestTemplatesThatWillNotDo:
    @pytest.mark.parametrize(
        ("template", "message"),
        [
            (VICUNA.replace("END", "''"), r"no special token \(behind it stands '\\n'\)"),
            (VICUNA.replace("END", "'###'"), r"no special token.*###"),
            (
                MARKED.replace("+ '<|im_end|>\n' }}{%- endg", "}}{%- endg").replace(
                    "endgeneration -%}", "endgeneration %}{{ '<|im_end|>\n' }}"
                ),
                r"with <\|im_end\|>, but its \{% generation %\} block closes before it",
            ),
            (
                MARKED.replace("message['content'] + '<|im_end|>\n' }}{%- e", "'' }}{%- e"),
                "leaves the answer out",
            ),
            (
                CHATML.replace("assistant\n' }}{% endif", "assistant\nThinking: ' }}{% endif"),
                r"asks for message 2 with text.*Thinking",
            ),
            ("{{ raise_exception('not today') }}", "fails on a question.*not today"),
            ("{{ messages[7]['content'] }}", "fails on a question"),
            ("{% for x in %}", "fails on a question"),
            ("{{ bos_token }}always the same</s>", "drops or changes a message of the role user"),
            (
                CHATML.replace("message['content']", "message['content'] | upper"),
                "drops or changes",
            ),
            ("{% generation %}{% endgeneration %}" + CHATML, "leaves the answer out"),
            (MARKED.replace("message['role'] == 'assistant'", "false"), "marks 0 answers"),
        ],
    )
    def test_refused_with_the_reason(self, tmp_path: Path, template: str, message: str) -> None:
        chosen = chat_settings(tmp_path, template, vocabulary=420)
        with pytest.raises(UsageError, match=message) as error:
            load_vocabulary(chosen)
        assert "layout plain" in str(error.value)

    def test_a_prompt_that_ends_within_a_token(self, tmp_path: Path) -> None:
        """A space at the end is one token, and another one together with the answer behind it."""
        spaced = (
            "{% for message in messages %}"
            "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ANSWER: ' }}"
            "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
        )
        chosen = chat_settings(tmp_path, spaced, (), vocabulary=420)
        path = tmp_path / "tokenizer.json"
        content = json.loads(path.read_text("utf-8"))
        content["model"]["merges"].insert(0, ["Ġ", "T"])
        content["model"]["vocab"]["ĠT"] = len(content["model"]["vocab"])
        path.write_text(json.dumps(content), "utf-8")
        with pytest.raises(UsageError, match="becomes one token with the beginning"):
            load_vocabulary(chosen)

    def test_no_template(self, tmp_path: Path) -> None:
        save_tiny_tokenizer(tmp_path)
        with pytest.raises(UsageError, match="no chat template"):
            load_vocabulary(TokenSettings(tokenizer=str(tmp_path), layout=Layout.CHAT))


class TestRowsThatGiveNoSample:
    @pytest.mark.parametrize("text", ["a<|im_end|>b", "</s>", "<s>", "<pad>", "<|im_start|>user"])
    @pytest.mark.parametrize("role", ["s", "u", "a"])
    def test_control_tokens_in_a_text(self, chatml: TokenSettings, text: str, role: str) -> None:
        turns = [("s", "Be"), ("u", "Hi"), ("a", "Yo")]
        hit = [(who, text if who == role else said) for who, said in turns]
        encoded = encode(frame(turns, hit, turns), _loaded(chatml), chatml)
        assert encoded.samples["row_id"].to_list() == ["row0", "row2"]
        assert encoded.removed["reason"].to_list() == ["control_token"]
        assert text.strip("ab") in encoded.removed["detail"][0] or "im_start" in text

    def test_a_template_that_refuses_system_messages(self, tmp_path: Path) -> None:
        refusing = (
            "{% if messages[0]['role'] == 'system' %}"
            "{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
        )
        chosen = chat_settings(tmp_path, refusing)
        turns = [("u", "Hi"), ("a", "Yo")]
        encoded = encode(frame([("s", "Be"), *turns], turns), load_vocabulary(chosen), chosen)
        assert encoded.removed["reason"].to_list() == ["template"]
        assert "System role not supported" in encoded.removed["detail"][0]
        assert encoded.samples["row_id"].to_list() == ["row1"]

    def test_a_template_that_drops_system_messages(self, tmp_path: Path) -> None:
        dropping = CHATML.replace(
            "{% for message in messages %}",
            "{% for message in messages if message['role'] != 'system' %}",
        )
        chosen = chat_settings(tmp_path, dropping)
        turns = [("s", "Be brief"), ("u", "Hi"), ("a", "Yo")]
        encoded = encode(frame(turns), load_vocabulary(chosen), chosen)
        assert encoded.removed["reason"].to_list() == ["template"]
        assert "role system" in encoded.removed["detail"][0]

    def test_a_template_that_renders_earlier_answers_in_another_way(self, tmp_path: Path) -> None:
        """As templates of reasoning models do: the last answer alone keeps an empty thought."""
        thinking = CHATML.replace(
            "message['role'] + '\n' +",
            "message['role'] + '\n' "
            "+ ('[think]' if loop.last and message['role'] == 'assistant' else '') +",
        )
        chosen = chat_settings(tmp_path, thinking)
        turns = [("u", "Hi"), ("a", "Yo")]
        vocabulary = load_vocabulary(chosen)
        encoded = encode(frame(turns, turns + turns), vocabulary, chosen)
        assert encoded.samples["row_id"].to_list() == ["row0"]
        assert encoded.removed["reason"].to_list() == ["template"]
        assert "differently when more follow" in encoded.removed["detail"][0]

    def test_a_template_that_marks_only_the_last_end_token(self, tmp_path: Path) -> None:
        """Answers before it would be learnt without an end."""
        last = MARKED.replace(
            "+ '<|im_end|>\n' }}{%- endgeneration -%}",
            "+ ('<|im_end|>\n' if loop.last else '') }}{%- endgeneration -%}"
            "{{ '' if loop.last else '<|im_end|>\n' }}",
        )
        chosen = chat_settings(tmp_path, last)
        turns = [("u", "Hi"), ("a", "Yo")]
        encoded = encode(frame(turns + turns, turns), load_vocabulary(chosen), chosen)
        assert encoded.removed["reason"].to_list() == ["template"]
        assert "no end token" in encoded.removed["detail"][0]
        assert encoded.samples["row_id"].to_list() == ["row1"]

    def test_a_template_that_cuts_a_piece_out_of_an_answer(self, tmp_path: Path) -> None:
        cutting = CHATML.replace("message['content']", "message['content'].split('[think]')[-1]")
        chosen = chat_settings(tmp_path, cutting)
        rows = frame([("u", "Hi"), ("a", "Hm[think]Yo")])
        encoded = encode(rows, load_vocabulary(chosen), chosen)
        assert encoded.removed["reason"].to_list() == ["template"]
        assert "answer" in encoded.removed["detail"][0]


_LOADED: dict[str, Vocabulary] = {}


@pytest.fixture(scope="module")
def chatml(tmp_path_factory: pytest.TempPathFactory) -> TokenSettings:
    """ChatML with a tokenizer that merges."""
    return chat_settings(tmp_path_factory.mktemp("chatml"), CHATML, vocabulary=420)


def _loaded(chosen: TokenSettings) -> Vocabulary:
    """A vocabulary, loaded once for all examples of a property."""
    if chosen.tokenizer not in _LOADED:
        _LOADED[chosen.tokenizer] = load_vocabulary(chosen)
    return _LOADED[chosen.tokenizer]
