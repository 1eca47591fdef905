"""One name, one way of answering: what the ledger holds must have come about as what is wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from judge.answering._generation import Provenance, influences, made_by_answering
from judge.answering._plan import answer_body
from judge.errors import UsageError
from judge.ledger import Ledger, StoredAnswer
from judge.records import Answer, Question

_SHOWN = 60


def held_answers(
    ledger: Ledger, provenance: Provenance, questions: Sequence[Question]
) -> dict[tuple[str, int], Answer]:
    """The answers that the ledger holds under a run's name and occasion: (question, sample) → it.

    Raises UsageError, which says what differs, if any of them came about otherwise.
    """
    settings = provenance.settings
    stored = [
        row
        for row in ledger.answers(models=[settings.name])
        if row.answer.occasion == settings.occasion
    ]
    _require_one_way(ledger.url, stored, provenance, questions)
    return {(row.answer.question_id, row.answer.sample): row.answer for row in stored}


def _require_one_way(
    where: str,
    stored: Sequence[StoredAnswer],
    provenance: Provenance,
    questions: Sequence[Question],
) -> None:
    """Raise UsageError unless stored answers came about as ``provenance`` says.

    Wanted are the same model, messages, decoding and chat template, and, for the questions asked,
    the same wording.
    """
    wording = {question.question_id: question.question for question in questions}
    name = provenance.settings.name
    foreign = [row for row in stored if not made_by_answering(row.answer.generation)]
    if foreign:
        first = foreign[0].answer
        raise UsageError(
            f"{where} holds {len(foreign)} answers of {name} that were imported or made elsewhere "
            f"(first: {first.question_id}). {_remedy(provenance)}"
        )
    for row in stored:
        answer = row.answer
        assert answer.generation is not None
        differing = _differences(influences(answer.generation), _wanted(provenance, answer.sample))
        if differing:
            raise UsageError(
                f"{where} holds {len(stored)} answers of {name}, which came about in another way: "
                f"{'; '.join(differing)}. {_remedy(provenance)}"
            )
        if row.question is not None and row.question.question != wording.get(
            answer.question_id, row.question.question
        ):
            raise UsageError(
                f"{where} holds an answer of {name} to another wording of {answer.question_id} "
                f"({_shown(row.question.question)}; now {_shown(wording[answer.question_id])}). "
                f"{_remedy(provenance)} Or give the new wording a question_id of its own."
            )


def _wanted(provenance: Provenance, sample: int) -> dict[str, Any]:
    body = answer_body(provenance.spec, provenance.settings, provenance.capabilities, [], sample)
    return influences(provenance.generation(body))


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    return [
        f"{name} was {_shown(there.get(name))}, now {_shown(wanted.get(name))}"
        for name in dict.fromkeys([*there, *wanted])
        if there.get(name) != wanted.get(name)
    ]


def _shown(value: Any) -> str:
    if value is None:
        return "not given"
    text = value if isinstance(value, str) else str(value)
    short = " ".join(text.split())
    return short if len(short) <= _SHOWN else f"{short[:_SHOWN]}..."


def _remedy(provenance: Provenance) -> str:
    occasion = provenance.settings.occasion
    another = f"an --occasion other than {occasion}" if occasion else "an --occasion"
    return (
        "Answers under one name all come about the same way, or scores could not be compared. "
        f"Nothing was sent. Give these another --name, or {another}."
    )
