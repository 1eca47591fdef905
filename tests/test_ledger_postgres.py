"""The PostgreSQL ledger: the contract, and what is special to a server.

Every test has a schema of its own in a temporary server, which listens on a Unix socket alone.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Thread
from typing import Any
from urllib.parse import quote

import pytest

from judge.canonical import digest
from judge.errors import LedgerError, UsageError
from judge.ledger import Ledger, open_ledger
from judge.ledger._database import migrations

pytest.register_assert_rewrite("tests.ledger_contract")

from tests.ledger_contract import (  # noqa: E402
    ANSWER,
    APPEND_ONLY,
    K1,
    QUESTION,
    RATING,
    RUN,
    LedgerContract,
    Place,
    fill,
    worker,
)
from tests.ledger_workers import make_call, make_verdict  # noqa: E402

psycopg = pytest.importorskip("psycopg")
pytestmark = pytest.mark.postgres

_START_S = 60
_USER = "plumbline"


def programs() -> Path | None:
    """The folder of PostgreSQL's server programs; the newest version where there are several."""
    found = list(Path("/usr/lib/postgresql").glob("*/bin"))
    found.sort(key=lambda folder: float(folder.parent.name))
    if (pg_config := shutil.which("pg_config")) is not None:
        told = subprocess.run([pg_config, "--bindir"], capture_output=True, text=True, check=False)
        found.append(Path(told.stdout.strip()))
    if (on_path := shutil.which("initdb")) is not None:
        found.append(Path(on_path).parent)
    complete = [folder for folder in found if (folder / "initdb").is_file()]
    return complete[-1] if complete else None


def server_account() -> dict[str, Any]:
    """How to start a process as a user that PostgreSQL accepts: it refuses root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """The socket folder of a running server."""
    bin_folder = programs()
    if bin_folder is None:
        pytest.skip("no PostgreSQL server is installed")
    account = server_account()
    # A short path: the name of a Unix socket has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="plumbline-pg-", dir="/tmp"))
    if account:
        os.chown(folder, account["user"], account["group"])
    folder.chmod(0o755)
    try:
        subprocess.run(
            [bin_folder / "initdb", "--pgdata", folder / "data", "--username", _USER,
             "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync"],
            check=True, capture_output=True, cwd=folder, **account,
        )  # fmt: skip
        with (folder / "log").open("w") as log, subprocess.Popen(
            [bin_folder / "postgres", "-D", folder / "data", "-k", folder, "-c",
             "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"],
            stdout=subprocess.DEVNULL, stderr=log, cwd=folder, **account,
        ) as process:  # fmt: skip
            try:
                wait_until_ready(process, folder)
                yield folder
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder)


def wait_until_ready(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return once the server takes connections; fail with its log if it ends before."""
    deadline = time.monotonic() + _START_S
    while True:
        try:
            return psycopg.connect(host=str(folder), user=_USER, dbname="postgres").close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"PostgreSQL did not start: {(folder / 'log').read_text()}")
            time.sleep(0.02)


@pytest.fixture
def schema(server: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty schema."""
    name = f"test_{abs(hash(request.node.nodeid))}"
    with psycopg.connect(host=str(server), user=_USER, dbname="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE SCHEMA {name}")
        yield name
        admin.execute("SET client_min_messages = warning")
        admin.execute(f"DROP SCHEMA {name} CASCADE")


def url_of(server: Path, schema: str, *options: str, password: str = "") -> str:
    """A URL whose connections work in a schema."""
    settings = quote(" ".join(f"-c {option}" for option in (f"search_path={schema}", *options)))
    user = f"{_USER}:{quote(password, safe='')}" if password else _USER
    return f"postgresql://{user}@/postgres?host={quote(str(server), safe='')}&options={settings}"


@pytest.fixture
def place(server: Path, schema: str) -> Place:
    url = url_of(server, schema)

    def sql(statement: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return Place(url, sql)


@pytest.fixture
def ledger(place: Place) -> Iterator[Ledger]:
    opened = open_ledger(place.url)
    yield opened
    opened.close()


class TestContract(LedgerContract):
    """PostgreSQL keeps the contract."""


class TestAppendOnly:
    """What only PostgreSQL can do to a table."""

    @pytest.mark.parametrize("table", [*APPEND_ONLY, "plumbline_ledger"])
    def test_nothing_is_emptied_or_overwritten(
        self, place: Place, ledger: Ledger, table: str
    ) -> None:
        fill(ledger)
        before = place.sql(f"SELECT * FROM {table}")
        changed = {"plumbline_ledger": "migrated_at", **APPEND_ONLY}[table]
        key = {"plumbline_ledger": "version", "documents": "key", "run_answers": "run, answer"}
        for statement in (
            f"TRUNCATE {table} CASCADE",
            f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM {table} "
            f"ON CONFLICT ({key.get(table, 'id')}) DO UPDATE SET {changed} = excluded.{changed}",
        ):
            with pytest.raises(psycopg.errors.RaiseException, match="is append-only"):
                place.sql(statement)
        assert place.sql(f"SELECT * FROM {table}") == before

    def test_row_numbers_are_the_servers(self, place: Place, ledger: Ledger) -> None:
        with pytest.raises(psycopg.errors.GeneratedAlways):
            place.sql("INSERT INTO capabilities VALUES (7, 'm', '{}', 'now')")


class TestRefusals:
    """Servers and databases that cannot be used; the error says what to do."""

    def test_a_newer_ledger(self, place: Place, ledger: Ledger) -> None:
        newer = len(migrations("postgres")) + 1
        place.sql(f"INSERT INTO plumbline_ledger (version) VALUES ({newer})")
        with pytest.raises(LedgerError, match=r"newer Plumbline.*version 4.*Nothing was changed"):
            open_ledger(place.url)

    def test_tables_of_another_program(self, place: Place) -> None:
        place.sql("CREATE TABLE calls (x integer)")
        with pytest.raises(LedgerError, match="tables of another program"):
            open_ledger(place.url)
        tables = place.sql(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        )
        assert tables == [("calls",)]

    def test_a_schema_that_is_missing(self, server: Path) -> None:
        with pytest.raises(LedgerError, match="no schema has been selected"):
            open_ledger(url_of(server, "nowhere"))

    def test_a_user_who_may_only_read(self, server: Path, schema: str, ledger: Ledger) -> None:
        fill(ledger)
        reader = open_ledger(url_of(server, schema, "default_transaction_read_only=on"))
        assert len(reader.verdicts()) == len(reader.answers()) == 1
        with pytest.raises(LedgerError, match=r"may not do this.*read-only transaction"):
            reader.append(calls=[make_call(K1)])
        assert reader.calls([K1])
        reader.close()

    @pytest.mark.parametrize("password", ["secret", "s:e@c/r?e%t", "ge heim"])
    def test_a_server_that_is_not_there(self, tmp_path: Path, password: str) -> None:
        with pytest.raises(LedgerError, match="cannot be reached") as caught:
            open_ledger(url_of(tmp_path, "any", password=password))
        assert f"postgresql://{_USER}@/postgres: " in str(caught.value)
        assert password not in str(caught.value)
        assert quote(password, safe="") not in str(caught.value)

    def test_a_url_that_is_malformed(self) -> None:
        with pytest.raises(UsageError, match="PostgreSQL understands") as caught:
            open_ledger("postgresql://u:sec%zzret@h/d")
        assert "zz" not in str(caught.value)
        assert caught.value.__suppress_context__, "the driver's words hold the password"

    def test_no_url_shows_the_password(self, server: Path, schema: str) -> None:
        ledger = open_ledger(url_of(server, schema, password="secret"))
        assert ledger.url == f"postgresql://{_USER}@/postgres"
        with pytest.raises(LedgerError) as caught:
            ledger.document(K1)
        assert str(caught.value).startswith(f"{ledger.url}: ")
        ledger.close()

    def test_a_connection_that_is_lost(self, place: Place, ledger: Ledger) -> None:
        ledger.append(calls=[make_call(K1)])
        place.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'plumbline'"
        )
        for _ in range(2):
            with pytest.raises(LedgerError, match=r"the connection was lost.*is intact"):
                ledger.append(calls=[make_call(K1, 1)])
        again = open_ledger(place.url)
        assert again.calls([K1])[K1].generation == 0
        again.close()

    def test_a_text_that_postgresql_cannot_hold(self, ledger: Ledger) -> None:
        with pytest.raises(LedgerError, match=r"not what the ledger may hold.*NUL"):
            ledger.add_answers([ANSWER, replace(ANSWER, sample=2, answer="a\0b")])
        assert ledger.answers() == []

    def test_a_closed_ledger(self, ledger: Ledger) -> None:
        ledger.close()
        with pytest.raises(LedgerError, match="closed"):
            ledger.answers()


class TestConcurrency:
    """Writers side by side, in ways that SQLite does not have."""

    def test_a_claim_waits_for_a_call_that_is_being_stored(
        self, place: Place, ledger: Ledger
    ) -> None:
        ledger.claim({K1: 0}, "me", 3600)
        with psycopg.connect(place.url) as other:
            call = make_call(K1)
            other.execute(
                "INSERT INTO calls (key, generation, purpose, model, sample, occasion, request, "
                "response, status_code, latency_s, attempts, started_at) VALUES "
                "(%s, 0, 'judge', 'm', 0, '', '', '', 200, 1, 1, '')",
                (call.key,),
            )
            other.execute("DELETE FROM claims WHERE key = %s", (call.key,))
            with worker("hold", place.url, K1.hex()) as process:
                wait_for_lock(place)
                other.commit()
                assert process.stdout is not None
                assert process.stdout.readline() == "0\n", "finished, not granted"

    @pytest.mark.parametrize("what", ["append", "verdicts", "answers", "ratings", "runs"])
    def test_the_same_rows_in_another_order_do_not_end_in_a_deadlock(
        self, place: Place, ledger: Ledger, what: str
    ) -> None:
        ledger.add_answers([ANSWER])
        other = open_ledger(place.url)
        problems: list[Exception] = []
        together = Barrier(2)

        def work(on: Ledger, name: str, step: int) -> None:
            for occasion in range(8):
                together.wait()
                try:
                    store(on, what, str(occasion), name, step)
                except Exception as error:
                    problems.append(error)

        threads = [
            Thread(target=work, args=(ledger, "one", 1)),
            Thread(target=work, args=(other, "two", -1)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        other.close()
        assert problems == []


def store(ledger: Ledger, what: str, occasion: str, name: str, step: int) -> None:
    """Store 150 rows that others store as well, forwards or backwards."""
    names = [f"q{number}" for number in range(150)][::step]
    match what:
        case "append":
            ledger.append(
                calls=[make_call(digest([occasion, q])) for q in names],
                verdicts=[make_verdict(K1, question_id=q, occasion=occasion) for q in names],
            )
        case "verdicts":
            ledger.add_verdicts(
                [make_verdict(None, question_id=q, occasion=occasion) for q in names]
            )
        case "answers":
            ledger.add_answers([replace(ANSWER, question_id=q, occasion=occasion) for q in names])
        case "ratings":
            ledger.add_ratings([replace(RATING, question_id=q, rater=occasion) for q in names])
        case "runs":
            (stored,) = ledger.answers()
            questions = [replace(QUESTION, question=f"{occasion} {q}") for q in names]
            answers = [(stored.answer_id, question) for question in questions]
            ledger.add_run(replace(RUN, run=f"{name} {occasion}"), answers)


def wait_for_lock(place: Place) -> None:
    """Return once some connection waits for another one's row."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    deadline = time.monotonic() + _START_S
    while place.sql(waiting) == [(0,)]:
        assert time.monotonic() < deadline
        time.sleep(0.01)
