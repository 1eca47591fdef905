"""``judge gate``: a release decision on a run of the ledger, or on plain files."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from judge.cli._evidence import Wanted, evidence_of
from judge.errors import ExitCode, UsageError
from judge.records import OVERALL
from judge.terminal import console, print_json, say
from judge.weights import safety_criteria

if TYPE_CHECKING:
    from judge.calibration import Calibration, CriterionMap
    from judge.evidence import Evidence
    from judge.gate import CriterionResult, GateResult, GateSettings
    from judge.study import Floats, Study

_FLAT = 1e-9
"""A calibration's map that rises by less over all scores is constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateOptions:
    """What ``judge gate`` was asked for."""

    baseline: str
    candidate: str
    margin: float
    verdicts: Sequence[Path]
    run: str | None
    rubric: str | None
    weights: str
    stage: str | None
    calibration: Path | None
    confidence: float
    max_unscored: float
    junit: Path | None
    inconclusive_fails: bool
    markdown: Path | None
    ledger_url: str
    as_json: bool


def run_gate(options: GateOptions) -> None:
    """Print the decision, write what was asked for, and end with its exit code."""
    from judge.gate import gate, junit_of, markdown_of, missing_bounds
    from judge.study import overall_function

    _require_places(options)
    evidence = _evidence(options)
    scale = Scale(study=evidence.study.of_criteria(evidence.study.criteria[:-1]))
    calibration = None
    if options.calibration is not None:
        from judge.calibration import read_calibration

        calibration = read_calibration(options.calibration)
        scale = calibrated(scale.study, calibration, evidence)
    overall = overall_function(
        scale.study, evidence.rubric, evidence.weights, evidence.stage,
        partial_from=evidence.partial_from,
    )  # fmt: skip
    study = scale.study.with_overall(overall)
    result = gate(
        study,
        missing_bounds(study, overall),
        baseline=options.baseline,
        candidate=options.candidate,
        settings=_settings(options, evidence, scale),
    )
    # The files first: a pipe that closes early must not cost them.
    for path, text in (
        (options.junit, junit_of(result, inconclusive_fails=options.inconclusive_fails)),
        (options.markdown, markdown_of(result)),
    ):
        if path is not None:
            _write(path, text)
    _notes(evidence, calibration)
    show(result)
    if options.as_json:
        print_json({"gate": gate_object(result, evidence, calibration)})
    raise typer.Exit(_exit_code(result))


def _evidence(options: GateOptions) -> Evidence:
    """The scores of the ledger's run, or of one file with both models, or of a file each."""
    wanted = Wanted(
        verdicts=options.verdicts[0] if options.verdicts else None, ratings=None, run=options.run,
        rubric=options.rubric, weights=options.weights, stage=options.stage,
        ledger_url=options.ledger_url, further=options.verdicts[1:],
    )  # fmt: skip
    return evidence_of(wanted, unrated=True)


def _require_places(options: GateOptions) -> None:
    """Raise UsageError, before any work, where a file that was asked for cannot be written."""
    wanted = [("--junit", options.junit), ("--markdown", options.markdown)]
    read = {path.resolve() for path in (*options.verdicts, options.calibration) if path is not None}
    taken: dict[Path, str] = {}
    for option, path in wanted:
        if path is None:
            continue
        if str(path) == "-":
            raise UsageError(f"{option} -: name a file; nothing but --json goes to stdout.")
        place = path.resolve()
        if place.is_dir():
            raise UsageError(f"{option} {path}: that is a folder. Name a file in it.")
        if place in read:
            raise UsageError(f"{option} {path}: the scores are read from that file. Name another.")
        if taken.setdefault(place, option) != option:
            raise UsageError(f"{option} {path}: {taken[place]} names the same file.")
        there = next(each for each in (place, *place.parents) if each.exists())
        if there != place and not there.is_dir():
            raise UsageError(f"{option} {path}: cannot be written ({there} is no folder).")
        if not os.access(there, os.W_OK):
            raise UsageError(f"{option} {path}: cannot be written (permission denied).")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """The study on the scale that is compared on, without overall.

    ``silent`` gives the criteria on which nothing can move, with why; ``spans`` how far apart the
    best and the worst score of a criterion lie where that is less than 1.
    """

    study: Study
    silent: Mapping[str, str] = field(default_factory=dict)
    spans: Mapping[str, float] = field(default_factory=dict)


def _settings(options: GateOptions, evidence: Evidence, scale: Scale) -> GateSettings:
    from judge.gate import GateSettings

    names = scale.study.criteria
    safety = safety_criteria(evidence.rubric) & set(names)
    margins = {name: evidence.weights.margin(name, safety=name in safety) for name in names}
    return GateSettings(
        margins={**margins, OVERALL: options.margin},
        safety=safety,
        silent=scale.silent,
        spans=scale.spans,
        confidence=options.confidence,
        max_unscored=options.max_unscored,
        judge_samples=None if options.calibration else evidence.judge_samples,
        rescored_here=not evidence.from_file,
    )


def calibrated(study: Study, calibration: Calibration, evidence: Evidence) -> Scale:
    """The study on the human scale, with the criteria on which the maps cannot move.

    The effects of rated models are left out: they would add what people said of one model to the
    judge's comparison of two. Raises UsageError for other rulers and other judges.
    """
    from judge.calibration import CriterionMap, require_rulers

    require_rulers(calibration, evidence.rulers, evidence.judge)
    if study.judges != calibration.judges:
        raise UsageError(
            f"The calibration is of {', '.join(calibration.judges)}, these verdicts are of "
            f"{', '.join(study.judges)}. Apply it to verdicts of the same judges."
        )
    maps = {
        name: CriterionMap.from_dict(calibration.criteria[name]["map"]) for name in study.criteria
    }
    axes = next(iter(maps.values())).criteria
    of_axes = [study.criteria.index(name) if name in study.criteria else None for name in axes]
    cells, least, most = (
        _cells(study.scores if found is None else found, of_axes)
        for found in (study.scores, study.lowest, study.highest)
    )
    models = [study.model_names[model] for model in study.models]
    scores = np.full((len(study), len(study.criteria), 1), np.nan)
    lowest, highest = scores.copy(), scores.copy()
    silent, spans = {}, {}
    for at, name in enumerate(study.criteria):
        # Where a judge gave no score the map would have to guess it.
        there = ~np.isnan(study.panel[:, at])
        scores[there, at, 0] = maps[name].predict(cells, models, effects=False)[there]
        low, high = _reach(maps[name], cells, least, most, models)
        lowest[there, at, 0], highest[there, at, 0] = low[there], high[there]
        ends = np.stack([np.zeros(cells.shape[1:]), np.ones(cells.shape[1:])])
        spans[name] = float(np.ptp(maps[name].predict(ends, effects=False)))
        if spans[name] < _FLAT:
            silent[name] = (
                "the calibration found no signal in these scores (its map gives every answer the "
                "same), so that no drop could show"
            )
    if len(silent) == len(study.criteria):
        silent[OVERALL] = "the calibration found no signal on any criterion"
    moved = replace(
        study,
        judges=("calibrated",),
        scores=scores,
        sds=np.full_like(scores, np.nan),
        lowest=lowest,
        highest=highest,
    )
    return Scale(study=moved, silent=silent, spans=spans)


def _cells(values: Floats, columns: Sequence[int | None]) -> Floats:
    """Values (n, c, j) of the study's criteria in the order of a map's; NaN of those it lacks."""
    found = np.full((len(values), len(columns), values.shape[2]), np.nan)
    for at, column in enumerate(columns):
        if column is not None:
            found[:, at] = values[:, column]
    return found


def _reach(
    of: CriterionMap, cells: Floats, least: Floats, most: Floats, models: Sequence[str]
) -> tuple[Floats, Floats]:
    """What a map can give, (n,) each, between ``least`` and ``most``, (n, c, j).

    It can fall where another criterion rises, so that its own criterion's and the others' ends are
    joined in every way.
    """
    own = of.criteria.index(of.criterion)
    found = [of.predict(cells, models, effects=False)]
    lost = (least < cells).any(axis=(1, 2)) | (most > cells).any(axis=(1, 2))
    if lost.any():
        for mine, others in itertools.product((least, most), repeat=2):
            mixed = others.copy()
            mixed[:, own] = mine[:, own]
            # The model's mean moves with its answers; where nothing is lost nothing is unknown.
            ends = of.predict(mixed, models, effects=False)
            found.append(np.where(lost, ends, found[0]))
    return np.minimum.reduce(found), np.maximum.reduce(found)


def _notes(evidence: Evidence, calibration: Calibration | None) -> None:
    if evidence.offline:
        say("The offline baseline judged these answers: fixed formulas, not an LLM.")
    if calibration is not None and calibration.synthetic:
        say("SYNTHETIC RATINGS: the calibration is of simulated raters; this shows the path only.")


def show(result: GateResult) -> None:
    """Print the decision so that it can be defended: differences, bounds, what could be seen."""
    from rich.table import Table
    from rich.text import Text

    from judge.gate import counted, facts

    title = Text(
        f"{_shown(result.candidate)} less {_shown(result.baseline)}, paired over "
        f"{counted(result.n_questions, 'question')}, {result.confidence:.0%} intervals"
    )
    table = Table(title=title, box=None, padding=(0, 1, 0, 0))
    # Where the terminal is too narrow names are folded; numbers and decisions stay whole.
    table.add_column("", overflow="fold")
    for name in ("difference and interval", "margin", "visible\ndrop", "questions"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    for one in (result.overall, *result.criteria):
        table.add_row(*_row(one))
    if result.categories:
        table.add_section()
        for one in result.categories:
            table.add_row(*_row(one, "overall, "))
    console.print(table)
    say("visible drop: the smallest true drop that would show (80 %), not one that was ruled out.")
    for line in facts(result):
        say(line[0].upper() + line[1:] + ".")
    for reason in result.reasons:
        say(f"- {reason}")
    say(f"{result.decision.value.upper()}: {result.summary}.")


def _shown(name: str) -> str:
    """A name from a file with what could move the cursor shown as signs."""
    from judge.report import visible

    return str(visible(name))


def _row(one: CriterionResult, prefix: str = "") -> list[Any]:
    from rich.text import Text

    from judge.figures import signed
    from judge.gate import flag_of

    told = signed(one.difference)
    if one.low is not None:
        told += f" [{signed(one.low)}, {signed(one.high)}]"
    words = flag_of(one)
    flag = ",\n" + words.replace("within ", "within\n").replace(", ", ",\n") if words else ""
    return [
        Text(_shown(prefix + one.criterion)), Text(told), f"{one.margin:g}",
        "–" if one.mde is None else f"{one.mde:.3f}", str(one.n_questions),
        f"{one.decision.value}{flag}",
    ]  # fmt: skip


def gate_object(
    result: GateResult, evidence: Evidence, calibration: Calibration | None
) -> dict[str, Any]:
    """The ``gate`` object of ``--json``."""
    found = asdict(result)
    # Infinite costs (no remedy) have no place in JSON.
    for one in [found, found["overall"], *found["criteria"], *found["categories"]]:
        remedy = one.get("remedy")
        if remedy is not None and not np.isfinite(remedy["cost"]):
            remedy["cost"] = None
    return {
        "decision": found.pop("decision"),
        **found,
        "source": evidence.source,
        "judge": evidence.judge,
        "rulers": dict(evidence.rulers),
        "weights": evidence.weights.name,
        "stage": evidence.stage,
        "calibration": None if calibration is None else calibration.hash,
        "hashes": dict(evidence.hashes),
        "notes": list(evidence.notes),
    }


def _exit_code(result: GateResult) -> ExitCode:
    from judge.gate import Decision

    return {
        Decision.PASS: ExitCode.DONE,
        Decision.REGRESS: ExitCode.REGRESS,
        Decision.INCONCLUSIVE: ExitCode.INCONCLUSIVE,
    }[result.decision]


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}).") from error
