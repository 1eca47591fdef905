"""Panels and the ways of asking, as people type them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chat_server import Behaviour, ChatServer
from tests.support import json_of, judge_command

MODELS = ("judge", "second")


@pytest.fixture(scope="module")
def server() -> Iterator[ChatServer]:
    with ChatServer(Behaviour(models=MODELS)) as running:
        yield running


@pytest.fixture
def answers(tmp_path: Path) -> str:
    path = tmp_path / "answers.jsonl"
    rows = [
        {"question_id": f"q{n}", "model": "m", "question": f"What is {n} + 1?", "answer": f"{n}."}
        for n in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def panel(server: ChatServer) -> str:
    return ",".join(f"{server.base_url}#{name}" for name in MODELS)


def test_a_panel_scores_with_each_judge_and_reports_their_mean(
    server: ChatServer, tmp_path: Path, answers: str
) -> None:
    done = judge_command(
        "score", "--judge", panel(server), "--rubric", "communication", "--answers", answers,
        "--price", "1,1,1;2,2,2", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json_of(done)
    run = result["run"]
    assert run["judge"].startswith("panel: ")
    assert (run["planned"], run["scored"], run["open"]) == (64, 64, 0)
    assert [each["planned"] for each in run["runs"]] == [32, 32]
    assert run["cost"] == pytest.approx(sum(each["cost"] for each in run["runs"]))
    first, second = run["runs"]
    tokens = sum(first["tokens"][name] for name in ("prompt", "completion"))
    assert first["cost"] == pytest.approx(tokens / 1e6, abs=1e-6)
    assert second["cost"] == pytest.approx(
        2 * sum(second["tokens"][name] for name in ("prompt", "completion")) / 1e6, abs=1e-6
    )
    alone = [
        judge_command("report", "--run", each["run"], "--out", each["run"], cwd=tmp_path)
        for each in run["runs"]
    ]
    assert all(each.returncode == 0 for each in alone)
    members = [
        json.loads((tmp_path / each["run"] / "report.json").read_text())["estimates"]
        for each in run["runs"]
    ]
    for mine, one, two in zip(result["estimates"], *members, strict=True):
        assert mine["criterion"] == one["criterion"]
        assert mine["value"] == pytest.approx((one["value"] + two["value"]) / 2)
    again = judge_command(
        "score", "--judge", panel(server), "--rubric", "communication", "--answers", answers,
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert json_of(again)["run"]["sent"] == 0


def test_the_newest_run_of_a_panel_is_the_panel(
    server: ChatServer, tmp_path: Path, answers: str
) -> None:
    judge_command(
        "score", "--judge", panel(server), "--rubric", "communication", "--answers", answers,
        cwd=tmp_path,
    )  # fmt: skip
    done = judge_command("report", "--out", "r", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert report["run"]["judge"].startswith("panel: ")
    assert len(report["panel"]["judges"]) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--judge", "offline,offline"), "is there twice"),
        (("--judge", "offline", "--shots", "2"), "--shots"),
        (("--judge", "offline", "--scoring", "logprobs"), "--scoring logprobs"),
        (("--judge", "offline", "--checklists"), "--checklists"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_sent(
    tmp_path: Path, answers: str, options: tuple[str, ...], said: str
) -> None:
    done = judge_command(
        "score", *options, "--rubric", "communication", "--answers", answers, cwd=tmp_path
    )
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "plumbline.db").exists()


def test_prices_of_a_panel_are_one_or_one_each(
    server: ChatServer, tmp_path: Path, answers: str
) -> None:
    done = judge_command(
        "score", "--judge", panel(server), "--rubric", "communication", "--answers", answers,
        "--price", "1,1,1;2,2,2;3,3,3", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "3 prices for 2 models" in done.stderr


@pytest.mark.parametrize(("mode", "calls"), [("grouped", 16), ("joint", 4)])
def test_modes_and_log_probabilities_from_the_command_line(
    server: ChatServer, tmp_path: Path, answers: str, mode: str, calls: int
) -> None:
    command = (
        "score", "--judge", server.spec(), "--rubric", "communication", "--answers", answers,
        "--mode", mode, "--scoring", "logprobs", "--order", "criterion-first", "--json",
    )  # fmt: skip
    planned = json_of(judge_command(*command, "--dry-run", cwd=tmp_path))["run"]
    assert (planned["planned"], planned["would_send"]) == (32, calls)
    done = judge_command(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (json_of(done)["run"]["scored"], json_of(done)["run"]["sent"]) == (32, calls)


def test_examples_need_ratings(server: ChatServer, tmp_path: Path, answers: str) -> None:
    done = judge_command(
        "score", "--judge", server.spec(), "--rubric", "communication", "--answers", answers,
        "--shots", "2", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "at most 0 rated answers" in done.stderr
