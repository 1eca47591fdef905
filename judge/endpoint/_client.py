"""The client: one request with its retries, limits, budget and accounting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from judge.endpoint._faults import (
    Halted,
    RejectedRequest,
    StillFailing,
    TransientFault,
    UnsupportedParameter,
    fault_of,
)
from judge.endpoint._limits import AdaptiveLimit, Budget, Prices, RateLimits, estimated_tokens
from judge.endpoint._reply import Usage, final_error_code, read_reply, read_usage
from judge.endpoint._spec import OPENAI_URL, ModelSpec

if TYPE_CHECKING:
    import httpx2
    import openai
    from tenacity import RetryCallState

# Below the 5 s after which many servers close an idle connection: reusing one at that moment fails.
_KEEP_ALIVE_S = 4.0
_MOST_RETRY_AFTER_S = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long a request is tried: waits grow at random between the two bounds, in seconds."""

    max_attempts: int = 6
    first_wait_s: float = 0.5
    longest_wait_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A finished request: the body as received, and what it took (USD None if unpriced)."""

    status_code: int
    body: bytes
    usage: Usage
    cost: float | None
    latency_s: float
    attempts: int
    started_at: str


@dataclass(slots=True)
class Traffic:
    """What went over the wire so far."""

    sent: int = 0
    succeeded: int = 0
    rejected: int = 0
    faults: int = 0
    last_fault: str = ""


OnFault = Callable[[TransientFault, float], None]


class ChatEndpoint:
    """An asynchronous client of one model behind an OpenAI-compatible chat endpoint.

    The SDK's own retries are off, so that they cannot multiply ours. Use it as an asynchronous
    context manager.
    """

    def __init__(
        self,
        spec: ModelSpec,
        *,
        concurrency: int = 32,
        timeout_s: float = 120.0,
        retry: RetryPolicy | None = None,
        rates: RateLimits | None = None,
        prices: Prices | None = None,
        budget: Budget | None = None,
        budget_unit: str = "tokens",
    ) -> None:
        self.spec = spec
        self.limit = AdaptiveLimit(concurrency)
        self.traffic = Traffic()
        self.prices = prices
        self.timeout_s = timeout_s
        self.dormant = 0
        """Requests that wait (for a slot, a limit, the budget, a next try): not on the wire."""
        self._halted = False
        self._client: openai.AsyncOpenAI | None = None
        self._retry = retry or RetryPolicy()
        self._rates = rates
        self._budget = budget
        self._budget_unit = budget_unit

    async def __aenter__(self) -> ChatEndpoint:
        """Open the connection pool.

        A model of our own that was not started, because nothing is to be sent, gets none: the SDK
        would fall back to its own default address, and prompts would go elsewhere.
        """
        import httpx2
        import openai

        if self.spec.base_url is None:
            return self
        connections = self.limit.maximum
        limits = httpx2.Limits(
            max_connections=connections,
            max_keepalive_connections=connections,
            keepalive_expiry=_KEEP_ALIVE_S,
        )
        self._client = openai.AsyncOpenAI(
            api_key=self.spec.api_key(),
            base_url=self.spec.base_url,
            max_retries=0,
            timeout=self.timeout_s,
            # A proxy of the environment is not asked for a server that we started beside us.
            http_client=openai.DefaultAioHttpClient(
                limits=limits, timeout=self.timeout_s, trust_env=self.spec.local is None
            ),
        )
        if self.spec.base_url != OPENAI_URL:
            # The SDK reads both from the environment; they are nobody else's business.
            self._client.organization = self._client.project = None
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close the connection pool."""
        if self._client is not None:
            await self._client.close()

    def halt(self) -> None:
        """Send nothing new from now on; what is on the wire may come back."""
        self._halted = True

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        self.dormant += 1
        try:
            yield
        finally:
            self.dormant -= 1

    async def _sleep(self, seconds: float) -> None:
        with self._waiting():
            await asyncio.sleep(seconds)

    async def complete(
        self, body: bytes, max_tokens: int, on_fault: OnFault | None = None
    ) -> Completion:
        """Send a request body (JSON) until it is answered; ``on_fault`` hears of failed tries.

        Raises StillFailing (leave the unit open), RejectedRequest (likewise, at once),
        UnsupportedParameter, BudgetSpent, Halted, or EndpointError (stop the run).
        """
        reserved = self._worst_case(body, max_tokens)
        if self._budget is not None:
            with self._waiting():
                await self._budget.reserve(reserved)
        completion: Completion | None = None
        try:
            completion = await self._try_until_answered(body, max_tokens, on_fault)
        finally:
            if self._budget is not None:
                await self._budget.settle(reserved, self._spent(completion, reserved))
        return completion

    async def _try_until_answered(
        self, body: bytes, max_tokens: int, on_fault: OnFault | None
    ) -> Completion:
        # The usual case goes without tenacity, whose bookkeeping costs as much as sending.
        try:
            return await self._try(body, max_tokens, 1, on_fault)
        except TransientFault as fault:
            return await self._try_again(fault, body, max_tokens, on_fault)

    async def _try_again(
        self, first: TransientFault, body: bytes, max_tokens: int, on_fault: OnFault | None
    ) -> Completion:
        """Back off and retry after a first failed try, which counts as tenacity's first attempt."""
        from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt

        tries = 0

        async def once() -> Completion:
            # An inner coroutine function: handed the SDK's method itself, tenacity would get an
            # un-awaited coroutine back and take it for a success.
            nonlocal tries
            tries += 1
            if tries == 1:
                raise first
            return await self._try(body, max_tokens, tries, on_fault)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TransientFault),
            stop=stop_after_attempt(self._retry.max_attempts),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            return await retrying(once)
        except TransientFault as fault:
            raise StillFailing(fault) from fault

    def _wait(self, state: RetryCallState) -> float:
        """Seconds before the next try: what the server asked for, plus a random growing wait."""
        from tenacity import wait_random_exponential

        policy = self._retry
        wait = wait_random_exponential(multiplier=policy.first_wait_s, max=policy.longest_wait_s)
        fault = state.outcome.exception() if state.outcome else None
        asked = fault.retry_after if isinstance(fault, TransientFault) else None
        return min(asked or 0.0, _MOST_RETRY_AFTER_S) + wait(state)

    async def _try(
        self, body: bytes, max_tokens: int, number: int, on_fault: OnFault | None
    ) -> Completion:
        """One try in one slot; the slot is free again before any back-off."""
        if self._rates is not None:
            with self._waiting():
                await self._rates.acquire(estimated_tokens(body) + max_tokens)
        started = time.monotonic()
        self.dormant += 1
        acquired = False
        try:
            async with self.limit.slot():
                self.dormant -= 1
                acquired = True
                if self._halted:
                    raise Halted
                started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
                started = time.monotonic()
                self.traffic.sent += 1
                status_code, received = await self._send(body)
                if status_code == 200:
                    await self._require_reply(received)
        except TransientFault as fault:
            self.traffic.faults += 1
            self.traffic.last_fault = str(fault)
            if on_fault is not None:
                on_fault(fault, time.monotonic() - started)
            raise
        except (RejectedRequest, UnsupportedParameter):
            self.traffic.rejected += 1
            raise
        finally:
            if not acquired:
                self.dormant -= 1
        self.traffic.succeeded += 1
        # A prompt that is turned down is not billed.
        usage = read_usage(received) if status_code == 200 else Usage(0, 0, 0)
        return Completion(
            status_code=status_code,
            body=received,
            usage=usage,
            cost=self.cost(usage),
            latency_s=time.monotonic() - started,
            attempts=number,
            started_at=started_at,
        )

    async def _require_reply(self, received: bytes) -> None:
        """Raise TransientFault for a 200 that is no chat completion; what it took is booked."""
        try:
            read_reply(200, received)
        except TransientFault as fault:
            try:
                fault.usage = read_usage(received)
            except TransientFault:
                raise fault from None
            if self._budget is not None:
                await self._budget.book(self._booked(fault.usage, self.cost(fault.usage), 0.0))
            raise

    async def _send(self, body: bytes) -> tuple[int, bytes]:
        """Status and body of a response that ends its unit; everything else is raised, sorted."""
        import httpx2
        import openai

        if self._client is None:
            raise ValueError(f"{self.spec.identity} is not served anywhere")
        try:
            # The SDK's time limit is per read; a server that drips bytes would never exceed it.
            async with asyncio.timeout(self.timeout_s):
                response: httpx2.Response = await self._client.post(
                    "/chat/completions",
                    cast_to=httpx2.Response,
                    content=body,
                    options={"headers": {"Content-Type": "application/json"}},
                )
                return 200, response.content
        except TimeoutError:
            raise TransientFault("timeout", detail="no reply within the time limit") from None
        except openai.APIError as error:
            if isinstance(error, openai.APIStatusError):
                details = error.body if isinstance(error.body, dict) else {}
                if error.status_code in (400, 413, 422) and final_error_code(details):
                    return error.status_code, error.response.content
            raise fault_of(error, self.spec.identity) from error

    def cost(self, usage: Usage) -> float | None:
        """USD of a usage; None if there are no prices or the server did not count."""
        if self.prices is None or usage.prompt_tokens is None or usage.completion_tokens is None:
            return None
        return self.prices.cost(
            usage.prompt_tokens, usage.cached_tokens or 0, usage.completion_tokens
        )

    def _worst_case(self, body: bytes, max_tokens: int) -> float:
        """What one request can cost at most, in the budget's unit; a byte is at most a token."""
        prompt = len(body)
        if self._budget_unit == "tokens":
            return float(prompt + max_tokens)
        assert self.prices is not None
        return self.prices.cost(prompt, 0, max_tokens)

    def _spent(self, completion: Completion | None, reserved: float) -> float:
        """What a request cost in the budget's unit; the worst case where the server did not say."""
        if completion is None or completion.status_code != 200:
            return 0.0
        return self._booked(completion.usage, completion.cost, reserved)

    def _booked(self, usage: Usage, cost: float | None, unknown: float) -> float:
        if usage.prompt_tokens is None or usage.completion_tokens is None:
            return unknown
        if self._budget_unit == "tokens":
            return float(usage.prompt_tokens + usage.completion_tokens)
        return unknown if cost is None else cost
