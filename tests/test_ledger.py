"""The SQLite ledger: the contract, and kills, full disks, foreign files and other hardships."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from judge.canonical import digest
from judge.errors import LedgerError, UsageError
from judge.ledger import Ledger, open_ledger, this_owner
from judge.ledger._database import migrations
from judge.ledger._open import without_password
from judge.ledger._owner import is_gone
from judge.ledger._sql import SqlLedger
from judge.ledger._sqlite import SqliteDatabase

pytest.register_assert_rewrite("tests.ledger_contract")

from tests.ledger_contract import (  # noqa: E402
    APPEND_ONLY,
    K2,
    LedgerContract,
    Place,
    documented,
    fill,
    line,
    worker,
)
from tests.ledger_workers import BATCH, batch, make_call, make_verdict  # noqa: E402


def raw(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Run SQL as another program would."""
    with apsw.Connection(str(path)) as connection:
        connection.set_busy_timeout(30_000)
        return list(connection.execute(sql))


def written_batches(ledger: Ledger, upto: int) -> set[int]:
    """The batches of a `write` worker that the ledger holds; fails if it holds half a one."""
    frame = ledger.verdicts().group_by("occasion").len()
    found = {int(occasion.split()[1]): count for occasion, count in frame.iter_rows()}
    assert set(found.values()) <= {BATCH}, "half a batch"
    keys = {number: [call.key for call in batch(number)[0]] for number in range(upto)}
    held = ledger.calls([key for group in keys.values() for key in group])
    for number, group in keys.items():
        # Calls are read after verdicts, so that a batch can have come in between.
        assert sum(key in held for key in group) in ({BATCH} if number in found else {0, BATCH})
    return set(found)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def place(path: Path) -> Place:
    return Place(f"sqlite:///{path}", lambda sql: raw(path, sql))


class TestContract(LedgerContract):
    """SQLite keeps the contract."""


class TestAppendOnly:
    """SQLite can replace rows without firing a delete trigger; that is caught as well."""

    @pytest.mark.parametrize("table", APPEND_ONLY)
    def test_nothing_is_replaced(self, place: Place, table: str) -> None:
        ledger = open_ledger(place.url)
        fill(ledger)
        ledger.close()
        before = place.sql(f"SELECT * FROM {table}")
        columns = [name for (name,) in place.sql(f"SELECT name FROM pragma_table_info('{table}')")]
        changed = APPEND_ONLY[table]
        value = {"calls": "x'00'", "run_answers": "question"}.get(table, "'changed'")
        same = [value if name == changed else f'"{name}"' for name in columns]
        place.sql(f"INSERT OR REPLACE INTO {table} SELECT {', '.join(same)} FROM {table}")
        if "id" in columns and table not in ("attempts", "capabilities", "batches", "reviews"):
            new_id = [
                "id + 100" if name == "id" else part
                for name, part in zip(columns, same, strict=True)
            ]
            place.sql(f"INSERT OR REPLACE INTO {table} SELECT {', '.join(new_id)} FROM {table}")
        with pytest.raises(apsw.ConstraintError, match="append-only"):
            place.sql(f"UPDATE OR REPLACE {table} SET {changed} = {value}")
        assert place.sql(f"SELECT * FROM {table}") == before

    def test_a_planted_row_cannot_block_later_ones(self, place: Place) -> None:
        # Before an insert SQLite shows triggers the row id -1 where none is given.
        open_ledger(place.url).close()
        with pytest.raises(apsw.ConstraintError, match="id > 0"):
            place.sql("INSERT INTO capabilities VALUES (-1, 'm', '{}', 'now')")


class TestKills:
    """What was acknowledged is there, whenever the writer dies."""

    def test_acknowledged_batches_survive_kill_minus_9(self, path: Path, place: Place) -> None:
        chance = random.Random(20260101)
        next_batch = 0
        acknowledged: set[int] = set()
        for _ in range(10):
            with worker("write", place.url, str(next_batch)) as process:
                for _ in range(chance.randint(1, 40)):
                    acknowledged.add(int(line(process)))
                process.kill()
                assert process.stdout is not None
                # A number that was cut off by the kill has no newline and was not acknowledged.
                rest = process.stdout.read().splitlines(keepends=True)
                acknowledged |= {int(text) for text in rest if text.endswith("\n")}
            assert raw(path, "PRAGMA integrity_check") == [("ok",)]
            ledger = open_ledger(place.url)
            held = written_batches(ledger, max(acknowledged) + 2)
            ledger.close()
            assert held >= acknowledged
            next_batch = max(held) + 1
        assert held == set(range(next_batch)), "no gaps either"

    def test_readers_see_whole_batches_and_never_fail(self, path: Path, place: Place) -> None:
        ledger = open_ledger(place.url)
        with worker("write", place.url, "0") as process:
            assert line(process) == "0"
            seen = [len(written_batches(ledger, 50)) for _ in range(15)]
            for _ in range(15):
                passing = open_ledger(place.url, create=False)
                seen.append(len(written_batches(passing, 50)))
                passing.close()
            assert process.poll() is None, "the writer wrote all the time"
        assert seen == sorted(seen)
        ledger.close()
        assert raw(path, "PRAGMA integrity_check") == [("ok",)]

    def test_two_processes_write_at_the_same_time(self, place: Place) -> None:
        with worker("write", place.url, "0") as a, worker("write", place.url, "1000000") as b:
            for _ in range(300):
                assert line(a) and line(b)
        ledger = open_ledger(place.url)
        held = written_batches(ledger, 300)
        assert held >= set(range(300)) | set(range(1_000_000, 1_000_300))
        ledger.close()


class TestMigration:
    """A ledger of an earlier version is brought up to date, and loses nothing."""

    def test_verdicts_of_the_first_version_are_samples(self, path: Path, place: Place) -> None:
        from judge.ledger._sqlite import _APPLICATION_ID

        for statement in (
            migrations("sqlite")[0],
            "PRAGMA user_version = 1",
            f"PRAGMA application_id = {_APPLICATION_ID}",
            "INSERT INTO verdicts (generation, parser, question_id, model, answer_sample, "
            "criterion, judge, ruler, sample, occasion, status, level, scale_min, scale_max, "
            "score, evidence, rationale, detail, repaired, created_at) VALUES (0, 1, 'q', 'm', 0, "
            "'tact', 'j', 'r', 0, '', 'scored', 4, 0, 5, 0.8, '[]', '', '', 0, 'then')",
        ):
            raw(path, statement)
        ledger = open_ledger(place.url)
        row = ledger.verdicts().row(0, named=True)
        ledger.close()
        assert (row["score"], row["kind"], row["sd"]) == (0.8, "samples", None)
        assert place.sql("PRAGMA user_version") == [(3,)]


class TestRefusals:
    """Files that are not for us stay as they are, and the error says what to do."""

    def test_a_newer_ledger(self, path: Path, place: Place) -> None:
        open_ledger(place.url).close()
        raw(path, f"PRAGMA user_version = {len(migrations('sqlite')) + 1}")
        before = path.read_bytes()
        with pytest.raises(LedgerError, match=r"newer Plumbline.*version 4.*Nothing was changed"):
            open_ledger(place.url)
        assert path.read_bytes() == before
        assert list(path.parent.iterdir()) == [path]

    @pytest.mark.parametrize(
        "made_by", ["CREATE TABLE calls (x)", "PRAGMA application_id = 7"], ids=["table", "id"]
    )
    def test_a_file_of_another_program(self, path: Path, place: Place, made_by: str) -> None:
        raw(path, made_by)
        before = path.read_bytes()
        with pytest.raises(LedgerError, match="another program"):
            open_ledger(place.url)
        assert path.read_bytes() == before

    def test_a_file_that_is_no_database(self, path: Path, place: Place) -> None:
        path.write_text("question_id,answer\n" * 100)
        with pytest.raises(LedgerError, match="not a readable SQLite database"):
            open_ledger(place.url)
        assert path.read_text().startswith("question_id")

    def test_a_folder(self, path: Path, place: Place) -> None:
        path.mkdir()
        with pytest.raises(LedgerError, match="Check that it is a file"):
            open_ledger(place.url)

    def test_a_folder_that_is_missing(self, tmp_path: Path) -> None:
        with pytest.raises(LedgerError, match=r"nowhere does not exist. Create it first"):
            open_ledger(f"sqlite:///{tmp_path}/nowhere/ledger.db")

    def test_a_place_without_a_write_ahead_log(self) -> None:
        with pytest.raises(LedgerError, match="cannot hold a ledger"):
            open_ledger("sqlite:///:memory:")

    def test_a_damaged_ledger(self, path: Path, place: Place) -> None:
        ledger = open_ledger(place.url)
        fill(ledger)
        ledger.close()
        content = bytearray(path.read_bytes())
        content[4096:] = bytes(len(content) - 4096)
        path.write_bytes(content)
        with pytest.raises(LedgerError, match="restore this one from a copy"):
            open_ledger(place.url).answers()

    def test_an_empty_file_becomes_a_ledger(self, path: Path, place: Place) -> None:
        path.touch()
        ledger = open_ledger(place.url)
        fill(ledger)
        ledger.close()

    def test_a_closed_ledger(self, place: Place) -> None:
        ledger = open_ledger(place.url)
        ledger.close()
        with pytest.raises(apsw.ConnectionClosedError):
            ledger.answers()


class TestPermissions:
    """Tried by a process without special rights, because root may write everywhere."""

    @pytest.fixture
    def folder(self) -> Iterator[Path]:
        made = Path(tempfile.mkdtemp(prefix="plumbline-"))
        made.chmod(0o777)
        yield made
        made.chmod(0o755)
        shutil.rmtree(made)

    @pytest.fixture
    def outcome(self, folder: Path) -> Iterator[Callable[..., str]]:
        """Says how far an unprivileged process came with a ledger, given modes."""

        def try_it(*, file: int | None, folder_mode: int) -> str:
            place = folder / "place"
            place.mkdir()
            path = place / "ledger.db"
            if file is not None:
                open_ledger(f"sqlite:///{path}").close()
                path.chmod(file)
            place.chmod(folder_mode)
            with worker("unprivileged", f"sqlite:///{path}") as process:
                said = line(process)
            if said == "unreadable code":
                pytest.skip("the code lies where other users cannot read it")
            return said

        yield try_it
        (folder / "place").chmod(0o755)

    def test_a_folder_that_may_not_be_written(self, outcome: Callable[..., str]) -> None:
        said = outcome(file=None, folder_mode=0o555)
        assert said.startswith("open: ")
        assert "Check that it is a file, and the permissions" in said

    def test_a_ledger_in_a_folder_that_may_not_be_written(
        self, outcome: Callable[..., str]
    ) -> None:
        assert "permissions" in outcome(file=0o666, folder_mode=0o555)

    def test_a_file_that_may_not_be_written(self, outcome: Callable[..., str]) -> None:
        assert "permissions" in outcome(file=0o444, folder_mode=0o777)

    def test_a_file_that_may_be_written(self, outcome: Callable[..., str]) -> None:
        assert outcome(file=0o666, folder_mode=0o777) == "ok"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


class TestFullDisk:
    """A full disk is an error that says so; nothing committed is lost, and work goes on."""

    def test_a_disk_that_is_full(self, small_disk: Path) -> None:
        ballast = small_disk / "ballast"
        ballast.write_bytes(bytes(400_000))
        url = f"sqlite:///{small_disk}/ledger.db"
        ledger = open_ledger(url)
        committed = self.until_full(ledger)
        with pytest.raises(LedgerError):
            for number in range(10_000):
                ledger.claim({digest(number): 0}, "me", 60)
        assert set(ledger.calls(committed)) == set(committed), "reading goes on"
        ballast.unlink()
        ledger.append(calls=[make_call(K2)])
        ledger.close()
        assert raw(small_disk / "ledger.db", "PRAGMA integrity_check") == [("ok",)]
        again = open_ledger(url)
        assert set(again.calls([*committed, K2])) == {*committed, K2}
        again.close()

    def test_a_ledger_that_reached_its_limit(self, path: Path) -> None:
        database = SqliteDatabase(path)
        database.rows("PRAGMA max_page_count = 120")
        ledger = SqlLedger(database)
        committed = self.until_full(ledger)
        database.rows("PRAGMA max_page_count = 10000")
        ledger.append(calls=[make_call(K2)], verdicts=[make_verdict(K2)])
        assert set(ledger.calls([*committed, K2])) == {*committed, K2}
        ledger.close()
        assert raw(path, "PRAGMA integrity_check") == [("ok",)]

    def until_full(self, ledger: Ledger) -> list[bytes]:
        """Append until it is refused; return the keys of what was not."""
        committed: list[bytes] = []
        chance = random.Random(1)
        with pytest.raises(LedgerError, match=r"disk.*full.*Everything committed before is intact"):
            for number in range(10_000):
                call = make_call(digest(number), response=chance.randbytes(5_000))
                ledger.append(calls=[call])
                committed.append(call.key)
        assert committed
        return committed

    def test_a_disk_without_room_for_a_ledger(self, small_disk: Path) -> None:
        (small_disk / "ballast").write_bytes(bytes(1_000_000))
        with pytest.raises(LedgerError, match=r"disk.*full"):
            open_ledger(f"sqlite:///{small_disk}/ledger.db")


class TestUrls:
    """A ledger has a URL; an error about it shows no password."""

    @pytest.mark.parametrize(
        "url", ["ledger.db", "sqlite://", "sqlite:///", "mysql://u:pw@h/d", ""]
    )
    def test_other_forms_are_refused(self, url: str) -> None:
        with pytest.raises(UsageError, match="not a ledger URL") as caught:
            open_ledger(url)
        assert "pw" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("postgresql://u:secret@h:1/d", "postgresql://u@h:1/d"),
            ("postgresql://u:se/c@r:et?@h/d", "postgresql://u@h/d"),
            ("postgresql://h/d?password=secret&a=b", "postgresql://h/d"),
            ("postgresql://u:secret@/d?host=/run/x@y", "postgresql://u@y"),
            ("postgresql://h:5432/d", "postgresql://h:5432/d"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("sqlite:////tmp/a:b@c?.db", "sqlite:////tmp/a:b@c?.db"),
        ],
    )
    def test_passwords_are_left_out(self, url: str, shown: str) -> None:
        assert without_password(url) == shown

    def test_a_missing_driver_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "psycopg", None)
        monkeypatch.delitem(sys.modules, "judge.ledger._postgres", raising=False)
        with pytest.raises(UsageError, match=r"pip install 'psycopg\[binary\]'") as caught:
            open_ledger("postgresql://u:secret@h/d")
        assert "secret" not in str(caught.value)

    def test_relative_and_absolute_files(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        for url in ("sqlite:///a.db", f"sqlite:///{tmp_path}/b.db"):
            ledger = open_ledger(url)
            assert ledger.url == url
            ledger.close()
        assert {path.name for path in tmp_path.iterdir()} == {"a.db", "b.db"}


def test_the_python_of_the_documentation_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    ledger = open_ledger("sqlite:///plumbline.db")
    fill(ledger)
    ledger.close()
    (example,) = documented("python")
    exec(example, {})
    assert capsys.readouterr().out.startswith("http://host/v1#m {")


class TestOwners:
    """An owner is gone only if that is certain."""

    def test_this_process_runs(self) -> None:
        assert not is_gone(this_owner())
        assert this_owner() != this_owner()

    def test_ended_processes_are_gone(self) -> None:
        host, boot, pid, _, one = this_owner().split("|")
        assert is_gone(f"{host}|{boot}|{pid}|another start|{one}"), "the number was given again"
        assert is_gone(f"{host}|{boot}|{2**22 + 1}|1|{one}"), "no process has this number"

    def test_others_have_to_expire(self) -> None:
        host, boot, _, started, one = this_owner().split("|")
        nobody = 2**22 + 1
        assert not is_gone(f"{socket.gethostname()}x|{boot}|{nobody}|{started}|{one}")
        assert not is_gone(f"{host} of another container|{boot}|{nobody}|{started}|{one}")
        assert not is_gone(f"{host}|another boot|{nobody}|{started}|{one}"), "a machine's namesake"
        for odd in ("", "me", "a|b|c|d|e", f"{host}|{boot}|{10**30}|1|x"):
            assert not is_gone(odd)
