"""``--batch``: the calls of a run done in batches before the run itself reads them."""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from judge.batching import (
    BatchAccount,
    BatchSettings,
    Cap,
    Plan,
    Prove,
    open_jobs,
    prefill,
)
from judge.cli._display import spending, tokens_object
from judge.endpoint import ChatEndpoint, Completion, ModelSpec, OnFault, Prices
from judge.errors import ExitCode, Incomplete, UsageError
from judge.examples import ExamplePool
from judge.execution import INTERRUPTED
from judge.ledger import Ledger
from judge.rubric import Rubric
from judge.scoring import Item, ScoreRun, ScoreSettings, collect, missing_calls
from judge.terminal import Bar, say

OpenEndpoint = Callable[[], ChatEndpoint]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """The options about batches, as typed.

    ``wait`` is off with --no-wait; ``rest`` is what becomes of calls that batches did not bring:
    ``open`` or ``live``; ``discount`` is the batch price as a share of --price.
    """

    wait: bool = True
    rest: str = "open"
    discount: float = 1.0
    rounds: int = 2
    poll_s: float = 5.0
    settle_s: float = 20.0


def prefill_for_score(
    ledger: Ledger,
    spec: ModelSpec,
    items: Sequence[Item],
    rubric: Rubric,
    settings: ScoreSettings,
    examples: ExamplePool | None,
    *,
    open_endpoint: OpenEndpoint,
    options: BatchOptions,
    prices: Prices | None = None,
    cap: tuple[float, str] | None = None,
) -> BatchAccount:
    """Have what `judge.scoring.score` would send done in batches, with a display.

    ``cap`` is what may be spent, and its unit (``USD`` or ``tokens``); `BatchAccount.spent` says
    what was. Where the ledger does not know that the server takes requests of this form, one of
    the calls is sent live first. The run that follows finds the calls in the ledger;
    `for_the_rest` gives it its endpoint.

    Ends the process with 130 on an interrupt. Raises UsageError for a judge without a server, and
    what `judge.batching.prefill` raises. Batches can be pending when it returns; see
    `require_collected`.
    """
    account = BatchAccount()

    def plan_of(some: Sequence[Item]) -> Plan:
        return lambda: missing_calls(ledger, some, rubric, spec, settings, examples)

    async def prove() -> None:
        item = next(item for item in items if next(iter(plan_of([item])()), None) is not None)
        one_call = _OneCallEach(spec, open_endpoint)
        run, _ = await collect(
            ledger, [item], rubric, spec, settings, one_call, purpose="judge", examples=examples
        )
        _armed()  # the session took its signal handlers away with it
        account.went_ahead(run.progress)
        if not one_call.answered:
            raise _no_proof(run, spec)

    return prefill_with_display(
        ledger,
        spec,
        plan_of(items),
        prove,
        options=options,
        prices=prices,
        cap=cap,
        account=account,
    )


def prefill_with_display(
    ledger: Ledger,
    spec: ModelSpec,
    plan: Plan,
    prove: Prove,
    *,
    options: BatchOptions,
    prices: Prices | None = None,
    cap: tuple[float, str] | None = None,
    account: BatchAccount | None = None,
) -> BatchAccount:
    """`judge.batching.prefill` for any command, with a display; an interrupt ends with 130."""
    if spec.base_url is None:
        raise UsageError(
            f"--batch: {spec.identity} is no server with batches. Leave --batch out, or name a "
            "provider's model (openai:MODEL or https://HOST/v1#MODEL)."
        )
    settings = BatchSettings(
        wait=options.wait,
        rounds=options.rounds,
        discount=options.discount,
        cap=None if cap is None else Cap(*cap),
        poll_s=options.poll_s,
        settle_s=options.settle_s,
    )
    account = account or BatchAccount()
    try:
        with BatchDisplay(spec.identity, account) as display, _terminated_as_interrupted():
            asyncio.run(
                prefill(
                    ledger,
                    spec,
                    plan,
                    prove=prove,
                    prices=prices,
                    settings=settings,
                    account=account,
                    on_tick=display.update,
                )
            )
    except KeyboardInterrupt:
        say(
            "Interrupted. What was submitted goes on at the server, and nothing is submitted "
            "twice; finished work is kept. Run the same command again to collect."
        )
        sys.exit(ExitCode.INTERRUPTED)
    if account.stopped:
        say(f"Batches stopped: {account.stopped}.")
    return account


def require_collected(accounts: Mapping[str, BatchAccount]) -> None:
    """Raise Incomplete (exit code 12) while batches of any model are pending.

    ``accounts`` are by the model's identity: with several, each was submitted before this is asked.
    """
    pending = [
        f"{account.pending:,} calls are in batches at {name} ({', '.join(account.batches)}; "
        f"{account.phase})"
        for name, account in accounts.items()
        if account.pending
    ]
    if pending:
        raise Incomplete(
            f"incomplete: {'; '.join(pending)}. A batch takes up to 24 hours. Run the same command "
            "again to collect (with --no-wait: one look; without: wait)."
        )


def batch_objects(accounts: Mapping[str, BatchAccount]) -> dict[str, Any]:
    """The ``batches`` object of ``--json``: per judge, what its batches did and took."""
    return {
        name: {
            "batches": account.batches,
            "submitted": account.submitted,
            "adopted": account.adopted,
            "collected": account.collected,
            "failed": dict(account.failed),
            "pending": account.pending,
            "tokens": tokens_object(account),
            "cost": None if account.unpriced else round(account.cost, 6),
        }
        for name, account in accounts.items()
    }


def for_the_rest(open_endpoint: OpenEndpoint, options: BatchOptions) -> OpenEndpoint:
    """The endpoint of the run after its batches: as usual, or one that sends nothing.

    Without --batch-rest live, what batches did not bring is left open (exit code 12 where that is
    too much), and the same command goes on with it.
    """
    if options.rest == "live":
        return open_endpoint

    def opened() -> ChatEndpoint:
        endpoint = open_endpoint()
        endpoint.halt()
        return endpoint

    return opened


def pending_note(ledger: Ledger, spec: ModelSpec) -> str:
    """What a run without --batch should say of batches of its model; empty for none.

    Calls that are in a batch are not sent live, so that such a run waits for them.
    """
    jobs = open_jobs(ledger, spec.identity)
    if not jobs:
        return ""
    calls = sum(job.count for job in jobs)
    return (
        f"{calls:,} calls of {spec.identity} are in batches that were not collected yet (the "
        f"oldest of {jobs[0].at}). They are not sent a second time: add --batch to collect them."
    )


class _OneCall(ChatEndpoint):
    """An endpoint that sends until one request is answered, and nothing after it."""

    async def complete(
        self, body: bytes, max_tokens: int, on_fault: OnFault | None = None
    ) -> Completion:
        """As for every endpoint; the first success is the last."""
        completion = await super().complete(body, max_tokens, on_fault)
        self.halt()
        return completion


class _OneCallEach:
    """Opens endpoints for one call each, as the usual one is set up; knows if one was answered."""

    def __init__(self, spec: ModelSpec, usual: OpenEndpoint) -> None:
        self._spec, self._usual = spec, usual
        self._opened: list[ChatEndpoint] = []

    def __call__(self) -> ChatEndpoint:
        usual = self._usual()
        self._opened.append(
            _OneCall(self._spec, concurrency=1, timeout_s=usual.timeout_s, prices=usual.prices)
        )
        return self._opened[-1]

    @property
    def answered(self) -> bool:
        """Whether any call came back."""
        return any(endpoint.traffic.succeeded for endpoint in self._opened)


def _no_proof(run: ScoreRun, spec: ModelSpec) -> BaseException:
    if run.progress.stopped == INTERRUPTED:
        return KeyboardInterrupt()
    why = run.progress.stopped or "; ".join(run.progress.open_why) or "no reply"
    return Incomplete(
        f"{spec.identity}: the live call that goes before a batch was not answered ({why}). "
        "Nothing was submitted; run the same command again."
    )


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end a wait as Ctrl-C does; a supervisor's stop is no defect."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    _armed()
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _armed() -> None:
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


class BatchDisplay(Bar):
    """A bar over the lines of all batches that are waited for, and a summary at the end."""

    def __init__(self, judge: str, account: BatchAccount) -> None:
        super().__init__(f"batches at {judge}", time_left=False)
        self._account = account
        self._told: set[str] = set()

    def summary(self) -> str:
        """The pre-fill in words, once it has a batch."""
        return summary(self._account) if self._account.batches or self._account.rounds else ""

    def update(self, account: BatchAccount) -> None:
        """Take over the state of the pre-fill; called whenever it changes."""
        for batch in account.batches:
            if batch not in self._told:
                self._told.add(batch)
                say(f"Batch {batch}")
        parts = [account.phase]
        if account.erred:
            parts.append(f"{account.erred:,} failed")
        if account.next_look_s:
            parts.append(f"next look in {account.next_look_s:.0f} s")
        self.show(account.done + account.erred, account.total or None, parts)


def summary(account: BatchAccount) -> str:
    """A pre-fill in a few sentences."""
    text = "One call sent ahead, live. " if account.ahead else ""
    text += (
        f"{account.submitted:,} calls submitted in batches, {account.adopted:,} found there from "
        f"before; {account.collected:,} collected"
    )
    if account.pending:
        text += f", {account.pending:,} still at the server"
    if account.failed:
        why = ", ".join(f"{count:,} {reason}" for reason, count in account.failed.most_common())
        text += f", {account.failed.total():,} without an outcome ({why})"
    text += "."
    if account.strange:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in account.strange.most_common())
        text += f" Left aside of the result files: {kinds}."
    if account.elsewhere:
        text += f" {account.elsewhere:,} calls are under way in another process."
    if account.collected or account.ahead:
        text += f" {spending(account)}"
    return text
