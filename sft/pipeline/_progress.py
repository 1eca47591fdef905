"""What the pipeline tells whoever watches it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol


class Progress(Protocol):
    """Somebody who watches: a bar for every step, and lines between them."""

    def step(
        self, name: str, total: int, *, unit: str
    ) -> AbstractContextManager[Callable[[int], None]]:
        """A step begins; the function that it gives is called with the units just finished."""
        ...

    def say(self, text: str) -> None:
        """A line for people."""
        ...
