"""The records of a release decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from judge.gate._signs import SignFlip
from judge.planning import Attainability


class Decision(StrEnum):
    """What a gate says of one criterion, and of the release."""

    PASS = "pass"  # noqa: S105 - a word, not a secret
    REGRESS = "regress"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """How a gate decides.

    ``margins`` gives the largest drop that is accepted per criterion and for "overall"; categories
    have the overall's. ``safety`` names the criteria with a budget of their own, ``silent`` those
    whose scores cannot move (with the reason). ``spans`` gives how far apart a criterion's best and
    worst score lie where that is less than 1. ``confidence`` is that of the two-sided intervals;
    its one-sided half, alpha, is the risk of passing a regression and of calling one that is none.
    ``rescored_here``: missing verdicts can be asked for again in the ledger they come from.
    """

    margins: Mapping[str, float]
    safety: frozenset[str] = frozenset()
    silent: Mapping[str, str] = field(default_factory=dict)
    spans: Mapping[str, float] = field(default_factory=dict)
    confidence: float = 0.90
    max_unscored: float = 0.05
    judge_samples: int | None = None
    rescored_here: bool = True

    @property
    def alpha(self) -> float:
        """The one-sided error."""
        return (1 - self.confidence) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """Verdicts (of the overall: answers) that were wanted and are missing, per model.

    ``baseline`` and ``candidate`` count those without any score, ``..._partly`` those whose score
    rests on some of what it should: on fewer samples of the judge than were wanted (of the overall:
    also on fewer criteria). ``..._open`` is what is missing of both, in verdicts: one of three
    samples is a third.
    """

    baseline: int
    candidate: int
    baseline_wanted: int
    candidate_wanted: int
    baseline_partly: int
    candidate_partly: int
    baseline_open: float
    candidate_open: float

    @property
    def share(self) -> float:
        """The larger of the two models' missing shares."""
        return max(
            self.baseline_open / max(self.baseline_wanted, 1),
            self.candidate_open / max(self.candidate_wanted, 1),
        )

    @property
    def total(self) -> int:
        """Of both models, those that are missing in part included."""
        return self.baseline + self.candidate + self.baseline_partly + self.candidate_partly


@dataclass(frozen=True, slots=True, kw_only=True)
class TotalFailures:
    """Questions on which the candidate fails altogether: it falls by half of the scale or more.

    ``observed`` of the ``questions`` did, ``possible`` could have, with what is missing set against
    the candidate. ``upper`` is the exact one-sided 95 % bound of Clopper and Pearson (1934) for the
    share of such questions, if all possible ones are: shares up to it are not ruled out.
    """

    observed: int
    possible: int
    questions: int
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """What would make an inconclusive criterion decisive at least cost.

    ``criterion`` is what it decides. ``kind``: ``answers`` (more answers per question),
    ``judge_samples``, ``questions``, ``rescore`` (missing verdicts) or ``none``. ``more`` is how
    many. ``cost`` is in answers and judgments, each counted as 1. ``assumed``: the variance
    components behind it were assumed, not measured.
    """

    criterion: str
    kind: str
    more: int
    cost: float
    assumed: bool
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CriterionResult:
    """The candidate less the baseline on one criterion (or the overall, or one category's).

    ``difference`` with ``low`` and ``high`` is over the questions that both models have a score
    for; ``worst_low`` and ``best_high`` are the bounds with every missing verdict set to the end
    of the scale that hurts or helps the candidate. ``p_pass`` is the probability, under the
    posterior of the interval, of a difference at or below -margin; ``p_pass_worst`` the same with
    the missing verdicts hurting; ``p_regress`` that of one above -margin. The criterion passes
    where ``p_pass_worst`` is at most alpha, and regresses where ``p_regress`` is at most ``level``,
    its level after correction. ``worse_within_margin``: worse (``high`` below 0), but not shown to
    be by more than the margin. ``mde`` is the smallest true drop that would show as one (upper
    bound below 0) with 80 % probability, ``regress_from`` the one that would be called a
    regression. ``total_failures`` says of a criterion of safety how rare failures can be and still
    have gone unseen. None where there is nothing to compare.
    """

    criterion: str
    difference: float | None
    low: float | None
    high: float | None
    margin: float
    mde: float | None
    decision: Decision
    worse_within_margin: bool
    safety: bool
    baseline_mean: float | None
    candidate_mean: float | None
    sd: float | None
    n_questions: int
    worst_low: float | None
    best_high: float | None
    p_pass: float | None
    p_pass_worst: float | None
    p_regress: float | None
    level: float | None
    regress_from: float | None
    sign_flip: SignFlip | None
    attainability: Attainability | None
    missing: Missing
    note: str | None = None
    remedy: Remedy | None = None
    total_failures: TotalFailures | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """The differential failure test: questions on which one model misses more verdicts.

    ``p`` is the exact one-sided McNemar (sign) probability of as many or more questions on which
    the candidate misses more, if neither model fails more often.
    """

    candidate_more: int
    baseline_more: int
    p: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """A release decision, with all that it rests on.

    ``reasons`` says in words what stands between the candidate and a pass, or what regressed.
    """

    baseline: str
    candidate: str
    decision: Decision
    worse_within_margin: bool
    summary: str
    reasons: tuple[str, ...]
    overall: CriterionResult
    criteria: tuple[CriterionResult, ...]
    categories: tuple[CriterionResult, ...]
    margins: Mapping[str, float]
    confidence: float
    max_unscored: float
    n_questions: int
    baseline_only: tuple[str, ...]
    candidate_only: tuple[str, ...]
    failures: Failures
    remedy: Remedy | None
