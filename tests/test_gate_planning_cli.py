"""``judge plan gate``, as users call it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import json_of, judge_command
from tests.test_gate_cli import CRITERIA, verdicts, write


def test_a_plan_from_a_pilot_and_without_one(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(45))
    done = judge_command(
        "plan", "gate", "--verdicts", "v.jsonl", "--drop", "0.05", "--json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = {one["criterion"]: one for one in json_of(done)["plan"]["gate"]}
    assert set(found) == {"overall", *CRITERIA}
    assert found["clarity"]["components"]["noise_assumed"]
    assert found["safety"]["attainability"]["needed"] == 53
    assert all(one["drop"] <= 0.05 + 1e-9 for one in found["clarity"]["cheapest"])
    done = judge_command(
        "plan", "gate", "--sd", "0.12", "--questions", "45", "--margin", "0.02", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (one,) = json_of(done)["plan"]["gate"]
    assert one["design"]["drop"] == pytest.approx(0.0445, abs=1e-4)
    assert "is not attainable with 45 questions" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("more", "margin"),
    [
        (("--criterion", "safety"), 0.01),
        (("--criterion", "safety", "--weights", "release"), 0.02),
        (("--criterion", "clarity", "--margin", "0.2"), 0.04),
        (("--criterion", "wit"), 0.04),
        (("--margin", "0.2"), 0.2),
    ],
)
def test_a_plan_without_a_pilot_has_the_margin_of_its_criterion(
    tmp_path: Path, more: tuple[str, ...], margin: float
) -> None:
    done = judge_command("plan", "gate", "--sd", "0.12", "--json", *more, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (one,) = json_of(done)["plan"]["gate"]
    assert one["attainability"]["margin"] == margin


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--sd", "0.1", "--criterion", "wit", "--rubric", "communication"), "--criterion wit: "),
        (("--criterion", "wit"), "--criterion wit: there is"),
        (("--baseline", "old"), "go together"),
        (("--baseline", "old", "--candidate", "x"), "x: there is new, old"),
    ],
)
def test_a_plan_that_cannot_be_made(tmp_path: Path, more: tuple[str, ...], says: str) -> None:
    write(tmp_path / "v.jsonl", verdicts(10))
    done = judge_command("plan", "gate", "--verdicts", "v.jsonl", *more, cwd=tmp_path)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())


def test_two_files_of_a_pilot_are_both_read(tmp_path: Path) -> None:
    rows = verdicts(45)
    for name in ("old", "new"):
        write(tmp_path / f"{name}.jsonl", [one for one in rows if one["model"] == name])
    write(tmp_path / "v.jsonl", rows)
    plans = []
    for files in (("v.jsonl",), ("old.jsonl", "new.jsonl")):
        named = [part for file in files for part in ("--verdicts", file)]
        done = judge_command("plan", "gate", *named, "--json", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        plans.append(json_of(done)["plan"]["gate"])
    assert plans[0] == plans[1]


def test_samples_of_the_judge_in_a_file_are_its_noise(tmp_path: Path) -> None:
    rows = []
    for at, one in enumerate(verdicts(45)):
        level = one.pop("score")
        rows.append({**one, "scores": [level, 3 if at % 2 else 4]})
    write(tmp_path / "v.jsonl", rows)
    done = judge_command(
        "plan", "gate", "--verdicts", "v.jsonl", "--criterion", "clarity", "--json", cwd=tmp_path
    )
    (one,) = json_of(done)["plan"]["gate"]
    assert one["components"]["judge_samples"] == 2
    assert one["components"]["judge"] > 0
    assert one["design"]["judge_samples"] == 2
    # 45 questions, 2 models, 1 answer, 2 judge samples, a question 10: 45·(2·(1 + 2) + 10).
    assert one["design"]["cost"] == 720
    assert "not known apart" not in done.stderr


def test_one_model_is_assumed_once(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", [one for one in verdicts(45) if one["model"] == "old"])
    done = judge_command("plan", "gate", "--verdicts", "v.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    # Margins: overall 0.03, clarity and completeness 0.04, safety 0.01.
    found = [one["criterion"] for one in json_of(done)["plan"]["gate"]]
    assert found == ["overall", "clarity", "safety"]
    assert "completeness: as clarity." in done.stderr


def test_too_few_questions_still_get_a_design(tmp_path: Path) -> None:
    done = judge_command("plan", "gate", "--sd", "0.3", "--questions", "20", "--json", cwd=tmp_path)
    (one,) = json_of(done)["plan"]["gate"]
    assert one["cheapest"] == []
    assert all(more["questions"] > 20 for more in one["cheapest_with_more_questions"])
    assert "with more questions:" in " ".join(done.stderr.split())
