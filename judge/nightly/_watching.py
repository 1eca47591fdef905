"""A series' nights folded into verdicts, and what has changed between them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from judge.canonical import digest
from judge.drift import State, Watch
from judge.nightly._config import NightlyConfig
from judge.nightly._drawing import baseline_of
from judge.nightly._events import SETTINGS, Series, add_once

if TYPE_CHECKING:
    from judge.ledger import Ledger


def watched(series: Series, config: NightlyConfig) -> list[Watch]:
    """What follows from each night of a series, folded anew from its events.

    A night follows the settings that held on its date, so that a changed configuration changes no
    night that is over; the night on which they change says so.
    """
    from judge.drift import follow

    spans = series.settings or (("", config.drift()),)
    watches: dict[str, Watch] = {}
    for at, (since, settings) in enumerate(spans):
        until = spans[at + 1][0] if at + 1 < len(spans) else None
        first = "" if at == 0 else since
        for one in follow(series.measured, series.baselines, series.bridges, settings):
            if first <= one.date and (until is None or one.date < until):
                watches[one.date] = _with_reasons(series, one)
    return [watches[date] for date in sorted(watches)]


def dated_settings(ledger: Ledger, series: Series, config: NightlyConfig, date: str) -> None:
    """Note from which date on the configuration's alarms hold, if they are not those noted last."""
    settings = config.drift()
    if series.settings and series.settings[-1][1] == settings:
        return
    body = {"since": date, "settings": asdict(settings)}
    name = f"{date} {digest(body).hex()[:12]}"
    add_once(ledger, config.series, SETTINGS, name, body)


def _with_reasons(series: Series, watch: Watch) -> Watch:
    """A night with what the fold cannot know: what changed in the rulers, or in the settings."""
    now = series.night(watch.date)
    assert now is not None  # the watch is made from it
    reasons = list(watch.reasons)
    baseline = baseline_of(series, watch.date)
    then = None if baseline is None else series.night(baseline.nights[-1])
    if then is not None and watch.state is State.FROZEN and then.night.epoch != now.night.epoch:
        reasons.append(f"Changed since the baseline: {changes(then.made_by, now.made_by)}.")
    for (_, before), (since, after) in pairwise(series.settings):
        if since == watch.date:
            reasons.append(f"The settings changed: {changes(asdict(before), asdict(after))}.")
    return replace(watch, reasons=tuple(reasons))


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What is not as it was, in words; hashes are named, other values shown.

    The rulers are only named where nothing else explains them: a criterion's text or template.
    """
    found = []
    for name in now:
        if name == "rulers" or then.get(name) == now[name]:
            continue
        if name == "questions":
            found.append(name)
        else:
            found.append(f"{name} ({then.get(name)} before, {now[name]} now)")
    old, new = then.get("rulers", {}), now.get("rulers", {})
    moved = [name for name in (*new, *(set(old) - set(new))) if old.get(name) != new.get(name)]
    explained = any(one.split(" ")[0] not in ("weights", "stage", "questions") for one in found)
    if moved and not explained:
        found.append(f"what the judge is told of {', '.join(moved)}")
    return "; ".join(found) or "what gives the scores"
