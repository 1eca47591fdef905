"""A scripted server for series of nights: it plays candidate, judge and webhook. All is synthetic.

What it says is a pure function of the request's body, the model that is asked, and `night`, which
the test sets:

    quality(question, c, seed)  = level(question, c) + answer_noise N(0, 1) - (drop, on ``dropped``
                                  from night ``drop_from`` on)
    seen(answer, c)             = quality + judge_noise N(0, 1) + (shift, from ``shift_from`` on)

The candidate writes its quality into the answer as [[truth.c=x]], where the judge reads it. The
judge's level is ``seen`` on the scale of the request, rounded up with the probability of its
fraction, so that its mean is exact. An answer without tags has quality 0. The draws of a night are
those of another night's only by accident, and the same whenever a night is repeated.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import NormalDist
from typing import Any

from tests.chat_server._shape import Single, Wanted, draw
from tests.support import JUDGE, json_of

CANDIDATE, JUDGE_MODEL = "candidate", "grader"
CRITERIA = ("depth", "order", "tact")
_TAG = re.compile(r"\[\[truth\.(\w+)=([0-9.]+)\]\]")
_NORMAL = NormalDist()


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """What is planted; nights are counted from 1, and 0 means never."""

    shift_from: int = 0
    shift: float = -0.08
    drop_from: int = 0
    drop: float = 0.15
    dropped: str = "depth"
    answer_noise: float = 0.06
    judge_noise: float = 0.05


class MonthServer:
    """The server, for the span of a ``with`` block; requests are counted by what is asked for.

    ``requests`` counts arrivals of the kinds "answer", "verdict" and "hook". ``night`` is what the
    script goes by; ``latency_s`` is how long an answer or a verdict takes. Once ``pause_at``
    requests have arrived, replies wait until `resume`.
    """

    def __init__(self, script: Script | None = None) -> None:
        self.script = script or Script()
        self.night = 1
        self.latency_s = 0.0
        self.pause_at: int | None = None
        self.requests: Counter[str] = Counter()
        self.posts: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._going = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._port = 0

    def __enter__(self) -> MonthServer:
        """Listen."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Listen, on the port of before if there was one."""
        self._server = _Server(("127.0.0.1", self._port), _handler(self))
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Refuse connections; those that are open are dropped."""
        self.resume()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def hook_url(self) -> str:
        """Where messages are posted to."""
        return f"http://127.0.0.1:{self._port}/hook"

    def spec(self, model: str) -> str:
        """A model of the server."""
        return f"http://127.0.0.1:{self._port}/v1#{model}"

    @property
    def asked(self) -> int:
        """Requests to models so far."""
        with self._lock:
            return self.requests["answer"] + self.requests["verdict"]

    def resume(self) -> None:
        """Let replies go that wait, and those to come."""
        with self._lock:
            self.pause_at = None
            self._going.set()

    def wait_for(self, requests: int, *, timeout_s: float = 60.0) -> None:
        """Wait until that many requests to models have arrived."""
        until = time.monotonic() + timeout_s
        while self.asked < requests:
            if time.monotonic() > until:
                raise TimeoutError(f"{self.asked} of {requests} requests within {timeout_s} s")
            time.sleep(0.005)

    def reply(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """What a request gets: a status and an object."""
        if path == "/hook":
            with self._lock:
                self.requests["hook"] += 1
                self.posts.append(body)
            return 200, {}
        wanted = Wanted(body)
        kind = "answer" if body["model"] == CANDIDATE else "verdict"
        with self._lock:
            self.requests[kind] += 1
            arrived = self.requests["answer"] + self.requests["verdict"]
            waits = self.pause_at is not None and arrived > self.pause_at
            if waits:
                self._going.clear()
        if waits:
            self._going.wait(60)
        if self.latency_s:
            time.sleep(self.latency_s)
        text = self._answer(wanted) if kind == "answer" else self._verdict(wanted)
        usage = {"prompt_tokens": len(wanted.prompt) // 4, "completion_tokens": len(text) // 4}
        message = {"role": "assistant", "content": text}
        return 200, {
            "id": "scripted", "object": "chat.completion", "created": 0, "model": body["model"],
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {**usage, "total_tokens": sum(usage.values())},
        }  # fmt: skip

    def _answer(self, wanted: Wanted) -> str:
        script, tags = self.script, []
        for name in CRITERIA:
            x = 0.5 + 0.35 * draw("level", wanted.prompt, name)
            x += script.answer_noise * normal("answer", self.night, wanted.key, name)
            if name == script.dropped and 0 < script.drop_from <= self.night:
                x -= script.drop
            tags.append(f"[[truth.{name}={min(max(x, 0.0), 1.0):.4f}]]")
        return f"A made-up answer. {' '.join(tags)}"

    def _verdict(self, wanted: Wanted) -> str:
        script, name, shape = self.script, wanted.criterion, wanted.shape
        assert isinstance(shape, Single), "the server judges one criterion per call"
        x = dict(_TAG.findall(wanted.marked.get("ANSWER", ""))).get(name, 0)
        seen = float(x) + script.judge_noise * normal("seen", self.night, wanted.key)
        if 0 < script.shift_from <= self.night:
            seen += script.shift
        share = min(max(seen, 0.0), 1.0) * (len(shape.levels) - 1)
        level = int(share) + (draw("rounding", self.night, wanted.key) < share - int(share))
        verdict = {"evidence": [], "rationale": "Made up.", "level": shape.levels[level]}
        return json.dumps(verdict)


def normal(*parts: object) -> float:
    """A standard normal number that depends on nothing but ``parts``."""
    return _NORMAL.inv_cdf(min(max(draw(*parts), 1e-9), 1 - 1e-9))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, *_: object) -> None:
        """A client that was killed breaks its connections: nothing to report."""


def _handler(server: MonthServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            status, value = server.reply(self.path, json.loads(raw))
            data = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler


def write_inputs(folder: Path, *, questions: int, anchors: int) -> None:
    """Questions, a rubric, and twice as many rated answers as ``anchors`` (all synthetic).

    ``rated.jsonl`` and ``ratings.jsonl`` are for ``judge import``: half of what is rated may become
    anchors.
    """
    ids = [f"q{number:02d}" for number in range(questions)]
    about = {"domain": "general", "category": "fact", "language": "en"}
    asked = [{"question_id": name, "question": f"SYNTHETIC: what is {name}?"} | about
             for name in ids]  # fmt: skip
    _dump(folder / "questions.yaml", {"name": "made-up", "questions": asked})
    criteria = [
        {
            "id": name, "name": name.title(), "priority": "P1",
            "definition": f"How much {name} the answer shows.",
            "levels": [{"level": n, "description": f"{n} of 5 signs of {name}."}
                       for n in range(6)],
        }
        for name in CRITERIA
    ]  # fmt: skip
    about_rubric = {"name": "made-up", "version": 1, "description": "SYNTHETIC."}
    _dump(folder / "rubric.yaml", {**about_rubric, "criteria": criteria})
    rated, ratings = [], []
    for number in range(2 * anchors):
        place = {"question_id": ids[number % questions], "model": "made-up",
                 "sample": number // questions}  # fmt: skip
        truth = {name: 0.25 + 0.6 * draw("rated", number, name) for name in CRITERIA}
        tags = " ".join(f"[[truth.{name}={x:.4f}]]" for name, x in truth.items())
        rated.append({**place, "answer": f"A made-up rated answer, number {number}. {tags}"})
        for name, x in truth.items():
            person = x + 0.1 * normal("person", number, name)
            ratings.append({**place, "criterion": name, "rater": "synthetic-rater",
                            "rating": round(5 * min(max(person, 0.0), 1.0)),
                            "scale_min": 0, "scale_max": 5})  # fmt: skip
    for name, rows in (("rated", rated), ("ratings", ratings)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_config(folder: Path, name: str = "nightly.yaml", /, **fields: Any) -> Path:
    """A configuration of a series on these inputs; ``fields`` replace its own."""
    config = {
        "series": "bot", "ledger": "sqlite:///ledger.db", "out": "site",
        "questions": "questions.yaml", "rubric": "rubric.yaml", **fields,
    }  # fmt: skip
    path = folder / name
    _dump(path, config)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A configuration, run by the real command in processes of their own."""

    config: Path
    env: dict[str, str]

    @classmethod
    def of(cls, config: Path, hook: str = "") -> Series:
        """A series whose runs know no other ledger than the configuration's."""
        env = {name: value for name, value in os.environ.items() if name != "PLUMBLINE_LEDGER"}
        return cls(config=config, env={**env, "MONTH_HOOK": hook, "OMP_NUM_THREADS": "1"})

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Any command beside the configuration, to its end."""
        process = self.start(*arguments)
        return finished(process)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """A command that runs; in a process group of its own."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [str(JUDGE), *arguments], cwd=self.config.parent, env=self.env, stdout=pipe,
            stderr=pipe, text=True, start_new_session=True,
        )  # fmt: skip

    def night(self, date: str, *more: str) -> subprocess.CompletedProcess[str]:
        """One night."""
        return self.command("nightly", str(self.config), "--date", date, "--json", *more)

    def facts(self, date: str, *more: str) -> tuple[int, dict[str, Any]]:
        """One night: its exit code and what --json says of it."""
        done = self.night(date, *more)
        assert done.returncode in {0, 10, 11}, done.stderr
        return done.returncode, json_of(done)

    def import_anchors(self) -> None:
        """Import the rated answers."""
        ledger = ("--ledger", f"sqlite:///{self.config.parent / 'ledger.db'}")
        for kind, name in (("answers", "rated.jsonl"), ("ratings", "ratings.jsonl")):
            done = self.command("import", kind, name, *ledger)
            assert done.returncode == 0, done.stderr


def finished(
    process: subprocess.Popen[str], timeout_s: float = 120.0
) -> subprocess.CompletedProcess[str]:
    """A process at its end; it is ended with its group if it does not come to one."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        kill(process)
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def kill(process: subprocess.Popen[str]) -> None:
    """End a process and its group without a warning."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1))  # JSON is YAML
