"""The estimates against the real things: torch's memory, DeepSpeed's states, models as built."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

from sft.costs import Job, adapter_parameters, memory, model_shape  # noqa: E402
from sft.costs._memory import activation_bytes  # noqa: E402
from sft.errors import UsageError  # noqa: E402
from sft.recipe import Attention, LoraSettings, Precision, Recompute  # noqa: E402
from tests.costs_worker import BUCKET, FIELDS, RANK  # noqa: E402

pytestmark = pytest.mark.train

SMALL = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 176,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def built(config: dict[str, Any]) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = {k: v for k, v in config.items() if k != "model_type"}
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **fields)
        )


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "llama", **SMALL},
        {"model_type": "llama", **SMALL, "tie_word_embeddings": True, "head_dim": 24},
        {"model_type": "llama", **SMALL, "attention_bias": True, "mlp_bias": True},
        {"model_type": "mistral", **SMALL},
        {"model_type": "qwen2", **SMALL},
        {"model_type": "qwen3", **SMALL, "tie_word_embeddings": True},
        {"model_type": "gpt2", "n_embd": 64, "n_layer": 2, "n_head": 4, "vocab_size": 100},
        {"model_type": "gpt_neox", **SMALL},
    ],
    ids=lambda config: config["model_type"],
)
def test_a_shape_counts_what_transformers_builds(config: dict[str, Any]) -> None:
    model = built(config)
    shape = model_shape(config)
    sizes = [w.numel() for w in model.parameters()]
    embedding = model.get_input_embeddings().weight
    tied = model.get_output_embeddings().weight is embedding
    assert shape.parameters == sum(sizes)
    assert shape.largest == max(sizes)
    assert shape.tied == tied
    assert shape.multiplied == sum(sizes) - (0 if tied else embedding.numel())
    assert model_shape(model.config.to_dict()) == shape


def test_of_experts_those_count_that_a_token_visits() -> None:
    config = {**SMALL, "model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 1}
    shape = model_shape(config)
    # An expert has three matrices of 64 x 176; three of four rest, in each of three layers.
    embedding = 100 * 64
    assert shape.multiplied == shape.parameters - embedding - 3 * 3 * 3 * 64 * 176


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "down_proj"), r".*1\.mlp\..*_proj"])
def test_adapters_have_as_many_weights_as_peft_makes(targets: Any) -> None:
    from peft import LoraConfig, get_peft_model

    config = {"model_type": "llama", **SMALL}
    wanted = list(targets) if isinstance(targets, tuple) else targets
    model = get_peft_model(
        built(config), LoraConfig(r=4, target_modules=wanted, task_type="CAUSAL_LM")
    )
    trained = sum(w.numel() for w in model.parameters() if w.requires_grad)
    found = adapter_parameters(model_shape(config), LoraSettings(rank=4, targets=targets))
    assert found == trained


def test_what_is_no_language_model_is_refused() -> None:
    with pytest.raises(UsageError, match="no causal language model"):
        model_shape({"model_type": "no-such-model"})
    with pytest.raises(UsageError, match="no causal language model"):
        model_shape({"model_type": "clip_vision_model"})


@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.FULL])
@pytest.mark.parametrize("attention", [Attention.SDPA, Attention.EAGER])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP32])
def test_kept_activations_are_those_that_autograd_keeps(
    precision: Precision, attention: Attention, recompute: Recompute
) -> None:
    from transformers import AutoModelForCausalLM, LlamaConfig

    length = 128
    dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**SMALL), dtype=dtype, attn_implementation=str(attention)
    ).train()
    if recompute is Recompute.FULL:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    weights = {w.untyped_storage().data_ptr() for w in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage
        return tensor

    tokens = torch.arange(length)[None] % 100
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.get_decoder()(
            input_ids=tokens, position_ids=tokens % 40, use_cache=False
        ).last_hidden_state.sum()
    found = sum(storage.nbytes() for storage in kept.values())
    shape = model_shape({"model_type": "llama", **SMALL})
    job = Job(
        shape=shape, length=length, precision=precision, attention=attention, recompute=recompute
    )
    expected, _ = activation_bytes(job)
    if recompute is Recompute.FULL:
        # The angles and the mask are arguments of the layers then, which this does not see.
        mask = 1 if attention is Attention.SDPA else job.width
        expected -= 2 * job.width * shape.head_dim * length + mask * length**2
    # The last norm's output is kept by the head, and there are up to 16 bytes of numbers a token.
    last = job.width * shape.hidden * length
    assert expected - last - 16 * length <= found <= expected - last


class Peak(TorchDispatchMode):  # type: ignore[misc]
    """Most bytes of new tensors that were there at the same time."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()
        self._known, self._now, self.most = known, 0, 0
        self._living: dict[int, int] = {}

    def __torch_dispatch__(self, function: Any, _: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if not isinstance(tensor, torch.Tensor):
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key not in self._known and key not in self._living:
                self._living[key] = storage.nbytes()
                self._now += storage.nbytes()
                self.most = max(self.most, self._now)
                weakref.finalize(storage, self._freed, key)
        return found

    def _freed(self, key: int) -> None:
        self._now -= self._living.pop(key)


@pytest.mark.parametrize(("vocabulary", "chunk"), [(64, 4096), (4000, 4096), (4000, 256)])
@pytest.mark.parametrize("recompute", [Recompute.NONE, Recompute.FULL])
@pytest.mark.parametrize("attention", [Attention.SDPA, Attention.EAGER])
@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP32])
def test_the_peak_of_a_pass_is_the_estimate_within_an_eighth(
    precision: Precision,
    attention: Attention,
    recompute: Recompute,
    vocabulary: int,
    chunk: int,
) -> None:
    """The trainer's own forward and backward pass: activations, logits, and what is at work.

    A weight's gradient before it is added to the sum counts here, and not in the estimate.
    """
    from transformers import AutoModelForCausalLM, LlamaConfig

    from sft.tokenisation import Sample
    from sft.training._batches import micro_batch
    from sft.training._loss import Objective

    length, fields = 512, {**FIELDS, "vocab_size": vocabulary}
    dtype = torch.bfloat16 if precision is Precision.BF16 else torch.float32
    model = AutoModelForCausalLM.from_config(
        LlamaConfig(**fields), dtype=dtype, attn_implementation=str(attention)
    ).train()
    if recompute is Recompute.FULL:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    half = length // 2
    sample = Sample(np.arange(half, dtype=np.uint32) % 64, np.arange(half) > 0)
    batch = micro_batch([[sample, sample]], [[0, 0]], rows=1, length=length)
    objective = Objective(model, attention=str(attention), chunk=chunk)
    objective(batch).total.backward()  # gradients are there from now on
    known = {tensor.untyped_storage()._cdata for w in model.parameters() for tensor in (w, w.grad)}
    with Peak(known) as peak:
        objective(batch).total.backward()
    job = Job(
        shape=model_shape({"model_type": "llama", **fields}),
        length=length,
        precision=precision,
        attention=attention,
        recompute=recompute,
        chunk=chunk,
    )
    needed = memory(job)
    assert peak.most == pytest.approx(needed.activations + needed.logits, rel=0.125)


def run_worker(processes: int, *arguments: str) -> list[int]:
    """The bytes that every process of a training reports."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.costs_worker", *arguments],
            env={
                **os.environ,
                "RANK": str(rank),
                "LOCAL_RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
                "DS_ACCELERATOR": "cpu",
                "OMP_NUM_THREADS": "1",
                "HF_HUB_OFFLINE": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for rank in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=150) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    for process, (_, errors) in zip(started, outputs, strict=True):
        assert process.returncode == 0, errors[-3000:]
    return [
        json.loads(next(line for line in text.splitlines() if line.startswith("{")))["bytes"]
        for text, _ in outputs
    ]


@pytest.mark.parametrize(
    ("stage", "precision", "lora", "processes"),
    [
        (0, "fp32", False, 1),
        (1, "bf16", False, 2),
        (2, "bf16", False, 1),
        (2, "bf16", False, 2),
        (2, "bf16", True, 1),
        (3, "bf16", False, 1),
    ],
)
def test_weights_gradients_and_states_are_what_deepspeed_holds(
    stage: int, precision: str, lora: bool, processes: int
) -> None:
    job = Job(
        shape=model_shape({"model_type": "llama", **FIELDS}),
        length=8,
        processes=processes,
        stage=stage,
        precision=Precision(precision),
        lora=LoraSettings(rank=RANK) if lora else None,
        bucket=BUCKET,
    )
    needed = memory(job)
    expected = needed.weights + needed.gradients + needed.optimizer
    if stage == 3:
        expected += 4 * BUCKET  # the one that stays between steps
    for found in run_worker(processes, str(stage), precision, str(int(lora))):
        # Angles, counters and the tokens themselves are a few hundred bytes.
        assert expected <= found <= expected + 2000
