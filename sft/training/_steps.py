"""One optimizer step, and what is known of it afterwards."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import Any

import torch

from sft.blending import Ints, salt
from sft.training._batches import MicroBatch, micro_batch, packs_of
from sft.training._engine import gradient_norm, set_learning_rate
from sft.training._loss import Losses
from sft.training._schedule import learning_rate
from sft.training._setup import Core


class Stepper:
    """Makes the steps of a run, each a function of its number and of the weights before it."""

    def __init__(self, setup: Core, steps: int) -> None:
        self._setup = setup
        self._steps = steps

    def step(self, number: int, *, stop: bool = False) -> tuple[dict[str, Any], bool]:
        """Make step ``number`` (from 0); every process takes part.

        Returns:
            The record of the step for the log, the same on every process but for ``seconds`` and
            ``memory_bytes``; and whether any process wants to ``stop``.
        """
        setup, data = self._setup, self._setup.data
        started = perf_counter()
        packs = data.packs(number)
        supervised = data.supervised_by_source(packs)
        rate = learning_rate(number, self._steps, setup.config.optimizer)
        set_learning_rate(setup.engine.optimizer, rate)
        torch.manual_seed(salt(setup.config.seed, number, setup.process.rank, "step") >> 1)
        sums, norm = self._passes(packs, int(supervised.sum()), stop)
        losses = {
            source: float(sums[i]) / int(supervised[i])
            for i, source in enumerate(data.sources)
            if supervised[i]
        }
        record = {
            "step": number + 1,
            "epoch": data.epoch_of(number) + 1,
            "loss": float(sums[:-1].sum()) / int(supervised.sum()),
            "learning_rate": rate,
            "gradient_norm": norm,
            "tokens": data.tokens(packs),
            "supervised_tokens": int(supervised.sum()),
            "losses": losses,
            "seconds": perf_counter() - started,
            "memory_bytes": memory_bytes(setup.process.device),
        }
        return record, bool(sums[-1])

    def before_update(self) -> None:
        """Called between the last backward pass of a step and the change of the weights."""

    def _passes(
        self, packs: Sequence[Ints], supervised: int, stop: bool
    ) -> tuple[torch.Tensor, float | None]:
        """Forward and backward passes and the optimizer's step.

        Gives the sums of losses per source over all processes with the number of processes that
        want to stop behind them, and the gradient's norm.
        """
        engine, process = self._setup.engine.engine, self._setup.process
        scale = process.world / supervised
        sums = torch.zeros(
            len(self._setup.data.sources) + 1, dtype=torch.float64, device=process.device
        )
        sums[-1] = float(stop)
        norm: float | None = None
        for batch in self._batches(packs):
            losses: Losses = engine(batch)
            engine.backward(losses.total * scale, scale_wrt_gas=False)
            sums.index_add_(0, batch.owners, losses.tokens.double())
            if engine.is_gradient_accumulation_boundary():
                self.before_update()
                norm = _plain_norm(engine) if self._setup.stage == 0 else None
            engine.step()
        torch.distributed.all_reduce(sums)
        return sums.cpu(), norm if norm is not None else gradient_norm(engine)

    def _batches(self, packs: Sequence[Ints]) -> Iterator[MicroBatch]:
        setup, data = self._setup, self._setup.data
        divided = packs_of(
            packs,
            rank=setup.process.rank,
            world=setup.process.world,
            rows=setup.config.micro_batch,
            passes=setup.passes,
        )
        for own in divided:
            yield micro_batch(
                [[data.store[int(n)] for n in numbers] for numbers in own],
                [data.source_of[numbers].tolist() for numbers in own],
                rows=setup.config.micro_batch,
                length=setup.row_length,
            ).to(setup.process.device)


def _plain_norm(engine: Any) -> float:
    """The gradient's norm at stage 0, which DeepSpeed does not tell.

    There every process has all of the gradient.
    """
    gradients = [p.grad for p in engine.module.parameters() if p.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack([g.norm() for g in gradients])))


def memory_bytes(device: Any) -> int:
    """Most memory in use so far: of the GPU, or of this process where there is none."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
