"""Examples of removed rows for a report: a few, scrubbed, shortened."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import polars as pl

from sft.records import MOST_EXAMPLES, Example, place
from sft.scrubbing import scrub_text
from sft.settings import ScrubSettings

LONGEST = 400
"""Characters of an example's text."""


def removal_examples(removed: pl.DataFrame, scrub: ScrubSettings) -> tuple[Example, ...]:
    """The first few removed rows of every source and reason.

    Their texts are scrubbed before they are shortened, since half a number is still personal.
    """
    few = removed.filter(pl.int_range(pl.len()).over("source", "reason") < MOST_EXAMPLES)
    return tuple(
        Example(
            source=row["source"],
            kind=row["reason"],
            place=place(row["file"], row["line"]),
            before=shortened(scrub_text(_text(row["messages"], row["raw"]), scrub)),
            detail=shortened(scrub_text(row["detail"] or "", scrub)),
        )
        for row in few.iter_rows(named=True)
    )


def change_examples(examples: Iterable[Example], scrub: ScrubSettings) -> tuple[Example, ...]:
    """Examples of changes, scrubbed and shortened."""
    return tuple(
        replace(
            example,
            before=shortened(scrub_text(example.before, scrub)),
            after=None if example.after is None else shortened(scrub_text(example.after, scrub)),
        )
        for example in examples
    )


def shortened(text: str) -> str:
    """A text of at most `LONGEST` characters."""
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _text(messages: Sequence[dict[str, str]] | None, raw: str | None) -> str:
    """A conversation as text with its roles, or the record as it came."""
    if messages is None:
        return raw or ""
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
