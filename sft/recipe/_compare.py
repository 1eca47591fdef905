"""Settings as JSON, their identity, and in what two of them differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from judge.canonical import digest
from judge.documents import show_field, show_value
from judge.terminal import path_text
from sft.recipe._settings import TrainConfig

_INDIFFERENT: Mapping[str, frozenset[str]] = {
    "": frozenset({"name", "path", "description", "preset", "max_steps", "save", "guards"}),
    # Recomputed activations are those that were thrown away, to the bit.
    "model": frozenset({"recompute"}),
    # What the folder holds is hashed by its manifest; the files on trial teach nothing.
    "data": frozenset({"folder", "held_out"}),
}
"""Section → fields that training computes the same weights with, whatever they say."""


def to_json(config: TrainConfig) -> dict[str, Any]:
    """All settings as JSON: sections as objects, paths as text, choices by their names."""
    value = _plain(config)
    assert isinstance(value, dict)
    return value


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {part.name: _plain(getattr(value, part.name)) for part in fields(value)}
    match value:
        case StrEnum():
            return value.value
        case Path():
            return path_text(value)
        case Mapping():
            return {name: _plain(inner) for name, inner in value.items()}
        case tuple() | list():
            return [_plain(inner) for inner in value]
    return value


def config_hash(config: TrainConfig) -> str:
    """BLAKE2b-128, in hex, of the settings that decide the numbers of a training run.

    Left out is what the trained weights do not depend on: name, description, file and preset, where
    the data lies (its manifest has a hash of its own), ``held_out``, ``max_steps`` (a run that was
    ended early can go on), ``model.recompute``, ``save`` and ``guards``. ``micro_batch``,
    ``model.attention``, ``model.compile`` and ``zero`` count: the order of sums depends on them.
    """
    return digest(_decisive(to_json(config))).hex()


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """The settings in which two configurations, as `to_json` gives them, differ.

    Only those that `config_hash` is taken over: the list is empty exactly if the hashes are equal.
    Each entry reads ``optimizer.learning_rate: 3e-05 → 1e-05``; a field that one side lacks stands
    there as "(absent)".
    """
    return list(_differences(_decisive(old), _decisive(new), ()))


def _decisive(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without the fields that the numbers do not depend on."""
    kept = {name: value for name, value in settings.items() if name not in _INDIFFERENT[""]}
    for section, ignored in _INDIFFERENT.items():
        if section and isinstance(kept.get(section), Mapping):
            kept[section] = {n: v for n, v in kept[section].items() if n not in ignored}
    return kept


_ABSENT = object()


def _differences(
    old: Mapping[str, Any], new: Mapping[str, Any], place: tuple[str, ...]
) -> Iterator[str]:
    for name in [*old, *(name for name in new if name not in old)]:
        before, after = old.get(name, _ABSENT), new.get(name, _ABSENT)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from _differences(before, after, (*place, name))
        elif before != after:
            yield f"{show_field((*place, name))}: {_shown(before)} → {_shown(after)}"


def _shown(value: object) -> str:
    return "(absent)" if value is _ABSENT else show_value(value)
