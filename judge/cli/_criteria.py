"""The criteria that ``--criteria`` names."""

from __future__ import annotations

from collections.abc import Collection

from judge.errors import UsageError
from judge.rubric import Criterion, Rubric


def criteria_of(rubric: Rubric, names: Collection[str] | None) -> tuple[Criterion, ...]:
    """The named criteria in the order of the rubric; all of them without names.

    Raises UsageError for a name that the rubric does not have.
    """
    if names is None:
        return rubric.criteria
    known = [criterion.criterion for criterion in rubric.criteria]
    for name in names:
        if name not in known:
            raise UsageError(
                f"--criteria {name}: not a criterion of {rubric.name}; it has {', '.join(known)}."
            )
    return tuple(criterion for criterion in rubric.criteria if criterion.criterion in names)
