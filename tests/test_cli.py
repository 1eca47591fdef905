"""The commands as scripts and CI use them: options, JSON, exit codes, reports."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chat_server import Behaviour, ChatServer
from tests.support import json_of, judge_command


@pytest.fixture(autouse=True)
def no_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "PLUMBLINE_JUDGE",
                 "PLUMBLINE_LEDGER", "PLUMBLINE_API_KEY"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def write_answers(folder: Path, count: int = 3) -> str:
    path = folder / "answers.jsonl"
    rows = [
        {
            "question_id": f"q{n}",
            "model": "m",
            "question": f"What is {n} + 1?",
            "answer": f"{n + 1}",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def score(server: ChatServer, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return judge_command(
        "score", "--judge", server.spec(), "--rubric", "communication", "--answers",
        write_answers(folder), "--json", *more, cwd=folder,
    )  # fmt: skip


def test_demo_scores_ninety_answers_and_writes_one_self_contained_report(tmp_path: Path) -> None:
    done = judge_command("demo", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json_of(done)
    assert result["run"]["judge"] == "offline"
    assert (result["run"]["planned"], result["run"]["open"]) == (720, 0)
    html = (tmp_path / result["report"]["html"]).read_text()
    data = json.loads((tmp_path / result["report"]["json"]).read_text())
    assert len(data["questions"]) == 45
    assert data["models"] == ["demo-careful", "demo-hasty"]
    assert "not an LLM" in html
    assert "written by the authors" in html
    assert "not an LLM" in done.stderr
    for word in ("better", "best model", "winner", "outperforms"):
        assert word not in done.stderr


def test_auto_takes_a_configured_endpoint_that_serves_one_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer(Behaviour()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        one = json_of(judge_command("demo", "--json", cwd=tmp_path))["run"]
        assert one["judge"] == f"openai:judge@{server.base_url}"
        assert one["sent"] == one["scored"] == 694
    with ChatServer(Behaviour(models=("a", "b"))) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        several = judge_command("demo", cwd=tmp_path)
        assert several.returncode == 2
        assert "PLUMBLINE_JUDGE" in several.stderr
        monkeypatch.setenv("PLUMBLINE_JUDGE", "offline")
        assert judge_command("demo", cwd=tmp_path).returncode == 0


def test_too_much_missing_is_exit_code_12_with_everything_kept(tmp_path: Path) -> None:
    with ChatServer(Behaviour(faults={"refusal": 0.5})) as server:
        done = score(server, tmp_path)
        allowed = score(server, tmp_path, "--max-unscored", "0.9")
        server.configure(Behaviour())
        retried = score(server, tmp_path, "--retry-unscored", "refused")
    assert done.returncode == 12
    assert "refused" in done.stderr
    assert json_of(done)["run"]["unscored"]["refused"] > 0
    assert (allowed.returncode, json_of(allowed)["run"]["sent"]) == (0, 0)
    assert (retried.returncode, json_of(retried)["run"]["scored"]) == (0, 24)


def test_a_bad_key_is_exit_code_2_and_a_good_one_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChatServer(Behaviour(api_key="right")) as server:
        refused = score(server, tmp_path)
        assert refused.returncode == 2
        assert "PLUMBLINE_API_KEY" in refused.stderr
        assert "Traceback" not in refused.stderr
        monkeypatch.setenv("PLUMBLINE_API_KEY", "right")
        assert score(server, tmp_path).returncode == 0


def test_a_dry_run_sends_and_stores_nothing(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        dry = score(server, tmp_path, "--dry-run", "--price", "1,0.1,8")
        assert server.stats()["requests"] == 0
        run = json_of(dry)["run"]
        assert (run["planned"], run["would_send"], run["sent"]) == (24, 24, 0)
        assert run["cost_at_most"] > 0
    assert not (tmp_path / "plumbline.db").exists()


def test_a_budget_stops_the_run_and_the_next_one_goes_on(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        capped = score(server, tmp_path, "--budget", "20000tokens", "--concurrency", "2")
        run = json_of(capped)["run"]
        assert capped.returncode == 12
        assert "budget" in capped.stderr
        assert 0 < run["scored"] < 24
        assert run["tokens"]["prompt"] + run["tokens"]["completion"] <= 20000
        assert run["scored"] + run["open"] == 24
        whole = json_of(score(server, tmp_path))["run"]
    assert whole["sent"] == 24 - run["scored"]


def test_cost_is_counted_with_prices_and_unknown_without(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        priced = json_of(score(server, tmp_path, "--price", "2,0.5,8"))["run"]
        tokens = priced["tokens"]
        fresh = tokens["prompt"] - tokens["cached"]
        wanted = (fresh * 2 + tokens["cached"] * 0.5 + tokens["completion"] * 8) / 1e6
        assert priced["cost"] == pytest.approx(wanted, abs=1e-6)
        other = json_of(score(server, tmp_path, "--occasion", "x"))["run"]
    assert other["cost"] is None


def test_json_is_the_only_thing_on_stdout(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        machine = score(server, tmp_path)
        person = judge_command(
            "score", "--judge", server.spec(), "--rubric", "communication", "--answers",
            write_answers(tmp_path), cwd=tmp_path,
        )  # fmt: skip
    assert set(json_of(machine)) == {"run", "estimates"}
    assert len(json_of(machine)["estimates"]) == 9
    assert person.stdout == ""
    assert "24 units: 24 scored" in person.stderr


def test_scores_of_stored_answers_need_no_file(tmp_path: Path) -> None:
    answers = write_answers(tmp_path)
    assert judge_command("import", "answers", answers, cwd=tmp_path).returncode == 0
    arguments = ("score", "--judge", "offline", "--rubric", "communication", "--max-unscored", "1")
    done = judge_command(*arguments, "--models", "m", "--json", cwd=tmp_path)
    assert json_of(done)["run"]["planned"] == 24
    unknown = judge_command(*arguments, "--models", "nobody", cwd=tmp_path)
    assert unknown.returncode == 2
    assert "nobody" in unknown.stderr


def test_a_report_can_be_made_again_from_the_ledger_alone(tmp_path: Path) -> None:
    with ChatServer(Behaviour()) as server:
        run = json_of(score(server, tmp_path))["run"]["run"]
    (tmp_path / "answers.jsonl").unlink()
    done = judge_command("report", "--run", run[:12], "--weights", "paper", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    data = json.loads((tmp_path / json_of(done)["report"]["json"]).read_text())
    assert data["run"]["run"] == run
    assert data["run"]["weights"] == "paper"
    assert data["run"]["offline"] is False
    levels = [v["levels"] for q in data["questions"] for a in q["answers"] for v in a["verdicts"]]
    assert all(len(level) == 1 for level in levels)


@pytest.mark.parametrize("arguments", [(), ("score",), ("nothing",), ("report", "--stage")])
def test_usage_errors_are_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    assert judge_command(*arguments, cwd=tmp_path).returncode == 2


def test_help_starts_without_the_heavy_libraries(tmp_path: Path) -> None:
    code = (
        "import sys; from judge.cli import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        "print([n for n in ('openai','polars','numpy','torch','scipy') if n in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


@pytest.mark.parametrize("model", ["ours[epoch-1]", "x[/INST]", "[bold]", "\\[a]"])
def test_names_are_printed_as_they_are(tmp_path: Path, model: str) -> None:
    row = {"question_id": "q", "model": model, "question": "Why?", "answer": "Because of rain."}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    done = judge_command(
        "score", "--judge", "offline", "--rubric", "communication", "--answers", "a.jsonl",
        "--max-unscored", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert model in done.stderr


def test_only_our_own_demo_answers_are_called_the_demo(tmp_path: Path) -> None:
    row = {
        "question_id": "q", "model": "m", "question": "Why?", "answer": "Because of rain.",
        "generation": {"synthetic": True},
    }  # fmt: skip
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    judge_command(
        "score", "--judge", "offline", "--rubric", "communication", "--answers", "a.jsonl",
        cwd=tmp_path,
    )  # fmt: skip
    report = json_of(judge_command("report", "--json", cwd=tmp_path))["report"]
    assert json.loads((tmp_path / report["json"]).read_text())["demo"] is False
    html = (tmp_path / report["html"]).read_text()
    assert "written by the authors" not in html
    assert html.count("has not been calibrated") == 1
