"""How much may be under way at once, per minute and in all."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from judge.endpoint._faults import BudgetSpent, TransientFault
from judge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiolimiter import AsyncLimiter

_CUT = 0.7
_COOLDOWN_S = 1.0
_TOLERATED_SHARE = 0.08
_SHARE_MEMORY = 32
_LONGEST_PAUSE_S = 60.0
_BYTES_PER_TOKEN = 3
_FIVE_SECONDS = 13  # a minute and the first burst, in units of five seconds


class AdaptiveLimit:
    """Concurrency that finds what the server bears: additive increase, multiplicative decrease.

    Starts at half of ``maximum`` and doubles per round of successes until the first sign of
    overload, then grows by a sixteenth of ``maximum`` per round. A cut (to 0.7 of the limit, at
    most once per cooldown) needs more than 8 % of recent tries throttled: a server that answers
    429 now and then at random loses nothing. Growth needs a limit in use: an idle limit does not
    grow. As many other faults (5xx, resets, time-outs) pause growth. A Retry-After that comes
    with a cut holds back all new tries.
    """

    def __init__(self, maximum: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.maximum = maximum
        self.limit = float((maximum + 1) // 2)
        self.in_flight = 0
        self._clock = clock
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._slow_start = True
        self._throttled_share = 0.0
        self._faulty_share = 0.0
        self._calm_from = 0.0
        self._open_from = 0.0

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold one slot; what the body raises or not tells the limit how the try went."""
        await self._acquire()
        try:
            yield
        except TransientFault as fault:
            self._failed(fault)
            raise
        else:
            self._succeeded()
        finally:
            self._release()

    async def _acquire(self) -> None:
        while True:
            pause = self._open_from - self._clock()
            if pause > 0:
                await asyncio.sleep(pause)
            elif self.in_flight < int(self.limit):
                self.in_flight += 1
                return
            else:
                await self._wait_for_slot()
                if self._open_from <= self._clock():
                    return
                self._release()

    async def _wait_for_slot(self) -> None:
        """Queue up; whoever frees a slot hands it over, already counted as in flight."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._release()
            raise

    def _release(self) -> None:
        """Free a slot and hand out what is free."""
        self.in_flight -= 1
        while self._waiting and self.in_flight < int(self.limit):
            waiter = self._waiting.popleft()
            if not waiter.done():
                self.in_flight += 1
                waiter.set_result(None)

    def _succeeded(self) -> None:
        self._throttled_share -= self._throttled_share / _SHARE_MEMORY
        self._faulty_share -= self._faulty_share / _SHARE_MEMORY
        in_use = self._waiting or self.in_flight >= 0.8 * int(self.limit)
        if not in_use or self._clock() < self._calm_from:
            return
        step = 1.0 if self._slow_start else max(1.0, self.maximum / 16) / self.limit
        self.limit = min(self.limit + step, float(self.maximum))

    def _failed(self, fault: TransientFault) -> None:
        now = self._clock()
        if not fault.throttled:
            self._faulty_share += (1 - self._faulty_share) / _SHARE_MEMORY
            if self._faulty_share > _TOLERATED_SHARE:
                self._calm_from = max(self._calm_from, now + _COOLDOWN_S)
            return
        self._throttled_share += (1 - self._throttled_share) / _SHARE_MEMORY
        if self._throttled_share <= _TOLERATED_SHARE or now < self._calm_from:
            return
        self._slow_start = False
        self.limit = max(1.0, self.limit * _CUT)
        wait = min(fault.retry_after or 0.0, _LONGEST_PAUSE_S)
        self._calm_from = now + max(_COOLDOWN_S, wait)
        self._open_from = now + wait


class RateLimits:
    """Limits per minute that a provider sets: requests, and tokens (prompt plus reply)."""

    def __init__(self, *, requests: int | None = None, tokens: int | None = None) -> None:
        self._requests = None if requests is None else _per_minute(requests)
        self._tokens = None if tokens is None else _per_minute(tokens)

    async def acquire(self, tokens: int) -> None:
        """Wait until one request of so many tokens fits, a large one piece by piece."""
        if self._requests is not None:
            await self._requests.acquire()
        if self._tokens is not None:
            left = float(tokens)
            while left > 0:
                piece = min(left, self._tokens.max_rate)
                await self._tokens.acquire(piece)
                left -= piece


def _per_minute(limit: int) -> AsyncLimiter:
    """A limiter that lets through at most ``limit`` in any minute, its first burst included.

    A leaky bucket of capacity c that drains r a second passes c + 60 r in a minute; c is a
    thirteenth of the limit (five seconds' worth), or one where the limit is small.
    """
    from aiolimiter import AsyncLimiter

    if limit >= _FIVE_SECONDS:
        return AsyncLimiter(limit / _FIVE_SECONDS, 5.0)
    return AsyncLimiter(1.0, 60.0 / max(limit - 1, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """USD per million tokens; ``cached`` is the price of prompt tokens read from a cache."""

    prompt: float
    cached: float
    completion: float

    @staticmethod
    def parse(text: str) -> Prices:
        """From ``PROMPT,CACHED,COMPLETION``. Raises UsageError otherwise."""
        try:
            prompt, cached, completion = (float(part) for part in text.split(","))
            usable = all(0 <= price < float("inf") for price in (prompt, cached, completion))
        except ValueError:
            usable = False
        if not usable:
            raise UsageError(
                f"--price {text}: expected three numbers PROMPT,CACHED,COMPLETION, in USD per "
                "million tokens, e.g. 1.25,0.125,10."
            )
        return Prices(prompt=prompt, cached=cached, completion=completion)

    def cost(self, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float:
        """USD for one call; ``prompt_tokens`` includes the cached ones."""
        fresh = max(prompt_tokens - cached_tokens, 0)
        return (
            fresh * self.prompt + cached_tokens * self.cached + completion_tokens * self.completion
        ) / 1e6


class Budget:
    """A cap in tokens or USD: reserved at the worst case before a request, settled after it.

    Because the worst case is reserved, the cap holds whatever replies cost. What a server bills
    for tries that never came back (time-outs, resets) it does not tell, and nobody can count.
    """

    def __init__(self, cap: float) -> None:
        self.cap = cap
        self.spent = 0.0
        self._reserved = 0.0
        self._under_way = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._condition = asyncio.Condition()

    @property
    def _changed(self) -> asyncio.Condition:
        """The condition of the running loop: runs one after the other have loops of their own."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._condition = loop, asyncio.Condition()
        return self._condition

    @staticmethod
    def parse(text: str) -> tuple[float, str]:
        """The amount and its unit (``USD`` or ``tokens``) of ``5USD``, ``$5`` or ``200000tokens``.

        A bare number means USD. Raises UsageError otherwise.
        """
        amount = text.strip().lower().replace("_", "").removeprefix("$")
        unit = "USD"
        if amount.endswith(("tokens", "token")):
            amount, unit = amount.removesuffix("s").removesuffix("token"), "tokens"
        try:
            value = float(amount.removesuffix("usd").strip())
        except ValueError:
            value = -1.0
        if not 0 < value < float("inf"):
            raise UsageError(f"--budget {text}: expected e.g. 5USD or 2000000tokens.")
        return value, unit

    async def reserve(self, amount: float) -> None:
        """Set an amount aside. Waits while others may settle below what they reserved.

        Raises BudgetSpent if the amount does not fit and nothing is under way that could free it.
        """
        async with self._changed:
            while self.spent + self._reserved + amount > self.cap:
                if self._under_way == 0:
                    raise BudgetSpent
                await self._changed.wait()
            self._reserved += amount
            self._under_way += 1

    async def book(self, spent: float) -> None:
        """Book what was spent beside any reservation: a reply that could not be used."""
        async with self._changed:
            self.spent += spent

    async def settle(self, reserved: float, spent: float) -> None:
        """Give a reservation back and book what was really spent."""
        async with self._changed:
            self._under_way -= 1
            # Sums of floats leave a residue; with nothing under way, nothing is reserved.
            self._reserved = self._reserved - reserved if self._under_way else 0.0
            self.spent += spent
            self._changed.notify_all()


def estimated_tokens(body: bytes) -> int:
    """A cautious guess of the prompt tokens in a request body: a token per three bytes."""
    return len(body) // _BYTES_PER_TOKEN + 1
