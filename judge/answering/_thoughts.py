"""A model's thoughts before its answer, where they come as a part of the text."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


def without_thoughts(text: str) -> str:
    """The text after a leading block of thoughts; a text without one is returned as it is.

    A block is ``<think>...</think>`` at the very start (white space apart); or, as chat templates
    exist that open the block in the prompt, everything up to a ``</think>`` that no ``<think>``
    precedes. A block that was opened and never closed is all thoughts: the answer is empty. White
    space between the block and the answer goes with the block.
    """
    head, closed, rest = text.partition(_CLOSE)
    if text.lstrip().startswith(_OPEN):
        return rest.lstrip() if closed else ""
    if closed and _OPEN not in head:
        return rest.lstrip()
    return text
