"""Errors of training data that are meant for people."""

from __future__ import annotations

from judge.errors import ExitCode, InputError, PlumblineError, UsageError

__all__ = ["CorruptError", "InputError", "InterruptedRun", "PlumblineError", "UsageError"]


class CorruptError(PlumblineError):
    """A file that Plumbline wrote is not what it wrote: it was changed or damaged since."""


class InterruptedRun(PlumblineError):
    """A run was asked to end, and did so in good order; the same command goes on."""

    exit_code = ExitCode.INTERRUPTED
