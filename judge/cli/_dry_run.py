"""``--dry-run``: what would be sent, and what it costs at most."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from judge.endpoint import Prices
from judge.errors import NoLedgerError
from judge.execution import Workload
from judge.ledger import Ledger, open_ledger
from judge.terminal import print_json, say


def worst_cost(work: Workload, prices: Prices | None) -> float | None:
    """What a workload costs at most in USD; None without prices."""
    return None if prices is None else prices.cost(work.prompt_tokens, 0, work.completion_tokens)


def workload_object(work: Workload, cost: float | None) -> dict[str, Any]:
    """The ``run`` object of ``--json`` with ``--dry-run``."""
    return {
        "planned": work.planned,
        "from_ledger": work.planned - work.covered,
        "sent": 0,
        "would_send": work.calls,
        "prompt_tokens": work.prompt_tokens,
        "completion_tokens_at_most": work.completion_tokens,
        "cost_at_most": cost,
    }


def at_most(work: Workload, cost: float | None) -> str:
    """What a workload takes at most, in words."""
    return (
        f"about {work.prompt_tokens:,} prompt tokens and at most {work.completion_tokens:,} reply "
        "tokens" + ("" if cost is None else f", at most ${cost:,.2f}")
    )


@contextmanager
def ledger_or_empty(url: str, *, needed: bool) -> Iterator[Ledger]:
    """The ledger, or, unless it is needed, an empty one in its place: none is created."""
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            ledger = open_ledger(url, create=False)
        except NoLedgerError:
            if needed:
                raise
            ledger = open_ledger(f"sqlite:///{nowhere}/empty.db")
        try:
            yield ledger
        finally:
            ledger.close()


def show_workload(
    work: Workload, to: str, cost: float | None, *, as_json: bool, units: str = "units"
) -> None:
    """Say what would be sent to a model; ``cost`` is its worst case in USD, None if unpriced."""
    if as_json:
        print_json({"run": workload_object(work, cost)})
    say(
        f"{work.planned} {units}; {work.planned - work.covered} need no call, {work.calls} "
        f"call{'s' if work.calls != 1 else ''} would be sent to {to}: {at_most(work, cost)}. "
        "Nothing was sent."
    )
