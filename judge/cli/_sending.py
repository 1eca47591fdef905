"""How a command reaches a model: limits, retries, prices, the budget; checked before anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from judge.batching import BatchAccount
from judge.endpoint import Budget, ChatEndpoint, ModelSpec, Prices, RateLimits, RetryPolicy
from judge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingOptions:
    """The options that say how requests are sent, as typed."""

    concurrency: int = 32
    timeout: float = 120.0
    max_attempts: int = 6
    rpm: int | None = None
    tpm: int | None = None
    budget: str | None = None
    price: str | None = None


class Sending:
    """Sending options, parsed; for several models, one after the other.

    One price is every model's; several, with ; between them, are one for each. The budget is one
    for all. Raises UsageError for a price or a budget that cannot be meant.
    """

    def __init__(self, options: SendingOptions, models: int = 1) -> None:
        self._options = options
        given = [] if options.price is None else options.price.split(";")
        if len(given) not in (0, 1, models):
            raise UsageError(
                f"--price {options.price}: {len(given)} prices for {models} models; give one for "
                "all, or one for each with ; between them."
            )
        self._prices = [Prices.parse(price) for price in given] * (models // max(len(given), 1))
        self._budget, self._unit = None, "tokens"
        if options.budget is not None:
            amount, self._unit = Budget.parse(options.budget)
            self._budget = Budget(amount)
        if self._unit == "USD" and not given:
            raise UsageError(
                f"--budget {options.budget}: a budget in USD needs the model's prices; add "
                "--price PROMPT,CACHED,COMPLETION (USD per million tokens), or give it in tokens."
            )

    @property
    def prices(self) -> Prices | None:
        """The prices of the only, or the first, model."""
        return self.prices_of(0)

    def prices_of(self, number: int) -> Prices | None:
        """The prices of a model, by its place in the list; None if none were given."""
        return self._prices[number] if self._prices else None

    @property
    def cap(self) -> tuple[float, str] | None:
        """What is left of the budget, and its unit; None without a budget."""
        if self._budget is None:
            return None
        return max(self._budget.cap - self._budget.spent, 0.0), self._unit

    def book(self, account: BatchAccount) -> None:
        """Take what batches took off the budget."""
        if self._budget is not None:
            self._budget.spent += account.spent(self._unit)

    def opener(self, spec: ModelSpec, number: int = 0) -> Callable[[], ChatEndpoint]:
        """What opens the endpoint of a model; all that is opened shares one budget."""
        options = self._options

        def open_endpoint() -> ChatEndpoint:
            return ChatEndpoint(
                spec,
                concurrency=options.concurrency,
                timeout_s=options.timeout,
                retry=RetryPolicy(max_attempts=options.max_attempts),
                rates=RateLimits(requests=options.rpm, tokens=options.tpm),
                prices=self.prices_of(number),
                budget=self._budget,
                budget_unit=self._unit,
            )

        return open_endpoint


def temperature_of(text: str | None, default: float | None = None) -> float | None:
    """The value of --temperature; None for "none", the default where it was not given.

    Raises UsageError for anything else.
    """
    if text is None:
        return default
    if text == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 2:
        raise UsageError(f"--temperature {text}: expected a number from 0 to 2, or none.")
    return value
