"""``sft bench``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sft.cli._root import app


@app.command()
def bench(
    shape: Annotated[
        str, typer.Option("--shape", help="The model's sizes: tiny, 1b or 7b.")
    ] = "1b",
    device: Annotated[str, typer.Option("--device", help="cuda or cpu.")] = "cuda",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the two files go.")
    ] = Path("out/bench"),
    micro_batch: Annotated[
        int | None, typer.Option("--micro-batch", min=1, help="Packs per forward pass.")
    ] = None,
    accumulation: Annotated[
        int | None, typer.Option("--accumulation", min=1, help="Forward passes per step.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", min=1, help="Timed steps.")] = None,
    attention: Annotated[
        str, typer.Option("--attention", help="auto, varlen, sdpa or eager.")
    ] = "auto",
    recompute: Annotated[str, typer.Option("--recompute", help="none or full.")] = "none",
    stage: Annotated[int, typer.Option("--stage", min=0, max=3, help="Of ZeRO.")] = 2,
    compile_layers: Annotated[
        bool, typer.Option("--compile", help="With torch.compile on every layer; CUDA only.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print one machine-readable object on stdout.")
    ] = False,
) -> None:
    """Measure training speed on one GPU: random weights, random documents, the trainer's own steps.

    Gives tokens per second without padding, utilisation by two conventions with their formula, the
    share of a large matrix product that is timed in the same run, peak memory and step times, as
    DIR/SHAPE-DEVICE.json and .md. `--shape tiny --device cpu` tries it without a GPU.
    """
    from dataclasses import replace

    from judge.terminal import print_json, say
    from sft.bench import bench as measure
    from sft.bench import bench_settings, chosen, write_bench
    from sft.cli._extras import require_train
    from sft.recipe import Attention, Recompute

    require_train()
    settings = bench_settings(shape, device)
    settings = replace(
        settings,
        micro_batch=micro_batch or settings.micro_batch,
        accumulation=accumulation or settings.accumulation,
        steps=steps or settings.steps,
        attention=chosen(Attention, attention, "--attention"),
        recompute=chosen(Recompute, recompute, "--recompute"),
        stage=stage,
        compile=compile_layers,
    )
    result = measure(settings)
    numbers, page = write_bench(result, out)
    utilised = result.mfu()["A"]
    say(
        f"{shape} on {result.machine.device}: {result.tokens_per_second:,.0f} tokens/s, "
        + ("no MFU (no known peak)" if utilised is None else f"MFU {utilised:.1%} (A)")
        + f", {result.of_gemm()['A']:.1%} of a matrix product. {page}, {numbers}"
    )
    if json:
        print_json(result.to_json())
