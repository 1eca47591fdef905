"""One night after the other: baselines, rulers that change, nights cut short, refusals, locks."""

from __future__ import annotations

import datetime
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from judge.cli import _nightly as cli
from judge.errors import LedgerError, PlumblineError, UsageError
from judge.ledger import open_ledger
from judge.nightly import add_night, baseline_of, load_nightly, read_series, watched
from judge.nightly._events import Series as Events
from tests.nightly_month import (
    CANDIDATE,
    CRITERIA,
    JUDGE_MODEL,
    MonthServer,
    Series,
    finished,
    kill,
    write_config,
    write_inputs,
)
from tests.support import JUDGE

QUESTIONS, ANCHORS, SLICE, NIGHTS = 9, 6, 6, 10
FIRST = datetime.date(2026, 3, 1)
ANSWERS = QUESTIONS
VERDICTS = len(CRITERIA) * (QUESTIONS + ANCHORS)  # a night without a slice, canaries and twins

Night = Callable[[Path, int], tuple[int, dict[str, Any]]]


def date_of(day: int) -> str:
    return (FIRST + datetime.timedelta(days=day - 1)).isoformat()


def config_of(folder: Path, server: MonthServer, **fields: Any) -> Path:
    """A small series; ``fields`` replace its own, those of ``judge`` and ``sending`` one by one."""
    judge = {"model": server.spec(JUDGE_MODEL), "samples": 1, **fields.pop("judge", {})}
    sending = {"concurrency": 4, "max_attempts": 1, "timeout": 20, **fields.pop("sending", {})}
    usual: dict[str, Any] = {
        "candidate": {"model": server.spec(CANDIDATE), "name": "ours", "seed": 7},
        "anchors": {"n": ANCHORS}, "slice": {"n": SLICE}, "again": {"samples": 0},
        "canaries": False,
    }  # fmt: skip
    return write_config(folder, judge=judge, sending=sending, **{**usual, **fields})


def events(config: Path) -> Events:
    opened = open_ledger(f"sqlite:///{config.parent / 'ledger.db'}")
    try:
        return read_series(opened, "bot")
    finally:
        opened.close()


def night_of(config: Path, day: int) -> None:
    cli.nightly(cli.NightlyOptions(config=config, date=date_of(day), ledger=None, as_json=True))


@pytest.fixture(scope="module")
def server() -> Iterator[MonthServer]:
    with MonthServer() as running:
        yield running


@pytest.fixture(autouse=True)
def calm(server: MonthServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every test begins with a server that answers at once, and leaves it so."""
    monkeypatch.delenv("PLUMBLINE_LEDGER", raising=False)
    yield
    server.resume()
    server.latency_s, server.night = 0.0, 1


@pytest.fixture
def night(server: MonthServer, capsys: pytest.CaptureFixture[str]) -> Night:
    """Run a night in this process: its exit code and the one object on stdout."""

    def run(config: Path, day: int) -> tuple[int, dict[str, Any]]:
        server.night = day
        capsys.readouterr()
        with pytest.raises(typer.Exit) as ended:
            night_of(config, day)
        facts = json.loads(capsys.readouterr().out)
        assert set(facts) == {"night", "notified", "report"}
        return ended.value.exit_code, facts

    return run


@pytest.fixture(scope="module")
def collected(server: MonthServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a series of ten nights; tests work on copies."""
    folder = tmp_path_factory.mktemp("collected")
    write_inputs(folder, questions=QUESTIONS, anchors=ANCHORS)
    config = config_of(folder, server)
    Series.of(config).import_anchors()
    for day in range(1, NIGHTS + 1):
        held = events(config)
        assert (len(held.nights), held.baselines) == (day - 1, ()), "too early for a baseline"
        server.night = day
        with pytest.raises(typer.Exit) as ended:
            night_of(config, day)
        assert ended.value.exit_code == 0
    return folder


@pytest.fixture
def ten(collected: Path, tmp_path: Path) -> Path:
    """The configuration of a series of ten nights of one's own."""
    shutil.copytree(collected, tmp_path / "ten")
    return tmp_path / "ten" / "nightly.yaml"


@pytest.fixture
def fresh(server: MonthServer, tmp_path: Path) -> Path:
    """The configuration of a series without a night, and without anchors."""
    write_inputs(tmp_path, questions=QUESTIONS, anchors=ANCHORS)
    return config_of(tmp_path, server, anchors={"n": 0})


def cloned(config: Path, day: int, **changes: Any) -> None:
    """Note a night like the tenth, without measuring it."""
    ledger = open_ledger(f"sqlite:///{config.parent / 'ledger.db'}")
    try:
        stored = read_series(ledger, "bot").night(date_of(NIGHTS))
        assert stored is not None
        changed = replace(stored.night, date=date_of(day), **changes)
        add_night(ledger, "bot", replace(stored, night=changed))
    finally:
        ledger.close()


def accept(config: Path, nights: str | None = None) -> None:
    cli.accept(config, by="ann", note="new release", nights=nights, ledger_url=None, as_json=False)


def test_the_first_baseline_is_taken_by_itself_and_no_other(ten: Path, night: Night) -> None:
    ten_nights = tuple(date_of(day) for day in range(1, NIGHTS + 1))
    (first,) = events(ten).baselines
    assert (first.since, first.nights, first.by) == (date_of(11), ten_nights, "plumbline")
    code, facts = night(ten, 11)
    assert (code, facts["night"]["state"], facts["night"]["decision"]) == (0, "watching", "pass")
    assert len(events(ten).night(date_of(11)).night.slice_ids) == SLICE  # type: ignore[union-attr]
    for day in range(12, 32):
        cloned(ten, day)
    night(ten, 32)
    assert events(ten).baselines == (first,)


def test_accepting_replaces_the_baseline_from_the_next_night_on(ten: Path, night: Night) -> None:
    for day in range(11, 22):
        cloned(ten, day)
    accept(ten)
    accepted = events(ten).baselines[-1]
    assert accepted.nights == tuple(date_of(day) for day in range(12, 22))
    assert (accepted.since, accepted.by, accepted.note) == (date_of(22), "ann", "new release")
    assert night(ten, 22)[1]["night"]["baseline"] == date_of(22)


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (f"{date_of(1)}..{date_of(3)}", "3 complete nights of one epoch.*a baseline needs 10"),
        (f"{date_of(40)}..{date_of(60)}", "no night from"),
        (f"{date_of(10)}..{date_of(1)}", "no night from"),
        ("2026-03", "expected FROM..TO"),
        ("yesterday..today", "expected FROM..TO"),
    ],
)
def test_a_baseline_of_other_than_ten_nights_is_refused(ten: Path, span: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        accept(ten, span)
    assert len(events(ten).baselines) == 1


def test_a_baseline_of_two_epochs_or_of_nights_cut_short_is_refused(ten: Path) -> None:
    for day in range(11, 16):
        cloned(ten, day, epoch="another")
    with pytest.raises(UsageError, match="5 complete nights of one epoch"):
        accept(ten)
    with pytest.raises(UsageError, match="5 complete nights of one epoch"):
        accept(ten, f"{date_of(5)}..{date_of(15)}")
    for day in range(16, 26):
        cloned(ten, day, epoch="another", complete=day % 2 == 0, trouble="cut short")
    accept(ten)
    held = {one.night.date: one.night for one in events(ten).nights}
    assert all(held[date].complete for date in events(ten).baselines[-1].nights)


def test_a_series_without_a_night_has_nothing_to_accept_or_to_bridge(fresh: Path) -> None:
    with pytest.raises(LedgerError, match="no ledger here yet"):
        accept(fresh)
    assert not (fresh.parent / "ledger.db").exists()
    open_ledger(f"sqlite:///{fresh.parent / 'ledger.db'}").close()
    with pytest.raises(UsageError, match="no night yet"):
        accept(fresh)
    with pytest.raises(UsageError, match="no baseline yet"):
        cli.bridge(
            fresh, sample=8, by="ann", date=date_of(1), ledger_url=None, as_json=False
        )  # fmt: skip


@pytest.mark.parametrize("change", ["samples", "temperature", "rubric"])
def test_changed_rulers_freeze_the_series_until_it_is_bridged(
    ten: Path, server: MonthServer, night: Night, change: str
) -> None:
    if change == "rubric":
        file = ten.parent / "rubric.yaml"
        file.write_text(file.read_text().replace("How much depth", "How little depth"))
    else:
        config_of(ten.parent, server, judge={change: 2})
    code, facts = night(ten, 11)
    assert (code, facts["night"]["state"], facts["night"]["decision"]) == (
        11, "frozen", "inconclusive",
    )  # fmt: skip
    assert any("rulers" in reason for reason in facts["night"]["reasons"])
    assert facts["night"]["alarms"] == []
    bridge_over(ten, server, 12, sample=60)
    (bridge,) = events(ten).bridges
    assert (bridge.since, bridge.by) == (date_of(12), "ann")
    assert bridge.old != bridge.new
    # The scripted judge does not read the criterion's words and knows no temperature: 60 answers
    # again, with an SD of about .13 between two verdicts on one, differ by .05 at three SE.
    assert all(abs(one.shift) < 0.06 for one in bridge.metrics.values())
    code, facts = night(ten, 12)
    assert (code, facts["night"]["state"]) == (0, "watching"), facts["night"]["reasons"]
    code, facts = night(ten, 11)
    assert (code, facts["night"]["state"]) == (11, "frozen"), "a bridge changes nothing before it"


def bridge_over(config: Path, server: MonthServer, day: int, sample: int = 90) -> None:
    server.night = day
    cli.bridge(
        config, sample=sample, by="ann", date=date_of(day), ledger_url=None, as_json=False
    )  # fmt: skip


def test_rulers_that_change_twice_are_bridged_twice(
    ten: Path, server: MonthServer, night: Night
) -> None:
    for day, temperature in ((11, 0.3), (13, 0.4), (15, None)):
        config_of(ten.parent, server, judge={"temperature": temperature})
        assert night(ten, day)[1]["night"]["state"] == "frozen"
        bridge_over(ten, server, day + 1)
        code, facts = night(ten, day + 1)
        assert (code, facts["night"]["state"]) == (0, "watching"), facts["night"]["reasons"]
        overall = {one["metric"]: one for one in facts["night"]["metrics"]}["overall"]
        # Nothing but noise moved, so the mapped baseline stays where it was.
        assert abs(overall["baseline"] - overall["value"]) < 0.08


def test_a_bridge_is_noted_once_and_sends_nothing_twice(
    ten: Path, server: MonthServer, night: Night
) -> None:
    night(ten, 11)
    with pytest.raises(UsageError, match="nothing to bridge"):
        bridge_over(ten, server, 12)
    config_of(ten.parent, server, judge={"temperature": 0.3})
    start = server.asked
    bridge_over(ten, server, 12)
    # 9 questions in 10 nights; the eleventh night is no part of the baseline.
    assert server.asked - start == len(CRITERIA) * QUESTIONS * NIGHTS
    bridge_over(ten, server, 12)
    assert server.asked - start == len(CRITERIA) * QUESTIONS * NIGHTS
    assert len(events(ten).bridges) == 1


def test_a_bridge_maps_the_overall_across_changed_weights(
    ten: Path, server: MonthServer, night: Night
) -> None:
    weights = {"name": "one", "rubric": "made-up", "weights": {"depth": 1, "order": 0, "tact": 0}}
    (ten.parent / "weights.yaml").write_text(json.dumps(weights))
    config_of(ten.parent, server, weights="weights.yaml")
    assert night(ten, 11)[1]["night"]["state"] == "frozen"
    bridge_over(ten, server, 12, sample=500)
    night_facts = night(ten, 12)[1]["night"]
    values = {one["metric"]: one["baseline"] for one in night_facts["metrics"]}
    assert values["overall"] == pytest.approx(values["depth"], abs=0.02)


@pytest.mark.parametrize(
    ("limit", "words"),
    [({"time_limit": 1.5}, "time limit"), ({"sending": {"budget": "6000tokens"}}, "budget")],
)
def test_a_night_cut_short_is_inconclusive_and_can_be_finished(
    ten: Path, server: MonthServer, night: Night, limit: dict[str, Any], words: str
) -> None:
    server.latency_s = 0.15
    config_of(ten.parent, server, **limit)
    start = server.asked
    code, facts = night(ten, 11)
    cut = server.asked - start
    assert (code, facts["night"]["decision"]) == (11, "inconclusive")
    assert any(words in reason for reason in facts["night"]["reasons"])
    server.latency_s = 0.0
    config_of(ten.parent, server)
    code, facts = night(ten, 11)
    assert (code, facts["night"]["decision"]) == (0, "pass"), facts["night"]["reasons"]
    planned = ANSWERS + VERDICTS + len(CRITERIA) * SLICE
    assert 0 < cut < planned
    assert server.asked - start == planned, "what came back is not asked for again"


def test_a_night_cut_short_is_no_part_of_a_baseline(ten: Path, night: Night) -> None:
    cloned(ten, 11, complete=False, trouble="the judge: stopped by the time limit")
    assert date_of(11) not in [
        date for one in events(ten).baselines for date in one.nights
    ]  # fmt: skip
    code, facts = night(ten, 11)
    assert (code, facts["night"]["decision"]) == (0, "pass")


def test_a_server_that_is_down_gives_a_reason_and_the_night_goes_on_later(
    fresh: Path, server: MonthServer
) -> None:
    down = MonthServer()
    down.start()
    series = Series.of(config_of(fresh.parent, down, anchors={"n": 0}))
    down.stop()
    done = series.night(date_of(1))
    assert "Traceback" not in done.stderr
    night = json.loads(done.stdout)["night"]
    assert done.returncode in {0, 11}
    assert done.returncode == 11, "a night without a single answer is not in order"
    assert any("connection" in one for one in night["reasons"]), night["reasons"]
    down.start()
    try:
        assert series.facts(date_of(1))[0] == 0
    finally:
        down.stop()
    stored = events(series.config).night(date_of(1))
    assert stored is not None and stored.night.complete


def test_a_judge_that_is_down_after_the_baseline(ten: Path, server: MonthServer) -> None:
    down = MonthServer()
    down.start()
    config_of(ten.parent, server, judge={"model": down.spec(JUDGE_MODEL)})
    down.stop()
    done = Series.of(ten).night(date_of(11))
    assert (done.returncode, "Traceback" in done.stderr) == (11, False)
    assert json.loads(done.stdout)["night"]["decision"] == "inconclusive"


def test_the_past_cannot_be_measured(ten: Path, night: Night, server: MonthServer) -> None:
    cloned(ten, 13, complete=False, trouble="cut short")
    cloned(ten, 14)
    start = server.asked
    for day, words in ((12, "was not measured"), (13, "was cut short")):
        done = Series.of(ten).night(date_of(day))
        assert (done.returncode, done.stdout) == (2, "")
        assert words in " ".join(done.stderr.split())
        assert "no measurement of then" in " ".join(done.stderr.split())
    assert night(ten, 10)[1]["night"]["date"] == date_of(10), "one that is there can be shown"
    assert server.asked == start


def test_two_runs_at_once(fresh: Path, server: MonthServer) -> None:
    series = Series.of(fresh)
    server.pause_at = server.asked
    start = server.asked
    first = series.start("nightly", str(fresh), "--date", date_of(1), "--json")
    try:
        server.wait_for(start + 1)
        second = series.night(date_of(1))
        words = " ".join(second.stderr.split())
        assert (second.returncode, second.stdout) == (2, "")
        assert "is being run already" in words
        assert f"by process {first.pid}" in words
        server.resume()
        done = finished(first)
    finally:
        kill(first)
    assert done.returncode == 0, done.stderr
    assert server.asked - start == ANSWERS + len(CRITERIA) * QUESTIONS


def test_an_interrupt_keeps_the_work(fresh: Path, server: MonthServer) -> None:
    series = Series.of(fresh)
    start = server.asked
    server.pause_at = start + ANSWERS + 3
    process = series.start("nightly", str(fresh), "--date", date_of(1), "--json")
    try:
        server.wait_for(start + ANSWERS + 4)
        process.send_signal(signal.SIGINT)
        server.resume()
        done = finished(process)
    finally:
        kill(process)
    assert (done.returncode, done.stdout) == (130, "")
    assert "Run the same command again to go on" in " ".join(done.stderr.split())
    assert events(fresh).nights == ()
    planned = ANSWERS + len(CRITERIA) * QUESTIONS
    assert server.asked - start < planned
    assert series.facts(date_of(1))[0] == 0
    assert server.asked - start == planned


def answers_file(folder: Path, day: int, questions: list[str], models: tuple[str, ...]) -> None:
    (folder / "answers").mkdir(exist_ok=True)
    lines = [
        json.dumps({
            "question_id": question, "model": model, "sample": sample,
            "answer": f"Made up, {model}, night {day}, {sample}. [[truth.depth=0.5]]",
        })
        for question in questions for model in models for sample in range(2)
    ]  # fmt: skip
    (folder / "answers" / f"{date_of(day)}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def filed(fresh: Path, server: MonthServer) -> Path:
    """A series of answers made elsewhere."""
    candidate = {"answers": "answers/{date}.jsonl", "name": "bot"}
    return config_of(
        fresh.parent, server, anchors={"n": 0}, candidate=candidate, again={"samples": 1}
    )


IDS = [f"q{number:02d}" for number in range(QUESTIONS)]


def test_answers_of_files(filed: Path, server: MonthServer, night: Night) -> None:
    answers_file(filed.parent, 1, IDS, ("theirs",))
    answers_file(filed.parent, 2, IDS, ("theirs", "bot"))
    start = dict(server.requests)
    for day, model in ((1, "theirs"), (2, "bot")):
        code, _ = night(filed, day)
        assert code == 0
        stored = events(filed).night(date_of(day))
        assert stored is not None
        assert stored.night.complete and stored.night.again is not None
        assert stored.night.missing == dict.fromkeys(stored.night.metrics, 0)
        # The text says whose they are.
        opened = open_ledger(f"sqlite:///{filed.parent / 'ledger.db'}")
        try:
            texts = [row.answer for row in opened.answers(models=["bot"])]
        finally:
            opened.close()
        mine = [one.answer for one in texts if one.occasion == date_of(day)]
        assert len(mine) == 2 * QUESTIONS
        assert all(f"{model}, night {day}" in text for text in mine)
    assert server.requests["answer"] == start.get("answer", 0)


def test_files_that_are_missing_foreign_or_short(
    filed: Path, server: MonthServer, night: Night
) -> None:
    start = server.asked
    series = Series.of(filed)
    done = series.night(date_of(1))
    assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
    assert f"{date_of(1)}.jsonl" in done.stderr.replace("\n", "")
    answers_file(filed.parent, 1, ["other-1", "other-2"], ("bot",))
    with pytest.raises(UsageError, match="no answer to a question of"):
        night_of(filed, 1)
    answers_file(filed.parent, 1, IDS, ("a", "b"))
    with pytest.raises(UsageError, match="answers of a, b"):
        night_of(filed, 1)
    assert (events(filed).nights, server.asked) == ((), start)
    answers_file(filed.parent, 1, IDS[::3], ("bot",))
    assert night(filed, 1)[0] == 11
    stored = events(filed).night(date_of(1))
    assert stored is not None and not stored.night.complete
    assert f"only {QUESTIONS // 3} of {QUESTIONS} answers" in stored.night.trouble
    assert stored.night.missing == dict.fromkeys(stored.night.metrics, pytest.approx(2 / 3))
    answers_file(filed.parent, 1, IDS, ("bot",))
    assert night(filed, 1)[0] == 0
    stored = events(filed).night(date_of(1))
    assert stored is not None and stored.night.complete


def test_a_misspelt_candidate_is_refused(fresh: Path, server: MonthServer) -> None:
    candidate = {"answers": "answers/{date}.jsonl", "name": "ours"}
    config = config_of(fresh.parent, server, anchors={"n": 0}, candidate=candidate)
    answers_file(fresh.parent, 1, IDS, ("theirs",))
    with pytest.raises(UsageError, match="holds answers of theirs, not of ours"):
        night_of(config, 1)


def test_a_day_that_has_not_come_is_refused(ten: Path) -> None:
    far = (datetime.date.today() + datetime.timedelta(days=3)).isoformat()
    with pytest.raises(UsageError, match="has not come yet"):
        cli.nightly(cli.NightlyOptions(config=ten, date=far, ledger=None, as_json=False))


def test_nobody_is_told_of_a_date_that_was_misspelt(
    ten: Path, server: MonthServer, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONTH_HOOK", server.hook_url)
    config_of(ten.parent, server, notify={"webhooks": [{"url_env": "MONTH_HOOK"}]})
    night(ten, 11)
    posts = server.requests["hook"]
    far = (datetime.date.today() + datetime.timedelta(days=3)).isoformat()
    for date in ("2025-01-01", far):
        with pytest.raises(UsageError):
            cli.nightly(cli.NightlyOptions(config=ten, date=date, ledger=None, as_json=False))
    assert server.requests["hook"] == posts


def test_sigterm_is_an_interrupt_where_no_endpoint_is_at_work(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [JUDGE, "nightly", "--demo", tmp_path / "month"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    with process:
        try:
            ledger = tmp_path / "month" / "nightly.db"
            until = time.monotonic() + 60
            while not ledger.exists() and time.monotonic() < until:
                time.sleep(0.05)
            time.sleep(1)
            process.terminate()
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130, said
    assert "run the same command again" in said.replace("\n", " ").lower()


def test_the_site_of_another_series_is_left_alone(ten: Path) -> None:
    site = load_nightly(ten).out
    site.mkdir(parents=True, exist_ok=True)
    (site / "series.json").write_text('{"series": "other"}')
    with pytest.raises(UsageError, match="holds the site of other"):
        night_of(ten, 11)


def test_a_site_that_cannot_be_written_does_not_hide_a_decision(
    ten: Path, server: MonthServer, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONTH_HOOK", server.hook_url)
    (ten.parent / "blocker").write_text("")
    hooks = {"when": ["always"], "webhooks": [{"url_env": "MONTH_HOOK"}]}
    config_of(ten.parent, server, notify=hooks, out="blocker/site", judge={"temperature": 0.3})
    posts = server.requests["hook"]
    code, facts = night(ten, 11)
    assert (code, facts["night"]["state"]) == (11, "frozen")
    assert server.requests["hook"] > posts


def test_people_hear_of_a_night_that_does_not_happen_once(
    filed: Path, server: MonthServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONTH_HOOK", server.hook_url)
    config = load_nightly(filed)
    hooks = {"webhooks": [{"url_env": "MONTH_HOOK"}]}
    config_of(
        filed.parent, server, anchors={"n": 0}, notify=hooks,
        candidate={"answers": "answers/{date}.jsonl", "name": config.candidate.name},
    )  # fmt: skip
    posts = server.requests["hook"]
    for _ in range(2):
        with pytest.raises(PlumblineError):
            night_of(filed, 1)
    assert server.requests["hook"] == posts + 1


def test_changed_settings_change_no_night_that_is_over(ten: Path, night: Night) -> None:
    assert night(ten, 11)[0] == 0
    before = watched(events(ten), load_nightly(ten))
    text = json.loads(ten.read_text())
    ten.write_text(json.dumps({**text, "alarms": {"least_margin": 0.3}}))
    facts = night(ten, 11)[1]
    margins = [one["margin"] for one in facts["night"]["metrics"]]
    assert max(one for one in margins if one is not None) < 0.3
    facts = night(ten, 12)[1]
    assert min(one["margin"] for one in facts["night"]["metrics"]) >= 0.3
    assert any("settings changed: least_margin (0.01 before, 0.3 now)" in reason
               for reason in facts["night"]["reasons"])  # fmt: skip
    assert watched(events(ten), load_nightly(ten))[:11] == before


def test_the_last_of_several_baselines_holds(ten: Path, night: Night) -> None:
    for day in (11, 12):
        night(ten, day)
    first, last = (f"{date_of(a)}..{date_of(b)}" for a, b in ((1, 10), (3, 12)))
    for span in (first, last, first, first):
        accept(ten, nights=span)
    held = events(ten).baselines
    assert [one.nights[0] for one in held[1:]] == [date_of(1), date_of(3), date_of(1)]
    found = baseline_of(events(ten), date_of(13))
    assert found is not None and found.nights[0] == date_of(1)


def test_the_same_date_again_sends_and_notes_nothing(
    ten: Path, server: MonthServer, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONTH_HOOK", server.hook_url)
    hooks = {"when": ["always"], "webhooks": [{"url_env": "MONTH_HOOK"}]}
    config_of(ten.parent, server, notify=hooks)
    first = night(ten, 11)
    assert [one["ok"] for one in first[1]["notified"]] == [True]
    before, noted = dict(server.requests), events(ten)
    second = night(ten, 11)
    assert dict(server.requests) == before
    assert second[1]["notified"] == []
    assert (second[0], second[1]["night"]) == (first[0], first[1]["night"])
    assert [one.night.date for one in events(ten).nights] == [
        one.night.date for one in noted.nights
    ]
    assert events(ten).messages == noted.messages


def test_who_could_not_be_told_is_told_by_the_next_run_of_the_date(
    ten: Path, server: MonthServer, night: Night, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MONTH_HOOK", raising=False)
    hooks = {"when": ["always"], "webhooks": [{"url_env": "MONTH_HOOK"}]}
    config_of(ten.parent, server, notify=hooks)
    posts = server.requests["hook"]
    code, facts = night(ten, 11)
    assert (code, [one["ok"] for one in facts["notified"]]) == (0, [False])
    monkeypatch.setenv("MONTH_HOOK", server.hook_url)
    assert [one["ok"] for one in night(ten, 11)[1]["notified"]] == [True]
    assert night(ten, 11)[1]["notified"] == []
    assert server.requests["hook"] == posts + 1
    assert server.posts[-1]["date"] == date_of(11)


def test_folding_anew_gives_the_same_nights(ten: Path, night: Night) -> None:
    night(ten, 11)
    config = load_nightly(ten)
    assert repr(watched(events(ten), config)) == repr(watched(events(ten), config))
