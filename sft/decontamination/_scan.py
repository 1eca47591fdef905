"""The removal of rows in which a question of an evaluation, or its reference, occurs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sft.decontamination._index import ContaminationIndex
from sft.records import StepResult, Tally, removed_rows
from sft.words import Tokens, fold, tokens_of, turns

STEP = "decontaminate"
_MOST_NAMED = 3
_LONGEST = 120


class _Overlap(NamedTuple):
    """Tokens that a turn shares with a text."""

    text: int
    turn: int
    """Number of the turn in the frame."""
    first: int
    """Token in the turn."""
    last: int


def decontaminate(rows: pl.DataFrame, index: ContaminationIndex) -> StepResult:
    """Rows without those that overlap with a question or a reference of the index.

    Reasons are "question_overlap" and, where only references overlap, "reference_overlap"; the
    detail names the set, the question, the shared words (folded) and the turn (from 1). ``found``
    counts rows by (source, "SET/QUESTION_ID"): a row that overlaps with two questions counts for
    both.
    """
    frame = turns(rows)
    tokens = tokens_of(fold(frame["content"]))
    overlaps = _overlaps(tokens, frame["role"], index)
    by_row: dict[int, list[_Overlap]] = {}
    row_of = frame["row"]
    for overlap in overlaps:
        by_row.setdefault(row_of[overlap.turn], []).append(overlap)
    numbers = sorted(by_row)
    sources = rows["source"]
    found: Tally = Counter()
    reasons, details = [], []
    for number in numbers:
        mine = by_row[number]
        questions = {(index.texts[o.text].set, index.texts[o.text].question_id) for o in mine}
        found.update((sources[number], f"{name}/{question}") for name, question in questions)
        in_question = any(index.texts[overlap.text].part == "question" for overlap in mine)
        reasons.append("question_overlap" if in_question else "reference_overlap")
        details.append(_detail(mine, index, tokens, frame))
    contaminated = pl.Series(np.isin(np.arange(len(rows)), numbers), dtype=pl.Boolean)
    return StepResult(
        kept=rows.filter(~contaminated),
        removed=removed_rows(rows.filter(contaminated), STEP, reasons, details),
        found=found,
    )


def _overlaps(tokens: Tokens, roles: pl.Series, index: ContaminationIndex) -> list[_Overlap]:
    """All overlaps, each as long as it goes, in the order of turns."""
    hits = np.concatenate([_inside(tokens, index), _whole(tokens, roles, index)])
    if not len(hits):
        return []
    pattern_texts = np.array([pattern.text for pattern in index.patterns])
    pattern_firsts = np.array([pattern.first for pattern in index.patterns])
    pattern_lengths = np.array([pattern.length for pattern in index.patterns])
    prompts = np.array([pattern.prompts for pattern in index.patterns])
    owners = np.searchsorted(tokens.offsets, hits[:, 0], "right") - 1
    spoken = (roles == "assistant").to_numpy()
    allowed = ~(prompts[hits[:, 1]] & spoken[owners])
    hits, owners = hits[allowed], owners[allowed]

    starts = hits[:, 0] - tokens.offsets[owners]
    texts, firsts = pattern_texts[hits[:, 1]], pattern_firsts[hits[:, 1]]
    ends = starts + pattern_lengths[hits[:, 1]]
    # Windows of one run lie on a diagonal: their places in turn and text differ by the same number.
    order = np.lexsort((starts, starts - firsts, texts, owners))
    merged: list[_Overlap] = []
    diagonal = None
    for owner, text, first, start, end in np.column_stack(
        (owners, texts, firsts, starts, ends)
    )[order].tolist():  # fmt: skip
        if tokens.words(owner, start, end) != list(
            index.texts[text].words[first : first + end - start]
        ):
            continue  # two runs of tokens with the same hash
        here = (owner, text, start - first)
        if here == diagonal and start <= merged[-1].last:
            merged[-1] = merged[-1]._replace(last=max(end, merged[-1].last))
        else:
            merged.append(_Overlap(text, owner, start, end))
        diagonal = here
    return merged


def _inside(tokens: Tokens, index: ContaminationIndex) -> NDArray[np.int64]:
    """(n_hits, 2): place of a token, and the pattern that seems to start there."""
    places = index.anchored(tokens.hashes)
    owners = np.searchsorted(tokens.offsets, places, "right") - 1
    room = tokens.offsets[owners + 1] - places
    found = [np.empty((0, 2), np.int64)]
    for table in index.inside:
        fitting = places[room >= table.length]
        found.append(table.look_up(tokens.hashes, fitting))
    return np.concatenate(found)


def _whole(tokens: Tokens, roles: pl.Series, index: ContaminationIndex) -> NDArray[np.int64]:
    """As `_inside`, for patterns that are all of a user's turn."""
    lengths = np.diff(tokens.offsets)
    asked = (roles == "user").to_numpy()
    found = [np.empty((0, 2), np.int64)]
    for table in index.whole:
        fitting = tokens.offsets[:-1][asked & (lengths == table.length)]
        found.append(table.look_up(tokens.hashes, fitting))
    return np.concatenate(found)


def _detail(
    overlaps: Sequence[_Overlap], index: ContaminationIndex, tokens: Tokens, frame: pl.DataFrame
) -> str:
    """The longest overlap with each question, the longest ones first."""
    ordered = sorted(overlaps, key=lambda o: (o.first - o.last, o.turn, o.first, o.text))
    best: dict[tuple[str, str], _Overlap] = {}
    for overlap in ordered:
        text = index.texts[overlap.text]
        best.setdefault((text.set, text.question_id), overlap)
    parts = []
    for (name, question), overlap in list(best.items())[:_MOST_NAMED]:
        begin = int(tokens.offsets[overlap.turn])
        shared = tokens.texts[overlap.turn][
            tokens.starts[begin + overlap.first] : tokens.ends[begin + overlap.last - 1]
        ]
        shared = " ".join(shared.split())
        shared = shared if len(shared) <= _LONGEST else f"{shared[: _LONGEST - 1]}…"
        where = f"turn {frame['turn'][overlap.turn] + 1} ({frame['role'][overlap.turn]})"
        parts.append(f'{index.texts[overlap.text].part} {name}/{question} in {where}: "{shared}"')
    more = len(best) - len(parts)
    return "; ".join(parts) + (f"; and {more} more" if more else "")
