"""Verdicts that need no call: excluded criteria, missing references, the offline baseline."""

from __future__ import annotations

from judge.offline import FEATURES, CannotAssess
from judge.records import Reason, Status
from judge.scoring._plan import Unit, can_be_asked
from judge.verdicts import Parsed


def without_call(unit: Unit, offline: bool) -> Parsed | None:
    """The outcome of a unit for which nothing is asked; None if the judge has to be."""
    if not unit.criterion.applies_to(unit.item.question.category):
        return Parsed(status=Status.NOT_APPLICABLE)
    if not can_be_asked(unit.item, unit.criterion):
        return _cannot_assess("the criterion needs a reference and the question has none")
    return _assess(unit) if offline else None


def _assess(unit: Unit) -> Parsed:
    """The baseline's verdict: the level whose score is nearest to the feature's value."""
    criterion = unit.criterion
    feature = FEATURES.get(criterion.baseline or "")
    if feature is None:
        return _cannot_assess("the offline baseline has no feature for this criterion")
    outcome = feature.assess(unit.item.question, unit.item.answer.answer, criterion.criterion)
    if isinstance(outcome, CannotAssess):
        return _cannot_assess(outcome.rationale)
    nearest = min(
        reversed(criterion.levels), key=lambda step: round(abs(step.score - outcome.value), 9)
    )
    return Parsed(
        status=Status.SCORED,
        level=nearest.level,
        score=nearest.score,
        evidence=outcome.evidence,
        rationale=outcome.rationale,
    )


def _cannot_assess(why: str) -> Parsed:
    return Parsed(status=Status.UNSCORED, reason=Reason.CANNOT_ASSESS, rationale=why, detail=why)
