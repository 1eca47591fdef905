"""Processes that tests of the ledger start: ``python -m tests.ledger_workers TASK URL ...``."""

from __future__ import annotations

import json
import os
import random
import sys

from judge.canonical import digest
from judge.errors import LedgerError
from judge.ledger import Attempt, Call, Ledger, StoredVerdict, open_ledger, this_owner
from judge.records import Status, Verdict

BATCH = 5
"""Calls, and verdicts, in a batch of `write`."""


def make_call(key: bytes, generation: int = 0, **more: object) -> Call:
    """A call with values that do not matter."""
    values: dict[str, object] = {
        "purpose": "judge",
        "model": "http://host/v1#m",
        "sample": 0,
        "occasion": "",
        "request": b'{"messages":[]}',
        "response": b'{"choices":[]}' * 20,
        "status_code": 200,
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "completion_tokens": 2,
        "cost": 0.25,
        "latency_s": 0.5,
        "attempts": 1,
        "started_at": "2026-01-01T00:00:00.000+00:00",
    }
    return Call(key=key, generation=generation, **{**values, **more})  # type: ignore[arg-type]


def make_attempt(key: bytes, detail: str = "HTTP 500") -> Attempt:
    """A failed try."""
    return Attempt(
        key=key, error="server_error", status_code=500, detail=detail, latency_s=0.1, at="now"
    )


def make_verdict(
    call_key: bytes | None,
    *,
    generation: int = 0,
    parser: int = 1,
    level: float = 3,
    **more: object,
) -> StoredVerdict:
    """A scored verdict with values that do not matter."""
    values: dict[str, object] = {
        "question_id": "q1",
        "model": "m1",
        "criterion": "clarity",
        "judge": "j",
        "ruler": "r",
        "status": Status.SCORED,
        "answer_hash": digest("answer"),
        "level": level,
        "score": level / 5,
        "evidence": ("a", "b"),
        "rationale": "because",
    }
    verdict = Verdict(**{**values, **more})  # type: ignore[arg-type]
    return StoredVerdict(verdict=verdict, call_key=call_key, generation=generation, parser=parser)


def batch(number: int) -> tuple[list[Call], list[StoredVerdict]]:
    """What `write` appends in one transaction; the occasion tells the batch."""
    calls = [make_call(digest([number, n])) for n in range(BATCH)]
    verdicts = [
        make_verdict(call.key, occasion=f"batch {number}", question_id=f"q{n}")
        for n, call in enumerate(calls)
    ]
    return calls, verdicts


def write(ledger: Ledger, first: int) -> None:
    """Append batches for ever; say so after each."""
    while True:
        calls, verdicts = batch(first)
        ledger.append(calls=calls, attempts=[make_attempt(calls[0].key)], verdicts=verdicts)
        print(first, flush=True)
        first += 1


def hold(ledger: Ledger, key: str) -> None:
    """Claim a key, say whether it was granted, and hold it until the input ends."""
    claim = ledger.claim({bytes.fromhex(key): 0}, this_owner(), 3600)
    print(len(claim.granted), flush=True)
    sys.stdin.read()


def compete(ledger: Ledger, keys: int, seed: int) -> None:
    """Claim keys in chunks and finish them until all are finished; print what was granted."""
    owner = this_owner()
    chance = random.Random(seed)
    todo = [digest(n) for n in range(keys)]
    granted: list[str] = []
    while todo:
        chunk = chance.sample(todo, min(20, len(todo)))
        claim = ledger.claim(dict.fromkeys(chunk, 0), owner, 3600)
        ledger.renew(owner, 3600)
        mine = sorted(claim.granted, key=lambda key: chance.random())
        granted += [key.hex() for key in mine]
        ledger.append(
            calls=[make_call(key) for key in mine],
            verdicts=[make_verdict(key, question_id=key.hex()) for key in mine],
        )
        done = claim.granted | claim.finished
        todo = [key for key in todo if key not in done]
    print(json.dumps(granted), flush=True)


def create(url: str) -> None:
    """Open a ledger at a sign, use it, and say how that went."""
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        ledger = open_ledger(url)
        ledger.add_document("note", {"by": os.getpid()})
        ledger.close()
    except LedgerError as error:
        print(error)
    else:
        print("ok")


def unprivileged(url: str) -> None:
    """As a user without special rights: open, read, write; say how far that went."""
    import judge.ledger._sqlite  # noqa: F401 - while it may be read

    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    stage = "open"
    try:
        ledger = open_ledger(url)
        stage = "read"
        ledger.answers()
        stage = "write"
        ledger.add_document("note", {})
    except LedgerError as error:
        print(f"{stage}: {error}")
    except PermissionError:
        print("unreadable code")
    else:
        print("ok")


def main() -> None:
    """Do what the command line says."""
    task, url, *rest = sys.argv[1:]
    match task:
        case "create":
            create(url)
        case "unprivileged":
            unprivileged(url)
        case "write":
            write(open_ledger(url), int(rest[0]))
        case "hold":
            hold(open_ledger(url), rest[0])
        case "compete":
            compete(open_ledger(url), int(rest[0]), int(rest[1]))
        case _:
            raise SystemExit(f"unknown task {task}")


if __name__ == "__main__":
    main()
