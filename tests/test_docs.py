"""The documentation says what is: its commands run, its links lead somewhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from judge.questions import load_questions
from judge.rubric import load_rubric
from judge.weights import load_weights
from tests.chat_server import Behaviour, ChatServer
from tests.support import JUDGE, judge_command

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


RATED = "judge calibrate"
"""The block with this command needs ratings."""
GATED = "judge gate"
"""The block with this command needs two models."""
NIGHTLY = "judge nightly"
"""The block with this command needs a series of nights."""


def judge_commands(block: str) -> list[str]:
    return [line.split("#")[0].strip() for line in block.splitlines() if line.startswith("judge ")]


def test_the_readme_commands_run_on_the_readme_answers(tmp_path: Path) -> None:
    readme = ROOT / "README.md"
    (answer,) = blocks(readme, "json")
    (tmp_path / "answers.jsonl").write_text(answer)
    commands = [
        command
        for block in blocks(readme, "sh")
        if not any(needy in block for needy in (RATED, GATED, NIGHTLY))
        for command in judge_commands(block)
    ]
    assert len(commands) >= 6
    with ChatServer(Behaviour(replies="auto")) as server:
        for command in commands:
            served = command.replace("vllm:checkpoints/epoch-2", "SPEC")
            words = shlex.split(served.replace("SPEC", server.spec()))[1:]
            done = judge_command(*words, cwd=tmp_path)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert (tmp_path / "my-report" / "report.html").exists()
    exported = (tmp_path / "verdicts.jsonl").read_text().splitlines()
    assert sum(json.loads(row)["model"] == "ours-epoch-2" for row in exported) == 8


@pytest.mark.parametrize("page", ["README.md", "docs/calibration.md"])
def test_the_commands_on_ratings_run_on_the_demo(page: str, tmp_path: Path) -> None:
    block = next(block for block in blocks(ROOT / page, "sh") if RATED in block)
    commands = judge_commands(block)
    assert len(commands) >= 5
    options = {"cwd": tmp_path, "env": {**os.environ, "PLUMBLINE_LEDGER": "sqlite:///demo.db"}}
    assert judge_command("calibrate", "--demo", "--out", "demo", **options).returncode == 0
    assert judge_command("export", "verdicts", "--out", "verdicts.jsonl", **options).returncode == 0
    for command in commands:
        done = judge_command(*shlex.split(command)[1:], **options)
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        for sheet in tmp_path.glob("sheets/*.csv"):
            shutil.copy(sheet, tmp_path)
    assert (tmp_path / "calibration" / "report.html").exists()


def test_the_commands_on_two_models_run_on_the_demo(tmp_path: Path) -> None:
    block = next(block for block in blocks(ROOT / "README.md", "sh") if GATED in block)
    commands = judge_commands(block)
    assert len(commands) >= 4
    assert judge_command("demo", "--judge", "offline", cwd=tmp_path).returncode == 0
    for command in commands:
        named = command.replace("ours-v1", "demo-careful").replace("ours-v2", "demo-hasty")
        done = judge_command(*shlex.split(named)[1:], cwd=tmp_path)
        # The hasty answers are worse by far.
        assert done.returncode == (10 if GATED in command else 0), f"{command}\n{done.stderr}"
    assert (tmp_path / "comparison" / "comparison.html").exists()
    assert (tmp_path / "gate.xml").exists()


def test_the_commands_on_nights_run_on_the_demo(tmp_path: Path) -> None:
    demo, *others = [
        command
        for page in ("docs/nightly.md", "README.md")
        for block in blocks(ROOT / page, "sh")
        if NIGHTLY in block
        for command in judge_commands(block)
    ]
    assert "--demo my-nights" in demo and len(others) >= 6
    month = judge_command(*shlex.split(demo)[1:], cwd=tmp_path)
    assert month.returncode == 0, month.stderr
    assert "REGRESS" in month.stderr and "the model moved, not the judge" in month.stderr
    for command in dict.fromkeys(others):
        words = shlex.split(command.replace("my-nights/", ""))[1:]
        if "--simulate" in words:
            words += ["--sd", "0.12", "--years", "50"]
        done = judge_command(*words, cwd=tmp_path / "my-nights")
        # The month ends with the drop that is planted in it, and its judge never changes.
        expected = {"nightly": 0 if "--simulate" in words else 10, "bridge": 2}
        assert done.returncode == expected.get(words[0], 0), f"{command}\n{done.stderr}"
        assert words[0] != "bridge" or "nothing to bridge" in done.stderr
    assert (tmp_path / "my-nights" / "site" / "index.html").exists()


def test_the_commands_of_the_page_on_training_data_run(tmp_path: Path) -> None:
    (block,) = blocks(ROOT / "docs" / "blending.md", "sh")
    commands = [shlex.split(line.split("#")[0]) for line in block.splitlines()]
    assert [command[:2] for command in commands] == [["sft", "demo"], ["sft", "blend"]]
    for command in commands:
        done = subprocess.run(
            [JUDGE.with_name("sft"), *command[1:]], cwd=tmp_path, capture_output=True, text=True,
            timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "blending.md").read_text()
    for name in re.findall(r"^\| `([a-z.]+)/?", page, re.MULTILINE):
        assert (tmp_path / "my-blend" / name).exists(), name


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for block in blocks(ROOT / "README.md", "sh"):
        for target in re.findall(r"^make ([a-z-]+)", block, re.MULTILINE):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_json_examples_are_json(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)


def test_the_example_rubric_weights_and_questions_fit_together(tmp_path: Path) -> None:
    for kind in ("rubric", "weights", "questions"):
        (text,) = blocks(ROOT / "docs" / "rubrics.md", f"yaml {kind}")
        (tmp_path / f"{kind}.yaml").write_text(text)
    rubric = load_rubric(tmp_path / "rubric.yaml")
    weights = load_weights(tmp_path / "weights.yaml", rubric)
    (question,) = load_questions(tmp_path / "questions.yaml")
    assert [step.score for step in rubric["private"].levels] == [0, 1]
    assert weights.vector(stage="release")["private"] == 0.5
    assert all(check.run("Press Refund.").passed for check in question.checks)
