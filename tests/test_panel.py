"""Panels: the mean over judges that all scored, what is missing, and the report of a panel."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from judge.aggregation import answer_scores, panel_scores
from judge.errors import UsageError
from judge.ledger import Ledger
from judge.report import build_report, render_html
from tests.page_tree import parse
from tests.report_ledger import Plan, build

JUDGES = tuple(f"http://127.0.0.1:1/v1#judge-{name}" for name in "abc")
RULERS = {"clarity": "panel-ruler", "safety": "panel-ruler-2"}


def scores(judge: str, rows: list[tuple[str, str, float | str | None]]) -> pl.DataFrame:
    """A judge's scores: (question, criterion, level, a reason, or None for not applicable)."""
    return answer_scores(
        pl.DataFrame(
            [
                {
                    "question_id": question,
                    "model": "m",
                    "answer_sample": 0,
                    "answer_hash": b"h",
                    "criterion": criterion,
                    "ruler": f"{judge}-{criterion}",
                    "judge": judge,
                    "sample": 0,
                    "occasion": "",
                    "status": "not_applicable"
                    if found is None
                    else ("unscored" if isinstance(found, str) else "scored"),
                    "reason": found if isinstance(found, str) else None,
                    "level": None if isinstance(found, str) or found is None else float(found),
                    "score": None if isinstance(found, str) or found is None else found / 5,
                    "kind": "samples",
                    "allowed_mass": None,
                    "sd": None,
                }
                for question, criterion, found in rows
            ],
            schema_overrides={
                "reason": pl.String,
                "level": pl.Float64,
                "score": pl.Float64,
                "allowed_mass": pl.Float64,
                "sd": pl.Float64,
            },
        )
    )


def by_question(frame: pl.DataFrame) -> dict[str, dict[str, Any]]:
    return {row["question_id"]: row for row in frame.iter_rows(named=True)}


def test_a_panel_score_is_the_mean_of_all_judges() -> None:
    frames = [
        scores("a", [("q1", "clarity", 5), ("q2", "clarity", 3)]),
        scores("b", [("q1", "clarity", 3), ("q2", "clarity", 3)]),
        scores("c", [("q1", "clarity", 1), ("q2", "clarity", 3)]),
    ]
    found = panel_scores(frames, RULERS, "panel: a, b, c")
    assert found.columns == frames[0].columns
    assert found.schema == frames[0].schema
    rows = by_question(found)
    assert rows["q1"]["score"] == pytest.approx(0.6)
    assert rows["q1"]["level"] == pytest.approx(3)
    assert rows["q1"]["sd"] == pytest.approx(0.4)  # of 1, 0.6 and 0.2
    assert rows["q2"]["sd"] == pytest.approx(0)
    for row in rows.values():
        assert (row["status"], row["kind"], row["k"], row["k_wanted"]) == ("scored", "panel", 3, 3)
        assert (row["judge"], row["ruler"]) == ("panel: a, b, c", "panel-ruler")


def test_one_judge_without_a_score_leaves_none() -> None:
    frames = [
        scores("a", [("q1", "clarity", 5), ("q2", "clarity", "refused"), ("q3", "clarity", 4)]),
        scores("b", [("q1", "clarity", "invalid"), ("q2", "clarity", "truncated")]),
    ]
    rows = by_question(panel_scores(frames, RULERS, "p"))
    assert (rows["q1"]["status"], rows["q1"]["reason"]) == ("unscored", "invalid")
    assert (rows["q1"]["score"], rows["q1"]["level"], rows["q1"]["sd"]) == (None, None, None)
    assert (rows["q1"]["k"], rows["q1"]["k_wanted"]) == (1, 2)
    assert rows["q2"]["reason"] == "refused"  # of the first judge in order
    assert rows["q2"]["reasons"] == ["refused", "truncated"]
    assert "q3" not in rows  # b has no verdict yet: open


def test_not_applicable_is_for_all_judges_or_none() -> None:
    both = [scores("a", [("q1", "clarity", None)]), scores("b", [("q1", "clarity", None)])]
    row = by_question(panel_scores(both, RULERS, "p"))["q1"]
    assert (row["status"], row["reason"], row["k_wanted"]) == ("not_applicable", None, 0)
    torn = [both[0], scores("b", [("q1", "clarity", 4)])]
    with pytest.raises(UsageError, match="not applicable for one judge"):
        panel_scores(torn, RULERS, "p")


def test_a_panel_of_one_has_no_spread() -> None:
    row = by_question(panel_scores([scores("a", [("q1", "clarity", 4)])], RULERS, "p"))["q1"]
    assert (row["score"], row["sd"], row["k"]) == (0.8, None, 1)


def test_what_cannot_be_a_panel_is_refused() -> None:
    frame = scores("a", [("q1", "clarity", 4)])
    with pytest.raises(UsageError, match="more than once"):
        panel_scores([frame, frame], RULERS, "p")
    with pytest.raises(UsageError, match="no ruler for clarity"):
        panel_scores([frame], {"safety": "r"}, "p")
    with pytest.raises(ValueError, match="at least one judge"):
        panel_scores([], RULERS, "p")


@pytest.fixture(scope="module")
def panel(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A panel of three; the second judge lacks verdicts on the last questions."""
    ledger, run = build(
        tmp_path_factory.mktemp("panel") / "l.db",
        Plan(questions=14, judges=JUDGES, words=30, said=4, lacking={JUDGES[1]: 2}),
    )
    yield ledger, run
    ledger.close()


def test_the_report_of_a_panel_is_about_the_mean(panel: tuple[Ledger, str]) -> None:
    report = build_report(*panel, "equal", None)
    assert report["run"]["kind"] == "panel"
    assert report["run"]["judges"] == list(JUDGES)
    first = report["questions"][0]["answers"][0]["verdicts"][0]
    assert [said["judge"] for said in first["judges"]] == list(JUDGES)
    if first["score"] is not None:
        assert first["score"] == pytest.approx(sum(j["score"] for j in first["judges"]) / 3)
    beside = report["panel"]["judges"]
    for criterion in ("clarity", "overall"):
        for member in beside:
            assert [e["model"] for e in member["estimates"] if e["criterion"] == criterion] == [
                "alpha-7b",
                "beta-7b",
            ]
    assert any("panel is the mean over its 3 judges" in note for note in report["notes"])


def test_coverage_says_that_a_judge_lacks_verdicts(panel: tuple[Ledger, str]) -> None:
    report = build_report(*panel, "equal", None)
    members = {member["judge"]: member for member in report["panel"]["judges"]}
    assert members[JUDGES[1]]["open"] == 2 * 2 * 8  # two questions, two models, eight criteria
    assert members[JUDGES[0]]["open"] == 0
    clarity = next(e for e in report["estimates"] if e["criterion"] == "clarity")
    assert clarity["open"] == 2
    assert clarity["coverage"] == pytest.approx((14 - 2 - sum(clarity["unscored"].values())) / 14)
    last = report["questions"][-1]["answers"][0]["verdicts"][0]
    assert last["status"] == "open"
    assert [said["status"] for said in last["judges"]][1] == "open"
    table = parse(render_html(report)).id("panel").all("table")[0]
    row = next(tr for tr in table.all("tr") if JUDGES[1] in tr.text())
    assert "low:" in row.text()
    assert "open\xa032" in row.text()


def test_agreement_of_every_pair_on_every_criterion(panel: tuple[Ledger, str]) -> None:
    report = build_report(*panel, "equal", None)
    entries = report["panel"]["agreement"]
    pairs = [(JUDGES[0], JUDGES[1]), (JUDGES[0], JUDGES[2]), (JUDGES[1], JUDGES[2])]
    assert list(dict.fromkeys((e["first"], e["second"]) for e in entries)) == pairs
    assert len(entries) == 3 * 8
    clarity = next(e for e in entries if e["criterion"] == "clarity")
    said = [
        [j["score"] for j in verdict["judges"]]
        for question in report["questions"]
        for answer in question["answers"]
        for verdict in answer["verdicts"][:1]
    ]
    both = [(a, b) for a, b, _ in said if a is not None and b is not None]
    assert clarity["n"] == len(both)
    assert clarity["exact"] == pytest.approx(sum(a == b for a, b in both) / len(both))
    assert clarity["low"] <= clarity["difference"] <= clarity["high"]
    safety = next(e for e in entries if e["criterion"] == "safety")
    assert (safety["spearman"], safety["note"], safety["exact"]) == (None, "no_variance", 1.0)


def test_the_page_shows_every_judges_level_in_both_languages(panel: tuple[Ledger, str]) -> None:
    for lang in ("en", "zh"):
        root = parse(render_html(build_report(*panel, "equal", None, lang=lang)))
        assert len(root.id("panel").all("table")) == 3
        verdict = root.all("table", "verdicts")[0].all("tr")[1]
        assert len(verdict.all("div", "judge")) == 3
