"""The ``judge`` command."""

from judge.cli._app import app, main

__all__ = ["app", "main"]
