"""The ``sft`` command."""

from sft.cli._app import app, main

__all__ = ["app", "main"]
