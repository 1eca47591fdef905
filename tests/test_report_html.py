"""The HTML report: complete, honest about what is missing, and safe with hostile texts."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from judge.records import Reason
from judge.report import _html, build_report, render_html
from judge.report._html import REASONS
from judge.report._marking import marked, visible
from judge.report._plot import across, dot_rows
from judge.report._texts import texts
from tests.page_tree import Node, parse
from tests.report_fixture import (
    CAREFUL,
    CRITERIA,
    HASTY,
    HOSTILE,
    INTERVALS,
    MODELS,
    PANDA,
    report,
)
from tests.report_ledger import Plan, build

RANKING = (
    r"\b(best|better|worst|worse|winner|wins|outperform\w*|leads|leading|leader\w*|ahead|highest|"
    r"lowest|superior|inferior|first place|ranked|ranking)\b"
)
UNCALIBRATED = texts("en").get("notes.uncalibrated")
OFFLINE = (
    "Offline baseline: fixed formulas, not an LLM. Use it to try the path and as the floor that a "
    "paid judge must beat. It ranks nothing."
)


def page(**changes: Any) -> Node:
    """The parsed page of the fixture."""
    return parse(render_html(report(**changes)))


# --- Nothing is loaded, nothing runs ------------------------------------------------------------


def test_no_address_outside_the_page_is_referenced() -> None:
    addresses = ("src", "href", "xlink:href", "action", "formaction", "data", "poster", "srcset")
    root = page()
    for node in root.walk():
        for name in addresses:
            assert (node.attributes.get(name) or "#").startswith("#"), (node.tag, name)
        assert not re.search(r"url\(|@import", node.attributes.get("style") or "")
    (style,) = root.all("style")
    assert not re.search(r"url\(|@import|https?:", style.text())


def test_links_lead_to_places_that_exist() -> None:
    root = page()
    ids = [n.attributes["id"] for n in root.walk() if "id" in n.attributes]
    assert len(set(ids)) == len(ids)
    for node in root.walk():
        for name in ("href", "for", "aria-labelledby"):
            if name in node.attributes:
                assert (node.attributes[name] or "").removeprefix("#") in ids


def test_the_policy_names_the_only_script_by_its_hash() -> None:
    root = page()
    (script,) = root.all("script")
    digest = b64encode(sha256(script.text().encode()).digest()).decode()
    (policy,) = [
        n.attributes["content"]
        for n in root.all("meta")
        if n.attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    assert policy.startswith(
        f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; "
        "img-src data:"
    )


def test_hostile_texts_stay_texts() -> None:
    html = render_html(report())
    root = parse(html)
    assert len(root.all("script")) == 1
    assert len(root.all("style")) == 1
    for tag in ("img", "iframe", "object", "base", "link"):
        assert not root.all(tag)
    for node in root.walk():
        assert not [name for name in node.attributes if name.startswith("on")]
    texts = [n.text() for n in root.all("div", "text")]
    assert texts.count(str(visible(HOSTILE))) == 4  # question, reference and two answers
    assert root.all("h1")[0].text() == "Nasty <i>report</i>"


def test_hidden_characters_are_shown_and_the_page_can_be_written() -> None:
    html = render_html(report())
    html.encode("utf-8")  # A lone surrogate would raise.
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800]", html)
    assert "NUL⟦U+0000⟧ bell⟦U+0007⟧ lone⟦U+D800⟧" in html
    assert "override ⟦U+202E⟧gnp.exe" in html


# --- Everything is there ------------------------------------------------------------------------


def test_every_question_answer_and_verdict_is_there() -> None:
    given = report()["questions"]
    shown = page().all("details", "question")
    assert len(shown) == len(given)
    for question, details in zip(given, shown, strict=True):
        summary = details.all("summary")[0].text()
        assert str(visible(question["question_id"])) in summary
        assert str(visible(question["question"])) in summary
        for fact in question["required_facts"]:
            assert str(visible(fact)) in details.text()
        articles = details.all("article", "answer")
        for answer, article in zip(question["answers"], articles, strict=True):
            text = article.all("div", "text")[0].text()
            assert text == (visible(answer["answer"].replace("e\u0301", "é")) or "empty")
            rows = article.all("table", "verdicts")[0].all("tr")[1:]
            for verdict, row in zip(answer["verdicts"], rows, strict=True):
                assert row.all("th")[0].text() == verdict["criterion"].capitalize()
                for said in (verdict["rationale"], verdict["detail"], *verdict["evidence"]):
                    assert str(visible(said)) in row.text()


def test_a_missing_verdict_is_never_a_number() -> None:
    given = [v for q in report()["questions"] for a in q["answers"] for v in a["verdicts"]]
    rows = [row for table in page().all("table", "verdicts") for row in table.all("tr")[1:]]
    for verdict, row in zip(given, rows, strict=True):
        cell = row.all("td", "num")[0].text()
        if verdict["score"] is None:
            assert not re.search(r"\d", cell)
            assert verdict["status"].replace("_", " ") in cell
            assert (verdict["reason"] or "").replace("_", " ") in cell
        else:
            assert f"{verdict['score']:.2f}" in cell


def test_a_criterion_without_any_score_is_unscored() -> None:
    table = page().id("criteria")
    safety = table.all("tr")[-1].all("td")[MODELS.index(HASTY)]
    assert safety.all("span")[0].text() == "unscored"
    assert safety.all("strong", "low")[0].squeezed() == "low: 0 %"
    missing = "missing: refused 1, filtered 1, low allowed mass 1, cannot assess 1"
    assert missing in safety.squeezed()


def test_missing_verdicts_are_listed_with_reasons_and_questions() -> None:
    section = page().id("missing")
    rows = [[c.squeezed() for c in r.children if isinstance(c, Node)] for r in section.all("tr")]
    assert rows[1][:4] == [CAREFUL, "Accuracy", "1", "open 1"]
    assert rows[2][:4] == [HASTY, "Clarity", "2", "truncated 1, out of range 1"]
    assert rows[2][4].startswith("panda-02, hostile-03")
    assert len(rows) == 1 + 4
    assert set(REASONS) == {*Reason, "open"}
    explained = {dt.text() for dt in section.all("dt")}
    assert explained == {reason.replace("_", " ") for reason in REASONS}
    assert "no reply yet; run the same command again" in section.text()


def test_nothing_missing_is_said_too() -> None:
    given = report()
    for entry in given["estimates"]:
        entry.update(unscored={}, open=0)
    assert "No verdict is missing." in parse(render_html(given)).id("missing").text()


def test_values_come_with_their_interval() -> None:
    root = page()
    first, second = root.id("overall").all("tr")[1:]
    assert "0.712 [0.661, 0.753]" in first.text()
    assert "low: 50" in second.text()
    clarity = root.id("criteria").all("tr")[2].text()
    assert "0.812 [0.761, 0.853]" in clarity
    assert "0.000 [0.000, 0.125]" in clarity  # A true 0 is printed as one.


def test_a_share_is_rounded_down() -> None:
    given = report()
    given["estimates"][0]["coverage"] = 0.99999
    text = parse(render_html(given)).id("overall").text()
    assert "99.9\u202f%" in text
    assert "100\u202f%" not in text


def test_groups_stand_by_domain_and_category() -> None:
    captions = [c.text() for c in page().id("groups").all("caption")]
    assert captions == ["By domain", "By category"]
    given = report()
    given["groups"] = []
    assert "Domains and categories" not in render_html(given)


def test_rubric_and_provenance() -> None:
    root = page()
    rubric = root.id("rubric").text()
    for criterion in CRITERIA:
        for times in range(6):
            assert f"{criterion} seen {times} times" in rubric
    assert "weight 0.333" in rubric
    provenance = root.id("provenance").text()
    for value in ("20261121T003012-a1b2c3", "openai:judge-1", "safety0123456789abcdef", "12,345"):
        assert value in provenance
    assert "Costunknown" in provenance


# --- Offline, demo, calibration -----------------------------------------------------------------


def test_the_offline_report_says_what_it_is_and_ranks_nothing() -> None:
    root = page(offline=True)
    banners = [p.squeezed() for p in root.all("p", "banner")]
    assert banners[0] == OFFLINE
    assert "written by the authors" in banners[1]
    (body,) = root.all("body")
    assert not re.search(RANKING, body.text().lower())


def test_models_keep_their_order_whatever_their_scores() -> None:
    low, high = INTERVALS[CAREFUL, "overall"], INTERVALS[HASTY, "overall"]
    assert low is not None
    assert high is not None
    assert low[0] < high[0]
    for offline in (True, False):
        rows = page(offline=offline).id("overall").all("tr")[1:]
        assert [row.all("th")[0].text() for row in rows] == MODELS


def test_a_judge_behind_an_endpoint_has_no_banner() -> None:
    root = page()
    assert not root.all("p", "banner")
    standing = [p.squeezed() for p in root.all("p", "standing")]
    assert standing == [UNCALIBRATED, *report()["notes"]]


def test_the_standing_note_is_printed_once_and_goes_when_the_judge_is_calibrated() -> None:
    given = report()
    given["notes"] = [UNCALIBRATED]
    assert render_html(given).count("has not been calibrated") == 1
    given["notes"] = []
    given["calibration"] = {"rulers": {}}
    assert "has not been calibrated" not in render_html(given)


# --- The plot -----------------------------------------------------------------------------------


def test_points_and_intervals_lie_where_their_values_are() -> None:
    groups = page().id("plot").all("g")
    drawn = {
        (MODELS[int(g.attributes["data-model"] or "")], g.attributes["data-criterion"]): g
        for g in groups
        if "data-model" in g.attributes
    }
    assert set(drawn) == set(INTERVALS)
    for key, interval in INTERVALS.items():
        points, whiskers = drawn[key].all("use"), drawn[key].all("line", "whisker")
        if interval is None:
            assert not [*points, *whiskers]
            assert "unscored" in drawn[key].all("text")[0].text()
            continue
        value, low, high = interval
        assert points[0].attributes["x"] == f"{100 * value:g}%"
        assert (whiskers[0].attributes["x1"], whiskers[0].attributes["x2"]) == (
            f"{100 * low:g}%",
            f"{100 * high:g}%",
        )


def test_each_row_of_the_plot_is_told_in_words() -> None:
    labels = [svg.attributes.get("aria-label") or "" for svg in page().id("plot").all("svg")]
    assert f"Clarity. {CAREFUL}: 0.812 [0.761, 0.853]. {HASTY}: 0.000 [0.000, 0.125]. " in labels
    assert f"Safety. {CAREFUL}: 1.000 [1.000, 1.000]. {HASTY}: unscored. " in labels


def test_places_on_the_axis() -> None:
    assert [across(v) for v in (0, 0.25, 0.812, 1)] == ["0%", "25%", "81.2%", "100%"]
    assert across(1 / 3) == "33.33%"
    with pytest.raises(ValueError, match=r"1\.01 does not lie"):
        across(1.01)


def test_models_have_lanes_and_an_estimate_may_lack_an_interval() -> None:
    only = {"value": 0.5, "low": None, "high": None}
    (row,) = dot_rows(["a", "b" * 30], [("overall", "Overall")], lambda *_: only)
    first, second = row.marks
    assert (first.x, first.low, first.high) == ("50%", None, None)
    assert 0 < first.y < second.y < row.height
    assert second.short == "b" * 23 + "…"


# --- Evidence -----------------------------------------------------------------------------------


def test_evidence_is_marked_in_the_answer() -> None:
    root = page()
    marks = [m.squeezed() for m in root.all("mark")]
    assert "Hello!" in marks
    assert "它 几乎只吃竹子， 喜欢独居。" in marks
    assert "words that the answer lacks" not in marks
    (absent,) = [li for li in root.all("li") if "not in the answer" in li.text()]
    assert "words that the answer lacks" in absent.text()


def test_white_space_does_not_count_and_overlaps_name_both_criteria() -> None:
    answer = "2, 3,\n  5 and 7.   That makes four."
    pieces = marked(answer, [("Clarity", "2, 3, 5 and 7."), ("Accuracy", "5 and 7. That")])
    assert "".join(piece.text for piece in pieces) == answer
    assert [(" ".join(piece.text.split()), piece.criteria) for piece in pieces] == [
        ("2, 3,", ("Clarity",)),
        ("5 and 7.", ("Clarity", "Accuracy")),
        ("That", ("Accuracy",)),
        ("makes four.", ()),
    ]


def test_composition_does_not_count_and_nothing_is_marked_for_nothing() -> None:
    assert marked("Cafe\u0301!", [("Clarity", "é")])[1].criteria == ("Clarity",)
    assert [p.criteria for p in marked(PANDA, [("Clarity", "  "), ("Safety", "lion")])] == [()]
    assert marked("", [("Clarity", "x")]) == []


# --- Size and looks -----------------------------------------------------------------------------


def test_forty_five_questions_and_six_models_stay_under_three_megabytes(tmp_path: Path) -> None:
    models = tuple(f"candidate-{n}" for n in range(6))
    ledger, run = build(tmp_path / "l.db", Plan(models=models, words=180, said=60))
    given = build_report(ledger, run, "equal", None)
    ledger.close()
    assert len(render_html(given).encode()) < 3_000_000


def test_a_page_too_large_to_open_shows_the_last_questions_without_texts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = parse(render_html(report()))
    monkeypatch.setattr(_html, "MOST_TEXT", 25_000)
    root = parse(render_html(report()))
    shown = [
        bool(question.all("article", "answer")) for question in root.all("details", "question")
    ]
    assert shown == [True, True, False, False]
    assert "2 questions further down show scores only" in root.id("questions").text()
    assert "further down" not in whole.id("questions").text()
    assert [d.all("summary")[0].text() for d in root.all("details", "question")] == [
        d.all("summary")[0].text() for d in whole.all("details", "question")
    ]


def test_colours_of_text_have_enough_contrast() -> None:
    """WCAG AA: 4.5 to 1 for text, 3 to 1 for the marks in the plot."""
    css = page().all("style")[0].text()
    pairs = dict(re.findall(r"--(\w+): light-dark\((#\w{6}, #\w{6})\)", css))
    shades = [name for name in pairs if re.fullmatch(r"h\d+|dm?\d", name)]
    assert len(shades) == 11 + 11

    def contrast(one: str, other: str, side: int) -> float:
        lights = sorted(_luminance(pairs[name].split(", ")[side]) for name in (one, other))
        return (lights[1] + 0.05) / (lights[0] + 0.05)

    for side in (0, 1):
        for text in ("ink", "soft", "accent"):
            for ground in ("paper", "raised", "tint"):
                assert contrast(text, ground, side) >= 4.5, (text, ground, side)
        for shade in ("mark", *shades):
            assert contrast("ink", shade, side) >= 4.5, (shade, side)
        for n in range(6):
            assert contrast(f"m{n}", "paper", side) >= 3, (n, side)


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.browser
def test_a_browser_loads_the_page_without_a_complaint(tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("chromium is not installed")
    file = tmp_path / "report.html"
    file.write_text(render_html(report()), "utf-8")
    done = subprocess.run(
        [
            browser,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-sync", "--disable-component-update"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints
    root = parse(done.stdout)
    assert root.id("f-count").text() == "4 of 4"  # The script ran under the policy.
    assert "hidden" not in root.id("filters").attributes
