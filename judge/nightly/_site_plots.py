"""What the site draws: trends, the detector's evidence, control charts, the strip of decisions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from judge.nightly import _site_words as words
from judge.nightly._plots import (
    Calendar,
    Event,
    Mark,
    Plot,
    Scale,
    Tick,
    area,
    dots,
    line,
    percent,
    score_ticks,
    step_of,
    ticks_of,
)
from judge.nightly._site_data import Fields

TALL, LOW = 230, 150
"""Heights of a plot in pixels: one that has the page's width, and one among others."""
_SPANS = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
_NOTHING: Fields = {"metric": "", "value": None, "baseline": None, "margin": None, "trend": None}


def events(body: Fields, nights: Sequence[Fields]) -> list[Event]:
    """What happened up to the last of these nights, in the order of dates.

    An alarm stands at the date on which it was raised, in the words of the last night that has it.
    """
    if not nights:
        return []
    alarms = {(one["kind"], one["since"]): one for night in nights for one in night["alarms"]}
    found = [
        Event(
            date=since,
            kind="judge" if kind == "judge" else "alarm",
            text=words.alarm_sentence(one, body["names"]),
            metrics=() if kind == "judge" else tuple(one["metrics"]),
        )
        for (kind, since), one in alarms.items()
    ]
    found += [
        Event(date=one["since"], kind="baseline", text=words.baseline_sentence(one))
        for one in body["baselines"]
    ]
    found += [
        Event(date=one["since"], kind="bridge", text=words.bridge_sentence(one))
        for one in body["bridges"]
    ]
    found += [
        Event(date=now["date"], kind="epoch", text="The rulers changed: a new epoch begins.")
        for before, now in pairwise(nights)
        if before["epoch"] != now["epoch"]
    ]
    return sorted(
        (one for one in found if one.date <= nights[-1]["date"]), key=lambda one: one.date
    )


def trends(
    nights: Sequence[Fields], metrics: Sequence[str], happened: Sequence[Event]
) -> dict[str, Plot]:
    """A plot per metric: values, baseline, margin, mean since the baseline with its sequence.

    All of them have the same scale, so that a fall looks alike everywhere; each shows its own cut
    of it. The first plot shows all events, the others leave out alarms that do not name their
    metric. A metric without any value has no plot.
    """
    rows = {metric: [_of(night, metric) for night in nights] for metric in metrics}
    ranges = {metric: found for metric in metrics if (found := _range(rows[metric])) is not None}
    if not ranges:
        return {}
    step, steps = step_of(ranges.values())
    calendar = Calendar.of([night["date"] for night in nights])
    return {
        metric: _trend(
            nights,
            rows[metric],
            calendar,
            ticks_of(*ranges[metric], step, steps),
            [
                one
                for one in happened
                if metric == metrics[0] or not one.metrics or metric in one.metrics
            ],
            TALL if metric == metrics[0] else LOW,
        )
        for metric in ranges
    }


def control_plot(
    nights: Sequence[Fields], kind: str, happened: Sequence[Event] = ()
) -> Plot | None:
    """The control chart of a canary over these nights; None without any value."""
    known = [
        (night, one)
        for night in nights
        for one in night["canaries"]
        if one["kind"] == kind and one["value"] is not None
    ]
    if not known:
        return None
    calendar = Calendar.of([night["date"] for night in nights])
    names = ("value", "low", "high", "centre")
    values = [one[name] for _, one in known for name in names if one[name] is not None]
    ticks = ticks_of(min(values), max(values), *step_of([(min(values), max(values))]))
    scale = Scale(ticks[0], ticks[-1], LOW)
    points = [(calendar.at(night["date"]), one) for night, one in known]
    inside = [pair for pair in points if pair[1]["low"] is not None and pair[1]["high"] is not None]
    centred = [pair for pair in points if pair[1]["centre"] is not None]
    return Plot(
        height=LOW,
        dots=dots((x, scale.at(one["value"])) for x, one in points),
        band=area(
            [(x, scale.at(one["high"])) for x, one in inside],
            [(x, scale.at(one["low"])) for x, one in inside],
            calendar.half,
        ),
        centre=line([(x, scale.at(one["centre"])) for x, one in centred], calendar.half),
        marks=tuple(
            Mark(
                x=percent(calendar.at(night["date"])),
                y=scale.at(one["value"]),
                text=f"{words.day(night['date'])}: {one['value']:.3f}, outside its limits",
            )
            for night, one in known
            if one["outside"]
        ),
        signs=calendar.signs(happened),
        up=score_ticks(ticks, scale),
        across=calendar.ticks(),
    )


def evidence_plot(
    nights: Sequence[Fields], threshold: float, happened: Sequence[Event]
) -> Plot | None:
    """The family's statistic over the nights on a logarithmic axis, with its threshold.

    A statistic below 1 says nothing against the series and is drawn at 1, one far beyond the
    threshold at the end of the axis. None where no night has both a baseline and a statistic.
    """
    known = [
        (night["date"], 0.0 if night["evidence"] == "nothing" else float(night["evidence"]))
        for night in nights
        if night["evidence"] is not None and night["baseline"] is not None
    ]
    if not known:
        return None
    ten = math.log(10)
    top = math.ceil(threshold / ten) + 2
    calendar = Calendar.of([night["date"] for night in nights])
    scale = Scale(0.0, top * ten, TALL)
    points = [(calendar.at(day), scale.at(log)) for day, log in known]
    powers = range(0, top + 1, max(1, math.ceil(top / 8)))
    return Plot(
        height=TALL,
        dots=dots(points),
        line=line(points, calendar.half),
        edge=line([(0.0, scale.at(threshold)), (1.0, scale.at(threshold))], 0.0),
        signs=calendar.signs(happened),
        shaded=_frozen(nights, calendar),
        up=tuple(Tick(at=scale.at(p * ten), text=words.ratio(p * ten)) for p in powers),
        across=calendar.ticks(),
    )


def cells(nights: Sequence[Fields]) -> list[tuple[float, float]]:
    """(start, width) of each night in the strip of decisions, in per cent."""
    calendar = Calendar.of([night["date"] for night in nights])
    width = min(round(84 / calendar.days, 4), 6.0)
    return [(round(100 * calendar.at(night["date"]) - width / 2, 4), width) for night in nights]


def date_ticks(nights: Sequence[Fields]) -> tuple[Tick, ...]:
    """The dates under the strip of decisions."""
    return Calendar.of([night["date"] for night in nights]).ticks()


def span_of(metrics: Sequence[Fields]) -> float:
    """The end of an axis around 0 that holds tonight's differences in all their parts."""
    ends = [one[name] for one in metrics for name in ("difference", "low", "high", "noise")]
    parts = [one[name] for one in metrics for name in ("model", "judge")]
    ends += [one[name] for one in parts if one is not None for name in ("value", "low", "high")]
    most = max((abs(end) for end in ends if end is not None), default=0.0)
    return next((span for span in _SPANS if most <= span), 1.0)


def around(value: float | None, span: float) -> str | None:
    """The place of a difference on an axis from -span to span, in per cent."""
    if value is None:
        return None
    return f"{50 + 50 * max(-1.0, min(1.0, value / span)):.2f}%"


def _of(night: Fields, metric: str) -> Fields:
    return next((one for one in night["metrics"] if one["metric"] == metric), _NOTHING)


def _range(rows: Sequence[Fields]) -> tuple[float, float] | None:
    """What an axis must hold: the values, and the baseline with its margin."""
    found = [one["value"] for one in rows] + [one["baseline"] for one in rows]
    found += [
        one["baseline"] - one["margin"]
        for one in rows
        if one["baseline"] is not None and one["margin"] is not None
    ]
    known = [value for value in found if value is not None]
    return (min(known), max(known)) if known else None


def _trend(
    nights: Sequence[Fields],
    rows: Sequence[Fields],
    calendar: Calendar,
    ticks: Sequence[float],
    happened: Sequence[Event],
    height: int,
) -> Plot:
    scale = Scale(ticks[0], ticks[-1], height)
    places = [calendar.at(night["date"]) for night in nights]
    half = calendar.half

    def along(run: Sequence[int], name: str) -> list[tuple[float, float]]:
        """The baseline, or the baseline and a part of the mean difference since."""
        return [
            (places[at], scale.at(rows[at]["baseline"] + (rows[at]["trend"][name] if name else 0)))
            for at in run
        ]

    runs = list(_runs(nights, rows))
    means = [[at for at in run if _known(rows[at]["trend"])] for run in runs]
    margins = [
        [
            (places[at], scale.at(rows[at]["baseline"] - rows[at]["margin"]))
            for at in run
            if rows[at]["margin"] is not None
        ]
        for run in runs
    ]
    scored = [
        (night, row, place)
        for night, row, place in zip(nights, rows, places, strict=True)
        if row["value"] is not None
    ]
    return Plot(
        height=height,
        dots=dots((place, scale.at(row["value"])) for _, row, place in scored),
        band="".join(area(along(run, "high"), along(run, "low"), half) for run in means),
        centre="".join(line(along(run, ""), half) for run in runs),
        edge="".join(line(margin, half) for margin in margins),
        line="".join(line(along(run, "value"), half) for run in means),
        marks=tuple(
            Mark(
                x=percent(place),
                y=scale.at(row["value"]),
                text=f"{words.day(night['date'])}: {row['value']:.3f}, alarm open",
            )
            for night, row, place in scored
            if alarmed(night, row["metric"])
        ),
        hot=dots(
            (place, scale.at(row["value"]))
            for night, row, place in scored
            if alarmed(night, row["metric"])
        ),
        signs=calendar.signs(happened),
        shaded=_frozen(nights, calendar),
        up=score_ticks(ticks, scale),
        across=calendar.ticks(),
    )


def alarmed(night: Fields, metric: str) -> bool:
    """Whether an alarm of the candidate that is open on this night names the metric."""
    return any(metric in one["metrics"] for one in night["alarms"] if one["kind"] != "judge")


def _known(trend: Fields | None) -> bool:
    return trend is not None and all(trend[name] is not None for name in ("value", "low", "high"))


def _runs(nights: Sequence[Fields], rows: Sequence[Fields]) -> Iterator[list[int]]:
    """Neighbouring nights that are compared with the same baseline at the same value."""
    run: list[int] = []
    before: tuple[Any, ...] | None = None
    for at, (night, row) in enumerate(zip(nights, rows, strict=True)):
        key = None if row["baseline"] is None else (night["baseline"], row["baseline"])
        if run and key != before:
            yield run
            run = []
        if key is not None:
            run.append(at)
        before = key
    if run:
        yield run


def _frozen(nights: Sequence[Fields], calendar: Calendar) -> tuple[tuple[float, float], ...]:
    """(start, width) of the stretches of nights on which the series was frozen, in per cent."""
    found: list[tuple[float, float]] = []
    before = False
    for night in nights:
        start = calendar.at(night["date"]) - calendar.half
        if frozen := night["state"] == "frozen":
            end = start + 2 * calendar.half
            if before:
                start = found.pop()[0]
            found.append((start, end))
        before = frozen
    return tuple((percent(start), percent(end - start)) for start, end in found)
