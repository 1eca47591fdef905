"""Small conversations, invented for the tests of cleaning, and frames of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import polars as pl

from sft.cleaning import clean
from sft.records import ROWS, StepResult
from sft.settings import CleanSettings, Source

Talk = Sequence[tuple[str, str]]

DISTINCT = [f"{first}{second}{third}" for first in "bdfg" for second in "aeiou" for third in "lmnr"]
"""80 different words."""


def source(name: str = "tales", *languages: str) -> Source:
    return Source(
        name=name, paths=(), domain="general", task="chat", languages=languages, licence="CC0-1.0"
    )


def exchange(prompt: str, answer: str) -> Talk:
    return [("user", prompt), ("assistant", answer)]


def frame(talks: Iterable[Talk], name: str = "tales") -> pl.DataFrame:
    """Rows of the given conversations, from the lines of one file."""
    return pl.DataFrame(
        [
            {
                "row_id": f"{number:032x}",
                "source": name,
                "file": "tales.jsonl",
                "line": number,
                "language": None,
                "messages": [{"role": role, "content": content} for role, content in talk],
            }
            for number, talk in enumerate(talks, start=1)
        ],
        schema=dict(ROWS),
    )


def talks_of(rows: pl.DataFrame) -> list[list[tuple[str, str]]]:
    return [
        [(turn["role"], turn["content"]) for turn in messages]
        for messages in rows["messages"].to_list()
    ]


def cleaned(
    *talks: Talk, languages: Sequence[str] = (), settings: CleanSettings | None = None
) -> StepResult:
    here = source("tales", *languages)
    return clean(frame(talks), {here.name: here}, settings or CleanSettings())


def answer_after(text: str) -> str:
    """What cleaning makes of an answer that it keeps."""
    result = cleaned(exchange("Please go on with the story.", text))
    assert len(result.kept) == 1, result.removed["detail"].to_list()
    return talks_of(result.kept)[0][1][1]


def kinds_after(text: str) -> set[str]:
    """The kinds of changes that cleaning makes to an answer."""
    result = cleaned(exchange("Please go on with the story.", text))
    return {kind for _, kind in result.changed}


def reason_for(talk: Talk, **options: Sequence[str] | CleanSettings) -> str | None:
    """Why a conversation is removed; None if it is kept."""
    removed = cleaned(talk, **options).removed  # type: ignore[arg-type]
    return removed["reason"].item() if len(removed) else None
