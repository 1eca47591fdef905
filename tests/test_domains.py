"""A new domain is files and no code: nothing in the package knows the criteria or the questions."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from judge.questions import load_questions
from judge.rubric import load_rubric
from tests.chat_server import Behaviour, ChatServer
from tests.support import json_of, judge_command

ROOT = Path(__file__).parent.parent
TINY = Path(__file__).parent / "data" / "tiny"


@pytest.mark.parametrize("judge", ["offline", "server"])
def test_a_domain_of_two_criteria_runs_from_files_alone(tmp_path: Path, judge: str) -> None:
    with ChatServer(Behaviour()) as server:
        arguments = [
            "score", "--judge", server.spec() if judge == "server" else "offline",
            "--rubric", str(TINY / "rubric.yaml"), "--questions", str(TINY / "questions.yaml"),
            "--answers", str(TINY / "answers.jsonl"), "--weights", str(TINY / "weights.yaml"),
            "--stage", "release", "--max-unscored", "1", "--json",
        ]  # fmt: skip
        done = judge_command(*arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    run = json_of(done)["run"]
    assert run["planned"] == 4
    assert run["not_applicable"] == 1, "edible is for cooking only"
    assert run["scored"] + sum(run["unscored"].values()) == 3
    report = judge_command(
        "report", "--weights", str(TINY / "weights.yaml"), "--out", "r", "--json", cwd=tmp_path
    )
    assert report.returncode == 0, report.stderr
    data = json.loads((tmp_path / "r" / "report.json").read_text())
    assert [entry["criterion"] for entry in data["criteria"]] == ["edible", "doable"]
    assert {entry["criterion"] for entry in data["estimates"]} == {"edible", "doable", "overall"}


def test_levels_of_a_domain_are_those_of_its_file(tmp_path: Path) -> None:
    """A server that gives levels 0 to 5 is out of range where the rubric has 0, 3 and 5 only."""
    with ChatServer(Behaviour(record_bodies=True)) as server:
        done = judge_command(
            "score", "--judge", server.spec(), "--rubric", str(TINY / "rubric.yaml"),
            "--questions", str(TINY / "questions.yaml"), "--answers",
            str(TINY / "answers.jsonl"), "--max-unscored", "1", "--json", cwd=tmp_path,
        )  # fmt: skip
        bodies = [entry["body"] for entry in server.log()]
    assert done.returncode == 0, done.stderr
    schemas = {
        json.dumps(body["response_format"]["json_schema"]["schema"]["properties"]["level"]["enum"])
        for body in bodies
    }
    assert schemas == {"[0, 3, 5, null]", "[0, 5, null]"}
    judge_command("export", "verdicts", "--out", "v.jsonl", cwd=tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "v.jsonl").read_text().splitlines()]
    allowed = {"edible": {0, 3, 5}, "doable": {0, 5}}
    for row in rows:
        assert set(row["scores"] or ()) <= allowed[row["criterion"]]


def test_no_code_names_a_criterion_or_a_question() -> None:
    names = [criterion.criterion for criterion in load_rubric("communication").criteria]
    texts = [question.question for question in load_questions("monetization")]
    quoted = re.compile("|".join(rf"[\"']{name}[\"']" for name in names))
    for path in (ROOT / "judge").rglob("*.py"):
        source = path.read_text()
        assert not quoted.search(source), f"{path} names a criterion"
        assert not [text for text in texts if len(text) > 12 and text in source], path
