"""Files that are there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import orjson
from ruamel.yaml import YAML


def write_json(path: Path, content: Mapping[str, Any]) -> Path:
    """Write an object as JSON; the path is returned."""
    return _write(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")


def write_yaml(path: Path, content: Mapping[str, Any]) -> Path:
    """Write an object as YAML; the path is returned."""
    text = StringIO()
    yaml: Any = YAML(typ="safe")
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False
    yaml.dump(content, text)
    return _write(path, text.getvalue().encode())


def write_text(path: Path, text: str) -> Path:
    """Write a text; the path is returned."""
    return _write(path, text.encode())


def _write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)
    return path
