"""The report of a training run: its log read back, its numbers, its sentences, its page."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
from html import escape, unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.errors import InputError
from sft.run_report import _words as words
from sft.run_report import read_log, read_run, render_run_report, write_run_report
from sft.run_report._charts import WIDTH, Axis, axis, path, step_ticks, style_of
from sft.run_report._curves import running_mean, thin, window
from sft.run_report._plots import plots
from sft.run_report._summary import HeldOut, summarise, utilisation_factors
from tests.page_tree import Node, parse

Record = dict[str, Any]

HOSTILE = (
    "</script><script>alert(1)</script></title></style></svg><img src=x onerror=alert(2)> "
    "</div></details></table><!-- ]]> \"'><a href='http://evil.example'>x</a> {{ 7 * 7 }} "
    "NUL\x00 override \u202egnp.exe\u202c "
)


def run(*planned: int, **changed: Any) -> Record:
    """run.json of a run with so many steps in each epoch."""
    share = {"source": "public-qa", "domain": "general", "share": 0.4}
    return {
        "form": 1, "name": "half", "description": "Half general, half in the domain.",
        "synthetic": False,
        "config": {"name": "half", "seed": 7, "preset": None, "deterministic": False,
                   "optimizer": {"learning_rate": 3e-5, "betas": [0.9, 0.95], "clip": 1.0},
                   "data": {"held_out": {"general": ["a.jsonl"], "in_domain": ["b.jsonl"]}}},
        "config_hash": "9f86d081884c7d65",
        "data": {"folder": "../blend", "blend": "half", "manifest_hash": "b1946ac92492d234",
                 "name": "demo", "epochs": [
                     {"epoch": at, "packs": 6 * steps, "steps": steps, "tokens": 1000 * steps,
                      "supervised_tokens": 400 * steps, "shares": [share]}
                     for at, steps in enumerate(planned, start=1)]},
        "model": {"name": "random weights", "architecture": "LlamaForCausalLM",
                  "parameters": 2_000_000, "trainable": 2_000_000, "layers": 2, "hidden_size": 64,
                  "vocabulary": 1600, "dtype": "float32", "attention": "sdpa",
                  "recompute": "none", "lora": None},
        "hardware": {"device": "Accelerator X", "processes": 2, "threads": 3, "peak_flops": 1e12,
                     "memory_bytes": 80_000_000_000},
        "zero": {"stage": 2, "offload": "none"}, "batch": 6, "micro_batch": 1, "accumulation": 3,
        "length": 2048, "steps": sum(planned), "steps_per_epoch": list(planned),
        "versions": {"plumbline": "1.2.3", "torch": "2.13.0", "python": "3.11.9"},
        "git": "abc123", "flops_per_token": {"A": 6e8, "B": 4e8},
        "checks": [{"check": "samples apart", "difference": 1.25e-7, "bound": 1e-4}],
        "starts": [{"at": "2026-11-21T10:00:00Z", "from_step": 0}],
        "finished": "2026-11-21T11:10:00Z", "ended": None,
    } | changed  # fmt: skip


def step(number: int, **changed: Any) -> Record:
    """A line of a step: 1,000 tokens in 2 s."""
    return {
        "kind": "step", "step": number, "epoch": 1, "loss": 2.0, "learning_rate": 1e-5,
        "gradient_norm": 0.5, "tokens": 1000, "supervised_tokens": 400, "seconds": 2.0,
        "memory_bytes": 20_000_000_000, "losses": {"public-qa": 1.5, "business-qa": 2.5},
    } | changed  # fmt: skip


def evaluation(at: int, epoch: int, **losses: float | None) -> Record:
    tokens = dict.fromkeys(losses, 3000)
    return {"kind": "evaluation", "step": at, "epoch": epoch, "losses": losses, "tokens": tokens}


def end(at: int, epoch: int) -> Record:
    return {"kind": "epoch", "epoch": epoch, "step": at, "export": f"epoch-{epoch}", "seconds": 4.0}


def usual() -> list[Record]:
    """Three epochs of two steps; the model learns its domain and forgets the general one."""
    losses = [(3.102, 2.010), (2.5, 2.1), (2.1, 2.25), (1.923, 2.404)]
    lines = [evaluation(0, 0, in_domain=losses[0][0], general=losses[0][1])]
    for epoch in (1, 2, 3):
        for number in (2 * epoch - 1, 2 * epoch):
            lines.append(step(number, epoch=epoch, loss=4 - number / 2))
        one, other = losses[epoch]
        lines += [evaluation(2 * epoch, epoch, in_domain=one, general=other), end(2 * epoch, epoch)]
    return lines


def save(folder: Path, facts: Record, lines: list[Record], tail: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "run.json").write_text(json.dumps(facts), "utf-8")
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "log.jsonl").write_text(text + tail, "utf-8")
    return folder


def page(folder: Path, facts: Record, lines: list[Record], tail: str = "") -> Node:
    return parse(write_run_report(save(folder, facts, lines, tail)).read_text("utf-8"))


def spaced(node: Node) -> str:
    return node.squeezed().replace("\u202f", " ").replace("\xa0", " ")


def cells(root: Node, caption: str) -> list[list[str]]:
    """The cells of the table whose caption begins so."""
    (table,) = [t for t in root.all("table") if spaced(t.all("caption")[0]).startswith(caption)]
    return [[spaced(c) for c in row.children if isinstance(c, Node)] for row in table.all("tr")]


# --- The log ------------------------------------------------------------------------------------


def test_a_log_is_read_back_in_columns_and_records(tmp_path: Path) -> None:
    lines = [
        evaluation(0, 0, general=2.5),
        step(1, gradient_norm=None, losses={"b": 3.0}),
        step(2, loss=None, losses={"a": 1.0}),
        {"kind": "note", "step": 2, "text": "something"},
        step(3, loss=math.inf, losses={"a": None, "b": 2.0}),
        {"kind": "epoch", "epoch": 1, "step": 3, "export": "epoch-1", "seconds": 13.0},
    ]
    log = read_log(save(tmp_path, run(3), lines))
    steps = log.steps
    assert steps.step.tolist() == [1, 2, 3]
    assert np.isnan(steps.loss).tolist() == [False, True, True]
    assert np.isnan(steps.gradient_norm).tolist() == [True, False, False]
    # A source that a step has nothing of, and a loss that was no number, are both NaN.
    assert [None if math.isnan(v) else v for v in steps.losses["b"]] == [3.0, None, 2.0]
    assert [None if math.isnan(v) else v for v in steps.losses["a"]] == [None, 1.0, None]
    (found,) = log.evaluations
    assert (found.epoch, dict(found.losses), dict(found.tokens)) == (
        0, {"general": 2.5}, {"general": 3000},
    )  # fmt: skip
    assert [(n.step, n.text) for n in log.notes] == [(2, "something")]
    assert [(e.epoch, e.step, e.export, e.seconds) for e in log.epochs] == [(1, 3, "epoch-1", 13.0)]
    assert not log.cut


def test_an_empty_log_has_no_steps(tmp_path: Path) -> None:
    log = read_log(save(tmp_path, run(3), []))
    assert (len(log.steps), log.evaluations, log.cut) == (0, (), False)


def test_a_log_cut_anywhere_in_its_last_line_is_whole_before_it(tmp_path: Path) -> None:
    lines = [step(1), step(2), step(3)]
    content = (save(tmp_path, run(3), lines) / "log.jsonl").read_bytes()
    begin = content[:-1].rfind(b"\n") + 1
    for length in range(begin, len(content) + 1):
        (tmp_path / "log.jsonl").write_bytes(content[:length])
        log = read_log(tmp_path)
        # Without its line feed the last line is whole; with nothing of it, nothing was cut off.
        whole = length >= len(content) - 1
        assert len(log.steps) == (3 if whole else 2)
        assert log.cut == (not whole and length > begin)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{nonsense", ":2: found nothing, expected an object of JSON"),
        ("[1, 2]", ":2: found [1, 2], expected an object"),
        ("", ":2: found nothing, expected an object"),
        ('{"kind": "stop", "step": 2}', ":2: kind: found 'stop', expected step, evaluation"),
        ('{"kind": "note", "step": 2}', ":2: text: found nothing, expected a text"),
        (json.dumps(step(2, tokens=-1)), ":2: tokens: found -1, expected a whole number"),
        (json.dumps(step(2, tokens=True)), ":2: tokens: found True, expected a whole number"),
        (json.dumps(step(2, loss="2.0")), ":2: loss: found '2.0', expected a number or null"),
        (json.dumps(step(2, losses=[1])), ":2: losses: found [1], expected an object"),
        (json.dumps(step(1)), ":2: step: found 1, expected a step after 1"),
        ('{"kind": "step", "step": 2}', ":2: epoch: found nothing"),
        (json.dumps(evaluation(2, 1, a=1.0) | {"tokens": {}}), ":2: a: found nothing"),
    ],
)
def test_any_other_broken_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    save(tmp_path, run(3), [step(1)], tail=f"{line}\n" + json.dumps(step(3)) + "\n")
    with pytest.raises(InputError) as caught:
        read_log(tmp_path)
    assert f"{tmp_path / 'log.jsonl'}{said}" in str(caught.value)
    with pytest.raises(InputError):
        write_run_report(tmp_path)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    for read in (read_log, read_run, write_run_report):
        with pytest.raises(InputError, match="Name the folder of a run"):
            read(tmp_path)
    save(tmp_path, run(3), [])
    (tmp_path / "run.json").write_bytes(b"")
    with pytest.raises(InputError, match=r"run\.json: found what is not JSON"):
        write_run_report(tmp_path)
    for broken, said in (
        (run(3) | {"steps": "3"}, "steps: found str, expected int"),
        ({k: v for k, v in run(3).items() if k != "zero"}, "zero: found nothing, expected dict"),
        (run(3, starts=[{"at": "x"}]), r"starts\[0\]\.from_step: found nothing"),
        (run(3, flops_per_token={"A": "much"}), "flops_per_token: numbers only"),
        ([1], "found list, expected an object"),
    ):
        (tmp_path / "run.json").write_text(json.dumps(broken))
        with pytest.raises(InputError, match=said):
            read_run(tmp_path)


# --- Curves -------------------------------------------------------------------------------------


def test_running_means_are_centred_weighted_and_pass_over_what_is_no_number() -> None:
    values = np.array([1.0, 2.0, np.nan, 6.0])
    weights = np.array([1.0, 3.0, 5.0, 2.0])
    # Three values around each: (1 + 6) / 4, the same without the NaN, (6 + 12) / 5, 6.
    assert running_mean(values, weights, 3).tolist() == [1.75, 1.75, 3.6, 6.0]
    assert np.isnan(running_mean(np.array([np.nan, np.nan]), np.ones(2), 2)).all()
    assert [window(n) for n in (0, 1, 30, 100_000)] == [1, 1, 5, 316]


numbers = st.floats(-1e3, 1e3) | st.just(math.nan)


@given(st.lists(st.tuples(numbers, st.integers(0, 9)), max_size=60), st.integers(1, 12))
def test_running_means_are_what_sums_over_windows_give(
    points: list[tuple[float, int]], width: int
) -> None:
    values = np.array([v for v, _ in points], np.float64)
    weights = np.array([w for _, w in points], np.float64)
    found = running_mean(values, weights, width)
    assert len(found) == len(points)
    for at, mean in enumerate(found):
        around = points[max(0, at - width // 2) : at + (width - 1) // 2 + 1]
        known = [(v, w) for v, w in around if not math.isnan(v) and w]
        if not known:
            assert math.isnan(mean)
            continue
        expected = sum(v * w for v, w in known) / sum(w for _, w in known)
        assert mean == pytest.approx(expected, abs=1e-7)


@given(st.lists(numbers, max_size=400), st.integers(8, 60))
def test_thinned_curves_keep_ends_extremes_and_gaps(values: list[float], most: int) -> None:
    curve = np.array(values, np.float64)
    kept = thin(curve, most)
    assert len(kept) <= max(most, 0)
    assert all(a < b for a, b in pairwise(kept.tolist()))
    if not values:
        return
    assert (kept[0], kept[-1]) == (0, len(values) - 1)
    known = curve[~np.isnan(curve)]
    if len(known):
        assert np.nanmin(curve[kept]) == known.min()
        assert np.nanmax(curve[kept]) == known.max()
    assert np.isnan(curve[kept]).any() == np.isnan(curve).any()


def test_a_path_has_gaps_and_dots() -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    y = np.array([5.0, np.nan, 7.25, 8.0, np.nan])
    assert path(x, y) == "M0 5h0M2 7.2L3 8"


# --- Axes ---------------------------------------------------------------------------------------


def test_values_have_their_places_on_an_axis() -> None:
    scale = Axis(low=1.0, high=3.0, height=112)  # 100 pixels between margins of 6
    assert scale.y(np.array([3.0, 1.5, 1.0])).tolist() == [6.0, 81.0, 106.0]
    logs = Axis(low=0.01, high=100.0, height=112, log=True)
    # 1 lies in the middle of four decades; 0 has no place.
    assert logs.y(np.array([100.0, 1.0, 0.0]))[:2].tolist() == [6.0, 56.0]
    assert np.isnan(logs.y(np.array([0.0]))).all()


@given(
    st.floats(-1e6, 1e6), st.floats(1e-6, 1e6), st.integers(60, 400), st.booleans(), st.booleans()
)  # fmt: skip
def test_levels_are_few_round_and_within(
    low: float, spread: float, height: int, zero: bool, log: bool
) -> None:
    values = np.array([low, low + spread])
    scale = axis([values], height, zero=zero, log=log)
    assert scale is not None
    assert scale.low < scale.high
    levels = scale.levels()
    assert 1 <= len(levels) <= 12
    assert all(a < b for a, b in pairwise(levels))
    room = 1e-6 * (scale.high - scale.low)
    assert scale.low - room <= levels[0] <= levels[-1] <= scale.high + room
    if zero and not scale.log:
        assert 0.0 in levels
    places = scale.y(values[values > 0] if scale.log else values)
    assert ((places >= 0) & (places <= height)).all()


def test_an_axis_of_one_value_has_room_and_one_of_none_is_none() -> None:
    for value in (2.0, 0.0, -3.0):
        scale = axis([np.array([value])], 100)
        assert scale is not None
        assert scale.low < value < scale.high
    assert axis([np.array([np.nan]), np.empty(0)], 100) is None


@given(st.integers(1, 10**7), st.integers(2, 4))
def test_labels_of_steps_do_not_touch(last: int, most: int) -> None:
    ticks = step_ticks(last, most)
    assert ticks[-1].label == f"{last:,}"
    assert ticks[0].label == "0"
    places = [float(tick.x.rstrip("%")) for tick in ticks]
    assert len(places) <= most + 1
    assert all(b - a >= 15 for a, b in pairwise(places))


def test_eighteen_lines_can_be_told_apart() -> None:
    assert len({style_of(at) for at in range(18)}) == 18


# --- Numbers ------------------------------------------------------------------------------------


def test_the_numbers_of_a_run_by_hand(tmp_path: Path) -> None:
    lines = [
        step(1, loss=4.0, supervised_tokens=100, tokens=1000, seconds=1.0),
        step(2, loss=1.0, supervised_tokens=300, tokens=2000, seconds=3.0, memory_bytes=3e10),
        step(3, epoch=2, loss=2.0, tokens=500, seconds=1.0, gradient_norm=7.0),
    ]
    facts = run(2, 2, finished=None)
    summary = summarise(facts, read_log(save(tmp_path, facts, lines)))
    assert (summary.state, summary.done) == ("open", 3)
    assert (summary.tokens, summary.seconds) == (3500, 5.0)
    assert summary.tokens_per_second == 700.0
    # 700 tokens/s x 6e8 / (1e12 x 2 processes) = 0.21, and two thirds of it by B.
    assert dict(summary.utilisation) == pytest.approx({"A": 0.21, "B": 0.14})
    first, second = summary.epochs
    # (4 x 100 + 1 x 300) / 400 = 1.75: per supervised token, not per step (2.5).
    assert (first.loss, first.steps, first.tokens, first.seconds) == (1.75, 2, 3000, 4.0)
    assert (second.loss, second.steps, second.planned, second.export) == (2.0, 1, 2, None)
    # Fewer steps than stretches: one each.
    assert [(s.first, s.last, s.tokens_per_second) for s in summary.stretches] == [
        (1, 1, 1000.0), (2, 2, 2000 / 3), (3, 3, 500.0),
    ]  # fmt: skip
    assert summary.stretches[2].gradient_norm == 7.0
    assert summary.window == 2
    assert (summary.first_loss, summary.last_loss) == (1.75, (300 + 800) / 700)


def test_stretches_hold_every_step_once(tmp_path: Path) -> None:
    facts = run(103)
    lines = [step(n, loss=float(n), supervised_tokens=1) for n in range(1, 104)]
    summary = summarise(facts, read_log(save(tmp_path, facts, lines)))
    assert len(summary.stretches) == 20
    assert summary.stretches[0].first == 1
    assert summary.stretches[-1].last == 103
    for before, after in pairwise(summary.stretches):
        assert after.first == before.last + 1
    for each in summary.stretches:
        assert each.loss == pytest.approx((each.first + each.last) / 2)


def test_the_peak_decides_whether_there_is_a_utilisation() -> None:
    assert utilisation_factors(run(1)) == {"A": 6e8 / 2e12, "B": 4e8 / 2e12}
    unknown = run(1)
    unknown["hardware"]["peak_flops"] = None
    assert utilisation_factors(unknown) == {}


def test_gaps_in_the_log_are_found(tmp_path: Path) -> None:
    facts = run(9)
    lines = [step(n) for n in (3, 4, 6, 9)]
    summary = summarise(facts, read_log(save(tmp_path, facts, lines)))
    assert summary.missing == ((1, 2), (5, 5), (7, 8))
    banner = spaced(page(tmp_path, facts, lines).all("p", "banner")[0])
    assert banner.startswith("The log lacks steps: 1 to 2, 5, 7 to 8.")


# --- Sentences ----------------------------------------------------------------------------------


def came(folder: Path, *lines: Record, **changed: Any) -> str:
    facts = run(2, 2, 2, **changed)
    summary = summarise(facts, read_log(save(folder, facts, list(lines))))
    return " ".join(words.what_came_of_it(summary)).replace("\xa0", " ")


def test_forgetting_is_said(tmp_path: Path) -> None:
    assert came(tmp_path, *usual()) == (
        "After epoch 3 the held-out loss fell on in_domain from 3.102 to 1.923, and rose on "
        "general from 2.010 to 2.404. The model is better on in_domain and worse on general than "
        "before training: a sign of forgetting."
    )


@pytest.mark.parametrize(
    ("first", "last", "said", "unsaid"),
    [
        ((3.0, 2.0), (2.0, 2.005), "no sign of forgetting", "a sign of overfitting"),
        ((3.0, 2.0), (2.0, 2.0101), "worse on general", "no sign of forgetting"),
        ((3.0, 2.0), (3.001, 2.009), "changed little", "forgetting"),
        ((3.0, 2.0), (3.5, 2.5), "it is better on no domain", "forgetting"),
        ((3.0, 2.0), (2.5, None), "is not a number on general", "forgetting"),
    ],
)
def test_verdicts_follow_the_losses(
    tmp_path: Path,
    first: tuple[float, float],
    last: tuple[float, float | None],
    said: str,
    unsaid: str,
) -> None:
    before = evaluation(0, 0, in_domain=first[0], general=first[1])
    after = evaluation(2, 1, in_domain=last[0], general=last[1])
    text = came(tmp_path, before, step(1), step(2), after)
    assert said in text
    assert unsaid not in text


def test_a_loss_that_rises_again_is_a_sign_of_overfitting(tmp_path: Path) -> None:
    lines = [evaluation(0, 0, a=3.0), step(1), evaluation(1, 1, a=1.9), step(2)]
    text = came(tmp_path, *lines, evaluation(2, 2, a=2.2))
    assert "On a it was lowest after epoch 1 (1.900) and has risen since" in text
    assert "overfitting" not in came(tmp_path, *lines, evaluation(2, 2, a=1.9))


def test_without_held_out_losses_nothing_is_claimed_about_forgetting(tmp_path: Path) -> None:
    assert came(tmp_path) == "No step has been made yet."
    assert came(tmp_path, step(1, loss=2.5)) == (
        "The training loss is 2.500. No held-out losses were taken, so that the report cannot say "
        "what it forgot."
    )
    lines = [step(n, loss=5.0 - n) for n in range(1, 5)]  # windows of 2
    text = came(tmp_path, *lines)
    assert text.startswith(
        "The mean training loss is 3.500 in the first 2 steps and 1.500 in the last 2."
    )
    text = came(tmp_path, evaluation(0, 0, a=3.25), step(1, loss=2.5))
    assert text.endswith("Before training the held-out loss is 3.250 on a; none was taken since.")
    text = came(tmp_path, step(1), step(2), evaluation(2, 1, a=2.0))
    assert "is 2.000 on a, without one from before training" in text
    assert "forgetting" not in text
    assert "The training loss is not a number" in came(tmp_path, step(1, loss=None))


def test_a_domain_knows_what_became_of_it() -> None:
    def domain(**losses: float) -> HeldOut:
        numbered = {int(name[1:]): loss for name, loss in losses.items()}
        return HeldOut(domain="a", tokens=1, losses=numbered)

    assert domain(e0=2.0).moved == "first"
    assert domain(e0=2.0, e1=2.01 - 1e-9).moved == "stayed"
    assert domain(e0=2.0, e1=2.02).moved == "rose"
    assert domain(e0=2.0, e1=1.5, e2=math.nan).moved == "broken"
    assert domain(e1=1.5).moved == domain(e0=math.nan, e1=1.5).moved == "alone"
    assert domain(e0=1.0, e1=1.5, e2=1.4).best == 2
    assert domain(e0=1.0).best is None


@pytest.mark.parametrize(
    ("written", "text"),
    [
        (words.loss(1.92349), "1.923"), (words.loss(math.nan), "not a number"),
        (words.loss(123456.0), "1.23e+05"), (words.change(-1.2), "−1.200"),
        (words.change(0.39), "+0.390"), (words.change(-0.0001), "0.000"),
        (words.change(None), "–"), (words.rate(3e-5), "3e-5"), (words.rate(0.0), "0"),
        (words.flop(8.1e9), "8.1 GFLOP"), (words.flop(12.0), "12 FLOP"),
        (words.per_second(3.14159), "3.14 tokens/s"), (words.per_second(5708.4), "5,708 tokens/s"),
    ],
)  # fmt: skip
def test_numbers_are_written_for_people(written: str, text: str) -> None:
    assert written.replace("\xa0", " ") == text


# --- The page -----------------------------------------------------------------------------------


def test_the_page_shows_epochs_with_differences_and_the_lowest(tmp_path: Path) -> None:
    (tmp_path / "epoch-3").mkdir()
    root = page(tmp_path, run(2, 2, 2), usual())
    rows = cells(root, "Epochs")
    assert rows[1] == ["Before training", "3.102", "2.010", *"–––––"]
    # Steps 5 and 6: losses 1.5 and 1.0.
    assert rows[4] == [
        "3", "1.923 −1.179", "2.404 +0.394", "1.250", "2", "2,000", "4 s", "epoch-3",
    ]  # fmt: skip
    assert rows[2][-1] == "epoch-1 deleted since"
    table = root.id("held-out").all("table")[0]
    assert [b.text() for b in table.all("b")] == ["2.100", "1.923"]  # of general, after epoch 1


def test_the_curve_of_a_domain_passes_through_its_losses(tmp_path: Path) -> None:
    facts = run(2, 2, 2)
    log = read_log(save(tmp_path, facts, usual()))
    chart = plots(facts, log, summarise(facts, log)).held_out
    assert chart is not None
    # From 1.923 to 3.102 in 340 pixels with margins of 28; 7 % of the width left at both ends.
    height = 28 + 284 * (3.102 - 2.5) / (3.102 - 1.923)
    points = re.findall(r"[ML]([\d.]+) ([\d.]+)", chart.paths[0][1])
    assert [float(x) for x, _ in points] == pytest.approx([70, 356.7, 643.3, 930], abs=0.06)
    assert WIDTH == 1000
    assert float(points[1][1]) == pytest.approx(height, abs=0.06)
    assert [dot.x for dot in chart.dots[:4]] == ["7%", "35.67%", "64.33%", "93%"]
    # The higher of two has its value above, the lower one below.
    before, last = chart.dots[0], chart.dots[3]
    assert (before.label, before.label_y < before.y) == ("3.102", True)
    assert (last.label, last.label_y > last.y) == ("1.923", True)
    assert chart.horizontals[0][0] == 28.0
    assert "in_domain: 3.102 before training, 2.500 after epoch 1" in chart.words


def test_an_unfinished_run_leaves_room_for_what_is_to_come(tmp_path: Path) -> None:
    facts = run(2, 2, 2, finished=None)
    root = page(tmp_path, facts, usual()[:4])
    (banner,) = root.all("p", "banner")
    assert "after step 2 of 6, before the run was done" in spaced(banner)
    labels = [spaced(t) for t in root.id("held-out").all("text")]
    assert [label for label in labels if label in ("before", "1", "2", "3")] == [
        "before", "1", "2", "3",
    ]  # fmt: skip
    log = read_log(tmp_path)
    loss = plots(facts, log, summarise(facts, log)).loss
    assert loss is not None
    assert [tick.label for tick in loss.ticks][-1] == "6"
    assert loss.paths[0][1].split("L")[1].split()[0] == "333.3"  # step 2 of 6
    assert [mark[0] for mark in loss.verticals] == ["33.33%", "66.67%"]


def test_a_bad_end_stands_at_the_top_in_its_own_words(tmp_path: Path) -> None:
    ended = "Step 7: the loss is not a number.\nLower the rate."
    facts = run(2, 2, 2, finished=None, ended=ended, synthetic=True)
    root = page(tmp_path, facts, [*usual(), step(7, loss=math.nan)])
    synthetic, alert = [n for n in root.walk() if n.attributes.get("class") == "banner"]
    assert "synthetic data" in spaced(synthetic)
    assert spaced(alert).startswith("The run ended after step 7 of 6, before it was done.")
    assert alert.all("p", "ended")[0].text() == ended
    assert "It is not a number at step 7." in spaced(root.id("loss"))
    assert "is finished" not in spaced(root)
    # What came of it is still said.
    assert "a sign of forgetting" in spaced(root.all("p", "lead")[0])


def test_a_finished_run_of_real_data_has_no_banner(tmp_path: Path) -> None:
    root = page(tmp_path, run(2, 2, 2), usual())
    assert not [n for n in root.walk() if n.attributes.get("class") == "banner"]
    assert "21 November 2026, 11:10 UTC" in spaced(root.id("set-up"))


def test_set_up_settings_and_checks_are_all_there(tmp_path: Path) -> None:
    checks = [
        {"check": "samples apart", "difference": 1.25e-7, "bound": 1e-4},
        {"check": "resumed alike", "difference": 0.5, "bound": 1e-4},
        {"check": "broken", "difference": None, "bound": 1e-4},
    ]
    starts = [{"at": f"2026-11-21T1{n}:00:00Z", "from_step": 2 * n} for n in range(3)]
    note = {"kind": "note", "step": 4, "text": "went on with 2 processes after 4"}
    root = page(tmp_path, run(2, 2, 2, checks=checks, starts=starts), [*usual(), note])
    assert cells(root, "Checks")[1:] == [
        ["samples apart", "1.25e-7", "0.0001", "yes"],
        ["resumed alike", "0.5", "0.0001", "no"],
        ["broken", "–", "0.0001", "no"],
    ]
    (alert,) = root.all("div", "banner")
    assert [spaced(item) for item in alert.all("li")] == [
        "resumed alike: difference 0.5, bound 0.0001",
        "broken: difference –, bound 0.0001",
    ]
    assert cells(root, "Starts")[2] == ["2", "21 November 2026, 11:00 UTC", "2"]
    restarts = [n for n in root.id("loss").walk() if n.attributes.get("class") == "restart"]
    assert [n.attributes["x1"] for n in restarts] == ["33.33%", "66.67%"]
    assert "went on with 2 processes after 4" in spaced(root.id("set-up"))
    settings = spaced(root.id("settings"))
    for part in ("learning_rate3e-5", "betas0.9, 0.95", "held_out.in_domainb.jsonl", "preset–"):
        assert part in settings
    assert "b1946ac92492d234" in spaced(root.id("data"))
    assert "torch 2.13.0" in spaced(root.id("set-up"))
    assert "600 MFLOP per token (A: attention over the whole pack)" in spaced(root.id("set-up"))


@pytest.mark.parametrize("known", [True, False])
def test_utilisation_is_shown_by_both_formulas_where_the_peak_is_known(
    tmp_path: Path, known: bool
) -> None:
    facts = run(2, 2, 2)
    facts["hardware"]["peak_flops"] = 1e12 if known else None
    text = spaced(page(tmp_path, facts, usual()))
    # 500 tokens/s x 6e8 / 2e12 = 15 %; by B 10 %.
    assert ("MFU 15.0 % (A), 10.0 % (B)" in text) is known
    assert ("Model FLOPs utilisation" in text) is known


def odd_runs() -> dict[str, tuple[Record, list[Record], str]]:
    cpu = run(2, 2, 2)
    cpu["hardware"] |= {"device": "cpu", "processes": 1, "peak_flops": None}
    lora = run(2, 2, 2)
    lora["model"] |= {"lora": {"rank": 8, "alpha": 16.0}, "trainable": 1000}
    nothing = step(1, loss=None, learning_rate=None, gradient_norm=None, losses={}, seconds=0.0,
                   memory_bytes=None)  # fmt: skip
    many = [evaluation(0, 0, **{f"d{n}": 2.0 + n for n in range(9)})]
    many += [step(n, losses={f"s{k}": 2.0 for k in range(7)}) for n in range(1, 41)]
    many += [evaluation(40, 1, **{f"d{n}": 2.5 + n for n in range(9)}), end(40, 1)]
    return {
        "usual": (run(2, 2, 2), usual(), ""),
        "no steps": (run(3, finished=None), [], ""),
        "only an evaluation": (run(3, finished=None), [evaluation(0, 0, a=2.0)], ""),
        "one step": (run(1), [step(1)], ""),
        "one step, all unknown": (run(1), [nothing], ""),
        "cut off": (run(2, 2, 2, finished=None), usual()[:6], '{"kind": "st'),
        "no gradient norm": (run(3), [step(n, gradient_norm=None) for n in (1, 2, 3)], ""),
        "last loss no number": (run(3), [step(1), step(2), step(3, loss=math.nan)], ""),
        "held-out losses no number": (run(1), [evaluation(0, 0, a=None), step(1)], ""),
        "on a processor": (cpu, usual(), ""),
        "adapters": (lora, usual(), ""),
        "no sources": (run(2), [step(1, losses={}), step(2, losses={})], ""),
        "many domains and sources": (run(40), many, ""),
        "nothing planned": (run(), [], ""),
        "more steps than planned": (run(1), usual(), ""),
        "spikes": (run(50), [step(n, gradient_norm=10.0 ** (n % 9)) for n in range(1, 51)], ""),
    }


@pytest.mark.parametrize("name", odd_runs())
def test_odd_runs_have_pages_that_can_be_read_aloud(tmp_path: Path, name: str) -> None:
    root = page(tmp_path, *odd_runs()[name])
    ids = [node.attributes["id"] for node in root.walk() if "id" in node.attributes]
    assert len(ids) == len(set(ids))
    for node in root.walk():
        wanted = (node.attributes.get("aria-labelledby") or "").split()
        wanted += [(node.attributes.get("href") or "").removeprefix("#")]
        assert all(not one or one in ids for one in wanted)
    for table in root.all("table"):
        assert table.all("caption")[0].squeezed()
        assert all(head.attributes["scope"] in ("col", "row") for head in table.all("th"))
        assert len({len([c for c in row.children if isinstance(c, Node)])
                    for row in table.all("tr")}) == 1  # fmt: skip
    for svg in root.all("svg"):
        if svg.attributes.get("role") == "img":
            assert svg.all("title")[0].squeezed()
            assert any(c.isdigit() for c in svg.all("desc")[0].text())
        assert "nan" not in " ".join(str(v) for n in svg.walk() for v in n.attributes.values())
    assert " nan" not in spaced(root)
    assert root.all("p", "lead")[0].squeezed()
    content = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert content["done"] == len(read_log(tmp_path).steps)


def test_the_whole_report_stands_in_json_beside_the_page(tmp_path: Path) -> None:
    written = write_run_report(save(tmp_path, run(2, 2, 2), usual()))
    assert written == tmp_path / "report.html"
    content = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert content["held_out"][1]["losses"] == {"0": 2.01, "1": 2.1, "2": 2.25, "3": 2.404}
    assert content["utilisation"]["A"] == pytest.approx(0.15)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "log.jsonl", "report.html", "report.json", "run.json",
    ]  # fmt: skip
    # Written anew after every epoch.
    save(tmp_path, run(2, 2, 2), usual()[:5])
    write_run_report(tmp_path)
    assert json.loads((tmp_path / "report.json").read_text("utf-8"))["epochs_done"] == 1


def with_texts(value: Any, text: str, field: str = "") -> Any:
    """The value with ``text`` before every text and every name of a domain or source in it."""
    if isinstance(value, str) and field not in ("kind", "at", "finished"):
        return text + value
    if isinstance(value, dict):
        named = field in ("losses", "tokens", "versions", "optimizer")
        return {
            (text if named else "") + name: with_texts(inner, text, name)
            for name, inner in value.items()
        }
    if isinstance(value, list):
        return [with_texts(inner, text, field) for inner in value]
    return value


def test_hostile_texts_change_nothing_but_texts(tmp_path: Path) -> None:
    note = {"kind": "note", "step": 6, "text": "note"}
    ended = run(2, 2, 2, ended="killed")
    hostile, benign = (
        page(tmp_path, with_texts(ended, text), with_texts([*usual(), note], text))
        for text in (HOSTILE, "benign ")
    )
    assert [n.tag for n in hostile.walk()] == [n.tag for n in benign.walk()]
    assert not hostile.all("script")
    assert not hostile.all("img")
    assert "\u202e" not in hostile.text()
    assert "override ⟦U+202E⟧gnp.exe" in hostile.id("held-out").text()


def test_nothing_is_fetched_and_no_script_runs(tmp_path: Path) -> None:
    log = read_log(save(tmp_path, run(2, 2, 2), usual()))
    html = render_run_report(run(2, 2, 2), log)
    assert html == render_run_report(run(2, 2, 2), log)
    root = parse(html)
    assert "default-src 'none'" in unescape(html)
    assert "script-src" not in html
    for node in root.walk():
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert (node.attributes.get(name) or "#").startswith("#"), node.attributes
    style = root.all("style")[0].text()
    assert "@import" not in style
    assert set(re.findall(r"url\(([^)]*)\)", style)) <= {"#hatch"}


def test_a_hundred_thousand_steps_stay_a_page_below_a_megabyte(tmp_path: Path) -> None:
    noise = np.random.default_rng(7).normal(0, 0.1, (100_001, 2)).tolist()
    lines = [
        step(n, loss=2 + noise[n][0], gradient_norm=1 + noise[n][1],
             losses={f"source-{k}": 2 + noise[n][k % 2] for k in range(6)})
        for n in range(1, 100_001)
    ]  # fmt: skip
    lines[70_000]["loss"] = 9.0  # one spike, which must be seen
    facts = run(50_000, 50_000)
    html = write_run_report(save(tmp_path, facts, lines)).read_text("utf-8")
    assert len(html.encode()) < 1_000_000
    paths = [n.attributes["d"] or "" for n in parse(html).id("loss").all("path")]
    raw = [(float(x), float(y)) for x, y in re.findall(r"[ML]([\d.]+) ([\d.]+)", paths[0])]
    assert 500 < len(raw) <= 1000
    x, y = min(raw, key=lambda point: point[1])
    assert (x, y) == (700.0, 6.0)  # step 70,001 of 100,000, at the top


# --- Browser ------------------------------------------------------------------------------------

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")

PROBE = """<script>addEventListener("load", () => {
  const wide = document.documentElement.clientWidth;
  const out = [...document.body.querySelectorAll("*")].filter((e) => !e.closest(".scroll > *")
    && e.getBoundingClientRect().right > wide + 1);
  const touching = [...document.querySelectorAll(".field")].flatMap((svg) => {
    const boxes = [...svg.querySelectorAll(":scope > text")].map((t) => t.getBBox());
    return boxes.slice(1).filter((box, at) => box.x < boxes[at].x + boxes[at].width + 2);
  });
  const cut = [...document.querySelectorAll(".levels text")].filter((t) => t.getBBox().x < -1);
  parent.document.title = JSON.stringify({wide, scroll: document.documentElement.scrollWidth,
    out: out.map((e) => e.outerHTML.slice(0, 120)), touching: touching.length, cut: cut.length});
});</script>"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", ["usual", "many domains and sources", "one step", "long names"])
def test_nothing_sticks_out_of_the_page(tmp_path: Path, name: str, width: int) -> None:
    if BROWSER is None:
        pytest.skip("chromium is not installed")
    long = "a-very-long-name-without-a-place-to-break_" * 3
    facts, lines, _ = odd_runs()["usual" if name == "long names" else name]
    if name == "long names":
        facts, lines = with_texts(facts, long), with_texts(lines, long)
    html = write_run_report(save(tmp_path, facts, lines)).read_text("utf-8")
    html = html.replace("<details", "<details open")
    # To look inside takes a script, which the page's own policy would stop.
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    inner = escape(html.replace("</body>", PROBE + "</body>"))
    # A frame may be narrower than the narrowest window.
    style = f"border: 0; width: {width}px"
    file = tmp_path / "frame.html"
    file.write_text(
        f'<!DOCTYPE html><title>-</title><iframe style="{style}" srcdoc="{inner}"></iframe>',
        "utf-8",
    )
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
            *("--disable-background-networking", "--disable-sync", "--disable-component-update"),
            "--host-resolver-rules=MAP * ~NOTFOUND",
            *("--hide-scrollbars", "--window-size=1700,1200"),
            f"--user-data-dir={tmp_path / 'profile'}",
            "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    seen = json.loads(unescape(re.findall("<title>(.*?)</title>", done.stdout, re.DOTALL)[0]))
    assert seen["wide"] == width
    assert seen["out"] == []
    assert seen["scroll"] <= width
    assert (seen["touching"], seen["cut"]) == (0, 0)
