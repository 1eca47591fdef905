"""kill -9 at any moment, and two processes at once: no finished call is ever paid for again."""

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

ANSWERS = 250
CONCURRENCY = 32
LATENCY_S = 0.03
KILLS = 10


def write_answers(folder: Path, count: int) -> Path:
    """An answers file whose eight-criteria plan has 8 × ``count`` calls."""
    path = folder / "answers.jsonl"
    with path.open("w") as file:
        for number in range(count):
            row = {
                "question_id": f"q{number}", "model": "m", "question": f"What is {number} + 1?",
                "answer": f"It is {number + 1}.",
            }  # fmt: skip
            file.write(json.dumps(row) + "\n")
    return path


def command(server: ChatServer, answers: Path, ledger: Path) -> list[str]:
    """Score the answers on the shipped rubric."""
    return [
        "score", "--judge", server.spec(), "--rubric", "communication", "--answers", str(answers),
        "--ledger", f"sqlite:///{ledger}", "--concurrency", str(CONCURRENCY), "--json",
    ]  # fmt: skip


def start(arguments: list[str], folder: Path) -> subprocess.Popen[str]:
    """Start the command without waiting for it."""
    return subprocess.Popen(
        [str(JUDGE), *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def verdicts(ledger: Path) -> set[tuple[Any, ...]]:
    """What was measured, without when and how."""
    opened = open_ledger(f"sqlite:///{ledger}")
    try:
        frame = opened.verdicts()
        assert opened._all("PRAGMA integrity_check") == [("ok",)]  # type: ignore[attr-defined]
    finally:
        opened.close()
    names = ["question_id", "model", "criterion", "ruler", "sample", "status", "level", "score"]
    return set(frame.select(names).iter_rows())


def test_kill_9_at_ten_random_points(tmp_path: Path) -> None:
    answers = write_answers(tmp_path, ANSWERS)
    dice = random.Random(20261121)
    kills: list[float] = []
    with ChatServer(Behaviour(latency_s=LATENCY_S)) as server:
        reference = judge_command(*command(server, answers, tmp_path / "whole.db"), cwd=tmp_path)
        planned = json_of(reference)["run"]["planned"]
        assert (reference.returncode, planned) == (0, 8 * ANSWERS)
        server.reset()
        arguments = command(server, answers, tmp_path / "killed.db")
        while len(kills) < KILLS:
            process = subprocess.Popen(
                [str(JUDGE), *arguments], cwd=tmp_path, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )  # fmt: skip
            before = server.stats()["requests"]
            deadline = time.monotonic() + 30
            while server.stats()["requests"] == before and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(dice.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills.append(time.time())
            time.sleep(2 * LATENCY_S)
        finished = json_of(judge_command(*arguments, cwd=tmp_path))["run"]
        log = [entry for entry in server.log() if entry["complete"]]
    assert (finished["open"], finished["scored"]) == (0, json_of(reference)["run"]["scored"])
    assert 0 < finished["sent"] < planned, "the kills left work behind, and kept work done"
    assert verdicts(tmp_path / "killed.db") == verdicts(tmp_path / "whole.db")
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
    answers = write_answers(tmp_path, 60)
    with ChatServer(Behaviour(latency_s=LATENCY_S)) as server:
        arguments = command(server, answers, tmp_path / "shared.db")
        both = [start(arguments, tmp_path) for _ in range(2)]
        outputs = [process.communicate(timeout=120) for process in both]
        stats = server.stats()
    runs = [json.loads(out)["run"] for out, _ in outputs]
    assert [process.returncode for process in both] == [0, 0], outputs
    assert stats["requests"] == 480
    assert max(stats["per_key"].values()) == 1
    assert sum(run["sent"] for run in runs) == 480
    assert [(run["scored"], run["open"]) for run in runs] == [(480, 0)] * 2


def test_an_interrupt_keeps_the_work_and_says_how_to_go_on(tmp_path: Path) -> None:
    answers = write_answers(tmp_path, 60)
    with ChatServer(Behaviour(latency_s=0.2)) as server:
        arguments = command(server, answers, tmp_path / "i.db")
        process = subprocess.Popen(
            [str(JUDGE), *arguments], cwd=tmp_path, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while server.stats()["completed"] < 50:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        paid = server.stats()["completed"]
        assert process.returncode == 130, err
        assert "Run the same command again" in err
        run = json.loads(out)["run"]
        assert run["scored"] == paid < 480
        rest = json_of(judge_command(*arguments, cwd=tmp_path))["run"]
        assert server.stats()["completed"] == 480
    assert (rest["scored"], rest["sent"]) == (480, 480 - paid)


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    answers = write_answers(tmp_path, 20)
    with ChatServer(Behaviour(faults={"hang": 1.0}, hang_s=60)) as server:
        process = subprocess.Popen(
            [str(JUDGE), *command(server, answers, tmp_path / "i.db")], cwd=tmp_path,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        while server.stats()["in_flight"] < 10:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        assert process.poll() is None, "the first interrupt waits for what is in flight"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=8)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert json.loads(out)["run"]["open"] == 160


def test_two_processes_that_both_leave_units_open_both_end(tmp_path: Path) -> None:
    answers = write_answers(tmp_path, 30)
    rejecting = Behaviour(fault_once={"bad_request": 0.05}, once_attempts=10**6, latency_s=0.03)
    with ChatServer(rejecting) as server:
        arguments = command(server, answers, tmp_path / "open.db")
        both = [start(arguments, tmp_path) for _ in range(2)]
        outputs = [process.communicate(timeout=60) for process in both]
        stats = server.stats()
    runs = [json.loads(out)["run"] for out, _ in outputs]
    assert runs[0]["open"] == runs[1]["open"] == stats["faults"]["bad_request"] / 2 > 0
    assert max(stats["per_key_good"].values()) == 1
