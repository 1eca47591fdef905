"""The layout plain: prompt, separator, answer, end token (arXiv 2310.04945, section 3.3)."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np

from sft.tokenisation._conversation import Conversation, Exchange, Laid, Tokens, Unfit
from sft.tokenisation._vocabulary import Vocabulary, as_ordinary_text, control_tokens

_BLANK_LINE = "\n\n"


def plain_template(separator: str, *, begins: bool) -> str:
    """The layout as a chat template, for servers of the tuned model.

    ``begins``: whether a sample begins with the tokenizer's BOS token. The template raises on
    conversations that training never shows: roles out of turn, a system message that is not first.
    """
    literal = json.dumps(separator, ensure_ascii=False)
    return (
        ("{{- bos_token }}" if begins else "") + "{%- set turns = messages %}"
        "{%- if messages[0]['role'] == 'system' %}"
        "{%- set turns = messages[1:] %}"
        "{%- if messages[0]['content'].strip() %}"
        "{{- messages[0]['content'] + '\\n\\n' }}"
        "{%- endif %}"
        "{%- endif %}"
        "{%- for message in turns %}"
        "{%- if message['role'] != ['user', 'assistant'][loop.index0 % 2] %}"
        "{{- raise_exception('after a system message, user and assistant take turns') }}"
        "{%- endif %}"
        "{%- if message['role'] == 'user' %}"
        f"{{{{- message['content'] + {literal} }}}}"
        "{%- else %}"
        "{{- message['content'] + eos_token }}"
        "{%- endif %}"
        "{%- endfor %}"
    )


def lay_out_plain(
    conversations: Sequence[Conversation], vocabulary: Vocabulary
) -> list[Laid | Unfit]:
    """Conversations as ``[BOS] [system, blank line] prompt SEP answer EOS prompt SEP ...``.

    Each is encoded as one text, the way a server encodes what the chat template renders. In a
    conversation that writes a special token out, the pieces between our own special tokens are
    encoded as ordinary text; that such text becomes no control token is checked either way.
    Unfit with the reason ``control_token`` where the tokenizer cannot do that.
    """
    texts = [_text(conversation, vocabulary) for conversation in conversations]
    encodings = vocabulary.backend.encode_batch_fast(texts, add_special_tokens=False)
    laid: list[Laid | Unfit] = []
    for conversation, encoding in zip(conversations, encodings, strict=True):
        tokens = np.array(encoding.ids, dtype=np.uint32)
        whole = _located(tokens, len(conversation.exchanges), vocabulary)
        laid.append(whole or _lay_out_apart(conversation, vocabulary))
    return laid


def splits_apart(vocabulary: Vocabulary) -> bool:
    """Whether texts between special tokens can be encoded alone, on texts that tell.

    Some tokenizers treat the beginning of a text differently from the place behind a special
    token (a mark for a space that is not there).
    """
    probe = Conversation(
        "Be  brief.",
        (Exchange(" a\n", "b c"), Exchange("é中文 ", "  x\n\ny "), Exchange("\n1", "2")),
    )
    whole = lay_out_plain([probe], vocabulary)[0]
    apart = _apart(probe, vocabulary)
    return isinstance(whole, Laid) and np.array_equal(whole.tokens, apart)


def _text(conversation: Conversation, vocabulary: Vocabulary) -> str:
    """A conversation as one text, special tokens written out."""
    tokenizer = vocabulary.tokenizer
    texts = [] if vocabulary.bos_id is None else [tokenizer.bos_token]
    for prompt, answer in _pieces(conversation):
        texts += [prompt, vocabulary.separator, answer, tokenizer.eos_token]
    return "".join(texts)


def _pieces(conversation: Conversation) -> list[Exchange]:
    """The exchanges, the first one's prompt behind the system message."""
    if conversation.system is None:
        return list(conversation.exchanges)
    first, *others = conversation.exchanges
    return [first._replace(prompt=conversation.system + _BLANK_LINE + first.prompt), *others]


def _located(tokens: Tokens, exchanges: int, vocabulary: Vocabulary) -> Laid | None:
    """Where the answers stand; None if other special tokens are there than the layout's own."""
    positions = np.flatnonzero(vocabulary.special[tokens])
    assert vocabulary.separator_id is not None
    own = [vocabulary.separator_id, vocabulary.eos_id] * exchanges
    if vocabulary.bos_id is not None:
        own.insert(0, vocabulary.bos_id)
    if tokens[positions].tolist() != own:
        return None
    ends = positions[len(own) % 2 :] + 1
    starts_and_ends = ends.reshape(-1, 2).tolist()
    return Laid(tokens, [(start, end) for start, end in starts_and_ends])


def _lay_out_apart(conversation: Conversation, vocabulary: Vocabulary) -> Laid | Unfit:
    """A conversation that writes special tokens out, as text."""
    if vocabulary.splits_apart:
        tokens = _apart(conversation, vocabulary)
        laid = _located(tokens, len(conversation.exchanges), vocabulary)
        if laid is not None:
            return laid
    token = control_tokens([conversation], vocabulary)[0] or "a special token"
    return Unfit(
        "control_token",
        f"the text contains {token}, which this tokenizer cannot encode as ordinary text",
    )


def _apart(conversation: Conversation, vocabulary: Vocabulary) -> Tokens:
    """The tokens of a conversation, each piece of text encoded alone and as ordinary text."""
    texts = [text for exchange in _pieces(conversation) for text in exchange]
    with as_ordinary_text(vocabulary.backend):
        encodings = vocabulary.backend.encode_batch_fast(texts, add_special_tokens=False)
    assert vocabulary.separator_id is not None
    ids = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
    for index, encoding in enumerate(encodings):
        ids += encoding.ids
        ids.append(vocabulary.eos_id if index % 2 else vocabulary.separator_id)
    return np.array(ids, dtype=np.uint32)
