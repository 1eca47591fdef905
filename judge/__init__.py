"""Plumbline's judging half: score answers with a model judge, and say how sure that is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("plumbline")
except PackageNotFoundError:  # imported from a checkout that was never installed
    __version__ = "0+unknown"
