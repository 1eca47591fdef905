"""``judge plan gate``: what a gate can see, and the cheapest design that sees a wanted drop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from judge.cli._evidence import Wanted, evidence_of
from judge.errors import UsageError
from judge.records import OVERALL
from judge.terminal import console, print_json, say
from judge.weights import safety_criteria

if TYPE_CHECKING:
    from judge.evidence import Evidence
    from judge.planning import Components, Design, Prices


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """The options of ``judge plan gate``. ``models`` are a pair, or None for all of the pilot."""

    drop: float
    criterion: str | None
    models: tuple[str, str] | None
    questions: int | None
    answers: int | None
    judge_samples: int | None
    sd: float | None
    margin: float
    confidence: float
    prices: Prices
    as_json: bool


def plan_gate(wanted: Wanted, planned: Planned) -> None:
    """Print the drops that the design sees, what margins take, and the cheapest designs."""
    from judge.planning import assumed_components

    if planned.sd is not None:
        name = planned.criterion or OVERALL
        found = {name: assumed_components(planned.sd)}
        margins = {name: _margin_without_pilot(name, wanted, planned)}
        pilot = None
    else:
        pilot = evidence_of(wanted, unrated=True)
        found, margins = _pilot(pilot, planned)
    objects = []
    for name, components in found.items():
        objects.append(_one(name, components, margins[name], planned))
    if planned.as_json:
        print_json({"plan": {"gate": objects, "source": None if pilot is None else pilot.source}})


def _margin_without_pilot(name: str, wanted: Wanted, planned: Planned) -> float:
    """The margin of a criterion from the weights, as a gate on files of that criterion has it."""
    from judge.evidence import shipped_rubric
    from judge.rubric import load_rubric
    from judge.study import plain_rubric
    from judge.weights import load_profile

    if name == OVERALL:
        return planned.margin
    if wanted.rubric is not None:
        rubric = load_rubric(wanted.rubric)
    else:
        rubric = shipped_rubric([name]) or plain_rubric([name])
    known = [one.criterion for one in rubric.criteria]
    if name not in known:
        raise UsageError(f"--criterion {name}: {rubric.name} has {', '.join(known)}.")
    weights = load_profile(wanted.weights, rubric)
    return weights.margin(name, safety=name in safety_criteria(rubric))


def _pilot(evidence: Evidence, planned: Planned) -> tuple[dict[str, Components], dict[str, float]]:
    """Components and margins per criterion; assumed, and said so, where the pilot cannot tell."""
    import numpy as np

    from judge.planning import ASSUMED_SD, assumed_components, gate_components

    study = evidence.study
    names = [planned.criterion] if planned.criterion else [OVERALL, *study.criteria[:-1]]
    if planned.criterion and planned.criterion not in study.criteria:
        raise UsageError(f"--criterion {planned.criterion}: there is {', '.join(study.criteria)}.")
    if planned.models is not None:
        for model in planned.models:
            if model not in study.model_names:
                raise UsageError(f"{model}: there is {', '.join(study.model_names)}.")
        numbers = [study.model_names.index(model) for model in planned.models]
        study = study.only(np.isin(study.models, numbers))
    safety = safety_criteria(evidence.rubric)
    found, margins = {}, {}
    unknown: list[str] = []
    for name in names:
        at = study.column(name)
        components = gate_components(
            study.panel[:, at],
            study.questions,
            study.models,
            judge_variances=(study.sds[:, at] ** 2).sum(axis=1) / len(study.judges) ** 2,
            judge_samples=evidence.judge_samples,
        )
        if components is None:
            unknown.append(name)
        found[name] = (components or assumed_components()).with_noise()
        margins[name] = (
            planned.margin
            if name == OVERALL
            else evidence.weights.margin(name, safety=name in safety)
        )
    if unknown:
        say(
            f"{', '.join(unknown)}: the pilot holds no two models with scores of the same "
            f"questions; a standard deviation of {ASSUMED_SD:g} is assumed for the differences."
        )
    # Under one assumption the plans are one for all that share a margin.
    first: dict[float, str] = {}
    for name in unknown:
        if first.setdefault(margins[name], name) != name:
            say(f"{name}: as {first[margins[name]]}.")
            del found[name]
    return found, margins


def _one(name: str, components: Components, margin: float, planned: Planned) -> dict[str, object]:
    """Print one criterion's plan; gives its JSON object."""
    from judge.figures import signed
    from judge.gate import counted
    from judge.planning import attainability, cheapest_designs, design

    alpha = (1 - planned.confidence) / 2
    questions = planned.questions or components.questions or 45
    answers = planned.answers or max(1, round(components.answers))
    samples = planned.judge_samples or components.judge_samples or 1
    given = design(components, questions, answers, samples, planned.prices, alpha=alpha)
    reach = attainability(margin, given.sd, questions, confidence=planned.confidence)
    best = cheapest_designs(
        components, planned.drop, planned.prices, alpha=alpha, most_questions=planned.questions
    )
    more = (
        ()
        if best or planned.questions is None
        else cheapest_designs(components, planned.drop, planned.prices, alpha=alpha)
    )
    say(f"{name}: {given.sentence()} (SD of differences {given.sd:.3f}).")
    if reach.attainable:
        say(
            f"  The margin {margin:g} is attainable: an unchanged model passes with a probability "
            f"of {reach.chance:.0%}."
        )
    else:
        surely = "" if reach.needed_80 is None else f", {reach.needed_80:,} for 80 %"
        needed = (
            "no number of questions makes that a half"
            if reach.needed is None
            else f"{reach.needed:,} questions make that a half{surely}"
        )
        say(
            f"  The margin {margin:g} is not attainable with {counted(questions, 'question')}: the "
            f"lower bound of an unchanged model is expected at {signed(-reach.bound)}, and it "
            f"passes with a probability of {reach.chance:.0%}; {needed}."
        )
    _show(name, components, best, more, planned)
    return {
        "criterion": name,
        "components": asdict(components),
        "table": [
            {"component": part, "variance": value, "share": share}
            for part, value, share in components.table()
        ],
        "design": asdict(given),
        "attainability": asdict(reach) | {"attainable": reach.attainable},
        "drop": planned.drop,
        "cheapest": [asdict(one) for one in best],
        "cheapest_with_more_questions": [asdict(one) for one in more],
    }


def _show(
    name: str, components: Components, best: Sequence[Design], more: Sequence[Design],
    planned: Planned,
) -> None:  # fmt: skip
    from rich.table import Table
    from rich.text import Text

    from judge.gate import counted
    from judge.planning import ASSUMED_NOISE

    origin = "assumed" if components.assumed else counted(components.questions, "question")
    parts = Table(title=Text(f"{name}: variance of a question's difference ({origin})"), box=None)
    for column in ("component", "variance", "share"):
        parts.add_column(column, justify="left" if column == "component" else "right")
    for part, value, share in components.table():
        parts.add_row(part, f"{value:.5f}", f"{share:.0%}")
    console.print(parts)
    if components.noise_assumed and not components.assumed:
        say(
            f"  One answer per question does not tell the noise of answers and judge apart: "
            f"{ASSUMED_NOISE:.0%} of the variance is assumed to be noise."
        )
    elif components.answer is None:
        say("  One answer per question: answer sampling is contained in question × model.")
    if components.judge is None:
        say("  The judge's noise is not known apart: it is contained in the line above it.")
    if not best:
        say(
            f"  No number of answers or judge samples lets "
            f"{counted(planned.questions or 0, 'question')} see a drop of {planned.drop:g}; with "
            "more questions:"
        )
    for one in best or more:
        say(f"  For a drop of {planned.drop:g}: {one.sentence()}.")
