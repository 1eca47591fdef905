"""The layout chat: a tokenizer's chat template, and where the answers stand in what it renders."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jinja2 import TemplateError

from sft.errors import UsageError
from sft.tokenisation._conversation import Conversation, Exchange, Laid, Message, Unfit
from sft.tokenisation._vocabulary import Vocabulary, control_tokens

if TYPE_CHECKING:
    from tokenizers import Encoding

Span = tuple[int, int]

_PROBE = Conversation(None, (Exchange("What is two plus three?", "The sum is five."),))
_REMEDY = "Choose the layout plain, or a tokenizer whose chat template "

# A template may write the date of the day into its system message. Samples must not depend on the
# day they were made; this is the date that Llama 3's template falls back to.
_DATE = datetime(2024, 7, 26)

_BLOCK = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")

_FAILURES = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What a template can raise on a conversation that it is not made for."""


class TemplateFacts(NamedTuple):
    """What the simplest conversation shows of a chat template."""

    marks_answers: bool
    """It has {% generation %} blocks."""
    end_id: int
    """The special token that it ends an answer with."""
    bos_id: int | None
    """The BOS token, if it writes one at the beginning."""


class _Rendered(NamedTuple):
    """A conversation as text, and where in it the turns of the assistant stand."""

    text: str
    spans: Sequence[Span]
    """Of characters; what the model is to write, its end token, perhaps a line break."""


class _Misfit(Exception):
    """A template does something with a conversation that makes no sample of it."""


def probe_template(tokenizer: Any, name: str) -> TemplateFacts:
    """Try a chat template with one question and one answer.

    Raises UsageError for a template that could not train a model: it fails, it renders the prompt
    another way when the answer follows, or no special token inside what is learnt ends the answer,
    so that the model would never learn to stop.
    """
    try:
        template = tokenizer.get_chat_template()
    except ValueError:
        raise UsageError(
            f"{name}: this tokenizer has no chat template. {_REMEDY}is there"
        ) from None
    marks = _BLOCK.search(template) is not None
    try:
        rendered = _render(_PROBE, tokenizer, marks)
        prompt = _prompt_of(tokenizer, _PROBE.messages(), 1, rendered.text)
    except (_Misfit, *_FAILURES) as error:
        raise UsageError(
            f"{name}: the chat template fails on a question and its answer: {error}. "
            f"{_REMEDY}renders it"
        ) from None
    backend = tokenizer.backend_tokenizer
    encoding = backend.encode(rendered.text, add_special_tokens=False)
    prompt_ids = backend.encode(prompt, add_special_tokens=False).ids
    if encoding.ids[: len(prompt_ids)] != prompt_ids:
        raise UsageError(
            f"{name}: the chat template asks for an answer with {_end_of(prompt)}, whose end "
            "becomes one token with the beginning of the answer, so that a model would be trained "
            f"on other tokens than it is asked with. {_REMEDY}asks without white space at the end"
        )
    bos_id = tokenizer.bos_token_id if encoding.ids[0] == tokenizer.bos_token_id else None
    return TemplateFacts(marks, _end_token(rendered, encoding, tokenizer, name), bos_id)


def lay_out_chat(
    conversations: Sequence[Conversation], vocabulary: Vocabulary
) -> list[Laid | Unfit]:
    """Conversations as the chat template renders them, each encoded as one text.

    An answer begins behind the prompt that asks for it (or where the template's block begins), and
    ends with its end token; tokens behind the last answer's are left out. Unfit with the reasons
    ``control_token`` for text that a special token could be read from, and ``template`` for
    conversations that the template refuses or does not render as they are.
    """
    controls = control_tokens(conversations, vocabulary)
    laid: list[Laid | Unfit | None] = [None] * len(conversations)
    rendered: dict[int, _Rendered] = {}
    for index, (conversation, control) in enumerate(zip(conversations, controls, strict=True)):
        if control is not None:
            laid[index] = Unfit(
                "control_token", f"the text contains {control}, which would become a control token"
            )
            continue
        try:
            rendered[index] = _render(conversation, vocabulary.tokenizer, vocabulary.marks_answers)
        except (_Misfit, *_FAILURES) as error:
            laid[index] = Unfit("template", f"the chat template: {error}")
    encodings = vocabulary.backend.encode_batch(
        [text for text, _ in rendered.values()], add_special_tokens=False
    )
    for (index, text), encoding in zip(rendered.items(), encodings, strict=True):
        laid[index] = _located(text, encoding, conversations[index], vocabulary)
    return [outcome for outcome in laid if outcome is not None]


def _apply(
    tokenizer: Any, messages: list[Message], *, prompt: bool = False, marks: bool = False
) -> tuple[str, list[Span]]:
    """What the template makes of messages, and its {% generation %} blocks if asked for.

    ``prompt``: ask for the next answer.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    texts, blocks = render_jinja_template(
        conversations=[messages],
        chat_template=tokenizer.get_chat_template(),
        return_assistant_tokens_mask=marks,
        add_generation_prompt=prompt,
        strftime_now=_DATE.strftime,
        **tokenizer.special_tokens_map,
    )
    return texts[0], blocks[0] if marks else []


def _render(conversation: Conversation, tokenizer: Any, marks: bool) -> _Rendered:
    """A conversation rendered, its messages being there and every answer in a place of its own.

    Raises _Misfit otherwise, and what the template itself raises.
    """
    messages = conversation.messages()
    if marks:
        text, blocks = _apply(tokenizer, messages, marks=True)
        spans = _joined(blocks)
        if len(spans) != len(conversation.exchanges):
            raise _Misfit(
                f"it marks {len(spans)} answers in {{% generation %}} blocks, not "
                f"{len(conversation.exchanges)}"
            )
    else:
        text, spans = _answers_by_prefixes(tokenizer, messages)
    for message in messages:
        if message["role"] != "assistant" and message["content"].strip() not in text:
            raise _Misfit(f"it drops or changes a message of the role {message['role']}")
    return _Rendered(text, spans)


def _answers_by_prefixes(tokenizer: Any, messages: list[Message]) -> tuple[str, list[Span]]:
    """The rendered text, and each answer from behind its prompt to the end of its message.

    Raises _Misfit where a shorter conversation is not rendered as the longer one begins.
    """
    text, _ = _apply(tokenizer, messages)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        upto = text
        if index + 1 < len(messages):
            upto, _ = _apply(tokenizer, messages[: index + 1])
        if not text.startswith(upto):
            raise _Misfit(
                f"it renders message {index + 1} or those before it differently when more "
                f"follow: {_divergence(upto, text)}"
            )
        spans.append((len(_prompt_of(tokenizer, messages, index, upto)), len(upto)))
    return text, spans


def _prompt_of(tokenizer: Any, messages: list[Message], answer: int, text: str) -> str:
    """What asks for the answer that is the message of that index.

    Raises _Misfit if the text with the answer does not begin so.
    """
    prompt, _ = _apply(tokenizer, messages[:answer], prompt=True)
    if not text.startswith(prompt):
        raise _Misfit(
            f"it asks for message {answer + 1} with text that does not stand before it: "
            f"{_divergence(prompt, text)}"
        )
    return prompt


def _joined(blocks: Sequence[Span]) -> list[Span]:
    """Blocks that follow each other without a gap as one."""
    spans: list[Span] = []
    for start, end in blocks:
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    return spans


def _located(
    rendered: _Rendered, encoding: Encoding, conversation: Conversation, vocabulary: Vocabulary
) -> Laid | Unfit:
    """The tokens of a rendered conversation, and which of them are answers."""
    tokens = np.array(encoding.ids, dtype=np.uint32)
    ends = np.flatnonzero(np.isin(tokens, vocabulary.end_ids)).tolist()
    answers = []
    for (start, end), exchange in zip(rendered.spans, conversation.exchanges, strict=True):
        # Nothing comes before the first token of all, so nothing could predict it.
        first = max(1, _first_token(encoding, start, end))
        last = next((index for index in ends if index >= first), len(tokens))
        place = encoding.token_to_chars(last)
        if place is None or place[0] >= end:
            return Unfit("template", "the chat template: no end token follows an answer")
        if exchange.answer.strip() not in rendered.text[start : place[1]]:
            return Unfit("template", "the chat template: it drops or changes an answer")
        answers.append((first, last + 1))
    return Laid(tokens[: answers[-1][1]], answers)


def _first_token(encoding: Encoding, start: int, end: int) -> int:
    """The first token that belongs to the characters from ``start`` on; the number of all if none.

    A token that reaches over from before ``start`` holds a piece of the prompt: a model that is
    asked with the prompt never writes it.
    """
    for char in range(start, end):
        token = encoding.char_to_token(char)
        if token is not None and _begins(encoding, token) >= start:
            return token
    return len(encoding.ids)


def _begins(encoding: Encoding, token: int) -> int:
    place = encoding.token_to_chars(token)
    return -1 if place is None else place[0]


def _end_token(rendered: _Rendered, encoding: Encoding, tokenizer: Any, name: str) -> int:
    """The special token that ends the probe's answer. Raises UsageError if it is not learnt."""
    (start, end), *_ = rendered.spans
    answer = _PROBE.exchanges[0].answer
    behind = rendered.text.find(answer, start) + len(answer)
    if behind < len(answer) or behind > end:
        raise UsageError(
            f"{name}: the chat template leaves the answer out of what is learnt (its "
            f"{{% generation %}} block). {_REMEDY}has the answer and its end token in the block"
        )
    special = {
        number for number, token in tokenizer.added_tokens_decoder.items() if token.special
    } - {tokenizer.unk_token_id if tokenizer.unk_token_id != tokenizer.eos_token_id else None}
    for index, number in enumerate(encoding.ids):
        if number not in special or _begins(encoding, index) < behind:
            continue
        if _begins(encoding, index) < end:
            return int(number)
        raise UsageError(
            f"{name}: the chat template ends an answer with {tokenizer.decode([number])}, but its "
            "{% generation %} block closes before it, so a model would never learn to stop. "
            f"{_REMEDY}has the end token inside the block"
        )
    found = repr(rendered.text[behind:]) if rendered.text[behind:] else "nothing"
    raise UsageError(
        f"{name}: the chat template ends an answer with no special token (behind it stands "
        f"{found}), so a model would never learn to stop. {_REMEDY}ends every answer with one, "
        f"such as {tokenizer.eos_token}"
    )


def _divergence(shorter: str, longer: str) -> str:
    """Where a text stops being the beginning of another, for a person."""
    pairs = zip(shorter, longer, strict=False)
    at = next((index for index, (a, b) in enumerate(pairs) if a != b), len(longer))
    begin = max(0, at - 20)
    return f"{shorter[begin : at + 20]!r} became {longer[begin : at + 20]!r}"


def _end_of(text: str) -> str:
    return repr(text[-20:])
