"""One run of a series at a time: refusals that name the holder, take-over, loss; and retention."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from judge.canonical import digest
from judge.errors import LedgerError, UsageError
from judge.ledger import open_ledger
from judge.nightly._lock import LOCKED, series_lock
from judge.nightly._retention import prune
from judge.nightly._site import GENERATOR

_HOLDER = """
import sys, time
from judge.nightly._lock import series_lock
with series_lock(sys.argv[1], "bot", lease_s=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/ledger.db"


def hold_elsewhere(url: str, lease_s: float) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, url, str(lease_s)],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "held"
    return process


def end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(timeout=20)
    assert process.stdout is not None
    process.stdout.close()


def test_a_second_run_is_refused_and_told_who_holds_the_series(url: str) -> None:
    process = hold_elsewhere(url, 60.0)
    try:
        with pytest.raises(UsageError) as refused, series_lock(url, "bot"):
            pytest.fail("two runs of one series at once")
        text = str(refused.value)
        assert f"process {process.pid} on" in text
        assert "bot" in text
        assert "since 20" in text
        with series_lock(url, "another-bot"):  # series do not hinder each other
            pass
    finally:
        end(process)


def test_a_dead_run_on_this_machine_gives_the_series_up_at_once(url: str) -> None:
    process = hold_elsewhere(url, 3600.0)
    end(process)
    with series_lock(url, "bot") as lock:
        assert not lock.lost


def test_the_lock_is_given_back_also_after_an_error(url: str) -> None:
    with pytest.raises(ZeroDivisionError), series_lock(url, "bot", lease_s=3600.0):
        1 / 0  # noqa: B018
    with series_lock(url, "bot"):
        pass
    ledger = open_ledger(url)
    try:
        assert len(ledger.series_events("bot", LOCKED)) == 2
    finally:
        ledger.close()


def test_the_lease_is_renewed_for_as_long_as_the_run_goes_on(url: str) -> None:
    ledger = open_ledger(url)
    try:
        with series_lock(url, "bot", lease_s=0.6) as lock:
            key = digest(["nightly", "bot"])
            until = time.monotonic() + 2.0  # more than three leases
            while time.monotonic() < until:
                assert not ledger.claim({key: 0}, "somebody else", 60.0).granted
                time.sleep(0.05)
            assert not lock.lost
        assert ledger.claim({key: 0}, "somebody else", 60.0).granted == {key}
    finally:
        ledger.close()


def test_a_lock_that_another_run_took_over_is_noticed(url: str) -> None:
    ledger = open_ledger(url)
    try:
        with (
            pytest.raises(LedgerError, match="another run has taken it over"),
            series_lock(url, "bot", lease_s=0.4) as lock,
        ):
            # What a machine that slept finds when it wakes up: the claim is somebody else's.
            (owner,) = [event.name for event in ledger.series_events("bot", LOCKED)]
            ledger.release(owner)
            assert ledger.claim({digest(["nightly", "bot"]): 0}, "somebody else", 60.0).granted
            until = time.monotonic() + 20
            while not lock.lost:
                assert time.monotonic() < until
                time.sleep(0.02)
            lock.require_held()
        # The other run's claim is not given back by the one that lost it.
        with pytest.raises(UsageError), series_lock(url, "bot"):
            pass
    finally:
        ledger.close()


def test_of_many_that_begin_at_once_one_gets_the_series(url: str) -> None:
    open_ledger(url).close()
    barrier, holding, refused = threading.Barrier(6), [], []
    done = threading.Event()

    def begin() -> None:
        barrier.wait()
        try:
            with series_lock(url, "bot", lease_s=60.0):
                holding.append(1)
                done.wait(20)
        except UsageError as error:
            refused.append(error)
            if len(refused) == 5:
                done.set()

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)
    assert len(holding) == 1
    assert len(refused) == 5


def test_a_ledger_that_cannot_be_opened_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("no database")
    with (
        pytest.raises(LedgerError),
        series_lock(f"sqlite:///{tmp_path}/text.db", "bot"),
    ):
        pass


def page(folder: Path, name: str, *, ours: bool = True) -> Path:
    folder.mkdir(exist_ok=True, parents=True)
    mark = f'<meta name="generator" content="{GENERATOR}">' if ours else ""
    place = folder / name
    place.write_text(f"<!doctype html><html><head>{mark}</head><body></body></html>")
    return place


def test_only_old_pages_of_ours_are_removed(tmp_path: Path) -> None:
    nights = tmp_path / "nights"
    days = [page(nights, f"2026-03-{day:02}.html") for day in (3, 1, 5, 2, 4)]
    kept = [
        page(nights, "2026-01-01.html", ours=False),
        page(nights, "2026-02-30.html"),  # no date
        page(nights, "notes.html"),
        page(nights, "2026-01-02.html.bak"),
        page(tmp_path, "2026-01-01.html"),
        page(tmp_path, "index.html"),
    ]
    body = nights / "2026-01-03.html"  # the mark in the text of a page makes it not ours
    body.write_text(f"<head></head><body>{days[0].read_text()}</body>")
    link = nights / "2026-01-04.html"
    link.symlink_to(days[0])
    (nights / "2026-01-05.html").mkdir()

    assert prune(tmp_path, None) == []
    assert prune(tmp_path, 5) == []
    assert [one.name for one in prune(tmp_path, 3)] == ["2026-03-01.html", "2026-03-02.html"]
    assert prune(tmp_path, 3) == []
    left = {one.name for one in nights.iterdir()}
    assert {"2026-03-03.html", "2026-03-04.html", "2026-03-05.html"} <= left
    assert all(one.exists() for one in (*kept, body, link, nights / "2026-01-05.html"))


def test_a_site_that_is_not_there_has_nothing_to_remove(tmp_path: Path) -> None:
    assert prune(tmp_path / "none", 1) == []
