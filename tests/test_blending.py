"""Blends: shares and totals by hand, draws against what they promise, estimates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import islice

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.blending import (
    BlendError,
    BlendTargets,
    Samples,
    SourceTarget,
    apportion,
    draw,
    draws,
    estimate,
    mixed,
    realised,
    salt,
    samples_of,
    shares,
    targets,
)
from sft.settings import BlendSettings, EstimateSettings, Group, Source, Unit


def source(name: str, *, domain: str = "ads", task: str = "qa", cap: float | None = None) -> Source:
    """A source without files."""
    return Source(name=name, paths=(), domain=domain, task=task, licence="CC0-1.0", max_epochs=cap)


def frame(n_tokens: Mapping[str, Sequence[int]]) -> pl.DataFrame:
    """Samples with so many tokens, by source; half of them (rounded up) are supervised."""
    rows = [
        (f"{name}-{number}", name, tokens, -(-tokens // 2))
        for name, all_tokens in n_tokens.items()
        for number, tokens in enumerate(all_tokens)
    ]
    return pl.DataFrame(
        rows, schema=["sample_id", "source", "n_tokens", "n_supervised"], orient="row"
    )


def targets_of(by: Unit, **units: tuple[int, int]) -> BlendTargets:
    """Targets made directly: name → (available, target)."""
    total = sum(target for _, target in units.values())
    return BlendTargets(
        by=by,
        total=total,
        sources=tuple(
            SourceTarget(source=name, ratio=target / total, available=available, target=target)
            for name, (available, target) in units.items()
        ),
    )


def epochs_of(samples: Samples, plan: BlendTargets, count: int, seed: int = 0) -> list[list[int]]:
    """The first epochs of a blend."""
    return [drawn.tolist() for drawn in islice(draws(samples, plan, seed=seed), count)]


# --- Shares -------------------------------------------------------------------------------------

THREE = (source("a"), source("b", task="chat"), source("c", domain="general"))
HAVE = {"a": 100, "b": 300, "c": 50}


def test_ratios_by_source_are_taken_as_written() -> None:
    """.1, .2 and .7 as decimals: floating point would make their sum .9999999999999999."""
    found = shares(BlendSettings(ratios={"a": 0.1, "b": 0.2, "c": 0.7}), THREE, HAVE)
    assert found == {"a": Fraction(1, 10), "b": Fraction(2, 10), "c": Fraction(7, 10)}


def test_a_groups_ratio_is_split_by_what_its_sources_have() -> None:
    """Ads: a and b with 100 and 300 units, so .8 is .2 and .6."""
    found = shares(
        BlendSettings(group=Group.DOMAIN, ratios={"ads": 0.8, "general": 0.2}), THREE, HAVE
    )
    assert found == {"a": Fraction(2, 10), "b": Fraction(6, 10), "c": Fraction(2, 10)}
    # Task qa: a and c with 100 and 50 units.
    found = shares(BlendSettings(group=Group.TASK, ratios={"qa": 0.6, "chat": 0.4}), THREE, HAVE)
    assert found == {"a": Fraction(4, 10), "b": Fraction(4, 10), "c": Fraction(2, 10)}


def test_temperature_flattens_the_shares() -> None:
    """Sizes 100, 400, 900. 1: as they are. 2: their roots 10, 20, 30. Large: a third each."""
    sizes = {"a": 100, "b": 400, "c": 900}
    assert shares(BlendSettings(), THREE, sizes)["b"] == Fraction(4, 14)
    roots = shares(BlendSettings(temperature=2), THREE, sizes)
    assert [float(share) for share in roots.values()] == pytest.approx([1 / 6, 2 / 6, 3 / 6])
    flat = shares(BlendSettings(temperature=1e9), THREE, sizes)
    assert [float(share) for share in flat.values()] == pytest.approx([1 / 3] * 3)
    assert sum(roots.values()) == sum(flat.values()) == 1


def test_a_source_with_ratio_0_may_be_empty() -> None:
    found = shares(
        BlendSettings(ratios={"a": 0.5, "b": 0.5, "c": 0}), THREE, {"a": 1, "b": 1, "c": 0}
    )
    assert found["c"] == 0


@pytest.mark.parametrize(
    ("blend", "available", "field", "text"),
    [
        (BlendSettings(ratios={"a": 0.5, "b": 0.3, "c": 0.17}), HAVE, ("ratios",),
         "sum to 0.97, expected a sum of 1. Add 0.03"),
        (BlendSettings(ratios={"a": 0.5, "b": 0.5, "c": 0.00001}), HAVE, ("ratios",),
         "Take away 1e-05"),
        (BlendSettings(ratios={"a": 0.5, "b": 0.5}), HAVE, ("ratios",), "no ratio for c"),
        (BlendSettings(ratios={"a": 0.5, "b": 0.5, "d": 0}), HAVE, ("ratios", "d"), "a, b, c"),
        (BlendSettings(ratios={"a": 1.2, "b": -0.2, "c": 0}), HAVE, ("ratios", "a"), "1.2"),
        (BlendSettings(ratios={"a": 0.7, "b": -0.2, "c": 0.5}), HAVE, ("ratios", "b"), "-0.2"),
        (BlendSettings(ratios={"a": float("nan"), "b": 1, "c": 0}), HAVE, ("ratios", "a"), "nan"),
        (BlendSettings(ratios={"a": 0.5, "b": 0.5, "c": 0}), {**HAVE, "b": 0}, ("ratios", "b"),
         "nothing left of b"),
        (BlendSettings(group=Group.DOMAIN, ratios={"ads": 0.5, "general": 0.5}), {**HAVE, "b": 0},
         ("ratios", "ads"), "nothing left of b"),
        (BlendSettings(), {**HAVE, "c": 0}, ("temperature",), "nothing left of c"),
        (BlendSettings(temperature=0), HAVE, ("temperature",), "more than 0"),
    ],
)  # fmt: skip
def test_impossible_shares_are_refused(
    blend: BlendSettings, available: dict[str, int], field: tuple[str, ...], text: str
) -> None:
    with pytest.raises(BlendError) as error:
        shares(blend, THREE, available)
    assert error.value.field == field
    assert text in str(error.value)


def test_ratios_may_miss_1_by_rounding() -> None:
    """Three times .333333 sums to .999999; the shares are thirds."""
    found = shares(BlendSettings(ratios=dict.fromkeys("abc", 0.333333)), THREE, HAVE)
    assert set(found.values()) == {Fraction(1, 3)}


# --- Totals and caps ----------------------------------------------------------------------------


def test_largest_remainders_fill_up_to_the_total() -> None:
    """Shares 3.5, 2.45, 1.05 of 7: floors 3, 2, 1, and one unit more for the remainder .5."""
    ratios = {"a": Fraction(50, 100), "b": Fraction(35, 100), "c": Fraction(15, 100)}
    assert apportion(7, ratios) == {"a": 4, "b": 2, "c": 1}


def test_equal_remainders_are_served_by_name_in_any_order_of_the_file() -> None:
    half = Fraction(1, 2)
    assert apportion(3, {"a": half, "b": half}) == {"a": 2, "b": 1}
    assert apportion(3, {"b": half, "a": half}) == {"a": 2, "b": 1}


@given(
    total=st.integers(1, 10**12),
    weights=st.lists(st.integers(0, 10**6), min_size=1, max_size=6).filter(any),
)
def test_apportioned_units_sum_to_the_total_each_within_1(total: int, weights: list[int]) -> None:
    ratios = {str(at): Fraction(weight, sum(weights)) for at, weight in enumerate(weights)}
    units = apportion(total, ratios)
    assert sum(units.values()) == total
    assert all(abs(units[name] - total * ratio) < 1 for name, ratio in ratios.items())


def test_without_a_total_as_much_as_repeats_nothing() -> None:
    """a: 100 / .25 = 400; b: 300 / .25 = 1200; c: 50 / .5 = 100 is the least."""
    blend = BlendSettings(ratios={"a": 0.25, "b": 0.25, "c": 0.5})
    found = targets(blend, THREE, HAVE, epochs=3)
    assert found.total == 100
    assert [entry.target for entry in found.sources] == [25, 25, 50]
    assert [entry.passes for entry in found.sources] == [0.25, 25 / 300, 1.0]


def test_without_ratios_and_total_everything_is_drawn_once() -> None:
    found = targets(BlendSettings(), THREE, HAVE, epochs=1)
    assert [entry.target for entry in found.sources] == [100, 300, 50]


def test_decimal_shares_lose_no_unit() -> None:
    """100 / .1 is 1000 (in floating point, 30 / .3 and 7 / .07 are not 100)."""
    for ratio, have in ((0.1, 10), (0.3, 30), (0.07, 7)):
        blend = BlendSettings(ratios={"a": ratio, "b": round(1 - ratio, 2)})
        found = targets(blend, THREE[:2], {"a": have, "b": 10**6}, epochs=1)
        assert found.total == 100


def test_caps_bind_over_all_epochs() -> None:
    """c at most 1.5 times in 3 epochs: 25 units per epoch, so 50 in all at a share of .5."""
    sources = (source("a"), source("c", cap=1.5))
    blend = BlendSettings(ratios={"a": 0.5, "c": 0.5})
    found = targets(blend, sources, {"a": 100, "c": 50}, epochs=3)
    assert (found.total, found.sources[1].target) == (50, 25)
    assert found.sources[1].max_epochs == 1.5


def test_a_total_that_breaks_a_cap_names_the_largest_one() -> None:
    """60 of c per epoch are 180 in 3 epochs, 3.6 times its 50; 2 times are 33 per epoch: 66."""
    sources = (source("a"), source("c", cap=2))
    blend = BlendSettings(ratios={"a": 0.5, "c": 0.5}, total=120)
    with pytest.raises(BlendError) as error:
        targets(blend, sources, {"a": 10, "c": 50}, epochs=3)
    assert error.value.field == ("total",)
    for part in ("takes c 3.6 times in 3 epochs", "at most 2 times", "caps is 66"):
        assert part in str(error.value)
    at_most = BlendSettings(ratios={"a": 0.5, "c": 0.5}, total=66)
    assert targets(at_most, sources, {"a": 10, "c": 50}, epochs=3).sources[0].passes == 3.3


def test_a_cap_that_leaves_nothing_is_an_error() -> None:
    with pytest.raises(BlendError, match="a allows no unit per epoch"):
        targets(BlendSettings(), (source("a", cap=0.5),), {"a": 3}, epochs=2)
    with pytest.raises(BlendError, match="at least 1"):
        targets(BlendSettings(total=0), (source("a"),), {"a": 3}, epochs=2)


@given(st.data())
def test_the_total_found_is_the_largest_that_fits(data: st.DataObject) -> None:
    """Its shares are within every limit; those of one unit more are not. No rounding breaks one."""
    n = data.draw(st.integers(1, 5))
    have = {str(at): data.draw(st.integers(20, 10**6)) for at in range(n)}
    caps = [data.draw(st.none() | st.floats(1, 5)) for _ in range(n)]
    epochs = data.draw(st.integers(1, 6))
    blend = BlendSettings(temperature=data.draw(st.sampled_from([1.0, 2.0, 100.0])))
    sources = [source(name, cap=cap) for name, cap in zip(have, caps, strict=True)]
    found = targets(blend, sources, have, epochs=epochs)
    ratios = shares(blend, sources, have)

    limits = {
        name: have[name] if cap is None else min(have[name], cap_units(cap, have[name], epochs))
        for name, cap in zip(have, caps, strict=True)
    }
    assert all(found.total * ratios[name] <= limits[name] for name in have)
    assert any((found.total + 1) * ratios[name] > limits[name] for name in have)
    assert sum(entry.target for entry in found.sources) == found.total
    assert all(entry.target <= limits[entry.source] for entry in found.sources)


def cap_units(cap: float, have: int, epochs: int) -> int:
    """Units per epoch that a cap allows, with the cap as the decimal that it is written as."""
    return int(Fraction(repr(cap)) * have // epochs)


# --- Draws --------------------------------------------------------------------------------------


def test_an_epoch_takes_the_next_stretch_of_the_stream() -> None:
    """Five samples, three per epoch: epochs 1 to 5 are three passes, each a permutation."""
    samples = samples_of(frame({"a": [7] * 5}), ["a"])
    epochs = epochs_of(samples, targets_of(Unit.SAMPLES, a=(5, 3)), 5)
    assert [len(epoch) for epoch in epochs] == [3] * 5
    stream = [number for epoch in epochs for number in epoch]
    assert [sorted(stream[at : at + 5]) for at in (0, 5, 10)] == [[0, 1, 2, 3, 4]] * 3
    # Epoch 2 spans two passes: what it has of the first is not what it has of the second.
    assert len(set(epochs[1])) == 3


def test_tokens_are_drawn_up_to_the_target() -> None:
    """Samples of 10 tokens, 25 per epoch: cumulated 20, 50, 70, 100 fit in 25, 50, 75, 100."""
    samples = samples_of(frame({"a": [10] * 50}), ["a"])
    epochs = epochs_of(samples, targets_of(Unit.TOKENS, a=(500, 25)), 4)
    assert [len(epoch) for epoch in epochs] == [2, 3, 2, 3]


def test_supervised_tokens_count_where_they_are_the_unit() -> None:
    """Samples of 10 tokens, 5 of them supervised: 25 supervised tokens are 5 samples."""
    samples = samples_of(frame({"a": [10] * 50}), ["a"])
    assert samples.available(Unit.SUPERVISED_TOKENS) == {"a": 250}
    (epoch,) = epochs_of(samples, targets_of(Unit.SUPERVISED_TOKENS, a=(250, 25)), 1)
    assert len(epoch) == 5


def test_a_sample_longer_than_the_target_waits_until_it_fits() -> None:
    """30 tokens at 10 per epoch: every third epoch has the sample."""
    samples = samples_of(frame({"a": [30]}), ["a"])
    assert epochs_of(samples, targets_of(Unit.TOKENS, a=(30, 10)), 6) == [[], [], [0], [], [], [0]]


tokens = st.lists(st.integers(1, 60), min_size=1, max_size=12)


@settings(max_examples=300)
@given(a=tokens, b=tokens, by=st.sampled_from(Unit), seed=st.integers(0, 9), data=st.data())
def test_a_draw_keeps_its_promises(
    a: list[int], b: list[int], by: Unit, seed: int, data: st.DataObject
) -> None:
    samples = samples_of(frame({"a": a, "b": b}), ["a", "b"])
    have = samples.available(by)
    plan = targets_of(
        by, **{name: (have[name], data.draw(st.integers(1, 3 * have[name]))) for name in have}
    )
    units = samples.units(by)
    seen: Counter[int] = Counter(dict.fromkeys(range(len(samples)), 0))
    drawn_units = {"a": 0, "b": 0}
    for number, epoch in enumerate(epochs_of(samples, plan, 6, seed), start=1):
        seen.update(epoch)
        for code, entry in enumerate(plan.sources):
            own = [item for item in epoch if samples.codes[item] == code]
            longest = units[samples.codes == code].max()
            here = sum(units[own])
            # Of every epoch, and of all so far: within one sample of the target (samples: exactly).
            assert abs(here - entry.target) < longest
            drawn_units[entry.source] += here
            assert 0 <= number * entry.target - drawn_units[entry.source] < longest
            # Within an epoch no sample comes twice before all came once, nor over all epochs.
            members = np.flatnonzero(samples.codes == code).tolist()
            in_epoch = Counter(own)
            times = [in_epoch[item] for item in members]
            assert max(times) - min(times) <= 1
            if entry.target <= entry.available:
                assert max(times) <= 1
            overall = [seen[item] for item in members]
            assert max(overall) - min(overall) <= 1


def test_the_order_of_the_samples_changes_nothing() -> None:
    """The same ids are drawn in the same order from a shuffled frame."""
    rows = frame({"a": range(1, 60), "b": range(5, 50)})
    shuffled = rows.sample(fraction=1.0, shuffle=True, seed=3)
    assert shuffled["sample_id"].to_list() != rows["sample_id"].to_list()
    plan = targets_of(Unit.TOKENS, a=(1770, 1100), b=(1215, 2000))
    drawn = [
        [part["sample_id"].gather(epoch).to_list() for epoch in epochs_of(samples, plan, 4)]
        for part in (rows, shuffled)
        for samples in [samples_of(part, ["a", "b"])]
    ]
    assert drawn[0] == drawn[1]


def test_a_source_is_drawn_alike_whatever_the_others_are() -> None:
    """a's first pass is the same with another total and with b left out: blends compare."""
    alone = samples_of(frame({"a": [5] * 40}), ["a"])
    both = samples_of(frame({"a": [5] * 40, "b": [5] * 40}), ["b", "a"])
    (short,) = epochs_of(alone, targets_of(Unit.SAMPLES, a=(40, 10)), 1)
    (long,) = epochs_of(both, targets_of(Unit.SAMPLES, b=(40, 7), a=(40, 30)), 1)
    assert long[7:17] == short


def test_epochs_can_be_asked_for_one_by_one() -> None:
    samples = samples_of(frame({"a": range(1, 90)}), ["a"])
    plan = targets_of(Unit.TOKENS, a=(4005, 3000))
    epochs = epochs_of(samples, plan, 4)
    assert [draw(samples, plan, seed=0, epoch=e).tolist() for e in (1, 2, 3, 4)] == epochs
    assert epochs_of(samples, plan, 4, seed=1) != epochs
    with pytest.raises(ValueError, match="count from 1"):
        draw(samples, plan, seed=0, epoch=0)


def test_the_draw_is_the_same_for_ever() -> None:
    """Pinned: a change here makes every planned epoch of every user another one."""
    samples = samples_of(frame({"a": [1] * 8}), ["a"])
    assert epochs_of(samples, targets_of(Unit.SAMPLES, a=(8, 8)), 2, seed=7) == PINNED
    # The reference stream of SplitMix64 from 0 begins with this number; `mixed` applies it twice.
    first = 0xE220A8397B1DCDAF
    assert mixed(np.zeros(1, np.uint64), 0)[0] == mixed_once(first)
    assert salt(1, "a", 2) != salt(1, "a2")


PINNED = [[6, 0, 5, 2, 7, 4, 3, 1], [4, 5, 6, 0, 2, 7, 1, 3]]


def mixed_once(number: int) -> int:
    """SplitMix64's step in Python's whole numbers."""
    mask = (1 << 64) - 1
    number = (number + 0x9E3779B97F4A7C15) & mask
    number = (number ^ (number >> 30)) * 0xBF58476D1CE4E5B9 & mask
    number = (number ^ (number >> 27)) * 0x94D049BB133111EB & mask
    return number ^ (number >> 31)


def test_every_sample_is_drawn_as_likely() -> None:
    """10 of 40 in each of 400 seeds: 100 times each, give or take 8.7 (binomial); 5 SE: 43."""
    samples = samples_of(frame({"a": [3] * 40}), ["a"])
    plan = targets_of(Unit.SAMPLES, a=(40, 10))
    times = np.bincount(
        [item for seed in range(400) for item in epochs_of(samples, plan, 1, seed)[0]]
    )
    assert times.sum() == 4000
    assert abs(times - 100).max() < 43


def test_samples_of_an_unknown_source_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown sources: 'b'"):
        samples_of(frame({"a": [1], "b": [1]}), ["a"])


# --- What an epoch holds ------------------------------------------------------------------------


def test_the_realised_mixture_counts_repeats_and_what_is_missing() -> None:
    """Samples of 4, 6 (a) and 10 (b) tokens, half supervised; b is drawn twice, c never."""
    rows = frame({"a": [4, 6], "b": [10], "c": [9]})
    found = realised(rows, np.array([2, 0, 2]), "source", Unit.TOKENS)
    assert found.columns == ["source", "samples", "tokens", "supervised_tokens", "share"]
    assert found.drop("share").rows() == [("a", 1, 4, 2), ("b", 2, 20, 10), ("c", 0, 0, 0)]
    assert found["share"].to_list() == pytest.approx([4 / 24, 20 / 24, 0])
    by_samples = realised(rows, np.array([2, 0, 2]), "source", Unit.SAMPLES)
    assert by_samples["share"].to_list() == pytest.approx([1 / 3, 2 / 3, 0])


def test_the_mixture_by_another_column_keeps_what_is_not_known() -> None:
    rows = frame({"a": [4, 6, 10]}).with_columns(pl.Series("language", ["en", None, "zh"]))
    found = realised(rows, np.array([0, 1]), "language", Unit.SUPERVISED_TOKENS)
    assert found["language"].to_list() == ["en", "zh", None]
    assert found["share"].to_list() == pytest.approx([0.4, 0, 0.6])
    empty = realised(rows, np.array([], dtype=np.int64), "language", Unit.TOKENS)
    assert empty["share"].to_list() == [0.0, 0.0, 0.0]


# --- Estimates ----------------------------------------------------------------------------------


def test_hours_follow_from_the_operations() -> None:
    """6 * 1e9 * 3000 * 2048 operations on 2 * 1e15 * .5 per second: 36.864 s."""
    found = estimate(
        EstimateSettings(
            models={"1B": 1e9}, batch={}, accelerators={"X": 1e15}, count=2, utilisation=0.5
        ),
        tokens=[2_000_000, 4_000_000],
        packs=[1000, 2000],
        length=2048,
        batch=18,
    )
    assert len(found) == 1
    assert found[0].hours == pytest.approx(36.864 / 3600)
    assert found[0].tokens == 6_000_000
    # 1000 / 18 = 55.6 and 2000 / 18 = 111.1: each epoch ends with a smaller step.
    assert found[0].steps == 56 + 112


def test_models_have_batches_of_their_own() -> None:
    found = estimate(
        EstimateSettings(models={"7B": 6.74e9, "70B": 70e9}), tokens=[1], packs=[36],
        length=2048, batch=4,
    )  # fmt: skip
    assert [(row.model, row.accelerator, row.batch, row.steps) for row in found] == [
        *(("7B", name, 18, 2) for name in ("A100", "H100", "H200")),
        *(("70B", name, 4, 9) for name in ("A100", "H100", "H200")),
    ]
    with pytest.raises(ValueError, match="zip"):
        estimate(EstimateSettings(), tokens=[1, 2], packs=[1], length=1, batch=1)
