"""Synthetic nights for the site: records made by hand, not by the detectors.

Ten nights are collected, the judge shifts on the 12th (alarm, frozen) and is bridged on the 14th,
the model drops on the 20th (alarm on the 22nd, published on the 23rd).
"""

from __future__ import annotations

import math
from datetime import date, timedelta

import numpy as np

from judge.drift import (
    AgainSummary,
    Alarm,
    Baseline,
    Bridge,
    CanaryLine,
    Cause,
    Effect,
    Equating,
    MetricNight,
    Night,
    State,
    Watch,
)
from judge.gate import Decision
from judge.nightly._site_data import SiteFacts

METRICS = (
    "clarity", "accuracy", "completeness", "conciseness", "safety", "concreteness",
    "consideration", "courtesy", "overall",
)  # fmt: skip
LEVELS = np.array([0.82, 0.71, 0.66, 0.78, 0.97, 0.62, 0.88, 0.95, 0.79])
QUESTIONS = tuple(f"q{at:02d}" for at in range(1, 21))
ANCHORS = tuple(f"a{at}" for at in range(12))
FELL = {"accuracy": -0.06, "completeness": -0.03, "overall": -0.02}
EPOCH = "0f3ad2"


def day(number: int) -> str:
    """The date of a night; the first is 1."""
    return (date(2026, 3, 1) + timedelta(number - 1)).isoformat()


def shifts(number: int) -> tuple[np.ndarray, np.ndarray]:
    """What the model and the judge add on a night, per metric."""
    judge = np.full(len(METRICS), -0.03 if number >= 12 else 0.0)
    model = np.array([FELL.get(one, 0.0) if number >= 20 else 0.0 for one in METRICS])
    return model, judge


def make_night(number: int, rng: np.random.Generator) -> Night:
    """What a night measured."""
    model, judge = shifts(number)

    def draw(rows: int, level: np.ndarray) -> np.ndarray:
        return np.clip(level + rng.normal(0, 0.05, (rows, len(METRICS))), 0, 1)

    return Night(
        date=day(number),
        epoch=EPOCH,
        metrics=METRICS,
        question_ids=QUESTIONS,
        candidate=draw(len(QUESTIONS), LEVELS + model + judge),
        again=draw(len(QUESTIONS), LEVELS + model + judge),
        anchor_ids=ANCHORS,
        anchors=draw(len(ANCHORS), LEVELS - 0.1 + judge),
        slice_ids=tuple(f"s{at}" for at in range(10)),
        slice_before=draw(10, LEVELS),
        slice_now=draw(10, LEVELS + judge),
        canaries={"praise": 0.8, "blank": 0.02},
        missing=dict.fromkeys(METRICS, 0.0),
    )


def _metric(number: int, at: int, value: float, mean: float) -> MetricNight:
    compared = number > 10
    bridged = number >= 14
    model, judge = shifts(number)
    base = LEVELS[at] - (0.03 if bridged else 0.0)
    gap = value - base
    half = 0.55 / math.sqrt(max(number - 10, 1)) * 0.12
    ruled = float(judge[at]) + (0.03 if bridged else 0.0)
    lasting = max(number - 19, 0) if model[at] <= -0.05 else 0
    return MetricNight(
        metric=METRICS[at],
        value=value,
        baseline=float(base) if compared else None,
        difference=gap if compared else None,
        low=gap - 0.03 if compared else None,
        high=gap + 0.03 if compared else None,
        se=0.015 if compared else None,
        margin=0.011 if compared else None,
        p=float(10.0 ** (-1 - 1.2 * lasting)) if compared else None,
        level=3.0e-6 if compared else None,
        can_fire=METRICS[at] != "safety",
        log_detector=-0.5 + 2.6 * lasting + 0.3 * math.sin(number + at) if compared else -math.inf,
        trend=Effect(value=mean, low=mean - half, high=mean + half) if compared else None,
        model=Effect(value=gap - ruled, low=gap - ruled - 0.034, high=gap - ruled + 0.034)
        if compared
        else None,
        judge=Effect(value=ruled, low=ruled - 0.011, high=ruled + 0.011) if compared else None,
        noise=0.032 if compared else None,
        missing=0.0,
    )


def _alarms(number: int) -> tuple[Alarm, ...]:
    if number in (12, 13):
        return (
            Alarm(
                kind="judge", since=day(12), onset=day(12), metrics=("overall", "clarity"),
                cause=Cause.JUDGE, effect=Effect(value=-0.031, low=-0.039, high=-0.023),
            ),
        )  # fmt: skip
    if number >= 22:
        return (
            Alarm(
                kind="detector", since=day(22), onset=day(20), metrics=("accuracy", "completeness"),
                cause=Cause.PENDING if number == 22 else Cause.MODEL,
                effect=Effect(value=-0.061, low=-0.074, high=-0.048),
            ),
        )  # fmt: skip
    return ()


def make_watch(number: int, values: np.ndarray, means: np.ndarray) -> Watch:
    """What follows from a night."""
    alarms = _alarms(number)
    frozen = number in (12, 13)
    if number <= 10:
        decision, reasons = None, (f"{number} of at least 10 nights for a baseline.",)
    elif frozen:
        decision = Decision.INCONCLUSIVE
        reasons = ("The judge moved; anchors and slice agree.", "Recalibrate, then bridge.")
    elif number == 22:
        decision = Decision.INCONCLUSIVE
        reasons = ("An alarm waits out the guard window of 3 nights.",)
    elif number > 22:
        decision, reasons = Decision.REGRESS, ("accuracy: worse than the margin of 0.011.",)
    else:
        decision, reasons = Decision.PASS, ()
    compared = number > 10
    praise = 0.8 - (0.2 if number in (12, 13) else 0.0) + 0.01 * math.sin(number)
    return Watch(
        date=day(number),
        epoch=EPOCH,
        state=State.COLLECTING
        if not compared
        else State.FROZEN
        if frozen
        else State.WATCHING,
        decision=decision,
        cause=alarms[0].cause if alarms else Cause.NONE,
        metrics=tuple(
            _metric(number, at, float(values[at]), float(means[at])) for at in range(len(METRICS))
        ),
        alarms=alarms,
        spent={"gate": 0.01 * number / 365, "detector": 0.04 * number / 365, "judge": 0.05 / 365},
        left={
            "gate": 0.01 * (1 - number / 365),
            "detector": 0.04 * (1 - number / 365),
            "judge": 0.05 - 0.05 / 365,
        },
        baseline=day(11) if compared else None,
        again=AgainSummary(
            nights=number, tests=9 * number, at_nominal=number // 3,
            rate=Effect(value=number // 3 / (9 * number), low=0.01, high=0.08), at_level=0,
        ),
        canaries=(
            CanaryLine(
                kind="praise", value=praise, centre=0.8 if compared else None,
                low=0.75 if compared else None, high=0.85 if compared else None, outside=frozen,
            ),
            CanaryLine(
                kind="blank", value=None if number == 15 else 0.02,
                centre=0.02 if compared else None, low=0.0 if compared else None,
                high=0.05 if compared else None, outside=False,
            ),
        ),
        reasons=reasons,
    )  # fmt: skip


def make_series(count: int = 30, seed: int = 1) -> tuple[list[Watch], list[Night]]:
    """The first nights of the series, with what follows from each."""
    rng = np.random.default_rng(seed)
    nights = [make_night(number, rng) for number in range(1, count + 1)]
    watches = []
    for number, night in enumerate(nights, 1):
        since = nights[10 if number < 14 else 13 : number]
        base = LEVELS - (0.03 if number >= 14 else 0.0)
        means = (
            np.mean([one.candidate.mean(axis=0) for one in since], axis=0) - base
            if since
            else np.zeros(len(METRICS))
        )
        watches.append(make_watch(number, night.candidate.mean(axis=0), means))
    return watches, nights


def facts() -> SiteFacts:
    """What goes with the series."""
    moved = Equating(
        intercept=-0.03, slope=1.0, se=0.004, shift=-0.03, low=-0.038, high=-0.022, n=120
    )
    return SiteFacts(
        baselines=(
            Baseline(
                since=day(11), nights=tuple(day(n) for n in range(1, 11)), epoch=EPOCH, by="Ada"
            ),
        ),
        bridges=(
            Bridge(
                since=day(14), old=EPOCH, new=EPOCH, by="Ada", note="the judge was updated",
                metrics=dict.fromkeys(METRICS, moved),
            ),
        ),
        names={one: one.capitalize() for one in METRICS},
        facts={"Judge": "scripted", "Questions": "20 made up", "Anchors": "12"},
        synthetic=True,
    )  # fmt: skip
