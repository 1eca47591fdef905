"""The embedded database: SQLite in WAL mode, through apsw.

apsw brings its own SQLite: versions 3.7.0 to 3.51.2, which many systems ship, can corrupt a WAL
database that two connections write.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw

from judge.errors import LedgerError
from judge.ledger._database import Condition, Value, migrations, no_ledger_yet, refuse_newer
from judge.ledger._rows import Row

_APPLICATION_ID = 0x504C4D42  # "PLMB"
_BUSY_TIMEOUT_MS = 30_000
_LOCKED_AGAIN_S = 0.01
_LOCKED = (apsw.BusyError, apsw.LockedError, apsw.ProtocolError)


class SqliteDatabase:
    """One SQLite file; see `Database`.

    One connection, guarded by a lock, so that a writer thread and the main thread can share it.
    Committed work survives the kill of the process; after a power loss the file is consistent,
    but the last commits may be missing (synchronous=NORMAL).
    """

    now = "unixepoch('subsec')"
    concurrent_writers = False

    def __init__(self, path: Path, *, create: bool = True) -> None:
        self.url = f"sqlite:///{path}"
        self.place = str(path)
        self._lock = threading.RLock()
        if not create and not path.exists():
            raise no_ledger_yet(self.place)
        if not path.parent.is_dir():
            raise LedgerError(f"{path}: the folder {path.parent} does not exist. Create it first.")
        flags = apsw.SQLITE_OPEN_READWRITE | (apsw.SQLITE_OPEN_CREATE if create else 0)
        with self._explained():
            self._db = apsw.Connection(str(path), flags=flags)
            try:
                self._db.set_busy_timeout(_BUSY_TIMEOUT_MS)
                self._migrate()
            except BaseException:
                self._db.close()
                raise

    def _migrate(self) -> None:
        """Bring a new or older file up to date; refuse a newer one and a foreign one."""
        scripts = migrations("sqlite")
        version = self._version(len(scripts))
        self._use_wal()
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if version == len(scripts):
            return
        with self.transaction():
            # Another process may have migrated since the version was read.
            for script in scripts[self._version(len(scripts)) :]:
                self._db.execute(script)
            self._db.execute(f"PRAGMA user_version = {len(scripts)}")
            self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")

    def _version(self, known: int) -> int:
        """The version of the file, 0 for an empty one; LedgerError if it is not for us.

        One statement, so that a file that another process is just creating is not taken for a
        foreign one: with some of its values from before and some from after.
        """
        (version, application, tables), *_ = self._db.execute(
            "SELECT user_version, application_id, (SELECT count(*) FROM sqlite_schema) "
            "FROM pragma_user_version, pragma_application_id"
        )
        if application != _APPLICATION_ID and (tables or application):
            raise LedgerError(
                f"{self.place}: a SQLite file of another program. Choose another file with "
                "--ledger."
            )
        refuse_newer(self.place, version, known)
        return int(version)

    def _use_wal(self) -> None:
        """Switch to a write-ahead log, with which readers and a writer do not block each other.

        SQLite does not wait for a process that does the same at this moment, so that is done here.
        """
        deadline = time.monotonic() + _BUSY_TIMEOUT_MS / 1000
        while True:
            try:
                ((mode,),) = self._db.execute("PRAGMA journal_mode = WAL")
            except _LOCKED:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOCKED_AGAIN_S)
            else:
                break
        if mode != "wal":
            raise LedgerError(
                f"{self.place}: this place cannot hold a ledger, because SQLite cannot keep a "
                "write-ahead log there. Choose a file on a local disk with --ledger."
            )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Turn a database error into one that says which ledger, what, and what to do."""
        try:
            yield
        except apsw.FullError as error:
            raise LedgerError(
                f"{self.place}: the disk is full; the ledger could not be written. Everything "
                "committed before is intact. Free some space and run the same command again."
            ) from error
        except (apsw.NotADBError, apsw.CorruptError) as error:
            raise LedgerError(
                f"{self.place}: not a readable SQLite database ({error}). Name another file with "
                "--ledger, or restore this one from a copy."
            ) from error
        except (apsw.ReadOnlyError, apsw.CantOpenError, apsw.PermissionsError) as error:
            raise LedgerError(
                f"{self.place}: cannot be opened for writing ({error}). Check that it is a file, "
                "and the permissions of the file and its folder; SQLite writes into both, also to "
                "read."
            ) from error
        except apsw.IOError as error:
            raise LedgerError(
                f"{self.place}: the system could not read or write the ledger ({error}). "
                "Everything committed before is intact. Check the disk, and whether it is full, "
                "and run the same command again."
            ) from error
        except _LOCKED as error:
            raise LedgerError(
                f"{self.place}: another process kept the ledger locked for "
                f"{_BUSY_TIMEOUT_MS // 1000} s. Wait for it, then run the same command again."
            ) from error
        except apsw.ConstraintError as error:
            raise LedgerError(
                f"{self.place}: a value is not what the ledger may hold ({error}). Nothing of what "
                "was to be stored with it was stored."
            ) from error

    @contextmanager
    def transaction(self, alone_in: str | None = None) -> Iterator[None]:
        """Writes are kept as a whole or not at all. SQLite lets one process write at a time."""
        with self._lock, self._explained():
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def rows(self, sql: str, bindings: Sequence[Any] = ()) -> list[Row]:
        """Run one statement and return its rows."""
        with self._lock, self._explained():
            return list(self._db.execute(sql, bindings))

    def run_many(self, sql: str, rows: Iterable[Row]) -> None:
        """Run one statement for every row of parameters."""
        with self._lock, self._explained():
            self._db.executemany(sql, rows)

    def among(self, column: str, values: Sequence[Value]) -> Condition:
        """The condition that a column has one of the values, which travel as one JSON array."""
        plain = [value.hex() if isinstance(value, bytes) else value for value in values]
        decoded = "unhex(value)" if values and isinstance(values[0], bytes) else "value"
        return Condition(f"{column} IN (SELECT {decoded} FROM json_each(?))", json.dumps(plain))

    def close(self) -> None:
        """Close the connection; the last one folds the write-ahead log into the file."""
        with self._lock, self._explained():
            self._db.close()
