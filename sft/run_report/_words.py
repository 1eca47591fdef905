"""What a report says in sentences, and how it writes losses and rates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from sft.data_report._formats import NONE, compact, counted, duration, number, share
from sft.run_report._summary import STEADY, HeldOut, Summary

Fields: TypeAlias = Mapping[str, Any]

NOT_A_NUMBER = "not a number"

_MOST_NAMED = 6
"""Domains that a sentence names; the table has all."""


def loss(value: float | None) -> str:
    """A loss in three decimals, which a large one does without."""
    if value is None:
        return NONE
    if math.isnan(value):
        return NOT_A_NUMBER
    return f"{value:.3f}" if abs(value) < 1000 else f"{value:.3g}"


def change(value: float | None) -> str:
    """A difference of losses with its sign; one of nothing has none."""
    if value is None or math.isnan(value):
        return NONE
    text = loss(abs(value))
    sign = "" if text == loss(0.0) else "−" if value < 0 else "+"
    return f"{sign}{text}"


def rate(value: float | None) -> str:
    """A learning rate or another small number in three digits, e.g. "3e-5", "0.75"."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:.3g}"
    if "e" not in text:
        return text
    head, power = text.split("e")
    return f"{head}e{int(power)}"


def known(value: float | None) -> float | None:
    """The value, None for NaN: what the house's formats take."""
    return None if value is None or math.isnan(value) else value


def per_second(value: float | None) -> str:
    """A rate of tokens, e.g. "12,345 tokens/s"."""
    value = known(value)
    if value is None:
        return NONE
    text = compact(value) if value >= 1e6 else number(round(value, 2 if value < 10 else 0))
    return f"{text} tokens/s"


def flop(value: float) -> str:
    """A number of floating-point operations, e.g. "8.1 GFLOP"."""
    for size, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.4g} {prefix}FLOP"
    return f"{value:.4g} FLOP"


def what_it_was(run: Fields, summary: Summary) -> str:
    """The sentence that says what the run trains, on what, and how far it is."""
    model, data = run["model"], run["data"]
    size = f"{compact(model['parameters'])} parameters"
    if model["lora"] is not None:
        size += f", {compact(model['trainable'])} of them trained, in adapters"
    elif model["trainable"] != model["parameters"]:
        size += f", {compact(model['trainable'])} of them trained"
    epochs = len(run["steps_per_epoch"])
    planned = counted(run["steps"], "step")
    done = f"all {planned}" if summary.done == run["steps"] else f"{summary.done:,} of {planned}"
    verb = {"finished": "was trained", "ended": "was in training", "open": "is in training"}
    text = (
        f"A model of {size} {verb[summary.state]} on the blend {data['blend']} of {data['name']}, "
        f"with {counted(epochs, 'epoch')} planned: {done}"
    )
    if known(summary.tokens_per_second) is not None:
        text += (
            f", or {compact(summary.tokens)} tokens, in {duration(summary.seconds)} on "
            f"{_machines(run['hardware'])}"
        )
    return text + "."


def _machines(hardware: Fields) -> str:
    processes = hardware["processes"]
    if hardware["device"] == "cpu":
        return "a CPU" if processes == 1 else f"a CPU, in {number(processes)} processes"
    return f"{number(processes)} × {hardware['device']}"


def what_came_of_it(summary: Summary) -> list[str]:
    """Sentences about held-out losses; about the training loss where there is nothing else."""
    trained = [d for d in summary.held_out if d.last > 0]
    if not summary.done:
        return ["No step has been made yet.", *_before(summary)]
    if not trained:
        return [_training(summary), *_before(summary)] + (
            []
            if summary.held_out
            else ["No held-out losses were taken, so that the report cannot say what it forgot."]
        )
    sentences = [_after(summary, trained), *_verdicts(trained)]
    return [sentence for sentence in sentences if sentence]


def _training(summary: Summary) -> str:
    if math.isnan(summary.last_loss):
        return f"The training loss is {NOT_A_NUMBER} in the last steps."
    if summary.done <= summary.window:
        return f"The training loss is {loss(summary.last_loss)}."
    steps = "step" if summary.window == 1 else f"{summary.window} steps"
    return (
        f"The mean training loss is {loss(summary.first_loss)} in the first {steps} and "
        f"{loss(summary.last_loss)} in the last {'one' if summary.window == 1 else summary.window}."
    )


def _before(summary: Summary) -> list[str]:
    first = [d for d in summary.held_out if d.moved in ("first", "broken")]
    if not first:
        return []
    listed = _listed([f"{loss(d.losses[d.last])} on {d.domain}" for d in first])
    return [f"Before training the held-out loss is {listed}; none was taken since."]


def _after(summary: Summary, trained: Sequence[HeldOut]) -> str:
    """Where the losses are after the last evaluated epoch, and where they came from."""
    parts = []
    for kind, verb, form in (
        ("fell", "fell", "on {} from {} to {}"),
        ("rose", "rose", "on {} from {} to {}"),
        ("stayed", "stayed about the same", "on {} ({} before, {} after)"),
    ):
        moves = [
            form.format(d.domain, loss(d.losses[0]), loss(d.losses[d.last]))
            for d in trained
            if d.moved == kind
        ]
        if moves:
            parts.append(f"{verb} {_listed(moves)}")
    broken = [d.domain for d in trained if d.moved == "broken"]
    if broken:
        parts.append(f"is {NOT_A_NUMBER} on {_listed(broken)}")
    alone = [f"{loss(d.losses[d.last])} on {d.domain}" for d in trained if d.moved == "alone"]
    if alone:
        parts.append(f"is {_listed(alone)}, without one from before training to compare it with")
    last = max(d.last for d in trained)
    return f"After epoch {last} the held-out loss {_joined(parts)}."


def _verdicts(trained: Sequence[HeldOut]) -> list[str]:
    fell, rose, stayed = (
        [d.domain for d in trained if d.moved == kind] for kind in ("fell", "rose", "stayed")
    )
    found = []
    if fell and rose:
        found.append(
            f"The model is better on {_listed(fell)} and worse on {_listed(rose)} than before "
            "training: a sign of forgetting."
        )
    elif rose:
        found.append(
            f"On {_listed(rose)} the model is worse than before training"
            + (", and it is better on no domain." if len(trained) > 1 else ".")
        )
    elif fell and len(fell + stayed) == len(trained):
        found.append(
            "No held-out loss is above where it was before training: no sign of forgetting on "
            "these texts."
        )
    elif stayed and len(stayed) == len(trained):
        found.append(f"None moved by more than {STEADY} nats: the training changed little.")
    for domain in trained:
        best, last = domain.best, domain.last
        if best is None or best == last or domain.moved not in ("fell", "rose", "stayed"):
            continue
        since = domain.losses[last] - domain.losses[best]
        if since > STEADY and domain.losses[best] < domain.losses[0]:
            found.append(
                f"On {domain.domain} it was lowest after epoch {best} "
                f"({loss(domain.losses[best])}) and has risen since: a sign of overfitting."
            )
    return found


def _listed(parts: Sequence[str]) -> str:
    """Parts as "a, b and c"; the rest of a long list is counted."""
    shown = list(parts)
    if len(shown) > _MOST_NAMED + 1:
        shown = [*shown[:_MOST_NAMED], f"{len(parts) - _MOST_NAMED} more"]
    if len(shown) == 1:
        return shown[0]
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _joined(parts: Sequence[str]) -> str:
    """Clauses of one sentence."""
    if len(parts) == 1:
        return parts[0]
    between = ", " if len(parts) == 2 else "; "
    return f"{'; '.join(parts[:-1])}{between}and {parts[-1]}"


def utilisations(values: Mapping[str, float]) -> str:
    """Utilisations by their formulas, e.g. "41.2 % (A), 38.0 % (B)"."""
    return ", ".join(f"{share(known(value))} ({name})" for name, value in values.items())
