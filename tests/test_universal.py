"""Going on with another number of processes gives what going on with the same number gives."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("deepspeed", reason="needs the extra train")
pytestmark = pytest.mark.train

from sft.errors import PlumblineError  # noqa: E402
from sft.recipe import (  # noqa: E402
    DataSettings,
    LoraSettings,
    ModelSettings,
    Offload,
    TrainConfig,
    ZeroSettings,
)
from sft.training._universal import (  # noqa: E402
    cannot_convert,
    is_converted,
    needs_conversion,
    to_universal,
)

TIMEOUT = 240.0
FIRST, SECOND, LAST = 3, 6, 9
"""Steps after which the number of processes changes, from two to another and back; the last."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is trained."""

    stage: int
    dtype: str = "float32"
    tied: bool = False
    """Whether the embedding is the head too."""
    sub_group: int = 0
    """Largest number of weights that ZeRO 3 updates at once; 0: all of a group."""
    fused: bool = False
    between: int = 1
    """How many processes go on in the middle."""

    def __str__(self) -> str:
        return "-".join(
            [f"zero{self.stage}", self.dtype]
            + [name for name in ("tied", "sub_group", "fused") if getattr(self, name)]
            + [f"2-{self.between}-2"]
        )

    @property
    def bound(self) -> float:
        """Largest difference, relative, of a loss or of a weight matrix."""
        return 1e-5 if self.dtype == "float32" else 1e-3

    def job(self, name: str, folder: Path, **fields: Any) -> dict[str, Any]:
        """A job of the worker."""
        return {
            "name": name,
            "folder": str(folder),
            "stage": self.stage,
            "dtype": self.dtype,
            "bf16": self.dtype == "bfloat16",
            "tied": self.tied,
            "sub_group": self.sub_group,
            "fused": self.fused,
            "load": None,
            "repair": True,
            "save": False,
            "seed": 1,
            **fields,
        }


QUICK = [Case(stage) for stage in range(4)]
SLOW = [
    *(Case(stage, "bfloat16") for stage in (1, 2, 3)),
    *(replace(Case(stage), tied=True) for stage in (2, 3)),
    *(replace(Case(stage), fused=True) for stage in (2, 3)),
    *(Case(3, dtype, sub_group=3000) for dtype in ("float32", "bfloat16")),
    *(Case(stage, between=3) for stage in range(4)),
]


def launch(jobs: list[dict[str, Any]], world: int, folder: Path) -> None:
    """Have so many processes do the jobs."""
    file = folder / f"jobs-{len(list(folder.glob('jobs-*')))}.json"
    file.write_text(json.dumps(jobs))
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    environment = {
        **os.environ,
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    said = [(folder / f"{file.stem}-{rank}.txt").open("w+") for rank in range(world)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.universal_worker", str(file)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=said[rank],
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        for rank in range(world)
    ]
    try:
        deadline = time.monotonic() + TIMEOUT
        for process, text in zip(processes, said, strict=True):
            code = process.wait(deadline - time.monotonic())
            text.seek(0)
            assert code == 0, text.read()[-3000:]
    finally:
        for process, text in zip(processes, said, strict=True):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            text.close()


def converted(state: Path, stage: int) -> str:
    """What another number of processes loads."""
    if not needs_conversion(stage):
        return str(state)
    target = state.with_name(f"universal-{state.name}")
    to_universal(state, target)
    return str(target)


def train(cases: list[Case], root: Path) -> dict[Case, dict[str, Any]]:
    """Train each case by two processes, and by two, another number, and two.

    Every engine begins with other random weights: whatever a state does not restore shows.
    """
    # A plain name, and one that would be a pattern or a set of shell words.
    places = {case: (root / str(case) / "whole", root / str(case) / "a (b)+ c") for case in cases}
    jobs = []
    for case, (whole, parts) in places.items():
        whole.mkdir(parents=True)
        parts.mkdir()
        jobs += [
            case.job("whole", whole, steps=[0, LAST]),
            case.job("two", parts, steps=[0, FIRST], save=True),
        ]
    launch(jobs, 2, root)
    for world in sorted({case.between for case in cases}):
        jobs = []
        for case in (case for case in cases if case.between == world):
            parts = places[case][1]
            at = {
                "steps": [FIRST, SECOND],
                "load": converted(parts / f"step-{FIRST:08d}", case.stage),
                "seed": 2,
            }
            jobs += [
                case.job("between", parts, save=True, **at),
                case.job("bare", parts, repair=False, **at),
            ]
        launch(jobs, world, root)
    jobs = [
        case.job(
            "again",
            parts,
            steps=[SECOND, LAST],
            load=converted(parts / f"step-{SECOND:08d}", case.stage),
            seed=3,
        )
        for case, (_, parts) in places.items()
    ]
    launch(jobs, 2, root)
    return {
        case: {"whole": torch.load(whole / "whole.pt")}
        | {name: torch.load(parts / f"{name}.pt") for name in ("two", "between", "bare", "again")}
        for case, (whole, parts) in places.items()
    }


Trained = dict[Case, dict[str, Any]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("universal")


@pytest.fixture(scope="module")
def quick(root: Path) -> Trained:
    return train(QUICK, root)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return train(SLOW, tmp_path_factory.mktemp("universal-slow"))


def differences(found: list[float], expected: list[float]) -> list[float]:
    return [abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True)]


def require_same(case: Case, trained: Trained) -> None:
    runs = trained[case]
    whole = runs["whole"]
    losses = [loss for part in ("two", "between", "again") for loss in runs[part]["losses"]]
    assert max(differences(losses, whole["losses"])) < case.bound
    assert runs["again"]["weights"].keys() == whole["weights"].keys()
    for name, weight in whole["weights"].items():
        difference = (runs["again"]["weights"][name] - weight).norm() / weight.norm()
        assert difference < case.bound, name
    # The settings of both groups, and the steps that each of their weights has had.
    for part, steps in (("between", FIRST), ("again", SECOND)):
        assert runs[part]["decays"] == [0.1, 0.0]
        assert set(runs[part]["counts"]) == {steps}


@pytest.mark.parametrize("case", QUICK, ids=str)
def test_two_processes_one_and_two_train_as_two(case: Case, quick: Trained) -> None:
    require_same(case, quick)


@pytest.mark.slow
@pytest.mark.parametrize("case", SLOW, ids=str)
def test_so_they_do_whatever_is_trained(case: Case, slow: Trained) -> None:
    require_same(case, slow)


def test_the_training_is_one_that_would_show_it(quick: Trained) -> None:
    """The weights move by far more than the bounds, so that a lost step or state is seen."""
    for runs in quick.values():
        for name, weight in runs["two"]["weights"].items():
            moved = (runs["whole"]["weights"][name] - weight).norm() / weight.norm()
            assert moved > 1e-3, name


def test_without_the_repair_zero_3_trains_something_else(quick: Trained) -> None:
    """If this fails, DeepSpeed has mended its loading, and the repair may go."""
    runs = quick[Case(3)]
    assert runs["bare"]["decays"] == [0.1, 0.1]
    assert runs["bare"]["shared"] == 1
    wrong = differences(runs["bare"]["losses"], runs["whole"]["losses"][FIRST:SECOND])
    assert wrong[-1] > 10 * Case(3).bound


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_the_other_stages_need_no_repair_on_a_cpu_and_take_none(stage: int, quick: Trained) -> None:
    runs = quick[Case(stage)]
    assert runs["bare"]["losses"] == runs["between"]["losses"]
    for name, weight in runs["bare"]["weights"].items():
        assert torch.equal(runs["between"]["weights"][name], weight)


@pytest.mark.parametrize("stage", [1, 3])
def test_a_conversion_is_whole_or_not_there(
    stage: int, root: Path, quick: Trained, tmp_path: Path
) -> None:
    assert quick
    state = tmp_path / "step"
    shutil.copytree(root / str(Case(stage)) / "a (b)+ c" / f"step-{FIRST:08d}", state)
    target = tmp_path / "universal"
    left = tmp_path / ".part-universal"
    (left / "out" / "zero").mkdir(parents=True)  # of an attempt that was killed
    one = next(iter(sorted(state.glob("*optim_states.pt"))))
    whole = one.read_bytes()
    one.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(PlumblineError, match=r"could not convert this state .*as wrote it"):
        to_universal(state, target)
    assert not target.exists() and not left.exists()
    one.write_bytes(whole)
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    to_universal(state, target)
    assert is_converted(target) and not is_converted(state)
    assert {path.name for path in tmp_path.iterdir()} == {"step", "universal"}
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before
    # What is there is not made again.
    marks = {path: path.stat().st_mtime_ns for path in target.rglob("*")}
    to_universal(state, target)
    assert {path: path.stat().st_mtime_ns for path in target.rglob("*")} == marks


def test_what_was_not_tried_is_refused() -> None:
    plain = TrainConfig(
        name="a", path=Path("a.yaml"), model=ModelSettings(), data=DataSettings(folder=Path())
    )
    assert [cannot_convert(stage, stage, plain) for stage in range(4)] == [None] * 4
    assert cannot_convert(3, 2, plain) == "it is of ZeRO stage 3, and stage 2 is used now"
    lora = replace(plain, lora=LoraSettings())
    assert "adapters" in (cannot_convert(2, 2, lora) or "")
    offload = replace(plain, zero=ZeroSettings(stage=2, offload=Offload.OPTIMIZER))
    assert "offload" in (cannot_convert(2, 2, offload) or "")
