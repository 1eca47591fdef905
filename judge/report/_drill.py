"""The drill-down: per question its material, per answer the text, checks and verdicts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from judge.diagnostics import word_count
from judge.records import Question, Status
from judge.report._source import Member, Source
from judge.report._texts import Texts

Json = dict[str, Any]
Slot: TypeAlias = tuple[str, str, int]
"""question_id, model, sample of an answer."""


def drill_down(source: Source, words: Texts) -> list[Json]:
    """Every question with every answer and verdict, in the order of the answers."""
    judges = [_by_slot(member) for member in source.members]
    score_of = {(*_slot(row), row["criterion"]): row for row in source.scores.iter_rows(named=True)}
    overall_of = {_slot(row): row for row in source.overalls.iter_rows(named=True)}
    sections: dict[str, Json] = {}
    for stored in source.rows:
        answer, question = stored.answer, source.questions[stored.answer.question_id]
        section = sections.setdefault(question.question_id, _question_facts(question))
        at = (answer.question_id, answer.model, answer.sample)
        verdicts = [
            _verdict(
                criterion.criterion,
                [
                    (member, samples.get(at, {}).get(criterion.criterion, []))
                    for member, samples in zip(source.members, judges, strict=True)
                ],
                score_of.get((*at, criterion.criterion)),
            )
            for criterion in source.rubric.criteria
        ]
        overall = overall_of.get(at, {}).get("overall")
        section["answers"].append(
            {
                "model": answer.model,
                "sample": answer.sample,
                "answer": answer.answer,
                "words": word_count(answer.answer),
                "overall": overall,
                "overall_note": ""
                if overall is not None
                else _overall_note(source, question, verdicts, words),
                "checks": _checks(question, answer.answer),
                "verdicts": verdicts,
            }
        )
    return list(sections.values())


def _slot(row: Mapping[str, Any]) -> Slot:
    return row["question_id"], row["model"], row["answer_sample"]


def _by_slot(member: Member) -> dict[Slot, dict[str, list[Json]]]:
    """A judge's samples per answer and criterion."""
    found: dict[Slot, dict[str, list[Json]]] = {}
    for row in member.verdicts.sort("sample").iter_rows(named=True):
        found.setdefault(_slot(row), {}).setdefault(row["criterion"], []).append(row)
    return found


def _question_facts(question: Question) -> Json:
    return {
        "question_id": question.question_id,
        "question": question.question,
        "domain": question.domain,
        "category": question.category,
        "language": question.language,
        "reference": question.reference,
        "required_facts": [fact.fact for fact in question.required_facts],
        "answers": [],
    }


def _checks(question: Question, answer: str) -> list[Json]:
    results = []
    for check in question.checks:
        result = check.run(answer)
        results.append(
            {
                "wanted": check.describe(),
                "passed": result.passed,
                "found": result.found,
                "criteria": list(check.criteria),
            }
        )
    return results


def _overall_note(
    source: Source, question: Question, verdicts: Sequence[Json], words: Texts
) -> str:
    """What a missing overall lacks: criteria that weigh, or that a cap looks at, with reasons."""
    weights = source.weights
    vector = weights.vector(question.category, source.stage)
    capped = {cap.priority for cap in weights.caps}
    gaps = [
        words.get(
            "questions.lack",
            criterion=criterion.name,
            reason=words.get(f"reasons.{verdict['reason'] or 'open'}.name"),
        )
        for verdict, criterion in zip(verdicts, source.rubric.criteria, strict=True)
        if is_gap(verdict) and (vector[criterion.criterion] > 0 or criterion.priority in capped)
    ]
    if not gaps:
        return words.get("questions.no_weight")
    return words.get("questions.lacks", gaps=words.get("page.semicolon").join(gaps))


def is_gap(verdict: Mapping[str, Any]) -> bool:
    """Whether a verdict was wanted and carries no score."""
    return verdict["status"] not in (Status.SCORED, Status.NOT_APPLICABLE)


def _verdict(
    criterion: str,
    judges: Sequence[tuple[Member, Sequence[Json]]],
    score: Mapping[str, Any] | None,
) -> Json:
    """One criterion of one answer; ``status`` is open where no verdict exists yet.

    With one judge its words stand in the verdict itself and ``judges`` is empty; with several the
    verdict holds the panel's score and ``judges`` what each of them said.
    """
    result = {
        "criterion": criterion,
        "status": "open" if score is None else score["status"],
        "reason": None if score is None else score["reason"],
        "score": None if score is None else score["score"],
        "sd": None if score is None else score["sd"],
    }
    if len(judges) == 1:
        return {**result, **_said(judges[0][1]), "judges": []}
    said = [(member, samples, _said(samples)) for member, samples in judges]
    return {
        **result,
        **_said([]),
        "levels": [] if score is None or score["level"] is None else [score["level"]],
        "kind": None if score is None else score["kind"],
        "repaired": any(words["repaired"] for _, _, words in said),
        "judges": [
            {
                "judge": member.judge,
                "status": _status(samples),
                "reason": next((row["reason"] for row in samples if row["reason"]), None),
                "score": _mean(row["score"] for row in samples),
                **words,
            }
            for member, samples, words in said
        ],
    }


def _said(samples: Sequence[Json]) -> Json:
    """The words and levels of one judge; of several samples the first scored one speaks."""
    scored = [row for row in samples if row["status"] == Status.SCORED]
    shown = next(iter(scored or samples), None)
    masses = [row["allowed_mass"] for row in samples if row["allowed_mass"] is not None]
    return {
        "levels": [row["level"] for row in scored],
        "kind": shown["kind"] if shown else None,
        "allowed_mass": min(masses) if masses else None,
        "evidence": json.loads(shown["evidence"]) if shown else [],
        "rationale": shown["rationale"] if shown else "",
        "detail": shown["detail"] if shown else "",
        "repaired": any(row["repaired"] for row in samples),
    }


def _status(samples: Sequence[Json]) -> str:
    """The status of a judge's samples on one criterion, as its score has it."""
    found = {row["status"] for row in samples}
    if Status.SCORED in found:
        return Status.SCORED.value
    if not found:
        return "open"
    return Status.UNSCORED.value if Status.UNSCORED in found else Status.NOT_APPLICABLE.value


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
