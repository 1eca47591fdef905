"""Rulers: what a score was measured with.

A ruler is per criterion: a hash over all that reaches the criterion's call except question and
answer, and over the kind of score. Scores of different rulers are never mixed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from judge.canonical import digest
from judge.errors import UsageError
from judge.prompting import criterion_content, template_sources
from judge.rubric import Criterion

SAMPLES = "samples"
"""Kind of score: the mean over the judge's samples."""


def endpoint_ruler(
    criterion: Criterion, judge: str, request_without_messages: dict[str, Any]
) -> str:
    """The ruler of a criterion under a judge behind an endpoint.

    ``request_without_messages`` is the request body less its messages: model, decoding, schema.
    """
    return digest(
        {
            "judge": judge,
            "criterion": criterion_content(criterion),
            "templates": template_sources(),
            "request": request_without_messages,
            "kind": SAMPLES,
        }
    ).hex()


def offline_ruler(criterion: Criterion, judge: str, version: int, formula: str) -> str:
    """The ruler of a criterion under the offline baseline of a version."""
    return digest(
        {
            "judge": judge,
            "criterion": criterion_content(criterion),
            "version": version,
            "formula": formula,
            "kind": SAMPLES,
        }
    ).hex()


def require_one_ruler(criterion: str, rulers: Iterable[str]) -> None:
    """Raise UsageError if scores of one criterion were measured with more than one ruler."""
    different = sorted(set(rulers))
    if len(different) > 1:
        names = ", ".join(ruler[:12] for ruler in different)
        raise UsageError(
            f"{criterion}: scores of {len(different)} rulers ({names}) cannot be put together. "
            "The criterion's wording, the judge, its decoding or the prompt differ between them. "
            "Choose one judge and rubric, or score again."
        )
