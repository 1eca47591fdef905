"""The blends: what was planned, what an epoch holds of it, and how several of them compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any, TypeAlias

from sft.data_report._charts import Group, Series, groups
from sft.data_report._formats import share, words

Fields: TypeAlias = Mapping[str, Any]

UNITS: Mapping[str, str] = {
    "tokens": "token",
    "supervised_tokens": "supervised token",
    "samples": "sample",
}
"""What the shares of a blend are counted in → one of them."""

_VIEWS = (
    ("by_language", "language", "By language"),
    ("by_task", "task", "By task"),
    ("by_domain", "domain", "By domain"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendView:
    """What the page shows of a blend beside the report's own fields.

    ``farthest`` is the largest distance of a realised share from its planned one, with the source
    and the epoch; None without epochs. ``others`` are (title, bars) by language, task, domain.
    """

    fields: Fields
    letter: str
    unit: str
    mixture: tuple[Group, ...]
    others: tuple[tuple[str, tuple[Group, ...]], ...]
    farthest: tuple[float, str, int] | None
    repeated: tuple[Fields, ...]
    unused: tuple[Fields, ...]
    fill: float | None
    worst: Fields | None
    """The ``step_balance`` of the epoch with the largest deviation."""
    totals: Mapping[str, int]
    """Samples, tokens, supervised tokens, packs and steps of all epochs."""


def blend_views(report: Fields) -> list[BlendView]:
    """One view per blend, in the order of the report."""
    return [_view(blend, at) for at, blend in enumerate(report["blends"])]


def letter(at: int) -> str:
    """A short sign of the blend with that index: A..Z, then A2..Z2."""
    turn, index = divmod(at, len(ascii_uppercase))
    return ascii_uppercase[index] + (str(turn + 1) if turn else "")


def comparison(views: Sequence[BlendView], sources: Sequence[str]) -> list[Group]:
    """The share of every source in every blend's first epoch, against what was planned."""
    series = []
    for view in views:
        planned = _planned(view.fields)
        realised = _realised(view.fields["epochs"][0]) if view.fields["epochs"] else {}
        names = [name for name in sources if name in planned or name in realised]
        series.append(
            Series(
                name=f"{view.letter}, {view.fields['name']}",
                short=view.letter,
                values=_against(names, realised, planned),
            )
        )
    return groups(series)


def _planned(blend: Fields) -> dict[str, float]:
    return {entry["source"]: entry["ratio"] for entry in blend["sources"]}


def _realised(epoch: Fields) -> dict[str, float]:
    return {entry["source"]: entry["share"] for entry in epoch["shares"]}


def _view(blend: Fields, at: int) -> BlendView:
    epochs = blend["epochs"]
    planned = _planned(blend)
    distances = [
        (abs(_realised(epoch).get(name, 0.0) - ratio), name, epoch["epoch"])
        for epoch in epochs
        for name, ratio in planned.items()
    ]
    balances = [epoch["step_balance"] for epoch in epochs if epoch["step_balance"] is not None]
    return BlendView(
        fields=blend,
        letter=letter(at),
        unit=UNITS.get(blend["by"], blend["by"]),
        mixture=tuple(groups([_mixture(epoch, planned) for epoch in epochs])),
        others=tuple(
            (title, tuple(bars))
            for field, name, title in _VIEWS
            if (bars := groups([_shares(epoch, field, name) for epoch in epochs]))
        ),
        farthest=max(distances, key=lambda entry: entry[0], default=None),
        repeated=tuple(entry for entry in blend["sources"] if (entry["passes"] or 0) > 1),
        unused=tuple(entry for entry in blend["sources"] if not entry["ratio"]),
        fill=min((epoch["fill"] for epoch in epochs), default=None),
        worst=max(balances, key=lambda entry: entry["worst"], default=None),
        totals={
            name: sum(epoch[name] for epoch in epochs)
            for name in ("samples", "tokens", "supervised_tokens", "packs", "steps")
        },
    )


def _mixture(epoch: Fields, planned: Mapping[str, float]) -> Series:
    realised = _realised(epoch)
    names = list(dict.fromkeys([*planned, *realised]))
    return Series(
        name=f"epoch {epoch['epoch']}", short="", values=_against(names, realised, planned)
    )


def _against(
    names: Sequence[str], realised: Mapping[str, float], planned: Mapping[str, float]
) -> dict[str, tuple[float, str, float | None]]:
    """Name → (realised share, the same in words, planned share or None)."""
    return {
        name: (value := realised.get(name, 0.0), share(value, 2), planned.get(name))
        for name in names
    }


def _shares(epoch: Fields, field: str, name: str) -> Series:
    return Series(
        name=f"epoch {epoch['epoch']}",
        short="",
        values={
            words(entry[name] or "not known"): (entry["share"], share(entry["share"], 2), None)
            for entry in epoch[field]
        },
    )
