"""A row's conversation as exchanges of prompt and answer, and what becomes of it as tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Tokens: TypeAlias = NDArray[np.uint32]
Message: TypeAlias = dict[str, str]


class Exchange(NamedTuple):
    """A prompt of the user and the assistant's answer to it."""

    prompt: str
    answer: str


class Conversation(NamedTuple):
    """A system message, or None, and at least one exchange."""

    system: str | None
    exchanges: tuple[Exchange, ...]

    def messages(self) -> list[Message]:
        """As a list of messages, the form that chat templates take."""
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        for exchange in self.exchanges:
            messages.append({"role": "user", "content": exchange.prompt})
            messages.append({"role": "assistant", "content": exchange.answer})
        return messages

    def texts(self) -> list[str]:
        """The contents of all messages, in order."""
        return [message["content"] for message in self.messages()]

    def after(self, exchanges: int) -> Conversation:
        """What is left behind the first so many exchanges; the system message stays."""
        return Conversation(self.system, self.exchanges[exchanges:])


class Unfit(NamedTuple):
    """Why a conversation gives no sample: a reason of `sft.records.REMOVED`, and particulars."""

    reason: str
    detail: str


class Laid(NamedTuple):
    """A conversation as tokens."""

    tokens: Tokens
    """Shape (n,); ends with the last answer's end token."""
    answers: Sequence[tuple[int, int]]
    """Of every exchange: where the answer begins, and where it ends (behind its end token)."""


class Read(NamedTuple):
    """A conversation, or why there is none; and whether messages behind its last answer fell."""

    conversation: Conversation | Unfit
    unanswered: bool


def read_conversation(messages: Sequence[Message]) -> Read:
    """The exchanges in a row's messages.

    A system message may come first; then user and assistant take turns, the user first. Messages
    behind the last answer teach nothing and are left out (``unanswered``); so is a blank system
    message. Unfit with the reason ``turn_order`` if others speak, or out of turn, and
    ``nothing_to_learn`` if there is no answer, or only blank ones.
    """
    roles = [message["role"] for message in messages]
    last = len(roles) - roles[::-1].index("assistant") if "assistant" in roles else 0
    if not last:
        return Read(Unfit("nothing_to_learn", "there is no answer"), unanswered=bool(messages))
    unanswered = last < len(messages)
    begin = int(roles[0] == "system")
    turns = messages[begin:last]
    for index, message in enumerate(turns):
        expected = ("user", "assistant")[index % 2]
        if message["role"] != expected:
            where = f"message {begin + index + 1} is of the role {message['role']}, not {expected}"
            return Read(Unfit("turn_order", where), unanswered)
    exchanges = tuple(
        Exchange(prompt["content"], answer["content"])
        for prompt, answer in zip(turns[::2], turns[1::2], strict=True)
    )
    if not any(exchange.answer.strip() for exchange in exchanges):
        return Read(Unfit("nothing_to_learn", "every answer is blank"), unanswered)
    system = messages[0]["content"] if begin and messages[0]["content"].strip() else None
    return Read(Conversation(system, exchanges), unanswered)
