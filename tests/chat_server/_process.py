"""The server as tests hold it: a process of its own for the span of a ``with`` block."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from dataclasses import asdict
from pathlib import Path
from typing import Any

import orjson

from tests.chat_server._behaviour import Behaviour


class ChatServer:
    """The server in a process of its own, for the span of a ``with`` block.

    ``stop`` and ``start`` inside the block make an outage: the port stays, the record is lost.
    """

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

    def __enter__(self) -> ChatServer:
        """Start."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def start(self) -> None:
        """Start the process and wait until it listens."""
        options = ["--config", json.dumps(asdict(self.behaviour)), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.chat_server", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[2],
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.stop()
            raise RuntimeError("the chat server did not start")
        self.port = json.loads(line)["port"]

    def stop(self) -> None:
        """End the process and wait until it is gone."""
        if (process := self.process) is None:
            return
        assert process.stdin is not None and process.stdout is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    @property
    def base_url(self) -> str:
        """What an OpenAI client takes as ``base_url``."""
        return f"http://127.0.0.1:{self.port}/v1"

    def spec(self, model: str = "judge") -> str:
        """The endpoint and a model of it, in one string."""
        return f"{self.base_url}#{model}"

    def stats(self) -> dict[str, Any]:
        """Counts since the last reset.

        ``requests``; ``completed`` (200s fully written, whatever they held); ``abandoned`` (the
        client left before the reply was written); ``in_flight``, ``max_in_flight``; ``faults``
        (served, by kind); ``refused`` (not admitted, by reason: api_key, unreadable, model,
        rate_limit, json_schema, json_object, parameter); ``operations`` on files and batches, by
        name; and by body: ``per_key`` (complete replies), ``per_key_good`` (those in order),
        ``per_key_attempts`` (admitted requests). A line of a batch counts as a complete reply
        when the batch has ended and somebody looked at it.
        """
        stats: dict[str, Any] = self._call("/stats")
        return stats

    def log(self) -> list[dict[str, Any]]:
        """Requests and lines of batches by arrival.

        Each has ``key``, ``outcome``, ``at``, ``complete`` and perhaps ``body`` and ``batch``.
        """
        log: list[dict[str, Any]] = self._call("/log")
        return log

    def reset(self) -> None:
        """Forget counts, log, attempt numbers, cache, files and batches; scripts restart."""
        self._call("/reset", {})

    def configure(self, behaviour: Behaviour) -> None:
        """Switch the behaviour for requests that arrive from now on."""
        self.behaviour = behaviour
        self._call("/configure", asdict(behaviour))

    def _call(self, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else orjson.dumps(body)
        with self._open(f"http://127.0.0.1:{self.port}{path}", data, timeout=30) as reply:
            return orjson.loads(reply.read())
