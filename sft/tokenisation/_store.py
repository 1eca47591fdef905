"""Samples on disk: read without copying, checked by hash."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from judge.canonical import KEY_BYTES, digest
from sft.errors import CorruptError
from sft.tokenisation._conversation import Tokens

INDEX = "index.json"
SAMPLES_FILE = "samples.parquet"
FORM = 1
"""Version of the store's form."""

STORED: Mapping[str, pl.DataType] = {
    "sample_id": pl.String(),
    "row_id": pl.String(),
    "source": pl.String(),
    "language": pl.String(),
    "n_tokens": pl.Int64(),
    "n_supervised": pl.Int64(),
    "shard": pl.Int64(),
    "position": pl.Int64(),
}
"""Columns of `SampleStore.samples`: sample i stands in row i, and in its shard at ``position``."""


class Sample(NamedTuple):
    """A sample's tokens, and which of them the loss is taken over; both of shape (n_tokens,)."""

    tokens: Tokens
    supervised: NDArray[np.bool_]


class _Shard(NamedTuple):
    tokens: Tokens
    supervised: NDArray[np.bool_]
    offsets: NDArray[np.int64]


ARRAYS: Mapping[str, type[np.generic]] = {
    "tokens": np.uint32,
    "supervised": np.bool_,
    "offsets": np.int64,
}
"""A shard's arrays: all tokens, their loss mask, and where each sample begins (and the end)."""


def shard_file(shard: int, array: str) -> str:
    """The name of a shard's file."""
    return f"shard-{shard:05d}.{array}.npy"


class SampleStore:
    """The samples of a data set, in canonical order: ``store[i]`` is the sample of number i.

    The arrays are mapped into memory: a sample is a view of a file, read-only, and costs nothing
    until it is looked at. Stores pickle and cross to other processes as their folder.
    """

    def __init__(self, folder: Path, index: Mapping[str, Any]) -> None:
        """For `open`, which reads and checks the index."""
        self.folder = folder
        self.vocabulary: str = index["vocabulary"]
        """Hash of the tokenizer."""
        self.settings: Mapping[str, Any] = index["settings"]
        """The settings that the samples were made with, as they stand in YAML."""
        self.tokens: int = index["tokens"]
        """Tokens of all samples."""
        self.supervised_tokens: int = index["supervised_tokens"]
        self.hash: str = index["hash"]
        """BLAKE2b-128 of the index: of all that is in the store."""
        self._files: Mapping[str, Mapping[str, Any]] = index["files"]
        self._sizes: list[Mapping[str, int]] = index["shards"]
        self._ends = list(accumulate(shard["samples"] for shard in self._sizes))
        self._open: list[_Shard | None] = [None] * len(self._ends)

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a store: its index is read, its files are looked at, not read.

        Raises CorruptError if there is no finished store, or a file is missing or of another size.
        """
        path = folder / INDEX
        try:
            content = orjson.loads(path.read_bytes())
            expected = content.pop("hash")
            found = digest(content).hex()
        except FileNotFoundError:
            raise CorruptError(
                f"{path}: there is no finished store of samples here. {_remedy(folder)}"
            ) from None
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise CorruptError(f"{path}: cannot be read ({error}). {_remedy(folder)}") from None
        if found != expected:
            raise _changed(path, expected, found, folder)
        if content["form"] != FORM:
            raise CorruptError(
                f"{path}: a store of the form {content['form']}, this version reads {FORM}. "
                f"{_remedy(folder)}"
            )
        store = cls(folder, {**content, "hash": expected})
        for name, facts in store._files.items():
            store._check_size(folder / name, facts["bytes"])
        return store

    def verify(self) -> None:
        """Read every file, and compare its hash with the one noted when it was written.

        Raises CorruptError with the file, and the expected and the found hash.
        """
        for name, facts in self._files.items():
            path = self.folder / name
            self._check_size(path, facts["bytes"])
            with path.open("rb") as file:
                found = hashlib.file_digest(file, _file_hash).hexdigest()
            if found != facts["hash"]:
                raise _changed(path, facts["hash"], found, self.folder)

    @cached_property
    def samples(self) -> pl.DataFrame:
        """A frame with the columns `STORED`, one row per sample.

        Raises CorruptError if it cannot be read.
        """
        path = self.folder / SAMPLES_FILE
        try:
            samples = pl.read_parquet(path, memory_map=False)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise CorruptError(
                f"{path}: cannot be read ({error}). {_remedy(self.folder)}"
            ) from None
        if len(samples) != len(self) or samples.schema != dict(STORED):
            raise CorruptError(
                f"{path}: {len(samples)} rows with the columns {', '.join(samples.columns)}; "
                f"expected {len(self)} with {', '.join(STORED)}. {_remedy(self.folder)}"
            )
        return samples

    def __len__(self) -> int:
        """How many samples there are."""
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: int) -> Sample:
        """A sample by its number (from 0). Raises IndexError; CorruptError for a broken file."""
        if not 0 <= number < len(self):
            raise IndexError(f"sample {number} of {len(self)}")
        place = bisect_right(self._ends, number)
        shard = self._open[place] or self._map(place)
        at = number - (self._ends[place - 1] if place else 0)
        start, end = shard.offsets[at], shard.offsets[at + 1]
        return Sample(shard.tokens[start:end], shard.supervised[start:end])

    def __reduce__(self) -> tuple[Any, ...]:
        return SampleStore.open, (self.folder,)

    def _map(self, place: int) -> _Shard:
        """A shard's arrays, mapped into memory."""
        arrays = [self._map_array(place, array) for array in ARRAYS]
        self._open[place] = shard = _Shard(*arrays)
        return shard

    def _map_array(self, place: int, array: str) -> Any:
        path = self.folder / shard_file(place, array)
        sizes = self._sizes[place]
        length = sizes["samples"] + 1 if array == "offsets" else sizes["tokens"]
        try:
            mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise CorruptError(
                f"{path}: cannot be read ({error}). {_remedy(self.folder)}"
            ) from None
        if mapped.dtype != ARRAYS[array] or mapped.shape != (length,):
            raise CorruptError(
                f"{path}: holds {mapped.shape} of {mapped.dtype}, expected ({length},) of "
                f"{np.dtype(ARRAYS[array])}. {_remedy(self.folder)}"
            )
        # As a plain array: slices of np.memmap cost several times as much.
        return mapped.view(np.ndarray)

    def _check_size(self, path: Path, expected: int) -> None:
        if not path.is_file():
            raise CorruptError(f"{path}: the file is missing. {_remedy(self.folder)}")
        found = path.stat().st_size
        if found != expected:
            raise CorruptError(
                f"{path}: has {found} bytes, {expected} were written. {_remedy(self.folder)}"
            )


def _file_hash() -> Any:
    return blake2b(digest_size=KEY_BYTES)


def _changed(path: Path, expected: str, found: str, folder: Path) -> CorruptError:
    return CorruptError(
        f"{path}: has the hash {found}, expected {expected}: it was changed or damaged since it "
        f"was written. {_remedy(folder)}"
    )


def _remedy(folder: Path) -> str:
    return f"Delete {folder} and run sft blend again"
