"""What happened in a series, as events of the ledger: append-only, each noted once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from judge.anchors import ANCHORS
from judge.canonical import canonical
from judge.drift import Baseline, Bridge, DriftSettings, Equating, Night
from judge.ledger import Ledger, SeriesEvent

NIGHT, BASELINE, BRIDGE, CANARIES, MESSAGE, SETTINGS = (
    "night", "baseline", "bridge", "canaries", "message", "settings",
)  # fmt: skip

_ARRAYS = ("candidate", "again", "anchors", "slice_before", "slice_now")
_TUPLES = ("metrics", "question_ids", "anchor_ids", "slice_ids")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredNight:
    """A night with where its numbers come from.

    ``run`` is the scoring run, ``candidate`` the name of its answers. ``made_by`` is all that gave
    the scores; the night's epoch is its hash. ``answers`` has the scores of each of the candidate's
    answers (`answer_key`), in the order of the metrics, NaN where one is missing. ``spent`` are
    tokens and cost (USD, None where unknown). ``synthetic``: the candidate's answers say themselves
    that they were made up. ``notes`` are remarks on how the night was measured.
    """

    night: Night
    run: str
    made_by: Mapping[str, Any]
    answers: Mapping[str, Sequence[float]]
    spent: Mapping[str, float | None]
    candidate: str = ""
    synthetic: bool = False
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All that happened in a series. ``nights`` has one entry per date, the last one noted.

    ``settings`` are how alarms were raised, by the date from which on, in the order of dates.
    """

    name: str
    nights: tuple[StoredNight, ...]
    baselines: tuple[Baseline, ...]
    bridges: tuple[Bridge, ...]
    anchors: Mapping[str, Any] | None
    canaries: Mapping[str, Any] | None
    messages: frozenset[str]
    settings: tuple[tuple[str, DriftSettings], ...] = ()

    @property
    def measured(self) -> list[Night]:
        """The nights as the statistics use them, by date."""
        return [one.night for one in self.nights]

    def night(self, date: str) -> StoredNight | None:
        """The night of a date."""
        return next((one for one in self.nights if one.night.date == date), None)


def read_series(ledger: Ledger, name: str) -> Series:
    """All events of a series, in the order in which they happened."""
    nights: dict[str, StoredNight] = {}
    baselines, bridges, messages = [], [], set()
    single: dict[str, Mapping[str, Any]] = {}
    settings: dict[str, DriftSettings] = {}
    for event in ledger.series_events(name):
        if event.kind == NIGHT:
            stored = _night_from(event.body)
            nights[stored.night.date] = stored
        elif event.kind == BASELINE:
            baselines.append(Baseline(**{**event.body, "nights": tuple(event.body["nights"])}))
        elif event.kind == BRIDGE:
            bridges.append(_bridge_from(event.body))
        elif event.kind == MESSAGE:
            messages.add(event.name)
        elif event.kind == SETTINGS:
            settings[event.body["since"]] = DriftSettings(**event.body["settings"])
        else:
            single[event.kind] = event.body
    return Series(
        name=name,
        nights=tuple(nights[date] for date in sorted(nights)),
        baselines=tuple(baselines),
        bridges=tuple(bridges),
        anchors=single.get(ANCHORS),
        canaries=single.get(CANARIES),
        messages=frozenset(messages),
        settings=tuple(sorted(settings.items(), key=lambda one: one[0])),
    )


def add_night(ledger: Ledger, series: str, stored: StoredNight) -> None:
    """Note a night. That of a date which was cut short is followed by its continuation.

    One that says nothing new is not noted again.
    """
    date = stored.night.date
    before = [event for event in ledger.series_events(series, NIGHT) if event.body["date"] == date]
    body = {
        "run": stored.run,
        "made_by": dict(stored.made_by),
        "answers": {key: list(map(_number, row)) for key, row in stored.answers.items()},
        "spent": dict(stored.spent),
        "model": stored.candidate,
        "synthetic": stored.synthetic,
        "notes": list(stored.notes),
        **asdict(stored.night),
        **{key: _numbers(getattr(stored.night, key)) for key in _ARRAYS},
        "canaries": {key: _number(value) for key, value in stored.night.canaries.items()},
    }
    if before and _content(before[-1].body) == _content(body):
        return
    name = date if not before else f"{date}#{len(before) + 1}"
    ledger.add_series_event(SeriesEvent(series=series, kind=NIGHT, name=name, body=body))


def _content(body: Mapping[str, Any]) -> bytes:
    """What a night says, without which run said it and what that took."""
    return canonical({key: body[key] for key in body if key not in ("run", "spent")})


def add_baseline(ledger: Ledger, series: str, baseline: Baseline) -> None:
    """Note that somebody accepted a baseline; of several for one date the last one counts."""
    name = f"{baseline.since} {len(ledger.series_events(series, BASELINE)) + 1}"
    ledger.add_series_event(
        SeriesEvent(series=series, kind=BASELINE, name=name, body=asdict(baseline))
    )


def add_bridge(ledger: Ledger, series: str, bridge: Bridge) -> None:
    """Note a bridge between two rulers, or across a judge that moved; the last one counts."""
    held = ledger.series_events(series, BRIDGE)
    if held and canonical(held[-1].body) == canonical(asdict(bridge)):
        return
    name = f"{bridge.since} {len(held) + 1}"
    ledger.add_series_event(SeriesEvent(series=series, kind=BRIDGE, name=name, body=asdict(bridge)))


def add_once(ledger: Ledger, series: str, kind: str, name: str, body: Mapping[str, Any]) -> None:
    """Note something else: the anchors, the canaries, a message that was sent."""
    ledger.add_series_event(SeriesEvent(series=series, kind=kind, name=name, body=body))


def _night_from(body: Mapping[str, Any]) -> StoredNight:
    facts = ("run", "made_by", "answers", "spent", "model", "synthetic", "notes")
    fields = {key: value for key, value in body.items() if key not in facts}
    columns = len(fields["metrics"])
    for key in _ARRAYS:
        fields[key] = _array(fields[key], columns)
    for key in _TUPLES:
        fields[key] = tuple(fields[key])
    fields["canaries"] = {
        key: float("nan") if value is None else value for key, value in fields["canaries"].items()
    }
    answers = {
        key: [float("nan") if value is None else value for value in row]
        for key, row in body["answers"].items()
    }
    return StoredNight(
        night=Night(**fields), run=body["run"], made_by=body["made_by"], answers=answers,
        spent=body["spent"], candidate=body["model"], synthetic=body["synthetic"],
        notes=tuple(body["notes"]),
    )  # fmt: skip


def _bridge_from(body: Mapping[str, Any]) -> Bridge:
    metrics = {name: Equating(**one) for name, one in body["metrics"].items()}
    return replace(Bridge(**{**body, "metrics": {}}), metrics=metrics)


def _numbers(array: Any) -> Any:
    """An array as lists, with None for what is missing: JSON has no NaN."""
    if array is None:
        return None
    return [[_number(value) for value in row] for row in np.asarray(array).tolist()]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _array(rows: Any, columns: int) -> Any:
    if rows is None:
        return None
    values = [[np.nan if value is None else value for value in row] for row in rows]
    return np.array(values, np.float64).reshape(len(values), columns)
