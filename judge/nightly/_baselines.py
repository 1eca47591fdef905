"""Which nights a series is compared with."""

from __future__ import annotations

import datetime

from judge.drift import Baseline, Night
from judge.errors import UsageError
from judge.nightly._config import NightlyConfig
from judge.nightly._events import Series
from judge.nightly._watching import watched

AUTOMATIC = "plumbline"
"""Who accepts the first baseline of a series, which replaces nothing."""


def first_baseline(series: Series, least: int) -> Baseline | None:
    """The first baseline, once there are enough complete nights of one epoch; else None."""
    if series.baselines or not series.nights:
        return None
    epoch = series.nights[-1].night.epoch
    nights = complete_nights(series, epoch)
    if len(nights) < least:
        return None
    chosen = nights[:least]
    return Baseline(
        since=next_day(chosen[-1]),
        nights=tuple(chosen),
        epoch=epoch,
        by=AUTOMATIC,
        note=f"The first {least} complete nights.",
    )


def accepted_baseline(
    series: Series, config: NightlyConfig, *, by: str, note: str, span: tuple[str, str] | None
) -> Baseline:
    """The baseline that somebody accepts: the newest nights, or those of a span of dates.

    It holds from the day after the newest night. Raises UsageError for too few complete nights of
    one epoch on one side of a shift of the judge.
    """
    least = config.baseline.nights
    if not series.nights:
        raise UsageError(f"The series {series.name} has no night yet: run judge nightly first.")
    newest = series.nights[-1].night
    first, last = span or (series.nights[0].night.date, newest.date)
    within = [one.night for one in series.nights if first <= one.night.date <= last]
    if not within:
        raise UsageError(
            f"The series {series.name} has no night from {first} to {last}; it has those from "
            f"{series.nights[0].night.date} to {newest.date}."
        )
    nights = [date for date in complete_nights(series, within[-1].epoch) if first <= date <= last]
    shift, fall = _moved(series, config, last)
    if span is not None and nights and nights[0] < shift <= nights[-1]:
        raise UsageError(
            f"The judge moved about {shift}: nights before and after that are not on one scale. "
            f"Name nights on one side of it (--nights {shift}..TO)."
        )
    if span is None:
        nights = [date for date in nights if date >= max(shift, fall)][-least:]
    if len(nights) < least:
        since = f" since {max(shift, fall)}, when something moved" if max(shift, fall) else ""
        raise UsageError(
            f"{len(nights)} complete nights of one epoch from {first} to {last}{since}; a baseline "
            f"needs {least} (baseline.nights). Wait for more, or name others with --nights "
            "FROM..TO."
        )
    return Baseline(
        since=next_day(newest.date), nights=tuple(nights), epoch=within[-1].epoch, by=by, note=note
    )


def _moved(series: Series, config: NightlyConfig, last: str) -> tuple[str, str]:
    """Up to a date, the onset of the newest alarm of the judge, and of those that are open; ""."""
    watches = [one for one in watched(series, config) if one.date <= last]
    judge = [a.onset for one in watches for a in one.alarms if a.kind == "judge"]
    open_now = [a.onset for one in watches[-1:] for a in one.alarms]
    return max(judge, default=""), max(open_now, default="")


def complete_nights(series: Series, epoch: str) -> list[str]:
    """The dates of the complete nights of an epoch."""
    return [
        one.night.date
        for one in series.nights
        if one.night.epoch == epoch and one.night.complete
    ]  # fmt: skip


def undisturbed(series: Series, config: NightlyConfig) -> list[Night]:
    """The complete nights of the newest epoch on which nothing had moved: the series' own noise.

    Nights from the onset of an alarm until it ended are left out.
    """
    if not series.nights:
        return []
    complete = set(complete_nights(series, series.nights[-1].night.epoch))
    spans = [(alarm.onset, one.date) for one in watched(series, config) for alarm in one.alarms]
    return [
        night
        for night in series.measured
        if night.date in complete
        and not any(first <= night.date <= last for first, last in spans)
    ]  # fmt: skip


def next_day(date: str) -> str:
    """The day after."""
    return (datetime.date.fromisoformat(date) + datetime.timedelta(days=1)).isoformat()
