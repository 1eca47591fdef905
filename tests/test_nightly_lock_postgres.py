"""The lock of a series where the ledger is a PostgreSQL database."""

from __future__ import annotations

from pathlib import Path

import pytest

from judge.errors import UsageError
from judge.nightly._lock import series_lock
from tests.test_nightly_lock import end, hold_elsewhere

pytest.importorskip("psycopg")
pytestmark = pytest.mark.postgres

from tests.test_ledger_postgres import schema, server, url_of  # noqa: E402

__all__ = ["schema", "server"]  # fixtures


def test_one_run_at_a_time_and_a_dead_one_is_succeeded(server: Path, schema: str) -> None:
    url = url_of(server, schema)
    process = hold_elsewhere(url, 3600.0)
    try:
        with pytest.raises(UsageError, match=f"process {process.pid} on"), series_lock(url, "bot"):
            pytest.fail("two runs of one series at once")
    finally:
        end(process)
    with series_lock(url, "bot", lease_s=0.4) as lock:
        assert not lock.lost
