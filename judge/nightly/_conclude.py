"""What follows a measured night: the baseline, the verdict, the site and who is told."""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from judge.drift import State, Watch
from judge.errors import PlumblineError, UsageError
from judge.gate import Decision
from judge.nightly._baselines import first_baseline
from judge.nightly._config import NightlyConfig
from judge.nightly._events import (
    MESSAGE,
    Series,
    StoredNight,
    add_baseline,
    add_once,
    read_series,
)
from judge.nightly._notify import Message, Sent, send
from judge.nightly._plan import Plan
from judge.nightly._retention import prune
from judge.nightly._site import write_site
from judge.nightly._site_data import SiteFacts, watch_body
from judge.nightly._site_words import headline
from judge.nightly._watching import watched

if TYPE_CHECKING:
    from judge.ledger import Ledger

LATE = 3
"""Nights before tonight's whose messages are still sent, if that was not done."""
DONE = "done"
"""Noted of a night when everybody who wants to hear of it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Concluded:
    """A night and what followed: the whole series' verdicts, the page, the messages sent now.

    ``problem`` is why the site could not be written; people are told all the same.
    """

    series: Series
    watches: Sequence[Watch]
    index: Path
    sent: Sequence[Sent]
    problem: UsageError | None = None

    def watch(self, date: str) -> Watch:
        """What follows from the series up to a date."""
        return next(one for one in self.watches if one.date == date)


def conclude(ledger: Ledger, plan: Plan, date: str, *, notify: bool = True) -> Concluded:
    """Everything that follows from the stored nights; the same however often it is done.

    The first baseline of a series is taken as soon as there are enough nights for one. A message
    about a night is sent once: that it was is noted in the ledger.
    """
    config = plan.config
    series = settled(ledger, config)
    watches = watched(series, config)
    problem = None
    try:
        index = _site(plan, series, watches)
    except UsageError as error:
        index, problem = config.out / "index.html", error
    sent: list[Sent] = []
    if notify:
        for watch in [one for one in watches if one.date <= date][-1 - LATE :]:
            sent += _tell(ledger, plan, series, watch, index)
    return Concluded(series=series, watches=watches, index=index, sent=sent, problem=problem)


def settled(ledger: Ledger, config: NightlyConfig) -> Series:
    """The series, with its first baseline if there are enough nights for it by now."""
    series = read_series(ledger, config.series)
    first = first_baseline(series, config.baseline.nights)
    if first is None:
        return series
    add_baseline(ledger, config.series, first)
    return read_series(ledger, config.series)


def require_next(series: Series, date: str) -> StoredNight | None:
    """The night of a date, if it was measured completely.

    Raises UsageError for a date before the newest night that was not measured (what models say now
    is no measurement of then), and for one that has not begun anywhere: every later night would
    come before it.
    """
    tomorrow = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    if date > tomorrow.isoformat():
        raise UsageError(
            f"--date {date}: this day has not come yet, and no night before it could be measured "
            "any more."
        )
    held = series.night(date)
    if held is not None and held.night.complete:
        return held
    newest = series.nights[-1].night.date if series.nights else date
    if date < newest:
        what = "was cut short" if held is not None else "was not measured"
        raise UsageError(
            f"--date {date}: this night {what}, and the series {series.name} has gone on to "
            f"{newest}. What a model says now is no measurement of then."
        )
    return None


def require_own_site(config: NightlyConfig) -> None:
    """Raise UsageError where the site's folder holds that of another series."""
    held = config.out / "series.json"
    if not held.is_file():
        return
    try:
        other = orjson.loads(held.read_bytes()).get("series")
    except (OSError, ValueError, AttributeError):
        other = "something else"
    if other != config.series:
        raise UsageError(
            f"{config.out}: holds the site of {other}. Give this series a folder of its own (out)."
        )


def _site(plan: Plan, series: Series, watches: Sequence[Watch]) -> Path:
    config = plan.config
    newest = series.nights[-1]
    facts = {
        "Candidate": config.candidate.name,
        "Judge": plan.judge.identity,
        "Questions": f"{Path(config.questions).name} ({len(plan.questions)})",
        "Rubric": plan.rubric.name,
        "Weights": plan.weights_hash + (f", stage {config.stage}" if config.stage else ""),
        "Anchors": str(len(newest.night.anchor_ids)),
        "Scoring run": newest.run,
    }
    notes = list(newest.notes)
    if plan.judge.offline:
        notes.append("The offline baseline judges: fixed formulas, not an LLM.")
    index = write_site(
        config.out,
        config.series,
        watches,
        series.measured,
        extra=SiteFacts(
            settings=config.drift(),
            baselines=series.baselines,
            bridges=series.bridges,
            names={one.criterion: one.name for one in plan.rubric.criteria},
            facts=facts,
            notes=notes,
            pages=config.retention.pages,
            synthetic=any(one.synthetic for one in series.nights),
        ),
    )
    if config.retention.pages is not None:
        prune(config.out, config.retention.pages)
    return index


def failed(ledger: Ledger, plan: Plan, date: str, error: PlumblineError) -> Sequence[Sent]:
    """Tell that there is no night of a date, and why; each target hears of it once.

    Nobody would hear of a night that does not happen otherwise.
    """
    config = plan.config
    message = Message(
        series=config.series,
        date=date,
        decision=Decision.INCONCLUSIVE.value,
        subject=f"{config.series} {date}: no night",
        text=f"The night could not be measured. {error}",
        facts={"date": date, "decision": None, "reasons": [str(error)]},
        complete=False,
    )
    return _sent(ledger, plan, read_series(ledger, config.series), f"{date} failed", message)


def _tell(ledger: Ledger, plan: Plan, series: Series, watch: Watch, index: Path) -> Sequence[Sent]:
    """Send what is to be sent about a night, and note when that is done.

    A night that was cut short and is completed later is told of again. A target that could not be
    reached is tried again by the next runs.
    """
    config = plan.config
    night = series.night(watch.date)
    assert night is not None  # the watch is made from it
    complete = night.night.complete
    state = f"{watch.date} {'complete' if complete else 'partial'}"
    if f"{state} {DONE}" in series.messages:
        return []
    page = f"nights/{watch.date}.html"
    where = str(index.parent) if config.site_url is None else config.site_url.rstrip("/")
    message = message_of(config.series, watch, f"{where}/{page}", complete=complete)
    sent = _sent(ledger, plan, series, state, message)
    if all(one.ok for one in sent):
        add_once(ledger, config.series, MESSAGE, f"{state} {DONE}", {"subject": message.subject})
    return sent


def _sent(
    ledger: Ledger, plan: Plan, series: Series, state: str, message: Message
) -> Sequence[Sent]:
    """Send a message to those who have not heard of this state yet, and note who has."""
    told = {name.removeprefix(f"{state} ") for name in series.messages if name.startswith(state)}
    sent = send(message, plan.config.notify, os.environ, told=told)
    for one in sent:
        if one.ok:
            add_once(
                ledger, plan.config.series, MESSAGE, f"{state} {one.target}",
                {"subject": message.subject, "target": one.target},
            )  # fmt: skip
    return sent


def message_of(series: str, watch: Watch, link: str, *, complete: bool = True) -> Message:
    """What people are told of a night; one that was cut short is at least inconclusive."""
    decision = None if watch.decision is None else watch.decision.value
    if decision is None and not complete:
        decision = Decision.INCONCLUSIVE.value
    return Message(
        series=series,
        date=watch.date,
        decision=decision,
        subject=f"{series} {watch.date}: {decision or outcome_of(watch)}",
        text="\n".join([headline_of(watch), *(f"- {reason}" for reason in watch.reasons)]),
        facts=watch_body(watch),
        link=link,
        complete=complete,
    )


def outcome_of(watch: Watch) -> str:
    """The decision in a word, or where the series stands while there is none."""
    return State.COLLECTING.value if watch.decision is None else watch.decision.value


def headline_of(watch: Watch) -> str:
    """What happened, in a sentence or two."""
    return headline(watch_body(watch), {one.metric: one.metric for one in watch.metrics})
