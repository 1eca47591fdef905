"""A tiny model behind a real vLLM, served as a user's run would serve it.

All tests of this folder are marked ``vllm`` and run only if they are asked for, by
PLUMBLINE_REQUIRE_VLLM=1 (``make test-vllm`` sets it); then a missing vLLM is a failure.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from judge.endpoint import ModelSpec, parse_spec
from judge.local_models import serving
from tests.vllm.tiny_model import make_tiny_model

# Small and quick to start on a CPU: no compilation, little memory, one process.
CPU_ARGS = "--enforce-eager --block-size 32 --kv-cache-memory-bytes 134217728 --max-num-seqs 32"
ONE_PROCESS_ARGS = f"{CPU_ARGS} --distributed-executor-backend uni"
CPU_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}
ONE_PROCESS = {"PLUMBLINE_VLLM_ARGS": ONE_PROCESS_ARGS, "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}
SEVERAL_PROCESSES = {"PLUMBLINE_VLLM_ARGS": CPU_ARGS, "VLLM_ENABLE_V1_MULTIPROCESSING": "1"}


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder; skip them where nobody asked for them."""
    wanted = bool(os.environ.get("PLUMBLINE_REQUIRE_VLLM"))
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.vllm)
            item.add_marker(pytest.mark.timeout(900))
            # Not ours: what the libraries warn about in their own code.
            item.add_marker(pytest.mark.filterwarnings("default"))
            if not wanted:
                item.add_marker(pytest.mark.skip(reason="needs a real vLLM: make test-vllm"))


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny model that takes 8192 tokens and ends its JSON more often than not."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", verdicts=True)


@pytest.fixture(scope="session")
def tiny_vllm(tiny_model: Path) -> Iterator[ModelSpec]:
    """The tiny model, served by vLLM for all tests of the session."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CPU_ENVIRONMENT, **ONE_PROCESS}.items():
            patch.setenv(name, value)
        with serving(parse_spec(f"vllm:{tiny_model}?dtype=float32"), print) as served:
            yield served
