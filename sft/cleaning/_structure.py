"""The order of turns: one system message at most, then prompts and answers in turn."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

PARAGRAPH = "\n\n"
"""Between texts that become one."""


class Turn(NamedTuple):
    """What one side says."""

    role: str
    content: str


class Change(NamedTuple):
    """One change of a row: its kind, and the text that changed."""

    kind: str
    before: str
    after: str


class Refusal(NamedTuple):
    """Why a row is removed."""

    reason: str
    detail: str


class Arranged(NamedTuple):
    """The turns in order; or, with a refusal, as far as they could be brought there."""

    turns: tuple[Turn, ...]
    changes: tuple[Change, ...]
    refusal: Refusal | None


def arrange(turns: Sequence[Turn]) -> Arranged:
    """Bring the turns into the order (system) user assistant user assistant ...

    System messages at the front are joined, empty ones dropped; prompts at the end that nobody
    answers are cut off; prompts in a row are joined. What cannot be mended without guessing is
    refused: a system message further down, no prompt before the first answer, no answer, an empty
    prompt or answer, and two answers in a row, which may be two parts or two alternatives.
    """
    changes: list[Change] = []
    kept = [turn for turn in turns if turn.role != "system" or turn.content]
    if len(kept) < len(turns):
        changes.append(Change("empty_system", shown(turns), shown(kept)))
    front = next((n for n, turn in enumerate(kept) if turn.role != "system"), len(kept))
    if front > 1:
        joined = [_join(kept[:front]), *kept[front:]]
        changes.append(Change("joined_system", shown(kept), shown(joined)))
        kept, front = joined, 1
    if len(kept) > front and kept[-1].role == "user":
        cut = _without_unanswered(kept)
        if len(cut) > front:
            changes.append(Change("unanswered_prompt", shown(kept), shown(cut)))
            kept = cut
    refusal = _refusal(kept, front)
    if refusal is None:
        alternating = [_join(list(group)) for _, group in groupby(kept, key=lambda turn: turn.role)]
        if len(alternating) < len(kept):
            changes.append(Change("joined_prompts", shown(kept), shown(alternating)))
            kept = alternating
    return Arranged(tuple(kept), tuple(changes), refusal)


def shown(turns: Sequence[Turn]) -> str:
    """The turns as one text, for a person."""
    return "\n".join(f"{turn.role}: {turn.content}" for turn in turns)


def _join(turns: Sequence[Turn]) -> Turn:
    return Turn(turns[0].role, PARAGRAPH.join(turn.content for turn in turns))


def _without_unanswered(turns: list[Turn]) -> list[Turn]:
    """The turns without the prompts at the end."""
    end = len(turns)
    while end and turns[end - 1].role == "user":
        end -= 1
    return turns[:end]


def _refusal(turns: Sequence[Turn], front: int) -> Refusal | None:
    talk = turns[front:]
    roles = [turn.role for turn in talk]
    if "system" in roles:
        place = front + roles.index("system") + 1
        return Refusal("misplaced_system", f"turn {place} of {len(turns)} is a system message")
    if not roles or roles[0] == "assistant":
        return Refusal("no_prompt", "no user turn comes before the first answer")
    if roles[-1] == "user":
        return Refusal("no_answer", "no assistant turn answers")
    for place, turn in enumerate(talk, start=front + 1):
        if not turn.content:
            reason = "empty_prompt" if turn.role == "user" else "empty_answer"
            return Refusal(reason, f"turn {place} of {len(turns)} is empty")
    for place, (role, following) in enumerate(pairwise(roles), front + 1):
        if role == following == "assistant":
            return Refusal(
                "consecutive_answers",
                f"turns {place} and {place + 1} are both of the assistant: "
                "two parts, or two alternatives",
            )
    return None
