"""``judge plan``."""

from __future__ import annotations

from typing import Annotated

import typer

from judge.cli._options import DEFAULT_LEDGER, Json, Ledger, Stage, Weights
from judge.cli._root import app
from judge.cli.commands.calibrate import (
    Confidence,
    FileRubric,
    Ratings,
    RunId,
    Seed,
    Verdicts,
)
from judge.cli.commands.gate import VerdictFiles

plan = typer.Typer(
    no_args_is_help=True,
    help="Plan before paying: how many ratings an interval takes, which drops a gate can see.",
    rich_markup_mode=None,
)
app.add_typer(plan, name="plan")


@plan.command("ratings")
def ratings(
    half_width: Annotated[
        float,
        typer.Option(
            "--half-width", min=0.001, max=0.5, help="Wanted half of the interval, on 0 to 1."
        ),
    ] = 0.05,
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Plan for this model. Default: each.")
    ] = None,
    criterion: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Plan for this criterion. Default: the overall."),
    ] = None,
    cost: Annotated[
        float, typer.Option(min=0, help="What one rated answer costs, in a unit of yours.")
    ] = 1.0,
    verdicts: Verdicts = None,
    rated: Ratings = None,
    run: RunId = None,
    rubric: FileRubric = None,
    weights: Weights = "equal",
    stage: Stage = None,
    confidence: Confidence = 0.95,
    seed: Seed = 0,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Say how many rated answers an interval of a wanted width takes.

    From the answers that are rated already, by simulation with the estimator that will be used;
    without any rating, from assumed spreads, which it names. For example: judge plan ratings
    --half-width 0.05 --criterion accuracy
    """
    from judge.cli import _planning
    from judge.cli._evidence import Wanted

    wanted = Wanted(
        verdicts=verdicts, ratings=rated, run=run, rubric=rubric, weights=weights, stage=stage,
        ledger_url=ledger,
    )  # fmt: skip
    _planning.plan_ratings(
        wanted,
        half_width=half_width,
        model=model,
        criterion=criterion,
        cost=cost,
        confidence=confidence,
        seed=seed,
        as_json=json,
    )


@plan.command("gate")
def gate(
    drop: Annotated[
        float, typer.Option("--drop", min=0.001, max=0.9, help="Drop that the gate shall see.")
    ] = 0.05,
    criterion: Annotated[
        str | None, typer.Option(metavar="NAME", help="Plan for this one. Default: all.")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option("--baseline", metavar="MODEL", help="With --candidate: a pair.")
    ] = None,
    candidate: Annotated[str | None, typer.Option("--candidate", metavar="MODEL")] = None,
    questions: Annotated[
        int | None, typer.Option("--questions", min=2, help="Questions. Default: the pilot's.")
    ] = None,
    answers: Annotated[
        int | None,
        typer.Option("--answers", min=1, help="Answers per question. Default: the pilot's."),
    ] = None,
    judge_samples: Annotated[
        int | None,
        typer.Option("--judge-samples", min=1, help="Per answer. Default: the pilot's."),
    ] = None,
    sd: Annotated[
        float | None,
        typer.Option(
            "--sd", min=0.001, max=1, help="Without a pilot: assumed SD of a question's difference."
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0.001, max=0.999, help="Of the overall.")
    ] = 0.03,
    answer_cost: Annotated[float, typer.Option(min=0, help="Of one answer of a model.")] = 1.0,
    judgment_cost: Annotated[
        float, typer.Option(min=0, help="Of one judge sample of one answer.")
    ] = 1.0,
    question_cost: Annotated[
        float, typer.Option(min=0, help="Of one question, which a person writes and checks.")
    ] = 10.0,
    verdicts: VerdictFiles = None,
    run: RunId = None,
    rubric: FileRubric = None,
    weights: Weights = "equal",
    stage: Stage = None,
    confidence: Confidence = 0.90,
    ledger: Ledger = DEFAULT_LEDGER,
    json: Json = False,
) -> None:
    """Say which drops a gate can see, and the cheapest design that sees a wanted one.

    From a pilot of two or more models (the ledger's newest run, or --verdicts), with the variance
    of differences by its sources; without one, --sd 0.12. For example: judge plan gate --drop 0.05
    --questions 45 --answers 3
    """
    from judge.cli import _gate_planning
    from judge.cli._evidence import Wanted
    from judge.errors import UsageError
    from judge.planning import Prices

    if (baseline is None) != (candidate is None):
        raise UsageError("--baseline and --candidate go together: name both, or none.")
    models = None if baseline is None or candidate is None else (baseline, candidate)
    wanted = Wanted(
        verdicts=verdicts[0] if verdicts else None, ratings=None, run=run, rubric=rubric,
        weights=weights, stage=stage, ledger_url=ledger, further=(verdicts or [])[1:],
    )  # fmt: skip
    prices = Prices(answer=answer_cost, judgment=judgment_cost, question=question_cost)
    planned = _gate_planning.Planned(
        drop=drop,
        criterion=criterion,
        models=models,
        questions=questions,
        answers=answers,
        judge_samples=judge_samples,
        sd=sd,
        margin=margin,
        confidence=confidence,
        prices=prices,
        as_json=json,
    )
    _gate_planning.plan_gate(wanted, planned)
