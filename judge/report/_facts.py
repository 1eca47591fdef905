"""The facts of a run: how it was judged, what came of it, and what it took."""

from __future__ import annotations

from typing import Any

import polars as pl

from judge.aggregation import estimates
from judge.report._source import OFFLINE_PARTIAL_FROM, Member, Source, wanted_samples
from judge.report._texts import Texts

DEMO_AUTHORS = "Plumbline authors"
"""What the shipped demo answers say under ``generation.written_by``."""

SETTINGS: dict[str, Any] = {
    "mode": "per-criterion",
    "scoring": "samples",
    "order": "answer-first",
    "shots": 0,
    "checklists": False,
}
"""How a run was judged where its record does not say: recorded before it could be chosen."""

Json = dict[str, Any]


def run_facts(source: Source) -> Json:
    """The ``run`` block of a report."""
    run, verdicts = source.run, source.verdicts
    keys = call_keys(verdicts)
    spent = None if source.offline else source.ledger.spending(keys)
    return {
        "run": run.run,
        "kind": run.kind,
        "started_at": run.started_at,
        "judge": run.body["judge"],
        "judges": [member.judge for member in source.members],
        "offline": source.offline,
        **_settings(source),
        "rubric": source.rubric.name,
        "rubric_version": source.rubric.version,
        "weights": source.weights.name,
        "stage": source.stage,
        "samples": run.body["samples"],
        "occasion": run.body["occasion"],
        **_outcome(verdicts, int(run.body["planned"])),
        "kinds": counted(verdicts, "kind"),
        "allowed_mass": _allowed_mass(verdicts),
        "tokens": None
        if spent is None
        else {name: int(spent[f"{name}_tokens"]) for name in ("prompt", "cached", "completion")},
        "cost": spent["cost"] if spent and 0 < spent["calls"] == spent["priced"] else None,
        "rulers": run.body["rulers"],
    }


def member_facts(source: Source, member: Member) -> Json:
    """What one judge of a panel contributed: its outcome, and its own estimates."""
    return {
        "judge": member.judge,
        "run": member.run.run,
        "samples": member.run.body["samples"],
        **_outcome(member.verdicts, int(member.run.body["planned"])),
        "rulers": member.run.body["rulers"],
    }


def call_keys(verdicts: pl.DataFrame) -> list[bytes]:
    """The keys of the calls that the verdicts were read from."""
    return [key for key in verdicts["call_key"].drop_nulls().unique(maintain_order=True) if key]


def counted(rows: pl.DataFrame, column: str) -> dict[str, int]:
    """How often each value of a column occurs, in alphabetical order; nulls are left out."""
    return dict(rows[column].drop_nulls().value_counts().sort(column).iter_rows())


def _settings(source: Source) -> Json:
    """Mode, scoring, order, shots, checklists; of a panel, those of its judges' runs."""
    found: Json = {}
    for name, default in SETTINGS.items():
        values = list(
            dict.fromkeys(member.run.body.get(name, default) for member in source.members)
        )
        found[name] = values[0] if len(values) == 1 else ", ".join(map(str, values))
    return found


def _outcome(verdicts: pl.DataFrame, planned: int) -> Json:
    statuses = counted(verdicts, "status")
    return {
        "planned": planned,
        "scored": statuses.get("scored", 0),
        "not_applicable": statuses.get("not_applicable", 0),
        "unscored": counted(verdicts, "reason"),
        "open": max(planned - len(verdicts), 0),
        "repaired": int(verdicts["repaired"].sum()),
    }


def _allowed_mass(verdicts: pl.DataFrame) -> Json | None:
    """The probability on the rubric's levels, where verdicts were read from probabilities."""
    masses = verdicts["allowed_mass"].drop_nulls()
    if masses.is_empty():
        return None
    return {
        "verdicts": len(masses),
        "median": masses.median(),
        "p05": masses.quantile(0.05, "linear"),
        "min": masses.min(),
    }


def is_demo(source: Source) -> bool:
    """Whether all answers are those that ship with the demo, by the mark that they carry."""
    marks = {(row.answer.generation or {}).get("written_by") for row in source.rows}
    return marks == {DEMO_AUTHORS}


def notes(source: Source, words: Texts) -> list[str]:
    """What must be read with the numbers of this run."""
    found = [words.get("notes.uncalibrated")]
    if source.offline:
        enough = min(OFFLINE_PARTIAL_FROM, len(source.rubric.criteria))
        found.append(words.get("notes.offline_overall", n=enough))
    if source.panel:
        found.append(words.get("notes.panel", n=len(source.members)))
    return found


def criteria(source: Source) -> list[Json]:
    """The criteria of the rubric with their weights and levels."""
    vector = source.weights.vector(stage=source.stage)
    return [
        {
            "criterion": criterion.criterion,
            "name": criterion.name,
            "definition": criterion.definition,
            "priority": criterion.priority,
            "weight": vector[criterion.criterion],
            "levels": [
                {"level": step.level, "description": step.description, "score": step.score}
                for step in criterion.levels
            ],
        }
        for criterion in source.rubric.criteria
    ]


def member_estimates(source: Source, member: Member) -> list[Any]:
    """The estimates that one judge of a panel gives on its own."""
    return estimates(
        source.answers,
        member.scores,
        source.overalls_of(member),
        source.rubric,
        categories=source.categories,
        samples=wanted_samples(member.run),
    )
