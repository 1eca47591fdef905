"""Samples on disk: written once, the same bytes for the same samples, and damage is found."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import orjson
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.errors import CorruptError
from sft.records import REMOVED
from sft.settings import TokenSettings
from sft.tokenisation import (
    SAMPLES,
    STORED,
    Encoded,
    SampleStore,
    SampleWriter,
    write_samples,
)

SETTINGS = TokenSettings(tokenizer="tiny", length=64)
HASH = "00" * 16


def encoded(lengths: list[int], start: int = 0) -> Encoded:
    """Samples of given lengths; their tokens count on from 100 * number, the second half learnt."""
    tokens = [np.arange(n, dtype=np.uint32) + 100 * (start + i) for i, n in enumerate(lengths)]
    masks = [np.arange(n) >= (n + 1) // 2 for n in lengths]
    samples = pl.DataFrame(
        [
            {
                "sample_id": f"row{start + i}",
                "row_id": f"row{start + i}",
                "source": "faq",
                "language": None,
                "part": 0,
                "n_tokens": n,
                "n_supervised": int(mask.sum()),
            }
            for i, (n, mask) in enumerate(zip(lengths, masks, strict=True))
        ],
        schema=dict(SAMPLES),
    )
    return Encoded(
        samples,
        np.concatenate([np.empty(0, np.uint32), *tokens]),
        np.concatenate([np.empty(0, np.bool_), *masks]),
        pl.DataFrame(schema=dict(REMOVED)),
        Counter(),
    )


def write(folder: Path, *batches: Encoded, shard_tokens: int = 10) -> SampleStore:
    return write_samples(
        folder, batches, vocabulary=HASH, settings=SETTINGS, shard_tokens=shard_tokens
    )


@pytest.fixture
def store(tmp_path: Path) -> SampleStore:
    """Four samples in two shards: 4 + 5 tokens stay below 10, 3 more fill the first shard."""
    return write(tmp_path / "store", encoded([4, 5, 3, 7]))


class TestReading:
    def test_a_sample_and_its_mask(self, store: SampleStore) -> None:
        tokens, supervised = store[1]
        assert tokens.tolist() == [100, 101, 102, 103, 104]
        assert supervised.tolist() == [False, False, False, True, True]
        assert (tokens.dtype, supervised.dtype) == (np.uint32, np.bool_)
        assert [len(store[i].tokens) for i in range(len(store))] == [4, 5, 3, 7]

    def test_samples_are_views_of_files_and_read_only(self, store: SampleStore) -> None:
        assert not store[0].tokens.flags.owndata
        assert np.shares_memory(store[0].tokens, store[0].tokens)
        with pytest.raises(ValueError, match="read-only"):
            store[0].tokens[0] = 1

    def test_what_is_known_of_them(self, store: SampleStore) -> None:
        assert store.samples.schema == dict(STORED)
        assert store.samples["shard"].to_list() == [0, 0, 0, 1]
        assert store.samples["position"].to_list() == [0, 1, 2, 0]
        assert store.samples["n_supervised"].to_list() == [2, 2, 1, 3]
        assert (store.tokens, store.supervised_tokens) == (19, 8)
        assert store.vocabulary == HASH
        assert store.settings == {
            "tokenizer": "tiny",
            "layout": "plain",
            "separator": "<|answer|>",
            "length": 64,
            "overlong": "split",
        }

    @pytest.mark.parametrize("number", [-1, 4])
    def test_a_number_that_is_none(self, store: SampleStore, number: int) -> None:
        with pytest.raises(IndexError, match="of 4"):
            store[number]

    def test_it_goes_to_another_process_as_its_folder(self, store: SampleStore) -> None:
        store[3]
        again = pickle.loads(pickle.dumps(store))
        assert again.hash == store.hash
        assert again[3].tokens.tolist() == store[3].tokens.tolist()

    def test_no_samples(self, tmp_path: Path) -> None:
        store = write(tmp_path, encoded([]))
        store.verify()
        assert (len(store), len(store.samples), store.tokens) == (0, 0, 0)


class TestWriting:
    @given(
        lengths=st.lists(st.integers(2, 9), max_size=12),
        cuts=st.lists(st.integers(0, 12), max_size=4),
        shard_tokens=st.integers(1, 30),
    )
    @settings(max_examples=40, deadline=None)
    def test_how_samples_are_batched_does_not_matter(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        lengths: list[int],
        cuts: list[int],
        shard_tokens: int,
    ) -> None:
        edges = [0, *sorted(min(cut, len(lengths)) for cut in cuts), len(lengths)]
        batches = [encoded(lengths[a:b], start=a) for a, b in pairwise(edges)]
        one, many = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("many")
        write(one, encoded(lengths), shard_tokens=shard_tokens)
        store = write(many, *batches, shard_tokens=shard_tokens)
        assert {p.name: p.read_bytes() for p in one.iterdir()} == {
            p.name: p.read_bytes() for p in many.iterdir()
        }
        store.verify()
        assert [len(store[i].tokens) for i in range(len(store))] == lengths
        assert [int(store[i].tokens[0]) for i in range(len(store))] == [
            100 * i for i in range(len(lengths))
        ]
        assert all(shard["tokens"] >= shard_tokens for shard in store._sizes[:-1])

    def test_an_interrupted_write_leaves_no_store(self, tmp_path: Path) -> None:
        def write_half() -> None:
            with SampleWriter(
                tmp_path, vocabulary=HASH, settings=SETTINGS, shard_tokens=4
            ) as writer:
                writer.add(encoded([5, 5]))
                raise KeyboardInterrupt

        write(tmp_path, encoded([3, 3]))
        with pytest.raises(KeyboardInterrupt):
            write_half()
        assert (tmp_path / "shard-00000.tokens.npy").is_file()
        with pytest.raises(CorruptError, match="no finished store"):
            SampleStore.open(tmp_path)

    def test_a_new_store_takes_the_place_of_an_old_one(self, tmp_path: Path) -> None:
        write(tmp_path, encoded([8, 8, 8]))
        (tmp_path / "notes.txt").write_text("stays")
        store = write(tmp_path, encoded([8]))
        store.verify()
        assert sorted(p.name for p in tmp_path.iterdir()) == [
            "index.json",
            "notes.txt",
            "samples.parquet",
            "shard-00000.offsets.npy",
            "shard-00000.supervised.npy",
            "shard-00000.tokens.npy",
        ]

    def test_batches_that_do_not_add_up(self, tmp_path: Path) -> None:
        broken = encoded([4, 5])._replace(tokens=np.zeros(8, np.uint32))
        with pytest.raises(ValueError, match="9 tokens, 8 tokens"):
            write(tmp_path, broken)


FILES = [
    "samples.parquet",
    *(f"shard-0000{n}.{a}.npy" for n in (0, 1) for a in ("tokens", "supervised", "offsets")),
]


class TestDamage:
    def test_a_sound_store(self, store: SampleStore) -> None:
        store.verify()
        assert sorted(store._files) == sorted(FILES)

    @pytest.mark.parametrize("name", FILES)
    def test_a_flipped_bit(self, store: SampleStore, name: str) -> None:
        path = store.folder / name
        content = bytearray(path.read_bytes())
        before = json.loads((store.folder / "index.json").read_bytes())["files"][name]["hash"]
        content[-1] ^= 1
        path.write_bytes(content)
        with pytest.raises(CorruptError, match=r"expected .*Delete .* run sft blend") as error:
            SampleStore.open(store.folder).verify()
        assert str(path) in str(error.value)
        assert f"expected {before}" in str(error.value)

    @pytest.mark.parametrize("name", FILES)
    def test_a_file_that_ends_early_or_is_gone(self, store: SampleStore, name: str) -> None:
        path = store.folder / name
        content = path.read_bytes()
        path.write_bytes(content[:-1])
        with pytest.raises(CorruptError, match=rf"{len(content) - 1} bytes, {len(content)} were"):
            SampleStore.open(store.folder)
        path.unlink()
        with pytest.raises(CorruptError, match=r"missing.*run sft blend again") as error:
            SampleStore.open(store.folder)
        assert name in str(error.value)

    def test_an_index_that_was_edited(self, store: SampleStore) -> None:
        path = store.folder / "index.json"
        index = orjson.loads(path.read_bytes())
        index["settings"]["length"] = 128
        path.write_bytes(orjson.dumps(index))
        with pytest.raises(CorruptError, match=r"index\.json: has the hash"):
            SampleStore.open(store.folder)

    @pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"hash": 1', b"\xff"])
    def test_an_index_that_is_none(self, store: SampleStore, content: bytes) -> None:
        (store.folder / "index.json").write_bytes(content)
        with pytest.raises(CorruptError, match=r"index\.json"):
            SampleStore.open(store.folder)

    def test_a_header_that_says_something_else(self, store: SampleStore) -> None:
        path = store.folder / "shard-00000.tokens.npy"
        path.write_bytes(path.read_bytes().replace(b"<u4", b"<i4"))
        with pytest.raises(CorruptError, match=r"int32, expected \(12,\) of uint32"):
            SampleStore.open(store.folder)[0]
        path.write_bytes(b"\0" * path.stat().st_size)
        with pytest.raises(CorruptError, match="cannot be read"):
            SampleStore.open(store.folder)[0]

    def test_a_frame_of_samples_that_is_none(self, store: SampleStore) -> None:
        path = store.folder / "samples.parquet"
        path.write_bytes(b"\0" * path.stat().st_size)
        with pytest.raises(CorruptError, match=r"samples\.parquet: cannot be read"):
            SampleStore.open(store.folder).samples  # noqa: B018
