"""How numbers are written for people: signs that are signs, and a dash where there is none."""

from __future__ import annotations

MINUS, DASH = "\u2212", "\u2013"


def number(value: float | None, digits: int = 3) -> str:
    """A number with a minus sign that is one; a dash for None. What rounds to 0 has no sign."""
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    return text.replace("-", MINUS) if float(text) else f"{0:.{digits}f}"


def signed(value: float | None, digits: int = 3) -> str:
    """A difference with its sign; a dash for None. What rounds to 0 has no sign."""
    text = number(value, digits)
    return text if value is None or value <= 0 or not float(text) else f"+{text}"
