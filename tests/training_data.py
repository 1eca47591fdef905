"""Blended data for tests of training: the demo's synthetic sources, small packs, a tiny model."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from sft.config import load_blend_config
from sft.demo import write_demo
from sft.pipeline import plan_work, run_blend

LENGTH, BATCH, EPOCHS = 128, 4, 2
SCRATCH = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
"""A Llama of some hundred thousand weights, most of them embeddings."""


class _Silent:
    @contextmanager
    def step(self, name: str, total: int, *, unit: str) -> Iterator[Any]:
        yield lambda _units: None


@pytest.fixture(scope="session")
def blended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `sft blend` writes: two epochs of some twenty steps of the blends paper and half."""
    folder = tmp_path_factory.mktemp("training")
    config = write_demo(folder / "demo", rows=100)
    settings = YAML(typ="safe").load(config)
    settings |= {"epochs": EPOCHS, "batch": BATCH}
    settings["tokens"] |= {"length": LENGTH}
    for entry in settings["sweep"]:
        entry["total"] = 9000
    with config.open("w") as file:
        YAML(typ="safe").dump(settings, file)
    loaded = load_blend_config(config)
    out = folder / "blend"
    run_blend(
        loaded, plan_work(loaded, out), out, workers=1, progress=_Silent(),
        on_plan=lambda _plan: None,
    )  # fmt: skip
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"Held out: what is {n} and {n}?"},
                {"role": "assistant", "content": f"That is {2 * n}."},
            ]
        }
        for n in range(9)
    ]
    (folder / "held-out.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def write_config(path: Path, blend: Path, /, **changes: Any) -> Path:
    """A configuration for the blend ``half`` from random weights; mappings in ``changes`` are
    merged into it, None takes a field out."""
    config: dict[str, Any] = {
        "name": path.stem,
        "preset": "tiny",
        "epochs": EPOCHS,
        "model": {"scratch": dict(SCRATCH)},
        "data": {
            "folder": str(blend),
            "blend": "half",
            "held_out": {"general": str(blend.parent / "held-out.jsonl")},
        },
        "save": {"every_steps": 5},
    }
    for name, change in changes.items():
        if change is None:
            config.pop(name)
        elif isinstance(change, Mapping) and name in config:
            config[name] = {**config[name], **change}
        else:
            config[name] = change
    with path.open("w") as file:
        YAML(typ="safe").dump(config, file)
    return path
