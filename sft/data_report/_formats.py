"""How the page writes numbers, sizes, times and names: the filters of its templates."""

from __future__ import annotations

from datetime import UTC, datetime

NONE = "–"
"""Stands for a value that the report does not hold."""

_THIN, _FIRM = "\u202f", "\u00a0"  # spaces at which no line breaks
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
)  # fmt: skip
_PLURALS = {"pass": "passes", "piece of personal data": "pieces of personal data"}


def number(value: float | None) -> str:
    """A number with its separators; below 10, one with a fraction keeps two digits of it."""
    if value is None:
        return NONE
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.2f}" if abs(value) < 10 else f"{value:,.0f}"


def counted(value: float | None, name: str) -> str:
    """A number and what it counts, e.g. "1 row", "2,400 rows"; ``name`` is in the singular."""
    plural = _PLURALS.get(name, f"{name}s")
    return f"{number(value)}{_FIRM}{name if value == 1 else plural}"


def compact(value: float | None) -> str:
    """A large number in three digits: 61,304,112 is "61.3 M"."""
    if value is None:
        return NONE
    for size, sign in ((1e12, "T"), (1e9, "B"), (1e6, "M")):
        if abs(value) >= size:
            part = value / size
            digits = 2 if part < 9.995 else 1 if part < 99.95 else 0
            return f"{part:,.{digits}f}{_THIN}{sign}"
    return number(value)


def share(value: float | None, digits: int = 1) -> str:
    """A share in per cent; what is not all or nothing is never written as such."""
    if value is None:
        return NONE
    least = 10.0**-digits
    if 0 < 100 * value < least / 2:
        return f"<{_THIN}{least:.{digits}f}{_THIN}%"
    if 100 - least / 2 <= 100 * value < 100:
        return f">{_THIN}{100 - least:.{digits}f}{_THIN}%"
    return f"{100 * value:.{digits}f}{_THIN}%"


def share_of(part: float, whole: float) -> str:
    """The share of a part in a whole; `NONE` where the whole is 0."""
    return share(part / whole) if whole else NONE


def points(value: float) -> str:
    """A difference of two shares, in percentage points, without its sign."""
    distance = 100 * abs(value)
    if 0 < distance < 0.005:
        return f"<{_THIN}0.01{_FIRM}percentage points"
    return f"{distance:.2f}{_FIRM}percentage points"


def size(count: int | None) -> str:
    """A size in bytes, e.g. "214.3 MB" (1 MB is 10^6 bytes)."""
    if count is None:
        return NONE
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if count >= unit:
            return f"{count / unit:,.1f}{_FIRM}{name}"
    return f"{count}{_FIRM}B"


def hours(value: float | None) -> str:
    """A number of hours: "28.4 h", "127 h"; below one, minutes."""
    if value is None:
        return NONE
    if value < 1:
        minutes = 60 * value
        return f"{minutes:.0f}{_FIRM}min" if minutes >= 1 else f"<{_THIN}1{_FIRM}min"
    return f"{value:,.1f}{_FIRM}h" if value < 100 else f"{value:,.0f}{_FIRM}h"


def duration(seconds: float | None) -> str:
    """A length of time in the two units that matter."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.0f}{_FIRM}s" if seconds >= 10 else f"{seconds:.2g}{_FIRM}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_FIRM}min {rest}{_FIRM}s"
    return f"{minutes // 60}{_FIRM}h {minutes % 60}{_FIRM}min"


def when(stamp: str) -> str:
    """An ISO date-time for people; other text as it is."""
    try:
        moment = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    zone = ""
    if moment.tzinfo is not None:
        moment, zone = moment.astimezone(UTC), f"{_FIRM}UTC"
    return f"{moment.day} {_MONTHS[moment.month - 1]} {moment.year}, {moment:%H:%M}{zone}"


def words(name: str) -> str:
    """A snake_case name as words."""
    return name.replace("_", " ")
