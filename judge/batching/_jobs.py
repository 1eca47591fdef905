"""The ledger's notes on batches, folded into what is known of each.

A job is one attempt of ours to have a file of calls done. It has a name before the server has one
for it, and its notes say how far it came: intended (before its calls are claimed), prepared (with
the list of its lines, before anything is sent), uploaded, submitted, and one of the ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from judge.canonical import digest
from judge.execution import CallRequest
from judge.ledger import BatchEvent, Ledger

DOCUMENT = "batch"
_SOME = 1_000
_FREE = frozenset({"messages", "seed", "max_tokens", "max_completion_tokens", "response_format"})


class Stage(StrEnum):
    """How far a job came; the status of its newest event."""

    INTENDED = "intended"
    PREPARED = "prepared"
    UPLOADED = "uploaded"
    SUBMITTED = "submitted"
    COLLECTED = "collected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "failed"
    """The server refused the whole file."""
    ABANDONED = "abandoned"
    """Nothing of it is at the server."""
    LOST = "lost"
    """The server does not know it any more."""


PROVED = "proved"
"""An event beside the jobs: a live call was accepted in a form of request."""
ENDS = {
    "completed": Stage.COLLECTED,
    "expired": Stage.EXPIRED,
    "cancelled": Stage.CANCELLED,
}
"""States of the server in which result files can be there."""
_UNSENT = frozenset({Stage.INTENDED, Stage.PREPARED, Stage.UPLOADED})
_OVER = frozenset({Stage.FAILED, Stage.ABANDONED, Stage.LOST})


@dataclass(slots=True)
class Job:
    """What the ledger knows of one file of calls."""

    name: str
    stage: Stage = Stage.INTENDED
    at: str = ""
    """When it was last heard of (UTC, ISO 8601)."""
    submitted_at: str = ""
    lines: str = ""
    """Hash of the document that lists its lines."""
    count: int = 0
    form: str = ""
    file: str = ""
    batch: str = ""
    """The server's id."""
    failed: list[str] = field(default_factory=list)
    """Hashes of documents that list lines without a usable outcome."""
    left: int = 0
    """Lines with an outcome that nobody took, as they belong to another plan."""

    @property
    def owner(self) -> str:
        """Who holds the claims on its calls: the job itself, which no process outlives or ends."""
        return f"batch {self.name}"

    @property
    def unsent(self) -> bool:
        """Whether the ledger does not say that the server has it."""
        return self.stage in _UNSENT

    @property
    def finished(self) -> bool:
        """Whether nothing is to be had from it any more."""
        if self.unsent or self.stage is Stage.SUBMITTED:
            return False
        return self.stage in _OVER or self.left == 0


def jobs_of(events: Iterable[BatchEvent]) -> dict[str, Job]:
    """The jobs by name, oldest first, as their events leave them."""
    jobs: dict[str, Job] = {}
    for event in events:
        if event.status == PROVED:
            continue
        job = jobs.setdefault(event.batch, Job(event.batch))
        job.stage, job.at = Stage(event.status), event.at
        _take(job, event.body)
    return jobs


def _take(job: Job, body: Mapping[str, Any]) -> None:
    match job.stage:
        case Stage.PREPARED:
            job.lines, job.count, job.form = body["lines"], body["count"], body["form"]
        case Stage.UPLOADED:
            job.file = body["file"]
        case Stage.SUBMITTED:
            job.batch, job.submitted_at = body["batch"], job.at
        case Stage.COLLECTED | Stage.EXPIRED | Stage.CANCELLED:
            job.left = body["left"]
            if body["open"]:
                job.failed.append(body["open"])


def open_jobs(ledger: Ledger, model: str) -> list[Job]:
    """Jobs of a model that are not finished: at the server, or cut short before they got there."""
    return [job for job in jobs_of(ledger.batch_events(model)).values() if not job.finished]


def outstanding(ledger: Ledger, job: Job) -> set[str]:
    """Lines of a job that may still have an outcome; empty before it is prepared."""
    if not job.lines:
        return set()
    lines: set[str] = set(ledger.document(bytes.fromhex(job.lines)))
    for failed in job.failed:
        lines.difference_update(ledger.document(bytes.fromhex(failed)))
    return lines


def proven_forms(events: Iterable[BatchEvent]) -> set[str]:
    """Forms of request in which a live call or a line of a batch was accepted."""
    forms: set[str] = set()
    prepared: dict[str, str] = {}
    for event in events:
        if event.status == PROVED:
            forms.add(event.body["form"])
        elif event.status == Stage.PREPARED:
            prepared[event.batch] = event.body["form"]
        elif event.body.get("collected"):
            forms.add(prepared[event.batch])
    return forms


def form_of(body: bytes) -> str:
    """What a server can refuse of a request apart from its prompt: parameters and output mode."""
    request = orjson.loads(body)
    output = (request.get("response_format") or {}).get("type")
    fixed = {name: value for name, value in request.items() if name not in _FREE}
    return digest([fixed, sorted(request), output]).hex()


def line_id(request: CallRequest) -> str:
    """The custom_id of a call: its key and generation."""
    return f"{request.key.hex()}-{request.generation}"


def key_of(line: str) -> bytes:
    """The key in a custom_id that `line_id` made."""
    return bytes.fromhex(line.partition("-")[0])


def held_generations(ledger: Ledger, keys: list[bytes]) -> dict[bytes, int]:
    """The newest generation of each of these calls that the ledger holds."""
    wanted = set(keys)
    held: dict[bytes, int] = {}
    frame = ledger.call_frame(keys).select("key", "generation")
    for key, generation in frame.iter_rows():
        if key in wanted:
            held[key] = max(generation, held.get(key, 0))
    return held


def not_held(ledger: Ledger, lines: Iterable[str]) -> set[str]:
    """Those of the lines whose calls the ledger lacks."""
    wanted = set(lines)
    keys = sorted({key_of(line) for line in wanted})
    held: dict[bytes, int] = {}
    for start in range(0, len(keys), _SOME):
        held |= held_generations(ledger, keys[start : start + _SOME])
    return {line for line in wanted if held.get(key_of(line), -1) < _generation_of(line)}


def _generation_of(line: str) -> int:
    return int(line.partition("-")[2])
