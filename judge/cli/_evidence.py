"""Scores and ratings for a command: of the ledger, or of two files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from judge.anchors import frozen_answers
from judge.errors import UsageError
from judge.ledger import open_ledger
from judge.terminal import path_text, say

if TYPE_CHECKING:
    from judge.evidence import Evidence
    from judge.records import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the options of a command name.

    ``further`` are files of verdicts beside the first one, where a command takes several.
    ``without_anchors`` leaves out the ratings of answers that watch a judge from night to night.
    """

    verdicts: Path | None
    ratings: Path | None
    run: str | None
    rubric: str | None
    weights: str
    stage: str | None
    ledger_url: str
    further: Sequence[Path] = ()
    without_anchors: bool = False


def evidence_of(wanted: Wanted, *, unrated: bool = False) -> Evidence:
    """Read what the options name, and say what was left out of it.

    ``unrated`` allows that there is no rating at all. Raises UsageError for options that do not go
    together and where nothing is left to work on; InputError, LedgerError for what cannot be read.
    """
    from judge.evidence import Choice, from_files, from_ledger
    from judge.rating_sheets import inclusion_probabilities
    from judge.tables import read_ratings

    choice = Choice(weights=wanted.weights, stage=wanted.stage, rubric=wanted.rubric)
    if wanted.verdicts is not None:
        if wanted.run is not None:
            raise UsageError("--run is of a ledger, --verdicts of a file: give one of the two.")
        if wanted.ratings is None and not unrated:
            raise UsageError(
                "--verdicts without --ratings: name the file with people's ratings of these "
                "answers as well."
            )
        ratings = [] if wanted.ratings is None else read_ratings(wanted.ratings)
        files = (wanted.verdicts, *wanted.further)
        found = from_files(
            verdicts_of(files), ratings, choice,
            source=", ".join(path_text(path) for path in files), unrated=unrated,
        )  # fmt: skip
    else:
        for name, value in (("--ratings", wanted.ratings), ("--rubric", wanted.rubric)):
            if value is not None:
                raise UsageError(
                    f"{name} goes with --verdicts FILE. A ledger's ratings come from judge import "
                    "ratings, its rubric from the run."
                )
        ledger = open_ledger(wanted.ledger_url, create=False)
        try:
            found = from_ledger(
                ledger, wanted.run, choice,
                probabilities=inclusion_probabilities(ledger), unrated=unrated,
                frozen=frozen_answers(ledger) if wanted.without_anchors else frozenset(),
            )  # fmt: skip
        finally:
            ledger.close()
    for note in found.notes:
        say(note)
    return found


def verdicts_of(files: Sequence[Path]) -> list[Verdict]:
    """The verdicts of several files. Raises UsageError where two hold the same ones."""
    from judge.tables import read_verdicts

    rows: list[Verdict] = []
    owner: dict[tuple[str, str, int, str, str], Path] = {}
    for at, path in enumerate(files):
        if path.resolve() in {other.resolve() for other in files[:at]}:
            raise UsageError(f"--verdicts {path}: the file is named twice. Name it once.")
        found = read_verdicts(path)
        for one in found:
            key = (one.question_id, one.model, one.answer_sample, one.criterion, one.judge)
            if owner.setdefault(key, path) != path:
                question, model, _, criterion, _ = key
                raise UsageError(
                    f"{question} × {model} × {criterion} has verdicts in {owner[key]} and in "
                    f"{path}. Give each model a name of its own, or keep one of the two."
                )
        rows += found
    return rows
