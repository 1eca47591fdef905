"""kill -9 at any moment while answers come in, and two processes: no finished call paid again."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

from judge.ledger import open_ledger
from tests.chat_server import Behaviour, ChatServer
from tests.support import JUDGE, json_of, judge_command

QUESTIONS, SAMPLES = 300, 2
CONCURRENCY = 32
LATENCY_S = 0.03
KILLS = 6
SLOW_PROSE = Behaviour(replies="text", latency_s=LATENCY_S)


def write_questions(folder: Path, count: int) -> Path:
    """A question set."""
    path = folder / "set.json"
    about = {"domain": "general", "category": "fact", "language": "en"}
    entries = [
        {"question_id": f"q{n}", "question": f"What is {n} + 1?", **about} for n in range(count)
    ]
    path.write_text(json.dumps({"name": "set", "version": 1, "questions": entries}))
    return path


def command(server: ChatServer, asked: Path, ledger: Path, *more: str) -> list[str]:
    """Answer the questions."""
    return [
        "answer", "--model", server.spec(), "--questions", str(asked), "--samples", str(SAMPLES),
        "--ledger", f"sqlite:///{ledger}", "--concurrency", str(CONCURRENCY), "--json", *more,
    ]  # fmt: skip


def start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start the command without waiting for it."""
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [str(JUDGE), *arguments], cwd=folder, stdout=pipe, stderr=pipe, text=True
    )


def answers(ledger: Path) -> dict[tuple[str, int], Any]:
    """What was answered and how, without when."""
    opened = open_ledger(f"sqlite:///{ledger}")
    try:
        rows = [row.answer for row in opened.answers()]
        assert opened._all("PRAGMA integrity_check") == [("ok",)]  # type: ignore[attr-defined]
    finally:
        opened.close()
    assert len({(row.question_id, row.sample) for row in rows}) == len(rows)
    return {(row.question_id, row.sample): row for row in rows}


def test_kill_9_at_random_points(tmp_path: Path) -> None:
    asked = write_questions(tmp_path, QUESTIONS)
    planned = QUESTIONS * SAMPLES
    # Without a seed the samples of a question are one and the same body, whose calls the server's
    # record could not tell apart.
    seed = ("--seed", "1")
    dice = random.Random(20261121)
    kills: list[float] = []
    with ChatServer(SLOW_PROSE) as server:
        reference = judge_command(
            *command(server, asked, tmp_path / "whole.db", *seed), cwd=tmp_path
        )
        assert (reference.returncode, json_of(reference)["run"]["scored"]) == (0, planned)
        server.reset()
        arguments = command(server, asked, tmp_path / "killed.db", *seed)
        while len(kills) < KILLS:
            process = subprocess.Popen(
                [str(JUDGE), *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            before = server.stats()["requests"]
            deadline = time.monotonic() + 30
            while server.stats()["requests"] == before and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.15))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills.append(time.time())
            time.sleep(2 * LATENCY_S)
        finished = json_of(judge_command(*arguments, cwd=tmp_path))["run"]
        log = [entry for entry in server.log() if entry["complete"]]
    assert (finished["open"], finished["scored"]) == (0, planned)
    assert 0 < finished["sent"] < planned, "the kills left work behind, and kept work done"
    assert answers(tmp_path / "killed.db") == answers(tmp_path / "whole.db")
    assert len(answers(tmp_path / "killed.db")) == planned
    _assert_only_calls_in_flight_were_paid_twice(log, kills)


def _assert_only_calls_in_flight_were_paid_twice(
    log: list[dict[str, Any]], kills: list[float]
) -> None:
    arrivals: dict[str, list[float]] = {}
    for entry in log:
        arrivals.setdefault(entry["key"], []).append(entry["at"])
    per_kill: Counter[float] = Counter()
    for times in arrivals.values():
        for lost in sorted(times)[:-1]:
            kill = next(moment for moment in kills if moment > lost)
            assert kill - lost < LATENCY_S + 1.0, "a call that came back long before the kill"
            per_kill[kill] += 1
    assert all(count <= CONCURRENCY for count in per_kill.values())


def test_two_processes_on_one_plan_never_pay_twice(tmp_path: Path) -> None:
    asked = write_questions(tmp_path, 150)
    with ChatServer(SLOW_PROSE) as server:
        arguments = command(server, asked, tmp_path / "shared.db", "--seed", "1")
        both = [start(arguments, tmp_path) for _ in range(2)]
        outputs = [process.communicate(timeout=120) for process in both]
        stats = server.stats()
    runs = [json.loads(out)["run"] for out, _ in outputs]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert stats["requests"] == 300
    assert max(stats["per_key"].values()) == 1
    assert sum(run["sent"] for run in runs) == 300
    assert [(run["scored"], run["open"]) for run in runs] == [(300, 0)] * 2
    assert len(answers(tmp_path / "shared.db")) == 300


def test_a_supervisors_stop_keeps_the_work_and_says_how_to_go_on(tmp_path: Path) -> None:
    asked = write_questions(tmp_path, 100)
    with ChatServer(Behaviour(replies="text", latency_s=0.2)) as server:
        arguments = command(server, asked, tmp_path / "i.db")
        process = start(arguments, tmp_path)
        while server.stats()["completed"] < 40:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        paid = server.stats()["completed"]
        assert process.returncode == 130, err
        assert "Run the same command again" in err
        assert json.loads(out)["run"]["scored"] == paid < 200
        server.configure(Behaviour(replies="text"))
        rest = json_of(judge_command(*arguments, cwd=tmp_path))["run"]
    assert (rest["scored"], rest["sent"]) == (200, 200 - paid)


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    asked = write_questions(tmp_path, 20)
    with ChatServer(Behaviour(faults={"hang": 1.0}, hang_s=60)) as server:
        process = start(command(server, asked, tmp_path / "i.db"), tmp_path)
        while server.stats()["in_flight"] < 10:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "the first interrupt waits for what is in flight"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=8)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(out)["run"]["open"] == 40
