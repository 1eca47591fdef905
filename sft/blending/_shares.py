"""From wished shares to units per epoch: ratios, temperature, totals and caps.

Everything is exact: ratios are the decimals that a person wrote, so .1 of 1000 is 100, and the
largest total that fits is the largest one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from sft.errors import UsageError
from sft.settings import BlendSettings, Group, Source, Unit

RATIO_TOLERANCE = 1e-6
"""How far the sum of ratios may be from 1: rounding in what people write, no more."""


class BlendError(UsageError):
    """A blend that cannot be drawn.

    ``field`` leads from the blend's section of the configuration to what is wrong; the other parts
    are those of `sft.errors.InputError`, which adds file and line.
    """

    def __init__(
        self, field: tuple[str, ...], *, found: str, expected: str, remedy: str | None = None
    ) -> None:
        self.field = field
        self.found = found
        self.expected = expected
        self.remedy = remedy
        text = f"{'.'.join(field)}: found {found}, expected {expected}"
        super().__init__(text if remedy is None else f"{text}. {remedy}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceTarget:
    """What a blend takes of a source in every epoch, in the blend's unit."""

    source: str
    ratio: float
    """Share of the blend."""
    available: int
    """Units of all its samples."""
    target: int
    """Units per epoch; 0 if the source is not drawn."""
    max_epochs: float | None = None

    @property
    def passes(self) -> float:
        """How often an epoch goes through the source; above 1 samples repeat within an epoch."""
        return self.target / self.available if self.available else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class BlendTargets:
    """What a blend takes of every source, in the order of the sources."""

    by: Unit
    total: int
    """Units per epoch; the sum of the sources' targets."""
    sources: tuple[SourceTarget, ...]


def targets(
    settings: BlendSettings, sources: Sequence[Source], available: Mapping[str, int], *, epochs: int
) -> BlendTargets:
    """Units per epoch of every source.

    ``available`` holds the units of each source (`Samples.available` in ``settings.by``). A total
    that is given is split among the sources exactly (largest remainders). Without one it is the
    largest total whose shares need no sample twice within an epoch and no sample more often than
    its source's ``max_epochs`` within ``epochs`` epochs; a cap of 1.5 allows 1.5 times the units.

    Raises BlendError for shares that are impossible (see `shares`), a total that breaks a cap, and
    where no total fits.
    """
    if epochs < 1:
        raise ValueError(f"{epochs} epochs; at least 1 is needed")
    ratios = shares(settings, sources, available)
    capped = {
        source.name: math.floor(_exact(source.max_epochs) * available[source.name] / epochs)
        for source in sources
        if source.max_epochs is not None
    }
    if settings.total is None:
        limits = {name: min(available[name], capped.get(name, available[name])) for name in ratios}
        total = _largest_total(ratios, limits)
        if total == 0:
            raise BlendError(
                ("total",),
                found=f"nothing that fits: {_scarcest(ratios, limits)} allows no unit per epoch",
                expected="caps and shares that leave something to draw",
                remedy="Raise its max_epochs, lower its ratio, or train for fewer epochs",
            )
    else:
        total = settings.total
        if total < 1:
            raise BlendError(("total",), found=str(total), expected="at least 1")
    units = apportion(total, ratios)
    _require_caps(units, ratios, sources, available, capped, epochs)
    return BlendTargets(
        by=settings.by,
        total=total,
        sources=tuple(
            SourceTarget(
                source=source.name,
                ratio=float(ratios[source.name]),
                available=available[source.name],
                target=units[source.name],
                max_epochs=source.max_epochs,
            )
            for source in sources
        ),
    )


def shares(
    settings: BlendSettings, sources: Sequence[Source], available: Mapping[str, int]
) -> dict[str, Fraction]:
    """The share of every source in the blend; they sum to 1.

    With ``ratios`` a group's share is split among its sources in proportion to what they have
    available. Without, the groups play no role: a source's share is in proportion to its available
    units to the power of 1 / ``temperature``.

    Raises BlendError for ratios that do not sum to 1, are negative, lack a group or name one that
    does not exist; for a temperature that is not positive; and for a source that shall be drawn
    and has nothing available.
    """
    if settings.ratios is None:
        return _tempered(settings.temperature, sources, available)
    groups: dict[str, list[str]] = {}
    for source in sources:
        groups.setdefault(_group(source, settings.group), []).append(source.name)
    ratios = checked_ratios(settings.ratios, groups, settings.group)
    result = {}
    for group, names in groups.items():
        for name in names:
            if ratios[group] and not available[name]:
                raise _nothing_left(name, ("ratios", group))
            whole = sum(available[other] for other in names)
            part = Fraction(available[name], whole) if whole else Fraction(0)
            result[name] = ratios[group] * part
    return {source.name: result[source.name] for source in sources}


def apportion(total: int, ratios: Mapping[str, Fraction]) -> dict[str, int]:
    """Whole units that sum to ``total``, each within one of its share (largest remainders).

    Equal remainders are served in the order of the names, not that of a configuration.
    """
    quotas = {name: total * ratio for name, ratio in ratios.items()}
    units = {name: math.floor(quota) for name, quota in quotas.items()}
    by_remainder = sorted(quotas, key=lambda name: (units[name] - quotas[name], name))
    for name in by_remainder[: total - sum(units.values())]:
        units[name] += 1
    return units


def _tempered(
    temperature: float, sources: Sequence[Source], available: Mapping[str, int]
) -> dict[str, Fraction]:
    if not temperature > 0:
        raise BlendError(("temperature",), found=str(temperature), expected="more than 0")
    for source in sources:
        if not available[source.name]:
            raise _nothing_left(source.name, ("temperature",))
    most = max(available[source.name] for source in sources)
    # Relative to the largest source, so that no power overflows; at 1 the shares stay exact.
    relative = {source.name: Fraction(available[source.name], most) for source in sources}
    if temperature != 1:
        relative = {
            name: Fraction(float(part) ** (1 / temperature)) for name, part in relative.items()
        }
    whole = sum(relative.values())
    return {name: part / whole for name, part in relative.items()}


def checked_ratios(
    ratios: Mapping[str, float], groups: Iterable[str], kind: Group
) -> dict[str, Fraction]:
    """The ratios as exact decimals that sum to 1, of the names in ``groups``.

    Raises BlendError for ratios that do not sum to 1, are negative, lack a group or name one that
    does not exist.
    """
    groups = set(groups)
    if unknown := sorted(set(ratios) - groups):
        raise BlendError(
            ("ratios", unknown[0]),
            found=unknown[0],
            expected=f"a {kind} of the sources: {', '.join(sorted(groups))}",
        )
    if missing := sorted(groups - set(ratios)):
        raise BlendError(
            ("ratios",),
            found=f"no ratio for {', '.join(missing)}",
            expected=f"a ratio for every {kind}",
            remedy="Write 0 for what shall not be drawn",
        )
    for name, ratio in ratios.items():
        if not 0 <= ratio <= 1 + RATIO_TOLERANCE:  # also NaN
            raise BlendError(("ratios", name), found=str(ratio), expected="a share from 0 to 1")
    exact = {name: _exact(ratio) for name, ratio in ratios.items()}
    whole = sum(exact.values(), Fraction(0))
    if abs(whole - 1) > _exact(RATIO_TOLERANCE):
        raise BlendError(
            ("ratios",),
            found=f"ratios that sum to {float(whole):.10g}",
            expected="a sum of 1",
            remedy=f"{'Take away' if whole > 1 else 'Add'} {abs(float(whole - 1)):.10g}",
        )
    return {name: ratio / whole for name, ratio in exact.items()}


def _require_caps(
    units: Mapping[str, int],
    ratios: Mapping[str, Fraction],
    sources: Sequence[Source],
    available: Mapping[str, int],
    capped: Mapping[str, int],
    epochs: int,
) -> None:
    """Refuse units that need a source more often than its cap allows."""
    for source in sources:
        name = source.name
        if name not in capped or units[name] <= capped[name]:
            continue
        needed = epochs * units[name] / available[name]
        possible = _largest_total({name: ratios[name] for name in capped}, capped)
        raise BlendError(
            ("total",),
            found=f"{sum(units.values())} per epoch, which takes {name} {needed:.4g} times in "
            f"{epochs} epochs",
            expected=f"at most {source.max_epochs:g} times, its max_epochs",
            remedy=f"The largest total that keeps all caps is {possible}",
        )


def _largest_total(ratios: Mapping[str, Fraction], limits: Mapping[str, int]) -> int:
    """The largest total whose shares are within the limits.

    A share of at most a whole number is apportioned at most that number, so no rounding breaks it.
    """
    return min(math.floor(limits[name] / ratio) for name, ratio in ratios.items() if ratio)


def _scarcest(ratios: Mapping[str, Fraction], limits: Mapping[str, int]) -> str:
    return min((name for name in ratios if ratios[name]), key=lambda n: limits[n] / ratios[n])


def _exact(decimal: float) -> Fraction:
    """The decimal number that a float was written as."""
    return Fraction(repr(float(decimal)))


def _group(source: Source, kind: Group) -> str:
    return {Group.SOURCE: source.name, Group.DOMAIN: source.domain, Group.TASK: source.task}[kind]


def _nothing_left(name: str, field: tuple[str, ...]) -> BlendError:
    return BlendError(
        field,
        found=f"nothing left of {name} after the steps before",
        expected="samples of every source that shall be drawn",
        remedy=f"The report says what removed them; give {name} a ratio of 0, or leave it out",
    )
