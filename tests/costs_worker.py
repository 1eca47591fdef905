"""One process of a tiny training: prints the bytes of all tensors when a step needs most.

``python -m tests.costs_worker STAGE PRECISION LORA(0|1)`` with the processes in the environment.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from typing import Any

FIELDS = {
    "vocab_size": 1000,
    "hidden_size": 128,
    "intermediate_size": 344,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BUCKET = 50_000
RANK = 8


def tensor_bytes() -> int:
    """Bytes of the storages of all tensors that Python knows, each once."""
    import torch

    gc.collect()
    found: dict[int, int] = {}
    for thing in gc.get_objects():
        # Not isinstance: that would wake lazy modules.
        if not issubclass(type(thing), torch.Tensor) or thing.device.type == "meta":
            continue
        for tensor in (thing, thing.grad if thing.is_leaf else None):
            if tensor is not None:
                storage = tensor.untyped_storage()
                found[storage._cdata] = storage.nbytes()
    return sum(found.values())


def main(stage: int, precision: str, lora: bool) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    from sft.recipe import (
        DataSettings,
        LoraSettings,
        ModelSettings,
        Precision,
        TrainConfig,
        ZeroSettings,
    )
    from sft.training import _engine
    from sft.training._model import weight_groups, with_adapters

    _engine.BUCKET = BUCKET
    config = TrainConfig(
        name="costs",
        path=Path("costs"),
        model=ModelSettings(scratch={}, precision=Precision(precision)),
        data=DataSettings(folder=Path("costs")),
        zero=ZeroSettings(stage=stage),
        lora=LoraSettings(rank=RANK) if lora else None,
    )
    process = _engine.start_process()
    dtype = _engine.precision_of(config, process.device)
    model: Any = AutoModelForCausalLM.from_config(LlamaConfig(**FIELDS), dtype=dtype)
    if config.lora is not None:
        model = with_adapters(model, config.lora)
    groups = weight_groups(model, 0.1)
    optimizer = _engine.make_optimizer(
        groups, config.optimizer, device=process.device, offload=config.zero.offload
    )
    written = _engine.deepspeed_settings(config, process, dtype, 2 * process.world)
    engine = _engine.build_engine(model, optimizer, written, groups=groups).engine
    tokens = torch.zeros((1, 8), dtype=torch.int64)
    # Two passes make a step; the moments come with the first step, the sums with the last pass.
    for number in range(4):
        engine.backward(engine(input_ids=tokens, labels=tokens, use_cache=False).loss)
        if number == 3:
            print(json.dumps({"bytes": tensor_bytes()}), flush=True)
        engine.step()
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3] == "1")
