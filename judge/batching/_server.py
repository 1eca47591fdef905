"""Files and batches of an OpenAI-compatible server, one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from judge.batching._account import BatchSettings
from judge.endpoint import OPENAI_URL, ModelSpec, RejectedRequest, TransientFault, fault_of
from judge.errors import EndpointError, Incomplete

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")

ENDPOINT = "/v1/chat/completions"
JOB = "plumbline"
"""The metadata field that names our job."""
LINES = "plumbline_lines"
_ENDED = frozenset({"completed", "expired", "cancelled", "failed"})
_PAGE = 100
_MOST_PAGES = 1_000
_LONGEST_WAIT_S = 60.0
_LOOK_S = 2.0


class NotThere(Exception):
    """The server does not know the file or batch."""


class Unsure(Incomplete):
    """Whether the server took a batch is not known; the job stays as it is until that is clear."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchState:
    """A batch as the server describes it; times in seconds since 1970, 0 where it says nothing."""

    id: str
    status: str
    output_file: str | None
    error_file: str | None
    created_at: int
    began_at: int
    ended_at: int
    expires_at: int
    total: int
    completed: int
    failed: int
    job: str
    """The job that its metadata name; empty for somebody else's."""
    problem: str
    """The first thing that is wrong with its file, in the server's words."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.status in _ENDED


_LATEST = 253_402_300_800
"""The year 10000, beyond which nothing can be a date."""


def state_of(value: Mapping[str, Any]) -> BatchState:
    """Read a batch object. Raises TransientFault for one without id or status."""
    if not isinstance(value.get("id"), str) or not isinstance(value.get("status"), str):
        raise TransientFault("malformed", detail="a batch without id or status")
    counts = _mapping(value.get("request_counts"))
    listed = _mapping(value.get("errors")).get("data")
    problems = [_mapping(entry) for entry in listed] if isinstance(listed, list) else []
    ends = (value.get(f"{status}_at") for status in sorted(_ENDED))
    return BatchState(
        id=value["id"],
        status=value["status"],
        output_file=_text(value.get("output_file_id")) or None,
        error_file=_text(value.get("error_file_id")) or None,
        created_at=_instant(value.get("created_at")),
        began_at=_instant(value.get("in_progress_at")),
        ended_at=max(map(_instant, ends)),
        expires_at=_instant(value.get("expires_at")),
        total=_count(counts.get("total")),
        completed=_count(counts.get("completed")),
        failed=_count(counts.get("failed")),
        job=_text(_mapping(value.get("metadata")).get(JOB)),
        problem=_problem(problems[0]) if problems else "",
    )


def _problem(entry: Mapping[str, Any]) -> str:
    line = entry.get("line")
    place = f" (line {line})" if type(line) is int else ""
    return f"{entry.get('code')}: {entry.get('message')}{place}"


class BatchServer:
    """A client of ``/files`` and ``/batches``; use it as an asynchronous context manager.

    Methods raise TransientFault, NotThere, or EndpointError; `upload` and `submit` try again.
    """

    def __init__(self, spec: ModelSpec, settings: BatchSettings) -> None:
        self._spec = spec
        self._settings = settings

    async def __aenter__(self) -> BatchServer:
        """Open the connection pool."""
        import openai

        self._client = openai.AsyncOpenAI(
            api_key=self._spec.api_key(),
            base_url=self._spec.base_url,
            max_retries=0,
            timeout=self._settings.timeout_s,
            http_client=openai.DefaultAioHttpClient(timeout=self._settings.timeout_s),
        )
        if self._spec.base_url != OPENAI_URL:
            # The SDK reads both from the environment; they are nobody else's business.
            self._client.organization = self._client.project = None
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connection pool."""
        await self._client.close()

    async def require_batches(self) -> None:
        """Raise EndpointError if the server has no batches, before anything is sent or paid."""
        try:
            await self._patiently(lambda: self._get("/batches", {"limit": 1}))
        except NotThere as problem:
            raise EndpointError(
                f"{self._spec.identity}: the server has no batches ({self._spec.base_url}/batches: "
                f"{problem}). Leave --batch out: the calls are then sent one by one."
            ) from problem

    async def upload(self, name: str, data: bytes) -> str:
        """Store an input file and return its id; tried again after transient faults."""

        async def send() -> httpx2.Response:
            import httpx2

            return await self._client.post(
                "/files",
                cast_to=httpx2.Response,
                body={"purpose": "batch"},
                files=[("file", (name, data))],
                options={"headers": {"Content-Type": "multipart/form-data"}},
            )

        try:
            value = _object(await self._patiently(lambda: self._call(send)))
        except NotThere as problem:
            raise EndpointError(
                f"{self._spec.identity}: the server takes no files ({problem}). Leave --batch out."
            ) from problem
        if not isinstance(value.get("id"), str):
            raise EndpointError(f"{self._spec.identity}: the server gave a file without an id.")
        return str(value["id"])

    async def submit(self, job: str, file: str, lines: str) -> tuple[BatchState, bool]:
        """Start a batch on a file; the flag says that it was found rather than started.

        A request whose answer does not arrive may have been carried out: before it is sent again,
        the server's list is searched for the job. Raises Incomplete when it stays unclear.
        """
        body = {
            "input_file_id": file,
            "endpoint": ENDPOINT,
            "completion_window": "24h",
            "metadata": {JOB: job, LINES: lines},
        }

        async def send() -> httpx2.Response:
            import httpx2

            return await self._client.post("/batches", cast_to=httpx2.Response, body=body)

        fault: TransientFault | None = None
        for number in range(self._settings.max_attempts):
            try:
                created = state_of(_object(await self._call(send)))
            except TransientFault as problem:
                fault = problem
                await self._pause(number, problem)
            except (NotThere, EndpointError) as problem:
                if fault is None:
                    raise EndpointError(
                        f"{problem} Nothing was submitted; leave --batch out to send the calls one "
                        "by one."
                    ) from problem
            else:
                return (created, False) if fault is None else (await self._only(job, created), True)
            if found := await self._found(job):
                return found, True
        raise Unsure(
            f"{self._spec.identity}: the server did not confirm a batch ({fault}) and does not "
            "list it. Nothing is sent twice: run the same command again, which looks for it first."
        )

    async def _found(self, job: str) -> BatchState | None:
        """`find`, for as long as a submission may take to show. Raises Unsure if it cannot look."""
        try:
            return await self.find(job, self._settings.settle_s)
        except EndpointError as problem:
            raise Unsure(
                f"{problem} A batch may have been submitted; run the same command again, which "
                "looks for it first."
            ) from problem

    async def find(self, job: str, within_s: float = 0.0) -> BatchState | None:
        """The batch of a job, searched for until it shows or the time is over.

        Of several the oldest is taken and the others are cancelled.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within_s
        while True:
            listed = await self._patiently(lambda: self._listed(job))
            if listed:
                first, *others = sorted(listed, key=lambda state: (state.created_at, state.id))
                for surplus in others:
                    await self._cancel(surplus)
                return first
            if loop.time() >= deadline:
                return None
            await asyncio.sleep(min(_LOOK_S, max(deadline - loop.time(), 0.01)))

    async def _only(self, job: str, created: BatchState) -> BatchState:
        """Of what repeated submissions left behind, one."""
        return await self.find(job) or created

    async def _listed(self, job: str) -> list[BatchState]:
        found = []
        after: dict[str, Any] = {}
        for _ in range(_MOST_PAGES):
            try:
                page = _object(await self._get("/batches", {"limit": _PAGE, **after}))
            except NotThere as problem:
                raise EndpointError(f"{self._spec.identity}: {problem}.") from problem
            rows = page.get("data")
            states = [state_of(_mapping(row)) for row in rows] if isinstance(rows, list) else []
            found += [state for state in states if state.job == job]
            if page.get("has_more") is not True or not states:
                return found
            after = {"after": states[-1].id}
        raise EndpointError(
            f"{self._spec.identity}: the server's list of batches does not end, so that a batch "
            "cannot be looked for. Check the server."
        )

    async def _cancel(self, state: BatchState) -> None:
        async def send() -> httpx2.Response:
            import httpx2

            return await self._client.post(f"/batches/{state.id}/cancel", cast_to=httpx2.Response)

        # One that has ended cannot be cancelled: the server then answers 400 or 409.
        with contextlib.suppress(TransientFault, NotThere, EndpointError):
            await self._call(send)

    async def retrieve(self, batch: str) -> BatchState:
        """A batch as it is now."""
        return state_of(_object(await self._get(f"/batches/{batch}", {})))

    async def content(self, file: str) -> bytes:
        """The bytes of a file."""
        return await self._get(f"/files/{file}/content", {})

    async def delete(self, file: str) -> None:
        """Remove a file that no batch uses; one that cannot be removed costs nothing."""

        async def send() -> httpx2.Response:
            import httpx2

            return await self._client.delete(f"/files/{file}", cast_to=httpx2.Response)

        with contextlib.suppress(TransientFault, NotThere, EndpointError):
            await self._call(send)

    async def _get(self, path: str, query: Mapping[str, Any]) -> bytes:
        async def send() -> httpx2.Response:
            import httpx2

            return await self._client.get(
                path, cast_to=httpx2.Response, options={"params": dict(query)}
            )

        return await self._call(send)

    async def _call(self, send: Callable[[], Awaitable[httpx2.Response]]) -> bytes:
        """The body of a successful response; everything else is raised, sorted."""
        import openai

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                return (await send()).content
        except TimeoutError:
            raise TransientFault("timeout", detail="no reply within the time limit") from None
        except openai.APIStatusError as error:
            if error.status_code in (404, 405, 501):
                raise NotThere(f"status {error.status_code}") from error
            fault = fault_of(error, self._spec.identity)
            if isinstance(fault, (TransientFault, EndpointError)):
                raise fault from error
            detail = fault.detail if isinstance(fault, RejectedRequest) else str(fault)
            raise EndpointError(
                f"{self._spec.identity}: the server refuses {error.request.url.path} "
                f"({error.status_code}: {detail})."
            ) from error
        except openai.APIError as error:
            raise fault_of(error, self._spec.identity) from error

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again after transient faults. Raises EndpointError when they do not end."""
        for number in range(self._settings.max_attempts):
            try:
                return await ask()
            except TransientFault as problem:
                fault = problem
                await self._pause(number, problem)
        raise EndpointError(
            f"{self._spec.identity}: the server does not answer ({fault}). Run the same command "
            "again later: what it has is found again."
        ) from fault

    async def _pause(self, number: int, fault: TransientFault) -> None:
        wait = self._settings.first_wait_s * 2**number
        await asyncio.sleep(min(max(wait, fault.retry_after or 0.0), _LONGEST_WAIT_S))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise TransientFault("malformed", detail="a response that is no JSON object")
    return value


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _count(value: object) -> int:
    return value if type(value) is int and value >= 0 else 0


def _instant(value: object) -> int:
    """Seconds since 1970; 0 for what no clock says, such as milliseconds."""
    seconds = _count(value)
    return seconds if seconds < _LATEST else 0
