"""The data report's content: every number of a report stands where it should, and sums add up."""

from __future__ import annotations

from typing import Any

import pytest

from sft.data_report import render_data_report
from tests.data_report_fixture import POLICY, plain_report, report
from tests.page_tree import Node, parse


def page(given: dict[str, Any]) -> Node:
    return parse(render_data_report(given))


def spaced(node: Node) -> str:
    """The text of an element with usual spaces only."""
    return node.squeezed().replace("\u202f", " ").replace("\xa0", " ")


def table(root: Node, caption: str) -> list[list[str]]:
    """The cells of the table whose caption starts so, row by row."""
    (found,) = [
        t for t in root.all("table") if spaced(t.all("caption")[0]).startswith(caption)
    ]  # fmt: skip
    return [
        [spaced(cell) for cell in row.children if isinstance(cell, Node)] for row in found.all("tr")
    ]


def number(cell: str) -> int:
    """The count of a cell, whose first line it is."""
    return int(cell.replace(",", "").split(maxsplit=1)[0])


PAGE = page(report())
MAIN = PAGE.all("details", "step")  # six steps, three blends, three costs


# --- Head ---------------------------------------------------------------------------------------


def test_the_summary_says_the_key_numbers() -> None:
    lead = spaced(PAGE.all("p", "lead")[0])
    # 135,100 / 150,022 = 0.90053; 34,443,800 / 53,599,500 = 0.64261
    for part in (
        "Of 150,022 records in 7 files of 6 sources, 135,100 rows (90.1 %) are kept.",
        "Removed: 22 unreadable, 1,800 by cleaning, 13,000 as duplicates, "
        "50 for overlap with test questions, 50 in tokenising.",
        "13,148 pieces of personal data were replaced.",
        "135,461 samples of 53,599,500 tokens, 34,443,800 (64.3 %) of them supervised.",
        "Of 3 blends, the first, main, packs 29,999,730 tokens into 14,752 packs and "
        "820 optimizer steps an epoch, 99.3 % full; the worst step is 1,322 supervised tokens off",
    ):
        assert part in lead


def test_the_head_names_what_makes_the_run_repeatable() -> None:
    head = spaced(PAGE.all("header")[0])
    for part in ("21 November 2026, 05:40 UTC", "20231004", "blends/advisor.yaml", "0.1.0"):
        assert part in head
    assert PAGE.all("h1")[0].text() == "advisor-blend"
    assert "made up" in spaced(PAGE.all("p", "described")[0])


def test_notes_and_the_synthetic_banner_stand_at_the_top() -> None:
    notes = [spaced(note) for note in PAGE.all("header")[0].all("p", "note-line")]
    assert notes == report()["notes"]
    assert "synthetic" in spaced(PAGE.all("header")[0].all("p", "banner")[0])
    assert not page(plain_report("a")).all("header")[0].all("p", "banner")


# --- Flow and sources ---------------------------------------------------------------------------


def test_rows_in_less_removed_are_rows_out_and_go_into_the_next_step() -> None:
    head, *steps, total = table(PAGE, "Rows in, less rows removed")
    assert head[:4] == ["Step", "Rows in", "− Removed", "= Rows out"]
    numbers = [[number(cell) for cell in row[1:4]] for row in steps]
    assert numbers == [
        [150_022, 22, 150_000],
        [150_000, 1_800, 148_200],
        [148_200, 0, 148_200],
        [148_200, 13_000, 135_200],
        [135_200, 50, 135_150],
        [135_150, 50, 135_100],
    ]
    assert total[1:5] == ["150,022", "14,922", "135,100", "9.9 %"]
    # 148,200 rows in 58.1 s; a share below half a tenth is not 0.
    assert steps[3][4:] == ["8.8 %", "58 s", "2,551"]
    assert steps[0][4] == "< 0.1 %"


def test_the_bars_of_the_flow_are_shares_of_all_records() -> None:
    bars = {
        spaced(svg.all("title")[0]): svg for svg in PAGE.all("figure", "flow")[0].all("svg")
    }  # fmt: skip
    dedup = bars["Deduplicate: 148,200 rows in, 13,000 removed (8.8 %), 135,200 out"]
    stays, gone = dedup.all("rect")
    assert stays.attributes["width"] == "90.12%"  # 135,200 / 150,022
    assert (gone.attributes["x"], gone.attributes["width"]) == ("90.12%", "8.67%")
    scrub = bars["Scrub: 148,200 rows in, 0 removed (0.0 %), 148,200 out"]
    assert len(scrub.all("rect")) == 1


def test_sources_stand_with_what_is_known_of_them() -> None:
    about = {row[0]: row[1:] for row in table(PAGE, "What they are")}
    assert about[POLICY] == [
        "in domain", "question answering", "zh", "internal", f"made up for the tests of {POLICY}",
        "openai", "0", "no cap",
    ]  # fmt: skip
    assert about["smalltalk"][3:5] == ["not stated", "not stated"]
    assert about["code-notes"][2] == "any"
    assert about["helpdesk"][-1] == "4"
    held = {row[0]: row[1:] for row in table(PAGE, "What they hold")}
    assert held["openqa"] == [
        "2", "72.3 MB", "60,134", "14", "51,819 86.2 %", "51,900", "21,420,500",
        "14,210,300 66.3 %",
    ]  # fmt: skip
    assert held["All"][2:5] == ["150,022", "22", "135,100 90.1 %"]
    files = table(PAGE, "Files")
    assert len(files) == 1 + 7
    assert [
        "exports/tickets.parquet",
        "helpdesk",
        "31.0 MB",
        "71aa0c3e9d2b",
        "24,000",
        "0",
    ] in files


# --- Steps --------------------------------------------------------------------------------------


def test_a_step_shows_what_it_removed_by_source_and_reason() -> None:
    clean = MAIN[1]
    assert "removed 1,800 of 150,000 rows (1.2 %)" in spaced(clean.all("summary")[0])
    rows = {row[0]: row[1:] for row in table(clean, "Rows removed")}
    # The most frequent reason first; shares are of what came into the step: 410 / 60,120.
    assert rows["Source"][:3] == ["Came in", "too short", "other language"]
    assert rows["openqa"][:2] == ["60,120", "410 0.7 %"]
    assert rows["openqa"][-1] == "760 1.3 %"
    assert rows["smalltalk"][-1] == "231 3.4 %"
    assert rows["All"][-1] == "1,800 1.2 %"
    # What came in is what the steps before have left: 60,120 - 760.
    dedup = {row[0]: row[1:] for row in table(MAIN[3], "Rows removed")}
    assert dedup["openqa"] == ["59,360", "5,100 8.6 %", "2,400 4.0 %", "7,500 12.6 %"]


def test_a_step_shows_what_it_changed() -> None:
    rows = {row[0]: row[1:] for row in table(MAIN[1], "Rows changed")}
    assert rows["Source"][1] == "spacing"
    assert rows["helpdesk"][:2] == ["24,000", "12,007 50.0 %"]
    assert rows["All"][1] == "20,317 13.5 %"
    assert rows["All"][-1] == "24,978"  # of changes, so it is no share of the rows


@pytest.mark.parametrize("given", [report(), plain_report("a", "b", "c")])
def test_every_table_of_counts_adds_up(given: dict[str, Any]) -> None:
    checked = 0
    for node in page(given).all("table", "matrix"):
        if not node.all("tfoot"):
            continue
        rows = [
            [number(spaced(c)) for c in row.children if isinstance(c, Node) and c.tag == "td"]
            for row in node.all("tr")[1:]
        ]
        *body, total = rows
        for at, column in enumerate(zip(*body, strict=True)):
            assert sum(column) == total[at], spaced(node.all("caption")[0])
            checked += 1
    assert checked >= 1


def test_examples_show_place_and_texts_and_mark_what_changed() -> None:
    (example,) = [e for e in MAIN[1].all("li", "example") if "5511" in e.text()]
    assert "helpdesk exports/tickets.parquet:5511" in spaced(example)
    before, after = example.all("pre")
    assert before.text() == (
        "Please re⟦U+00AD⟧set my⟦U+200B⟧ pass⟦U+2060⟧word.⟦U+00A0⟧Thanks!"
    )  # fmt: skip
    assert after.text() == "Please reset my password. Thanks!"
    assert after.all("ins")[0].text() == "reset"
    assert "Please" not in "".join(node.text() for node in before.all("del"))
    (removed,) = [e for e in MAIN[1].all("li", "example") if "openqa-01.jsonl:3" in e.text()]
    assert "the answer has 2 characters" in spaced(removed)
    assert len(removed.all("pre")) == 1


def test_a_change_that_scrubbing_hides_is_shown_once() -> None:
    given = report()
    given["steps"][2]["examples"][0] |= {"before": "To <EMAIL>.", "after": "To <EMAIL>."}
    example = page(given).all("details", "step")[2].all("li", "example")[0]
    assert [pre.text() for pre in example.all("pre")] == ["To <EMAIL>."]


def test_a_step_without_removals_or_examples_says_so() -> None:
    text = spaced(page(plain_report("a")).id("step-4"))
    assert "removed none of 10 rows" in text
    assert "No row was removed." in text
    assert "No examples." in text


# --- Findings -----------------------------------------------------------------------------------


def test_personal_data_stands_by_kind_and_source_with_its_rows() -> None:
    rows = {row[0]: row[1:] for row in table(PAGE, "Finds")}
    assert rows["Kind"][:2] == ["openqa", "helpdesk"]
    assert rows["email"][:2] == ["430 in 391 rows", "8,902 in 6,120 rows"]
    assert rows["email"][-1] == "9,332 in 6,511 rows"
    assert rows["card number"] == ["0"] * 7  # looked for, not found
    assert rows["All"][-1] == "13,148"
    section = spaced(PAGE.id("personal"))
    assert "Names of persons were not looked for" in section


def test_many_sources_run_down_the_page() -> None:
    given = plain_report(*"abcdefgh")
    given["personal_data"]["by_source"] = [
        {"source": "b", "kind": "email", "count": 3, "rows": 2}
    ]  # fmt: skip
    rows = table(page(given), "Finds")
    assert rows[0] == ["Source", "email"]
    assert rows[2] == ["b", "3 in 2 rows"]


def test_without_finds_the_page_says_what_was_looked_for() -> None:
    section = spaced(page(plain_report("a")).id("personal"))
    assert "Nothing was found." in section
    assert "with the model en_core_web_sm" in section
    given = plain_report("a")
    given["personal_data"] = None
    root = page(given)
    assert "Personal data was not looked for" in spaced(root.id("personal"))
    assert "Personal data was not looked for." in spaced(root.all("p", "lead")[0])


def test_duplicates_stand_by_source_and_twin() -> None:
    rows = {row[0]: row[1:] for row in table(PAGE, "Removed from")}
    assert rows["Removed from"][:2] == ["openqa", "helpdesk"]
    assert rows["openqa"][:2] == ["7,200 4,800 exact 2,400 near", "300 300 exact"]
    assert rows["All"][-1] == "13,000 8,020 exact 4,980 near"
    assert "No duplicate rows" in spaced(page(plain_report("a")).id("duplicates"))


def test_test_questions_stand_with_their_text_the_most_frequent_first() -> None:
    rows = table(PAGE, "Rows removed, by question")
    assert rows[1:] == [
        ["monetization", "primes-04", "Please list all the prime numbers within 100.", "32"],
        ["house/held-out.yaml", "refund-2",
         "How long does a refund take after a cancelled order?", "11"],
        ["monetization", "panda-11", "请用一段话介绍大熊猫。", "8"],
    ]  # fmt: skip
    assert "No row holds a passage" in spaced(page(plain_report("a")).id("contamination"))


# --- Languages and lengths ----------------------------------------------------------------------


def test_languages_stand_as_bars_and_as_a_table() -> None:
    section = PAGE.id("languages")
    rows = {row[0]: row[1:] for row in table(section, "Kept rows by language")}
    assert rows["Source"][:4] == ["en", "zh", "code", "de"]
    assert rows["helpdesk"][:1] + rows["helpdesk"][3:4] == ["15,004 67.1 %", "7,370 32.9 %"]
    assert "219 0.4 %" in rows["openqa"]
    titles = [spaced(svg.all("title")[0]) for svg in section.all("svg")]
    assert (
        "code-notes, 9,152 rows. en: 1,252 rows, 13.7 %; code: 7,900 rows, 86.3 %" in titles
    )  # fmt: skip


def test_lengths_stand_as_histograms_and_as_a_table() -> None:
    section = PAGE.id("lengths")
    titles = [spaced(svg.all("title")[0]) for svg in section.all("svg")]
    assert titles[0].startswith("All sources. 135,461 samples; half have at most 384 tokens;")
    assert "1 to 64 tokens: 2,700 samples, 43.9 %" in titles[-1]
    assert len(titles) == 7
    marks = [line for line in section.all("line") if line.attributes["class"] == "limit"]
    assert {mark.attributes["x1"] for mark in marks} == {"100%"}
    rows = {row[0]: row[1:] for row in table(section, "Samples by length")}
    assert rows["translations"][-1] == "27,988"


# --- Blends, cost, tokens, quarantine -----------------------------------------------------------


def test_blends_are_compared_side_by_side() -> None:
    rows = table(PAGE, "The blends compared")
    assert rows[2] == [
        "B domain-heavy", "tokens", "30,000,330", "19,346,054", "14,752", "820", "99.3 %",
        "1,248", "1.37",
    ]  # fmt: skip
    (figure,) = [
        f for f in PAGE.all("figure") if "every blend" in (f.attributes.get("aria-label") or "")
    ]
    helpdesk = spaced(figure.all("svg")[1].all("title")[0])
    assert "A, main: 25.00 % (planned 25.00 %); B, domain-heavy: 45.00 %" in helpdesk


def test_a_blend_shows_its_plan_and_what_came_of_it() -> None:
    blend = MAIN[7]
    plan = {row[0]: row[1:] for row in table(blend, "The plan")}
    # 13,500,000 of 9,836,100 tokens: 1.37 passes.
    assert plan["helpdesk"] == ["45.0 %", "9,836,100", "13,500,000", "1.37 repeated", "4"]
    assert plan["smalltalk"] == ["0.0 %", "612,900", "0", "0.00", "no cap"]
    assert plan["All"][0] == "100.0 %"
    text = spaced(blend)
    assert f"helpdesk, {POLICY} are repeated within an epoch" in text
    assert "smalltalk has no share" in text
    main = spaced(MAIN[6])
    assert "No sample is repeated within an epoch" in main
    # Epoch 1 holds 10,498,811 of 29,999,730 tokens of openqa: 34.9963 %, planned 35 %.
    assert "is off by < 0.01 percentage points (openqa, epoch 1)" in main
    assert "at temperature 1" in spaced(MAIN[8])


def test_the_realised_mixture_stands_by_source_language_task_and_domain() -> None:
    figures = {f.attributes["aria-label"]: f for f in MAIN[6].all("figure")}
    assert list(figures) == [
        "Realised shares of main by source",
        "Realised shares of main, by language",
        "Realised shares of main, by task",
        "Realised shares of main, by domain",
    ]
    first = figures["Realised shares of main by source"].all("svg")[0]
    assert len(first.all("rect")) == 3  # one per epoch
    targets = [line for line in first.all("line") if line.attributes["class"] == "target"]
    assert len(targets) == 3
    domains = spaced(figures["Realised shares of main, by domain"])
    assert "general. epoch 1: 54.99 %" in domains


def test_packing_stands_by_epoch_with_its_sums() -> None:
    rows = table(MAIN[6], "Packing")
    assert rows[1][4:] == ["14,752", "820", "99.3 %", "1,248", "2,048"]
    assert rows[4][:2] == ["All", "208,262"]
    assert "At most 1,322 against a capacity of 2,048 (64.6 %)" in spaced(MAIN[6])


def test_the_cost_names_formula_and_assumption() -> None:
    section = spaced(PAGE.id("cost"))
    assert (
        "hours = 6 × parameters × tokens ÷ (accelerators × peak × utilisation × 3,600)" in section
    )
    rows = table(MAIN[9], "Estimated hours")
    # 6 * 6.74e9 * 89,999,395 / (8 * 312e12 * 0.4) / 3600 = 1.013 h
    assert rows[1] == [
        "7B", "6.74 B", "8 × A100", "18", "89,999,395", "2,442", "40.0 %", "1.0 h",
    ]  # fmt: skip
    assert rows[2][-1] == "19 min"


def test_tokeniser_and_quarantine() -> None:
    tokens = spaced(PAGE.id("tokens"))
    for part in ("tokenizers/base-32k", "32,001 tokens", "<|answer|>", "become several samples"):
        assert part in tokens
    assert {row[0]: row[1] for row in table(PAGE, "Rows that did not fit")}["All"] == "343"
    quarantine = spaced(PAGE.id("quarantine"))
    assert "14,922 removed rows lie in out/advisor-blend/quarantine" in quarantine
    assert "not scrubbed" in quarantine
