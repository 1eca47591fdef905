"""Trains a tiny Llama for a few steps, several times; run by tests/test_universal.py.

``python -m tests.universal_worker JOBS.json``, once per process. Every job makes an engine, loads a
state if it has one, makes its steps and saves. The process 0 writes ``FOLDER/JOB.pt`` with the loss
of every step and the weights at the end, in fp32.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch

from sft.recipe import (
    DataSettings,
    ModelSettings,
    OptimizerSettings,
    Precision,
    TrainConfig,
    ZeroSettings,
)
from sft.training._engine import (
    Engine,
    Process,
    build_engine,
    deepspeed_settings,
    make_optimizer,
    start_process,
)
from sft.training._model import weight_groups
from sft.training._states import load_state, save_state
from sft.training._universal import is_converted, repair_after_universal_load

VOCABULARY, LENGTH, ROWS = 64, 16, 6
"""Of the model and of a step's batch; the rows are divided over the processes."""


class Wrapped(torch.nn.Module):  # type: ignore[misc]  # torch is Any
    """The model inside another module, as training has it: its weights get longer names."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The sum of the losses of the supervised tokens (targets of -100 are none)."""
        logits = self.model(input_ids=tokens).logits[:, :-1].float()
        return torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), targets[:, 1:].flatten(), reduction="sum", ignore_index=-100
        )


def main() -> None:
    """Do the jobs."""
    jobs = json.loads(Path(sys.argv[1]).read_text())
    process = start_process()
    for job in jobs:
        run(job, process)
        torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def run(job: dict[str, Any], process: Process) -> None:
    """One job."""
    dtype = getattr(torch, job["dtype"])
    engine = make_engine(job, process, dtype)
    if job["load"]:
        load_state(engine, Path(job["load"]))
        if job["repair"]:
            repair_after_universal_load(engine, engine.groups)
    found = facts(engine)
    losses = [step(engine, number, process) for number in range(*job["steps"])]
    folder = Path(job["folder"])
    if job["save"]:
        save_state(engine, folder, job["steps"][1], process, stage=job["stage"], dtype=dtype)
    weights = full_weights(engine)
    if process.leads:
        torch.save({"losses": losses, "weights": weights, **found}, folder / f"{job['name']}.pt")
    engine.engine.destroy()


def make_engine(job: dict[str, Any], process: Process, dtype: torch.dtype) -> Engine:
    """The engine, with weights that depend on the job: what a state does not restore shows."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(job["seed"])
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            tie_word_embeddings=job["tied"],
        )
    ).to(dtype)
    config = TrainConfig(
        name="elastic",
        path=Path("elastic.yaml"),
        model=ModelSettings(
            scratch={}, precision=Precision.BF16 if job["bf16"] else Precision.FP32
        ),
        data=DataSettings(folder=Path()),
        optimizer=OptimizerSettings(learning_rate=2e-3),
        zero=ZeroSettings(stage=job["stage"]),
    )
    converted = job["load"] is not None and is_converted(Path(job["load"]))
    settings = deepspeed_settings(config, process, dtype, ROWS, universal=converted)
    if job["sub_group"]:
        settings["zero_optimization"]["sub_group_size"] = job["sub_group"]
    groups = weight_groups(model, config.optimizer.weight_decay)
    optimizer = make_optimizer(
        groups, config.optimizer, device=process.device, offload=config.zero.offload
    )
    if job["fused"]:
        optimizer = torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.95), eps=1e-8, fused=True)
    return build_engine(Wrapped(model), optimizer, settings, groups=groups)


def step(engine: Engine, number: int, process: Process) -> float:
    """An optimizer step on a batch that depends on its number alone; gives the mean loss."""
    chance = torch.Generator().manual_seed(1000 + number)
    tokens = torch.randint(0, VOCABULARY // 2, (ROWS, LENGTH), generator=chance)
    targets = tokens.masked_fill(torch.rand(ROWS, LENGTH, generator=chance) < 0.4, -100)
    supervised = int((targets[:, 1:] != -100).sum())
    total = torch.zeros(1, dtype=torch.float64)
    for row in range(process.rank, ROWS, process.world):
        loss = engine.engine(tokens[row : row + 1], targets[row : row + 1])
        engine.engine.backward(loss / supervised * process.world, scale_wrt_gas=False)
        engine.engine.step()
        total += loss.detach().double()
    torch.distributed.all_reduce(total)
    return float(total) / supervised


def facts(engine: Engine) -> dict[str, Any]:
    """What the optimizer holds."""
    inner = getattr(engine.optimizer, "optimizer", engine.optimizer)
    return {
        "decays": [group["weight_decay"] for group in inner.param_groups],
        "counts": [float(state["step"]) for state in inner.state.values() if "step" in state],
        "shared": len({id(s["step"]) for s in inner.state.values() if "step" in s}),
    }


def full_weights(engine: Engine) -> dict[str, torch.Tensor]:
    """Name → weight in fp32; every process takes part."""
    from deepspeed.utils import safe_get_full_fp32_param

    weights = {}
    for name, weight in engine.engine.module.named_parameters():
        full = safe_get_full_fp32_param(weight)
        weights[name] = (weight if full is None else full).detach().float().clone()
    return weights


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
