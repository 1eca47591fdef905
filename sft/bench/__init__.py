"""How fast the trainer trains: measured with its own steps, reported with the formula."""

from sft.bench._documents import BenchData, document_lengths
from sft.bench._gemm import gemm_flops
from sft.bench._measure import bench
from sft.bench._report import markdown, write_bench
from sft.bench._result import BenchResult, Machine
from sft.bench._settings import SHAPES, BenchSettings, bench_settings, chosen

__all__ = [
    "SHAPES",
    "BenchData",
    "BenchResult",
    "BenchSettings",
    "Machine",
    "bench",
    "bench_settings",
    "chosen",
    "document_lengths",
    "gemm_flops",
    "markdown",
    "write_bench",
]
