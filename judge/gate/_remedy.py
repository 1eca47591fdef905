"""What would make an inconclusive criterion decisive, at least cost."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from judge.figures import signed
from judge.gate._result import GateSettings, Missing, Remedy
from judge.gate._words import counted
from judge.planning import (
    ASSUMED_NOISE,
    Components,
    Prices,
    assumed_components,
    half_width,
    questions_for,
)

PRICES = Prices()
"""Those of `judge plan gate`: a new question 10, an answer and a judgment 1 each."""

_MOST_QUESTIONS = 10_000
_MOST_SAMPLES = 50
_CLOSE = 0.1
"""Share of the margin nearer than which the difference counts as lying at the margin."""


class _Option(NamedTuple):
    kind: str
    more: int
    cost: float
    text: str


def remedy_for(
    *,
    criterion: str,
    value: float,
    margin: float,
    level: float,
    sd: float,
    questions: int,
    components: Components | None,
    missing: Missing,
    passes_without_missing: bool,
    settings: GateSettings,
    least: int,
) -> Remedy:
    """The cheapest purchase after which the difference, if it stays as it is, decides.

    ``value`` is the observed difference of ``questions`` questions with the standard deviation
    ``sd``; ``level`` the one-sided level of a regression. Fewer than ``least`` questions decide
    nothing. What is varied alone: answers per
    question, judge samples per answer, questions.
    """
    gap = abs(value + margin)
    assumed = False
    if missing.share > settings.max_unscored or passes_without_missing:
        what = counted(missing.total, "missing verdict")
        how = (
            "score the {} again (--retry-unscored REASON)"
            if settings.rescored_here
            else "have the {} judged again where the file comes from"
        )
        text = how.format(what)
        best = _Option("rescore", missing.total, float(missing.total), text)
    elif gap <= _CLOSE * margin:
        best = _none(
            f"none: the difference lies at the margin ({signed(value)} against "
            f"{signed(-margin)}), and no "
            "affordable number of answers tells on which side"
        )
    else:
        confidence = settings.confidence if value > -margin else 1 - 2 * level
        known = (components or assumed_components(sd)).with_noise()
        assumed = known.noise_assumed
        options = sorted(
            _options(gap, confidence, sd, questions, known, settings, least),
            key=lambda one: one.cost,
        )
        best = options[0] if options else _none(
            f"none below {_MOST_QUESTIONS:,} questions: widen the margin or accept less certainty"
        )  # fmt: skip
        best = best._replace(text=", or ".join(one.text for one in options) or best.text)
        assumed = assumed and any(one.kind != "questions" for one in options)
    if assumed:
        note = (
            f" (samples assuming that {ASSUMED_NOISE:.0%} of the variance of differences is noise "
            "of single answers and judgments, which one answer per question cannot show)"
        )
        best = best._replace(text=best.text + note)
    return Remedy(
        criterion=criterion, kind=best.kind, more=best.more, cost=best.cost, assumed=assumed,
        text=best.text,
    )  # fmt: skip


def _none(text: str) -> _Option:
    return _Option("none", 0, math.inf, text)


def _options(
    gap: float, confidence: float, sd: float, questions: int, known: Components,
    settings: GateSettings, least: int,
) -> list[_Option]:  # fmt: skip
    answers, samples = known.answers, known.judge_samples or settings.judge_samples or 1
    total = known.variance(answers)
    # Parts that came out negative are 0, so that their sum may differ from what was observed.
    scale = sd**2 / total if total else 1.0
    found = []

    def enough(variance: float) -> bool:
        return half_width(math.sqrt(scale * variance), questions, confidence) < gap

    if questions >= least and (known.answer is not None or known.judge is not None):
        more = _least(lambda extra: enough(known.variance(answers + extra)))
        if more is not None:
            cost = 2 * questions * more * (PRICES.answer + samples * PRICES.judgment)
            text = f"{counted(more, 'more sample')} per question"
            found.append(_Option("answers", more, cost, text))
    if questions >= least and known.judge is not None:
        more = _least(lambda extra: enough(known.variance(answers, samples + extra)))
        if more is not None:
            cost = 2 * questions * answers * more * PRICES.judgment
            text = f"{counted(more, 'more judge sample')} per answer"
            found.append(_Option("judge_samples", more, cost, text))
    wanted = questions_for(gap, sd, confidence)
    if wanted is not None and wanted <= _MOST_QUESTIONS:
        more = max(1, max(wanted, least) - questions)
        each = 2 * answers * (PRICES.answer + samples * PRICES.judgment)
        cost = more * (each + PRICES.question)
        found.append(_Option("questions", more, cost, counted(more, "more question")))
    return found


def _least(enough: Callable[[int], bool]) -> int | None:
    return next((extra for extra in range(1, _MOST_SAMPLES + 1) if enough(extra)), None)
