"""Which answers a command scores: those of a file, or those that the ledger holds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from judge.errors import InputError, UsageError
from judge.ledger import Ledger
from judge.questions import load_questions
from judge.records import Answer, Question
from judge.scoring import Item, item_of
from judge.tables import completed, questions_for, read_answers
from judge.terminal import say


@dataclass(frozen=True, slots=True)
class GivenAnswers:
    """Answers of a file with their questions, checked and not stored yet."""

    answers: Sequence[Answer]
    questions: Mapping[str, Question]

    def items(self, ledger: Ledger | None) -> list[Item]:
        """The items to score, stored in the ledger on the way (None: a dry run)."""
        ids = (
            [0] * len(self.answers)
            if ledger is None
            else ledger.add_answers(self.answers, self.questions)
        )
        return [
            item_of(answer_id, answer, self.questions[answer.question_id])
            for answer_id, answer in zip(ids, self.answers, strict=True)
        ]


def read_given(
    path: Path, questions: str, models: Sequence[str] | None, occasion: str | None = None
) -> GivenAnswers:
    """Read an answers file; ``models`` and ``occasion`` keep the answers of these only.

    Raises InputError for a bad row or an answer without a question, UsageError for a model
    without answers.
    """
    file = read_answers(path)
    if file.ignored:
        say(f"{path}: columns without a meaning here, ignored: {', '.join(file.ignored)}.")
    resolved = questions_for(file, load_questions(questions))
    _require_models(models, {answer.model for answer in file.answers}, str(path))
    kept = _of_occasion(
        [answer for answer in file.answers if models is None or answer.model in models],
        occasion,
        str(path),
    )
    wanted = {answer.question_id for answer in kept}
    return GivenAnswers(
        kept, {name: question for name, question in resolved.items() if name in wanted}
    )


def items_of_ledger(
    ledger: Ledger, questions: str, models: Sequence[str] | None, occasion: str | None = None
) -> list[Item]:
    """Stored answers as items; a question set completes those that came without a question."""
    stored = ledger.answers(models=models)
    if {row.answer.model for row in stored} < set(models or ()):
        _require_models(models, {row.answer.model for row in ledger.answers()}, ledger.url)
    if not stored:
        raise UsageError(
            f"{ledger.url} holds no answers. Import some (judge import answers FILE) or give "
            "--answers FILE."
        )
    wanted = set(map(id, _of_occasion([row.answer for row in stored], occasion, ledger.url)))
    stored = [row for row in stored if id(row.answer) in wanted]
    known = {question.question_id: question for question in load_questions(questions)}
    items = []
    for row in stored:
        question = completed(row.question, known.get(row.answer.question_id))
        if question is None:
            raise InputError(
                path=questions,
                found=f"no question {row.answer.question_id}",
                expected="the question of every answer in the ledger",
                remedy="Name the right set with --questions",
            )
        items.append(item_of(row.answer_id, row.answer, question))
    return items


def _of_occasion(answers: Sequence[Answer], occasion: str | None, where: str) -> list[Answer]:
    """The answers of an occasion; of all of them, if there is but one. UsageError otherwise."""
    if occasion is None:
        _require_one_occasion(answers, where)
        return list(answers)
    kept = [answer for answer in answers if answer.occasion == occasion]
    if not kept:
        known = ", ".join(sorted({repr(answer.occasion) for answer in answers}))
        raise UsageError(
            f"--answers-occasion {occasion}: no such answers in {where}; there are answers of "
            f"{known}."
        )
    return kept


def _require_one_occasion(answers: Sequence[Answer], where: str) -> None:
    """Raise UsageError if a model's answer to a question is there on several occasions."""
    occasions: dict[tuple[str, str, int], str] = {}
    for answer in answers:
        identity = (answer.model, answer.question_id, answer.sample)
        other = occasions.setdefault(identity, answer.occasion)
        if other != answer.occasion:
            raise UsageError(
                f"{where}: answers of {answer.model} to {answer.question_id} from two occasions "
                f"({other!r} and {answer.occasion!r}). One run takes one of them: "
                "name it with --answers-occasion."
            )


def _require_models(models: Sequence[str] | None, known: Collection[str], where: str) -> None:
    for model in models or ():
        if model not in known:
            raise UsageError(
                f"--models {model}: no answers of that model in {where}; there are "
                f"{', '.join(sorted(known)) or 'none'}."
            )
