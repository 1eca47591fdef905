"""The measurement: the trainer's own steps on random weights and random documents."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from sft.bench._documents import BenchData
from sft.bench._gemm import gemm_flops
from sft.bench._result import BenchResult, Machine
from sft.bench._settings import SHAPES, BenchSettings
from sft.costs import Job, ModelShape, accelerator, flops_per_token, memory, model_shape
from sft.errors import PlumblineError, UsageError
from sft.recipe import Attention, DataSettings, ModelSettings, TrainConfig, ZeroSettings


def bench(settings: BenchSettings) -> BenchResult:
    """Measure how fast the trainer trains, on one GPU or on a CPU.

    First the product of two large matrices is timed, on the empty device; then the steps, each
    with the trainer's own engine, attention and loss, from packs in the host's memory to changed
    weights.

    Raises UsageError if the wanted device is not there, PlumblineError if memory does not suffice
    or the loss is not a number.
    """
    if settings.device == "cpu":
        # Before torch looks for GPUs, which the trainer would use.
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    import torch

    _require_device(settings)
    from sft.training._engine import start_process
    from sft.training._log import git_revision, now, versions

    process = start_process()
    config = _config(settings)
    fields = SHAPES[settings.shape]
    shape = model_shape({"model_type": "llama", **fields})
    data = BenchData(settings, shape.vocabulary)
    date = now()
    try:
        gemm = gemm_flops(settings.gemm, _dtype(config, process), process.device)
        timed = _timed(settings, config, process, data)
    except torch.OutOfMemoryError as error:
        raise PlumblineError(
            f"The shape {settings.shape} does not fit into this GPU ({_first_line(error)}). Use a "
            "smaller --micro-batch, --recompute full, or a smaller --shape"
        ) from None
    return BenchResult(
        date=date,
        settings=settings,
        attention=timed.attention,
        machine=_machine(process),
        versions=versions(),
        git=git_revision(Path(__file__).parent),
        parameters=shape.parameters,
        flops=flops_per_token(shape, settings.length, mean_square_length=data.mean_square_length),
        gemm_flops=gemm,
        fill=data.fill,
        mean_length=data.mean_length,
        tokens=timed.tokens,
        seconds=timed.seconds,
        step_seconds=timed.step_seconds,
        losses=timed.losses,
        memory_bytes=timed.memory_bytes,
        estimated_bytes=_estimate(settings, shape, timed.attention),
        leak=timed.leak,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Timed:
    """What the timed steps gave."""

    attention: str
    tokens: int
    seconds: float
    step_seconds: list[float]
    losses: list[float]
    memory_bytes: int
    leak: float


def _require_device(settings: BenchSettings) -> None:
    import torch

    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "There is no GPU here that torch can use. To see that everything works: "
            "sft bench --shape tiny --device cpu"
        )
    if settings.device == "cpu" and torch.cuda.is_available():
        raise UsageError(
            "torch has already taken a GPU. Set CUDA_VISIBLE_DEVICES to nothing for a "
            "measurement on the CPU"
        )
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UsageError("sft bench measures one process; start it without a launcher")


def _config(settings: BenchSettings) -> TrainConfig:
    """The settings of a run that does what is to be measured."""
    nowhere = Path("bench")
    return TrainConfig(
        name=f"bench {settings.shape}",
        path=nowhere,
        seed=settings.seed,
        epochs=1,
        micro_batch=settings.micro_batch,
        model=ModelSettings(
            scratch=dict(SHAPES[settings.shape]),
            precision=settings.precision,
            attention=settings.attention,
            recompute=settings.recompute,
            compile=settings.compile,
        ),
        data=DataSettings(folder=nowhere),
        zero=ZeroSettings(stage=settings.stage, offload=settings.offload),
    )


def _dtype(config: TrainConfig, process: Any) -> Any:
    from sft.training._engine import precision_of

    return precision_of(config, process.device)


def _timed(settings: BenchSettings, config: TrainConfig, process: Any, data: BenchData) -> _Timed:
    import torch

    from sft.training._steps import Stepper

    setup = _setup(settings, config, process, data)
    stepper = Stepper(setup, settings.warmup + settings.steps)
    for number in range(settings.warmup):
        stepper.step(number)
    _wait(process)
    started = perf_counter()
    records = [
        stepper.step(number)[0]
        for number in range(settings.warmup, settings.warmup + settings.steps)
    ]
    _wait(process)
    seconds = perf_counter() - started
    losses = [float(record["loss"]) for record in records]
    setup.engine.engine.destroy()
    if not all(torch.isfinite(torch.tensor(losses))):
        raise PlumblineError(f"The loss is not a number: {losses}")
    return _Timed(
        attention=setup.attention,
        tokens=sum(int(record["tokens"]) for record in records),
        seconds=seconds,
        step_seconds=[float(record["seconds"]) for record in records],
        losses=losses,
        memory_bytes=max(int(record["memory_bytes"]) for record in records),
        leak=setup.checks[0].difference,
    )


def _setup(settings: BenchSettings, config: TrainConfig, process: Any, data: BenchData) -> Any:
    """What the trainer makes before its first step, from random weights."""
    from sft.training._setup import assemble, attention_of

    dtype = _dtype(config, process)
    attention = attention_of(config, process, dtype)
    model = _model(settings, dtype, attention, process.device)
    return assemble(
        config, process, data, model,
        attention=attention, dtype=dtype, vocabulary=model.config.vocab_size,
    )  # fmt: skip


def _model(settings: BenchSettings, dtype: Any, attention: str, device: Any) -> Any:
    """A Llama with random weights, made on the device, where it takes seconds."""
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(settings.seed)
    longest: dict[str, Any] = {"max_position_embeddings": settings.length}
    fields = LlamaConfig(**SHAPES[settings.shape], **longest, use_cache=False)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(
            fields, dtype=dtype, attn_implementation=attention
        )
    if settings.recompute == "full":
        model.gradient_checkpointing_enable({"use_reentrant": False})
    return model.train()


def _wait(process: Any) -> None:
    if process.device.type == "cuda":
        import torch

        torch.cuda.synchronize(process.device)


def _estimate(settings: BenchSettings, shape: ModelShape, attention: str) -> int:
    """Bytes that the dry run would have said."""
    known = {"sdpa": Attention.SDPA, "eager": Attention.EAGER}
    return memory(
        Job(
            shape=shape,
            length=settings.length,
            stage=settings.stage,
            offload=settings.offload,
            precision=settings.precision,
            attention=known.get(attention, Attention.VARLEN),
            recompute=settings.recompute,
            micro_batch=settings.micro_batch,
            supervised=settings.supervised,
        )
    ).total


def _machine(process: Any) -> Machine:
    import torch

    if process.device.type != "cuda":
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        return Machine("cpu", size, None, torch.get_num_threads(), None, None)
    properties = torch.cuda.get_device_properties(process.device)
    known = accelerator(properties.name)
    return Machine(
        properties.name,
        properties.total_memory,
        None if known is None else known.peak_flops,
        torch.get_num_threads(),
        _driver(),
        torch.version.cuda,
    )


def _driver() -> str | None:
    """The version of the GPU's driver, as its own tool says it; None if it cannot be asked."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],  # noqa: S607
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.split("\n")[0].strip() or None


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0][:200]
