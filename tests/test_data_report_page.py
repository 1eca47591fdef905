"""The data report as a page: hostile texts, accessibility, geometry, and a browser's view."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from html import escape, unescape
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as generated
from hypothesis import strategies as st

from sft.data_report import _formats as formats
from sft.data_report import render_data_report
from sft.data_report._blends import letter
from sft.data_report._charts import Series, groups, histograms, language_stacks, place
from sft.data_report._texts import differences, revealed
from tests.data_report_fixture import plain_report, report
from tests.page_tree import Node, parse

HOSTILE = (
    "</script><script>alert(1)</script></title></style></svg><img src=x onerror=alert(2)> "
    "</div></details></table><!-- ]]> \"'><a href='http://evil.example'>x</a> {{ 7 * 7 }} "
    "NUL\x00 bell\x07 override \u202egnp.exe\u202c isolate \u2067x\u2069 tag\U000e0041 "
    "zero\u200bwidth "
)
KEPT = {"step", "created", "edges"}
"""Fields whose values decide which parts of a page there are."""


def with_texts(value: Any, text: str, field: str = "") -> Any:
    """The report with ``text`` before every text in it; names stay distinct."""
    if isinstance(value, str) and field not in KEPT:
        return text + value
    if isinstance(value, dict):
        return {name: with_texts(entry, text, name) for name, entry in value.items()}
    if isinstance(value, list):
        return [with_texts(entry, text, field) for entry in value]
    return value


def skeleton(root: Node) -> list[str]:
    """The tags of a page in their order, but those that follow the length of a text."""
    return [node.tag for node in root.walk() if node.tag not in {"del", "ins", "text"}]


# --- Hostile texts ------------------------------------------------------------------------------


def test_hostile_texts_change_nothing_but_texts() -> None:
    hostile = parse(render_data_report(with_texts(report(), HOSTILE)))
    benign = parse(render_data_report(with_texts(report(), "benign ")))
    assert skeleton(hostile) == skeleton(benign)
    assert not hostile.all("script")
    assert not hostile.all("img")
    for node in hostile.walk():
        for name, value in node.attributes.items():
            assert not name.startswith("on"), name
            if name in ("href", "src"):
                assert (value or "").startswith("#")


def test_hidden_characters_are_shown() -> None:
    html = render_data_report(with_texts(report(), HOSTILE))
    for character in "\x00\x07\u202e\u202c\u2067\u2069\U000e0041":
        assert character not in html
    assert "override ⟦U+202E⟧gnp.exe⟦U+202C⟧" in html
    # Where it matters what exactly stands in a text, those without width are shown, too.
    root = parse(html)
    for place_ in root.all("pre"):
        assert "\u200b" not in place_.text()
    assert "zero⟦U+200B⟧width" in root.all("pre")[0].text()
    assert "zero⟦U+200B⟧width" in root.id("contamination").text()


def test_nothing_is_fetched_and_no_script_runs() -> None:
    html = render_data_report(report())
    root = parse(html)
    policy = next(
        node.attributes["content"] or ""
        for node in root.all("meta")
        if node.attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    for node in root.walk():
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (node.attributes.get(name) or "#").startswith("#"), node.attributes
    style = root.all("style")[0].text()
    assert "@import" not in style
    assert set(re.findall(r"url\(([^)]*)\)", style)) == {"#hatch"}


def test_the_page_is_a_function_of_the_report() -> None:
    code = (
        "from tests.data_report_fixture import report; from hashlib import sha256; "
        "from sft.data_report import render_data_report as r; "
        "print(sha256(r(report()).encode()).hexdigest())"
    )
    pages = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone},
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed, zone in (("1", "UTC"), ("2", "Asia/Shanghai"))
    }
    assert len(pages) == 1


# --- Accessibility ------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [report(), plain_report("a"), plain_report()])
def test_tables_and_charts_can_be_read_aloud(given: dict[str, Any]) -> None:
    root = parse(render_data_report(given))
    ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in root.walk():
        target = node.attributes.get("href") or ""
        for name in (target.removeprefix("#"), node.attributes.get("aria-labelledby") or ""):
            assert not name or name in ids
    for table in root.all("table"):
        assert table.all("caption")[0].squeezed()
        for head in table.all("th"):
            assert head.attributes["scope"] in ("col", "row")
        widths = {
            len([c for c in row.children if isinstance(c, Node)]) for row in table.all("tr")
        }  # fmt: skip
        assert len(widths) == 1, table.all("caption")[0].squeezed()
    for svg in root.all("svg"):
        if svg.attributes.get("aria-hidden") != "true":
            assert svg.attributes["role"] == "img"
            assert any(c.isdigit() for c in svg.all("title")[0].text())
    for region in root.all("div", "scroll"):
        assert region.attributes["tabindex"] == "0"


@pytest.mark.parametrize("side", [0, 1], ids=["light", "dark"])
def test_texts_and_bars_stand_out_from_their_ground(side: int) -> None:
    style = parse(render_data_report(plain_report("a"))).all("style")[0].text()
    pairs = dict(re.findall(r"--([a-z0-9-]+): light-dark\(([^)]*)\)", style))
    colours = {name: _luminance(value.split(", ")[side]) for name, value in pairs.items()}

    def contrast(one: str, other: str) -> float:
        low, high = sorted((colours[one], colours[other]))
        return (high + 0.05) / (low + 0.05)

    for colour in ("c0", "c1", "c2", "c3", "c4", "c5"):
        assert contrast("paper", colour) >= 4.5, colour  # paper is the colour of texts on them
    for text, ground in (("ink", "del"), ("ink", "ins"), ("soft", "paper"), ("ink", "tint")):
        assert contrast(text, ground) >= 4.5, (text, ground)
    assert contrast("bar", "paper") >= 3


def _luminance(colour: str) -> float:
    """Relative luminance of "#rrggbb" (WCAG 2)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


# --- Numbers, texts, geometry -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 1, "0.0 %"), (0.0004, 1, "< 0.1 %"), (0.0005, 1, "0.1 %"), (0.5, 1, "50.0 %"),
        (0.9994, 1, "99.9 %"), (0.9996, 1, "> 99.9 %"), (1.0, 1, "100.0 %"),
        (0.349963, 2, "35.00 %"), (0.00001, 2, "< 0.01 %"), (1.372, 1, "137.2 %"),
    ],
)  # fmt: skip
def test_a_share_is_all_or_nothing_only_where_it_is(value: float, digits: int, text: str) -> None:
    assert formats.share(value, digits).replace("\u202f", " ") == text


def test_numbers_sizes_and_times() -> None:
    def plain(text: str) -> str:
        return text.replace("\u202f", " ").replace("\xa0", " ")

    assert formats.number(1234567) == "1,234,567"
    assert (formats.number(3.0), formats.number(1.375), formats.number(1322.4)) == (
        "3", "1.38", "1,322",
    )  # fmt: skip
    assert formats.number(None) == "–"
    assert plain(formats.compact(53_599_500)) == "53.6 M"
    assert plain(formats.compact(13.02e9)) == "13.0 B"
    assert plain(formats.compact(999_999)) == "999,999"
    assert plain(formats.size(999)) == "999 B"
    assert plain(formats.size(214_300_000)) == "214.3 MB"
    assert plain(formats.hours(0.02)) == "1 min"
    assert plain(formats.hours(0.001)) == "< 1 min"
    assert plain(formats.hours(127.4)) == "127 h"
    assert plain(formats.duration(3.14159)) == "3.1 s"
    assert plain(formats.duration(3725)) == "1 h 2 min"
    assert plain(formats.counted(1, "pass")) == "1 pass"
    assert plain(formats.counted(2000, "pass")) == "2,000 passes"
    assert plain(formats.when("2026-11-21T01:30:00+01:00")) == "21 November 2026, 00:30 UTC"
    assert formats.when("yesterday") == "yesterday"
    assert [letter(at) for at in (0, 25, 26, 52)] == ["A", "Z", "A2", "A3"]


def test_revealed_shows_what_has_no_ink_and_keeps_the_rest() -> None:
    assert revealed("a\u200bb\u00adc\u00a0d\u2028e\rf\u3164") == (
        "a⟦U+200B⟧b⟦U+00AD⟧c⟦U+00A0⟧d⟦U+2028⟧e⟦U+000D⟧f⟦U+3164⟧"
    )
    plain = "tab\t line\n ideographic\u3000space, 熊猫, é, 🐼"
    assert revealed(plain) == plain


def changed(pieces: Any) -> list[str]:
    return [piece.text for piece in pieces if piece.changed]


def test_differences_mark_words_and_single_characters() -> None:
    before, after = differences("one two  three", "one 2  three")
    assert (changed(before), changed(after)) == (["two"], ["2"])
    before, after = differences("营业时间９点", "营业时间9点")
    assert (changed(before), changed(after)) == (["９"], ["9"])
    # Cut at a number of characters, the shorter text goes on: that is no change.
    before, after = differences("a BIG b c…", "a b c d e…")
    assert (changed(before), changed(after)) == (["BIG "], [])
    before, after = differences("x " * 500, "y " * 500)
    assert len(changed(before)) == len(changed(after)) == 1


@generated(st.text(max_size=60), st.text(max_size=60))
def test_differences_lose_nothing(one: str, other: str) -> None:
    before, after = differences(one, other)
    assert "".join(piece.text for piece in before) == one
    assert "".join(piece.text for piece in after) == other
    same = ["".join(p.text for p in pieces if not p.changed) for pieces in (before, after)]
    if not one.endswith("…") and not other.endswith("…"):
        assert same[0] == same[1]


def test_places_are_shares_of_the_width() -> None:
    assert [place(x) for x in (0, 0.5, 1, 0.123456)] == ["0%", "50%", "100%", "12.35%"]


def test_bars_share_one_scale_with_their_targets() -> None:
    one, two = groups(
        [
            Series(name="1", short="", values={"a": (0.2, "20 %", 0.4), "b": (0.1, "10 %", None)}),
            Series(name="2", short="", values={"a": (0.3, "30 %", 0.4)}),
        ]
    )
    # The largest of all, target or value, fills the width.
    assert [(lane.width, lane.target) for lane in one.lanes] == [("50%", "100%"), ("75%", "100%")]
    assert [(lane.width, lane.target) for lane in two.lanes] == [("25%", None)]
    assert one.height == 2 * two.height - 4
    assert (
        groups([Series(name="", short="", values={"a": (0.0, "0", 0.0)})])[0].lanes[0].width == "0%"
    )


def test_histogram_bins_hold_their_upper_edge() -> None:
    lengths = {"edges": [0, 100, 200, 400], "counts": [{"source": "a", "counts": [5, 10, 0]}]}
    (chart,) = histograms(lengths, ["a"], 300)
    assert [bar[4].split(":")[0] for bar in chart.bars] == [
        "1 to 100 tokens", "101 to 200 tokens", "201 to 400 tokens",
    ]  # fmt: skip
    assert [bar[3] for bar in chart.bars] == [36.0, 72.0, 0.0]
    # 300 lies in the middle of the third of three bins.
    assert chart.mark == "83.33%"
    assert histograms(lengths, ["a"], 401)[0].mark is None
    assert histograms(lengths, ["a"], 400)[0].mark == "100%"
    # 15 samples: the eighth, in order of length, has at most 200 tokens.
    assert "half have at most 200" in chart.caption.replace("\xa0", " ")
    empty = {"edges": [0, 100], "counts": [{"source": "a", "counts": [0]}]}
    assert histograms(empty, ["a"], 100)[0].caption == "No samples."


def test_rare_languages_share_a_colour_and_parts_fill_the_bar() -> None:
    entries = [
        {"source": "a", "language": language, "rows": rows}
        for language, rows in zip("abcdefg", (64, 16, 8, 4, 4, 3, 1), strict=True)
    ]
    (stack,), legend = language_stacks(entries, ["a"])
    assert legend == ["a", "b", "c", "d", "e", "other"]
    assert [part.x for part in stack.parts] == ["0%", "64%", "80%", "88%", "92%", "96%"]
    assert stack.parts[-1].words.replace("\xa0", " ").startswith("other: 4 rows")
    assert stack.parts[0].label.startswith("a 64.0")
    assert stack.parts[-1].label == ""  # too narrow for words


# --- Browser ------------------------------------------------------------------------------------

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

PROBE = """<script>addEventListener("load", () => {
  const wide = document.documentElement.clientWidth;
  const out = [...document.body.querySelectorAll("*")].filter((e) => !e.closest(".scroll > *")
    && !e.closest(".defs") && e.getBoundingClientRect().right > wide + 1);
  const cut = [...document.querySelectorAll("g:has(> .inside)")].filter((g) =>
    g.querySelector("text").getBBox().width > g.querySelector("rect").getBBox().width);
  const texts = [...document.querySelectorAll(".histograms svg")].flatMap((svg) => {
    const boxes = [...svg.querySelectorAll("text")].map((t) => t.getBBox());
    return boxes.slice(1).filter((box, at) => box.x < boxes[at].x + boxes[at].width);
  });
  parent.document.title = JSON.stringify({wide, scroll: document.documentElement.scrollWidth,
    out: out.map((e) => e.outerHTML.slice(0, 120)), cut: cut.length, touching: texts.length});
});</script>"""


def browse(folder: Path, html: str) -> tuple[str, list[str]]:
    """What Chromium makes of a page: its DOM, and the complaints on its console."""
    if BROWSER is None:
        pytest.skip("chromium is not installed")
    file = folder / "report.html"
    file.write_text(html, "utf-8")
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-sync", "--disable-component-update"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            "--enable-logging=stderr",
            *("--hide-scrollbars", "--window-size=1700,1200"),
            f"--user-data-dir={folder / 'profile'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.browser
def test_a_browser_shows_the_page_without_a_complaint(tmp_path: Path) -> None:
    dom, complaints = browse(tmp_path, render_data_report(with_texts(report(), HOSTILE)))
    assert not complaints
    assert "not agree" not in parse(dom).all("header")[0].text()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280, 1600])
@pytest.mark.parametrize(
    "given",
    [
        report(),
        with_texts(report(), "a-very-long-name-without-a-place-to-break_" * 4),
        plain_report(*(f"source-number-{n}" for n in range(30))),
    ],
    ids=["usual", "long names", "many sources"],
)
def test_nothing_sticks_out_of_the_page(
    tmp_path: Path, given: dict[str, Any], width: int
) -> None:  # fmt: skip
    html = (
        render_data_report(given)
        .replace("<details", "<details open")
        .replace(" open open", " open")
    )
    # To look inside takes a script, which the page's own policy would stop.
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    inner = escape(html.replace("</body>", PROBE + "</body>"))
    # A frame may be narrower than the narrowest window.
    style = f"border: 0; width: {width}px"
    frame = f'<!DOCTYPE html><title>-</title><iframe style="{style}" srcdoc="{inner}"></iframe>'
    dom, _ = browse(tmp_path, frame)
    seen = json.loads(unescape(re.findall("<title>(.*?)</title>", dom, re.DOTALL)[0]))
    assert seen["wide"] == width
    assert seen["out"] == []
    assert seen["scroll"] <= width
    assert (seen["cut"], seen["touching"]) == (0, 0)
