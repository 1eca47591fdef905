"""How fast the machine multiplies two large matrices: the bound for everything else."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter
from typing import Any

_ROUNDS = 7
_SECONDS = 0.2
"""Of a round, about: long enough that starting a product does not count."""


def gemm_flops(size: int, dtype: Any, device: Any) -> float:
    """FLOP/s of the product of two ``size`` x ``size`` matrices of normal numbers: 2 size^3 each.

    The median of several rounds after a warm-up, each of many products.
    """
    import torch

    draw = torch.Generator(device=device).manual_seed(0)
    left, right = (
        torch.randn(size, size, dtype=dtype, device=device, generator=draw) for _ in range(2)
    )
    product = torch.empty(size, size, dtype=dtype, device=device)

    def multiply(times: int) -> float:
        _wait(device)
        started = perf_counter()
        for _ in range(times):
            torch.mm(left, right, out=product)
        _wait(device)
        return perf_counter() - started

    return 2.0 * size**3 / _seconds_each(multiply)


def _seconds_each(multiply: Callable[[int], float]) -> float:
    multiply(1)
    times = max(1, round(_SECONDS / max(multiply(1), 1e-6)))
    multiply(times)
    return median(multiply(times) / times for _ in range(_ROUNDS))


def _wait(device: Any) -> None:
    if device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)
