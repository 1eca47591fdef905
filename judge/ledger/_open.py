"""From a ledger URL to a ledger."""

from __future__ import annotations

from pathlib import Path

from judge.errors import UsageError
from judge.ledger._protocol import Ledger

_SQLITE = "sqlite:///"


def open_ledger(url: str, *, create: bool = True) -> Ledger:
    """Open the ledger of a URL: ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.

    A missing SQLite ledger is created unless ``create`` is false. Raises UsageError for a URL of
    another form and LedgerError for a ledger that cannot be used.
    """
    if url.startswith(_SQLITE) and len(url) > len(_SQLITE):
        from judge.ledger._sqlite import SqliteLedger

        return SqliteLedger(Path(url.removeprefix(_SQLITE)), create=create)
    raise UsageError(
        f"--ledger {url}: not a ledger URL; expected sqlite:///FILE "
        "(four slashes for an absolute path)."
    )
