"""The words of the report: reasons, names of methods and parts, sentences on what was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from judge import figures
from judge.figures import DASH, signed

Fields: TypeAlias = Mapping[str, Any]


BANNER = (
    "SYNTHETIC RATINGS: simulated raters took part. The numbers on this page show how the report "
    "looks, and nothing about any judge, model or person."
)

REASONS: Mapping[str, str] = {
    "no_ratings": "there are no single ratings of it",
    "one_rater": "all ratings carry one name, and it takes three people to hold a judge against",
    "one_rating_per_answer": "no answer was rated by two people",
    "fewer_than_three_raters": "fewer than three people rated 30 answers that others rated as well",
    "too_few_questions": "too few questions",
    "no_levels": "the ratings do not lie on the levels of one scale",
    "no_common_answers": "no answer has both a rating and a score",
    "no_variance": "one of the two sides never varies",
    "rests_on_one_question": "it rests on one question",
    "no_spread": "leaving out questions changes nothing",
    "denominator_near_zero": "people agree too little to divide by",
    "too_few_answers": "fewer than 10 questions",
    "no_words": "the lengths of the answers are not known",
}

KINDS: Mapping[str, str] = {
    "raw": "raw judge (no map)",
    "constant": "constant (ignores the judge)",
    "shift": "shift",
    "line": "line",
    "two_level": "line, steeper between models",
    "ordinal": "ordinal (levels of the scale)",
    "blend": "blend of line and isotonic",
    "average": "average of blend and two-level maps",
    "isotonic": "isotonic (any rising curve)",
    "panel_and_criteria": "line on all criteria",
    "ridge": "ridge on single judges",
    "two_level_ridge": "ridge, steeper between models",
}

COEFFICIENTS: Mapping[str, tuple[str, str]] = {
    "kappa": ("Quadratic weighted kappa (QWK)", "same level; near misses count less"),
    "concordance": ("Lin's concordance", "the same for scores as they are"),
    "alpha": ("Krippendorff's alpha", "interval metric"),
    "icc": ("ICC(2,1)", "absolute agreement of single ratings"),
    "ac2": ("Gwet's AC2", "less shaken by a common level"),
    "pearson": ("Pearson's correlation", "same order and spacing"),
    "spearman": ("Spearman's correlation", "same order"),
    "kendall": ("Kendall's tau-b", "same order, pair by pair"),
}

PARTS: Mapping[str, str] = {
    "question": "questions",
    "answer": "answers",
    "judge": "the judge's noise",
    "calibration": "the fitted map",
    "rater": "raters",
    "transport": "carrying the map to a model without ratings",
}

REQUIREMENTS: Mapping[str, str] = {
    "omega": "holds its own against at least half of the raters",
    "omega_above_constant": "holds its own against more raters than a constant level would",
    "rho_above_constant": "lies near to people more often than a constant level would",
    "correlation": "orders answers of the same model as people do",
}

STATES: Mapping[str, str] = {
    "yes": "Yes",
    "in_part": "In part",
    "not_shown": "Not shown",
    "cannot_tell": "Cannot be told",
    "no_signal": "No signal",
}

METHODS: Mapping[str, str] = {
    "ppi++/bayesian-bootstrap-ends": "own ratings and judge (PPI++)",
    "humans-only/bayesian-bootstrap-ends": "own ratings alone",
    "transport": "through other models' ratings",
}


def reason(name: str | None) -> str:
    """Why there is no number, in words; unknown reasons as they are."""
    return "" if name is None else REASONS.get(name, name.replace("_", " "))


def part_words(name: str) -> str:
    """A part of a budget, joint parts ("question+answer") included."""
    parts = name.split("+")
    together = " (not told apart)" if len(parts) > 1 else ""
    return listed([PARTS.get(one, one) for one in parts]) + together


def number(value: float | None, digits: int = 2) -> str:
    """A number, as `judge.figures.number` writes it, with two digits unless said otherwise."""
    return figures.number(value, digits)


def bounds(entry: Fields, digits: int = 2, *, plus: bool = False) -> str:
    """An interval, e.g. "[0.41, 0.62]"; empty where there is none; an open end as an ellipsis."""
    low, high = entry["low"], entry["high"]
    if low is None:
        return ""
    write = signed if plus else number
    return f"[{write(low, digits)}, {'…' if high is None else write(high, digits)}]"


def with_bounds(entry: Fields, digits: int = 2) -> str:
    """A number with its interval."""
    return f"{number(entry['value'], digits)} {bounds(entry, digits)}".strip()


def percent(value: float | None) -> str:
    """A share in per cent; small ones never become 0 %, nor great ones 100 %."""
    if value is None:
        return DASH
    if 0 < value < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < value < 1 else f"{value:.0%}".replace("%", " %")


def counted(n: int, what: str, many: str | None = None) -> str:
    """A number of things: "1 question", "1,200 questions"."""
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def listed(names: Sequence[str]) -> str:
    """Names with commas, and "and" before the last."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def upper(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]
