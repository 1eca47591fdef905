"""The chart of held-out losses against epochs, in which forgetting is seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from sft.data_report._charts import Tick, place
from sft.run_report import _words as words
from sft.run_report._charts import Chart, Curve, Mark, axis, chart, decimals, style_of
from sft.run_report._log import Floats
from sft.run_report._summary import HeldOut

Fields: TypeAlias = Mapping[str, Any]

TALL = 340
"""Its height in pixels."""

_MOST_LABELLED = 8
"""Epochs up to which values stand beside the points of the held-out losses."""


def held_out_chart(run: Fields, domains: Sequence[HeldOut]) -> Chart | None:
    """Held-out losses against epochs, each with a thin line where it was before training."""
    ends = np.cumsum(run["steps_per_epoch"])
    reached = max((domain.last for domain in domains), default=0)
    last = max(int((ends <= run["steps"]).sum()), reached, 1)
    losses = [np.array(list(domain.losses.values()), np.float64) for domain in domains]
    bare = axis(losses, TALL)
    if bare is None:
        return None
    scale = replace(bare, margin=28)  # room for the values beside the points
    curves = [_domain_curve(domain, style_of(at)) for at, domain in enumerate(domains)]
    every = max(1, math.ceil(last / _MOST_LABELLED))
    shown = [epoch for epoch in range(0, last + 1, every) if epoch + every <= last or epoch == last]
    return chart(
        id="held-out-chart",
        title="Held-out loss by epoch",
        words=" ".join(_domain_words(domain) for domain in domains),
        caption="Held-out loss, in nats per supervised token, before training and after each "
        "epoch. The dotted line of a colour is where its loss was before training.",
        curves=curves,
        axis=scale,
        level=decimals(scale.levels()),
        ticks=[
            Tick(
                x=place(_inset(np.array([e]), last)[0]),
                label="before" if e == 0 else f"{e}",
                anchor="middle",
            )
            for e in dict.fromkeys([0, *shown, last])
        ],
        across="epoch",
        share=lambda values: _inset(values, last),
        horizontals=[
            Mark(
                at=domain.losses[0],
                style=f"before {style_of(at).split()[0]}",
                words=f"{domain.domain} before training: {words.loss(domain.losses[0])}",
            )
            for at, domain in enumerate(domains)
            if 0 in domain.losses
        ],
        labels=words.loss if last <= _MOST_LABELLED else None,
    )


def _inset(epochs: Floats, last: int) -> Floats:
    """Places of epochs, with room at both ends for their labels."""
    return np.asarray(0.07 + 0.86 * epochs / last, np.float64)


def _domain_curve(domain: HeldOut, style: str) -> Curve:
    epochs = sorted(domain.losses)
    return Curve(
        name=domain.domain,
        x=np.array(epochs, np.float64),
        y=np.array([domain.losses[epoch] for epoch in epochs], np.float64),
        style=f"{style} strong",
        dots=tuple((e, domain.losses[e], _point_words(domain, e)) for e in epochs),
    )


def _point_words(domain: HeldOut, epoch: int) -> str:
    when = "before training" if epoch == 0 else f"after epoch {epoch}"
    change = domain.change(epoch)
    against = "" if change is None else f" ({words.change(change)} against before training)"
    return f"{domain.domain} {when}: {words.loss(domain.losses[epoch])}{against}"


def _domain_words(domain: HeldOut) -> str:
    parts = [
        f"{words.loss(domain.losses[e])} {'before training' if e == 0 else f'after epoch {e}'}"
        for e in sorted(domain.losses)
    ]
    return f"{domain.domain}: {', '.join(parts)}."
