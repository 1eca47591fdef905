"""The templates for schedulers: they parse, and their scripts do what the exit codes ask for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "nightly"


def workflow() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(FOLDER / "github-actions.yml")
    return loaded


def step(name: str) -> str:
    (found,) = [one for one in workflow()["jobs"]["night"]["steps"] if one.get("name") == name]
    return str(found["run"])


def program(folder: Path, name: str, script: str) -> None:
    place = folder / name
    place.write_text(f"#!/bin/sh\n{script}\n")
    place.chmod(0o755)


def run(script: str, folder: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub does for ``shell: bash``."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={"PATH": f"{folder}:{os.environ['PATH']}", "GITHUB_REPOSITORY": "me/bot", **env},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_steps_run_with_pipefail() -> None:
    assert workflow()["defaults"]["run"]["shell"] == "bash"


@pytest.mark.parametrize("code", [0, 10, 11, 2, 70, 130])
def test_results_let_the_job_go_on_and_failures_end_it(tmp_path: Path, code: int) -> None:
    program(tmp_path, "judge", f'echo "$@ $PLUMBLINE_LEDGER" > asked; exit {code}')
    output = tmp_path / "output"
    done = run(step("Run the night"), tmp_path, GITHUB_OUTPUT=str(output), LEDGER="", DATE="")
    assert done.returncode == (0 if code in {0, 10, 11} else code)
    assert output.read_text() == f"code={code}\n"
    assert (tmp_path / "asked").read_text() == "nightly nightly.yaml \n"
    last = run(step("Say how it went"), tmp_path, CODE=str(code))
    assert last.returncode == (10 if code == 10 else 0)
    assert ("::warning::" in last.stdout) is (code == 11)


def test_a_date_and_a_database_are_passed_on(tmp_path: Path) -> None:
    program(tmp_path, "judge", 'echo "$@ $PLUMBLINE_LEDGER" > asked')
    run(
        step("Run the night"), tmp_path, GITHUB_OUTPUT="/dev/null",
        LEDGER="postgresql://me@db/x", DATE="2026-03-01",
    )  # fmt: skip
    asked = (tmp_path / "asked").read_text()
    assert asked == "nightly nightly.yaml --date 2026-03-01 postgresql://me@db/x\n"


_GH = """
case "$1" in
  api) printf '2026-03-02T03:00:00Z 22\\n2026-03-10T03:00:00Z 33\\n2026-02-28T03:00:00Z 44\\n' ;;
  run) echo "$@" > downloaded ;;
esac
"""


def test_the_newest_ledger_is_restored(tmp_path: Path) -> None:
    program(tmp_path, "gh", _GH)
    done = run(step("Restore the ledger"), tmp_path, PLUMBLINE_LEDGER="")
    assert done.returncode == 0, done.stderr
    downloaded = (tmp_path / "downloaded").read_text()
    assert downloaded == "run download 33 --repo me/bot --name plumbline-ledger --dir .\n"


def test_a_first_night_begins_and_a_failure_to_look_does_not(tmp_path: Path) -> None:
    program(tmp_path, "gh", "exit 0")
    done = run(step("Restore the ledger"), tmp_path, PLUMBLINE_LEDGER="")
    assert done.returncode == 0
    assert "the series begins tonight" in done.stdout
    for script in ("exit 1", _GH.replace('echo "$@" > downloaded', "exit 1")):
        program(tmp_path, "gh", script)
        assert run(step("Restore the ledger"), tmp_path, PLUMBLINE_LEDGER="").returncode != 0
    done = run(step("Restore the ledger"), tmp_path, PLUMBLINE_LEDGER="postgresql://me@db/x")
    assert done.returncode == 0


def test_cron_runs_in_the_folder_with_the_secrets(tmp_path: Path) -> None:
    lines = [
        line
        for line in (FOLDER / "cron.txt").read_text().splitlines()
        if line and line[0].isdigit()
    ]
    assert len(lines) == 2
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program(tmp_path / ".venv" / "bin", "judge", 'echo "$OPENAI_API_KEY $@"; exit 10')
    (tmp_path / "nightly.env").write_text("OPENAI_API_KEY=key\n")
    for line in lines:
        *_, command = line.split(None, 5)
        assert "%" not in command  # cron would end the command there
        done = subprocess.run(
            ["sh", "-c", command.replace("/srv/support-bot", str(tmp_path))],
            cwd="/", capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 10
        assert done.stdout + done.stderr == ""
    assert (tmp_path / "nightly.log").read_text() == "key nightly nightly.yaml\n" * 2


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_the_units(tmp_path: Path) -> None:
    program(tmp_path, "judge", "exit 0")
    for name in ("plumbline-nightly.service", "plumbline-nightly.timer"):
        text = (FOLDER / name).read_text()
        (tmp_path / name).write_text(
            text.replace("/srv/support-bot/.venv/bin/judge", str(tmp_path / "judge"))
        )
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "plumbline-nightly.service",
         "plumbline-nightly.timer"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
    )  # fmt: skip
    complaints = [line for line in done.stderr.splitlines() if "plumbline" in line]
    assert complaints == []
    assert done.returncode == 0, done.stderr
