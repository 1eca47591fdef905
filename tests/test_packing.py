"""Packing: best fit decreasing against a naive one, plans, and the balance of optimizer steps."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import Counter
from typing import TypeAlias

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from sft.blending import Samples, mixed, samples_of
from sft.packing import EpochPlan, Packs, balanced_steps, pack, plan_epoch

Ints: TypeAlias = NDArray[np.int64]
CAPACITY = 2048


def packs_of(packs: Packs) -> list[list[int]]:
    """The items of every pack."""
    return [part.tolist() for part in np.split(packs.items, packs.offsets[1:-1])]


def naive_best_fit(lengths: list[int], capacity: int) -> list[int]:
    """The rooms that are left by best fit decreasing, sample by sample, sorted."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        at = bisect_left(rooms, length)
        room = rooms.pop(at) if at < len(rooms) else capacity
        insort(rooms, room - length)
    return rooms


# --- Packs --------------------------------------------------------------------------------------


def test_best_fit_decreasing_by_hand() -> None:
    """Capacity 10. 7 and 6 open packs; 3 fits both and goes to the fuller one, 7; 4 to 6."""
    assert sorted(packs_of(pack(np.array([3, 6, 7, 4]), 10))) == [[1, 3], [2, 0]]
    # 5 and 5 fill a pack, the third 5 opens one; 2, 2 and 1 fill it.
    assert sorted(packs_of(pack(np.array([5, 2, 5, 2, 5, 1]), 10))) == [[0, 2], [4, 1, 3, 5]]


def test_a_pack_may_be_full_with_one_sample() -> None:
    assert packs_of(pack(np.array([4, 4]), 4)) == [[0], [1]]
    assert packs_of(pack(np.array([1, 1, 1]), 1)) == [[0], [1], [2]]


def test_nothing_makes_no_pack() -> None:
    packs = pack(np.array([], dtype=np.int64), 8)
    assert (packs.items.tolist(), packs.offsets.tolist()) == ([], [0])


@settings(max_examples=500)
@given(st.integers(1, 80).flatmap(
    lambda capacity: st.tuples(
        st.just(capacity), st.lists(st.integers(1, capacity), min_size=1, max_size=150)
    )
))  # fmt: skip
def test_packs_are_those_of_the_naive_algorithm(drawn: tuple[int, list[int]]) -> None:
    """The same rooms are left, so the same number of packs; every sample is in one of them."""
    capacity, lengths = drawn
    packs = pack(np.array(lengths), capacity)
    assert sorted(packs.items) == list(range(len(lengths)))
    contents = [[lengths[item] for item in items] for items in packs_of(packs)]
    assert sorted(capacity - sum(tokens) for tokens in contents) == naive_best_fit(
        lengths, capacity
    )
    assert all(tokens == sorted(tokens, reverse=True) for tokens in contents)


@pytest.mark.parametrize("median", [300, 900])
def test_many_samples_are_packed_as_the_naive_algorithm_would(median: int) -> None:
    """40,000 log-normal lengths; the short ones fill packs to better than 99.9 %."""
    generator = np.random.default_rng(median)
    lengths = np.clip(generator.lognormal(np.log(median), 0.9, 40_000).round(), 1, CAPACITY)
    packs = pack(lengths.astype(np.int64), CAPACITY, order=keys(40_000))
    sums = np.add.reduceat(lengths[packs.items], packs.offsets[:-1])
    rooms = naive_best_fit(lengths.astype(int).tolist(), CAPACITY)
    assert sorted((CAPACITY - sums).tolist()) == rooms
    assert median == 900 or sums.mean() / CAPACITY > 0.999


def keys(n: int, seed: int = 0) -> NDArray[np.uint64]:
    """Keys without an order."""
    return mixed(np.arange(n, dtype=np.uint64), seed)


def test_keys_order_equal_lengths_and_nothing_else() -> None:
    """Two per pack: neighbours by key share one, whatever their index."""
    order = np.array([5, 1, 4, 2, 3, 0], dtype=np.uint64) << np.uint64(60)
    assert packs_of(pack(np.full(6, 5), 10, order=order)) == [[5, 1], [3, 4], [2, 0]]
    lengths = np.random.default_rng(0).integers(1, 100, 2000)
    one, other = (pack(lengths, 300, order=keys(2000, seed)) for seed in (1, 2))
    assert one.offsets.tolist() == other.offsets.tolist()
    assert lengths[one.items].tolist() == lengths[other.items].tolist()
    assert np.mean(one.items == other.items) < 0.1


@pytest.mark.parametrize("length", [0, -3, 11])
def test_lengths_that_fit_no_pack_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match="a pack takes 1 to 10"):
        pack(np.array([4, length]), 10)


def test_a_pack_without_capacity_is_refused() -> None:
    with pytest.raises(ValueError, match="0 tokens"):
        pack(np.array([1]), 0)


# --- The balance of steps -----------------------------------------------------------------------


def deviations(supervised: Ints, order: Ints, batch: int) -> NDArray[np.float64]:
    """|x - share * sum of x| of every step and source, from the definition."""
    shares = supervised.sum(axis=0) / supervised.sum()
    rows = [supervised[order[at : at + batch]].sum(axis=0) for at in range(0, len(order), batch)]
    return np.array([np.abs(row - shares * row.sum()) for row in rows])


def test_two_sources_in_halves() -> None:
    """Eight pure packs, four of each source: every step of two has one of each."""
    supervised = np.repeat([[10, 0], [0, 10]], 4, axis=0)
    found = balanced_steps(supervised, 2, 10, seed=0)
    assert sorted(found.order) == list(range(8))
    assert found.worst == 0
    assert {tuple(sorted(pair)) for pair in (found.order.reshape(4, 2) // 4).tolist()} == {(0, 1)}


def test_a_rare_source_is_spread_over_the_steps() -> None:
    """3 packs of the rare source in 30: with 10 steps, no step has two of them.

    Its share is .1, so a step of 3 packs should have .3 of one: 1 deviates by .7, 2 by 1.7.
    """
    supervised = np.zeros((30, 2), dtype=np.int64)
    supervised[:, 0] = 100
    supervised[[4, 11, 12]] = [0, 100]
    found = balanced_steps(supervised, 3, 100, seed=1)
    assert found.worst == pytest.approx(70)


def test_the_worst_deviation_is_told_when_the_bound_cannot_be_met() -> None:
    """Packs of 10 tokens against a bound of 1: steps of one pack deviate by 5 at best."""
    supervised = np.array([[10, 0], [0, 10], [10, 0], [0, 10]])
    assert balanced_steps(supervised, 1, 1, seed=0).worst == 5


def test_edges_of_steps() -> None:
    nothing = balanced_steps(np.zeros((0, 3), dtype=np.int64), 4, 10, seed=0)
    assert (nothing.order.tolist(), nothing.worst) == ([], 0)
    one_source = balanced_steps(np.array([[3], [9], [1]]), 2, 10, seed=0)
    assert (sorted(one_source.order), one_source.worst) == ([0, 1, 2], 0)
    unsupervised = balanced_steps(np.zeros((5, 2), dtype=np.int64), 2, 10, seed=0)
    assert (len(unsupervised.order), unsupervised.worst) == (5, 0)
    whole = balanced_steps(np.array([[3, 1], [9, 0]]), 5, 10, seed=0)
    assert whole.worst == pytest.approx(0)
    with pytest.raises(ValueError, match="0 packs per step"):
        balanced_steps(np.array([[1]]), 0, 10, seed=0)


@st.composite
def pack_contents(draw: st.DrawFn) -> Ints:
    """Supervised tokens of packs: pure or mixed, full or nearly empty, with rare sources."""
    n_packs = draw(st.integers(1, 120))
    n_sources = draw(st.integers(2, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    ratios = generator.dirichlet(np.full(n_sources, draw(st.sampled_from([0.3, 1.0, 5.0]))))
    ratios = np.maximum(ratios, 0.01) / np.maximum(ratios, 0.01).sum()
    pure = np.eye(n_sources)[generator.choice(n_sources, n_packs, p=ratios)]
    mixed_packs = generator.dirichlet(ratios * draw(st.sampled_from([1.0, 5.0])), n_packs)
    shares = np.where(generator.random((n_packs, 1)) < draw(st.floats(0, 1)), pure, mixed_packs)
    fractions = generator.choice([0.05, 0.5, 1.0], size=n_sources)
    contents: Ints = np.floor(shares * fractions * CAPACITY).astype(np.int64)
    return contents


@settings(max_examples=400, deadline=None)
@given(supervised=pack_contents(), batch=st.integers(1, 32), seed=st.integers(0, 3))
def test_every_step_carries_the_shares_within_a_pack(
    supervised: Ints, batch: int, seed: int
) -> None:
    found = balanced_steps(supervised, batch, CAPACITY, seed=seed)
    assert sorted(found.order) == list(range(len(supervised)))
    if supervised.sum():
        measured = deviations(supervised, found.order, batch).max()
        assert found.worst == pytest.approx(measured, abs=1e-6)
        assert measured <= CAPACITY


@pytest.mark.parametrize("batch", [2, 5, 18, 32, 100])
@pytest.mark.parametrize("n_sources", [2, 3, 6])
def test_many_pure_packs_meet_the_bound(n_sources: int, batch: int) -> None:
    """The hardest case: every pack is full and of one source."""
    generator = np.random.default_rng(n_sources * batch)
    source = generator.choice(n_sources, 20_000, p=generator.dirichlet(np.ones(n_sources)))
    supervised = np.eye(n_sources, dtype=np.int64)[source] * CAPACITY
    assert balanced_steps(supervised, batch, CAPACITY, seed=0).worst <= CAPACITY


def test_shuffled_packs_alone_would_break_the_bound() -> None:
    """What the search is for: the same packs in random order miss by several packs."""
    generator = np.random.default_rng(5)
    supervised = np.eye(3, dtype=np.int64)[generator.choice(3, 5000)] * CAPACITY
    random = deviations(supervised, generator.permutation(5000), 18).max()
    assert random > 2.5 * CAPACITY
    assert balanced_steps(supervised, 18, CAPACITY, seed=0).worst < CAPACITY


# --- Plans --------------------------------------------------------------------------------------


def samples(n: int = 3000, seed: int = 0) -> Samples:
    """Samples of three sources of unlike size, length and supervised share."""
    generator = np.random.default_rng(seed)
    source = generator.choice(3, n, p=[0.7, 0.29, 0.01])
    medians = np.array([200, 700, 1500])[source]
    lengths = np.clip(generator.lognormal(np.log(medians), 0.8).round(), 2, CAPACITY)
    fractions = np.array([0.8, 0.3, 1.0])[source]
    rows = pl.DataFrame(
        {
            "sample_id": [f"id{number}" for number in range(n)],
            "source": np.array(["a", "b", "c"])[source],
            "n_tokens": lengths.astype(np.int64),
            "n_supervised": np.ceil(lengths * fractions).astype(np.int64),
        }
    )
    return samples_of(rows, ["a", "b", "c"])


def plan(all_samples: Samples, drawn: Ints, *, batch: int = 18, epoch: int = 1) -> EpochPlan:
    """A plan with the defaults of these tests."""
    return plan_epoch(all_samples, drawn, capacity=CAPACITY, batch=batch, seed=4, epoch=epoch)


def test_a_plan_holds_the_draw_and_nothing_else() -> None:
    all_samples = samples()
    drawn = np.concatenate([np.arange(3000), np.arange(100, 500)])
    made = plan(all_samples, drawn)
    assert Counter(made.items.tolist()) == Counter(drawn.tolist())
    tokens = [all_samples.n_tokens[made.pack(at)].sum() for at in range(made.n_packs)]
    assert max(tokens) <= CAPACITY
    assert made.n_tokens == sum(tokens) == all_samples.n_tokens[drawn].sum()
    assert made.n_supervised == all_samples.n_supervised[drawn].sum()
    assert made.fill == pytest.approx(sum(tokens) / (len(tokens) * CAPACITY))
    assert made.n_packs == len(naive_best_fit(all_samples.n_tokens[drawn].tolist(), CAPACITY))


def test_steps_have_the_batch_and_the_last_one_what_is_left() -> None:
    made = plan(samples(), np.arange(3000), batch=7)
    steps = [made.step(at) for at in range(made.n_steps)]
    assert [at for step in steps for at in step] == list(range(made.n_packs))
    assert {len(step) for step in steps[:-1]} == {7}
    assert len(steps[-1]) == made.n_packs - 7 * (made.n_steps - 1) in range(1, 8)
    for outside in (-1, made.n_packs):
        with pytest.raises(IndexError):
            made.pack(outside)
    for outside in (-1, made.n_steps):
        with pytest.raises(IndexError):
            made.step(outside)


def test_the_worst_deviation_of_a_plan_is_that_of_its_steps() -> None:
    """Measured again from the plan's samples, by the definition."""
    all_samples = samples()
    made = plan(all_samples, np.arange(3000))
    sums = np.zeros((made.n_steps, 3))
    for at in range(made.n_steps):
        for number in made.step(at):
            items = made.pack(number)
            np.add.at(sums[at], all_samples.codes[items], all_samples.n_supervised[items])
    shares = sums.sum(axis=0) / sums.sum()
    worst = np.abs(sums - shares * sums.sum(axis=1, keepdims=True)).max()
    assert made.worst == pytest.approx(worst)
    assert made.worst <= CAPACITY


def test_epochs_differ_and_are_the_same_again() -> None:
    all_samples = samples()
    one, again, two = (plan(all_samples, np.arange(3000), epoch=epoch) for epoch in (1, 1, 2))
    assert one.content_hash() == again.content_hash() != two.content_hash()
    # Samples of a rare length meet the same neighbours again: of 3000, a quarter of the packs.
    contents = [
        {tuple(sorted(made.pack(at).tolist())) for at in range(made.n_packs)} for made in (one, two)
    ]
    shared = [items for items in contents[0] & contents[1] if len(items) > 1]
    assert len(shared) < one.n_packs / 3


def test_the_numbers_of_the_samples_change_nothing() -> None:
    """The same samples, numbered otherwise and drawn in the same order: the same plan."""
    here = samples(400)
    drawn = np.concatenate([np.arange(400), np.arange(0, 400, 3)])
    place = np.random.default_rng(0).permutation(400)  # number here → number there
    there = Samples(
        sources=here.sources,
        codes=here.codes[np.argsort(place)],
        n_tokens=here.n_tokens[np.argsort(place)],
        n_supervised=here.n_supervised[np.argsort(place)],
        keys=here.keys[np.argsort(place)],
    )
    one, other = plan(here, drawn), plan(there, place[drawn])
    assert place[one.items].tolist() == other.items.tolist()
    assert one.pack_offsets.tolist() == other.pack_offsets.tolist()


def test_a_plan_is_the_same_for_ever() -> None:
    """Pinned: a change here makes every planned epoch of every user another one."""
    ids = keys(500)
    lengths = 1 + (ids % np.uint64(700)).astype(np.int64)
    fixed = Samples(
        sources=("a", "b", "c"),
        codes=(ids >> np.uint64(60)).astype(np.int32) % 3,
        n_tokens=lengths,
        n_supervised=1 + lengths // 2,
        keys=ids,
    )
    drawn = np.concatenate([np.arange(500), np.arange(50)])
    assert plan(fixed, drawn).content_hash() == PINNED


PINNED = "4fe262c61f5132933234461ba2aff0f2"


def test_copies_of_a_sample_keep_apart() -> None:
    """60 samples of 200 tokens, each three times, ten to a pack: no pack has one twice."""
    rows = pl.DataFrame(
        {
            "sample_id": [f"id{number}" for number in range(60)],
            "source": ["a"] * 60,
            "n_tokens": [200] * 60,
            "n_supervised": [100] * 60,
        }
    )
    made = plan(samples_of(rows, ["a"]), np.repeat(np.arange(60), 3))
    assert made.n_packs == 18
    assert all(len(set(made.pack(at).tolist())) == 10 for at in range(18))


def test_copies_meet_where_a_pack_takes_more_than_there_are() -> None:
    """Four samples of 200 tokens, each five times: a pack of ten cannot do otherwise."""
    rows = pl.DataFrame(
        {
            "sample_id": list("wxyz"),
            "source": ["a"] * 4,
            "n_tokens": [200] * 4,
            "n_supervised": [100] * 4,
        }
    )
    made = plan(samples_of(rows, ["a"]), np.repeat(np.arange(4), 5))
    assert [max(Counter(made.pack(at).tolist()).values()) for at in range(2)] == [3, 3]


def test_an_empty_draw_is_an_empty_plan() -> None:
    made = plan(samples(10), np.array([], dtype=np.int64))
    assert (made.n_packs, made.n_steps, made.fill, made.worst) == (0, 0, 1.0, 0.0)
    assert made.content_hash() == plan(samples(10), np.array([], dtype=np.int64)).content_hash()
