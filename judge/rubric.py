"""Rubrics: criteria with a described level for every step, read from YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from judge.documents import Document, load_document
from judge.resources import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One step of a criterion's scale: what can be observed, and its score in [0, 1]."""

    level: int
    description: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """One criterion: what it asks, its levels, where it applies.

    ``categories`` is None where the criterion applies to every category. ``baseline`` names the
    feature of the offline judge, if one fits. Criteria of one ``group`` share a call in the
    grouped mode; None stands alone.
    """

    criterion: str
    name: str
    definition: str
    priority: str
    levels: tuple[Level, ...]
    categories: frozenset[str] | None
    except_categories: frozenset[str]
    reference: str
    baseline: str | None
    group: str | None = None

    def applies_to(self, category: str | None) -> bool:
        """Whether the criterion applies to a question; an unknown category is not excluded."""
        if category is None:
            return True
        if self.categories is not None and category not in self.categories:
            return False
        return category not in self.except_categories

    def score(self, level: float) -> float | None:
        """The score in [0, 1] of a level, or None if the rubric has no such level."""
        return next((step.score for step in self.levels if step.level == level), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rubric:
    """A named set of criteria, in the order in which reports show them."""

    name: str
    version: int
    description: str
    criteria: tuple[Criterion, ...]

    def __getitem__(self, criterion: str) -> Criterion:
        """The criterion of that id; KeyError if the rubric has none."""
        for candidate in self.criteria:
            if candidate.criterion == criterion:
                return candidate
        raise KeyError(criterion)


def load_rubric(name_or_path: str | Path) -> Rubric:
    """Read a rubric from a path or by the name of a shipped one.

    Raises InputError with file, line and field: a level without description, a duplicated
    criterion or level, scores that fall while levels rise.
    """
    document = load_document(resolve(str(name_or_path), "rubrics"), "rubric")
    data = document.data
    first_seen: dict[str, int | None] = {}
    criteria = []
    for index, entry in enumerate(data["criteria"]):
        criterion = str(entry["id"])
        place: list[str | int] = ["criteria", index, "id"]
        if criterion == "overall":
            raise document.error(
                place, found=criterion, expected="another id: overall is the mean over the criteria"
            )
        if criterion in first_seen:
            raise document.error(
                place,
                found=f"{criterion}, used on line {first_seen[criterion]} already",
                expected="an id of its own for every criterion",
            )
        first_seen[criterion] = document.line(place)
        for field in ("name", "definition"):
            if not str(entry[field]).strip():
                raise document.error(
                    ["criteria", index, field], found="blank text", expected=f"a {field}"
                )
        categories = entry.get("categories")
        criteria.append(
            Criterion(
                criterion=criterion,
                name=str(entry["name"]),
                definition=_text(entry["definition"]),
                priority=str(entry["priority"]),
                levels=_levels(document, index),
                categories=None if categories is None else frozenset(map(str, categories)),
                except_categories=frozenset(map(str, entry.get("except_categories", ()))),
                reference=str(entry.get("reference", "uses")),
                baseline=entry.get("baseline"),
                group=entry.get("group"),
            )
        )
    return Rubric(
        name=str(data["name"]),
        version=int(data["version"]),
        description=_text(data.get("description", "")),
        criteria=tuple(criteria),
    )


def rubric_to_dict(rubric: Rubric) -> dict[str, Any]:
    """A rubric as it was used, for storage."""
    return {
        "name": rubric.name,
        "version": rubric.version,
        "description": rubric.description,
        "criteria": [
            {
                "criterion": criterion.criterion,
                "name": criterion.name,
                "definition": criterion.definition,
                "priority": criterion.priority,
                "levels": [
                    {"level": step.level, "description": step.description, "score": step.score}
                    for step in criterion.levels
                ],
                "categories": None
                if criterion.categories is None
                else sorted(criterion.categories),
                "except_categories": sorted(criterion.except_categories),
                "reference": criterion.reference,
                "baseline": criterion.baseline,
                "group": criterion.group,
            }
            for criterion in rubric.criteria
        ],
    }


def rubric_from_dict(body: Mapping[str, Any]) -> Rubric:
    """Inverse of `rubric_to_dict`."""
    return Rubric(
        name=body["name"],
        version=body["version"],
        description=body["description"],
        criteria=tuple(
            Criterion(
                **{
                    **entry,
                    "levels": tuple(Level(**step) for step in entry["levels"]),
                    "categories": None
                    if entry["categories"] is None
                    else frozenset(entry["categories"]),
                    "except_categories": frozenset(entry["except_categories"]),
                }
            )
            for entry in body["criteria"]
        ),
    )


def _levels(document: Document, index: int) -> tuple[Level, ...]:
    """The levels of one criterion, lowest first, checked to be distinct and rising in score."""
    levels: list[Level] = []
    numbers = [int(entry["level"]) for entry in document.data["criteria"][index]["levels"]]
    places: dict[int, list[str | int]] = {}
    for position, entry in enumerate(document.data["criteria"][index]["levels"]):
        place: list[str | int] = ["criteria", index, "levels", position]
        if not str(entry["description"]).strip():
            raise document.error(
                [*place, "description"],
                found="blank text",
                expected="what can be observed in an answer of this level",
            )
        number = int(entry["level"])
        if number in places:
            raise document.error(
                [*place, "level"],
                found=f"{number}, described on line {document.line(places[number])} already",
                expected="each level once",
            )
        places[number] = place
        levels.append(
            Level(
                level=number,
                description=_text(entry["description"]),
                score=float(entry.get("score", _position(number, numbers))),
            )
        )
    levels.sort(key=lambda step: step.level)
    for lower, upper in pairwise(levels):
        if upper.score < lower.score:
            raise document.error(
                [*places[upper.level], "score"],
                found=f"{upper.score:g} at level {upper.level}, below {lower.score:g} at level "
                f"{lower.level}",
                expected="scores that do not fall as levels rise",
            )
    return tuple(levels)


def _position(number: int, numbers: Sequence[int]) -> float:
    """Where a level lies between the lowest (0) and the highest (1) of its criterion."""
    low, high = min(numbers), max(numbers)
    return (number - low) / (high - low) if high > low else 0.0


def _text(value: object) -> str:
    return " ".join(str(value).split())
