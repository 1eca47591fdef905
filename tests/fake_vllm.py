"""Stands for the ``vllm`` command: a server that lists a model, and misbehaves as told.

FAKE_VLLM is a JSON object: ``ready_after`` (seconds), ``die_when`` (a file: once it is there,
death with exit status 3), ``die`` (at the start), ``hang`` (never listens), ``ignore_term``,
``child`` (leaves a process in a session of its own). What it was started with goes to
``FAKE_VLLM_SEEN`` as JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

told = json.loads(os.environ.get("FAKE_VLLM", "{}"))
arguments = sys.argv[1:]


def value_of(flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == f"Bearer {os.environ['VLLM_API_KEY']}"
        self.send_response(200 if known else 401)
        self.end_headers()
        listed = {"data": [{"id": value_of("--served-model-name")}]} if known else {}
        self.wfile.write(json.dumps(listed).encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


def die_when(file: Path) -> None:
    while not file.exists():
        time.sleep(0.02)
    print("RuntimeError: the engine broke", flush=True)
    os._exit(3)


def main() -> None:
    print("Loading weights", flush=True)
    if told.get("ignore_term"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    pids = [os.getpid()]
    if told.get("child"):
        sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
        pids.append(subprocess.Popen(sleeper, start_new_session=True).pid)
    seen = {"arguments": arguments, "environment": dict(os.environ), "pids": pids}
    if path := os.environ.get("FAKE_VLLM_SEEN"):
        Path(path).with_suffix(".part").write_text(json.dumps(seen))
        Path(path).with_suffix(".part").replace(path)
    if told.get("die"):
        print("ValueError: no such thing as this model", flush=True)
        sys.exit(1)
    if told.get("hang"):
        time.sleep(600)
    time.sleep(told.get("ready_after", 0))
    server = ThreadingHTTPServer(("127.0.0.1", int(value_of("--port"))), Handler)
    if "die_when" in told:
        threading.Thread(target=die_when, args=(Path(told["die_when"]),), daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main()
