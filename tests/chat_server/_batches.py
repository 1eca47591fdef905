"""Files and batches, in the form of OpenAI's API; a batch moves on when somebody looks at it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.chat_server._behaviour import BAD, CONTENT, ERRORS, OK, Behaviour, Error
from tests.chat_server._shape import draw

ENDPOINT = "/v1/chat/completions"
_DAY_S = 86_400
_ENDED = frozenset({"completed", "expired", "failed", "cancelled"})
_EXPIRED = Error(
    0, BAD, "batch_expired",
    "This request could not be executed before the completion window expired.",
)  # fmt: skip
_CANCELLED = Error(0, BAD, "batch_cancelled", "This request was not executed: the batch ended.")

_OVER_LIMIT = {
    "code": "token_limit_exceeded",
    "message": "Enqueued token limit reached for this model.",
    "param": None,
    "line": None,
}

Complete = Callable[[str, dict[str, Any], str], dict[str, Any]]
"""From a kind, a body and a batch to the chat.completion; counts the reply."""


class Problem(Exception):
    """A request that the API turns down."""

    def __init__(self, error: Error) -> None:
        super().__init__(error.message)
        self.error = error


def _bad(message: str, param: str | None = None) -> Problem:
    return Problem(Error(400, BAD, None, message, param))


def _missing(what: str, name: str) -> Problem:
    return Problem(Error(404, BAD, None, f"No {what} with id '{name}' found."))


@dataclass(slots=True)
class _Batch:
    """A batch as its owner sees it, and what only the server knows."""

    shown: dict[str, Any]
    created: float
    behaviour: Behaviour
    lines: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    cancelled: float | None = None


class Batches:
    """The files and batches of one server."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._batches: dict[str, _Batch] = {}

    def upload(self, name: str, purpose: str, data: bytes) -> dict[str, Any]:
        """Store a file."""
        if purpose != "batch":
            raise _bad(f"'{purpose}' is not one of ['batch'] - 'purpose'", "purpose")
        return self._store(name, purpose, data)

    def _store(self, name: str, purpose: str, data: bytes) -> dict[str, Any]:
        number = len(self._files) + 1
        entry = {
            "id": f"file-{number:06d}",
            "object": "file",
            "bytes": len(data),
            "created_at": int(time.time()),
            "expires_at": None,
            "filename": name,
            "purpose": purpose,
            "status": "processed",
            "status_details": None,
        }
        self._files[str(entry["id"])] = (entry, data)
        return entry

    def file(self, name: str) -> dict[str, Any]:
        """The description of a file."""
        return self._found(name)[0]

    def content(self, name: str) -> bytes:
        """The bytes of a file."""
        return self._found(name)[1]

    def _found(self, name: str) -> tuple[dict[str, Any], bytes]:
        if name not in self._files:
            raise _missing("file", name)
        return self._files[name]

    def files(self) -> dict[str, Any]:
        """All files, newest first."""
        return _listing([entry for entry, _ in reversed(self._files.values())], 10_000, None)

    def delete(self, name: str) -> dict[str, Any]:
        """Forget a file."""
        self._found(name)
        del self._files[name]
        return {"id": name, "object": "file", "deleted": True}

    def create(self, wanted: Any, behaviour: Behaviour) -> dict[str, Any]:
        """Start a batch on a file; what its lines get is fixed by the behaviour of now."""
        if not isinstance(wanted, dict):
            raise _bad("The body is no JSON object.")
        for name in ("input_file_id", "endpoint", "completion_window"):
            if name not in wanted:
                raise _bad(f"Missing required parameter: '{name}'.", name)
        if wanted["endpoint"] != ENDPOINT:
            raise _bad(f"Invalid value: '{wanted['endpoint']}'.", "endpoint")
        if wanted["completion_window"] != "24h":
            raise _bad("Invalid value: only '24h' is supported.", "completion_window")
        metadata = wanted.get("metadata")
        if metadata is not None and not _is_metadata(metadata):
            raise _bad("Metadata has at most 16 pairs of short texts.", "metadata")
        file, data = self._found(wanted["input_file_id"])
        if file["purpose"] != "batch":
            raise _bad("The file's purpose is not 'batch'.", "input_file_id")
        now = time.time()
        shown = {
            "id": f"batch_{len(self._batches) + 1:06d}",
            "object": "batch",
            "endpoint": ENDPOINT,
            "errors": None,
            "input_file_id": file["id"],
            "completion_window": "24h",
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": int(now),
            **dict.fromkeys(
                ("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at",
                 "cancelling_at", "cancelled_at")
            ),
            "expires_at": int(now) + _DAY_S,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": metadata,
        }  # fmt: skip
        batch = _Batch(shown, now, behaviour)
        batch.lines, batch.errors = _checked(data, behaviour)
        self._batches[str(shown["id"])] = batch
        return dict(shown)

    def retrieve(self, name: str) -> dict[str, Any]:
        """A batch as it is now."""
        if name not in self._batches:
            raise _missing("batch", name)
        batch = self._batches[name]
        self._move_on(batch)
        return batch.shown

    def page(self, limit: int, after: str | None) -> dict[str, Any]:
        """Batches, newest first, from after one of them."""
        return _listing([self.retrieve(name) for name in reversed(self._batches)], limit, after)

    def cancel(self, name: str) -> dict[str, Any]:
        """Stop a batch; what is done stays done."""
        shown = self.retrieve(name)
        if shown["status"] in _ENDED:
            problem = f"Cannot cancel a batch with status '{shown['status']}'."
            raise Problem(Error(409, BAD, None, problem))
        now = time.time()
        shown["status"], shown["cancelling_at"] = "cancelling", int(now)
        self._batches[name].cancelled = now
        return dict(shown)

    def _move_on(self, batch: _Batch) -> None:
        """Bring a batch to where the clock says that it is."""
        shown, b, now = batch.shown, batch.behaviour, time.time()
        if shown["status"] in _ENDED:
            return
        elapsed = (now - batch.created) / b.batch_delay_s if b.batch_delay_s else 1.0
        if batch.cancelled is not None:
            share = (batch.cancelled - batch.created) / b.batch_delay_s if b.batch_delay_s else 0.0
            self._end(batch, "cancelled", share)
        elif elapsed >= 0.1 and (batch.errors or b.batch_outcome == "failed"):
            shown["status"], shown["failed_at"] = "failed", int(now)
            shown["errors"] = {"object": "list", "data": batch.errors or [_OVER_LIMIT]}
        elif elapsed >= 1 and b.batch_outcome == "expired":
            self._end(batch, "expired", b.batch_done_share)
        elif elapsed >= 1:
            self._end(batch, "completed", 1.0)
        elif elapsed >= 0.1:
            shown["status"] = "finalizing" if elapsed >= 0.9 else "in_progress"
            shown["in_progress_at"] = shown["in_progress_at"] or int(now)
            total = len(batch.lines)
            done = min(total, int(elapsed * total))
            shown["request_counts"] = {"total": total, "completed": done, "failed": 0}

    def _end(self, batch: _Batch, status: str, share: float) -> None:
        """Write the files of a batch whose first lines, this share of them, were done."""
        shown, name = batch.shown, batch.shown["id"]
        done = int(share * len(batch.lines))
        output: list[tuple[float, bytes]] = []
        failed: list[tuple[float, bytes]] = []
        for number, line in enumerate(batch.lines):
            key = orjson.dumps(line["body"], option=orjson.OPT_SORT_KEYS).decode()
            order = draw(name, number, "order") if batch.behaviour.batch_shuffled else number
            kind = _drawn(batch.behaviour, key, name)
            unfinished = _CANCELLED if status == "cancelled" else _EXPIRED
            if number >= done or kind == "expired":
                row = {**_row(name, number, line), "error": _words(unfinished)}
                failed.append((order, orjson.dumps(row)))
            elif error := ERRORS.get(kind):
                row = _row(name, number, line)
                row["response"] = _response(name, number, error.status, {"error": _full(error)})
                failed.append((order, orjson.dumps(row)))
            elif kind != "missing":
                output += [(order, text) for text in self._written(name, number, line, kind)]
        completed = len(batch.lines) - len(failed)
        for field_name, rows in (("output_file_id", output), ("error_file_id", failed)):
            if rows:
                text = b"".join(row + b"\n" for _, row in sorted(rows))
                file = self._store(f"{name}_{field_name[:-8]}.jsonl", "batch_output", text)
                shown[field_name] = file["id"]
        shown["status"], shown[f"{status}_at"] = status, int(time.time())
        shown["in_progress_at"] = shown["in_progress_at"] or int(batch.created)
        shown["finalizing_at"] = int(time.time())
        shown["request_counts"] = {
            "total": len(batch.lines), "completed": completed, "failed": len(failed),
        }  # fmt: skip

    def _written(self, name: str, number: int, line: dict[str, Any], kind: str) -> list[bytes]:
        """The lines of the output file that one line of the input becomes."""
        row = _row(name, number, line)
        reply = self._complete(kind if kind in CONTENT else OK, line["body"], name)
        row["response"] = _response(name, number, 200, reply)
        if kind == "alien":
            row["custom_id"] = f"alien-{number}"
        text = orjson.dumps(row)
        if kind == "malformed":
            return [text[: len(text) // 2]]
        return [text] * (2 if kind == "duplicate" else 1)


def _drawn(b: Behaviour, key: str, batch: str) -> str:
    remaining = draw(b.seed, key, batch, "batch")
    for kind, probability in b.batch_faults.items():
        if remaining < probability:
            return kind
        remaining -= probability
    return OK


def _row(batch: str, number: int, line: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": f"batch_req_{batch[6:]}_{number}",
        "custom_id": line["custom_id"],
        "response": None,
        "error": None,
    }


def _response(batch: str, number: int, status: int, body: object) -> dict[str, Any]:
    return {"status_code": status, "request_id": f"req_{batch[6:]}_{number}", "body": body}


def _words(error: Error) -> dict[str, Any]:
    return {"code": error.code, "message": error.message}


def _full(error: Error) -> dict[str, Any]:
    return {name: value for name, value in error._asdict().items() if name != "status"}


def _line_error(code: str, message: str, line: int | None) -> dict[str, Any]:
    return {"code": code, "message": message, "param": None, "line": line}


def _checked(data: bytes, b: Behaviour) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The requests of an input file, and what is wrong with them."""
    lines: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    seen: set[str] = set()
    for number, raw in enumerate(data.splitlines(), 1):
        try:
            line = orjson.loads(raw)
        except ValueError:
            errors.append(_line_error("invalid_json_line", "This line is not valid JSON.", number))
            continue
        if problem := _problem(line, seen, b):
            errors.append(_line_error(*problem, number))
            continue
        seen.add(line["custom_id"])
        lines.append(line)
    if not lines and not errors:
        errors.append(_line_error("empty_file", "The input file is empty.", None))
    if len({line["body"]["model"] for line in lines}) > 1:
        errors.append(_line_error("mismatched_model", "The lines name several models.", None))
    return lines, errors


def _problem(line: Any, seen: set[str], b: Behaviour) -> tuple[str, str] | None:
    if not isinstance(line, dict):
        return "invalid_json_line", "This line is no JSON object."
    for name in ("custom_id", "method", "url", "body"):
        if name not in line:
            return "missing_required_parameter", f"Missing required parameter: '{name}'."
    if not isinstance(line["custom_id"], str) or line["custom_id"] in seen:
        return "duplicate_custom_id", f"The custom_id '{line['custom_id']}' is used twice."
    if line["method"] != "POST" or line["url"] != ENDPOINT:
        return "invalid_url", "The method or the URL does not match the batch."
    if not isinstance(line["body"], dict) or not isinstance(line["body"].get("messages"), list):
        return "invalid_request", "The body is no chat request."
    if line["body"].get("model") not in b.models:
        return "model_not_found", "The provided model is not supported."
    return None


def _is_metadata(metadata: Any) -> bool:
    return (
        isinstance(metadata, dict)
        and len(metadata) <= 16
        and all(len(key) <= 64 for key in metadata)
        and all(isinstance(value, str) and len(value) <= 512 for value in metadata.values())
    )


def _listing(rows: list[dict[str, Any]], limit: int, after: str | None) -> dict[str, Any]:
    start = 0
    if after is not None:
        start = next((n + 1 for n, row in enumerate(rows) if row["id"] == after), len(rows))
    page = rows[start : start + limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + limit < len(rows),
    }
