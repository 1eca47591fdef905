"""The night run: measure, decide, tell; once per date, resumable, never twice."""

from judge.nightly._baselines import accepted_baseline, undisturbed
from judge.nightly._bridge import bridged
from judge.nightly._conclude import (
    Concluded,
    conclude,
    failed,
    headline_of,
    outcome_of,
    require_next,
    require_own_site,
    settled,
)
from judge.nightly._config import NightlyConfig, load_nightly
from judge.nightly._demo import write_demo
from judge.nightly._drawing import baseline_of
from judge.nightly._events import Series, StoredNight, add_baseline, add_night, read_series
from judge.nightly._lock import SeriesLock, series_lock
from judge.nightly._notify import Sent
from judge.nightly._plan import Plan, plan_of
from judge.nightly._run import NightInterrupted, Screen, measure
from judge.nightly._site_data import watch_body
from judge.nightly._watching import dated_settings, watched

__all__ = [
    "Concluded",
    "NightInterrupted",
    "NightlyConfig",
    "Plan",
    "Screen",
    "Sent",
    "Series",
    "SeriesLock",
    "StoredNight",
    "accepted_baseline",
    "add_baseline",
    "add_night",
    "baseline_of",
    "bridged",
    "conclude",
    "dated_settings",
    "failed",
    "headline_of",
    "load_nightly",
    "measure",
    "outcome_of",
    "plan_of",
    "read_series",
    "require_next",
    "require_own_site",
    "series_lock",
    "settled",
    "undisturbed",
    "watch_body",
    "watched",
    "write_demo",
]
