"""What the outcome of each step depends on, as one key per step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from judge.canonical import digest
from sft.settings import BlendConfig, Source
from sft.sources import InputFile

STEPS = ("read", "clean", "scrub", "dedup", "decontaminate", "tokenise")
"""The steps that make samples of sources, in their order."""

_VERSION: Mapping[str, int] = dict.fromkeys(STEPS, 1)
"""Raised by whoever changes what a step makes of the same input."""


def step_keys(
    config: BlendConfig,
    files: Sequence[tuple[Source, InputFile]],
    question_sets: Sequence[Any],
    vocabulary: str,
) -> dict[str, str]:
    """The key of every step: a hash of its settings and the key of the step before it.

    ``files`` come in the order of source names and paths, ``question_sets`` as what stands in
    them, ``vocabulary`` as the hash of the tokenizer. The number of workers and the order of
    sources are no part of any key.
    """
    names = sorted(config.sources, key=lambda source: source.name)
    parts: dict[str, Any] = {
        # With the settings of scrubbing, since examples of all steps are scrubbed by them.
        "read": [
            asdict(config.scrub),
            *(
                [source.name, str(file.path), file.hash, source.format, dict(source.fields)]
                for source, file in files
            ),
        ],
        "clean": [asdict(config.clean), [[source.name, source.languages] for source in names]],
        "scrub": None,
        "dedup": [asdict(config.dedup), [[source.name, source.priority] for source in names]],
        "decontaminate": [asdict(config.decontamination), list(question_sets)],
        "tokenise": [{**asdict(config.tokens), "tokenizer": ""}, vocabulary],
    }
    keys: dict[str, str] = {}
    before = ""
    for step in STEPS:
        before = digest([step, _VERSION[step], before, parts[step]]).hex()
        keys[step] = before
    return keys
