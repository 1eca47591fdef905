"""What a run is refused for before it begins: file, line, field, remedy, and no folder left."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.training_data import SCRATCH, blended, write_config

torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("deepspeed", reason="needs the extra train")
pytestmark = pytest.mark.train
__all__ = ["blended"]

from sft.cli import _estimates  # noqa: E402
from sft.errors import PlumblineError, UsageError  # noqa: E402
from sft.recipe import load_train_config, place  # noqa: E402
from sft.training import TrainingData, _model, _run, require_context  # noqa: E402
from sft.training._held_out import HeldOut  # noqa: E402
from sft.training._model import context_length, model_config  # noqa: E402
from sft.training._setup import require_possible  # noqa: E402


def line_of(config: Path, field: str) -> int:
    lines = config.read_text().splitlines()
    return next(n for n, text in enumerate(lines, 1) if re.search(rf"\b{field}:", text))


def test_a_sample_longer_than_the_model_s_context_is_refused(blended: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", blended)
    data = TrainingData.open(load_train_config(path))
    # A pack may be longer than the context, as long as every sample has room: here by a token.
    lengths, numbers = data._n_tokens, data.epochs[0].items
    longest = int(sorted(set(lengths[numbers]))[-2])
    kept = replace(data.epochs[0], items=numbers[lengths[numbers] <= longest])
    data.epochs = [kept]
    assert data.length > longest > 16 and data.longer_than(0)[1] == longest

    def possible(context: int) -> None:
        shape = {**SCRATCH, "max_position_embeddings": context}
        write_config(path, blended, model={"scratch": shape})
        require_possible(load_train_config(path), data)

    possible(longest)
    with pytest.raises(UsageError, match=r"max_position_embeddings") as refused:
        possible(longest - 1)
    line = line_of(path, "max_position_embeddings")
    said = str(refused.value)
    assert said.startswith(f"{path}:{line}: model.scratch.max_position_embeddings: found a context")
    assert f"context of {longest - 1} tokens" in said and f"up to {longest} tokens" in said
    assert f"at most {longest - 1} and run sft blend again" in said
    assert f"set max_position_embeddings to {longest} or more" in said


def test_held_out_samples_and_the_dry_run_know_the_context_too(
    blended: Path, tmp_path: Path
) -> None:
    shape = {**SCRATCH, "max_position_embeddings": 16}
    path = write_config(tmp_path / "c.yaml", blended, model={"scratch": shape})
    config = load_train_config(path)
    with pytest.raises(UsageError, match="a context of 16 tokens"):
        _estimates.show(config, processes=1, gpu="H100", as_json=False)
    samples = [SimpleNamespace(tokens=range(n)) for n in (3, 17, 16, 20)]
    held: Any = [samples[:2], samples[2:]]
    part = HeldOut(packs=held, tokens=1)
    with pytest.raises(UsageError, match=r"2 of the samples of data.held_out.x .* up to 20"):
        require_context(config, model_config(config), "of data.held_out.x", part.longer_than)


@pytest.mark.parametrize(
    ("fields", "context"),
    [
        ({}, 4096),
        # Linear, with the context before scaling in the file: 4 x 4096.
        ({"rope_scaling": {"rope_type": "linear", "factor": 4.0}}, 16384),
        # The context after scaling in the file already: 8 x 512.
        (
            {"rope_scaling": {
                "rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 512,
            }},
            4096,
        ),
        # Scaling that does not reach what the field says changes nothing.
        (
            {"rope_scaling": {
                "rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 512,
            }},
            4096,
        ),
    ],
)  # fmt: skip
def test_the_context_is_what_scaling_stretches_it_to(fields: dict[str, Any], context: int) -> None:
    from transformers import LlamaConfig

    assert context_length(LlamaConfig(max_position_embeddings=4096, **fields)) == context


def test_contexts_of_other_models() -> None:
    from transformers import BloomConfig, Gemma3TextConfig, GPT2Config

    assert context_length(GPT2Config(n_positions=1024)) == 1024
    assert context_length(BloomConfig()) is None
    kinds = {
        "full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    gemma = Gemma3TextConfig(max_position_embeddings=1024, rope_parameters=kinds)
    assert context_length(gemma) == 8192


def test_a_misspelt_folder_is_said_after_one_try(blended: Path, tmp_path: Path) -> None:
    """Nothing listens on port 9 of this machine: the hub cannot be reached."""
    path = write_config(tmp_path / "c.yaml", blended, model={"scratch": None})
    path.write_text(path.read_text().replace("scratch: null", "path: models/nope"))
    assert load_train_config(path).model.path == "models/nope"
    outside = {n: v for n, v in os.environ.items() if not n.startswith(("HF_", "TRANSFORMERS_"))}
    environment = {
        **outside, "OMP_NUM_THREADS": "1", "HF_ENDPOINT": "http://127.0.0.1:9",
        "HF_HOME": str(tmp_path / "hub"), "NO_PROXY": "127.0.0.1",
    }  # fmt: skip
    for more in ([], ["--dry-run"]):
        done = subprocess.run(
            [sys.executable, "-m", "sft", "train", str(path), "--out", str(tmp_path / "a"), *more],
            capture_output=True, text=True, timeout=60, env=environment, cwd=tmp_path,
        )  # fmt: skip
        assert done.returncode == 2
        assert f"c.yaml:{line_of(path, 'path')}: model.path: found models/nope, which is no" in (
            done.stderr
        )
        assert "http://127.0.0.1:9 cannot be reached" in done.stderr
        assert "Retrying" not in done.stderr
        assert not (tmp_path / "a").exists()


def test_a_long_reason_is_cut_between_words() -> None:
    said = _model._first_lines(ValueError("see https://example.org/a/long/path " * 20 + "end."))
    assert said.endswith(" see …") and len(said) <= 300
    assert _model._first_lines(ValueError("No.")) == "No"


@pytest.mark.parametrize(
    ("field", "value"), [("attention", "varlen"), ("compile", True)], ids=["varlen", "compile"]
)
def test_what_needs_a_gpu_is_refused_with_its_line_and_leaves_nothing(
    blended: Path, tmp_path: Path, field: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    path = write_config(tmp_path / "c.yaml", blended, model={field: value, "precision": "bf16"})
    out = tmp_path / "out" / "run"
    progress: Any = None
    place_of_it = rf"c\.yaml:{line_of(path, field)}: model\.{field}: found {str(value).lower()}"
    with pytest.raises(UsageError, match=rf"{place_of_it}, which needs a CUDA GPU"):
        _run.train(load_train_config(path), out, progress=progress)
    assert not (tmp_path / "out").exists()


def test_a_refused_run_takes_back_the_folders_that_it_made(tmp_path: Path) -> None:
    def refused(out: Path, *files: str) -> None:
        with pytest.raises(PlumblineError), _run._leaving_nothing(out):
            out.mkdir(parents=True, exist_ok=True)
            for name in (".lock", *files):
                (out / name).touch()
            raise PlumblineError("no")

    (tmp_path / "out").mkdir()
    refused(tmp_path / "out" / "a" / "b")
    assert list((tmp_path / "out").iterdir()) == []
    refused(tmp_path / "out" / "a", "log.jsonl")
    assert (tmp_path / "out" / "a" / "log.jsonl").exists()
    (tmp_path / "mine").mkdir()
    refused(tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_the_place_of_a_setting(blended: Path, tmp_path: Path) -> None:
    path = write_config(tmp_path / "c.yaml", blended, optimizer={"clip": 2.0})
    config = load_train_config(path)
    clip = ["optimizer", "clip"]
    assert place(config, clip) == f"{path}:{line_of(path, 'clip')}: optimizer.clip"
    # The first that stands in the file; of none of them the section.
    assert place(config, ["lora", "targets"], clip) == place(config, clip)
    floor = place(config, ["optimizer", "floor"])
    assert floor == f"{path}:{line_of(path, 'optimizer')}: optimizer.floor"
    gone = replace(config, path=tmp_path / "gone.yaml")
    assert place(gone, clip) == f"{gone.path}: optimizer.clip"


def test_the_dry_run_of_a_run_on_a_cpu_reckons_with_the_cpu(
    blended: Path,
    tmp_path: Path,
    capsysbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """fp32 and ZeRO 2 in one process: weights 4 N, two buckets of 4 N, and no driver."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = load_train_config(write_config(tmp_path / "c.yaml", blended))

    def told(gpu: str | None) -> tuple[dict[str, Any], str]:
        _estimates.show(config, processes=None, gpu=gpu, as_json=True)
        out, errors = capsysbinary.readouterr()
        return json.loads(out)["dry_run"], errors.decode()

    found, said = told(None)
    assert (found["device"], found["gpu"], found["seconds"]) == ("cpu", None, None)
    weights = 4 * found["parameters"]
    parts = next(s for s in found["stages"] if s["wanted"])["parts"]
    assert (parts["weights"], parts["buckets"], parts["reserve"]) == (weights, 2 * weights, 0)
    assert "A100" not in said and "process on the CPU" in said
    assert "Time: not estimated for a CPU" in said
    assert not re.search(r"\b0\.0\b", said)
    assert {s["offload"] for s in found["stages"]} == {"none"}
    on_gpu, said = told("H100")
    assert (on_gpu["device"], on_gpu["gpu"]) == ("cuda", "H100 SXM")
    assert on_gpu["seconds"] > 0 and "0.0 s" not in said


def test_a_run_does_not_go_into_a_folder_of_training_data(blended: Path, tmp_path: Path) -> None:
    config = load_train_config(write_config(tmp_path / "c.yaml", blended))
    before = (blended / "report.html").read_bytes()
    progress: Any = None
    with pytest.raises(UsageError, match=r"holds training data .*--out"):
        _run.train(config, blended, progress=progress)
    assert (blended / "report.html").read_bytes() == before
