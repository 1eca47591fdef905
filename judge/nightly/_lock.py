"""One run of a series at a time: a claim in the series' ledger, kept alive while the run goes on.

The claim works wherever the ledger is, for several machines as well. A run that died on this
machine gives it up at once, one that died elsewhere when its lease runs out.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from judge.canonical import digest
from judge.errors import LedgerError, UsageError
from judge.ledger import Ledger, SeriesEvent, open_ledger, this_owner

LEASE_S = 120.0
"""Seconds after the last sign of life after which another machine may take a series over."""
LOCKED = "locked"
"""The kind of the series' events that say who began a run, and when."""
_RENEWALS = 4  # per lease
_UNKNOWN = "by a run that has not said which"


class SeriesLock:
    """A lock that is held; `series_lock` makes it."""

    def __init__(self, ledger: Ledger, series: str, lease_s: float) -> None:
        self._ledger = ledger
        self._series = series
        self._lease_s = lease_s
        self._key = digest(["nightly", series])
        self._owner = this_owner()
        self._ended = threading.Event()
        self._lost = threading.Event()
        self._problem = ""

    @property
    def lost(self) -> bool:
        """Whether another run may have begun, so that this one should end as soon as it can."""
        return self._lost.is_set()

    def require_held(self) -> None:
        """Raise LedgerError if the lock was lost."""
        if self.lost:
            raise LedgerError(
                f"The series {self._series} is no longer ours: {self._problem}. All finished work "
                "is kept; run the same command again to go on."
            )

    def take(self) -> None:
        """Take the lock. Raises UsageError, with who holds it, if it is not free."""
        if not self._claim():
            raise UsageError(
                f"The series {self._series} is being run already, {self._holder()}. Wait until "
                "that run has ended; if its machine is gone, its claim ends "
                f"{self._lease_s:g} seconds after its last sign of life."
            )
        self._ledger.add_series_event(
            SeriesEvent(
                series=self._series,
                kind=LOCKED,
                name=self._owner,
                body={
                    "host": socket.gethostname(),
                    "process": os.getpid(),
                    "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
                },
            )
        )

    def keep(self) -> None:
        """Renew the lease until the lock is given back or lost; the body of a thread.

        A ledger that cannot be reached is asked again: as long as the lease holds, nobody else
        gets the lock.
        """
        problem = "its claim is no longer renewed, by a defect of ours"
        try:
            valid_until = time.monotonic() + self._lease_s
            while not self._ended.wait(self._lease_s / _RENEWALS):
                asked = time.monotonic()
                try:
                    if not self._claim():
                        problem = "another run has taken it over"
                        return
                    valid_until = asked + self._lease_s
                except LedgerError as error:
                    if time.monotonic() > valid_until:
                        problem = f"its claim could not be renewed ({error})"
                        return
        finally:
            if not self._ended.is_set():
                self._problem = problem
                self._lost.set()

    def give_back(self) -> None:
        """Let others have the lock."""
        self._ledger.release(self._owner)

    def end(self) -> None:
        """Tell `keep` to end."""
        self._ended.set()

    def _claim(self) -> bool:
        """Take or renew the claim; False if somebody else has it."""
        claim = self._ledger.claim({self._key: 0}, self._owner, self._lease_s)
        return self._key in claim.granted

    def _holder(self) -> str:
        """Who took the lock last, and when."""
        events = self._ledger.series_events(self._series, LOCKED)
        if not events:
            return _UNKNOWN
        last = events[-1].body
        return f"by process {last['process']} on {last['host']}, since {last['since']}"


@contextmanager
def series_lock(ledger_url: str, series: str, *, lease_s: float = LEASE_S) -> Iterator[SeriesLock]:
    """Hold a series in its ledger: no other run of it begins meanwhile, here or elsewhere.

    A thread with a connection of its own renews the lease four times within ``lease_s`` seconds.
    What begins a run is noted as an event of kind `LOCKED`. A long run asks the lock now and then
    whether it is ``lost``, which happens if the machine slept or the ledger was out of reach for
    longer than the lease.

    Raises UsageError that says who holds the series and since when, and LedgerError if the ledger
    cannot be used, or if at the end the lock turns out to be lost.
    """
    ledger = open_ledger(ledger_url)
    try:
        lock = SeriesLock(ledger, series, lease_s)
        lock.take()
        keeper = threading.Thread(target=lock.keep, name=f"lock of {series}", daemon=True)
        keeper.start()
        try:
            yield lock
        finally:
            lock.end()
            keeper.join()
            if not lock.lost:
                lock.give_back()
        lock.require_held()
    finally:
        ledger.close()
