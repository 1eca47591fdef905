"""What `serving` promises, on a real vLLM (its CPU build) with a tiny random model."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest

from judge.endpoint import ChatEndpoint, Completion, ModelSpec, RetryPolicy, parse_spec, read_reply
from judge.errors import EndpointError
from judge.local_models import serving
from tests.vllm.conftest import CPU_ENVIRONMENT, ONE_PROCESS, SEVERAL_PROCESSES

ROOT = Path(__file__).resolve().parents[2]
VERDICT = {
    "type": "object",
    "properties": {
        "evidence": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
        "rationale": {"type": "string"},
        "level": {"type": ["integer", "null"], "enum": [0, 1, 2, 3, 4, 5, None]},
    },
    "required": ["evidence", "rationale", "level"],
    "additionalProperties": False,
}


def ask_many(served: ModelSpec, several: list[dict[str, Any]]) -> list[Completion]:
    """Send requests at once, through the client of the project."""
    base = {
        "model": served.model,
        "messages": [{"role": "user", "content": "Grade this answer. " * 40}],
        "max_tokens": 16,
        "temperature": 0,
    }

    async def send() -> list[Completion]:
        retry = RetryPolicy(max_attempts=1)
        async with ChatEndpoint(served, retry=retry, timeout_s=300) as endpoint:
            bodies = [json.dumps({**base, **changes}).encode() for changes in several]
            return await asyncio.gather(*(endpoint.complete(body, 16) for body in bodies))

    return asyncio.run(send())


def ask(served: ModelSpec, **changes: Any) -> Completion:
    return ask_many(served, [changes])[0]


def text_of(completion: Completion) -> str:
    return read_reply(completion.status_code, completion.body).text or ""


def test_a_chat_with_the_models_name(tiny_vllm: ModelSpec, tiny_model: Path) -> None:
    assert tiny_vllm.model == str(tiny_model)
    completion = ask(tiny_vllm, max_tokens=5)
    assert completion.usage.completion_tokens == 5
    assert json.loads(completion.body)["model"] == str(tiny_model)


def test_nobody_else_may_use_it(tiny_vllm: ModelSpec) -> None:
    with pytest.raises(EndpointError, match="refuses the key"):
        ask(tiny_vllm.served_at(str(tiny_vllm.base_url), "a guess"))


def test_replies_under_a_schema_are_valid_or_cut_off_and_say_so(tiny_vllm: ModelSpec) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "v", "strict": True, "schema": VERDICT}}
    wanted = [
        {"response_format": form, "seed": seed, "temperature": 1.0, "max_tokens": 300}
        for seed in range(24)
    ]
    whole = 0
    for completion in ask_many(tiny_vllm, wanted):
        reply = read_reply(completion.status_code, completion.body)
        if reply.finish_reason == "length":
            continue
        assert reply.finish_reason == "stop"
        verdict = json.loads(reply.text or "")
        jsonschema.validate(verdict, VERDICT)
        assert list(verdict) == list(VERDICT["properties"])  # type: ignore[call-overload]
        whole += 1
    assert whole >= 12


def test_a_shared_prefix_is_computed_once_and_counted(tiny_vllm: ModelSpec) -> None:
    shared = "The answer that all criteria share stands here, word for word. " * 30
    first, second = (
        ask(tiny_vllm, messages=[{"role": "user", "content": f"{shared}Criterion {name}."}])
        for name in ("tact", "truth")
    )
    assert first.usage.cached_tokens == 0
    assert second.usage.cached_tokens is not None and second.usage.prompt_tokens is not None
    assert second.usage.cached_tokens > 0.8 * second.usage.prompt_tokens


def test_log_probabilities_come_along(tiny_vllm: ModelSpec) -> None:
    completion = ask(tiny_vllm, logprobs=True, top_logprobs=20, max_tokens=8)
    (choice,) = json.loads(completion.body)["choices"]
    content = choice["logprobs"]["content"]
    assert len(content) == 8
    for token in content:
        values = [other["logprob"] for other in token["top_logprobs"]]
        assert len(values) >= 20
        assert values == sorted(values, reverse=True)
        assert token["logprob"] == values[0]


def test_our_own_server_gives_the_same(tiny_vllm: ModelSpec, tiny_model: Path) -> None:
    # Two independent implementations, one model: the same tokens with the same probabilities.
    asked = {"logprobs": True, "top_logprobs": 20, "max_tokens": 40}
    theirs = ask(tiny_vllm, **asked)
    with serving(parse_spec(f"hf:{tiny_model}")) as served:
        ours = ask(served, **asked)
    # Of a character that the limit cuts in two, vLLM shows nothing and we show that it is cut.
    assert text_of(ours).rstrip("\N{REPLACEMENT CHARACTER}") == text_of(theirs)
    assert ours.usage.prompt_tokens == theirs.usage.prompt_tokens
    pairs = zip(
        *(json.loads(c.body)["choices"][0]["logprobs"]["content"] for c in (ours, theirs)),
        strict=True,
    )
    for our, their in pairs:
        assert our["token"].rstrip("\N{REPLACEMENT CHARACTER}") == their["token"]
        assert our["logprob"] == pytest.approx(their["logprob"], abs=1e-3)
        for alternatives in (our, their):
            alternatives["values"] = [t["logprob"] for t in alternatives["top_logprobs"]][:20]
        assert our["values"] == pytest.approx(their["values"], abs=1e-3)


def test_the_models_own_sampling_defaults_are_not_applied(tiny_vllm: ModelSpec) -> None:
    # Its generation_config.json asks for temperature 0.01, at which all seeds agree.
    several = [{"seed": seed, "temperature": None} for seed in range(4)]
    assert len({text_of(completion) for completion in ask_many(tiny_vllm, several)}) == 4
    cold = [{"seed": seed, "temperature": 0.01} for seed in range(4)]
    assert len({text_of(completion) for completion in ask_many(tiny_vllm, cold)}) == 1


def test_a_prompt_that_is_too_long_ends_its_unit(tiny_vllm: ModelSpec) -> None:
    long = ask(tiny_vllm, messages=[{"role": "user", "content": "tax " * 9000}])
    reply = read_reply(long.status_code, long.body)
    assert (long.status_code, reply.error_code) == (400, "context_length_exceeded")


def test_an_idle_connection_outlives_our_clients_patience(tiny_vllm: ModelSpec) -> None:
    # Left to itself the server closes after 5 s, when our client may be about to send.
    connection = http.client.HTTPConnection(str(urlsplit(str(tiny_vllm.base_url)).netloc))
    try:
        connection.request("GET", "/health")
        assert connection.getresponse().read() is not None
        socket = connection.sock
        time.sleep(6.0)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        assert connection.sock is socket
    finally:
        connection.close()


def servers_of(folder: Path) -> list[int]:
    """The processes of the servers of a model, those that they started included."""
    found, parents = set(), {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            command = (entry / "cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state in "ZX":
            continue
        parents[int(entry.name)] = int(parent)
        if b"serve" in command and str(folder).encode() in command:
            found.add(int(entry.name))
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def wait_for(condition: Callable[[], bool], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.1)


@pytest.fixture
def another_model(tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The tiny model under a name of its own, so that its processes can be told apart."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for the logs of those that fail
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    link = tmp_path / "another"
    link.mkdir()
    for file in tiny_model.iterdir():
        (link / file.name).symlink_to(file)
    return link


def test_a_server_that_is_killed_in_a_run_gives_a_clear_error(
    another_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**CPU_ENVIRONMENT, **SEVERAL_PROCESSES}.items():
        monkeypatch.setenv(name, value)
    spec = parse_spec(f"vllm:{another_model}?dtype=float32&max_model_len=512")
    killed = pytest.raises(EndpointError, match="killed by SIGKILL")
    with killed as raised, serving(spec, print) as served:
        assert ask(served).status_code == 200
        processes = servers_of(another_model)
        assert len(processes) >= 3  # the guard, the server, its engine
        (server,) = (pid for pid in processes if is_server(pid))
        os.kill(server, signal.SIGKILL)
        ask(served)
    assert "Finished work is kept" in str(raised.value)
    assert "server.log" in str(raised.value)
    assert servers_of(another_model) == []


def is_server(pid: int) -> bool:
    """Whether a process is the server itself, neither its guard nor its engine."""
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    return b"serve" in command.split(b"\0") and b"_guard.py" not in command


@pytest.mark.parametrize("after_s", [3.0, 12.0])
def test_nothing_is_left_if_we_are_killed_while_it_starts(
    another_model: Path, after_s: float
) -> None:
    # vLLM does not heed SIGTERM at this time.
    program = (
        "import sys\n"
        "from judge.endpoint import parse_spec\n"
        "from judge.local_models import serving\n"
        "with serving(parse_spec(sys.argv[1])):\n"
        "    pass\n"
    )
    ours = subprocess.Popen(
        [sys.executable, "-c", program, f"vllm:{another_model}?dtype=float32&max_model_len=512"],
        cwd=ROOT,
        env={**os.environ, **CPU_ENVIRONMENT, **ONE_PROCESS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: any(map(is_server, servers_of(another_model))), 60)
        time.sleep(after_s)
        assert ours.poll() is None
    finally:
        ours.kill()
        ours.wait()
    wait_for(lambda: not servers_of(another_model), 30)
