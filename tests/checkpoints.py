"""Folders that look like models, written byte by byte: no model library is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path


def safetensors(tensors: Mapping[str, bytes]) -> bytes:
    """A file in the safetensors format that holds the given bytes as one-dimensional tensors."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, data in tensors.items():
        header[name] = {"dtype": "U8", "shape": [len(data)], "data_offsets": [at, at + len(data)]}
        at += len(data)
    raw = json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + b"".join(tensors.values())


def write_model(
    folder: Path,
    *,
    tensors: Mapping[str, bytes] | None = None,
    chat_template: object = "{{ messages }}",
) -> Path:
    """A model's folder: configuration, weights, tokenizer. No template if it is None."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (folder / "model.safetensors").write_bytes(safetensors(tensors or {"w": bytes(64)}))
    (folder / "tokenizer.json").write_text(json.dumps({"version": "1.0"}))
    settings = {} if chat_template is None else {"chat_template": chat_template}
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", **settings}))
    return folder
