"""Errors of training data that are meant for people."""

from __future__ import annotations

from judge.errors import InputError, PlumblineError, UsageError

__all__ = ["CorruptError", "InputError", "PlumblineError", "UsageError"]


class CorruptError(PlumblineError):
    """A file that Plumbline wrote is not what it wrote: it was changed or damaged since."""
