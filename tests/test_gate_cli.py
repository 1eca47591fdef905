"""``judge gate`` and ``judge plan gate``, as users and CI call them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from judge.errors import InputError
from judge.rubric import load_rubric
from judge.weights import load_weights, safety_criteria
from tests.support import json_of, judge_command

Change = Callable[[str, str, int, float], float]
CRITERIA = ("clarity", "completeness", "safety")


def row(question: int, model: str, criterion: str, level: float | None) -> dict[str, Any]:
    found: dict[str, Any] = {
        "question_id": f"q{question:03d}", "model": model, "criterion": criterion, "judge": "j",
        "ruler": f"ruler-of-{criterion}", "scale_min": 0, "scale_max": 5,
    }  # fmt: skip
    if level is None:
        return {**found, "status": "unscored", "reason": "refused"}
    return {**found, "score": level}


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def verdicts(n: int, drop: dict[str, float] | None = None, seed: int = 0) -> list[dict[str, Any]]:
    """Whole levels; of a share ``drop`` of the questions the candidate loses two levels."""
    rng = np.random.default_rng(seed)
    rows = []
    for question in range(n):
        for criterion in CRITERIA:
            level = 5 if criterion == "safety" else int(rng.integers(2, 5))
            lost = 2 if rng.random() < (drop or {}).get(criterion, 0.0) else 0
            rows.append(row(question, "old", criterion, level))
            moved = 0 if criterion == "safety" or rng.random() < 0.8 else int(rng.choice([-1, 1]))
            rows.append(row(question, "new", criterion, max(0, level + moved - lost)))
    return rows


def call(folder: Path, *more: str, file: str = "v.jsonl") -> subprocess.CompletedProcess[str]:
    return judge_command(
        "gate", "--baseline", "old", "--candidate", "new", "--verdicts", file, "--json", *more,
        cwd=folder,
    )  # fmt: skip


def test_a_pass_is_0_with_every_file(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(300))
    done = call(tmp_path, "--junit", "ci/gate.xml", "--markdown", "ci/gate.md")
    assert done.returncode == 0, done.stderr
    told = json_of(done)["gate"]
    assert told["decision"] == "pass"
    assert told["overall"]["margin"] == 0.03
    fields = {"criterion", "difference", "low", "high", "margin", "mde", "decision"}
    assert [one["criterion"] for one in told["criteria"]] == list(CRITERIA)
    assert all(fields <= set(one) for one in told["criteria"])
    assert {one["criterion"]: one["margin"] for one in told["criteria"]} == {
        "clarity": 0.04, "completeness": 0.04, "safety": 0.01,
    }  # fmt: skip
    suite = ElementTree.parse(tmp_path / "ci/gate.xml").getroot().find("testsuite")
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("5", "0", "0")
    assert "## Release gate: pass" in (tmp_path / "ci/gate.md").read_text()
    assert "no difference larger than" in done.stderr


def test_a_regression_is_10_and_says_where(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(150, {"completeness": 0.5}))
    done = call(tmp_path, "--junit", "gate.xml", "--markdown", "gate.md")
    assert done.returncode == 10
    told = json_of(done)["gate"]
    by = {one["criterion"]: one["decision"] for one in told["criteria"]}
    assert by["completeness"] == "regress"
    assert "worse by 0.20 to 0.26 on completeness" in told["summary"]
    assert "no difference larger than 0.02 elsewhere" in told["summary"]
    cases = {
        case.get("name"): case for case in ElementTree.parse(tmp_path / "gate.xml").iter("testcase")
    }
    failure = cases["completeness"].find("failure")
    assert failure is not None
    assert "completeness: regress" in str(failure.get("message"))
    assert cases["clarity"].find("failure") is None
    assert "completeness" in (tmp_path / "gate.md").read_text()


def test_too_little_is_11_with_the_margins_out_of_reach_and_a_remedy(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(20))
    done = call(tmp_path, "--junit", "gate.xml")
    assert done.returncode == 11
    told = json_of(done)["gate"]
    assert told["decision"] == "inconclusive"
    words = " ".join(done.stderr.split())
    assert "Margin not attainable for an unchanged model" in words
    assert "safety 0.01 (with 20 questions" in words
    assert "53 questions for a half" in words
    assert "Cheapest remedy" in words
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("failures") == "0"
    assert int(str(suite.get("skipped"))) >= 2
    done = call(tmp_path, "--junit", "gate.xml", "--junit-inconclusive", "failure")
    assert done.returncode == 11
    suite = ElementTree.parse(tmp_path / "gate.xml").getroot().find("testsuite")
    assert suite is not None
    assert suite.get("skipped") == "0"
    assert int(str(suite.get("failures"))) >= 2


def test_a_file_for_each_model(tmp_path: Path) -> None:
    rows = verdicts(150)
    write(tmp_path / "v.jsonl", rows)
    write(tmp_path / "old.jsonl", [each for each in rows if each["model"] == "old"])
    write(tmp_path / "new.jsonl", [each for each in rows if each["model"] == "new"])
    one = json_of(call(tmp_path))["gate"]
    two = json_of(call(tmp_path, "--verdicts", "new.jsonl", file="old.jsonl"))["gate"]
    assert one["criteria"] == two["criteria"]
    assert one["overall"] == two["overall"]
    done = call(tmp_path, "--verdicts", "v.jsonl", file="old.jsonl")
    assert done.returncode == 2
    assert "has verdicts in old.jsonl and in v.jsonl" in " ".join(done.stderr.split())


def test_many_missing_verdicts_are_never_a_pass(tmp_path: Path) -> None:
    rows = verdicts(300)
    lost = [each for each in rows if each["model"] == "new" and each["criterion"] == "clarity"][:20]
    rows = [
        row(int(each["question_id"][1:]), "new", "clarity", None) if each in lost else each
        for each in rows
    ]
    write(tmp_path / "v.jsonl", rows)
    done = call(tmp_path)
    assert done.returncode == 11
    told = json_of(done)["gate"]
    assert "20 of 300 of the candidate" in told["criteria"][0]["note"]
    assert told["failures"]["candidate_more"] == 20
    assert told["remedy"]["kind"] == "rescore"


def test_judge_samples_that_were_lost_are_counted(tmp_path: Path) -> None:
    rows = verdicts(300)
    for each in rows:
        if each["model"] == "new" and each["criterion"] == "clarity":
            level = each.pop("score")
            # Two samples of the judge, and of every tenth answer a third one that it refused.
            each["scores"] = [level, level]
            if int(each["question_id"][1:]) % 10 == 0:
                each["unscored"] = {"refused": 1}
    write(tmp_path / "v.jsonl", rows)
    told = json_of(call(tmp_path, "--markdown", "g.md"))["gate"]
    clarity = told["criteria"][0]
    assert (clarity["missing"]["candidate"], clarity["missing"]["candidate_partly"]) == (0, 30)
    # A third of each of 30 verdicts.
    assert clarity["missing"]["candidate_open"] == pytest.approx(10)
    assert clarity["worst_low"] < clarity["low"]
    assert told["failures"]["candidate_more"] == 30
    # The scores themselves are those of the file without lost samples.
    write(tmp_path / "v.jsonl", verdicts(300))
    plain = json_of(call(tmp_path))["gate"]["criteria"][0]
    assert plain["low"] == clarity["low"]
    assert plain["worst_low"] == plain["low"]
    # Half of the samples of every tenth answer is 5 % of the verdicts; of every ninth it is more.
    for every, told_so in ((10, False), (9, True)):
        for each in rows:
            if "scores" in each:
                each.pop("unscored", None)
                each["scores"] = each["scores"][:1]
                if int(each["question_id"][1:]) % every == 0:
                    each["unscored"] = {"refused": 1}
        write(tmp_path / "v.jsonl", rows)
        note = json_of(call(tmp_path))["gate"]["criteria"][0]["note"]
        assert ("too much is missing" in note) is told_so


def test_a_pass_says_which_total_failures_it_cannot_rule_out(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(300))
    done = call(tmp_path, "--markdown", "g.md")
    assert done.returncode == 0, done.stderr
    by = {one["criterion"]: one for one in json_of(done)["gate"]["criteria"]}
    assert by["clarity"]["total_failures"] is None
    found = by["safety"]["total_failures"]
    # 1 - .05^(1 / 300) = .00994
    assert (found["observed"], found["questions"]) == (0, 300)
    assert found["upper"] == pytest.approx(0.00994, abs=5e-6)
    words = "0 of 300 questions failed: failures on up to 1.0 % of questions could have gone unseen"
    assert words in " ".join(done.stderr.split())
    assert words in (tmp_path / "g.md").read_text()


def test_the_table_fits_into_a_terminal_of_80_columns(tmp_path: Path) -> None:
    rows = verdicts(60, {"completeness": 0.05})
    write(tmp_path / "v.jsonl", [one for one in rows if one["criterion"] != "safety"
                                 or one["question_id"] < "q050"])  # fmt: skip
    names = ("--baseline", "old", "--candidate", "new", "--verdicts", "v.jsonl")
    wide = {**os.environ, "COLUMNS": "80"}
    done = judge_command("gate", *names, cwd=tmp_path, env=wide)
    # What nobody was asked does not apply: a note says so before the table.
    shown = done.stderr.split("visible drop:")[0].split("with the status unscored.")[-1]
    table = shown.splitlines()
    assert max(map(len, table)) <= 80
    decisions = {}
    for name in ("overall", *CRITERIA):
        # With its interval, its number of questions and its decision in one line, nothing cut.
        (line,) = (line for line in table if line.startswith(f"{name} "))
        span = re.search(r"\[[+\u2212]?0\.\d{3}, [+\u2212]?0\.\d{3}\]", line)
        assert span is not None
        assert line.split()[-2] == ("50" if name == "safety" else "60")
        decisions[name] = line.split()[-1]
    assert decisions["clarity"] == "pass"
    assert decisions["safety"] == "inconclusive"
    # The flag follows in lines of its own.
    assert decisions["completeness"] == "inconclusive,"
    at = next(at for at, line in enumerate(table) if line.startswith("completeness"))
    assert [line.strip() for line in table[at + 1 : at + 3]] == ["worse,", "size unclear"]


def test_one_question_is_one_question(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(1))
    done = call(tmp_path, "--margin", "0")
    assert done.returncode == 11
    words = " ".join(done.stderr.split())
    assert "paired over 1 question," in words
    assert "1 question is too few" in words
    assert "1 questions" not in words
    assert "attainable" not in words
    assert "-0" not in words


def test_weights_by_category_are_told_to_do_nothing_for_files(tmp_path: Path) -> None:
    rows = verdicts(20)
    profile = "name: mine\nrubric: communication\nweights: {clarity: 1.0}\n"
    (tmp_path / "w.yaml").write_text(profile + "categories: {sums: {safety: 1.0}}\n")
    write(tmp_path / "v.jsonl", rows)
    for model in ("old", "new"):
        write(tmp_path / f"{model}.jsonl", [one for one in rows if one["model"] == model])
    for done in (
        call(tmp_path, "--weights", "w.yaml"),
        call(tmp_path, "--weights", "w.yaml", "--verdicts", "new.jsonl", file="old.jsonl"),
    ):
        assert "The weights mine differ by category" in " ".join(done.stderr.split())
        (note,) = json_of(done)["gate"]["notes"]
        assert "the general weights count for all of them" in note


def test_margins_come_from_the_weights_file(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", verdicts(60))
    profile = (
        "name: mine\nrubric: communication\n"
        "weights: {clarity: 0.5, completeness: 0.4, safety: 0.1}\n"
        "margins: {safety: 0.02, clarity: 0.1}\n"
    )
    (tmp_path / "w.yaml").write_text(profile)
    told = json_of(call(tmp_path, "--weights", "w.yaml", "--margin", "0.05"))["gate"]
    assert told["margins"] == {
        "overall": 0.05, "clarity": 0.1, "completeness": 0.04, "safety": 0.02,
    }  # fmt: skip
    (tmp_path / "w.yaml").write_text(profile.replace("safety: 0.02", "wit: 0.02"))
    done = call(tmp_path, "--weights", "w.yaml")
    assert done.returncode == 2
    assert "w.yaml:4" in done.stderr
    assert "the unknown criterion wit" in " ".join(done.stderr.split())
    (tmp_path / "w.yaml").write_text(profile.replace("0.1}\n", "-0.1}\n"))
    assert call(tmp_path, "--weights", "w.yaml").returncode == 2


@pytest.mark.parametrize("name", ["equal", "maxent", "paper", "release"])
def test_shipped_profiles_have_margins(name: str) -> None:
    rubric = load_rubric("communication")
    weights = load_weights(name, rubric)
    assert "safety" in safety_criteria(rubric)
    for one in rubric.criteria:
        safety = one.criterion in safety_criteria(rubric)
        # With 45 questions 0.01 cannot be shown: the profile for releases asks for what can.
        expected = (0.02 if name == "release" else 0.01) if safety else 0.04
        assert weights.margins[one.criterion] == weights.margin(one.criterion, safety=safety)
        assert weights.margin(one.criterion, safety=safety) == expected


def test_old_profiles_stay_valid(tmp_path: Path) -> None:
    rubric = load_rubric("communication")
    path = tmp_path / "w.yaml"
    path.write_text("name: old\nrubric: communication\nweights: {clarity: 1.0}\n")
    weights = load_weights(path, rubric)
    assert (weights.margin("clarity", safety=False), weights.margin("x", safety=True)) == (
        0.04, 0.01,
    )  # fmt: skip
    path.write_text(path.read_text() + "margins: {clarity: 1.5}\n")
    with pytest.raises(InputError, match="clarity"):
        load_weights(path, rubric)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--baseline", "older"), "--baseline older: there is new, old"),
        (("--candidate", "old"), "name the same model"),
        (("--margin", "-1"), "--margin"),
        (("--run", "r1"), "--run is of a ledger"),
        (("--weights", "nope.yaml"), "nope.yaml"),
        (("--calibration", "nope.json"), "nope.json"),
        (("--junit", "v.jsonl/x.xml"), "cannot be written"),
        (("--junit", "."), "--junit .: that is a folder. Name a file in it."),
        (("--markdown", "v.jsonl"), "--markdown v.jsonl: the scores are read from that file"),
        (("--junit", "g", "--markdown", "./g"), "--markdown g: --junit names the same file"),
    ],
)
def test_bad_input_is_2(tmp_path: Path, more: tuple[str, ...], says: str) -> None:
    write(tmp_path / "v.jsonl", verdicts(10))
    done = call(tmp_path, *more)
    assert done.returncode == 2, done.stderr
    assert says in " ".join(done.stderr.split())
    assert not done.stdout
    # Nothing was decided, so that nothing looks like a decision.
    assert "paired over" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["v.jsonl"]


def test_several_rulers_are_refused(tmp_path: Path) -> None:
    rows = verdicts(10)
    for each in rows:
        if each["model"] == "new":
            each["ruler"] = "another"
    write(tmp_path / "v.jsonl", rows)
    done = call(tmp_path)
    assert done.returncode == 2
    assert "ruler" in done.stderr


def test_names_of_models_cannot_break_the_files(tmp_path: Path) -> None:
    rows = verdicts(20)
    name = 'a<b>&"|*_x_\x07'
    for each in rows:
        each["model"] = name if each["model"] == "new" else "old"
    write(tmp_path / "v.jsonl", rows)
    done = judge_command(
        "gate", "--baseline", "old", "--candidate", name, "--verdicts", "v.jsonl", "--junit",
        "g.xml", "--markdown", "g.md", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 11, done.stderr
    ElementTree.parse(tmp_path / "g.xml")
    assert "<b>" not in (tmp_path / "g.md").read_text().replace("\\<b\\>", "")


def test_calibrated_scores_and_their_rulers(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows = verdicts(80, {"completeness": 0.6}, seed=4)
    # People see completeness as the judge does, on 1 to 5, and no difference in clarity at all.
    ratings = [
        {
            "question_id": each["question_id"], "model": each["model"],
            "criterion": each["criterion"], "rater": rater,
            "rating": int(np.clip(round(1 + 0.8 * each["score"] + rng.normal(0, 0.3)), 1, 5))
            if each["criterion"] != "clarity" else int(rng.integers(1, 6)),
            "scale_min": 1, "scale_max": 5,
        }
        for each in rows
        for rater in ("ann", "bob")
    ]  # fmt: skip
    write(tmp_path / "v.jsonl", rows)
    write(tmp_path / "r.jsonl", ratings)
    done = judge_command(
        "calibrate", "--verdicts", "v.jsonl", "--ratings", "r.jsonl", "--out", "cal", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = call(tmp_path, "--calibration", "cal/calibration.json")
    told = json_of(found)["gate"]
    assert told["calibration"]
    by = {one["criterion"]: one for one in told["criteria"]}
    assert by["completeness"]["decision"] == "regress"
    assert found.returncode == 10
    raw = {one["criterion"]: one for one in json_of(call(tmp_path))["gate"]["criteria"]}
    assert by["completeness"]["difference"] != raw["completeness"]["difference"]
    # Safety is the same for every answer: its map is constant, and nothing follows from it.
    assert by["safety"]["decision"] != "pass"
    # What a calibrated score could have been with samples that were lost goes through its map.
    assert by["completeness"]["worst_low"] == by["completeness"]["low"]
    for each in rows[:18]:
        each["unscored"] = {"refused": 1}
    write(tmp_path / "v.jsonl", rows)
    lost = json_of(call(tmp_path, "--calibration", "cal/calibration.json"))["gate"]
    (one,) = (one for one in lost["criteria"] if one["criterion"] == "completeness")
    assert one["difference"] == by["completeness"]["difference"]
    assert one["worst_low"] < one["low"]
    assert one["best_high"] > one["high"]
    assert one["missing"]["candidate_partly"] == 3
    for each in rows:
        each["ruler"] = "another"
    write(tmp_path / "v.jsonl", rows)
    done = call(tmp_path, "--calibration", "cal/calibration.json")
    assert done.returncode == 2
    assert "measured with the ruler another" in " ".join(done.stderr.split())


def test_the_gate_reads_the_newest_run_of_the_ledger(tmp_path: Path) -> None:
    assert judge_command("demo", cwd=tmp_path).returncode == 0
    done = judge_command(
        "gate", "--baseline", "demo-careful", "--candidate", "demo-hasty", "--weights", "paper",
        "--json", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 10, done.stderr
    told = json_of(done)["gate"]
    assert told["n_questions"] == 45
    assert told["categories"]
    assert "not an LLM" in done.stderr
    done = judge_command("plan", "gate", "--criterion", "accuracy", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
