"""The manifest: the hashes of all that went into a run and came out of it, and no clock.

Two runs on the same data with the same settings write the same manifest, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson

from judge import __version__
from sft.files import write_atomically
from sft.pipeline._blends import PlannedBlend
from sft.pipeline._keys import STEPS
from sft.pipeline._stage import Facts, total_rows
from sft.pipeline._work import Work
from sft.settings import BlendConfig
from sft.tokenisation import SampleStore

FORM = 1
MANIFEST = "manifest.json"


def write_manifest(
    config: BlendConfig,
    work: Work,
    facts: Mapping[str, Facts],
    store: SampleStore,
    blends: Sequence[PlannedBlend],
    out: Path,
) -> Path:
    """Write manifest.json into the folder and return its path."""
    content = {
        "form": FORM,
        "name": config.name,
        "synthetic": config.synthetic,
        "plumbline": __version__,
        "seed": config.seed,
        "epochs": config.epochs,
        "batch": config.batch,
        "length": config.tokens.length,
        "sources": {
            source.name: {"domain": source.domain, "task": source.task, "licence": source.licence}
            for source in sorted(config.sources, key=lambda source: source.name)
        },
        "inputs": [
            {"source": source.name, "file": file.path.name, "bytes": file.bytes, "hash": file.hash}
            for source, file in work.files
        ],
        "steps": {
            step: {
                "key": work.keys[step],
                "rows_in": total_rows(facts[step].rows_in),
                "rows_out": total_rows(facts[step].rows_out),
            }
            for step in STEPS
        },
        "tokenizer": {"folder": "tokenizer", "hash": work.vocabulary.hash},
        "samples": {
            "folder": "samples",
            "hash": store.hash,
            "samples": len(store),
            "tokens": store.tokens,
            "supervised_tokens": store.supervised_tokens,
        },
        "blends": [blend.to_manifest() for blend in blends],
    }
    path = out / MANIFEST
    write_atomically(path, orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
    return path
