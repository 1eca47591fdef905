"""What the site says in words: the headline of a night, its alarms, numbers for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, TypeAlias

from judge.figures import DASH, number, signed

Fields: TypeAlias = Mapping[str, Any]

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

BANNER = (
    "SYNTHETIC NIGHTS: these numbers were made up. They show the path, and nothing about any model."
)
STATUSES = {
    "pass": "Pass",
    "regress": "Regress",
    "inconclusive": "Inconclusive",
    "frozen": "Frozen",
    "collecting": "Collecting",
}
KINDS = {
    "tonight": "Candidate, one night",
    "detector": "Candidate, many nights",
    "judge": "Judge",
}
CAUSES = {
    "none": "nobody",
    "model": "the model",
    "judge": "the judge",
    "both": "model and judge",
    "pending": "not settled yet",
    "unknown": "cannot be told: no anchors, no slice",
}
_WHO = {
    "none": "",
    "model": "the model moved, not the judge",
    "judge": "the judge moved",
    "both": "the model and the judge moved",
    "pending": "who moved is not settled yet",
    "unknown": "nothing tells the judge from the model",
}
_APART = "Tonight's scores cannot stand beside the baseline's."
MECHANISMS = {
    "gate": "Tonight's gate",
    "detector": "Detector of many nights",
    "judge": "Judge's detector",
}


def bounds(one: Fields | None, digits: int = 3) -> str:
    """The interval of a difference, e.g. "[−0.067, −0.037]"; empty where there is none.

    A limit just beside 0 keeps its side of it.
    """
    if one is None or one["low"] is None or one["high"] is None:
        return ""
    ends = (
        signed(end, digits + 1 if end and abs(end) < 0.5 * 10.0**-digits else digits)
        for end in (one["low"], one["high"])
    )
    return f"[{', '.join(ends)}]"


def percent(share: float | None, digits: int = 0) -> str:
    """A share in per cent; 0 and 100 only where they are exact."""
    if share is None:
        return DASH
    step = 10.0**-digits
    if 0 < 100 * share < step:
        return f"< {step:g} %"
    if 100 - step < 100 * share < 100:
        return f"> {100 - step:g} %"
    return f"{100 * share:.{digits}f} %"


def probability(value: float | None) -> str:
    """A p-value: "0.032", "3.2 × 10⁻⁶"; a dash where there is none."""
    if value is None:
        return DASH
    if value == 0 or value >= 0.001:
        return "< 10⁻³⁰⁰" if value == 0 else f"{value:.3f}"
    digits, power = f"{value:.1e}".split("e")
    return f"{digits} × 10{str(int(power)).translate(_RAISED)}"


def ratio(log: float | str | None) -> str:
    """A detector's statistic from its logarithm: "0.4", "37", "9,125", "10⁷"."""
    if log is None:
        return DASH
    if isinstance(log, str):
        return "0"
    if log >= math.log(1e6):
        return f"10{str(math.floor(log / math.log(10))).translate(_RAISED)}"
    value = math.exp(log)
    if value >= 9.95 or abs(value - 1) < 1e-9:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 0.05 else "< 0.1"


def counted(n: int, what: str) -> str:
    """A number of things: "1 question", "1,200 questions"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def day(text: str) -> str:
    """An ISO date for people: "19 Mar 2026"."""
    at = date.fromisoformat(text)
    return f"{at.day} {_MONTHS[at.month - 1]} {at.year}"


def short_day(at: date, *, month: bool = False) -> str:
    """A date on an axis: "19 Mar", or "Mar 2026" where months are counted."""
    name = _MONTHS[at.month - 1]
    return f"{name} {at.year}" if month else f"{at.day} {name}"


def status(night: Fields) -> str:
    """The one word for a night (a key of `STATUSES`): its decision, or why there is none."""
    if night["decision"] == "regress":
        return "regress"
    if night["state"] in ("collecting", "frozen"):
        return str(night["state"])
    return str(night["decision"] or "inconclusive")


def moved(effect: Fields) -> str:
    """An effect as a fall or a rise with its interval, both without their sign."""
    value, low, high = effect["value"], effect["low"], effect["high"]
    if value is None:
        return "moved by an amount that could not be told"
    verb = "fell" if value < 0 else "rose"
    text = f"{verb} by {number(abs(value))}"
    if low is None or high is None:
        return text
    ends = (-high, -low) if value < 0 else (low, high)
    return f"{text} [{number(ends[0])}, {number(ends[1])}]"


def listed(names: Sequence[str], most: int = 3) -> str:
    """Names with commas and "and"; those beyond ``most`` are counted."""
    shown = list(names[:most])
    if len(names) > most:
        shown.append(f"{len(names) - most} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def alarm_sentence(alarm: Fields, names: Mapping[str, str]) -> str:
    """An alarm in one sentence: what moved, by how much, since when, and who moved."""
    who = _WHO[alarm["cause"]]
    since = f"since {day(alarm['onset'])}"
    subject = [names.get(one, one) for one in alarm["metrics"]]
    if alarm["kind"] == "judge":
        effect = alarm["effect"]
        text = "The judge's scores of the same answers moved"
        if effect is not None and effect["value"] is not None:
            text = f"The judge's scores of the same answers {moved(effect)}"
        if subject:
            text += f" on {subject[0]}"
        text += f" {since}"
        return f"{text}, with {listed(subject[1:])}." if len(subject) > 1 else f"{text}."
    subject = subject or ["The candidate"]
    how = "got worse" if alarm["effect"] is None else moved(alarm["effect"])
    text = f"{subject[0]} {how} {since}"
    if len(subject) > 1:
        text += f", with {listed(subject[1:])}"
    return f"{text}: {who}." if who else f"{text}."


def baseline_sentence(one: Fields) -> str:
    """A new baseline in one sentence."""
    text = f"A baseline of {counted(len(one['nights']), 'night')} was accepted by {one['by']}"
    return f"{text}: {one['note']}" if one["note"] else f"{text}."


def bridge_sentence(one: Fields) -> str:
    """A bridge in one sentence."""
    what = (
        "The baseline was mapped to the judge of now"
        if one["old"] == one["new"]
        else "The baseline was mapped to the new rulers"
    )
    return f"{what} by {one['by']}: {one['note']}" if one["note"] else f"{what} by {one['by']}."


def headline(night: Fields, names: Mapping[str, str]) -> str:
    """What happened, in one sentence or two."""
    kind = status(night)
    candidate = [one for one in night["alarms"] if one["kind"] != "judge"]
    judge = [one for one in night["alarms"] if one["kind"] == "judge"]
    if kind == "regress":
        if candidate:
            return alarm_sentence(candidate[0], names)
        return "The candidate is worse than its margin allows."
    if kind == "collecting":
        return "There is no baseline yet, so that nothing is compared."
    if kind == "frozen":
        why = alarm_sentence(judge[0], names) if judge else _APART
        return f"{why} No decision until a bridge or a new baseline."
    if kind == "pass":
        return "Nothing happened: no sign that a metric fell by more than its margin."
    if candidate:
        return alarm_sentence(candidate[0], names)
    return "Tonight allows no decision."


def largest_fall(night: Fields) -> Fields | None:
    """The metric that fell the most tonight; None where none fell."""
    known = [m for m in night["metrics"] if m["difference"] is not None and m["difference"] < 0]
    return min(known, key=lambda one: one["difference"], default=None)


def firing(metric: Fields) -> bool:
    """Whether tonight's gate called this metric worse."""
    p, level = metric["p"], metric["level"]
    return p is not None and level is not None and bool(metric["can_fire"]) and p <= level
