"""``judge gate`` on files: criteria that do not apply everywhere, and the files that it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.support import json_of, judge_command
from tests.test_gate_cli import call, row, verdicts, write


def halves(n: int) -> list[dict[str, Any]]:
    """Half of the questions are judged on clarity alone, the others on completeness alone."""
    return [
        row(question, model, "clarity" if question % 2 else "completeness", 3 + question % 3)
        for question in range(n)
        for model in ("old", "new")
    ]


def test_tests_with_criteria_of_their_own_can_pass(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", halves(200))
    done = call(tmp_path)
    assert done.returncode == 0, done.stderr
    told = json_of(done)["gate"]
    assert {one["criterion"]: one["n_questions"] for one in told["criteria"]} == {
        "clarity": 100, "completeness": 100,
    }  # fmt: skip
    assert told["overall"]["n_questions"] == 200
    assert all(one["missing"]["candidate"] == 0 for one in told["criteria"])
    assert "taken not to apply: clarity on 100, completeness on 100 of 200" in done.stderr


def test_rows_that_one_model_lacks_are_missing_all_the_same(tmp_path: Path) -> None:
    rows = halves(200)
    kept = [one for one in rows if one["model"] == "old" or one["question_id"] > "q019"]
    lost = [one for one in rows if one not in kept and one["criterion"] == "clarity"]
    assert len(lost) == 10
    write(tmp_path / "v.jsonl", [one for one in rows if one not in lost])
    done = call(tmp_path)
    assert done.returncode == 11
    (clarity,) = (one for one in json_of(done)["gate"]["criteria"] if one["criterion"] == "clarity")
    assert (clarity["missing"]["candidate"], clarity["missing"]["baseline"]) == (10, 0)
    words = " ".join(done.stderr.split())
    assert "judged again where the file comes from" in words
    assert "--retry-unscored" not in words


def test_files_are_written_although_nobody_reads_what_is_printed(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(20))
    reader, writer = os.pipe()
    os.close(reader)
    try:
        subprocess.run(
            [sys.executable, "-m", "judge", "gate", "--baseline", "old", "--candidate", "new",
             "--verdicts", "v.jsonl", "--junit", "g.xml", "--markdown", "g.md"],
            cwd=tmp_path, stdout=writer, stderr=writer, timeout=120, check=False,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert ElementTree.parse(tmp_path / "g.xml").getroot().find("testsuite") is not None
    assert "## Release gate" in (tmp_path / "g.md").read_text()


def test_a_dash_is_no_file(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(20))
    done = call(tmp_path, "--junit", "-")
    assert done.returncode == 2
    assert "name a file" in done.stderr
    assert not (tmp_path / "-").exists()


def test_names_of_a_file_do_not_reach_the_terminal_raw(tmp_path: Path) -> None:
    evil = "new\x1b[31m"
    rows = [{**one, "model": evil if one["model"] == "new" else "old"} for one in verdicts(20)]
    write(tmp_path / "v.jsonl", rows)
    done = judge_command(
        "gate", "--baseline", "old", "--candidate", evil, "--verdicts", "v.jsonl", cwd=tmp_path
    )
    assert done.returncode in (0, 11), done.stderr
    assert "\x1b" not in done.stderr
