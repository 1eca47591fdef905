"""Shipped settings: presets, which a configuration starts from, and whole experiments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from judge.documents import Document, load_document

SCHEMA = Path(__file__).resolve().parent.parent / "schemas" / "train.schema.json"
PRESETS = Path(__file__).resolve().parent / "presets"
EXPERIMENTS = Path(__file__).resolve().parent / "experiments"


def preset_names() -> list[str]:
    """The names that ``preset:`` may have, sorted."""
    return _names(PRESETS)


def experiment_names() -> list[str]:
    """The names of the shipped configurations, sorted."""
    return _names(EXPERIMENTS)


def _names(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml"))


def with_preset(document: Document) -> dict[str, Any]:
    """The fields of a configuration over those of the preset that it names.

    Raises InputError for a name that no preset has.
    """
    own: dict[str, Any] = document.data
    name = own.get("preset")
    if name is None:
        return own
    if name not in preset_names():
        raise document.error(
            ["preset"],
            found=name,
            expected=f"one of {', '.join(preset_names())}",
        )
    return merged(load_document(PRESETS / f"{name}.yaml", SCHEMA).data, own)


def merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``defaults`` with the fields of ``own`` over them; the arguments stay as they are.

    Where both have a mapping the two are merged in turn; anything else (a list, null) replaces.
    """
    result = dict(defaults)
    for name, value in own.items():
        before = result.get(name)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            result[name] = merged(before, value)
        else:
            result[name] = value
    return result
