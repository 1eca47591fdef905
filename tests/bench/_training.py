"""`sft train`'s engine and TRL's trainer: tokens per second of the same work on the same CPU.

A case is a precision, a share of supervised tokens, packs per forward pass, and threads. In every
round each side trains once, in a process of its own, and the order turns from round to round. A
factor is the geometric mean over rounds of ours over theirs, with a t-interval of its logarithm;
where that holds 1 the sides are not told apart.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np

from sft.recipe import Precision
from tests.bench._common import spread
from tests.bench._trainers import (
    BATCH,
    LENGTH,
    MEDIAN,
    OURS,
    SHAPE,
    SIGMA,
    STEPS,
    TRL,
    TRL_PACKS,
    WARMUP,
    Job,
    Ran,
)

_ROOT = Path(__file__).resolve().parents[2]
_CONFIDENCE = 0.95
_TIMEOUT_S = 600
_INSTALL = "`make bench` installs it into an environment of its own."
_AGREE = {Precision.FP32: (1e-5, 1e-4), Precision.BF16: (2e-3, 5e-2)}
"""How far the sides' losses may be apart, as a share, and their gradients' norms: rounding, where
other data or another loss would be off by 1e-3 and more (fp32)."""

Rounds: TypeAlias = Mapping[str, Sequence[Ran]]


class Factor(NamedTuple):
    """A ratio and its interval."""

    middle: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 1."""
        return not self.low <= 1.0 <= self.high


def training(rounds: int = 7, threads: Sequence[int] = (1,)) -> None:
    """Measure every case in so many rounds, at least 2, and print its table."""
    missing = [n for n in ("torch", "deepspeed", "transformers") if not importlib.util.find_spec(n)]
    if missing:
        print(f"Training is not measured: {', '.join(missing)} is missing. {_INSTALL}")
        return
    sides = [OURS]
    if importlib.util.find_spec("trl") is None:
        print(f"Not compared with TRL: trl is missing. {_INSTALL}")
    else:
        sides += [TRL_PACKS, TRL]
    print(
        f"\nA Llama of hidden size {SHAPE['hidden_size']}, {SHAPE['num_hidden_layers']} layers and "
        f"{SHAPE['vocab_size']} tokens; steps of {BATCH} packs of {LENGTH}, {WARMUP} before the "
        f"clock and {STEPS} on it; samples log-normal (median {MEDIAN:.0f}, sigma {SIGMA}), cut to "
        f"{LENGTH}; AdamW; sdpa\n{_versions()}"
    )
    for job in _jobs(threads):
        found = _rounds(job, sides, rounds)
        print(f"\n{_title(job)}; load {os.getloadavg()[0]:.1f} after it")
        for line in table(found):
            print(line, flush=True)
        require_same_work(found, Precision(job.precision))


def _jobs(threads: Sequence[int]) -> list[Job]:
    return [
        Job(side=OURS, precision=precision, supervised=share, micro_batch=rows, threads=count)
        for count in threads
        for rows, share in ((BATCH, 1.0), (BATCH, 0.5), (1, 1.0))
        for precision in (Precision.FP32, Precision.BF16)
    ]


def _title(job: Job) -> str:
    supervised = "all tokens" if job.supervised == 1 else f"{job.supervised:.0%} of the tokens"
    packs = "1 pack" if job.micro_batch == 1 else f"{job.micro_batch} packs"
    threads = "1 thread" if job.threads == 1 else f"{job.threads} threads"
    return f"{job.precision}, {supervised} supervised, {packs} per forward pass, {threads}"


def _rounds(job: Job, sides: Sequence[str], count: int) -> Rounds:
    """What each side took in every round; the order turns, so that none is always the first."""
    found: dict[str, list[Ran]] = {side: [] for side in sides}
    for number in range(count):
        for side in sides if number % 2 == 0 else reversed(sides):
            found[side].append(_child(replace(job, side=side)))
    return found


def _child(job: Job) -> Ran:
    """One side in a process of its own. Raises RuntimeError, with what it said, if it fails."""
    quiet = {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench._trainers"],
        cwd=_ROOT, input=json.dumps(asdict(job)).encode(), capture_output=True, check=False,
        env={**os.environ, **quiet, "OMP_NUM_THREADS": str(job.threads)}, timeout=_TIMEOUT_S,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{job}: {done.stderr.decode()[-2000:]}")
    return Ran(**json.loads(done.stdout))


def table(rounds: Rounds) -> list[str]:
    """Tokens per second of every side, and how many times ours are those of the others."""
    rates: dict[str, Callable[[Ran], float]] = {
        "tokens/s": lambda ran: ran.tokens / ran.wall_s,
        "tokens/CPU s": lambda ran: ran.tokens / ran.cpu_s,
    }
    lines = [
        f"{'':22}"
        + "".join(f"{name:>24}" for name in rates)
        + "".join(f"{f'ours, {name}':>30}" for name in rates)
    ]
    for side, runs in rounds.items():
        line = f"{side:22}"
        for rate in rates.values():
            line += f"{spread([rate(ran) for ran in runs], ',.0f'):>24}"
        if side != OURS:
            for rate in rates.values():
                ours = [rate(ran) for ran in rounds[OURS]]
                line += f"{_said(factor(ours, [rate(ran) for ran in runs])):>30}"
        lines.append(line)
    return lines


def factor(ours: Sequence[float], theirs: Sequence[float]) -> Factor:
    """The geometric mean of paired ratios, and its 95 % interval.

    With log ratios x of n rounds: exp(mean(x) -+ t(n - 1) * sd(x) / sqrt(n)). Raises ValueError
    for fewer than two rounds, from which no interval follows.
    """
    from scipy.stats import t

    if len(ours) < 2:
        raise ValueError("an interval needs at least two rounds")
    logs = np.log(np.asarray(ours) / np.asarray(theirs))
    middle, count = float(logs.mean()), len(logs)
    half = float(t.ppf((1 + _CONFIDENCE) / 2, count - 1) * logs.std(ddof=1) / count**0.5)
    return Factor(*(float(np.exp(x)) for x in (middle, middle - half, middle + half)))


def _said(found: Factor) -> str:
    interval = f"({found.low:.2f}-{found.high:.2f})"
    return f"x {found.middle:.2f} {interval}" if found.is_clear else f"no difference {interval}"


def require_same_work(rounds: Rounds, precision: Precision) -> None:
    """Print how far the sides' losses and gradients are apart on the same packs.

    Raises RuntimeError where it is more than rounding, or where a side differs between rounds in
    its tokens.
    """
    for side, runs in rounds.items():
        if len({ran.tokens for ran in runs}) != 1:
            raise RuntimeError(f"{side} took other tokens from round to round")
    if TRL_PACKS not in rounds:
        return
    ours, theirs = rounds[OURS][0], rounds[TRL_PACKS][0]
    if (ours.tokens, ours.parameters) != (theirs.tokens, theirs.parameters):
        raise RuntimeError(f"not the same work: {ours} and {theirs}")
    apart = {
        "first loss": theirs.first_loss / ours.first_loss - 1,
        "loss of the timed steps": theirs.loss / ours.loss - 1,
        "norm of the first gradient": theirs.first_norm / ours.first_norm - 1,
    }
    print(
        f"{ours.tokens:,} tokens each, {ours.parameters:,} weights; on the same packs the first "
        f"loss is {ours.first_loss:.5f}; apart: "
        + ", ".join(f"{name} {share:+.1e}" for name, share in apart.items()),
        flush=True,
    )
    for_loss, for_norm = _AGREE[precision]
    for name, share in apart.items():
        # Not `>`: a difference that is no number is no agreement either.
        if not abs(share) <= (for_norm if "norm" in name else for_loss):
            raise RuntimeError(f"not the same work: {name} is {share:+.1e} apart")


def _versions() -> str:
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in ("torch", "transformers", "deepspeed", "trl", "accelerate"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)
