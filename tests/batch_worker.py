"""A process that pre-fills a ledger in batches and kills itself at a named moment.

``python -m tests.batch_worker LEDGER SPEC COUNT MOMENT``: before or after an event is noted
(``before:submitted``), before or after calls are appended (``before:append``), or ``never``.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from judge.batching import BatchAccount, BatchSettings, prefill
from judge.canonical import canonical, digest
from judge.endpoint import ModelSpec, Prices, parse_spec
from judge.execution import CallRequest
from judge.ledger import BatchEvent, Ledger, open_ledger

SETTINGS: dict[str, Any] = {
    "poll_s": 0.02, "longest_poll_s": 0.1, "settle_s": 0.2, "first_wait_s": 0.01, "max_lines": 12,
}  # fmt: skip


def requests_of(count: int, **changes: Any) -> list[CallRequest]:
    """Calls with distinct bodies."""
    requests = []
    for number in range(count):
        messages = [{"role": "user", "content": f"Say {number}."}]
        body = canonical({"model": "judge", "messages": messages, "max_tokens": 50, **changes})
        key = digest(["call", number])
        requests.append(
            CallRequest(key=key, body=body, max_tokens=50, purpose="judge", sample=0, occasion="")
        )
    return requests


async def no_proof() -> None:
    """For servers that take everything."""


def filled(
    ledger: Ledger,
    spec: str | ModelSpec,
    requests: list[CallRequest],
    prices: Prices | None = None,
    prove: Callable[[], Any] = no_proof,
    **settings: Any,
) -> BatchAccount:
    """Pre-fill once, with quick retries unless said otherwise."""
    return asyncio.run(
        prefill(
            ledger,
            parse_spec(spec) if isinstance(spec, str) else spec,
            lambda: requests,
            prove=prove,
            prices=prices,
            settings=BatchSettings(**{**SETTINGS, **settings}),
        )
    )


def _killing(function: Callable[..., None], moment: str, name: Callable[..., str]) -> Any:
    when, _, what = moment.partition(":")

    def wrapped(*args: Any, **options: Any) -> None:
        matches = name(*args, **options) == what
        if matches and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        function(*args, **options)
        if matches and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)

    return wrapped


def _status(event: BatchEvent) -> str:
    return event.status


def _append(*, calls: Any = (), attempts: Any = (), verdicts: Any = ()) -> str:
    return "append" if calls else "attempts"


def main(ledger_path: str, spec: str, count: str, moment: str) -> None:
    """Run to the end or to the moment."""
    ledger: Any = open_ledger(f"sqlite:///{Path(ledger_path)}")
    ledger.add_batch_event = _killing(ledger.add_batch_event, moment, _status)
    ledger.append = _killing(ledger.append, moment, _append)
    filled(ledger, spec, requests_of(int(count)))


if __name__ == "__main__":
    main(*sys.argv[1:])
