"""What `sft bench` draws, counts and writes; the measurement itself is in test_bench_train."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sft.bench import (
    SHAPES,
    BenchData,
    BenchResult,
    Machine,
    bench_settings,
    chosen,
    document_lengths,
    markdown,
    write_bench,
)
from sft.costs import TokenFlops, model_shape
from sft.errors import UsageError
from sft.recipe import Attention, Recompute

GPU = bench_settings("7b", "cuda")
CPU = bench_settings("tiny", "cpu")


def result() -> BenchResult:
    # 36,000 tokens in 3 s: 12,000 a second; with 40e9 FLOPs each 480e12, with 38e9 456e12.
    return BenchResult(
        date="2026-11-21T10:00:00Z",
        settings=GPU,
        attention="plumbline_varlen",
        machine=Machine("NVIDIA H200", 150 * 10**9, 960e12, 8, "580.1", "13.0"),
        versions={"torch": "2.13.0", "deepspeed": "0.19.8"},
        git="abc",
        parameters=6_738_415_616,
        flops=TokenFlops(40e9, 38e9, 36e9),
        gemm_flops=800e12,
        fill=0.995,
        mean_length=450.0,
        tokens=36_000,
        seconds=3.0,
        step_seconds=[0.9, 1.0, 1.1],
        losses=[10.5, 10.4, 10.25],
        memory_bytes=120 * 10**9,
        estimated_bytes=141_600_000_000,
        leak=0.004,
    )


def test_the_shapes_are_those_that_they_are_named_for() -> None:
    counts = {
        name: model_shape({"model_type": "llama", **fields}).parameters
        for name, fields in SHAPES.items()
    }
    assert counts["7b"] == 6_738_415_616
    assert counts["1b"] == 1_100_048_384
    # By hand: 2 x 512 x 64 + 2 x (2 x 64^2 + 2 x 64 x 32 + 3 x 64 x 176 + 2 x 64) + 64.
    assert counts["tiny"] == 65_536 + 2 * (8192 + 4096 + 33_792 + 128) + 64


def test_lengths_are_log_normal_with_the_median_and_spread_that_were_asked_for() -> None:
    lengths = document_lengths(200_000, GPU)
    assert np.median(lengths) == pytest.approx(300, rel=0.02)
    # One sigma up is the 84.13th percentile: 300 e = 815.5. Above the pack's length all are cut:
    # log(2048 / 300) = 1.921 sigma, 2.74 % of them.
    assert np.percentile(lengths, 84.134) == pytest.approx(815.5, rel=0.02)
    assert (lengths == 2048).mean() == pytest.approx(0.0274, abs=0.002)
    assert lengths.min() >= 2
    assert (document_lengths(100, GPU) == lengths[:100]).all()
    assert (document_lengths(100, replace(GPU, seed=1)) != lengths[:100]).any()


def test_every_step_has_its_packs_and_every_document_is_used_once() -> None:
    settings = replace(CPU, steps=6, warmup=2, accumulation=3)
    data = BenchData(settings, 512)
    steps = [data.packs(step) for step in range(8)]
    assert [len(packs) for packs in steps] == [6] * 8
    numbers = np.concatenate([pack for packs in steps for pack in packs])
    assert sorted(numbers) == list(range(len(data.store)))
    lengths = np.array([len(sample.tokens) for sample in data.store])
    for packs in steps:
        assert all(lengths[pack].sum() <= settings.length for pack in packs)
    assert data.tokens(steps[0]) == sum(lengths[pack].sum() for pack in steps[0])
    assert data.fill == lengths.sum() / (48 * settings.length)
    assert data.mean_length == lengths.mean()
    assert data.mean_square_length == pytest.approx((lengths**2).sum() / lengths.sum())
    assert max(int(sample.tokens.max()) for sample in data.store) < 512
    with pytest.raises(IndexError, match="step 8 of 8"):
        data.packs(8)


def test_packs_are_nearly_full_and_steps_alike() -> None:
    data = BenchData(replace(GPU, steps=25, warmup=0), 32_000)
    assert data.fill > 0.98
    tokens = [data.tokens(data.packs(step)) for step in range(25)]
    assert min(tokens) > 0.9 * max(tokens)


@pytest.mark.parametrize("share", [1.0, 0.5])
def test_all_but_the_first_token_is_supervised_or_the_last_share(share: float) -> None:
    data = BenchData(replace(CPU, supervised=share), 512)
    packs = [pack for step in range(5) for pack in data.packs(step)]
    expected = 0
    for sample in data.store:
        count = int(sample.supervised.sum())
        assert not sample.supervised[0]
        assert sample.supervised[len(sample.tokens) - count :].all()
        wanted = len(sample.tokens) - 1 if share == 1.0 else round(len(sample.tokens) / 2)
        assert count == wanted
        expected += count
    assert data.supervised_by_source(packs).tolist() == [expected]


def test_rates_and_shares_by_hand() -> None:
    found = result()
    assert found.tokens_per_second == 12_000
    assert found.mfu() == pytest.approx({"A": 0.5, "B": 0.475, "documents": 0.45})
    assert found.of_gemm() == pytest.approx({"A": 0.6, "B": 0.57, "documents": 0.54})
    assert found.median_step == 1.0
    # Interpolated between the second and the third of three: 1.0 + 0.9 x 0.1.
    assert found.p95_step == pytest.approx(1.09)


def test_without_a_known_peak_there_is_no_mfu_but_a_share_of_the_product() -> None:
    found = replace(result(), machine=replace(result().machine, peak_flops=None))
    assert found.mfu() == {"A": None, "B": None, "documents": None}
    assert found.of_gemm()["A"] == pytest.approx(0.6)
    page = markdown(found)
    assert "| MFU, A | – |" in page
    assert "Without a known peak there is no MFU." in page


def test_the_page_says_what_was_found_how_it_is_counted_and_on_what() -> None:
    page = markdown(result())
    for line in (
        "# Training speed: 7b, 6,738,415,616 weights, NVIDIA H200",
        "| Real tokens per second | 12,000 |",
        "| MFU, A | 50.0% |",
        "| MFU, B | 47.5% |",
        "| Matrix product, 8192³ | 800 TFLOP/s |",
        "| Share of it, A | 60.0% |",
        "| Step, median | 1.000 s |",
        "| Step, 95th percentile | 1.090 s |",
        "| Peak memory | 120 GB |",
        "- A = 6 M + 12 L w s = 40,000,000,000",
        "960 TFLOP/s, the data sheet's dense peak",
        "| Optimizer step | 18 x 1 packs; AdamW, states in fp32 |",
        "| Date | 2026-11-21T10:00:00Z |",
        "| Driver | 580.1 |",
        "| torch | 2.13.0 |",
    ):
        assert line in page
    assert "On a CPU" not in page
    assert "nothing about a GPU" in markdown(replace(result(), settings=CPU))


def test_both_files_are_written_whole_and_say_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    numbers, page = write_bench(result(), folder)
    assert (numbers.name, page.name) == ("7b-cuda.json", "7b-cuda.md")
    assert page.read_text() == markdown(result())
    found = json.loads(numbers.read_text())
    assert found["form"] == 1
    assert found["tokens_per_second"] == 12_000
    assert found["mfu"] == pytest.approx({"A": 0.5, "B": 0.475, "documents": 0.45})
    assert found["gemm"] == {"size": 8192, "flops": 800e12}
    assert found["step_seconds"]["all"] == [0.9, 1.0, 1.1]
    assert found["settings"]["batch"] == 18
    assert found["machine"]["driver"] == "580.1"
    write_bench(replace(result(), tokens=72_000), folder)
    assert json.loads(numbers.read_text())["tokens_per_second"] == 24_000
    assert sorted(path.name for path in folder.iterdir()) == ["7b-cuda.json", "7b-cuda.md"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: bench_settings("13b", "cuda"), "--shape 13b: not known; one of tiny, 1b, 7b"),
        (lambda: bench_settings("7b", "tpu"), "--device tpu: not known"),
        (lambda: replace(GPU, steps=0), "at least 1"),
        (lambda: replace(GPU, length=1), "at least 2"),
        (lambda: replace(GPU, supervised=0.0), "is supervised"),
        (lambda: replace(CPU, compile=True), "need --device cuda"),
        (lambda: replace(CPU, attention=Attention.VARLEN), "need --device cuda"),
        (lambda: chosen(Recompute, "some", "--recompute"), "--recompute some: not known; one of"),
    ],
)
def test_what_cannot_be_measured_is_refused(make: Callable[[], object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make()


def test_a_choice_by_its_text() -> None:
    assert chosen(Recompute, "full", "--recompute") is Recompute.FULL
