"""A store of samples, written so that an interrupted write leaves none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from judge.canonical import KEY_BYTES, digest
from sft.files import sync, write_atomically
from sft.settings import TokenSettings
from sft.tokenisation._encoding import Encoded
from sft.tokenisation._store import (
    ARRAYS,
    FORM,
    INDEX,
    SAMPLES_FILE,
    STORED,
    SampleStore,
    shard_file,
)

SHARD_TOKENS = 1 << 24
"""Tokens in a shard: 64 MiB of them, which is what the writer holds in memory at a time."""

_ROW_GROUP = 1 << 17


class SampleWriter:
    """Writes batches of samples, in the order of the data set, as a store.

    The bytes depend on the samples and their order, not on how they are batched: a shard ends
    with the sample that brings it to ``shard_tokens``. Every file is written under another name,
    synced and renamed; ``index.json`` comes last, when the ``with`` block ends without an error,
    and without it there is no store. What lay in the folder from an earlier write is replaced.
    """

    def __init__(
        self,
        folder: Path,
        *,
        vocabulary: str,
        settings: TokenSettings,
        shard_tokens: int = SHARD_TOKENS,
    ) -> None:
        """Make the folder ready; ``vocabulary`` is the tokenizer's hash."""
        if shard_tokens < 1:
            raise ValueError(f"{shard_tokens} tokens per shard; at least 1 is needed")
        self._folder = folder
        self._vocabulary = vocabulary
        self._settings = settings
        self._shard_tokens = shard_tokens
        self._pending: list[Encoded] = []
        self._n_pending = 0
        self._position = 0
        self._samples: list[pl.DataFrame] = []
        self._shards: list[dict[str, int]] = []
        self._supervised = 0
        self._files: dict[str, Any] = {}
        folder.mkdir(parents=True, exist_ok=True)
        (folder / INDEX).unlink(missing_ok=True)
        for pattern in ("shard-*.npy", SAMPLES_FILE, "*.part"):
            for path in sorted(folder.glob(pattern)):
                path.unlink()

    def __enter__(self) -> Self:
        """Ready for `add`."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finish the store, unless there was an error."""
        if kind is None:
            self._finish()

    def add(self, encoded: Encoded) -> None:
        """Append samples. Raises ValueError if their lengths do not sum to the tokens'."""
        ends = np.cumsum(encoded.samples["n_tokens"].to_numpy(), dtype=np.int64)
        total = int(ends[-1]) if len(ends) else 0
        if not total == len(encoded.tokens) == len(encoded.supervised):
            raise ValueError(
                f"samples of {total} tokens, {len(encoded.tokens)} tokens, "
                f"{len(encoded.supervised)} marks"
            )
        done = 0
        while done < len(ends):
            before = int(ends[done - 1]) if done else 0
            missing = self._shard_tokens - self._n_pending
            last = int(np.searchsorted(ends, before + missing))
            upto = min(last + 1, len(ends))
            self._take(encoded, done, upto, before, int(ends[upto - 1]))
            if last < len(ends):
                self._write_shard()
            done = upto

    def _take(self, encoded: Encoded, first: int, upto: int, start: int, end: int) -> None:
        """Keep some of a batch's samples for the present shard."""
        samples = encoded.samples[first:upto]
        # Copies: the pieces of a large batch must not keep all of it in memory.
        self._pending.append(
            encoded._replace(
                samples=samples,
                tokens=encoded.tokens[start:end].copy(),
                supervised=encoded.supervised[start:end].copy(),
            )
        )
        self._samples.append(
            samples.with_columns(
                pl.lit(len(self._shards)).alias("shard"),
                (self._position + pl.int_range(pl.len())).alias("position"),
            ).select(pl.col(name).cast(kind) for name, kind in STORED.items())
        )
        self._position += len(samples)
        self._n_pending += end - start

    def _write_shard(self) -> None:
        """Write what is pending as the next shard."""
        lengths = np.concatenate([piece.samples["n_tokens"].to_numpy() for piece in self._pending])
        arrays: Mapping[str, NDArray[Any]] = {
            "tokens": np.concatenate([piece.tokens for piece in self._pending]),
            "supervised": np.concatenate([piece.supervised for piece in self._pending]),
            "offsets": np.concatenate([[0], np.cumsum(lengths)]),
        }
        number = len(self._shards)
        for name, kind in ARRAYS.items():
            content = BytesIO()
            np.save(content, np.asarray(arrays[name], dtype=kind), allow_pickle=False)
            self._write(shard_file(number, name), content.getbuffer())
        self._shards.append({"samples": len(lengths), "tokens": self._n_pending})
        self._supervised += int(np.count_nonzero(arrays["supervised"]))
        self._pending, self._n_pending, self._position = [], 0, 0

    def _finish(self) -> None:
        """Write the last shard, the frame of samples, and the index."""
        if self._n_pending:
            self._write_shard()
        samples = pl.concat([pl.DataFrame(schema=dict(STORED)), *self._samples]).rechunk()
        content = BytesIO()
        samples.write_parquet(content, compression="zstd", row_group_size=_ROW_GROUP)
        self._write(SAMPLES_FILE, content.getbuffer())
        index = {
            "form": FORM,
            "vocabulary": self._vocabulary,
            "settings": asdict(self._settings),
            "tokens": sum(shard["tokens"] for shard in self._shards),
            "supervised_tokens": self._supervised,
            "shards": self._shards,
            "files": self._files,
        }
        index["hash"] = digest(index).hex()
        text = orjson.dumps(index, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
        _write_file(self._folder / INDEX, memoryview(text))

    def _write(self, name: str, content: memoryview) -> None:
        """Write a file of the store, and note its size and hash."""
        self._files[name] = _write_file(self._folder / name, content)


def write_samples(
    folder: Path,
    batches: Iterable[Encoded],
    *,
    vocabulary: str,
    settings: TokenSettings,
    shard_tokens: int = SHARD_TOKENS,
) -> SampleStore:
    """Write batches of samples as a store (see `SampleWriter`), and open it."""
    with SampleWriter(
        folder, vocabulary=vocabulary, settings=settings, shard_tokens=shard_tokens
    ) as writer:
        for batch in batches:
            writer.add(batch)
    return SampleStore.open(folder)


def _write_file(path: Path, content: memoryview) -> dict[str, Any]:
    """Write a file all at once or not at all; its size, and the hash of what it should hold."""
    write_atomically(path, content)
    sync(path.parent)
    hashed = blake2b(content, digest_size=KEY_BYTES).hexdigest()
    return {"bytes": len(content), "hash": hashed}
