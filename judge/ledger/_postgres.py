"""The team's database: PostgreSQL, through psycopg 3."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from judge.errors import LedgerError, UsageError
from judge.ledger._database import Condition, Value, migrations, no_ledger_yet, refuse_newer
from judge.ledger._rows import Row

_CONNECT_TIMEOUT_S = 10
_MIGRATING = 0x504C4D42  # "PLMB": number of the advisory lock
_ANOTHER_PROGRAM = (errors.DuplicateTable, errors.DuplicateFunction, errors.DuplicateObject)
_NOT_ALLOWED = (
    errors.InsufficientPrivilege,
    errors.ReadOnlySqlTransaction,
    errors.InvalidSchemaName,
)
_COLLIDED = (errors.DeadlockDetected, errors.SerializationFailure, errors.LockNotAvailable)


class PostgresDatabase:
    """One connection to a PostgreSQL server; see `Database`.

    The tables lie in the first schema of the search path. What was committed is durable as far as
    the server's settings say. A lost connection is not opened again.
    """

    now = "extract(epoch FROM clock_timestamp())::double precision"
    concurrent_writers = True

    def __init__(self, url: str, shown: str, *, create: bool = True) -> None:
        self.url = shown
        self.place = shown
        self._lock = threading.RLock()
        try:
            settings: dict[str, Any] = conninfo_to_dict(url)
        except psycopg.Error:
            # The driver's own words can hold a part of the password.
            raise UsageError(
                f"--ledger {shown}: not a URL that PostgreSQL understands; expected "
                "postgresql://USER@HOST/DATABASE. Write special characters of names and the "
                "password as %XX."
            ) from None
        settings.setdefault("connect_timeout", _CONNECT_TIMEOUT_S)
        settings.setdefault("application_name", "plumbline")
        settings["client_encoding"] = "UTF8"
        try:
            self._db = psycopg.connect(make_conninfo("", **settings), autocommit=True)
        except psycopg.Error as error:
            raise LedgerError(
                f"{shown}: the PostgreSQL server cannot be reached, or refuses ({_words(error)}). "
                "Check host, port, database and user, and that the server runs; the password can "
                "come from PGPASSWORD or ~/.pgpass."
            ) from error
        try:
            # What the ledger promises on races rests on every statement seeing the newest commits.
            self._db.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            self._migrate(create=create)
        except BaseException:
            self._db.close()
            raise

    def _migrate(self, *, create: bool) -> None:
        """Bring a new or older database up to date; refuse a newer one."""
        scripts = migrations("postgres")
        version = self._version(len(scripts))
        if version == len(scripts):
            return
        if version == 0 and not create:
            raise no_ledger_yet(self.place)
        with self.transaction():
            self._db.execute("SELECT pg_advisory_xact_lock(%s)", (_MIGRATING,))
            # Another process may have migrated since the version was read.
            version = self._version(len(scripts))
            for number, script in enumerate(scripts[version:], version + 1):
                self._db.execute(script.encode())
                self._db.execute("INSERT INTO plumbline_ledger (version) VALUES (%s)", (number,))

    def _version(self, known: int) -> int:
        """The version of the ledger, 0 if there is none; LedgerError if it is newer than known."""
        # Not to_regclass, which can answer from a cache that a wait for the lock did not renew.
        ((there,),) = self.rows(
            "SELECT count(*) FROM pg_tables WHERE tablename = 'plumbline_ledger' "
            "AND schemaname = ANY(current_schemas(false))"
        )
        version = 0
        if there:
            ((version,),) = self.rows("SELECT coalesce(max(version), 0) FROM plumbline_ledger")
        refuse_newer(self.place, version, known)
        return int(version)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn a database error into one that says which ledger, what, and what to do."""
        try:
            yield
        except errors.DiskFull as error:
            raise LedgerError(
                f"{self.place}: the server's disk is full; the ledger could not be written. "
                "Everything committed before is intact. Free some space there and run the same "
                "command again."
            ) from error
        except _ANOTHER_PROGRAM as error:
            raise LedgerError(
                f"{self.place}: holds tables of another program ({_words(error)}). Give the ledger "
                "a database or a schema of its own. Nothing was changed."
            ) from error
        except _NOT_ALLOWED as error:
            raise LedgerError(
                f"{self.place}: the user may not do this ({_words(error)}). Name another user in "
                "--ledger, or have the rights granted."
            ) from error
        except _COLLIDED as error:
            raise LedgerError(
                f"{self.place}: another process was writing the same rows ({_words(error)}). "
                "Everything committed before is intact. Run the same command again."
            ) from error
        except (psycopg.IntegrityError, psycopg.DataError) as error:
            raise LedgerError(
                f"{self.place}: a value is not what the ledger may hold ({_words(error)}). Nothing "
                "of what was to be stored with it was stored."
            ) from error
        except psycopg.OperationalError as error:
            raise LedgerError(
                f"{self.place}: the PostgreSQL server failed or the connection was lost "
                f"({_words(error)}). Everything committed before is intact. Check the server and "
                "run the same command again."
            ) from error

    @contextmanager
    def transaction(self, alone_in: str | None = None) -> Iterator[None]:
        """Writes are kept as a whole or not at all; other connections can write meanwhile."""
        with self._lock, self._explained(), self._db.transaction():
            if alone_in is not None:
                self._db.execute(f"LOCK TABLE {alone_in} IN SHARE ROW EXCLUSIVE MODE".encode())
            yield

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        with self._lock, self._explained():
            cursor = self._db.execute(_marked(sql), bindings)
            return cursor.fetchall() if cursor.description else []

    def run_many(self, sql: str, rows: Iterable[Row]) -> None:
        """Run one statement for every row of parameters."""
        with self._lock, self._explained(), self._db.cursor() as cursor:
            cursor.executemany(_marked(sql), rows)

    def among(self, column: str, values: Sequence[Value]) -> Condition:
        """The condition that a column has one of the values, which travel as one array."""
        return Condition(f"{column} = ANY(?)", list(values))

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._db.close()


def _marked(sql: str) -> bytes:
    """A statement with psycopg's parameter marks; the ledger's SQL has no other ? and no %."""
    return sql.replace("?", "%s").encode()


def _words(error: psycopg.Error) -> str:
    """What the server or the driver says, in one line."""
    return " ".join(str(error).split())
