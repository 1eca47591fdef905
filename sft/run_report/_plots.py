"""The charts of a run: which curves, on which axes, and their numbers in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from sft.data_report._formats import counted, number, share, size
from sft.run_report import _words as words
from sft.run_report._charts import Axis, Chart, Curve, Mark, axis, chart, decimals, step_ticks
from sft.run_report._curves import MOST_POINTS, running_mean, window
from sft.run_report._held_out import held_out_chart
from sft.run_report._log import Floats, RunLog, Steps
from sft.run_report._summary import Summary, utilisation_factors

Fields: TypeAlias = Mapping[str, Any]

MIDDLE, LOW = 200, 120
"""Heights of charts in pixels."""

_SMALL_POINTS = 300
"""Points of a curve in a small chart."""

FORMULAS: Mapping[str, str] = {
    "A": "A: attention over the whole pack",
    "B": "B: half of it, for attention is causal",
    "documents": "documents: attention within them only",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Plots:
    """The charts of a report; those without a number to show are missing."""

    held_out: Chart | None
    loss: Chart | None
    sources: tuple[Chart, ...]
    schedule: tuple[Chart, ...]
    speed: tuple[Chart, ...]


@dataclass(frozen=True, slots=True)
class _Across:
    """The horizontal axis of steps, the same for all charts of a run."""

    last: int
    verticals: tuple[Mark, ...]

    def share(self, values: Floats) -> Floats:
        return np.asarray(values / self.last, np.float64)


def plots(run: Fields, log: RunLog, summary: Summary) -> Plots:
    """All charts of a run."""
    across = _across(run, log)
    return Plots(
        held_out=held_out_chart(run, summary.held_out),
        loss=_loss(log.steps, summary, across),
        sources=_sources(log.steps, across),
        schedule=_present(_learning_rate(log.steps, across), _norm(run, log.steps, across)),
        speed=_present(
            _speed(log.steps, summary, across),
            _utilisation(run, log.steps, summary, across),
            _memory(run, log.steps, across),
        ),
    )


def _present(*charts: Chart | None) -> tuple[Chart, ...]:
    return tuple(each for each in charts if each is not None)


def _across(run: Fields, log: RunLog) -> _Across:
    """Steps from 0 to the last planned one; epochs end and restarts happen at vertical lines."""
    last = max([run["steps"], 1, *log.steps.step[-1:].tolist()])
    ends = np.cumsum(run["steps_per_epoch"]).tolist()
    marks = [
        Mark(at=end, style="epoch", words=f"End of epoch {epoch}, step {number(end)}")
        for epoch, end in enumerate(ends, start=1)
        if end < last
    ]
    marks += [
        Mark(
            at=min(start["from_step"], last),
            style="restart",
            words=f"Restarted from step {number(start['from_step'])}",
        )
        for start in run["starts"][1:]
    ]
    return _Across(last, tuple(marks))


def _over_steps(
    across: _Across,
    curves: Sequence[Curve],
    *,
    id: str,
    title: str,
    words: str,
    caption: str,
    scale: Axis | None,
    level: Callable[[float], str] | None = None,
    horizontals: Sequence[Mark] = (),
    points: int = MOST_POINTS,
) -> Chart | None:
    if scale is None:
        return None
    return chart(
        id=id,
        title=title,
        words=words,
        caption=caption,
        curves=[_dotted(curve) for curve in curves],
        axis=scale,
        level=level or decimals(scale.levels()),
        ticks=step_ticks(across.last, 4 if points == MOST_POINTS else 2),
        across="step",
        share=across.share,
        verticals=across.verticals,
        horizontals=horizontals,
        points=points,
    )


def _dotted(curve: Curve) -> Curve:
    """The curve; if it has a single point, of which no line can be drawn, with that one marked."""
    (there,) = np.nonzero(np.isfinite(curve.y))
    if len(there) != 1:
        return curve
    x, y = float(curve.x[there[0]]), float(curve.y[there[0]])
    return replace(curve, dots=((x, y, f"Step {number(x)}: {words.rate(y)}"),))


def _loss(steps: Steps, summary: Summary, across: _Across) -> Chart | None:
    x = steps.step.astype(np.float64)
    width = summary.window
    smooth = running_mean(steps.loss, steps.supervised_tokens.astype(np.float64), width)
    curves = [Curve(name="each step", x=x, y=steps.loss, style="c0 faint")]
    if width > 1:
        curves.append(Curve(name=f"mean of {width} steps", x=x, y=smooth, style="c0 strong"))
    text = _from_to(smooth, words.loss)
    if summary.not_numbers:
        shown = ", ".join(number(step) for step in summary.not_numbers[:5])
        more = len(summary.not_numbers) - 5
        text += f" It is {words.NOT_A_NUMBER} at step {shown}"
        text += f" and {number(more)} more." if more > 0 else "."
    return _over_steps(
        across,
        curves,
        id="loss-chart",
        title="Training loss",
        words=text,
        caption=f"Training loss, in nats per supervised token. {text}",
        scale=axis([steps.loss], 280),
    )


def _sources(steps: Steps, across: _Across) -> tuple[Chart, ...]:
    """One small chart per source, all on one scale; the grey line is all sources together."""
    smooth: dict[str, tuple[Floats, Floats]] = {}
    for source, losses in sorted(steps.losses.items()):
        there = np.isfinite(losses)
        own = losses[there]
        x = steps.step[there].astype(np.float64)
        smooth[source] = (x, running_mean(own, np.ones(len(own)), window(len(own))))
    whole = running_mean(
        steps.loss, steps.supervised_tokens.astype(np.float64), window(len(steps))
    )  # fmt: skip
    scale = axis([whole, *(y for _, y in smooth.values())], LOW)
    every = Curve(name="", x=steps.step.astype(np.float64), y=whole, style="whole")
    found = []
    for at, (source, (x, y)) in enumerate(smooth.items()):
        text = f"In {counted(len(x), 'step')}. {_from_to(y, words.loss)}"
        drawn = _over_steps(
            across,
            [every, Curve(name="", x=x, y=y, style="c0 strong")],
            id=f"source-{at}-chart",
            title=source,
            words=text,
            caption=text,
            scale=scale,
            points=_SMALL_POINTS,
        )
        found.append(drawn)
    return _present(*found)


def _learning_rate(steps: Steps, across: _Across) -> Chart | None:
    rates = steps.learning_rate
    x = steps.step.astype(np.float64)
    text = ""
    if np.isfinite(rates).any():
        at = int(np.nanargmax(rates))
        text = (
            f"Highest at step {number(int(steps.step[at]))} with {words.rate(float(rates[at]))}; "
            f"{words.rate(float(rates[-1]))} in step {number(int(steps.step[-1]))}."
        )
    return _over_steps(
        across,
        [Curve(name="", x=x, y=rates, style="c0 strong")],
        id="learning-rate-chart",
        title="Learning rate",
        words=text,
        caption=f"Learning rate. {text}",
        scale=axis([rates], MIDDLE, zero=True),
        level=words.rate,
    )


def _norm(run: Fields, steps: Steps, across: _Across) -> Chart | None:
    norms = steps.gradient_norm
    x = steps.step.astype(np.float64)
    width = window(len(steps))
    smooth = running_mean(norms, np.ones(len(norms)), width)
    clip = (run["config"].get("optimizer") or {}).get("clip") or 0
    known = norms[np.isfinite(norms)]
    scale = axis([norms], MIDDLE, zero=True, log=True)
    text = ""
    if len(known):
        middle, most = float(np.median(known)), float(known.max())
        text = f"Median {words.rate(middle)}, largest {words.rate(most)}."
        if clip:
            text += (
                f" Clipped to {words.rate(clip)} in {share(float((known > clip).mean()))} of "
                f"{counted(len(known), 'step')}."
            )
        if len(known) < len(norms):
            text += f" Not known in {counted(len(norms) - len(known), 'step')}."
        text += " The scale is logarithmic." if scale and scale.log else ""
    curves = [Curve(name="each step", x=x, y=norms, style="c0 faint")]
    if width > 1:
        curves.append(Curve(name=f"mean of {width} steps", x=x, y=smooth, style="c0 strong"))
    return _over_steps(
        across,
        curves,
        id="gradient-norm-chart",
        title="Norm of the gradient",
        words=text,
        caption=f"Norm of the gradient, before clipping. {text}",
        scale=scale,
        level=words.rate,
        horizontals=[Mark(at=clip, style="limit", words=f"Clipped to {clip:g}")] if clip else (),
    )


def _rates(steps: Steps) -> Floats:
    """Real tokens per second of every step; NaN where a step has no time."""
    rates = np.full(len(steps), np.nan)
    np.divide(steps.tokens, steps.seconds, out=rates, where=steps.seconds > 0)
    return rates


def _speed(steps: Steps, summary: Summary, across: _Across) -> Chart | None:
    x, rates = steps.step.astype(np.float64), _rates(steps)
    smooth = running_mean(rates, steps.seconds, summary.window)
    text = f"{words.per_second(summary.tokens_per_second)} over all steps. {_range(rates)}"
    curves = [Curve(name="each step", x=x, y=rates, style="c0 faint")]
    if summary.window > 1:
        name = f"mean of {summary.window} steps"
        curves.append(Curve(name=name, x=x, y=smooth, style="c0 strong"))
    return _over_steps(
        across,
        curves,
        id="speed-chart",
        title="Tokens per second",
        words=text,
        caption="Tokens per second of optimizer steps, padding, evaluation and saving not "
        f"counted. {text}",
        scale=axis([rates], MIDDLE, zero=True),
        level=lambda value: words.per_second(value).removesuffix(" tokens/s"),
    )


def _utilisation(run: Fields, steps: Steps, summary: Summary, across: _Across) -> Chart | None:
    """Model FLOPs utilisation by every formula; None where the peak is not known."""
    factors = utilisation_factors(run)
    smooth = running_mean(_rates(steps), steps.seconds, summary.window)
    curves = [
        Curve(
            name=FORMULAS.get(name, name),
            x=steps.step.astype(np.float64),
            y=smooth * factor,
            style=f"c{at} d{at} strong",
        )
        for at, (name, factor) in enumerate(factors.items())
    ]
    text = f"Over all steps {words.utilisations(summary.utilisation)}."
    scale = axis([curve.y for curve in curves], MIDDLE, zero=True)
    return _over_steps(
        across,
        curves,
        id="utilisation-chart",
        title="Model FLOPs utilisation",
        words=text,
        caption="Model FLOPs utilisation: tokens per second × operations per token ÷ peak of the "
        f"accelerators, means of {counted(summary.window, 'step')}. {text}",
        scale=scale,
        level=lambda value: share(value, 1 if scale and scale.high < 0.1 else 0),
    )


def _memory(run: Fields, steps: Steps, across: _Across) -> Chart | None:
    used = steps.memory_bytes
    known = used[np.isfinite(used)]
    limit = run["hardware"]["memory_bytes"]
    text = ""
    if len(known):
        text = f"At most {size(int(known.max()))}"
        text += f" of {size(int(limit))} ({share(float(known.max()) / limit)})." if limit else "."
    marks = [Mark(at=limit, style="limit", words=f"There are {size(int(limit))}")] if limit else []
    return _over_steps(
        across,
        [Curve(name="", x=steps.step.astype(np.float64), y=used, style="c0 strong")],
        id="memory-chart",
        title="Memory",
        words=text,
        caption=f"Most memory in use so far, per process. {text}",
        scale=axis([used], MIDDLE, zero=True),
        level=lambda value: size(round(value)).replace(".0\u00a0", "\u00a0"),
        horizontals=marks,
    )


def _from_to(values: Floats, write: Callable[[float | None], str]) -> str:
    """The first, the last and the lowest value of a curve in a sentence."""
    known = values[np.isfinite(values)]
    if not len(known):
        return "No value is a number."
    if len(known) == 1:
        return f"{write(float(known[0]))}."
    return (
        f"The running mean goes from {write(float(known[0]))} to {write(float(known[-1]))}; its "
        f"lowest is {write(float(known.min()))}."
    )


def _range(values: Floats) -> str:
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return ""
    low, high = (words.per_second(float(v)).removesuffix(" tokens/s") for v in
                 (known.min(), known.max()))  # fmt: skip
    return f"Slowest step {low}, fastest {high}."
