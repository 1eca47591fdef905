"""`sft doctor`: DeepSpeed against plain PyTorch, and that a difference would be found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("deepspeed", reason="needs the extra train")
pytestmark = pytest.mark.train

SFT = Path(sys.executable).parent / "sft"


def doctor(*options: str) -> tuple[int, dict[str, float], str]:
    """Exit code, check → difference, and what was said."""
    done = subprocess.run(
        [SFT, "doctor", "--json", *options],
        capture_output=True, text=True, timeout=280, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    checks = json.loads(done.stdout)["doctor"]["checks"] if done.stdout else []
    return done.returncode, {c["check"]: c["difference"] for c in checks}, done.stderr


@pytest.mark.parametrize("processes", [1, 2])
def test_every_stage_computes_what_plain_torch_does(processes: int) -> None:
    """ZeRO 0 to 3, several passes or several packs in one, unequal numbers of tokens.

    The reference takes every sample alone, so packing, passes, processes and the scale of the loss
    are all in the comparison.
    """
    code, checks, said = doctor("--processes", str(processes), "--no-bf16")
    assert code == 0, said
    assert len(checks) == 4 * 2 * 3
    for name, difference in checks.items():
        assert difference <= (1e-3 if name.endswith("weights") else 1e-5), name
    assert "computes here what plain PyTorch computes" in said


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_bf16_is_near_the_reference_in_fp32(processes: int) -> None:
    code, checks, said = doctor("--processes", str(processes))
    assert code == 0, said
    assert len(checks) == (4 + 3) * 2 * 3


WRONG = """
import sys
from sft.training import _steps
from sft.training._engine import start_process
from sft.training._parity import check_parity, require_parity
import torch


def passes(self, packs, supervised, stop, original=_steps.Stepper._passes):
    # The mean over a process's own tokens instead of all: the usual mistake.
    return original(self, packs, supervised + {off}, stop)

_steps.Stepper._passes = passes
process = start_process()
require_parity(check_parity(process, stage=2, dtype=torch.float32, rows=1))
"""


@pytest.mark.parametrize(("off", "fails"), [("0", False), ("1", True)])
def test_one_token_too_many_in_the_denominator_is_found(off: str, fails: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WRONG.replace("{off}", off)],
        capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stderr
    if fails:
        assert "gradient differs by" in done.stderr


OFFLOAD = """
import torch
from sft.recipe import Offload
from sft.training._engine import start_process
from sft.training._parity import check_parity, require_parity

process = start_process()
for stage, offload in ((1, Offload.OPTIMIZER), (2, Offload.OPTIMIZER), (3, Offload.ALL)):
    checks = check_parity(process, stage=stage, dtype=torch.float32, rows=1, offload=offload)
    require_parity(checks)
"""


def test_offload_computes_the_same() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OFFLOAD],
        capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_stages_that_are_none_are_refused() -> None:
    code, _, said = doctor("--zero", "2,4")
    assert code == 2
    assert "--zero 2,4: expected stages 0 to 3" in said
