"""A model's folder, read without any model library: is it whole, which one is it, how it chats."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from judge.errors import UsageError

FINGERPRINT_HEX = 12
_WHOLE_BYTES = 8 << 20
"""Weights up to this size are hashed in full; larger ones in samples."""
_TENSOR_SAMPLE = 4 << 10
_BLOCKS, _BLOCK = 256, 16 << 10
_MOST_HEADER = 100 << 20
"""The safetensors format allows no larger header."""
_TOKENIZERS = (
    "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "vocab.json", "vocab.txt",
    "merges.txt", "added_tokens.json", "special_tokens_map.json", "spiece.model", "tekken.json",
    "*.tiktoken",
)  # fmt: skip
_CONFIGURATION = (
    "config.json", "generation_config.json", "params.json", "*.index.json", "*.jinja",
    "additional_chat_templates/*.jinja",
)  # fmt: skip
_NOT_WEIGHTS = frozenset({"training_args.bin", "optimizer.bin", "scheduler.bin"})


class ChatTemplate(NamedTuple):
    """Where a chat template stands, and its text (None where it cannot be read from here)."""

    source: str
    text: str | None

    @property
    def sha256(self) -> str | None:
        """SHA-256 of the text, as hex."""
        return None if self.text is None else sha256(self.text.encode()).hexdigest()


def require_model(folder: Path, name: str) -> None:
    """Raise UsageError, naming what is missing, unless a folder holds a whole model.

    Wanted: config.json, weights (every shard that the index names; safetensors files as long as
    their header says) and a tokenizer. ``name`` is how the user called the folder.
    """
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing there"
        raise UsageError(f"{name}: {found}; expected a model's folder (config.json, weights).")
    if not (folder / "config.json").is_file():
        if (folder / "adapter_config.json").is_file():
            raise UsageError(
                f"{name}: an adapter without its base model; merge it into the base model and "
                "name the merged folder."
            )
        raise UsageError(f"{name}: no config.json in this folder; expected a model's folder.")
    _json_object(folder / "config.json", name)
    weights = _weights(folder)
    for index in _matching(folder, ("*.index.json",)):
        shards = _json_object(index, name).get("weight_map")
        names = set(map(str, shards.values())) if isinstance(shards, dict) else set()
        for shard in sorted(names):
            if not (folder / shard).is_file():
                raise UsageError(
                    f"{name}: {index.name} names {shard}, which is missing; was the model saved "
                    "or copied to its end?"
                )
    if not weights:
        raise UsageError(
            f"{name}: no weights in this folder; expected *.safetensors (or pytorch_model*.bin) "
            "beside config.json."
        )
    for path in weights:
        if path.suffix == ".safetensors":
            with path.open("rb") as file:
                _safetensors_header(file, path, name)
    if not _matching(folder, _TOKENIZERS):
        raise UsageError(
            f"{name}: no tokenizer in this folder; save the tokenizer beside the weights."
        )


def fingerprint(folder: Path) -> str:
    """A short name (12 hex digits of BLAKE2b) of what a model's folder holds.

    It covers, by file name relative to the folder:

    - in full: the configuration (config.json, generation_config.json, indexes), the tokenizer's
      files and chat templates;
    - weights up to 8 MiB: in full;
    - larger safetensors files: size, the whole header (names, types and shapes of all tensors)
      and 4 KiB from the middle of every tensor;
    - other larger weights: size and 256 blocks of 16 KiB, spread evenly.

    So it does not see a change to a large file that leaves the middle of every tensor alone, as
    an edit of a few embedding rows would be; training changes far more. It does not cover what
    lies beside the model (optimiser state, logs, READMEs), time stamps, or the path: a copy has
    the same fingerprint. Raises UsageError for a safetensors file that is cut short.
    """
    total = blake2b(digest_size=FINGERPRINT_HEX // 2)
    for path in _matching(folder, _CONFIGURATION + _TOKENIZERS):
        _add(total, path.relative_to(folder).as_posix(), path.read_bytes())
    for path in _weights(folder):
        for part in _weight_parts(path):
            _add(total, path.name, part)
    return total.hexdigest()


def chat_template(folder: Path) -> ChatTemplate | None:
    """The chat template that a model's folder brings; None if it brings none.

    Looked for where tokenizers look: ``chat_template.jinja``, then ``chat_template`` of
    ``tokenizer_config.json`` (of several, the one named ``default``). Raises UsageError if there
    are several and none is the default, and for a broken file.
    """
    jinja = folder / "chat_template.jinja"
    if jinja.is_file():
        try:
            return ChatTemplate(jinja.name, jinja.read_text("utf-8"))
        except UnicodeDecodeError:
            raise UsageError(f"{jinja}: not UTF-8 text; expected a chat template.") from None
    path = folder / "tokenizer_config.json"
    if path.is_file():
        value = _json_object(path, str(folder)).get("chat_template")
        if isinstance(value, list):
            value = _default_of(value, path)
        if isinstance(value, str):
            return ChatTemplate(path.name, value)
    if (folder / "tekken.json").is_file():
        return ChatTemplate("tekken.json: the model's own format, applied by its library", None)
    return None


def _default_of(entries: list[Any], path: Path) -> str:
    named = {str(e.get("name")): e.get("template") for e in entries if isinstance(e, dict)}
    template = named.get("default")
    if not isinstance(template, str):
        names = ", ".join(sorted(named))
        raise UsageError(
            f"{path}: several chat templates ({names}) and none named default; choose one with "
            "?chat_template=FILE."
        )
    return template


def _matching(folder: Path, patterns: tuple[str, ...]) -> list[Path]:
    return sorted({path for p in patterns for path in folder.glob(p) if path.is_file()})


def _weights(folder: Path) -> list[Path]:
    """The files with weights: safetensors where there are any, else PyTorch's own."""
    if found := _matching(folder, ("*.safetensors",)):
        return found
    return [path for path in _matching(folder, ("*.bin",)) if path.name not in _NOT_WEIGHTS]


def _weight_parts(path: Path) -> Iterator[bytes]:
    size = path.stat().st_size
    yield struct.pack("<Q", size)
    with path.open("rb") as file:
        if size <= _WHOLE_BYTES:
            yield file.read()
        elif path.suffix == ".safetensors":
            raw, tensors = _safetensors_header(file, path, str(path.parent))
            yield raw
            for start, end in tensors:
                length = min(_TENSOR_SAMPLE, end - start)
                file.seek(start + (end - start - length) // 2)
                yield file.read(length)
        else:
            for block in range(_BLOCKS):
                file.seek((size - _BLOCK) * block // (_BLOCKS - 1))
                yield file.read(_BLOCK)


def _safetensors_header(
    file: BinaryIO, path: Path, name: str
) -> tuple[bytes, list[tuple[int, int]]]:
    """The raw header, and start and end of each tensor in the file, in the file's order.

    Raises UsageError if this is no safetensors file, or not all of one.
    """
    size = path.stat().st_size
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or length > min(size - 8, _MOST_HEADER):
        raise UsageError(
            f"{name}: {path.name} is not a whole safetensors file ({size:,} bytes; a Git LFS "
            "pointer, or cut short?). Fetch or save it again."
        )
    raw = file.read(length)
    try:
        header = json.loads(raw)
        offsets = sorted(
            tuple(entry["data_offsets"]) for key, entry in header.items() if key != "__metadata__"
        )
        tensors = [(8 + length + int(start), 8 + length + int(end)) for start, end in offsets]
        if not all(8 + length <= start <= end for start, end in tensors):
            raise ValueError("offsets that run backwards")
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise UsageError(f"{name}: {path.name} has no readable safetensors header.") from None
    wanted = max((end for _, end in tensors), default=8 + length)
    if wanted != size:
        raise UsageError(
            f"{name}: {path.name} holds {size:,} bytes, its header says {wanted:,}; was it saved "
            "or copied to its end?"
        )
    return raw, tensors


def _json_object(path: Path, name: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name}: {path.name} is not JSON ({error}).") from None
    if not isinstance(value, dict):
        raise UsageError(f"{name}: {path.name} is not a JSON object.")
    return value


def _add(total: blake2b, name: str, content: bytes) -> None:
    """Add a part with its name and length, so that no two sequences of parts read the same."""
    total.update(struct.pack("<QQ", len(name.encode()), len(content)))
    total.update(name.encode())
    total.update(content)
