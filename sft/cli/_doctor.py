"""What `sft doctor` does around its checks: processes, the table, the object of --json."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from judge.terminal import print_json, say
from sft.cli._extras import require_train
from sft.cli._launch import in_processes
from sft.errors import UsageError

_ROWS = (1, 3)
"""Packs of a forward pass: with one there are several passes, with three places stay empty."""


def doctor(stages: str, *, processes: int | None, bf16: bool, as_json: bool) -> None:
    """Check the stages, as one process or several."""
    require_train()
    wanted = _stages(stages)
    in_processes(lambda _leads: _check(wanted, bf16=bf16, as_json=as_json), processes)


def _check(stages: Iterable[int], *, bf16: bool, as_json: bool) -> None:
    import torch

    from sft.training import check_parity, require_parity, start_process, versions

    process = start_process()
    if process.leads:
        found = ", ".join(f"{name} {number}" for name, number in versions().items())
        say(f"{found}; {process.world} x {_device(process.device)}")
    checks = []
    for dtype in (torch.float32, *([torch.bfloat16] if bf16 else [])):
        for stage in stages:
            if stage == 0 and dtype is torch.bfloat16:
                continue  # training maps it to stage 1
            for rows in _ROWS:
                part = check_parity(process, stage=stage, dtype=dtype, rows=rows)
                checks += part
                if process.leads:
                    for check in part:
                        good = check.difference <= check.bound
                        say(
                            f"  {'ok  ' if good else 'FAIL'} {check.check:<44} "
                            f"{check.difference:.1e} (bound {check.bound:g})"
                        )
    if as_json and process.leads:
        print_json(
            {
                "doctor": {
                    "checks": [
                        {"check": c.check, "difference": c.difference, "bound": c.bound}
                        for c in checks
                    ],
                    "versions": versions(),
                    "device": _device(process.device),
                    "processes": process.world,
                }
            }
        )
    require_parity(checks)
    if process.leads:
        say("DeepSpeed computes here what plain PyTorch computes.")


def _device(device: Any) -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def _stages(text: str) -> list[int]:
    parts = text.split(",")
    if not all(part.strip() in {"0", "1", "2", "3"} for part in parts):
        raise UsageError(f"--zero {text}: expected stages 0 to 3, as 2 or 0,1,2,3")
    return sorted({int(part) for part in parts})
