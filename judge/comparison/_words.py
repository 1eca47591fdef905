"""Numbers and findings in words, the same on the page and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from judge.figures import DASH, number, signed

Fields: TypeAlias = Mapping[str, Any]

BEST = "*"

BANNER = (
    "SYNTHETIC RATINGS: simulated raters took part. These numbers show the path, and nothing about "
    "any model."
)
OFFLINE = (
    "The offline baseline judged these answers: fixed formulas, not an LLM. They show what a "
    "comparison looks like, and rank nothing."
)
BASES = {
    "judge": "not calibrated: mean scores of the judge, which people's ratings have not corrected",
    "calibrated": "calibrated: estimates on the scale of people's ratings, which carry the judge's "
    "error",
    "printed": "figures as printed; the publication gives no intervals",
}


def bounds(low: float | None, high: float | None, digits: int = 3, *, plus: bool = False) -> str:
    """An interval, e.g. "[0.41, 0.62]"; empty where there is none."""
    if low is None or high is None:
        return ""
    write = signed if plus else number
    # A limit just beside 0 keeps its side of it.
    ends = (
        write(end, digits + 1 if end and abs(end) < 0.5 * 10.0**-digits else digits)
        for end in (low, high)
    )
    return f"[{', '.join(ends)}]"


def percent(share: float | None) -> str:
    """A share in per cent; 0 and 100 only where they are exact."""
    if share is None:
        return DASH
    if 0 < share < 0.01:
        return "< 1 %"
    return "> 99 %" if 0.99 < share < 1 else f"{100 * share:.0f} %"


def counted(n: int, what: str, many: str | None = None) -> str:
    """A number of things: "1 question", "1,200 questions"."""
    return f"{n:,} {what if n == 1 else many or what + 's'}"


def names_of(body: Fields) -> dict[str, str]:
    """Criterion → its name."""
    return {entry["criterion"]: entry["name"] for entry in body["criteria"]}


def cells(body: Fields) -> dict[tuple[str, str], dict[str, Any]]:
    """(criterion, model) → the estimate with its standing."""
    stands = {(one["criterion"], one["model"]): one for one in body["standings"]}
    return {
        (one["criterion"], one["model"]): {
            **one, **stands.get((one["criterion"], one["model"]), {"top": False, "best": None})
        }
        for one in body["estimates"]
    }  # fmt: skip


def facts_line(one: Fields) -> str:
    """What is known of a model, in one line; empty where nothing is."""
    epoch, tuned = one["epoch"], one["tuned"]
    zero_shot = tuned is False or (tuned is None and epoch == 0)
    parts = [
        None if one["size_b"] is None else f"{one['size_b']:.3g} B parameters",
        None if one["base"] in (None, one["model"]) else f"base {one['base']}",
        "zero-shot" if zero_shot else f"epoch {epoch}" if epoch else "tuned" if tuned else None,
        None if one["blend"] is None else f"blend {one['blend']}",
        None if one["domain_share"] is None else f"{percent(one['domain_share'])} in-domain data",
    ]
    return ", ".join(part for part in parts if part)


def optimum_sentence(optimum: Fields, name: str) -> str:
    """Where a criterion is highest over the epochs."""
    low, high = optimum["low"], optimum["high"]
    at = f"{name} is highest at epoch {optimum['epoch']}"
    where = (
        f"; the best epoch is {low}" if low == high else f"; the best epoch lies in {low}–{high}"
    )
    share = next(
        (one["share"] for one in optimum["shares"] if one["epoch"] == optimum["epoch"]), 0.0
    )
    return (
        f"{at}{where} ({percent(share)} of the draws are for epoch "
        f"{optimum['epoch']}; {counted(optimum['n_questions'], 'question')})."
    )


def brevity_sentence(one: Fields) -> str:
    """How the length of answers changes per epoch."""
    change = 100 * (one["ratio"] - 1)
    what = "longer" if change > 0 else "shorter"
    text = f"Answers become {abs(change):.1f} % {what} per epoch"
    if one["low"] is not None:
        low, high = (signed(100 * (one[end] - 1), 1) for end in ("low", "high"))
        text += f" (interval {low} % to {high} %)"
    return f"{text}, on {counted(one['n_questions'], 'question')}."


def pair_sentence(pair: Fields, names: Mapping[str, str], region: float) -> str:
    """What the weights decide between two models."""
    if pair["common_questions"] == 0:
        return (
            f"{pair['ahead']} and {pair['behind']} have no question with an overall of both: their "
            "means are of different questions, and nothing is said of their difference."
        )
    share = pair["region_flip_share"]
    text = f"{pair['ahead']} leads {pair['behind']} by {number(pair['gap'])}"
    if pair["gap"] == 0:
        text = f"{pair['ahead']} and {pair['behind']} tie"
    text += f"; over the region (each weight ±{region:g}) by {bounds(pair['low'], pair['high'])}"
    text += (
        ", never turned round" if pair["robust"] else f", turned round in {percent(share)} of it"
    )
    if (decisive := pair["decisive"]) is not None:
        name = names.get(decisive["criterion"], decisive["criterion"])
        text += (
            f". Decisive: {name}, which would have to weigh {number(decisive['flips_at'], 2)} "
            f"instead of {number(decisive['weight'], 2)}"
        )
    else:
        text += ". No single weight turns it round"
    if (noise := pair["noise_flip_share"]) is not None:
        text += f". Other questions would turn it round in {percent(noise)} of draws"
    elif pair["common_questions"] is not None:
        text += (
            ". What other questions would do cannot be said: none has all scores of an answer of "
            "both"
        )
    return text + "."


def leaders(body: Fields) -> Sequence[str]:
    """The models that are best overall within noise, the highest first."""
    of = [one for one in body["standings"] if one["criterion"] == "overall" and one["best"]]
    return [one["model"] for one in sorted(of, key=lambda one: not one["top"])]


def lead(body: Fields) -> str:
    """Who leads, in a sentence; empty of a single model, and of formulas, which rank nothing."""
    if len(body["models"]) < 2 or body["offline"]:
        return ""
    names = leaders(body)
    if not names:
        return "No models have an overall that could be compared."
    if len(names) > 1:
        told = f"{', '.join(names[:-1])} and {names[-1]}"
        text = f"Overall, {told} are each the best within noise"
    else:
        text = f"Overall, {names[0]} is the best, beyond noise"
    of = [one for one in body["standings"] if one["criterion"] == "overall"]
    unknown = [one["model"] for one in of if one["best"] is None]
    rest = f", among those that can be compared (not {', '.join(unknown)})" if unknown else ""
    return f"{text}{rest}."


def decisions_basis(body: Fields) -> str:
    """On what the section of weights rests where that is not what the table shows; else empty."""
    found = body["decisions"]
    if found is None or not found["pairs"]:
        return ""
    parts = []
    if body["basis"] != found["basis"]:
        parts.append("on the judge's own scores, not on the human scale of the table")
    if found["left_out"]:
        parts.append(
            "on answers with all their scores alone "
            f"({counted(found['left_out'], 'answer')} left out)"
        )
    if not parts:
        return ""
    return (
        f"What follows on weights rests {' and '.join(parts)}: its leads need not be those of the "
        "differences."
    )


def findings(body: Fields) -> list[str]:
    """What a comparison found beyond its table, most wanted first, a sentence each."""
    names = names_of(body)
    found = []
    if (table := body["published"]) is not None:
        agree = sum(one["agrees"] for one in table["reproduced"])
        found.append(
            f"The profile {body['weights']} reproduces {agree} of {len(table['reproduced'])} "
            f"printed overalls to {table['decimals']} decimals."
        )
        if table["explained"]["possible"]:
            found.append(
                "Many weights do: "
                + ", ".join(
                    f"{names[one['criterion']]} {number(one['low'], 2)} to {number(one['high'], 2)}"
                    for one in table["explained"]["bounds"]
                )
                + "."
            )
    for curve in body["trends"]["epochs"]:
        overall = [one for one in curve["optima"] if one["criterion"] == "overall"]
        found += [f"{curve['label']}: {optimum_sentence(one, 'Overall')}" for one in overall]
    found += [f"{one['label']}: {brevity_sentence(one)}" for one in body["trends"]["brevity"]]
    if (decisions := body["decisions"]) is not None:
        if basis := decisions_basis(body):
            found.append(basis)
        found += [pair_sentence(pair, names, decisions["region"]) for pair in decisions["pairs"]]
    return found
