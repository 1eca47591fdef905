"""Rows of conversations as samples of tokens with loss masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sft.records import Tally, removed_rows
from sft.settings import Layout, TokenSettings
from sft.tokenisation._chat import lay_out_chat
from sft.tokenisation._conversation import (
    Conversation,
    Laid,
    Message,
    Tokens,
    Unfit,
    read_conversation,
)
from sft.tokenisation._fitting import Piece, fit
from sft.tokenisation._plain import lay_out_plain
from sft.tokenisation._vocabulary import Vocabulary

SAMPLES: Mapping[str, pl.DataType] = {
    "sample_id": pl.String(),
    "row_id": pl.String(),
    "source": pl.String(),
    "language": pl.String(),
    "part": pl.Int64(),
    "n_tokens": pl.Int64(),
    "n_supervised": pl.Int64(),
}
"""Columns of a sample.

``sample_id`` is the row's id, with ``#part`` behind it if the row was split; ``part`` counts from
0, and is 0 for rows that were not.
"""

SHORTEST = 8
"""Tokens that a sequence has at least; less has no room for a prompt, a context and an answer."""

_TOGETHER = 1000
"""Rows encoded at a time: what the tokenizer tells of a token takes some 200 bytes."""


class Encoded(NamedTuple):
    """What rows gave: samples in the order of the rows, and the rows that gave none.

    ``counts`` tallies rows by (source, kind): ``cut``, ``split``, ``dropped`` (removed, as they or
    their prompt were too long), ``unanswered`` (messages behind the last answer were left out) and
    ``unknown_token`` (the tokenizer does not know all characters).
    """

    samples: pl.DataFrame
    """With the columns `SAMPLES`."""
    tokens: Tokens
    """The tokens of all samples one after the other, shape (sum of n_tokens,)."""
    supervised: NDArray[np.bool_]
    """Of every token, whether the loss is taken over its prediction."""
    removed: pl.DataFrame
    """With the columns of `sft.records.REMOVED`."""
    counts: Tally


class _Outcome(NamedTuple):
    """What one row gave."""

    pieces: Sequence[Piece]
    unfit: Unfit | None
    kinds: Sequence[str]


def encode(rows: pl.DataFrame, vocabulary: Vocabulary, settings: TokenSettings) -> Encoded:
    """Lay rows out as samples of at most ``settings.length`` tokens.

    The loss is taken over the assistant's answers and their end tokens only, and never over a
    sample's first token, which has no predecessor. The outcome is the same for any division of the
    rows into frames, and any number of threads.

    Args:
        rows: A frame with the columns `sft.records.ROWS`.
        vocabulary: The tokenizer, loaded for ``settings.layout``.
        settings: Sequence length, and what becomes of longer conversations.

    Raises ValueError for a length below `SHORTEST`, and for a vocabulary of another layout.
    """
    if settings.length < SHORTEST:
        raise ValueError(f"a length of {settings.length} tokens; at least {SHORTEST} are needed")
    if vocabulary.layout is not settings.layout:
        raise ValueError(f"a vocabulary for {vocabulary.layout}, settings for {settings.layout}")
    outcomes: list[_Outcome] = []
    for at in range(0, len(rows), _TOGETHER):
        messages = rows["messages"][at : at + _TOGETHER].to_list()
        outcomes += _encode_together(messages, vocabulary, settings)
    return _assembled(rows, outcomes)


def _encode_together(
    rows: Sequence[Sequence[Message]], vocabulary: Vocabulary, settings: TokenSettings
) -> list[_Outcome]:
    """The outcomes of rows that are few enough to be encoded at a time."""
    read = [read_conversation(messages) for messages in rows]
    pieces: list[list[Piece]] = [[] for _ in rows]
    unfit = [row.conversation if isinstance(row.conversation, Unfit) else None for row in read]
    cut = [False] * len(rows)
    waiting = {
        index: row.conversation
        for index, row in enumerate(read)
        if isinstance(row.conversation, Conversation)
    }
    while waiting:
        rest: dict[int, Conversation] = {}
        for (index, conversation), laid in zip(
            waiting.items(), _lay_out(list(waiting.values()), vocabulary), strict=True
        ):
            fitted = (
                laid
                if isinstance(laid, Unfit)
                else fit(laid, settings.length, settings.overlong, vocabulary.bos_id)
            )
            if isinstance(fitted, Unfit):
                unfit[index] = fitted
                continue
            pieces[index] += fitted.pieces
            cut[index] |= fitted.cut
            if fitted.exchanges < len(conversation.exchanges):
                rest[index] = conversation.after(fitted.exchanges)
        waiting = rest
    return [
        _outcome(pieces[index], unfit[index], cut[index], row.unanswered, vocabulary)
        for index, row in enumerate(read)
    ]


def _lay_out(
    conversations: Sequence[Conversation], vocabulary: Vocabulary
) -> Sequence[Laid | Unfit]:
    if vocabulary.layout is Layout.PLAIN:
        return lay_out_plain(conversations, vocabulary)
    return lay_out_chat(conversations, vocabulary)


def _outcome(
    pieces: Sequence[Piece],
    unfit: Unfit | None,
    cut: bool,
    unanswered: bool,
    vocabulary: Vocabulary,
) -> _Outcome:
    """What one row gave, with the kinds it counts under; a row gives all its pieces or none."""
    if unfit is not None:
        too_long = unfit.reason in ("too_long", "prompt_too_long")
        return _Outcome((), unfit, ["dropped"] if too_long else [])
    unknown = vocabulary.unknown_id is not None and any(
        (piece.tokens == vocabulary.unknown_id).any() for piece in pieces
    )
    kinds = {
        "cut": cut,
        "split": len(pieces) > 1,
        "unanswered": unanswered,
        "unknown_token": unknown,
    }
    return _Outcome(pieces, None, [kind for kind, applies in kinds.items() if applies])


def _assembled(rows: pl.DataFrame, outcomes: Sequence[_Outcome]) -> Encoded:
    """The samples of all rows, and the rows that gave none."""
    pieces = [piece for outcome in outcomes for piece in outcome.pieces]
    numbers = np.array([len(outcome.pieces) for outcome in outcomes], dtype=np.int64)
    parts = [part for number in numbers.tolist() for part in range(number)]
    samples = (
        rows.select("row_id", "source", "language")[np.repeat(np.arange(len(rows)), numbers)]
        .with_columns(
            pl.Series("part", parts, dtype=pl.Int64),
            pl.Series("n_tokens", [len(piece.tokens) for piece in pieces], dtype=pl.Int64),
            pl.Series(
                "n_supervised",
                [np.count_nonzero(piece.supervised) for piece in pieces],
                dtype=pl.Int64,
            ),
            pl.Series("_split", np.repeat(numbers > 1, numbers), dtype=pl.Boolean),
        )
        .with_columns(
            pl.when("_split")
            .then(pl.format("{}#{}", "row_id", "part"))
            .otherwise("row_id")
            .alias("sample_id")
        )
        .select(pl.col(name).cast(kind) for name, kind in SAMPLES.items())
    )
    unfit = [(index, each.unfit) for index, each in enumerate(outcomes) if each.unfit is not None]
    removed = removed_rows(
        rows[[index for index, _ in unfit]],
        "tokenise",
        [why.reason for _, why in unfit],
        [why.detail for _, why in unfit],
    )
    counts: Tally = Counter(
        (source, kind)
        for source, outcome in zip(rows["source"], outcomes, strict=True)
        for kind in outcome.kinds
    )
    return Encoded(
        samples,
        np.concatenate([np.empty(0, np.uint32), *(piece.tokens for piece in pieces)]),
        np.concatenate([np.empty(0, np.bool_), *(piece.supervised for piece in pieces)]),
        removed,
        counts,
    )
