"""Which files a source is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple

from judge.documents import read_text, show_value, unreadable
from sft.errors import InputError
from sft.settings import Format, Source
from sft.sources._formats import FIELDS

_BLOCK = 2**20
_HASH_BYTES = 16


class InputFile(NamedTuple):
    """A file of a source, as it was when its hash was taken."""

    path: Path
    """As the source's settings give it, or below a folder that they give."""
    bytes: int
    hash: str
    """BLAKE2b-128 of the content, in hexadecimal digits."""


class Kind(StrEnum):
    """How a file holds records."""

    JSONL = "jsonl"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"
    ARROW = "arrow"


_ENDINGS: Mapping[str, Kind] = {
    ".jsonl": Kind.JSONL,
    ".ndjson": Kind.JSONL,
    ".jsonl.gz": Kind.JSONL,
    ".ndjson.gz": Kind.JSONL,
    ".json": Kind.JSON,
    ".csv": Kind.CSV,
    ".csv.gz": Kind.CSV,
    ".parquet": Kind.PARQUET,
    ".arrow": Kind.ARROW,
}
_DATA = frozenset({Kind.JSONL, Kind.CSV, Kind.PARQUET})
"""What is data wherever it lies; a .json in a folder is as often a description of data."""

_STATE = "state.json"
_SPLITS = "dataset_dict.json"
_TRAIN = "train"


def input_files(source: Source) -> list[InputFile]:
    """The files of a source with their sizes and hashes, sorted by path, each once.

    A folder stands for the files of the data set that was saved in it (of several splits:
    ``train``), or else for the JSONL, Parquet and CSV files that lie in it directly. Raises
    InputError for what is missing, empty, of an unknown ending, or a folder without data; and for
    ``fields`` that no format has.
    """
    _require_known_fields(source)
    paths = {file for path in source.paths for file in _files_of(path)}
    return [_measured(path) for path in sorted(paths)]


def kind_of(path: Path) -> Kind | None:
    """How a file holds records, by its ending; None for an unknown one."""
    name = path.name.lower()
    return next((kind for ending, kind in _ENDINGS.items() if name.endswith(ending)), None)


def require_kind(path: Path) -> Kind:
    """As `kind_of`; InputError for an unknown ending."""
    kind = kind_of(path)
    if kind is None:
        raise InputError(
            path=path,
            found=f"the ending {path.suffix}" if path.suffix else "no ending",
            expected=f"a file that ends with {', '.join(_ENDINGS)}, or a folder with a data set",
        )
    return kind


def _require_known_fields(source: Source) -> None:
    """Refuse names in ``fields`` that the format does not have: they would have no effect."""
    formats = FIELDS if source.format is Format.AUTO else (source.format,)
    known = sorted({field for format_ in formats for field in FIELDS[format_]})
    unknown = sorted(set(source.fields) - set(known))
    if unknown:
        raise InputError(
            path=source.paths[0] if source.paths else source.name,
            field=f"fields.{unknown[0]}",
            found=f"{unknown[0]} in the settings of the source {source.name}",
            expected=f"a field of the format ({source.format}): {', '.join(known)}",
            remedy="Write the format's field first, then the file's name for it",
        )


def _files_of(path: Path) -> list[Path]:
    """The file, or the files that a folder stands for."""
    if not path.exists():
        raise InputError(path=path, found="nothing", expected="a file or folder that exists")
    if not path.is_dir():
        require_kind(path)
        return [path]
    if (path / _SPLITS).is_file():
        return _train_files(path)
    if (path / _STATE).is_file():
        return _saved_files(path)
    try:
        inside = sorted(path.iterdir())
    except OSError as error:
        raise unreadable(path, error) from None
    files = [
        file
        for file in inside
        if kind_of(file) in _DATA and file.is_file() and not file.name.startswith(".")
    ]
    if not files:
        names = show_value(", ".join(file.name for file in inside) or "nothing")
        raise InputError(
            path=path,
            found=f"a folder with {names}",
            expected=f"a saved data set (with {_STATE}), or JSONL, Parquet or CSV files",
            remedy="Name the files themselves, or the folder in which they lie",
        )
    return files


def _train_files(path: Path) -> list[Path]:
    """The files of the split ``train`` of a data set that was saved with several splits."""
    splits = _description(path / _SPLITS).get("splits")
    if not isinstance(splits, list) or _TRAIN not in splits:
        names = splits if isinstance(splits, list) else []
        raise InputError(
            path=path,
            found=f"a data set with the splits {show_value(', '.join(map(str, names)) or 'none')}",
            expected=f"a split {_TRAIN}",
            remedy="Name the folder of the split to read, which lies in this one",
        )
    if not (path / _TRAIN / _STATE).is_file():
        raise InputError(
            path=path / _TRAIN, found="no data set", expected=f"the split's {_STATE} and its files"
        )
    return _saved_files(path / _TRAIN)


def _saved_files(path: Path) -> list[Path]:
    """The Arrow files of a saved data set, which its state lists."""
    listed = _description(path / _STATE).get("_data_files")
    entries = listed if isinstance(listed, list) else []
    names = [str(entry.get("filename")) for entry in entries if isinstance(entry, dict)]
    if not names or any(name != Path(name).name for name in names):
        raise InputError(
            path=path / _STATE,
            field="_data_files",
            found=show_value(listed),
            expected="the names of the data set's files in this folder",
            remedy="Save the data set again",
        )
    return [path / name for name in names]


def _description(path: Path) -> dict[str, Any]:
    """A JSON object that describes a data set."""
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise InputError(
            path=path, found=f"broken JSON ({error})", expected="a JSON object"
        ) from None
    if not isinstance(value, dict):
        raise InputError(path=path, found=show_value(value), expected="a JSON object")
    return value


def _measured(path: Path) -> InputFile:
    """A file with its size and hash. Raises InputError if it is missing or empty."""
    content = blake2b(digest_size=_HASH_BYTES)
    size = 0
    try:
        with path.open("rb") as file:
            for block in iter(lambda: file.read(_BLOCK), b""):
                content.update(block)
                size += len(block)
    except OSError as error:
        raise unreadable(path, error) from None
    if not size:
        raise InputError(path=path, found="an empty file", expected="records")
    return InputFile(path, size, content.hexdigest())
