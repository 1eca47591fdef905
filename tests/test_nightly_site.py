"""The site of a series: what the pages say is what the records hold, and they load nothing."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from judge.drift import Effect, Night, Watch
from judge.errors import UsageError
from judge.nightly import _site_words as words
from judge.nightly._site import GENERATOR, write_site
from judge.nightly._site_data import SiteFacts
from tests.nightly_site_fixture import METRICS, day, facts, make_series
from tests.page_tree import Node, parse

ALLOWED = {
    "html", "head", "meta", "title", "style", "body", "header", "main", "footer", "nav", "section",
    "h1", "h2", "h3", "p", "ul", "li", "dl", "div", "dt", "dd", "span", "small", "b", "bdi", "code",
    "a", "table", "thead", "tbody", "tr", "th", "td", "figure", "figcaption", "details", "summary",
    "svg", "g", "path", "line", "rect", "circle", "text", "root",
}  # fmt: skip


def build(out: Path, count: int = 30, **changes: Any) -> tuple[list[Watch], list[Night]]:
    """Write the site of the first nights; what it was made of."""
    watches, nights = make_series(count)
    write_site(out, "support-bot", watches, nights, extra=replace(facts(), **changes))
    return watches, nights


def page(path: Path) -> Node:
    """A page as a tree."""
    return parse(path.read_text("utf-8"))


def rows(table: Node) -> dict[str, list[str]]:
    """First cell → the other cells of the rows of a table."""
    found = {}
    for row in table.all("tbody")[0].all("tr"):
        cells = [n.squeezed() for n in row.children if isinstance(n, Node)]
        found[cells[0]] = cells[1:]
    return found


def section(tree: Node, heading: str) -> Node:
    """The section that an id names as its heading."""
    (found,) = [n for n in tree.all("section") if n.attributes.get("aria-labelledby") == heading]
    return found


def minus(text: str) -> str:
    """A number with the page's minus sign."""
    return text.replace("-", "−")


@pytest.mark.parametrize("count", [1, 13, 30])
def test_pages_load_nothing_and_their_links_lead_somewhere(tmp_path: Path, count: int) -> None:
    build(tmp_path, count)
    files = [tmp_path / "index.html", *sorted((tmp_path / "nights").iterdir())]
    assert [file.name for file in files[1:]] == [f"{day(n)}.html" for n in range(1, count + 1)]
    for file in files:
        html = file.read_text("utf-8")
        tree = parse(html)
        assert {node.tag for node in tree.walk()} <= ALLOWED
        assert not re.search(r"https?:|//|@import|url\(|javascript:", html)
        policies = [str(n.attributes.get("content")) for n in tree.all("meta")]
        assert any(one.startswith("default-src 'none'") for one in policies)
        assert f'<meta name="generator" content="{GENERATOR}">' in html
        for node in tree.walk():
            assert not {"src", "srcset", "action", "xlink:href"} & set(node.attributes)
            assert not any(name.startswith("on") for name in node.attributes)
            if (link := node.attributes.get("href")) is not None:
                assert (file.parent / link).resolve().is_file()
    links = [n.attributes["href"] for n in page(files[0]).all("a")]
    assert {f"nights/{day(n)}.html" for n in range(1, count + 1)} <= set(links)


def test_every_plot_has_words_and_a_table_with_its_values(tmp_path: Path) -> None:
    watches, _ = build(tmp_path)
    index, night = page(tmp_path / "index.html"), page(tmp_path / "nights" / f"{day(24)}.html")
    for tree in (index, night):
        for part in tree.all("section"):
            drawn = [n for n in part.walk() if n.attributes.get("role") == "img"]
            assert all(n.attributes.get("aria-label") for n in drawn)
            if drawn and part.attributes["aria-labelledby"] not in ("strip-h", "evidence-h"):
                assert part.all("table")
    figures = section(index, "trend-h").all("figure")
    assert len(figures) == len(METRICS)
    for figure, metric in zip(figures, ["overall", *METRICS[:-1]], strict=True):
        table = rows(figure.all("table")[0])
        assert list(table) == [day(n) for n in range(30, 0, -1)]
        for watch in watches:
            one = next(m for m in watch.metrics if m.metric == metric)
            value, baseline, _, mean = table[watch.date]
            assert value == minus(f"{one.value:.3f}")
            assert baseline == ("–" if one.baseline is None else f"{one.baseline:.3f}")
            assert (mean == "–") == (one.trend is None)


def test_tables_say_what_the_records_hold(tmp_path: Path) -> None:
    watches, _ = build(tmp_path)
    watch = watches[23]
    tree = page(tmp_path / "nights" / f"{watch.date}.html")
    measured = rows(section(tree, "metrics-h").all("table")[0])
    moved = rows(section(tree, "who-h").all("table")[0])
    assert list(measured) == ["Overall", *(one.capitalize() for one in METRICS[:-1])]
    for one in watch.metrics:
        cells = measured[one.metric.capitalize()]
        assert one.value is not None and one.baseline is not None and one.difference is not None
        low, high = minus(f"{one.low:+.3f}"), minus(f"{one.high:+.3f}")
        assert cells[:2] == [f"{one.value:.3f}", f"{one.baseline:.3f}"]
        assert cells[2] == minus(f"{one.difference:+.3f}") + f" [{low}, {high}]"
        assert cells[3] == "0.011"
        fires = "cannot fire: too few questions differ" if one.metric == "safety" else "3.0 × 10⁻⁶"
        assert cells[5] == fires
        assert one.model is not None and one.judge is not None
        parts = moved[one.metric.capitalize()]
        assert parts[1].startswith(minus(f"{one.model.value:+.3f}"))
        assert parts[2] == "0.000 [−0.011, +0.011]"
        assert parts[3] == "± 0.032"
    # Night 24 is the fifth since the drop: p = 10^(-1 - 1.2 * 5) = 10^-7, below its level.
    assert measured["Accuracy"][4] == "1.0 × 10⁻⁷"
    fired = [n for n in tree.all("tr") if n.all("td", "fires")]
    assert [n.all("th")[0].squeezed() for n in fired] == ["Accuracy"]
    nights = rows(section(page(tmp_path / "index.html"), "nights-h").all("table")[0])
    said = {"Collecting": 10, "Pass": 9, "Frozen": 2, "Inconclusive": 1, "Regress": 8}
    assert {word: [c[0] for c in nights.values()].count(word) for word in said} == said


def test_the_plot_stands_where_the_values_are(tmp_path: Path) -> None:
    watches, _ = build(tmp_path)
    figure = section(page(tmp_path / "index.html"), "trend-h").all("figure")[2]
    assert figure.all("h3")[0].text() == "Accuracy"
    ticks = [
        (float(str(n.attributes["y"])) - 4, float(n.text()))
        for n in figure.all("text")
        if n.attributes["x"] == "-8"
    ]
    (top, most), (bottom, least) = min(ticks), max(ticks)

    def value(y: str) -> float:
        return least + (bottom - float(y)) * (most - least) / (bottom - top)

    pixel = (most - least) / (bottom - top)
    paths = {n.attributes.get("class"): str(n.attributes["d"]) for n in figure.all("path")}
    drawn = re.findall(r"M([\d.]+) ([\d.]+)h0", paths["dots"])
    of = [next(m for m in watch.metrics if m.metric == "accuracy") for watch in watches]
    assert len(drawn) == 30
    for at, ((x, y), one) in enumerate(zip(drawn, of, strict=True)):
        assert one.value is not None
        assert float(x) == pytest.approx(1000 * (at + 0.5) / 30, abs=0.06)
        assert value(y) == pytest.approx(one.value, abs=0.06 * pixel)
    last = of[-1]
    assert last.baseline is not None and last.trend is not None
    assert value(paths["line"].split()[-1]) == pytest.approx(
        last.baseline + last.trend.value, abs=0.06 * pixel
    )
    # The baseline is 0.71 until the bridge and 0.68 after it; lines end half a night outside.
    lines = [re.findall(r"([\d.]+) ([\d.]+)", one) for one in paths["centre"].split("M")[1:]]
    ends = [
        (float(one[0][0]), round(value(one[0][1]), 3), float(one[-1][0])) for one in lines
    ]  # fmt: skip
    assert ends == [(333.3, 0.71, 433.3), (433.3, 0.68, 1000.0)]
    # The second band spans nights 14 to 30 and both its ends: 19 places there, 19 back.
    edge = re.findall(r"([\d.]+) ([\d.]+)", paths["band"].split("M")[2])
    assert len(edge) == 38 and edge[17][0] == edge[20][0] == "983.3"
    for (_, y), end in ((edge[17], last.trend.high), (edge[20], last.trend.low)):
        assert value(y) == pytest.approx(last.baseline + end, abs=0.06 * pixel)
    # Ringed are the nights on which an alarm names accuracy: 22 to 30.
    assert len(figure.all("circle", "mark")) == 9
    stems = {
        str(n.attributes["class"]).split()[1]: n.attributes["x1"]
        for n in figure.all("line", "stem")
    }
    assert stems == {
        "baseline": f"{round(100 * 10.5 / 30, 3)}%",
        "judge": f"{round(100 * 11.5 / 30, 3)}%",
        "bridge": f"{round(100 * 13.5 / 30, 3)}%",
        "alarm": f"{round(100 * 21.5 / 30, 3)}%",
    }
    assert [n.attributes["x"] for n in figure.all("rect", "shade")] == ["36.667%"]


def test_series_json_holds_the_records(tmp_path: Path) -> None:
    watches, _ = build(tmp_path)
    body = json.loads((tmp_path / "series.json").read_bytes(), parse_constant=pytest.fail)
    assert [night["date"] for night in body["nights"]] == [watch.date for watch in watches]
    for night, watch in zip(body["nights"], watches, strict=True):
        held = {one.metric: one for one in watch.metrics}
        for one in night["metrics"]:
            record = held[one["metric"]]
            for name in ("value", "baseline", "difference", "low", "high", "p", "margin", "noise"):
                assert one[name] == getattr(record, name)
            assert one["log_detector"] == (
                "nothing" if record.log_detector == -math.inf else record.log_detector
            )
        assert night["decision"] == (None if watch.decision is None else watch.decision.value)
        assert night["alarms"] == [
            {"kind": a.kind, "since": a.since, "onset": a.onset, "metrics": list(a.metrics),
             "cause": a.cause.value, "effect": a.effect and {"value": a.effect.value,
             "low": a.effect.low, "high": a.effect.high}} for a in watch.alarms
        ]  # fmt: skip


def test_what_is_missing_is_never_shown_as_nought(tmp_path: Path) -> None:
    watches, nights = make_series(30)
    blank = dict.fromkeys(
        ("value", "baseline", "difference", "low", "high", "se", "margin", "p", "level", "trend",
         "model", "judge", "noise")
    )  # fmt: skip
    last = list(watches[-1].metrics)
    last[0] = replace(last[0], **blank, log_detector=math.nan)
    nan = Effect(value=math.nan, low=math.nan, high=math.nan)
    numbers = {name: math.nan for name, value in blank.items() if value is None}
    last[1] = replace(
        last[1], **(numbers | {"trend": nan, "model": nan, "judge": nan}), log_detector=math.nan
    )
    watches[-1] = replace(watches[-1], metrics=tuple(last))
    scores = nights[-1].candidate.copy()
    scores[:, 0] = np.nan
    nights[-1] = replace(nights[-1], candidate=scores)
    write_site(tmp_path, "s", watches, nights, extra=facts())
    tree = page(tmp_path / "nights" / f"{day(30)}.html")
    for name in ("Clarity", "Accuracy"):
        cells = rows(section(tree, "metrics-h").all("table")[0])[name]
        assert cells == ["not measured", *["–"] * 6, "0.0 %"]
        assert rows(section(tree, "who-h").all("table")[0])[name] == ["–"] * 4
        index = page(tmp_path / "index.html")
        assert rows(section(index, "tonight-h").all("table")[0])[name] == ["–"] * 6
    figure = section(index, "trend-h").all("figure")[1]
    dots = next(n for n in figure.all("path") if n.attributes.get("class") == "dots")
    assert str(dots.attributes["d"]).count("h0") == 29
    again = rows(section(tree, "again-h").all("table")[0])["Clarity"]
    assert again[1] == "–" and again[3] == "–"
    body = json.loads((tmp_path / "series.json").read_bytes(), parse_constant=pytest.fail)
    gone = {one["metric"]: one for one in body["nights"][-1]["metrics"]}
    assert gone["accuracy"]["trend"] == {"value": None, "low": None, "high": None}
    assert gone["clarity"]["value"] is gone["accuracy"]["value"] is None
    # The canary of night 15 was not measured; it has no dot, and its night says so.
    blank_canary = rows(section(page(tmp_path / "nights" / f"{day(15)}.html"), "canaries-h")
                        .all("table")[0])["blank"]  # fmt: skip
    assert blank_canary[0] == "–" and blank_canary[3] == "not measured"


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>\"' onload=x {{ 7*7 }} \u202e"
    shown = "<script>alert(1)</script>\"' onload=x {{ 7*7 }} ⟦U+202E⟧"
    watches, nights = make_series(24)
    renamed = []
    for watch in watches:
        metrics = tuple(
            replace(one, metric=evil if one.metric == "accuracy" else one.metric)
            for one in watch.metrics
        )
        alarms = tuple(
            replace(one, metrics=(evil, "completeness")) if one.kind != "judge" else one
            for one in watch.alarms
        )
        canaries = tuple(replace(one, kind=evil) for one in watch.canaries[:1])
        renamed.append(
            replace(watch, metrics=metrics, alarms=alarms, canaries=canaries, epoch=evil,
                    reasons=(evil,))
        )  # fmt: skip
    ids = (evil, *nights[0].question_ids[1:])
    names = tuple(evil if one == "accuracy" else one for one in METRICS)
    nights = [replace(one, question_ids=ids, metrics=names, epoch=evil) for one in nights]
    nights[-1].candidate[0] = 0.0
    base = facts()
    extra = replace(
        base,
        names={},
        facts={evil: evil},
        notes=[evil],
        baselines=[replace(base.baselines[0], by=evil, note=evil, epoch=evil)],
        bridges=[replace(base.bridges[0], by=evil, note=evil, old=evil, new=evil)],
    )
    write_site(tmp_path, evil, renamed, nights, extra=extra)
    for file in (tmp_path / "index.html", tmp_path / "nights" / f"{day(24)}.html"):
        html = file.read_text("utf-8")
        tree = parse(html)
        assert {node.tag for node in tree.walk()} <= ALLOWED
        assert "\u202e" not in html and "<script" not in html
        assert not any("onload" in node.attributes for node in tree.walk())
        assert shown in tree.all("h1")[0].text()
        assert tree.all("ul", "reasons")[0].squeezed() == shown
        assert shown in tree.all("p", "said")[0].text()
    moved = rows(section(tree, "moved-h").all("table")[0])
    assert next(iter(moved)) == shown
    assert min(p.stem for p in (tmp_path / "nights").iterdir()) == day(1)


def test_the_same_input_gives_the_same_bytes_and_touches_nothing(tmp_path: Path) -> None:
    build(tmp_path / "one")
    watches, nights = make_series(30)
    write_site(tmp_path / "two", "support-bot", watches[::-1], nights[::-1], extra=facts())
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*.*"))
    assert len(files) == 32
    stamps = {}
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
        stamps[file] = (tmp_path / "one" / file).stat().st_ino
    build(tmp_path / "one")
    assert {file: (tmp_path / "one" / file).stat().st_ino for file in files} == stamps


def test_a_nights_page_tells_what_was_known_then(tmp_path: Path) -> None:
    build(tmp_path / "then", 22)
    build(tmp_path / "now", 30)
    name = f"nights/{day(22)}.html"
    then = (tmp_path / "then" / name).read_text("utf-8")
    now = (tmp_path / "now" / name).read_text("utf-8")
    assert now.replace(f'<a rel="next" href="{day(23)}.html">23 Mar 2026 →</a>', "") == then


def test_files_are_whole_or_as_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path, 10)
    before = (tmp_path / "index.html").read_bytes()
    plain = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if Path(target).name == "index.html":
            raise OSError(28, "No space left on device")
        return plain(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", refuse)
        with pytest.raises(UsageError, match="No space left"):
            build(tmp_path, 12)
    assert (tmp_path / "index.html").read_bytes() == before
    assert (tmp_path / "nights" / f"{day(12)}.html").is_file()
    build(tmp_path, 12)
    assert (tmp_path / "index.html").read_bytes() != before
    assert not [p for p in tmp_path.rglob("*") if p.name.startswith(".")]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match="cannot be written"):
        build(tmp_path / "file", 2)


def test_only_the_latest_nights_have_pages(tmp_path: Path) -> None:
    build(tmp_path, 30, pages=3)
    kept = [day(28), day(29), day(30)]
    assert sorted(p.stem for p in (tmp_path / "nights").iterdir()) == kept
    index = page(tmp_path / "index.html")
    assert {n.attributes["href"] for n in index.all("a")} == {
        "series.json", *(f"nights/{one}.html" for one in kept)
    }  # fmt: skip
    assert list(rows(section(index, "nights-h").all("table")[0])) == [
        words.day(day(n)) for n in range(30, 0, -1)
    ]
    links = [n.attributes["href"] for n in page(tmp_path / "nights" / f"{day(28)}.html").all("a")]
    assert links == ["../index.html", f"{day(29)}.html"]


def test_a_series_without_nights_and_dates_that_are_none(tmp_path: Path) -> None:
    index = write_site(tmp_path, "new", [], [], extra=SiteFacts())
    assert "No night has been measured yet." in page(index).squeezed()
    watches, nights = make_series(2)
    with pytest.raises(ValueError, match="no date"):
        write_site(
            tmp_path, "s", [replace(watches[0], date="../../x")], nights, extra=SiteFacts()
        )  # fmt: skip
    with pytest.raises(ValueError, match="two nights"):
        write_site(tmp_path, "s", [watches[0], watches[0]], nights, extra=SiteFacts())
