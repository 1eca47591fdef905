"""A measurement as a JSON file and as a page in Markdown."""

from __future__ import annotations

from pathlib import Path

import orjson

from sft.bench._result import BenchResult
from sft.costs import bytes_text

_NONE = "–"
_TITLES = {"A": "A", "B": "B", "documents": "by documents"}


def write_bench(result: BenchResult, folder: Path) -> tuple[Path, Path]:
    """Write ``SHAPE-DEVICE.json`` and ``SHAPE-DEVICE.md`` into a folder, which is made if missing.

    Gives both paths. A file of an earlier measurement is replaced.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{result.settings.shape}-{result.settings.device}"
    page, numbers = folder / f"{stem}.md", folder / f"{stem}.json"
    content = orjson.dumps(result.to_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    for path, written in ((numbers, content), (page, markdown(result).encode())):
        temporary = path.with_name(f".{path.name}.tmp")
        temporary.write_bytes(written)
        temporary.replace(path)
    return numbers, page


def markdown(result: BenchResult) -> str:
    """The page: what was found, how it was counted, and on what."""
    parts = (_head(result), _speed(result), _formula(result), _recipe(result), _machine(result))
    return "\n\n".join(parts) + "\n"


def _head(result: BenchResult) -> str:
    settings, on_cpu = result.settings, result.settings.device == "cpu"
    title = (
        f"# Training speed: {settings.shape}, {result.parameters:,} weights, "
        f"{result.machine.device}"
    )
    if not on_cpu:
        return title
    return f"{title}\n\nOn a CPU: this shows that the measurement works, and nothing about a GPU."


def _speed(result: BenchResult) -> str:
    mfu, of_gemm = result.mfu(), result.of_gemm()
    rows = [
        ("Real tokens per second", f"{result.tokens_per_second:,.0f}"),
        *((f"MFU, {_TITLES[name]}", _share(value)) for name, value in mfu.items()),
        (
            f"Matrix product, {result.settings.gemm}³",
            f"{result.gemm_flops / 1e12:,.3g} TFLOP/s",
        ),
        *((f"Share of it, {_TITLES[name]}", _share(value)) for name, value in of_gemm.items()),
        ("Step, median", f"{result.median_step:.3f} s"),
        ("Step, 95th percentile", f"{result.p95_step:.3f} s"),
        ("Peak memory", bytes_text(result.memory_bytes)),
        ("Peak memory, as the dry run estimates it for a GPU", bytes_text(result.estimated_bytes)),
        ("Loss, first and last timed step", f"{result.losses[0]:.4f}, {result.losses[-1]:.4f}"),
    ]
    return _table(("", ""), rows)


def _formula(result: BenchResult) -> str:
    flops, settings = result.flops, result.settings
    peak = result.machine.peak_flops
    against = (
        "Without a known peak there is no MFU"
        if peak is None
        else f"MFU is FLOPs per token x real tokens per second / {peak / 1e12:,.4g} TFLOP/s, the "
        "data sheet's dense peak"
    )
    lines = [
        f"FLOPs per token, forward and backward, with M = weights without the input embedding, "
        f"L layers, w = heads x head size, s = {settings.length}:",
        "",
        f"- A = 6 M + 12 L w s = {flops.a:,.0f}",
        f"- B = 6 M + 6 L w s = {flops.b:,.0f}",
    ]
    if flops.documents is not None:
        lines.append(
            "- by documents: B with s = mean squared length of the documents / mean length = "
            f"{flops.documents:,.0f}"
        )
    lines += ["", f"{against}. Recomputed activations and padding do not count."]
    return "\n".join(lines)


def _recipe(result: BenchResult) -> str:
    s = result.settings
    optimizer = "AdamW, states in fp32"
    rows = [
        ("Packs", f"{s.length:,} tokens, {result.fill:.1%} full"),
        (
            "Documents",
            f"log-normal lengths, median {s.median:g}, sigma {s.sigma:g}, mean in packs "
            f"{result.mean_length:,.0f}; {s.supervised:.0%} supervised; random tokens",
        ),
        ("Optimizer step", f"{s.accumulation} x {s.micro_batch} packs; {optimizer}"),
        ("Steps", f"{s.steps} timed after {s.warmup}; {result.tokens:,} real tokens"),
        ("Precision", str(s.precision)),
        ("Attention", f"{result.attention}; packed documents apart within {result.leak:.2g} sd"),
        ("Recomputing", str(s.recompute)),
        ("Compiled layers", "yes" if s.compile else "no"),
        ("ZeRO", f"stage {s.stage}, offload {s.offload}"),
        ("Seed", str(s.seed)),
    ]
    return f"## Recipe\n\n{_table(('', ''), rows)}"


def _machine(result: BenchResult) -> str:
    machine = result.machine
    rows = [
        ("Date", result.date),
        ("Device", f"{machine.device}, {bytes_text(machine.memory_bytes)}"),
        ("Driver", machine.driver or _NONE),
        ("CUDA", machine.cuda or _NONE),
        ("Threads", str(machine.threads)),
        ("Revision", result.git or _NONE),
        *sorted(result.versions.items()),
    ]
    return f"## Machine and versions\n\n{_table(('', ''), rows)}"


def _table(head: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "| --- | --- |"]
    return "\n".join(lines + [f"| {a} | {b} |" for a, b in rows])


def _share(value: float | None) -> str:
    return _NONE if value is None else f"{value:.1%}"
