"""A release decision from the scores of two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from judge.gate._failures import total_failures
from judge.gate._families import CATEGORIES, CRITERIA, OVERALL_FAMILY, SAFETY, rejections
from judge.gate._pairs import Bounds, Column, Paired
from judge.gate._posterior import interval, tails
from judge.gate._remedy import remedy_for
from judge.gate._result import (
    CriterionResult,
    Decision,
    GateResult,
    GateSettings,
    Remedy,
    TotalFailures,
)
from judge.gate._signs import sign_flip
from judge.gate._words import counted, missing_words, reasons_of, summary_of
from judge.planning import attainability, detectable_drop, gate_components
from judge.records import OVERALL
from judge.study import Study

LEAST_QUESTIONS = 8
"""With fewer, chance alone calls an unchanged model worse too often: 16 % of 2 or 3 questions that
move by the whole scale, 6 % of 5, 4 % of 6."""
LEAST_CATEGORY = 2
"""Questions below which a category is not compared."""


def gate(
    study: Study, bounds: Bounds, *, baseline: str, candidate: str, settings: GateSettings
) -> GateResult:
    """Decide whether ``candidate`` may replace ``baseline``.

    ``study`` has the overall as its last criterion; ``bounds`` are its `missing_bounds`. The
    candidate passes where the overall and every criterion are shown not to be worse than their
    margins (each at alpha: all of them have to be, so the risk of passing a model that is worse on
    any of them is at most alpha). It regresses where anything is shown to be worse than its margin
    after correction (`rejections`: family-wise at most alpha). Everything else is inconclusive, and
    so is a criterion with more missing verdicts than ``max_unscored``. Missing verdicts count
    against the candidate for a pass and not at all for a regression.

    Raises UsageError for a model that the study does not hold and where no question is common.
    """
    paired = Paired(study, bounds, baseline, candidate)
    tests = _tests(paired, settings)
    families = {
        name: {
            key: test.p_regress
            for key, test in tests.items()
            if test.family == name and test.p_regress is not None
        }
        for name in (OVERALL_FAMILY, CRITERIA, CATEGORIES, SAFETY)
    }
    found = {
        key: outcome
        for family in rejections(families, settings.alpha).values()
        for key, outcome in family.items()
    }
    results = {key: _result(paired, test, found.get(key), settings) for key, test in tests.items()}
    overall = results[OVERALL]
    criteria = tuple(results[name] for name in study.criteria[:-1])
    categories = tuple(one for key, one in results.items() if tests[key].family == CATEGORIES)
    decision = _decision(overall, criteria, categories, paired, settings)
    remedy = None if decision is not Decision.INCONCLUSIVE else _dearest([overall, *criteria])
    partial = GateResult(
        baseline=baseline,
        candidate=candidate,
        decision=decision,
        worse_within_margin=any(one.worse_within_margin for one in (overall, *criteria)),
        summary="",
        reasons=(),
        overall=overall,
        criteria=criteria,
        categories=categories,
        margins={one.criterion: one.margin for one in (overall, *criteria)},
        confidence=settings.confidence,
        max_unscored=settings.max_unscored,
        n_questions=len(paired.common),
        baseline_only=paired.baseline_only,
        candidate_only=paired.candidate_only,
        failures=paired.failures,
        remedy=remedy,
    )  # fmt: skip
    return _with_words(partial, _one_sided_share(paired) > settings.max_unscored)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Test:
    name: str
    family: str
    column: int
    data: Column
    margin: float
    safety: bool
    silent: str | None
    p_regress: float | None
    """None where nothing is tested."""


def _tests(paired: Paired, settings: GateSettings) -> Mapping[str, _Test]:
    study = paired.study
    tests = {}
    for at, name in enumerate(study.criteria):
        safety = name in settings.safety
        family = OVERALL_FAMILY if name == OVERALL else SAFETY if safety else CRITERIA
        tests[name] = _test(
            name, family, at, paired.column(at), settings.margins[name], settings,
            safety=safety, silent=settings.silent.get(name),
        )  # fmt: skip
    last = len(study.criteria) - 1
    for category in sorted({name for name in study.categories if name is not None}):
        data = paired.column(last, category)
        if len(data.deltas) >= LEAST_CATEGORY:
            tests[f"category {category}"] = _test(
                category, CATEGORIES, last, data, settings.margins[OVERALL], settings,
                safety=False, silent=None,
            )  # fmt: skip
    return tests


def _test(
    name: str, family: str, column: int, data: Column, margin: float, settings: GateSettings,
    *, safety: bool, silent: str | None,
) -> _Test:  # fmt: skip
    enough = len(data.deltas) >= LEAST_QUESTIONS
    tested = enough and silent is None and data.missing.share <= settings.max_unscored
    return _Test(
        name=name, family=family, column=column, data=data, margin=margin, safety=safety,
        silent=silent, p_regress=tails(data.deltas, -margin).above if tested else None,
    )  # fmt: skip


def _result(
    paired: Paired, test: _Test, outcome: tuple[bool, float] | None, settings: GateSettings
) -> CriterionResult:
    data, alpha = test.data, settings.alpha
    if not len(data.deltas):
        return _nothing(test)
    regressed, level = outcome or (False, None)
    split = tails(data.deltas, -test.margin)
    worst = tails(data.worst, -test.margin).below
    low, high = interval(data.deltas, settings.confidence)
    worst_low, best_high = low, high
    if data.missing.total:
        worst_low = interval(data.worst, settings.confidence)[0]
        best_high = interval(data.best, settings.confidence)[1]
    value = float(data.deltas.mean())
    n = len(data.deltas)
    # One question says nothing of the spread, nor of what more of them would show.
    sd = float(data.deltas.std(ddof=1)) if n > 1 else None
    if outcome is None:
        decision = Decision.INCONCLUSIVE
    elif regressed:
        decision = Decision.REGRESS
    else:
        decision = Decision.PASS if worst <= alpha else Decision.INCONCLUSIVE
    remedy = None
    undecided = decision is Decision.INCONCLUSIVE and test.silent is None
    if undecided and sd is not None and test.family != CATEGORIES:
        remedy = _remedy(paired, test, value, sd, level, split.below <= alpha, settings)
    return CriterionResult(
        criterion=test.name,
        difference=value,
        low=low,
        high=high,
        margin=test.margin,
        mde=None if sd is None else detectable_drop(sd, n, alpha=alpha),
        decision=decision,
        worse_within_margin=high < 0 and decision is not Decision.REGRESS,
        safety=test.safety,
        baseline_mean=data.means[0] if data.means else None,
        candidate_mean=data.means[1] if data.means else None,
        sd=sd,
        n_questions=n,
        worst_low=worst_low,
        best_high=best_high,
        p_pass=split.below,
        p_pass_worst=worst,
        p_regress=test.p_regress,
        level=level,
        regress_from=_regress_from(test.margin, sd, n, level),
        sign_flip=sign_flip(data.deltas),
        attainability=None
        if sd is None
        else attainability(test.margin, sd, n, confidence=settings.confidence),
        missing=data.missing,
        note=_note(test, settings),
        remedy=remedy,
        total_failures=_failures(test, settings),
    )


def _regress_from(margin: float, sd: float | None, n: int, level: float | None) -> float | None:
    if sd is None or not level:
        return None
    return margin + detectable_drop(sd, n, alpha=level)


def _nothing(test: _Test) -> CriterionResult:
    return CriterionResult(
        criterion=test.name, difference=None, low=None, high=None, margin=test.margin, mde=None,
        decision=Decision.INCONCLUSIVE, worse_within_margin=False, safety=test.safety,
        baseline_mean=None, candidate_mean=None, sd=None, n_questions=0, worst_low=None,
        best_high=None, p_pass=None, p_pass_worst=None, p_regress=None, level=None,
        regress_from=None, sign_flip=None, attainability=None, missing=test.data.missing,
        note="no question has a score of both models",
    )  # fmt: skip


def _failures(test: _Test, settings: GateSettings) -> TotalFailures | None:
    if not test.safety or test.silent is not None:
        return None
    data = test.data
    return total_failures(data.deltas, data.worst, span=settings.spans.get(test.name, 1.0))


def _note(test: _Test, settings: GateSettings) -> str | None:
    if test.silent is not None:
        return test.silent
    missing, n = test.data.missing, len(test.data.deltas)
    if n < LEAST_QUESTIONS:
        few = f"{counted(n, 'question')} {'is' if n == 1 else 'are'} too few for either decision"
        return f"{few}: at least {LEAST_QUESTIONS}"
    if not missing.total:
        return None
    words = missing_words(missing, overall=test.family in (OVERALL_FAMILY, CATEGORIES))
    return f"too much is missing: {words}" if missing.share > settings.max_unscored else words


def _remedy(
    paired: Paired, test: _Test, value: float, sd: float, level: float | None,
    passes_without_missing: bool, settings: GateSettings,
) -> Remedy:  # fmt: skip
    study, rows = paired.study, test.data.rows
    judges = len(study.judges)
    variances = (study.sds[rows, test.column] ** 2).sum(axis=1) / judges**2
    return remedy_for(
        criterion=test.name,
        value=value,
        margin=test.margin,
        level=level or settings.alpha,
        sd=sd,
        questions=len(test.data.deltas),
        components=gate_components(
            study.panel[rows, test.column],
            study.questions[rows],
            study.models[rows],
            judge_variances=variances,
            judge_samples=settings.judge_samples,
        ),
        missing=test.data.missing,
        passes_without_missing=passes_without_missing,
        settings=settings,
        least=LEAST_QUESTIONS,
    )


def _decision(
    overall: CriterionResult, criteria: tuple[CriterionResult, ...],
    categories: tuple[CriterionResult, ...], paired: Paired, settings: GateSettings,
) -> Decision:  # fmt: skip
    needed = (overall, *criteria)
    if any(one.decision is Decision.REGRESS for one in (*needed, *categories)):
        return Decision.REGRESS
    complete = _one_sided_share(paired) <= settings.max_unscored
    if complete and all(one.decision is Decision.PASS for one in needed):
        return Decision.PASS
    return Decision.INCONCLUSIVE


def _one_sided_share(paired: Paired) -> float:
    """The share of all questions that only one of the models has."""
    alone = len(paired.baseline_only) + len(paired.candidate_only)
    return alone / (alone + len(paired.common))


def _dearest(results: list[CriterionResult]) -> Remedy | None:
    """What the release needs: the dearest of the criteria's cheapest remedies."""
    wanted = [one.remedy for one in results if one.remedy is not None]
    return max(wanted, key=lambda one: one.cost, default=None)


def _with_words(result: GateResult, one_sided: bool) -> GateResult:
    return replace(result, summary=summary_of(result), reasons=reasons_of(result, one_sided))
