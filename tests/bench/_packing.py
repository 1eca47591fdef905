"""Packing: ours, TRL's packer as it is shipped, TRL's over all samples at once.

Two jobs are timed apart: which samples share a pack (from lengths alone), and writing the tokens
of all packs one after another. TRL does both in one call, in batches of 1000 samples unless told
otherwise; of its packer over all samples the assignment alone is timed too, with its own search
tree. Samples have one column of int32 tokens. Lengths are log-normal (sigma .9), clipped to 2048.
Writing goes to new memory for both, and where the machine is slow to hand out memory, that is most
of its time.
"""

from __future__ import annotations

import importlib.util
import time
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sft.blending import Ints, Samples, mixed
from sft.packing import Packs, pack, plan_epoch
from tests.bench._common import spread

CAPACITY = 2048
BATCH = 18
SHAPES = {"short (median 300)": 300, "long (median 900)": 900}
SIGMA = 0.9
REPEATS = 3
LARGE = 200_000
"""From so many samples on, peers are timed once; and the naive algorithm is not run at all."""
_MOST_TOKENS = 600_000_000
"""With more, TRL over all samples at once takes more memory than a small machine has."""
_WRITTEN_AT_ONCE = 10_000
_INSTALL = "`make bench` installs it into an environment of its own."


class Row(NamedTuple):
    """A line of the table: seconds are empty where they were not measured apart."""

    what: str
    assign_s: Sequence[float]
    write_s: Sequence[float]
    whole_s: Sequence[float]
    packs: int


def packing(sizes: Sequence[int] = (100_000, 1_000_000)) -> None:
    """Print the tables, one per shape and size, and what balanced steps cost on top."""
    missing = [name for name in ("trl", "datasets") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"Not compared with TRL: {', '.join(missing)} is missing. {_INSTALL}")
    for shape, median in SHAPES.items():
        for size in sizes:
            lengths = _lengths(median, size)
            print(f"\n{size:,} samples, {shape}, {lengths.sum():,} tokens; packs of {CAPACITY}")
            print(f"{'':34}{'assign s':>22}{'write s':>22}{'whole s':>22}{'packs':>9}{'fill':>10}")
            for row in _rows(lengths, with_trl=not missing):
                fill = lengths.sum() / (row.packs * CAPACITY)
                times = "".join(
                    f"{_seconds(values):>22}" for values in (row.assign_s, row.write_s, row.whole_s)
                )
                print(f"{row.what:34}{times}{row.packs:9,}{fill:10.3%}", flush=True)
            _print_plan(lengths)


def _lengths(median: int, size: int) -> Ints:
    lengths = np.random.default_rng(median).lognormal(np.log(median), SIGMA, size)
    return np.clip(lengths.round(), 1, CAPACITY).astype(np.int64)


def _rows(lengths: Ints, *, with_trl: bool) -> Iterator[Row]:
    yield _ours(lengths)
    if len(lengths) < LARGE:
        seconds, rooms = _timed(lambda: _naive_best_fit(lengths), 1)
        yield Row("naive best fit decreasing", seconds, (), (), len(rooms))
    if with_trl:
        repeats = REPEATS if len(lengths) < LARGE else 1
        dataset = _dataset(lengths)
        seconds, packs = _timed(lambda: _trl_pack(dataset, batch_size=1000), repeats)
        yield Row("TRL as shipped (batches of 1000)", (), (), seconds, packs)
        assign_s, bins = _timed(lambda: _trl_assign(lengths), repeats)
        if lengths.sum() > _MOST_TOKENS:
            yield Row("TRL over all samples at once", assign_s, (), (), bins)
            return
        seconds, packs = _timed(lambda: _trl_pack(dataset, batch_size=None), repeats)
        if packs != bins:
            raise RuntimeError(f"TRL makes {packs} packs, its search tree alone {bins}")
        yield Row("TRL over all samples at once", assign_s, (), seconds, packs)


def _seconds(values: Sequence[float]) -> str:
    return spread(values, ".3f") if len(values) > 1 else "".join(f"{one:.3f}" for one in values)


def _timed(work: Callable[[], Any], repeats: int) -> tuple[list[float], Any]:
    """Seconds of each run, and the last result."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - started)
    return seconds, result


def _ours(lengths: Ints) -> Row:
    order = mixed(np.arange(len(lengths), dtype=np.uint64), 0)
    assign_s, packs = _timed(lambda: pack(lengths, CAPACITY, order=order), REPEATS)
    tokens = np.arange(lengths.sum(), dtype=np.int32)
    repeats = REPEATS if len(lengths) < LARGE else 1
    write_s, written = _timed(lambda: _written(tokens, lengths, packs), repeats)
    if written.sum(dtype=np.int64) != tokens.sum(dtype=np.int64):
        raise RuntimeError("the packs do not hold the samples' tokens")
    whole_s = [assign + write for assign, write in zip(assign_s, write_s, strict=False)]
    return Row("ours", assign_s, write_s, whole_s, len(packs.offsets) - 1)


def _written(tokens: NDArray[np.int32], lengths: Ints, packs: Packs) -> NDArray[np.int32]:
    """The tokens of all packs, one after another."""
    ends = np.cumsum(lengths)[packs.items]
    starts = ends - lengths[packs.items]
    at = np.concatenate([[0], np.cumsum(ends - starts)])
    out = np.empty(len(tokens), dtype=np.int32)
    for first in range(0, len(starts), _WRITTEN_AT_ONCE):
        last = min(first + _WRITTEN_AT_ONCE, len(starts))
        bounds = zip(starts[first:last].tolist(), ends[first:last].tolist(), strict=True)
        parts = [tokens[start:end] for start, end in bounds]
        np.concatenate(parts, out=out[at[first] : at[last]])
    return out


def _naive_best_fit(lengths: Ints) -> list[int]:
    rooms: list[int] = []
    for length in np.sort(lengths)[::-1].tolist():
        at = bisect_left(rooms, length)
        room = rooms.pop(at) if at < len(rooms) else CAPACITY
        insort(rooms, room - length)
    return rooms


def _dataset(lengths: Ints) -> Any:
    import datasets  # type: ignore[import-not-found, unused-ignore]
    import pyarrow as pa  # type: ignore[import-not-found, unused-ignore]
    from trl import data_utils  # type: ignore[import-not-found, unused-ignore]  # noqa: F401

    datasets.disable_progress_bars()
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    tokens = np.arange(lengths.sum(), dtype=np.int32)
    column = pa.ListArray.from_arrays(pa.array(offsets), pa.array(tokens))
    # A fingerprint of its own: the default one pickles all tokens.
    return datasets.Dataset(pa.table({"input_ids": column}), fingerprint=f"bench{lengths.sum()}")


def _trl_pack(dataset: Any, *, batch_size: int | None) -> int:
    """The number of packs."""
    import trl  # type: ignore[import-not-found, unused-ignore]

    map_kwargs = {"batch_size": batch_size}
    return len(trl.pack_dataset(dataset, CAPACITY, strategy="bfd", map_kwargs=map_kwargs))


def _trl_assign(lengths: Ints) -> int:
    """The number of packs, with TRL's search tree over rooms and lists of samples per pack."""
    from trl.data_utils import _SegmentTree  # type: ignore[import-not-found, unused-ignore]

    tree = _SegmentTree(CAPACITY)
    tree.add(CAPACITY)
    by_room: list[list[list[int]]] = [[] for _ in range(CAPACITY + 1)]
    packs: list[list[int]] = []
    order = np.argsort(-lengths, kind="stable")
    for item, length in zip(order.tolist(), lengths[order].tolist(), strict=True):
        room = tree.search(length)
        if room == CAPACITY:
            packs.append(content := [])
        else:
            content = by_room[room].pop()
            if not by_room[room]:
                tree.remove(room)
        content.append(item)
        if left := room - length:
            by_room[left].append(content)
            tree.add(left)
    return len(packs)


def _print_plan(lengths: Ints) -> None:
    """Time a whole plan of four sources, 60, 30, 9 and 1 % of the samples."""
    generator = np.random.default_rng(1)
    codes = generator.choice(4, len(lengths), p=[0.6, 0.3, 0.09, 0.01]).astype(np.int32)
    supervised = np.ceil(lengths * np.array([0.7, 0.5, 0.3, 0.9])[codes]).astype(np.int64)
    samples = Samples(
        sources=("a", "b", "c", "d"),
        codes=codes,
        n_tokens=lengths,
        n_supervised=supervised,
        keys=mixed(np.arange(len(lengths), dtype=np.uint64), 1),
    )
    seconds, plan = _timed(
        lambda: plan_epoch(
            samples, np.arange(len(lengths)), capacity=CAPACITY, batch=BATCH, seed=0, epoch=1
        ),
        REPEATS,
    )
    print(
        f"{'ours, with balanced steps':34}{_seconds(seconds):>22}   {plan.n_steps:,} steps of "
        f"{BATCH}; a step misses the shares of 4 sources by {plan.worst / CAPACITY:.2f} packs at "
        f"most, in random order by {_random_worst(samples, plan.items, plan.pack_offsets):.2f}",
        flush=True,
    )


def _random_worst(samples: Samples, items: Ints, offsets: Ints) -> float:
    """The largest deviation of a step from the shares, in packs, if the packs are shuffled."""
    n_packs = len(offsets) - 1
    step_of_pack = np.random.default_rng(2).permutation(n_packs) // BATCH
    cells = np.repeat(step_of_pack, np.diff(offsets)) * 4 + samples.codes[items]
    n_cells = 4 * (int(step_of_pack.max()) + 1)
    sums = np.bincount(cells, weights=samples.n_supervised[items], minlength=n_cells)
    table = sums.reshape(-1, 4)
    shares = table.sum(axis=0) / table.sum()
    return float(np.abs(table - shares * table.sum(axis=1, keepdims=True)).max() / CAPACITY)
