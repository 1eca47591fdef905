"""``judge compare``, as users call it: files, a ledger, a published table, and hostile texts."""

from __future__ import annotations

import csv
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judge.comparison._markdown import safe
from tests.support import json_of, judge_command

QUESTIONS, CRITERIA = 20, ("clarity", "depth")
HOSTILE = "<script>alert(1)</script>|`x`[a](http://evil.test)"
MODELS = {"base": (0.5, 80), "tuned-1": (0.7, 40), "tuned-2": (0.6, 20), HOSTILE: (0.6, 30)}
META = """models:
  base: {base: base, size_b: 7, tuned: false}
  tuned-1: {base: base, size_b: 7, epoch: 1, blend: half, domain_share: 0.5}
  tuned-2: {base: base, size_b: 7, epoch: 2, blend: half, domain_share: 0.5}
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Verdicts and answers of four models, two answers each, and ratings of some of them."""
    folder = tmp_path_factory.mktemp("compare")
    rng = np.random.default_rng(7)
    verdicts, answers = [], []
    ratings: list[list[Any]] = [
        ["question_id", "model", "sample", "criterion", "rater", "rating", "scale_min", "scale_max"]
    ]
    for q in range(QUESTIONS):
        shift = rng.normal(0, 0.1)
        for model, (level, words) in MODELS.items():
            for sample in range(2):
                text = "word " * (words + q) + ("<img src=x onerror=alert(2)>" if q == 0 else "")
                answers.append(
                    {"question_id": f"q{q}", "model": model, "sample": sample, "answer": text,
                     "question": f"<b>Question {q}</b>", "language": "zh" if q % 4 == 0 else "en",
                     "domain": "general" if q % 2 else "in_domain"}
                )  # fmt: skip
                for criterion in CRITERIA:
                    truth = float(np.clip(level + shift + rng.normal(0, 0.1), 0, 1))
                    row = {"question_id": f"q{q}", "model": model, "sample": sample,
                           "criterion": criterion, "judge": "some-judge", "ruler": criterion,
                           "scale_min": 0, "scale_max": 5}  # fmt: skip
                    missing = model == "tuned-2" and q == 3 and criterion == "depth"
                    row |= (
                        {"status": "unscored", "reason": "refused"}
                        if missing
                        else {"score": round(5 * truth)}
                    )
                    verdicts.append(row)
                    if sample == 0 and q < 14:
                        ratings += [
                            [f"q{q}", model, 0, criterion, rater, round(4 * truth), 0, 4]
                            for rater in ("ann", "bob")
                        ]
    for name, rows in (("verdicts", verdicts), ("answers", answers)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with (folder / "ratings.csv").open("w") as file:
        csv.writer(file).writerows(ratings)
    (folder / "meta.yaml").write_text(META)
    (folder / "bench.json").write_text(
        json.dumps({"results": {"quiz": {"acc,none": 0.7, "acc_stderr,none": 0.02}}})
    )
    return folder


def compare(folder: Path, *arguments: str) -> tuple[dict[str, Any], Path]:
    done = judge_command("compare", *arguments, "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    return json_of(done), folder


@pytest.fixture(scope="module")
def compared(files: Path) -> tuple[dict[str, Any], Path]:
    return compare(
        files, "--verdicts", "verdicts.jsonl", "--answers", "answers.jsonl", "--meta", "meta.yaml",
        "--benchmarks", "tuned-1=bench.json", "--out", "out",
    )  # fmt: skip


def test_the_table_and_its_standings(compared: tuple[dict[str, Any], Path]) -> None:
    body = compared[0]["comparison"]
    assert body["basis"] == "judge"
    assert not body["calibrated"]
    by = {(one["model"], one["criterion"]): one for one in body["estimates"]}
    assert set(by) == {(model, name) for model in MODELS for name in (*CRITERIA, "overall")}
    assert by["tuned-2", "depth"]["coverage"] == pytest.approx(0.95)
    stands = {(one["model"], one["criterion"]): one for one in body["standings"]}
    assert stands["tuned-1", "overall"]["top"]
    # 0.2 apart on 20 questions with a spread of a tenth: no doubt.
    assert stands["base", "overall"]["best"] is False
    (gap,) = (
        one for one in body["differences"]
        if (one["criterion"], one["model"], one["other"]) == ("overall", "base", "tuned-1")
    )  # fmt: skip
    assert gap["high"] < 0
    assert gap["clear"]
    assert gap["value"] == pytest.approx(
        by["base", "overall"]["value"] - by["tuned-1", "overall"]["value"]
    )


def test_trends_use_the_metadata(compared: tuple[dict[str, Any], Path]) -> None:
    body = compared[0]["comparison"]
    (curve,) = body["trends"]["epochs"]
    assert curve["models"] == ["base", "tuned-1", "tuned-2"]
    overall = next(one for one in curve["optima"] if one["criterion"] == "overall")
    assert (overall["epoch"], overall["low"]) == (1, 1)
    # From 80 to 20 words, q0 to q19 more: shorter, by no more than half per epoch.
    assert 0.5 < body["trends"]["brevity"][0]["ratio"] < 0.8
    assert {one["tuned"] for one in body["trends"]["tuning"]} == {"tuned-1", "tuned-2"}
    assert {one["language"] for one in body["trends"]["languages"]["means"]} == {"en", "zh"}
    assert body["trends"]["blends"]["n_general"] == QUESTIONS // 2 - 1  # q3 lacks a score
    assert {one["model"] for one in body["consistency"]} == set(MODELS)
    assert [(one["model"], one["task"]) for one in body["benchmarks"]] == [("tuned-1", "quiz")]
    assert len(body["decisions"]["pairs"]) == 6
    for one in body["decisions"]["pairs"]:
        lacking = "tuned-2" in (one["ahead"], one["behind"])  # q3
        assert one["common_questions"] == QUESTIONS - lacking


def test_models_without_a_common_question_are_no_tie(tmp_path: Path) -> None:
    rows = [
        {"question_id": f"{model}-{q}", "model": model, "criterion": "clarity", "judge": "j",
         "score": 3 + q % 2, "scale_min": 0, "scale_max": 5}
        for model in ("old", "new") for q in range(10)
    ]  # fmt: skip
    (tmp_path / "v.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = judge_command("compare", "--verdicts", "v.jsonl", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    body = json_of(done)["comparison"]
    (pair,) = body["decisions"]["pairs"]
    assert pair["common_questions"] == 0
    assert all(gap["value"] is None for gap in body["differences"])
    page = (tmp_path / "plumbline-comparison" / "comparison.html").read_text()
    markdown = (tmp_path / "plumbline-comparison" / "comparison.md").read_text()
    for text in (done.stderr, page, markdown):
        assert "have no question with an overall of both" in text
        assert " tie" not in text


def test_files_lie_side_by_side(compared: tuple[dict[str, Any], Path]) -> None:
    told, folder = compared
    written = {name: folder / path for name, path in told["report"].items()}
    assert {path.name for path in written.values()} == {
        "comparison.html", "comparison.json", "comparison.md", "comparison.csv", "differences.csv",
    }  # fmt: skip
    stored = json.loads(written["json"].read_text(), parse_constant=pytest.fail)
    assert no_nan(stored)
    assert len(stored["questions"]) == QUESTIONS
    assert {key: stored[key] for key in told["comparison"]} == told["comparison"]
    with written["csv"].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(MODELS) * 3
    assert {row["model"] for row in rows} == set(MODELS)
    assert float(rows[0]["value"]) == stored["estimates"][0]["value"]
    with written["differences"].open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 6 * 3


def no_nan(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(no_nan, value.values()))
    if isinstance(value, list):
        return all(map(no_nan, value))
    return not isinstance(value, float) or math.isfinite(value)


class Elements(HTMLParser):
    """Collects what a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def test_hostile_texts_are_harmless(compared: tuple[dict[str, Any], Path]) -> None:
    told, folder = compared
    page = (folder / told["report"]["html"]).read_text()
    seen = Elements()
    seen.feed(page)
    assert not {"script", "img", "a", "link", "iframe", "form"} & seen.tags
    assert not [name for name, _ in seen.attributes if name.startswith("on")]
    assert not [value for name, value in seen.attributes if name in ("href", "src", "action")]
    assert any(value.startswith("default-src 'none'") for _, value in seen.attributes)
    assert "&lt;img src=x onerror=alert(2)&gt;" in page
    assert "&lt;b&gt;Question 0&lt;/b&gt;" in page
    text = (folder / told["report"]["markdown"]).read_text()
    assert "<script" not in text
    assert "](http" not in text
    # The bar in the model's name opens no cell: all rows of a table have as many.
    for block in text.split("\n\n"):
        rows = [line for line in block.splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) <= 1


def test_markdown_escapes() -> None:
    assert safe("a|b\n<c> [d](e) `f` _g_ @h\u202e") == (
        r"a\|b &lt;c&gt; \[d\]\(e\) \`f\` \_g\_ \@h⟦U\+202E⟧"
    )


def test_the_same_seed_gives_the_same_numbers(
    files: Path, compared: tuple[dict[str, Any], Path]
) -> None:
    again, _ = compare(
        files, "--verdicts", "verdicts.jsonl", "--answers", "answers.jsonl", "--meta", "meta.yaml",
        "--benchmarks", "tuned-1=bench.json", "--out", "again",
    )  # fmt: skip
    one, two = dict(compared[0]["comparison"]), dict(again["comparison"])
    del one["created_at"], two["created_at"]
    assert one == two


def test_ratings_make_the_numbers_calibrated(files: Path) -> None:
    told, _ = compare(
        files, "--verdicts", "verdicts.jsonl", "--ratings", "ratings.csv",
        "--models", "tuned-1,base", "--out", "rated",
    )  # fmt: skip
    body = told["comparison"]
    assert body["calibrated"]
    assert [one["model"] for one in body["models"]] == ["tuned-1", "base"]
    assert {one["model"] for one in body["estimates"]} == {"tuned-1", "base"}
    assert {one["basis"] for one in body["differences"]} == {"calibrated"}
    assert all(one["n_ratings"] == 28 for one in body["estimates"] if one["criterion"] == "depth")
    gap = next(one for one in body["differences"] if one["criterion"] == "overall")
    assert (gap["model"], gap["other"]) == ("tuned-1", "base")
    assert gap["low"] > 0
    assert "not calibrated" not in (files / told["report"]["html"]).read_text()


def test_a_ledger_brings_texts_and_domains(tmp_path: Path) -> None:
    """The demo's run: answers, questions, domains and languages are all known."""
    demo = judge_command("demo", "--ledger", "sqlite:///d.db", cwd=tmp_path)
    assert demo.returncode == 0, demo.stderr
    told, _ = compare(tmp_path, "--ledger", "sqlite:///d.db", "--weights", "paper", "--out", "out")
    body = json.loads((tmp_path / told["report"]["json"]).read_text())
    assert body["questions"]
    assert all(
        answer["answer"] is not None for one in body["questions"] for answer in one["answers"]
    )
    assert body["weights"] == "paper"
    assert body["source"].startswith("run ")
    assert no_nan(body)


def test_the_papers_table(tmp_path: Path) -> None:
    told, _ = compare(tmp_path, "--table", "paper-table2", "--out", "t2")
    published = told["comparison"]["published"]
    assert [round(one["computed"], 3) for one in published["reproduced"]] == [
        0.820, 0.828, 0.856, 0.869,
    ]  # fmt: skip
    assert all(one["agrees"] for one in published["reproduced"])
    assert published["explained"]["possible"]
    rows = {
        (one["criterion"], one["model"]): one["value"] for one in told["comparison"]["estimates"]
    }
    assert rows["accuracy", "Llama-2-13b"] == 0.763
    assert rows["overall", "Vicuna-33b-v1.3"] == 0.869
    text = (tmp_path / told["report"]["markdown"]).read_text()
    assert "| Vicuna\\-33b" in text or "| Vicuna-33b-v1.3 | 0.869 | 0.869 | same |" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--table", "paper-table2", "--models", "a"], "--models and --table do not go together"),
        (["--verdicts", "verdicts.jsonl", "--models", "nobody"], "nobody has no scores here"),
        (["--verdicts", "verdicts.jsonl", "--models", "base,base"], "named twice"),
        (["--answers", "answers.jsonl"], "goes with --verdicts"),
        (["--verdicts", "verdicts.jsonl", "--meta", "none.yaml"], "none.yaml"),
        (["--verdicts", "verdicts.jsonl", "--stage", "late"], "no stage 'late'"),
        (["--table", "paper-table9"], "no such file"),
    ],
)
def test_what_does_not_go_is_a_usage_error(files: Path, arguments: list[str], says: str) -> None:
    done = judge_command("compare", *arguments, "--out", "never", cwd=files)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.split())
    assert not (files / "never").exists()


def test_markdown_has_the_consistency_of_a_model(compared: tuple[dict[str, Any], Path]) -> None:
    text = (compared[1] / "out/comparison.md").read_text()
    part = text.split("## Consistency of a model with itself")[1].split("##")[0]
    found = next(one for one in compared[0]["comparison"]["consistency"]
                 if (one["model"], one["criterion"]) == ("base", "depth"))  # fmt: skip
    (line,) = (line for line in part.splitlines() if line.startswith("| depth"))
    assert f"{found['sd']:.3f} [{found['low']:.3f}, {found['high']:.3f}]" in line


def test_wide_tables_of_differences_begin_with_the_overall(
    compared: tuple[dict[str, Any], Path],
) -> None:
    page = (compared[1] / "out/comparison.html").read_text()
    head = page.split('id="differences-h"')[1].split("</thead>")[0]
    assert re.findall(r'<th scope="col">(\w+)', head) == ["Models", "Overall", *CRITERIA]
