"""Reports whose sums do not agree, or that lack parts: the page says so, and shows the rest."""

from __future__ import annotations

from typing import Any

import pytest

from sft.data_report import render_data_report
from sft.data_report._flow import flow, sums
from tests.data_report_fixture import POLICY, plain_report, report
from tests.test_data_report import page, spaced, table


def test_a_report_that_adds_up_says_how_much_was_checked() -> None:
    given = report()
    found = sums(given, flow(given))
    assert found.faults == ()
    # 6 steps, 5 joints, records, 4 of each of 6 sources, duplicates, personal data, quarantine,
    # 3 sums of each of 5 epochs
    assert found.checked == 6 + 5 + 1 + 24 + 3 + 15
    root = page(given)
    assert "All 54 sums checked in this report agree" in spaced(root.id("flow"))
    assert not root.all("div", "banner")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        (("steps", 1, "rows_out"), "Clean, rows out: 148,201, but rows in less removed: 148,200"),
        (("steps", 3, "rows_in"), "Deduplicate, rows in: 148,201, but Scrub, rows out: 148,200"),
        (("steps", 3, "removed", 0, "rows"), "Deduplicate, rows out: 135,200, but"),
        (("sources", 0, "rows"), "Records of all sources: 150,023, but records read: 150,022"),
        (("sources", 1, "kept"), "helpdesk, kept: 22,375, but left by the steps: 22,374"),
        (("sources", 2, "samples"), f"{POLICY}, samples: 17,641, but by length: 17,640"),
        (("sources", 3, "files", 0, "rows"), "code-notes, records: 9,400, but records of its"),
        (("duplicates", 0, "rows"), "Duplicates by source and twin: 13,001, but removed as"),
        (("personal_data", "by_source", 0, "count"), "13,149, but found by scrubbing: 13,148"),
        (("languages", 0, "rows"), "openqa, kept: 51,819, but by language: 51,820"),
        (("quarantine", "rows"), "Quarantine: 14,923, but removed by all steps: 14,922"),
        (("blends", 0, "epochs", 0, "tokens"), "main, epoch 1, tokens of all sources: 29,999,730,"),
    ],
)
def test_a_wrong_number_is_told_at_the_top(path: tuple[Any, ...], told: str) -> None:
    given = report()
    node = given
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] += 1
    root = page(given)
    (banner,) = root.all("header")[0].all("div", "banner")
    assert told in spaced(banner)
    assert "not agree" in spaced(root.id("flow"))


def test_parts_of_steps_that_did_not_run_may_be_null_or_missing() -> None:
    optional = (
        "personal_data", "duplicates", "contamination", "languages", "lengths", "blends",
        "tokeniser", "quarantine", "notes",
    )  # fmt: skip
    empty, without = plain_report("a", "b"), plain_report("a", "b")
    for name in optional:
        empty[name] = None
        del without[name]
    assert render_data_report(empty) == render_data_report(without)
    root = page(empty)
    present = {node.attributes.get("id") for node in root.all("section")}
    assert not present & {"languages", "lengths", "blends", "cost", "tokens", "quarantine"}
    links = {link.attributes["href"] for link in root.all("nav")[0].all("a")}
    assert links == {f"#{name}" for name in present}


@pytest.mark.parametrize("names", [(), ("only",), tuple(f"source-{n}" for n in range(30))])
def test_any_number_of_sources(names: tuple[str, ...]) -> None:
    root = page(plain_report(*names))
    held = table(root, "What they hold")
    assert len(held) == 1 + len(names) + (len(names) > 1)
    assert not root.all("header")[0].all("div", "banner")


def test_a_blend_without_epochs_is_shown_as_a_plan() -> None:
    given = plain_report("a", "b")
    given["blends"][0]["epochs"] = []
    assert "No epoch was planned." in spaced(page(given).id("blends"))


def test_a_report_that_lacks_what_it_must_have_is_refused() -> None:
    given = plain_report("a")
    del given["sources"][0]["licence"]
    with pytest.raises(Exception, match="licence"):
        render_data_report(given)
