"""What settings a run is known by: merging with a preset, the hash, the named differences."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from judge.canonical import digest
from sft.recipe import (
    Attention,
    DataSettings,
    GuardSettings,
    LoraSettings,
    ModelSettings,
    Offload,
    OptimizerSettings,
    Precision,
    Recompute,
    SaveSettings,
    TrainConfig,
    ZeroSettings,
    config_hash,
    differences,
    merged,
    to_json,
)

SCRATCH = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}

values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=8,
)
mappings = st.dictionaries(st.sampled_from("abcd"), values)


def leaves(value: Any, place: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Place → value of all that is no mapping, and of empty mappings."""
    if not isinstance(value, Mapping) or not value:
        return {place: value}
    return {p: v for name, inner in value.items() for p, v in leaves(inner, (*place, name)).items()}


@given(mappings, mappings)
def test_a_merge_keeps_what_the_file_says_and_adds_only_defaults(
    defaults: dict[str, Any], own: dict[str, Any]
) -> None:
    before = json.dumps([defaults, own])
    result = merged(defaults, own)
    assert json.dumps([defaults, own]) == before
    assert set(result) == set(defaults) | set(own)
    found, given_, wanted = leaves(result), leaves(defaults), leaves(own)
    for place, value in wanted.items():
        if value == {} and place:  # an empty mapping says nothing about what is in it
            continue
        assert not place or found[place] == value
    for place, value in found.items():
        assert wanted.get(place, given_.get(place, ...)) == value or value == {}
    # A default survives unless the file has something else on the way to it.
    for place, value in given_.items():
        if value == {} or not place:
            continue
        node: Any = own
        for part in place:
            if not isinstance(node, dict) or part not in node:
                break
            node = node[part]
        else:
            continue
        if isinstance(node, dict):
            assert found[place] == value


@given(mappings, mappings)
def test_merging_is_idempotent_and_has_a_unit(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert merged(a, {}) == a
    assert merged({}, a) == a
    assert merged(a, a) == a
    assert merged(merged(a, b), b) == merged(a, b)


def test_a_list_or_null_replaces() -> None:
    defaults = {"a": [1, 2], "b": {"c": 1, "d": 2}, "e": {"f": 1}}
    own = {"a": [3], "b": {"c": None}, "e": None}
    assert merged(defaults, own) == {"a": [3], "b": {"c": None, "d": 2}, "e": None}


CONFIG = TrainConfig(
    name="t",
    path=Path("t.yaml"),
    model=ModelSettings(path="o/m"),
    data=DataSettings(folder=Path("blend")),
)

INDIFFERENT: list[Any] = [
    st.builds(lambda v: lambda c: replace(c, name=v), st.sampled_from(["x", "y"])),
    st.builds(lambda v: lambda c: replace(c, path=Path(v)), st.sampled_from(["x", "y"])),
    st.builds(lambda v: lambda c: replace(c, description=v), st.text(max_size=3)),
    st.builds(lambda v: lambda c: replace(c, preset=v), st.sampled_from([None, "7b"])),
    st.builds(lambda v: lambda c: replace(c, max_steps=v), st.none() | st.integers(1, 9)),
    st.builds(lambda v: lambda c: replace(c, save=SaveSettings(keep_states=v)), st.integers(0, 9)),
    st.builds(lambda v: lambda c: replace(c, guards=GuardSettings(patience=v)), st.integers(1, 9)),
    st.builds(
        lambda v: lambda c: replace(c, data=replace(c.data, folder=Path(v))),
        st.sampled_from(["x", "y"]),
    ),
    st.builds(
        lambda v: lambda c: replace(c, data=replace(c.data, held_out={v: (Path(v),)})),
        st.sampled_from(["x", "y"]),
    ),
    st.builds(
        lambda v: lambda c: replace(c, model=replace(c.model, recompute=v)),
        st.sampled_from(Recompute),
    ),
]
rates = st.floats(1e-6, 1, exclude_min=True)
DECISIVE: list[Any] = [
    st.builds(lambda v: lambda c: replace(c, seed=v), st.integers(0, 3)),
    st.builds(lambda v: lambda c: replace(c, epochs=v), st.integers(1, 5)),
    st.builds(lambda v: lambda c: replace(c, batch=v), st.none() | st.integers(1, 3)),
    st.builds(lambda v: lambda c: replace(c, micro_batch=v), st.integers(1, 3)),
    st.builds(lambda v: lambda c: replace(c, deterministic=v), st.booleans()),
    st.builds(
        lambda v: lambda c: replace(c, model=replace(c.model, path=v)),
        st.sampled_from(["o/m", "o/n"]),
    ),
    st.builds(
        lambda v: lambda c: replace(c, model=replace(c.model, scratch=v)),
        st.none() | st.just({**SCRATCH}) | st.just({**SCRATCH, "head_dim": 16}),
    ),
    st.builds(
        lambda v: lambda c: replace(c, model=replace(c.model, precision=v)),
        st.sampled_from(Precision),
    ),
    st.builds(
        lambda v: lambda c: replace(c, model=replace(c.model, attention=v)),
        st.sampled_from(Attention),
    ),
    st.builds(lambda v: lambda c: replace(c, model=replace(c.model, compile=v)), st.booleans()),
    st.builds(
        lambda v: lambda c: replace(c, lora=v),
        st.none() | st.builds(LoraSettings, rank=st.integers(1, 3)),
    ),
    st.builds(
        lambda v: lambda c: replace(c, data=replace(c.data, blend=v)), st.sampled_from(["a", "b"])
    ),
    st.builds(
        lambda r, f: (
            lambda c: replace(c, optimizer=OptimizerSettings(learning_rate=r, betas=(f, 0.95)))
        ),
        rates,
        st.sampled_from([0.8, 0.9]),
    ),
    st.builds(
        lambda s, o: lambda c: replace(c, zero=ZeroSettings(stage=s, offload=o)),
        st.integers(0, 3),
        st.sampled_from(Offload),
    ),
]


def changed(config: TrainConfig, changes: list[Any]) -> TrainConfig:
    for change in changes:
        config = change(config)
    return config


@given(st.lists(st.one_of(INDIFFERENT), max_size=4), st.lists(st.one_of(DECISIVE), max_size=3))
def test_what_does_not_decide_the_numbers_does_not_change_the_hash(
    indifferent: list[Any], decisive: list[Any]
) -> None:
    config = changed(CONFIG, decisive)
    other = changed(config, indifferent)
    assert config_hash(other) == config_hash(config)
    assert differences(to_json(config), to_json(other)) == []


@given(
    st.lists(st.one_of(INDIFFERENT + DECISIVE), max_size=3),
    st.lists(st.one_of(INDIFFERENT + DECISIVE), max_size=3),
)
def test_there_is_no_difference_exactly_if_the_hashes_are_equal(
    first: list[Any], second: list[Any]
) -> None:
    one, two = changed(CONFIG, first), changed(CONFIG, second)
    # As they come back from run.json.
    old, new = (json.loads(json.dumps(to_json(config))) for config in (one, two))
    assert (differences(old, new) == []) == (config_hash(one) == config_hash(two))
    assert len(differences(old, new)) == len(differences(new, old))


def test_every_field_is_either_decisive_or_not() -> None:
    """A field that is added must be put on one side by whoever adds it."""
    flipped: dict[str, Any] = {
        "name": "u", "path": Path("u"), "description": "u", "preset": "7b", "seed": 1,
        "epochs": 4, "batch": 2, "micro_batch": 2, "deterministic": True, "max_steps": 2,
        "model": {"path": "u", "scratch": {}, "precision": Precision.FP32,
                  "attention": Attention.SDPA, "recompute": Recompute.FULL, "compile": True},
        "lora": LoraSettings(),
        "data": {"folder": Path("u"), "blend": "u", "held_out": {"u": ()}},
        "optimizer": {"learning_rate": 1.0, "schedule": "constant", "warmup": 1.0, "floor": 1.0,
                      "weight_decay": 1.0, "betas": (0.5, 0.5), "eps": 1.0, "clip": 2.0},
        "zero": {"stage": 3, "offload": Offload.ALL},
        "save": {"every_steps": 1, "keep_states": 1, "keep_epochs": (1,)},
        "guards": {"heartbeat_seconds": 1.0, "stall_seconds": 1.0, "explosion": 2.0, "patience": 1},
    }  # fmt: skip
    free = set()
    for part in fields(CONFIG):
        section, change = getattr(CONFIG, part.name), flipped[part.name]
        if not is_dataclass(section):
            changes = {part.name: change}
        else:
            assert {inner.name for inner in fields(section)} == set(change)
            changes = {
                f"{part.name}.{name}": replace(section, **{name: value})  # type: ignore[type-var]
                for name, value in change.items()
            }
        for place, value in changes.items():
            other = replace(CONFIG, **{part.name: value})
            assert other != CONFIG, place
            said = differences(to_json(CONFIG), to_json(other))
            if config_hash(other) == config_hash(CONFIG):
                free.add(place)
                assert said == []
            else:
                assert len(said) == 1
                assert said[0].startswith(f"{place}: ")
    assert free == {
        "name", "path", "description", "preset", "max_steps", "model.recompute", "data.folder",
        "data.held_out", "save.every_steps", "save.keep_states", "save.keep_epochs",
        "guards.heartbeat_seconds", "guards.stall_seconds", "guards.explosion", "guards.patience",
    }  # fmt: skip


def test_differences_read_as_people_read_them() -> None:
    other = replace(
        CONFIG,
        epochs=5,
        lora=LoraSettings(),
        optimizer=OptimizerSettings(learning_rate=1e-5, betas=(0.8, 0.95)),
    )
    old = to_json(CONFIG)
    assert differences(old, to_json(other)) == [
        "epochs: 3 → 5",
        'lora: null → {"rank": 16, "alpha": 32.0, "dropout": 0.0, "targets": "all-linear"}',
        "optimizer.learning_rate: 3e-05 → 1e-05",
        "optimizer.betas: [0.9, 0.95] → [0.8, 0.95]",
    ]
    del old["zero"]["offload"]
    assert differences(old, to_json(CONFIG)) == ["zero.offload: (absent) → none"]
    assert differences(to_json(CONFIG), old) == ["zero.offload: none → (absent)"]


def test_the_stored_form_is_plain_json_and_survives_odd_paths(tmp_path: Path) -> None:
    odd = Path(b"caf\xe9".decode("utf-8", "surrogateescape"))
    config = replace(
        CONFIG, path=odd, data=replace(CONFIG.data, held_out={"general": (Path("a"), odd)})
    )
    stored = to_json(config)
    assert json.loads(json.dumps(stored)) == stored
    assert stored["path"] == "caf\ufffd"
    assert stored["data"]["held_out"] == {"general": ["a", "caf\ufffd"]}
    assert stored["model"]["precision"] == "auto"
    assert stored["optimizer"]["betas"] == [0.9, 0.95]
    assert type(stored["model"]["precision"]) is str


def test_the_hash_is_over_these_fields_in_this_form() -> None:
    """What is stored must stay comparable: a change here orphans every unfinished run."""
    decisive = {
        "seed": 0,
        "epochs": 3,
        "batch": None,
        "micro_batch": 1,
        "deterministic": False,
        "model": {
            "path": "o/m",
            "scratch": None,
            "precision": "auto",
            "attention": "auto",
            "compile": False,
        },
        "lora": None,
        "data": {"blend": "main"},
        "optimizer": {
            "learning_rate": 3e-5,
            "schedule": "cosine",
            "warmup": 0.03,
            "floor": 0.0,
            "weight_decay": 0.1,
            "betas": [0.9, 0.95],
            "eps": 1e-8,
            "clip": 1.0,
        },
        "zero": {"stage": 2, "offload": "none"},
    }
    assert config_hash(CONFIG) == digest(decisive).hex()
    assert re.fullmatch("[0-9a-f]{32}", config_hash(CONFIG))
