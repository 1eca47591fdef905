"""What a pre-fill is asked to do, and the account of what it did."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from judge.endpoint import Prices, Usage
from judge.execution import CallRequest, Progress


class Cap(NamedTuple):
    """A budget: an amount of ``USD`` or of ``tokens``."""

    amount: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSettings:
    """How calls are put into batches, and how patiently the server is asked for them.

    ``max_lines`` and ``max_bytes`` bound one input file (OpenAI takes 50,000 lines and 200 MB).
    ``discount`` is what a batch costs as a share of the prices as given: 1.0 means that the prices
    are those of the batch already. ``rounds`` is how often lines that failed are handed in, the
    first time included. Without ``wait``, the server is looked at once.
    """

    max_lines: int = 50_000
    max_bytes: int = 100 * 2**20
    rounds: int = 2
    wait: bool = True
    discount: float = 1.0
    cap: Cap | None = None
    poll_s: float = 5.0
    """First wait between two looks at the server; waits grow by half."""
    longest_poll_s: float = 60.0
    settle_s: float = 20.0
    """How long a submission that was not answered may take to appear in the server's list."""
    max_attempts: int = 6
    """Tries of an upload or a submission."""
    first_wait_s: float = 0.5
    timeout_s: float = 600.0
    """Seconds for one request; files are large."""


@dataclass(slots=True)
class BatchAccount:
    """What a pre-fill did so far; read by the display and the summary. Counts are calls."""

    submitted: int = 0
    """Handed in by this pre-fill, again in every round."""
    adopted: int = 0
    """Found to be at the server already, from an earlier or another process."""
    collected: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    """Without a usable outcome, by reason; open again."""
    strange: Counter[str] = field(default_factory=Counter)
    """Lines of result files that were left aside: alien, duplicate, unreadable."""
    pending: int = 0
    """At the server when the pre-fill ended."""
    elsewhere: int = 0
    """Left out of the last round because another process has them under way."""
    rounds: int = 0
    batches: list[str] = field(default_factory=list)
    """Ids at the server, in the order in which they were met."""
    ahead: bool = False
    """A call was sent live to prove the form of the requests; what it took is counted here."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    """USD, with the discount."""
    unpriced: int = 0
    """Calls whose cost is unknown."""
    stopped: str = ""
    phase: str = ""
    total: int = 0
    """Lines of the batches that are waited for; ``done`` and ``erred`` are the server's counts."""
    done: int = 0
    erred: int = 0
    next_look_s: float = 0.0

    def book(self, usage: Usage, cost: float | None) -> None:
        """Count what a reply took, whether it could be used or not."""
        self.prompt_tokens += usage.prompt_tokens or 0
        self.cached_tokens += usage.cached_tokens or 0
        self.completion_tokens += usage.completion_tokens or 0
        self.cost += cost or 0.0
        self.unpriced += cost is None

    def went_ahead(self, progress: Progress) -> None:
        """Count what a live call took, at the price of live calls."""
        self.ahead = True
        self.prompt_tokens += progress.prompt_tokens
        self.cached_tokens += progress.cached_tokens
        self.completion_tokens += progress.completion_tokens
        self.cost += progress.cost
        self.unpriced += progress.unpriced

    def spent(self, unit: str) -> float:
        """What collected calls took, in ``USD`` or ``tokens``."""
        return self.cost if unit == "USD" else float(self.prompt_tokens + self.completion_tokens)


def worst_case(
    request: CallRequest, unit: str, prices: Prices | None, discount: float = 1.0
) -> float:
    """What a call can take at most, in a budget's unit; a byte is at most a token.

    Raises ValueError for USD without prices.
    """
    if unit == "tokens":
        return float(len(request.body) + request.max_tokens)
    if prices is None:
        raise ValueError("a worst case in USD needs prices")
    return discount * prices.cost(len(request.body), 0, request.max_tokens)
