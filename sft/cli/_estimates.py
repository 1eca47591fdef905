"""The dry run of `sft train`: memory and time by ZeRO stage, before a GPU is touched."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from judge.terminal import print_json, say
from sft.costs import (
    Accelerator,
    Job,
    ModelShape,
    accelerator,
    advice,
    dry_run_lines,
    dry_run_table,
    duration,
    duration_text,
    known_accelerators,
    memory,
    model_shape,
)
from sft.errors import UsageError
from sft.recipe import Attention, Precision, TrainConfig

_DEFAULT_GPU = "A100 80GB"


def show(config: TrainConfig, *, processes: int | None, gpu: str | None, as_json: bool) -> None:
    """Say what a run would take on so many GPUs of a kind."""
    from sft.training import TrainingData

    data = TrainingData.open(config)
    shape = shape_of(config, len_vocabulary(data))
    card = _accelerator(gpu)
    job = _job(config, data, shape, processes or 1)
    tokens = sum(data.tokens([epoch.items]) for epoch in data.epochs)
    time = duration(job, tokens, card.peak_flops)
    say(
        f"{config.name}: {shape.parameters / 1e9:.3g}B parameters, {job.trained / 1e9:.3g}B "
        f"trained; {data.steps:,} steps of {data.batch} packs of {data.length:,} tokens, "
        f"{config.epochs} epochs, {tokens:,} tokens."
    )
    rows = dry_run_table(job, card.memory_bytes)
    say(f"Memory of one process in GB, on {job.processes} x {card.name}:")
    for line in dry_run_lines(job, rows, card.memory_bytes):
        say(line)
    remedy = None
    if not any(row.fits for row in rows if row.wanted):
        remedy = advice(job, card.memory_bytes)
        say(
            "The settings (*) do not fit"
            + (f"; they would with {remedy.text}." if remedy else ", and nothing here would help.")
        )
    say(
        f"Time: {duration_text(time.seconds)} at {time.utilisation:.0%} of the peak "
        f"({time.tokens_per_second:,.0f} tokens/s); an assumption, not a measurement."
    )
    if as_json:
        print_json(
            {
                "dry_run": {
                    "gpu": card.name,
                    "gpu_memory_bytes": card.memory_bytes,
                    "processes": job.processes,
                    "parameters": shape.parameters,
                    "trained": job.trained,
                    "steps": data.steps,
                    "tokens": tokens,
                    "seconds": time.seconds,
                    "memory_bytes": memory(job).total,
                    "stages": [_row(row) for row in rows],
                    "remedy": None if remedy is None else remedy.text,
                }
            }
        )


def _row(row: Any) -> dict[str, Any]:
    return {
        "stage": row.stage,
        "offload": str(row.offload),
        "memory_bytes": row.memory.total,
        "host_bytes": row.host,
        "fits": row.fits,
        "wanted": row.wanted,
        "parts": asdict(row.memory),
    }


def len_vocabulary(data: Any) -> int:
    """Tokens that the data's tokenizer has."""
    from sft.training import data_vocabulary

    return int(data_vocabulary(data).size)


def shape_of(config: TrainConfig, vocabulary: int) -> ModelShape:
    """The sizes of the model that a configuration names; its weights are not read.

    Raises UsageError if there is no such model.
    """
    if config.model.scratch is not None:
        fields = {"model_type": "llama", **config.model.scratch, "vocab_size": vocabulary}
        from transformers import LlamaConfig

        return model_shape(LlamaConfig(**fields).to_dict())
    from transformers import AutoConfig

    try:
        found = AutoConfig.from_pretrained(config.model.path)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UsageError(
            f"{config.path}: model.path: {config.model.path}: its configuration cannot be read "
            f"({reason}). Give a folder with a model, or the name of one that can be downloaded"
        ) from None
    return model_shape(found.to_dict())


def _accelerator(name: str | None) -> Accelerator:
    if name is None:
        import torch

        if torch.cuda.is_available():
            found = accelerator(torch.cuda.get_device_name())
            if found is not None:
                return found
        say(f"No known GPU here: reckoning with {_DEFAULT_GPU}; name another one with --gpu.")
        name = _DEFAULT_GPU
    known = accelerator(name)
    if known is None:
        raise UsageError(f"--gpu {name}: not known; one of {', '.join(known_accelerators())}")
    return known


def _job(config: TrainConfig, data: Any, shape: ModelShape, processes: int) -> Job:
    model = config.model
    fp32 = model.precision is Precision.FP32
    attention = model.attention
    if attention is Attention.AUTO:
        attention = Attention.SDPA if fp32 or config.deterministic else Attention.VARLEN
    return Job(
        shape=shape,
        length=data.length,
        processes=processes,
        stage=config.zero.stage,
        offload=config.zero.offload,
        precision=Precision.FP32 if fp32 else Precision.BF16,
        attention=attention,
        recompute=model.recompute,
        micro_batch=config.micro_batch,
        lora=config.lora,
        mean_square_length=data.mean_square_length,
    )
