"""What `SqlLedger` needs of a database, and in what databases differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

from judge.errors import LedgerError, NoLedgerError
from judge.ledger._rows import Row

Value: TypeAlias = str | int | bytes

_MIGRATIONS = Path(__file__).parent / "migrations"


class Condition(NamedTuple):
    """An SQL condition with one parameter mark, and the value for the mark."""

    sql: str
    binding: Any


class Database(Protocol):
    """One connection that threads can share. SQL has ``?`` for parameters; errors are LedgerError.

    A statement outside a transaction is a transaction of its own and sees one state of the data.
    """

    url: str
    """The ledger's URL for messages, without any password."""
    place: str
    """How messages about this ledger begin."""
    now: str
    """SQL for the time in seconds since 1970, the same for all who use the ledger."""
    concurrent_writers: bool
    """Whether transactions that write run side by side and wait for each other's rows."""

    def transaction(self, alone_in: str | None = None) -> AbstractContextManager[None]:
        """Writes inside are kept as a whole or not at all; no other thread comes in between.

        ``alone_in`` names a table that nobody else shall write in the meantime.
        """
        ...

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        ...

    def run_many(self, sql: str, rows: Iterable[Row]) -> None:
        """Run one statement for every row of parameters."""
        ...

    def among(self, column: str, values: Sequence[Value]) -> Condition:
        """The condition that a column has one of any number of values, all of one type."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


def migrations(database: str) -> list[str]:
    """The migration scripts of a database; the first brings an empty one to version 1."""
    return [path.read_text("utf-8") for path in sorted((_MIGRATIONS / database).glob("*.sql"))]


def refuse_newer(place: str, version: int, known: int) -> None:
    """Raise LedgerError if a ledger's version is newer than this program knows."""
    if version > known:
        raise LedgerError(
            f"{place}: written by a newer Plumbline (ledger version {version}; this one knows "
            f"versions up to {known}). Upgrade Plumbline, or use another ledger with --ledger. "
            "Nothing was changed."
        )


def no_ledger_yet(place: str) -> NoLedgerError:
    """The error for a ledger that should exist and does not."""
    return NoLedgerError(
        f"{place}: there is no ledger here yet. Score some answers first (judge score, "
        "judge demo), or name the right one with --ledger."
    )
