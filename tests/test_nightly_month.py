"""A month with a scripted server: the judge moves on day 12, the model on day 20; three kills."""

from __future__ import annotations

import datetime
import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judge.ledger import open_ledger
from judge.nightly._events import Series as Events
from judge.nightly._events import read_series
from tests.nightly_month import (
    CANDIDATE,
    JUDGE_MODEL,
    MonthServer,
    Script,
    Series,
    kill,
    write_config,
    write_inputs,
)

QUESTIONS, ANCHORS, SLICE, CONCURRENCY = 24, 40, 20, 16
SHIFT, DROP, LAST = 12, 20, 30
KILLED = (6, 16, 24)
FIRST = datetime.date(2026, 3, 1)
SOON = 4
"""Nights within which a change of this size is to be found."""
# A question's difference from the baseline has an SD of about
# sqrt(.06² answers + .05² judge + .08² rounding) = .11, its mean over 24 one of .023; the drop of
# .15 less a margin of some .03 is five of them. The judge's shift of .08, seen on 40 anchors and 20
# stored answers with an SD of .10, is about five as well. Both need one or two nights.


def date_of(day: int) -> str:
    return (FIRST + datetime.timedelta(days=day - 1)).isoformat()


def events(ledger: Path) -> Events:
    opened = open_ledger(f"sqlite:///{ledger}")
    try:
        return read_series(opened, "bot")
    finally:
        opened.close()


def copied(source: Path, target: Path) -> None:
    """Copy a ledger that nobody writes to."""
    with sqlite3.connect(source) as held, sqlite3.connect(target) as copy:
        held.backup(copy)
    held.close()
    copy.close()


def alarms(facts: dict[str, Any], kind: str | None = None) -> list[dict[str, Any]]:
    return [one for one in facts["night"]["alarms"] if kind in (None, one["kind"])]


class Month:
    """The month as it goes: the server, the series, and its undisturbed twin."""

    def __init__(self, folder: Path, server: MonthServer) -> None:
        self.folder, self.server = folder, server
        write_inputs(folder, questions=QUESTIONS, anchors=ANCHORS)
        common: dict[str, Any] = {
            "candidate": {"model": server.spec(CANDIDATE), "name": "ours", "seed": 7},
            "judge": {"model": server.spec(JUDGE_MODEL), "samples": 1},
            "anchors": {"n": ANCHORS},
            "slice": {"n": SLICE},
            "sending": {"concurrency": CONCURRENCY},
        }
        hooks = {"when": ["alarm", "inconclusive"], "webhooks": [{"url_env": "MONTH_HOOK"}]}
        self.series = Series.of(write_config(folder, notify=hooks, **common), server.hook_url)
        self.twin = Series.of(
            write_config(folder, "twin.yaml", **{**common, "out": "twin"},
                         ledger="sqlite:///twin.db")
        )  # fmt: skip
        self.series.import_anchors()
        self.dice = random.Random(20260301)
        self.seen: dict[int, tuple[int, dict[str, Any]]] = {}

    def night(self, day: int) -> tuple[int, dict[str, Any]]:
        """A night, killed and restarted if the script says so."""
        self.server.night = day
        if day in KILLED:
            self._killed(day)
        else:
            self.seen[day] = self.series.facts(date_of(day))
        return self.seen[day]

    def _killed(self, day: int) -> None:
        """A night that is killed at a random moment, beside its twin, which is not."""
        twin = self.folder / "twin.db"
        copied(self.folder / "ledger.db", twin)
        before = self.server.asked
        undisturbed = self.twin.facts(date_of(day))
        planned = self.server.asked - before
        self.server.latency_s = 0.01
        start = self.server.asked
        process = self.series.start("nightly", str(self.series.config), "--date", date_of(day))
        try:
            self.server.wait_for(start + self.dice.randint(1, planned * 9 // 10))
        finally:
            kill(process)
        at_kill = self.server.asked
        time.sleep(0.1)  # what was in flight arrives or is gone
        self.server.latency_s = 0.0
        self.seen[day] = self.series.facts(date_of(day))
        sent = self.server.asked - start
        assert process.returncode == -9, "killed before its end"
        assert at_kill - start < planned
        assert planned <= sent <= planned + CONCURRENCY, "only calls in flight are paid twice"
        assert self.seen[day][0] == undisturbed[0]
        assert self.seen[day][1]["night"] == undisturbed[1]["night"]
        ours, theirs = (
            events(ledger).night(date_of(day)) for ledger in (self.folder / "ledger.db", twin)
        )
        assert ours is not None and theirs is not None
        for name in ("candidate", "again", "anchors", "slice_before", "slice_now"):
            np.testing.assert_array_equal(getattr(ours.night, name), getattr(theirs.night, name))
        twin.unlink()

    def again(self, day: int) -> None:
        """The same date once more: the same result, and nothing is sent."""
        before = dict(self.server.requests)
        code, facts = self.series.facts(date_of(day))
        assert dict(self.server.requests) == before
        assert (code, facts["night"]) == (self.seen[day][0], self.seen[day][1]["night"])
        assert facts["notified"] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_month_in_which_first_the_judge_and_then_the_model_moves(tmp_path: Path) -> None:
    script = Script(shift_from=SHIFT, drop_from=DROP)
    with MonthServer(script) as server:
        month = Month(tmp_path, server)
        _the_baseline(month)
        bridged = _the_judge_moves(month)
        _the_model_moves(month, bridged)
    told = [day for day, (code, _) in month.seen.items() if code != 0]
    assert [post["date"] for post in server.posts] == [date_of(day) for day in told]


def _the_baseline(month: Month) -> None:
    for day in range(1, SHIFT):
        code, facts = month.night(day)
        night = facts["night"]
        assert code == 0
        assert night["state"] == ("collecting" if day <= 10 else "watching")
        assert (night["decision"], alarms(facts)) == (None if day <= 10 else "pass", [])
    month.again(1)
    month.again(11)
    held = events(month.folder / "ledger.db").baselines
    assert [(one.since, one.nights) for one in held] == [
        (date_of(11), tuple(date_of(day) for day in range(1, 11)))
    ]


def _the_judge_moves(month: Month) -> int:
    """The judge's alarm, a frozen night, the bridge; gives the first night across it."""
    for day in range(SHIFT, SHIFT + SOON):
        _, facts = month.night(day)
        assert not {one["cause"] for one in alarms(facts)} & {"model", "both"}
        if alarms(facts, "judge"):
            break
    (alarm,) = alarms(facts, "judge")
    assert alarm["cause"] == "judge"
    assert alarm["effect"]["high"] < 0, "harsher"
    month.again(day)
    code, facts = month.night(day + 1)
    assert (code, facts["night"]["state"], facts["night"]["decision"]) == (
        11, "frozen", "inconclusive",
    )  # fmt: skip
    first = day + 2
    month.server.night = first
    done = month.series.command(
        "bridge", str(month.series.config), "--by", "test", "--date", date_of(first), "--json"
    )
    assert done.returncode == 0, done.stderr
    (bridge,) = events(month.folder / "ledger.db").bridges
    assert (bridge.since, bridge.by) == (date_of(first), "test")
    for name, one in bridge.metrics.items():
        assert one.low <= one.shift <= one.high < 0, name
        assert abs(one.shift - month.server.script.shift) < 0.03, name  # 90 answers: SE about .01
    return first


def _the_model_moves(month: Month, bridged: int) -> None:
    for day in range(bridged, DROP):
        code, facts = month.night(day)
        assert (code, facts["night"]["state"]) == (0, "watching"), facts["night"]["reasons"]
        assert alarms(facts) == []
    for day in range(DROP, LAST + 1):
        code, facts = month.night(day)
        if day >= DROP + SOON:
            assert (code, facts["night"]["decision"]) == (10, "regress")
    month.again(LAST)
    found = [day for day in range(DROP, LAST + 1) if alarms(month.seen[day][1])]
    assert found[0] < DROP + SOON
    for day in found:
        open_now = alarms(month.seen[day][1])
        assert {one["cause"] for one in open_now} <= {"model", "pending"}
        assert all(one["metrics"][0] == "depth" for one in open_now)
    published = [one for one in alarms(facts) if one["cause"] == "model"]
    assert published
    assert published[0]["onset"] >= date_of(DROP - 1)
