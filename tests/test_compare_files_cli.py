"""``judge compare``: several files, many models, the offline baseline, foreign answers."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from judge.comparison import read_benchmarks
from judge.comparison._words import decisions_basis
from tests.support import json_of, judge_command
from tests.test_compare_cli import compare


def rows_of(levels: dict[str, float], questions: int = 12, **more: Any) -> list[dict[str, Any]]:
    """One judge's verdicts of models on clarity, a level each, moved by the question."""
    return [
        {"question_id": f"q{q}", "model": model, "criterion": "clarity", "judge": "some-judge",
         "score": level + q % 2, "scale_min": 0, "scale_max": 5, **more}
        for q in range(questions)
        for model, level in levels.items()
    ]  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_files_are_both_read(tmp_path: Path) -> None:
    write(tmp_path / "a.jsonl", rows_of({"a": 2}))
    write(tmp_path / "b.jsonl", rows_of({"b": 4}))
    body, _ = compare(tmp_path, "--verdicts", "a.jsonl", "--verdicts", "b.jsonl")
    values = {one["model"]: one["value"] for one in body["comparison"]["estimates"]
              if one["criterion"] == "overall"}  # fmt: skip
    # (2·6 + 3·6) / 12 / 5 and (4·6 + 5·6) / 12 / 5
    assert values == {"a": pytest.approx(0.5), "b": pytest.approx(0.9)}
    done = judge_command("compare", "--verdicts", "a.jsonl", "--verdicts", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "named twice" in done.stderr


def test_twelve_models_are_all_shown_in_80_columns(tmp_path: Path) -> None:
    names = [f"model-{at:02d}-of-ours" for at in range(12)]
    write(tmp_path / "v.jsonl", rows_of({name: at / 4 for at, name in enumerate(names)}))
    wide = {**os.environ, "COLUMNS": "80"}
    done = judge_command("compare", "--verdicts", "v.jsonl", cwd=tmp_path, env=wide)
    table = done.stderr.split("* the best within noise")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "…" not in table
    lines = [line.split()[1:] for line in table.splitlines() if line.startswith(" overall")]
    found = [cell.rstrip("*") for line in lines for cell in line]
    # (at / 4 + 1/2) / 5
    assert found == [f"{(at / 4 + 0.5) / 5:.3f}" for at in range(12)]
    letters = "".join(table.split())
    assert all(name in letters or name[:8] in letters for name in names)


def test_formulas_rank_nothing_and_every_output_says_so(tmp_path: Path) -> None:
    assert judge_command("demo", cwd=tmp_path).returncode == 0
    done = judge_command("compare", "--out", "out", "--json", cwd=tmp_path)
    body = json_of(done)["comparison"]
    assert body["offline"]
    for text in (
        " ".join(done.stderr.split()),
        (tmp_path / "out/comparison.html").read_text(),
        (tmp_path / "out/comparison.md").read_text(),
    ):
        assert "fixed formulas, not an LLM" in text
        assert "is the best, beyond noise" not in text
    # The same verdicts from a file give the same numbers, partial overalls included.
    assert judge_command("export", "verdicts", "--out", "v.jsonl", cwd=tmp_path).returncode == 0
    again, _ = compare(tmp_path, "--verdicts", "v.jsonl", "--out", "again")
    fields = ("model", "criterion", "value", "low", "high", "n_answers", "coverage")
    assert [[one[name] for name in fields] for one in again["comparison"]["estimates"]] == [
        [one[name] for name in fields] for one in body["estimates"]
    ]
    assert [one["value"] for one in again["comparison"]["differences"]] == [
        one["value"] for one in body["differences"]
    ]
    told = "rests on answers with all their scores alone (15 answers left out)"
    assert told in " ".join(done.stderr.split())
    assert told in (tmp_path / "out/comparison.md").read_text()
    assert told in (tmp_path / "out/comparison.html").read_text()


def test_calibrated_tables_say_that_the_weights_are_seen_on_judge_scores() -> None:
    pairs = [{"ahead": "a", "behind": "b"}]
    body = {"basis": "calibrated", "decisions": {"basis": "judge", "left_out": 0, "pairs": pairs}}
    assert "judge's own scores, not on the human scale" in decisions_basis(body)
    body["decisions"] = {"basis": "calibrated", "left_out": 0, "pairs": pairs}
    assert decisions_basis(body) == ""


def test_answers_of_something_else_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", rows_of({"a": 2, "b": 3}))
    theirs = [{"question_id": f"x{q}", "model": "z", "answer": "no"} for q in range(3)]
    write(tmp_path / "foreign.jsonl", theirs)
    how = ("compare", "--verdicts", "v.jsonl", "--answers")
    done = judge_command(*how, "foreign.jsonl", cwd=tmp_path)
    assert done.returncode == 2
    assert "none of its answers was judged here" in " ".join(done.stderr.split())
    mine = {"question_id": "q1", "model": "a", "answer": "yes"}
    write(tmp_path / "some.jsonl", [*theirs, mine])
    done = judge_command(*how, "some.jsonl", cwd=tmp_path)
    assert done.returncode == 0
    assert "3 of 4 answers in some.jsonl are of other questions" in " ".join(done.stderr.split())


def test_a_name_with_an_escape_does_not_reach_the_terminal(tmp_path: Path) -> None:
    write(tmp_path / "v.jsonl", rows_of({"a\x1b[31m": 2, "b": 3}))
    done = judge_command("compare", "--verdicts", "v.jsonl", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stderr


def test_a_count_of_samples_is_no_benchmark(tmp_path: Path) -> None:
    results = {"quiz": {"acc,none": 0.7, "sample_len": 120, "alias": "quiz"}}
    (tmp_path / "b.json").write_text(json.dumps({"results": results}))
    found = read_benchmarks([f"a={tmp_path / 'b.json'}"], ["a"])
    assert [one.metric for one in found] == ["acc,none"]
