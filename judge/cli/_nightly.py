"""``judge nightly``, ``judge baseline accept`` and ``judge bridge``."""

from __future__ import annotations

import datetime
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from judge.cli._nightly_screen import NightScreen
from judge.errors import ExitCode, InputError, LedgerError, UsageError
from judge.ledger import Ledger, open_ledger
from judge.terminal import print_json, say

if TYPE_CHECKING:
    from judge.drift import Baseline, Watch
    from judge.nightly import Concluded, NightlyConfig, Plan, Sent, Series, SeriesLock


@dataclass(frozen=True, slots=True, kw_only=True)
class NightlyOptions:
    """The options of ``judge nightly``, as typed."""

    config: Path
    date: str | None
    ledger: str | None
    as_json: bool


def nightly(options: NightlyOptions) -> None:
    """Measure a night, decide, tell; end with the exit code of the decision."""
    from judge.nightly import conclude, failed

    date = _date(options.date)
    with _terminable(), _opened(options.config, options.ledger, create=True) as (
        plan, ledger, lock,
    ):  # fmt: skip
        if not _is_over(ledger, plan, date):
            try:
                measured(ledger, plan, date, lock)
            except (InputError, LedgerError, UsageError) as error:
                _say_sent(failed(ledger, plan, date, error))
                raise
            _on_sigterm()
        concluded = conclude(ledger, plan, date)
    watch = concluded.watch(date)
    show(plan.config.series, watch)
    _say_sent(concluded.sent)
    if options.as_json:
        print_json(night_object(concluded, date))
    code = exit_code(concluded, date)
    if concluded.problem is not None:
        if code is ExitCode.DONE:
            raise concluded.problem
        say(str(concluded.problem))
    else:
        say(f"Report: {concluded.index}")
    raise typer.Exit(code)


def _is_over(ledger: Ledger, plan: Plan, date: str) -> bool:
    """Whether a night was measured already. Raises UsageError for a date that cannot be one."""
    from judge.nightly import read_series, require_next

    if require_next(read_series(ledger, plan.config.series), date) is None:
        return False
    say(f"{plan.config.series} {date}: measured already; nothing is sent.")
    return True


def measured(ledger: Ledger, plan: Plan, date: str, lock: SeriesLock) -> None:
    """Measure a night and note it."""
    from judge.nightly import NightInterrupted, add_night, dated_settings, measure, read_series

    try:
        stored = measure(ledger, plan, date, NightScreen(plan))
    except NightInterrupted:
        raise KeyboardInterrupt from None
    lock.require_held()
    for note in stored.notes:
        say(note)
    dated_settings(ledger, read_series(ledger, plan.config.series), plan.config, date)
    add_night(ledger, plan.config.series, stored)


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the command as Ctrl-C does, with 130, wherever it is at work."""
    before = signal.getsignal(signal.SIGTERM)
    _on_sigterm()
    try:
        yield
    except KeyboardInterrupt:
        say("Interrupted; finished work is kept. Run the same command again to go on.")
        sys.exit(ExitCode.INTERRUPTED)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _on_sigterm() -> None:
    """Handle SIGTERM from now on; a run against an endpoint takes the handler away at its end."""

    def end(number: int, frame: Any) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, end)


def _say_sent(sent: Sequence[Sent]) -> None:
    for one in sent:
        say(f"Told {one.target}." if one.ok else f"Could not tell {one.target}: {one.error}")


def accept(
    path: Path, *, by: str, note: str, nights: str | None, ledger_url: str | None, as_json: bool
) -> None:
    """Accept nights as the baseline that the next ones are compared with."""
    from judge.nightly import accepted_baseline, add_baseline, baseline_of, read_series, watched

    with _opened(path, ledger_url) as (plan, ledger, lock):
        series = read_series(ledger, plan.config.series)
        baseline = accepted_baseline(series, plan.config, by=by, note=note, span=_span(nights))
        before = baseline_of(series, baseline.since)
        if before is not None and _same(before, baseline):
            baseline = before
            say(f"These nights were accepted already, by {before.by}.")
        else:
            lock.require_held()
            add_baseline(ledger, plan.config.series, baseline)
            for line in _what_moves(watched(series, plan.config), series, before, baseline):
                say(line)
    if as_json:
        from dataclasses import asdict

        print_json({"baseline": asdict(baseline)})
    say(
        f"From {baseline.since} on, {plan.config.series} is compared with its "
        f"{len(baseline.nights)} nights from {baseline.nights[0]} to {baseline.nights[-1]} "
        f"(accepted by {baseline.by})."
    )


def _what_moves(
    watches: Sequence[Watch], series: Series, before: Baseline | None, baseline: Baseline
) -> Iterator[str]:
    """What a new baseline does away with: open alarms, and the level that was compared with."""
    for alarm in watches[-1].alarms:
        yield (
            f"The alarm of {alarm.since} ({', '.join(alarm.metrics)}) ends with it: what is there "
            "now is what later nights are compared with."
        )
    if before is None:
        return
    means = []
    for nights in (before.nights, baseline.nights):
        values = [
            one.night.candidate[:, -1] for one in series.nights if one.night.date in nights
        ]  # fmt: skip
        means.append(float(np.nanmean(np.concatenate(values))))
    yield f"The overall of the baseline goes from {means[0]:.3f} to {means[1]:.3f}."


def _same(one: Baseline, other: Baseline) -> bool:
    return (one.since, one.nights) == (other.since, other.nights)


def bridge(
    path: Path, *, sample: int, by: str, date: str | None, ledger_url: str | None, as_json: bool
) -> None:
    """Judge stored answers again, so that scores of then can stand beside those of now."""
    from judge.nightly import NightInterrupted, bridged

    with _terminable(), _opened(path, ledger_url) as (plan, ledger, lock):
        try:
            made = bridged(ledger, plan, _date(date), NightScreen(plan), lock, sample=sample, by=by)
        except NightInterrupted:
            raise KeyboardInterrupt from None
    if as_json:
        from dataclasses import asdict

        print_json({"bridge": asdict(made)})
    for name, one in made.metrics.items():
        say(
            f"{name}: the same {one.n} answers score {one.shift:+.3f} "
            f"[{one.low:+.3f}, {one.high:+.3f}] now; new = {one.intercept:.3f} + "
            f"{one.slope:.2f} · old."
        )
    widest = max(made.metrics.items(), key=lambda one: one[1].se)
    say(
        f"From {made.since} on, the baseline stands on the rulers of now. The bridge's own error "
        f"(up to ±{widest[1].se:.3f}, {widest[0]}) widens the margins; a new baseline ends that."
    )


def show(series: str, watch: Watch) -> None:
    """Print what follows from a night: per metric, who moved, and why."""
    from rich.table import Table
    from rich.text import Text

    from judge.figures import signed
    from judge.nightly import headline_of, outcome_of
    from judge.terminal import console

    if watch.metrics:
        against = "" if watch.baseline is None else ", against the baseline"
        table = Table(title=Text(f"{series}, {watch.date}{against}"), box=None)
        for name in ("", "tonight", "difference", "interval", "margin", "model", "judge"):
            table.add_column(name, justify="left" if not name else "right", no_wrap=True)
        for one in watch.metrics:
            interval = "–" if one.low is None else f"{signed(one.low)} to {signed(one.high)}"
            table.add_row(
                Text(one.metric), _number(one.value), signed(one.difference), interval,
                _number(one.margin), signed(None if one.model is None else one.model.value),
                signed(None if one.judge is None else one.judge.value),
            )  # fmt: skip
        console.print(table)
    for reason in watch.reasons:
        say(f"- {reason}")
    say(f"{outcome_of(watch).upper()}: {headline_of(watch)}")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def night_object(concluded: Concluded, date: str) -> dict[str, Any]:
    """What ``--json`` prints."""
    from judge.nightly import watch_body

    return {
        "night": watch_body(concluded.watch(date)),
        "notified": [
            {"target": one.target, "ok": one.ok, "error": one.error} for one in concluded.sent
        ],
        "report": {
            "html": str(concluded.index),
            "json": str(concluded.index.parent / "series.json"),
        },
    }


def exit_code(concluded: Concluded, date: str) -> ExitCode:
    """The exit code of a night: that of a gate.

    While the baseline is collected it is 0, unless the night was cut short.
    """
    from judge.gate import Decision

    watch, stored = concluded.watch(date), concluded.series.night(date)
    if watch.decision is None:
        cut = stored is not None and not stored.night.complete
        return ExitCode.INCONCLUSIVE if cut else ExitCode.DONE
    return {
        Decision.PASS: ExitCode.DONE,
        Decision.REGRESS: ExitCode.REGRESS,
        Decision.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    }[watch.decision]


@contextmanager
def _opened(
    path: Path, ledger_url: str | None, *, create: bool = False
) -> Iterator[tuple[Plan, Ledger, SeriesLock]]:
    """The plan and its ledger, under the lock of the series."""
    from judge.nightly import load_nightly, plan_of, require_own_site, series_lock

    config = load_nightly(path)
    plan = plan_of(config)
    require_own_site(config)
    url = ledger_url_of(config, ledger_url)
    ledger = open_ledger(url, create=create)
    try:
        with series_lock(url, config.series) as lock:
            yield plan, ledger, lock
    finally:
        ledger.close()


def ledger_url_of(config: NightlyConfig, given: str | None) -> str:
    """Where the ledger is: the option or its variable, else the file, else the default."""
    from judge.cli._options import DEFAULT_LEDGER

    return given or config.ledger or DEFAULT_LEDGER


def _date(text: str | None) -> str:
    """The date of the night; today's (local time) unless it is named."""
    if text is None:
        return datetime.datetime.now().astimezone().date().isoformat()
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise UsageError(f"--date {text}: expected a date such as 2026-03-01.") from None


def _span(text: str | None) -> tuple[str, str] | None:
    if text is None:
        return None
    first, mark, last = text.partition("..")
    if not mark:
        raise UsageError(f"--nights {text}: expected FROM..TO, e.g. 2026-03-01..2026-03-10.")
    day = datetime.date.fromisoformat
    try:
        return (day(first).isoformat(), day(last).isoformat())
    except ValueError:
        raise UsageError(
            f"--nights {text}: expected FROM..TO, e.g. 2026-03-01..2026-03-10."
        ) from None


def demo(folder: Path, *, as_json: bool) -> None:
    """Run the nights of a made-up month that were not run yet; say what each would end with."""
    from judge.nightly import conclude, load_nightly, read_series, settled, write_demo

    config, dates = write_demo(folder, datetime.datetime.now().astimezone().date())
    say("SYNTHETIC: shipped demo answers, mixed at random; this shows the path only.")
    with _terminable(), _opened(config, load_nightly(config).ledger, create=True) as (
        plan, ledger, lock,
    ):  # fmt: skip
        held = {one.night.date for one in read_series(ledger, plan.config.series).nights}
        for date in dates:
            if date not in held:
                measured(ledger, plan, date, lock)
                settled(ledger, plan.config)
        concluded = conclude(ledger, plan, dates[-1], notify=False)
    if set(dates) <= held:
        say(f"All {len(dates)} nights are measured already; nothing is sent.")
    for watch in concluded.watches:
        say(f"{watch.date}: {_headline(watch)} (exit code {int(exit_code(concluded, watch.date))})")
    show(plan.config.series, concluded.watch(dates[-1]))
    if as_json:
        print_json(night_object(concluded, dates[-1]))
    say(f"Report: {concluded.index}")


def _headline(watch: Watch) -> str:
    from judge.nightly import headline_of, outcome_of

    return f"{outcome_of(watch)}. {headline_of(watch)}"
