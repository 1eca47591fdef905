"""Rare total failures: what a mean over questions says little about.

A candidate that fails altogether on 2 answers in a hundred has most samples of 50 questions without
any failure, or with one, and no interval of a mean can show what did not happen. What n questions
rule out is said beside the decision, which does not rest on it.
"""

from __future__ import annotations

import numpy as np

from judge.gate._result import TotalFailures
from judge.gate._words import counted
from judge.study import Floats

FALL = 0.5
"""Of the scale: a candidate that falls by as much on a question fails on it."""
CONFIDENCE = 0.95

_ROUNDING = 1e-9


def total_failures(deltas: Floats, worst: Floats, *, span: float = 1.0) -> TotalFailures | None:
    """What the differences of questions, in [-1, 1], rule out; None without any.

    ``deltas`` (m,) are those of the questions with a score of both models, ``worst`` (n,) those of
    all, with whatever is missing set against the candidate; ``span`` is how far apart the best and
    the worst score can lie. With k possible failures of n the bound is the share p at which
    P(Binomial(n, p) <= k) is 5 %: the upper point of Beta(k + 1, n - k), and 1 - 0.05^(1/n) for
    k = 0.
    """
    from scipy import stats  # type: ignore[import-untyped]  # slow to load

    n = len(worst)
    if not n:
        return None
    observed, possible = (
        int(np.count_nonzero(found <= _ROUNDING - FALL * span)) for found in (deltas, worst)
    )
    upper = 1.0 if possible == n else float(stats.beta.ppf(CONFIDENCE, possible + 1, n - possible))
    return TotalFailures(observed=observed, possible=possible, questions=n, upper=upper)


def failures_words(found: TotalFailures) -> str:
    """What a criterion's questions rule out, in words."""
    unsure = found.possible - found.observed
    more = f", {unsure} more could have (missing)" if unsure else ""
    rest = "are not ruled out" if found.possible else "could have gone unseen"
    return (
        f"{found.observed} of {counted(found.questions, 'question')} failed{more}: failures on up "
        f"to {100 * found.upper:.1f} % of questions {rest}"
    )
