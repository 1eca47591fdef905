"""A release decision in words that an engineer can defend."""

from __future__ import annotations

from judge.figures import signed
from judge.gate._result import CriterionResult, Decision, GateResult, Missing


def counted(n: int, what: str) -> str:
    """A number of things: "1 question", "2 questions"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def missing_words(missing: Missing, *, overall: bool) -> str:
    """What is missing of the two models, in part or altogether; of the overall or a criterion."""
    parts = []
    if missing.baseline or missing.candidate:
        parts.append(
            f"{missing.baseline} of {missing.baseline_wanted} of the baseline and "
            f"{missing.candidate} of {missing.candidate_wanted} of the candidate are missing"
        )
    if missing.baseline_partly or missing.candidate_partly:
        parts.append(
            f"{missing.baseline_partly} of the baseline and {missing.candidate_partly} of the "
            f"candidate lack some of their {'criteria or ' * overall}judge samples"
        )
    return "; ".join(parts)


def summary_of(result: GateResult) -> str:
    """Which differences there are, and how large the others can be at most."""
    results = [result.overall, *result.criteria]
    compared = [one for one in results if one.p_regress is not None]
    parts, rest = [], []
    for one in compared:
        assert one.low is not None and one.high is not None
        if one.high < 0:
            parts.append(f"worse by {-one.high:.2f} to {-one.low:.2f} on {one.criterion}")
        elif one.low > 0:
            parts.append(f"better by {one.low:.2f} to {one.high:.2f} on {one.criterion}")
        else:
            # What is missing may have hidden a larger one.
            assert one.worst_low is not None and one.best_high is not None
            rest.append(max(-one.worst_low, one.best_high))
    if rest:
        where = "elsewhere" if parts else "anywhere"
        parts.append(f"no difference larger than {max(rest):.2f} {where}")
    if len(compared) < len(results):
        names = ", ".join(one.criterion for one in results if one.p_regress is None)
        parts.append(f"nothing can be said of {names}")
    return "; ".join(parts)


def reasons_of(result: GateResult, one_sided: bool) -> tuple[str, ...]:
    """What regressed, or what stands between the candidate and a pass."""
    lines = []
    for one in (result.overall, *result.criteria, *result.categories):
        if one.decision is Decision.REGRESS:
            lines.append(
                f"{one.criterion}: {signed(one.difference)} [{signed(one.low)}, "
                f"{signed(one.high)}], shown to be worse than the margin of {one.margin:g} "
                f"(p {_p(one.p_regress)}, {_level(one.level)})"
            )
    if result.decision is Decision.INCONCLUSIVE:
        lines += [
            f"{one.criterion}: {undecided(one)}"
            for one in (result.overall, *result.criteria)
            if one.decision is Decision.INCONCLUSIVE
        ]
    if one_sided:
        alone = len(result.baseline_only) + len(result.candidate_only)
        verb = "has" if alone == 1 else "have"
        lines.append(
            f"{alone} of {alone + result.n_questions} questions {verb} answers of one model only: "
            "never a pass; answer and score them with both, or leave them out of both"
        )
    return tuple(lines)


def undecided(one: CriterionResult) -> str:
    """Why a criterion is inconclusive."""
    if one.low is None or one.p_regress is None:
        return str(one.note)
    if one.level is None:
        sure = one.best_high is not None and one.best_high < -one.margin
        rest = "; worse than the margin even with all of these in its favour" if sure else ""
        return f"{one.note}{rest}"
    if one.level == 0:
        return "not tested: a category is looked at once the overall has regressed"
    if one.missing.total and one.low > -one.margin:
        return f"{one.note}, and set against the candidate they forbid a pass"
    if one.high is not None and one.high < -one.margin:
        return (
            f"worse than the margin of {one.margin:g} on its own, not after the correction for "
            f"several criteria (p {_p(one.p_regress)}, {_level(one.level)})"
        )
    return (
        f"{signed(one.difference)} [{signed(one.low)}, {signed(one.high)}] does not tell whether "
        f"it is worse by more than {one.margin:g}"
    )


def flag_of(one: CriterionResult) -> str:
    """How a criterion that is worse and yet no regression is called; empty of any other."""
    if not one.worse_within_margin or one.low is None:
        return ""
    if one.low >= -one.margin:
        return "worse within margin"
    sure = one.high is not None and one.high < -one.margin
    return "worse, not decided" if sure else "worse, size unclear"


def attainability_lines(result: GateResult) -> list[str]:
    """Which margins an unchanged candidate is not expected to pass here, a line each."""
    lines = []
    for one in (result.overall, *result.criteria):
        found = one.attainability
        if found is None or found.attainable:
            continue
        if found.needed is None:
            needed = "no number of questions makes that a half"
        else:
            surely = "" if found.needed_80 is None else f", {found.needed_80:,} for 80 %"
            needed = f"{counted(found.needed, 'question')} for a half{surely}"
        lines.append(
            "margin not attainable for an unchanged model: "
            f"{one.criterion} {found.margin:g} (with {counted(found.questions, 'question')} its "
            f"lower bound is expected at {signed(-found.bound)} and it passes with "
            f"{found.chance:.0%}; {needed})"
        )
    return lines


def _level(value: float | None) -> str:
    return f"the level after correction being {_p(value)}"


def _p(value: float | None) -> str:
    if value is None:
        return "\u2013"
    return f"{value:.3f}" if value >= 0.001 else f"{value:.1e}"
