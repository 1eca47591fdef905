"""The page's newer parts: catalogues, languages, heat map, pairs, flags, spending, print."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Formatter
from typing import Any
from unicodedata import normalize

import pytest

from judge import hardening
from judge.errors import UsageError
from judge.records import Reason, ScoreKind, Status
from judge.report import render_html
from judge.report._charts import bar, length_ticks, shade_of, span_of
from judge.report._formats import Formats
from judge.report._marking import passages, visible
from judge.report._texts import LANGUAGES, texts
from tests.page_tree import Node, parse
from tests.report_fixture import CAREFUL, HASTY, report

ENGLISH_IN_CHINESE = {"Plumbline", "UTC", "report", "json"}
NUMBER = re.compile(r"\d\.\d+")
TEMPLATES = Path(__file__).parent.parent / "judge" / "report" / "templates"


def flat(entries: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, list[str]]]:
    """(key, forms) of every text of a catalogue."""
    for name, value in entries.items():
        if isinstance(value, Mapping) and set(value) != {"one", "other"}:
            yield from flat(value, f"{prefix}{name}.")
        elif isinstance(value, Mapping):
            yield f"{prefix}{name}", list(value.values())
        else:
            yield f"{prefix}{name}", value if isinstance(value, list) else [value]


def places(form: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(form) if name}


CATALOGUES = {language: dict(flat(texts(language).entries)) for language in LANGUAGES}


# --- Catalogues ---------------------------------------------------------------------------------


def test_every_language_has_every_text_with_the_same_places() -> None:
    english, chinese = CATALOGUES["en"], CATALOGUES["zh"]
    assert list(english) == list(chinese)
    for key, forms in english.items():
        wanted = set.union(*map(places, forms))
        for form in chinese[key]:
            assert places(form) <= wanted, key
        assert set.union(*map(places, chinese[key])) | {"n"} >= wanted, key
    assert len(english["page.months"]) == len(chinese["page.months"]) == 12


def test_texts_can_stand_in_attributes_and_chinese_holds_no_english() -> None:
    for language, catalogue in CATALOGUES.items():
        for key, forms in catalogue.items():
            for form in forms:
                assert '"' not in form, (language, key)
    for key, forms in CATALOGUES["zh"].items():
        for form in forms:
            bare = re.sub(r"\{\w*\}|<[^>]*>|&\w+;", "", form)
            assert set(re.findall(r"[A-Za-z]{2,}", bare)) <= ENGLISH_IN_CHINESE, key


def test_every_enumeration_has_its_words() -> None:
    kinds = [f"kinds.{kind.value}" for kind in ScoreKind]
    statuses = [f"status.{status.value}" for status in Status]
    reasons = [f"reasons.{reason}.{part}" for reason in Reason for part in ("name", "means")]
    nulls = [f"flags.null.{kind.value}" for kind in hardening.NullKind]
    for key in (*kinds, *statuses, *reasons, *nulls):
        assert key in texts("en"), key


def test_every_family_of_flags_has_its_words() -> None:
    found = {
        flag.family
        for payload in hardening.payloads()
        for flag in hardening.scan(payload.apply("An ordinary answer of a few words."))
    }
    assert len(found) > 5
    for family in found:
        assert f"flags.family.{family}" in texts("en"), family


def test_every_text_that_a_template_names_is_there_and_none_is_left_over() -> None:
    sources = [path.read_text("utf-8") for path in TEMPLATES.glob("*.j2")]
    sources += [path.read_text("utf-8") for path in TEMPLATES.parent.glob("*.py")]
    named = set(re.findall(r"""["'{ ]([a-z]+(?:\.[a-z_0-9]+)+)["']""", "\n".join(sources)))
    dynamic = ("nav.", "reasons.", "status.", "kinds.", "flags.", "gaps.", "groups.by_", "heatmap.")
    dynamic += ("groups.", "overall.population", "overall.fixed_set", "page.months")
    for key in CATALOGUES["en"]:
        assert key in named or key.startswith(dynamic), f"{key} is used nowhere"


def test_plural_forms_and_separators() -> None:
    words = texts("en")
    assert words.get("words.n_questions", n=1) == "1&nbsp;question"
    assert words.get("words.n_questions", n=1200) == "1,200&nbsp;questions"
    with pytest.raises(KeyError, match="no text words"):
        words.get("words")
    with pytest.raises(UsageError, match="--lang"):
        texts("fr")


def test_values_in_texts_are_escaped_and_made_visible() -> None:
    formats = Formats(texts("en"))
    assert "&lt;b&gt;⟦U+202E⟧" in formats.text("page.started", when="<b>\u202e")


def test_what_nobody_would_see_is_shown() -> None:
    assert visible("pay\u200bpal\u00ad, \ufeff \uffff\x00") == (
        "pay⟦U+200B⟧pal⟦U+00AD⟧, ⟦U+FEFF⟧ ⟦U+FFFF⟧⟦U+0000⟧"
    )
    joined = "👩\u200d💻 line\r\nline می\u200cخواهم"
    assert visible(joined) == joined


@pytest.mark.parametrize(
    ("language", "stamp", "seconds", "money"),
    [
        ("en", "21 November 2026, 00:30 UTC", "1 h 2 min", "0.0123 USD"),
        ("zh", "2026 年 11 月 21 日 00:30 UTC", "1 小时 2 分", "0.0123 美元"),
    ],
)
def test_dates_times_and_money(language: str, stamp: str, seconds: str, money: str) -> None:
    formats = Formats(texts(language))
    assert formats.when("2026-11-21T01:30:00+01:00") == stamp
    assert formats.when("yesterday") == "yesterday"
    assert formats.duration(3725) == seconds
    assert formats.money(0.01234) == money
    assert formats.signed(-0.0421) == "\u22120.042"
    assert formats.signed(-0.0001) == "0.000"


# --- Languages ----------------------------------------------------------------------------------


def said(value: Any) -> Iterator[str]:
    """Every string of a report."""
    if isinstance(value, str):
        yield normalize("NFC", str(visible(value)))
    elif isinstance(value, Mapping):
        for name, entry in value.items():
            yield str(name)
            yield from said(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from said(entry)


def words_of(root: Node) -> Iterator[str]:
    """Texts and read attributes of a page, without style and script."""
    for node in root.walk():
        if node.tag in ("style", "script"):
            continue
        yield from (child for child in node.children if isinstance(child, str))
        for name in ("title", "aria-label", "placeholder", "data-open", "data-auto", "data-count"):
            yield node.attributes.get(name) or ""


def test_the_chinese_page_holds_no_english_of_ours() -> None:
    given = report(language="zh")
    given["notes"] = []
    root = parse(render_html(given))
    assert root.all("html")[0].attributes["lang"] == "zh-Hans"
    data = set(re.findall(r"[A-Za-z]{2,}", " ".join(said(given))))
    for text in (re.sub("w{5,}", "", text) for text in words_of(root)):
        stray = set(re.findall(r"[A-Za-z]{2,}", text)) - data - ENGLISH_IN_CHINESE
        assert not stray - {"shown", "all"}, text  # the places that the script fills


def test_both_pages_hold_the_same_numbers() -> None:
    pages = [parse(render_html(report(language=language))) for language in ("en", "zh")]
    for section in ("overall", "criteria", "compare", "heatmap", "length", "halo"):
        english, chinese = (
            [number for text in words_of(page.id(section)) for number in NUMBER.findall(text)]
            for page in pages
        )
        assert english == chinese
        assert english
    assert pages[0].all("html")[0].attributes["lang"] == "en"


# --- Heat map, pairs, flags, spending -----------------------------------------------------------


def test_the_heat_map_shows_values_and_tells_gaps_apart() -> None:
    given = report()
    section = parse(render_html(given)).id("heatmap")
    views = section.all("table")
    assert len(views) == 4  # mean, difference, two models
    careful = {
        row.all("th")[0].text(): row.all("td") for row in views[2].all("tr") if row.all("td")
    }
    cells = careful["primes-04"]
    assert [(cell.text(), cell.attributes["class"]) for cell in cells] == [
        ("0.80", "h8"),
        ("1.00", "h10"),
        ("1.00", "h10"),
    ]
    assert [cell.attributes["class"] for cell in careful["greeting-01"]] == ["h10", "n", "h10"]
    hostile = next(cells for name, cells in careful.items() if name.startswith("hostile"))
    assert (hostile[1].text(), hostile[1].attributes["class"]) == ("…", "o")
    hasty = {row.all("th")[0].text(): row.all("td") for row in views[3].all("tr") if row.all("td")}
    # A true 0 and a missing verdict are told apart by word and class.
    assert (hasty["greeting-01"][0].text(), hasty["greeting-01"][0].attributes["class"]) == (
        "0.00",
        "h0",
    )
    assert (hasty["greeting-01"][2].text(), hasty["greeting-01"][2].attributes["class"]) == (
        "?",
        "u",
    )
    difference = views[1].all("tr")
    greeting = next(row for row in difference if "greeting-01" in row.text())
    assert [cell.text() for cell in greeting.all("td")] == ["+1.00", "–", "?"]


def test_rows_of_the_heat_map_stand_by_category_and_link_to_their_question() -> None:
    root = parse(render_html(report()))
    table = root.id("heatmap").all("table")[0]
    groups = [body.all("tr", "group")[0].text() for body in table.all("tbody")]
    assert groups == ["interactive", "知识", "no category"]
    for link in table.all("a"):
        target = root.id((link.attributes["href"] or "").removeprefix("#"))
        assert target.tag == "div"
        owner = next(d for d in root.all("details", "question") if target in list(d.walk()))
        assert link.text() in owner.all("summary")[0].text()


def test_a_pair_shows_both_means_and_their_difference() -> None:
    (pair,) = parse(render_html(report())).all("details", "pair")
    assert "open" in pair.attributes
    rows = [[cell.squeezed() for cell in row.all("td")] for row in pair.all("tr")[1:]]
    assert rows[0][:3] == ["0.712", "0.900", "\u22120.188 [\u22120.310, \u22120.020]"]
    assert rows[2][2] == "no common question"  # accuracy
    points = [row.all("circle") for row in pair.all("tr")[1:]]
    assert [point[0].attributes["cx"] if point else None for point in points] == [
        "40.6%",
        "90%",
        None,
        None,
    ]


def test_flags_are_listed_and_linked_and_the_hidden_is_shown() -> None:
    root = parse(render_html(report()))
    section = root.id("flags")
    rows = section.all("tr")[1:]
    assert len(rows) == 2
    assert CAREFUL in rows[0].text()
    assert "override ⟦U+202E⟧gnp" in rows[0].all("mark")[0].text()
    assert HASTY in rows[1].text()
    assert "empty" in rows[1].text()
    assert "1 further answer carries only weaker signs" in section.text()
    links = [a for a in root.id("questions").all("a") if a.attributes["href"] == "#flags"]
    assert len(links) == 2


def test_overlapping_passages_are_one_and_long_ones_are_cut() -> None:
    answer = "x" * 100 + "one two three" + "y" * 500
    spans = [
        {"family": "a", "start": 100, "end": 107},
        {"family": "b", "start": 104, "end": 113},
        {"family": "c", "start": 113, "end": 600},
        {"family": "d", "start": 0, "end": 0},
    ]
    whole, both, long = passages(answer, spans)
    assert (whole.text, whole.families) == ("", ("d",))
    assert (both.text, both.families) == ("one two three", ("a", "b"))
    assert both.before == "…" + "x" * 60
    assert len(long.text) == 243
    assert not passages(answer, [])


def test_spending_names_what_is_unknown() -> None:
    root = parse(render_html(report()))
    text = root.id("spending").squeezed()
    assert "Cost unknown" in text.replace("Costunknown", "Cost unknown")
    assert "0 of 23 calls have a known cost" in text
    assert "2 h 5 min" in text
    assert "1,234.50 USD" in text
    offline = parse(render_html(report(offline=True))).id("spending").text()
    assert "calls no model" in offline


def test_the_title_page_holds_the_facts_and_print_drops_what_needs_a_screen() -> None:
    root = parse(render_html(report()))
    cover = root.all("dl", "cover")[0].text()
    for fact in ("20261121T003012-a1b2c3", "openai:judge-1", "per-criterion", "answer-first"):
        assert fact in cover
    style = root.all("style")[0].text()
    assert "size: A4" in style
    assert re.search(r"header \{ break-after: page; \}", style)


# --- Geometry -----------------------------------------------------------------------------------


def test_axes_shades_and_ticks() -> None:
    entries = [
        {"value": 0.1, "low": -0.13, "high": 0.2},
        {"value": None, "low": None, "high": None},
    ]
    assert span_of(entries) == 0.2
    assert span_of([]) == 0.05
    assert span_of([{"value": 2.5, "low": None, "high": None}]) == 3
    at = bar(entries[0], 0.2)
    assert (at.x, at.low, at.high) == ("75%", "17.5%", "100%")
    assert bar(entries[1], 0.2).x is None
    assert [shade_of(r) for r in (-1, -0.2, 0, 0.01, 0.2, 0.21, 1, None)] == [
        "d-5", "d-1", "d0", "d1", "d1", "d2", "d5", "a",
    ]  # fmt: skip
    ticks = length_ticks([10, 100, 1000])
    assert [words for _, words in ticks] == [10, 100, 1000]
    assert length_ticks([]) == length_ticks([0])


def test_probabilities_show_their_allowed_mass() -> None:
    given = report()
    given["run"]["kinds"] = {"logprobs": 15}
    given["run"]["allowed_mass"] = {"verdicts": 15, "median": 0.991, "p05": 0.93, "min": 0.905}
    verdict = given["questions"][0]["answers"][0]["verdicts"][0]
    verdict |= {"levels": [4.8123], "kind": "logprobs", "allowed_mass": 0.9305, "sd": 0.0712}
    root = parse(render_html(given))
    assert "median 99.1\u202f%, 5 in 100 below 93\u202f%" in root.id("provenance").text()
    assert "expectation over log-probabilities" in root.id("provenance").text()
    cell = root.all("table", "verdicts")[0].all("td", "num")[0].squeezed()
    assert cell == "1.00 level 4.81 sd 0.07 mass 93 %"
