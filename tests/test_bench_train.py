"""`sft bench` for real, on a CPU: its own process, the trainer's engine, two files."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from sft.bench import _gemm, gemm_flops  # noqa: E402

pytestmark = pytest.mark.train

_PROGRAM = """
import sys
from dataclasses import replace
from pathlib import Path
from sft.bench import bench, bench_settings, write_bench
settings = replace(bench_settings(sys.argv[2], sys.argv[3]), steps=2, gemm=128)
print(*write_bench(bench(settings), Path(sys.argv[1])))
"""


def run_bench(folder: Path, shape: str, device: str) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(folder), shape, device],
        env={
            **{k: v for k, v in os.environ.items() if k not in {"RANK", "WORLD_SIZE"}},
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=150)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return process.returncode, output


def test_a_tiny_model_on_a_cpu_takes_the_same_path(tmp_path: Path) -> None:
    code, output = run_bench(tmp_path, "tiny", "cpu")
    assert code == 0, output[-3000:]
    found: dict[str, Any] = json.loads((tmp_path / "tiny-cpu.json").read_text())
    assert found["mfu"] == {"A": None, "B": None, "documents": None}
    flops, rate = found["flops_per_token"], found["tokens"] / found["seconds"]
    assert found["tokens_per_second"] == rate
    assert found["of_gemm"]["A"] == pytest.approx(flops["A"] * rate / found["gemm"]["flops"])
    # By hand: M = 125,248 (158,016 weights less 512 x 64), L w s = 2 x 64 x 256.
    assert flops["A"] == 6 * 125_248 + 12 * 2 * 64 * 256
    # Two steps of four packs of 256, nearly full.
    assert 0.8 * 2048 < found["tokens"] <= 2048
    assert len(found["step_seconds"]["all"]) == len(found["losses"]) == 2
    assert sum(found["step_seconds"]["all"]) <= found["seconds"]
    # Random weights guess evenly over 512 tokens.
    assert all(abs(loss - math.log(512)) < 0.2 for loss in found["losses"])
    assert 0 <= found["leak"] < 1e-4
    assert found["versions"]["torch"] == torch.__version__
    assert (tmp_path / "tiny-cpu.md").read_text().startswith("# Training speed: tiny")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_measures_nothing(tmp_path: Path) -> None:
    code, output = run_bench(tmp_path, "1b", "cuda")
    assert code != 0
    assert "There is no GPU here that torch can use" in output
    assert list(tmp_path.iterdir()) == []


def test_a_matrix_product_is_counted_as_two_operations_per_multiplication(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[tuple[int, ...]] = []

    def multiplied(left: Any, right: Any, *, out: Any) -> Any:
        made.append((*left.shape, *right.shape, *out.shape))
        return out

    def timed(multiply: Any) -> float:
        assert multiply(3) >= 0
        return 0.5

    monkeypatch.setattr(torch, "mm", multiplied)
    monkeypatch.setattr(_gemm, "_seconds_each", timed)
    # 2 x 10^3 operations in half a second.
    assert gemm_flops(10, torch.float32, torch.device("cpu")) == 4000
    assert made == [(10,) * 6] * 3


def test_a_product_takes_the_median_of_rounds_of_a_fifth_of_a_second() -> None:
    """A machine on which a product takes 10 ms, the first one 1 s and every third round twice."""
    rounds: list[int] = []

    def multiply(times: int) -> float:
        rounds.append(times)
        slow = 100 if len(rounds) == 1 else 2 if len(rounds) % 3 == 0 else 1
        return times * 0.01 * slow

    assert _gemm._seconds_each(multiply) == pytest.approx(0.01)
    # One cold, one to see how long it takes, one of warm-up, then seven rounds of 0.2 s.
    assert rounds == [1, 1, *[20] * 8]
