"""What becomes of a conversation that is longer than a sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.settings import Overlong
from sft.tokenisation._conversation import Laid, Tokens, Unfit


class Piece(NamedTuple):
    """A sample to be: tokens, and which of them the loss is taken over; both of shape (n,)."""

    tokens: Tokens
    supervised: NDArray[np.bool_]


class Fit(NamedTuple):
    """What a conversation gives for a sequence length."""

    pieces: Sequence[Piece]
    exchanges: int
    """How many exchanges, from the first one on, are dealt with."""
    cut: bool
    """Whether answer tokens were lost."""


def fit(laid: Laid, length: int, overlong: Overlong, bos_id: int | None) -> Fit | Unfit:
    """The pieces of at most ``length`` tokens that a conversation gives.

    A conversation that fits is one piece. Of a longer one,

    - DROP gives nothing (Unfit, ``too_long``);
    - CUT keeps the first ``length`` tokens: the answer they end in has no end token, later
      exchanges are lost;
    - SPLIT makes a piece of as many exchanges as fit; ``exchanges`` says how many, and the caller
      goes on with the others (each piece repeats the system message, so they are laid out anew).
      An exchange that alone is too long becomes windows over its answer: each later one begins
      with the last quarter of a sequence before it (a BOS token included), unsupervised, so that
      every answer token is supervised in exactly one piece and the end token stands in the last.

    A first prompt that leaves no room for an answer is Unfit, ``prompt_too_long``, under any
    policy.
    """
    begin = laid.answers[0][0]
    if begin >= length:
        return Unfit(
            "prompt_too_long",
            f"a prompt has {begin} tokens, the limit is {length}; make it shorter, or raise "
            "tokens.length",
        )
    total = len(laid.tokens)
    if total <= length:
        return Fit([_piece(laid, total)], len(laid.answers), cut=False)
    match overlong:
        case Overlong.DROP:
            return Unfit(
                "too_long",
                f"{total} tokens, the limit is {length}; raise tokens.length, or set "
                "tokens.overlong: split",
            )
        case Overlong.CUT:
            return Fit([_piece(laid, length)], len(laid.answers), cut=True)
        case Overlong.SPLIT:
            whole = sum(end <= length for _, end in laid.answers)
            if whole:
                return Fit([_piece(laid, laid.answers[whole - 1][1])], whole, cut=False)
            return Fit(_windows(laid, length, bos_id), 1, cut=False)


def _piece(laid: Laid, length: int) -> Piece:
    """The first tokens of a conversation, without what follows the last answer in them."""
    supervised = np.zeros(length, dtype=np.bool_)
    for start, end in laid.answers:
        supervised[start:end] = True
    used = int(np.flatnonzero(supervised)[-1]) + 1
    return Piece(laid.tokens[:used], supervised[:used])


def _windows(laid: Laid, length: int, bos_id: int | None) -> list[Piece]:
    """The first exchange as pieces, each over the next part of its answer."""
    end = laid.answers[0][1]
    lead = laid.tokens[:1] if bos_id is not None else laid.tokens[:0]
    # At least one token of context beside the BOS, so that the next token follows on something.
    context = max(1, length // 4 - len(lead))
    room = length - len(lead) - context
    pieces = [_piece(laid, length)]
    for at in range(length, end, room):
        tokens = np.concatenate([lead, laid.tokens[at - context : min(at + room, end)]])
        supervised = np.ones(len(tokens), dtype=np.bool_)
        supervised[: len(lead) + context] = False
        pieces.append(Piece(tokens, supervised))
    return pieces
