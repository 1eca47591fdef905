"""Question sets, read from YAML."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from judge.canonical import digest
from judge.checks import Check
from judge.documents import Document, load_document
from judge.records import ChecklistItem, Question, RequiredFact
from judge.resources import resolve


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionSet:
    """A named set of questions, in the order of the file."""

    name: str
    description: str
    questions: tuple[Question, ...]

    def __iter__(self) -> Iterator[Question]:
        """The questions in order."""
        return iter(self.questions)

    def __len__(self) -> int:
        """How many questions there are."""
        return len(self.questions)


def load_questions(name_or_path: str | Path) -> QuestionSet:
    """Read a question set from a path or by the name of a shipped one.

    Raises InputError with file, line and field, e.g. for a duplicated ``question_id``.
    """
    document = load_document(resolve(str(name_or_path), "prompts/questions"), "questions")
    data = document.data
    first_seen: dict[str, int | None] = {}
    questions = []
    for index, entry in enumerate(data["questions"]):
        question_id = str(entry["question_id"])
        place: list[str | int] = ["questions", index, "question_id"]
        if question_id in first_seen:
            raise document.error(
                place,
                found=f"{question_id}, used on line {first_seen[question_id]} already",
                expected="a question_id of its own for every question",
            )
        first_seen[question_id] = document.line(place)
        if not str(entry["question"]).strip():
            raise document.error(
                ["questions", index, "question"], found="blank text", expected="a question"
            )
        for position, check in enumerate(entry.get("checks", ())):
            _require_possible(document, ["questions", index, "checks", position], check)
        for criterion, items in entry.get("checklists", {}).items():
            if not any(item.get("weight", 1) > 0 for item in items):
                raise document.error(
                    ["questions", index, "checklists", criterion],
                    found="items that all weigh 0",
                    expected="at least one item that counts",
                )
        questions.append(question_from_dict(entry))
    return QuestionSet(
        name=str(data["name"]),
        description=str(data.get("description", "")),
        questions=tuple(questions),
    )


def _require_possible(document: Document, place: list[str | int], check: dict[str, Any]) -> None:
    """Refuse a check that no answer can pass; the schema sees only one field at a time."""
    if "min" in check and "max" in check and check["min"] > check["max"]:
        raise document.error(
            [*place, "max"],
            found=f"{check['max']}, below the min of {check['min']}",
            expected="a max that is not below the min",
        )
    for position, label in enumerate(check.get("expected", ())):
        if label not in check["labels"]:
            raise document.error(
                [*place, "expected", position],
                found=label,
                expected=f"one of the labels: {', '.join(check['labels'])}",
            )


def question_from_dict(entry: dict[str, Any]) -> Question:
    """A Question from a mapping that already passed the schema (or from `question_to_dict`)."""
    return Question(
        question_id=str(entry["question_id"]),
        question=str(entry["question"]),
        domain=entry.get("domain"),
        category=entry.get("category"),
        language=entry.get("language"),
        reference=entry.get("reference"),
        required_facts=tuple(
            RequiredFact(fact=str(fact["fact"]), keywords=tuple(map(str, fact.get("keywords", ()))))
            for fact in entry.get("required_facts") or ()
        ),
        checks=tuple(
            Check(
                kind=str(check["kind"]),
                criteria=tuple(map(str, check["criteria"])),
                parameters={
                    name: list(value) if isinstance(value, list) else value
                    for name, value in check.items()
                    if name not in ("kind", "criteria")
                },
            )
            for check in entry.get("checks") or ()
        ),
        checklists={
            str(criterion): tuple(
                ChecklistItem(
                    item=" ".join(str(item["item"]).split()),
                    wanted=bool(item.get("wanted", True)),
                    weight=float(item.get("weight", 1)),
                    evidence_required=bool(item.get("evidence_required", False)),
                )
                for item in items
            )
            for criterion, items in (entry.get("checklists") or {}).items()
        },
    )


def question_hash(question: Question) -> bytes:
    """The hash under which a ledger keeps a question, with all that belongs to it."""
    return digest(["question", question_to_dict(question)])


def question_to_dict(question: Question) -> dict[str, Any]:
    """The mapping of a question, fields that are not set left out; inverse of the above."""
    entry: dict[str, Any] = {
        "question_id": question.question_id,
        "question": question.question,
        "domain": question.domain,
        "category": question.category,
        "language": question.language,
        "reference": question.reference,
        "required_facts": [
            {"fact": fact.fact, **({"keywords": list(fact.keywords)} if fact.keywords else {})}
            for fact in question.required_facts
        ],
        "checks": [
            {"kind": check.kind, "criteria": list(check.criteria), **check.parameters}
            for check in question.checks
        ],
        "checklists": {
            criterion: [asdict(item) for item in items]
            for criterion, items in question.checklists.items()
        },
    }
    return {name: value for name, value in entry.items() if value not in (None, [], {})}
