"""Two trainers on one model and the same samples: what `_training` runs, each in its own process.

``python -m tests.bench._trainers`` reads a `Job` as JSON on stdin, makes the steps and prints a
`Ran` as JSON. Start-up and the first steps are not timed.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sft.bench import BenchData, BenchSettings
from sft.recipe import (
    Attention,
    DataSettings,
    ModelSettings,
    OptimizerSettings,
    Precision,
    TrainConfig,
)

OURS = "sft train"
TRL = "TRL, its own packing"
TRL_PACKS = "TRL, the same packs"

LENGTH = 512
BATCH = 4
"""Packs per optimizer step."""
WARMUP = 2
STEPS = 8
MEDIAN = 128.0
SIGMA = 0.9
SHAPE = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
"""A Llama; the head takes a larger part of the work than in models that people fine-tune."""
_SEED = 0
_IGNORED = -100
_OPTIMIZER = OptimizerSettings(learning_rate=3e-4, schedule="constant", warmup=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process is to do."""

    side: str
    precision: str
    supervised: float
    """Share of a sample's tokens, from its end, that the loss is taken over; never the first."""
    micro_batch: int
    """Packs per forward pass."""
    threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What the timed steps took and gave."""

    tokens: int
    """Tokens of samples, without padding."""
    wall_s: float
    cpu_s: float
    """Of all threads of the process."""
    parameters: int
    packs: int
    """Packs that the samples were divided into."""
    first_loss: float
    """Of the very first step, before any change of the weights, in nats per supervised token."""
    first_norm: float
    """The norm of that step's gradient before clipping."""
    loss: float
    """The mean over the timed steps."""


class _Clock:
    """Wall and CPU time from one call of `start` to one of `stop`."""

    def start(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def stop(self) -> None:
        self.wall_s = time.perf_counter() - self._wall
        self.cpu_s = time.process_time() - self._cpu


def run(job: Job) -> Ran:
    """Train for a few steps and say what the later ones took."""
    import torch

    torch.set_num_threads(job.threads)
    data = BenchData(_documents(job), SHAPE["vocab_size"])
    return _ours(job, data) if job.side == OURS else _trl(job, data)


def _documents(job: Job) -> BenchSettings:
    return BenchSettings(
        shape="", device="cpu", length=LENGTH, micro_batch=job.micro_batch,
        accumulation=BATCH // job.micro_batch, steps=STEPS, warmup=WARMUP, gemm=1,
        precision=Precision(job.precision), median=MEDIAN, sigma=SIGMA,
        supervised=job.supervised, seed=_SEED,
    )  # fmt: skip


def _model(job: Job) -> Any:
    """Random weights in fp32; for bf16 such as it can hold, so that both sides start alike."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(_SEED)
    # transformers types the fields of a configuration, which hold more than numbers.
    fields: dict[str, Any] = {**SHAPE, "max_position_embeddings": LENGTH, "use_cache": False}
    model: Any = LlamaForCausalLM._from_config(
        LlamaConfig(**fields), dtype=torch.float32, attn_implementation="sdpa"
    )
    if job.precision == Precision.BF16:
        model.to(torch.bfloat16).to(torch.float32)
    return model.train()


def _ours(job: Job, data: BenchData) -> Ran:
    from sft.training._engine import precision_of, start_process
    from sft.training._setup import assemble
    from sft.training._steps import Stepper

    process = start_process()
    config = TrainConfig(
        name="bench", path=Path("bench"), seed=_SEED, epochs=1, micro_batch=job.micro_batch,
        model=ModelSettings(
            scratch=dict(SHAPE), precision=Precision(job.precision), attention=Attention.SDPA
        ),
        data=DataSettings(folder=Path("bench")), optimizer=_OPTIMIZER,
    )  # fmt: skip
    dtype = precision_of(config, process.device)
    model = _model(job).to(dtype)
    core = assemble(
        config, process, data, model,
        attention="sdpa", dtype=dtype, vocabulary=SHAPE["vocab_size"],
    )  # fmt: skip
    stepper, clock = Stepper(core, WARMUP + STEPS), _Clock()
    first, *_ = [stepper.step(number)[0] for number in range(WARMUP)]
    clock.start()
    records = [stepper.step(number)[0] for number in range(WARMUP, WARMUP + STEPS)]
    clock.stop()
    return Ran(
        tokens=sum(int(record["tokens"]) for record in records),
        wall_s=clock.wall_s,
        cpu_s=clock.cpu_s,
        parameters=sum(p.numel() for p in model.parameters()),
        packs=BATCH * (WARMUP + STEPS),
        first_loss=float(first["loss"]),
        first_norm=float(first["gradient_norm"]),
        loss=float(np.mean([record["loss"] for record in records])),
    )


def _trl(job: Job, data: BenchData) -> Ran:
    import datasets  # type: ignore[import-not-found, unused-ignore]
    import trl  # type: ignore[import-not-found, unused-ignore]
    from transformers import PrinterCallback, TrainerCallback

    datasets.disable_progress_bars()
    clock = _Clock()

    class Timed(TrainerCallback):  # type: ignore[misc]  # transformers is not typed here
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == WARMUP:
                control.should_log = True
                clock.start()
            elif state.global_step == WARMUP + STEPS:
                clock.stop()
                control.should_log = True

    model = _model(job)
    rows = list(_samples(data) if job.side == TRL else _packs(data))
    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.SFTTrainer(
            model=model,
            args=trl.SFTConfig(**_trl_settings(job, folder)),
            train_dataset=datasets.Dataset.from_list(rows),
            processing_class=_tokenizer(),
            callbacks=[Timed()],
        )
        trainer.remove_callback(PrinterCallback)
        packs = len(trainer.train_dataset)
        trainer.train()
    logs = {log["step"]: log for log in trainer.state.log_history if "loss" in log}
    return Ran(
        tokens=int(logs[WARMUP + STEPS]["num_tokens"] - logs[WARMUP]["num_tokens"]),
        wall_s=clock.wall_s,
        cpu_s=clock.cpu_s,
        parameters=sum(p.numel() for p in model.parameters()),
        packs=packs,
        first_loss=float(logs[1]["loss"]),
        first_norm=float(logs[1]["grad_norm"]),
        loss=float(logs[WARMUP + STEPS]["loss"]),
    )


def _trl_settings(job: Job, folder: str) -> dict[str, Any]:
    """Settings that mean what ours mean; the rest as TRL ships it."""
    own = job.side == TRL
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": job.precision == Precision.BF16,
        "packing": own,
        "padding_free": True,
        "max_length": LENGTH if own else None,
        "dataset_kwargs": None if own else {"skip_prepare_dataset": True},
        # The same packs are to come in the same order.
        "train_sampling_strategy": "random" if own else "sequential",
        "per_device_train_batch_size": job.micro_batch,
        "gradient_accumulation_steps": BATCH // job.micro_batch,
        "gradient_checkpointing": False,
        "max_steps": WARMUP + STEPS,
        "learning_rate": _OPTIMIZER.learning_rate,
        "lr_scheduler_type": "constant",
        "weight_decay": _OPTIMIZER.weight_decay,
        "adam_beta1": _OPTIMIZER.betas[0],
        "adam_beta2": _OPTIMIZER.betas[1],
        "adam_epsilon": _OPTIMIZER.eps,
        "max_grad_norm": _OPTIMIZER.clip,
        "dataloader_pin_memory": False,
        "logging_first_step": True,
        "logging_steps": 1000,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": _SEED,
    }


def _samples(data: BenchData) -> Iterator[dict[str, list[int]]]:
    """Every sample as a row with tokens and labels."""
    for tokens, supervised in data.store:
        labels = np.where(supervised, tokens.astype(np.int64), _IGNORED)
        yield {"input_ids": tokens.tolist(), "labels": labels.tolist()}


def _packs(data: BenchData) -> Iterator[dict[str, list[int]]]:
    """Every pack as the row that TRL's packing would give."""
    rows = list(_samples(data))
    for step in range(WARMUP + STEPS):
        for pack in data.packs(step):
            parts = [rows[int(n)] for n in pack]
            yield {
                "input_ids": [token for part in parts for token in part["input_ids"]],
                "labels": [label for part in parts for label in part["labels"]],
                "seq_lengths": [len(part["input_ids"]) for part in parts],
            }


def _tokenizer() -> Any:
    """The trainer wants one for its special tokens; nothing is tokenised."""
    from tokenizers import Tokenizer, models  # type: ignore[import-not-found, unused-ignore]
    from transformers import PreTrainedTokenizerFast

    words = {f"w{n}": n for n in range(SHAPE["vocab_size"])}
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="w0")),
        bos_token="w1", eos_token="w2", pad_token="w0", unk_token="w0",
    )  # fmt: skip


def main() -> None:
    """Do one job: read it from stdin, and print what it took."""
    told = os.dup(1)
    # Trainers speak on stdout, which belongs to the result.
    os.dup2(2, 1)
    ran = run(Job(**json.load(sys.stdin)))
    os.write(told, json.dumps(asdict(ran)).encode())


if __name__ == "__main__":
    main()
