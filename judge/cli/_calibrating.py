"""``judge calibrate``: agreement, maps, estimates, the calibration file and its report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from judge.cli import _estimating
from judge.cli._evidence import Wanted, evidence_of
from judge.errors import UsageError
from judge.ledger import Run, open_ledger
from judge.tables import write_rows
from judge.terminal import Bar, path_text, print_json, say

if TYPE_CHECKING:
    pass

KIND = "calibration"
"""The kind of run, and of document, under which a ledger keeps a calibration."""

FILE = "calibration.json"
DOUBTFUL = "doubtful.csv"


def calibrate(
    wanted: Wanted,
    *,
    confidence: float,
    seed: int,
    threshold: float | None,
    demo: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Calibrate, write the files, and print what was found."""
    from judge.calibration import write_calibration
    from judge.calibration_report import (
        analyse,
        calibration_body,
        doubtful,
        report_data,
        write_report,
    )

    if demo:
        if any((wanted.verdicts, wanted.ratings, wanted.run, wanted.rubric)):
            raise UsageError(
                "--demo brings its own answers and ratings: give it without the others."
            )
        wanted = replace(wanted, run=_prepare_demo(wanted.ledger_url))
    evidence = evidence_of(replace(wanted, without_anchors=True))
    with _Steps() as steps:
        analysis = analyse(evidence, confidence=confidence, seed=seed, step=steps.next)
        body = calibration_body(analysis)
        steps.next("report")
        found = doubtful(analysis, threshold=threshold)
        written = write_report(out, report_data(analysis, body, found))
        steps.next("done")
    write_calibration(out / FILE, body)
    write_rows(out / DOUBTFUL, found.rows)
    if wanted.verdicts is None:
        _record(wanted.ledger_url, body)
    if evidence.synthetic:
        say("SYNTHETIC RATINGS: simulated raters; these numbers show the path, nothing else.")
    for line in summary(body):
        say(line)
    _estimating.show([one.estimate for one in analysis.estimates], confidence)
    for line in _estimating.advice(analysis.estimates):
        say(line)
    if as_json:
        print_json(
            {
                "calibration": {"file": path_text(out / FILE), "hash": body["hash"]},
                "estimates": [asdict(one.estimate) for one in analysis.estimates],
                "doubtful": {"file": path_text(out / DOUBTFUL), "verdicts": len(found.rows)},
                "synthetic": evidence.synthetic,
                **written.object(),
            }
        )
    say(found.sentence() + (f" They are listed in {out / DOUBTFUL}." if found.rows else ""))
    say(f"Calibration: {(out / FILE).resolve()}")
    say(f"Report: {written.html.resolve()}")


class _Steps:
    """The bar over the steps of a calibration."""

    def __init__(self) -> None:
        from judge.calibration_report import STEPS

        self._bar = Bar("calibrating", time_left=False)
        self._total = STEPS + 1
        self._done = -1

    def __enter__(self) -> Self:
        self._bar.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._bar.__exit__(*raised)

    def next(self, name: str) -> None:
        """The step before is done; this one begins."""
        self._done += 1
        self._bar.show(self._done, self._total, [name])


def summary(body: Mapping[str, Any]) -> list[str]:
    """One line per criterion: the map, its error on unseen questions, and the raw judge's."""
    lines = []
    for name, entry in body["criteria"].items():
        raw = next(each for each in entry["candidates"] if each["kind"] == "raw")
        constant = next(each for each in entry["candidates"] if each["kind"] == "constant")
        lines.append(
            f"{name}: wrong by {entry['held_out']['rmse']:.3f} on unseen questions (raw judge "
            f"{raw['rmse']:.3f}, a constant {constant['rmse']:.3f}; root mean square, "
            f"{entry['n']} rated answers, map: {entry['map']['kind'].replace('_', ' ')})"
        )
    return lines


def _record(ledger_url: str, body: Mapping[str, Any]) -> None:
    """Keep the calibration in the ledger; the same one is kept once."""
    now = datetime.now(UTC)
    ledger = open_ledger(ledger_url, create=False)
    try:
        document = ledger.add_document(KIND, body).hex()
        run = Run(
            run=f"{now:%Y%m%dT%H%M%S}-{body['hash'][:6]}",
            kind=KIND,
            body={"calibration": document, "hash": body["hash"], "source": body["source"]},
            started_at=now.isoformat(timespec="seconds"),
        )
        if all(known.body["hash"] != body["hash"] for known in ledger.runs([KIND])):
            ledger.add_run(run, [])
    finally:
        ledger.close()


def _prepare_demo(ledger_url: str) -> str:
    """Put the demo's scores by the offline judge and simulated ratings into the ledger; the run.

    Raises UsageError for a ledger that holds ratings of people: simulated ones must not join them.
    """
    from judge.cli._scoring import score_demo
    from judge.report import load_source
    from judge.simulated_raters import PREFIX, simulated_ratings

    ledger = open_ledger(ledger_url)
    try:
        people = [
            name for name in ledger.ratings()["rater"].unique() if name[: len(PREFIX)] != PREFIX
        ]
    finally:
        ledger.close()
    if people:
        raise UsageError(
            f"--demo adds simulated ratings, and {ledger.url} holds ratings of {len(people)} "
            "people. Name another ledger, e.g. --ledger sqlite:///demo.db"
        )
    run = score_demo(ledger_url)
    ledger = open_ledger(ledger_url, create=False)
    try:
        ledger.add_ratings(simulated_ratings(load_source(ledger, run, "equal", None).scores))
    finally:
        ledger.close()
    return run
