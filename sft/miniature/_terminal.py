"""The miniature at the terminal: a bar over all optimizer steps."""

from __future__ import annotations

from judge.terminal import Bar, say


class TerminalProgress(Bar):
    """A bar that runs over the steps of all runs, and says which jobs are at work."""

    def __init__(self) -> None:
        super().__init__("Miniature", time_left=True)

    def say(self, text: str) -> None:
        """Print a line for people."""
        say(text)
