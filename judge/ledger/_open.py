"""From a ledger URL to a ledger."""

from __future__ import annotations

import re
from pathlib import Path

from judge.errors import UsageError
from judge.ledger._protocol import Ledger
from judge.ledger._sql import SqlLedger

_SQLITE = "sqlite:///"
_POSTGRES = ("postgresql://", "postgres://")


def open_ledger(url: str, *, create: bool = True) -> Ledger:
    """Open the ledger of a URL.

    ``sqlite:///relative.db`` or ``sqlite:////absolute.db`` is a file,
    ``postgresql://USER@HOST/DATABASE`` a database. A missing SQLite file is created, and an empty
    PostgreSQL database set up, unless ``create`` is false. Raises UsageError for a URL of another
    form or a driver that is not installed, and LedgerError for a ledger that cannot be used.
    """
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        from judge.ledger._sqlite import SqliteDatabase

        return SqlLedger(SqliteDatabase(Path(url.removeprefix(_SQLITE)), create=create))
    shown = without_password(url)
    if url.startswith(_POSTGRES):
        try:
            from judge.ledger._postgres import PostgresDatabase
        except ImportError as error:
            raise UsageError(
                f"--ledger {shown}: PostgreSQL needs a driver that is not installed ({error}). "
                "Install it with: pip install 'psycopg[binary]'"
            ) from error
        return SqlLedger(PostgresDatabase(url, shown, create=create))
    raise UsageError(
        f"--ledger {shown}: not a ledger URL; expected sqlite:///FILE (four slashes for an "
        "absolute path) or postgresql://USER@HOST/DATABASE."
    )


def without_password(url: str) -> str:
    """A URL as messages show it: no password, no parameters (which can hold one as well).

    Where it is doubtful what belongs to the password, more is left out.
    """
    scheme, mark, rest = url.partition("://")
    if not mark or scheme == "sqlite":
        return url
    shown = re.sub(r"^([^:@/?]*):.*@", r"\1@", rest, flags=re.DOTALL)
    return f"{scheme}://{shown}".partition("?")[0]
