"""Which baseline holds on a night, and whether the night's scores stand on a scale with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from judge.drift._records import Baseline, Bridge, DriftSettings, Night
from judge.drift._reference import Reference, reference
from judge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What a night is compared with.

    ``baseline`` is None before there is one. ``chains`` bring each of the baseline's nights to
    tonight's epoch, as indices of bridges; None where no chain leads there. Nights of equal scales
    stand beside each other.
    """

    baseline: int | None
    chains: tuple[tuple[int, ...], ...] | None
    epoch: str

    @property
    def comparable(self) -> bool:
        """Whether there is a baseline and its scores can be brought to tonight's rulers."""
        return self.baseline is not None and self.chains is not None


class Scales:
    """The scales of a series, and the reference of each."""

    def __init__(
        self,
        nights: Sequence[Night],
        baselines: Sequence[Baseline],
        bridges: Sequence[Bridge],
        settings: DriftSettings,
    ) -> None:
        """Everything in the order of dates; of two baselines of one date the later given holds.

        Raises UsageError where a baseline names a night that is not there.
        """
        self._nights: Mapping[str, Night] = {night.date: night for night in nights}
        self.baselines = sorted(baselines, key=lambda one: one.since)
        self._bridges = sorted(bridges, key=lambda one: one.since)
        self._settings = settings
        for one in self.baselines:
            absent = [date for date in one.nights if date not in self._nights]
            if absent or not one.nights:
                raise UsageError(
                    f"The baseline since {one.since} names the nights {', '.join(absent) or 'none'}"
                    ", which the series does not have. Accept a baseline of nights that it has."
                )

    def of(self, night: Night) -> Scale:
        """The scale of a night.

        A baseline never holds on its own nights: a night cannot be compared with itself.
        """
        holding = [
            at
            for at, one in enumerate(self.baselines)
            if one.since <= night.date and max(one.nights) < night.date
        ]
        if not holding:
            return Scale(baseline=None, chains=None, epoch=night.epoch)
        chains = []
        for date in sorted(self.baselines[holding[-1]].nights):
            chain, epoch = self._chain(self._nights[date], night.date)
            if epoch != night.epoch:
                return Scale(baseline=holding[-1], chains=None, epoch=night.epoch)
            chains.append(chain)
        return Scale(baseline=holding[-1], chains=tuple(chains), epoch=night.epoch)

    def base_nights(self, baseline: int) -> list[Night]:
        """The nights of a baseline, in the order of their dates."""
        return [self._nights[date] for date in sorted(self.baselines[baseline].nights)]

    def reference(self, scale: Scale) -> Reference:
        """The baseline of a comparable scale, brought to it."""
        assert scale.baseline is not None and scale.chains is not None
        chains = [[self._bridges[at] for at in chain] for chain in scale.chains]
        return reference(self.base_nights(scale.baseline), chains, self._settings)

    def _chain(self, start: Night, until: str) -> tuple[tuple[int, ...], str]:
        """The bridge that leads from a night to a later date, and the epoch where it ends.

        Every bridge starts from the scores that the baseline's answers got on their own nights, so
        a later one replaces those before it.
        """
        found = [
            at
            for at, bridge in enumerate(self._bridges)
            if start.date < bridge.since <= until and bridge.old == start.epoch
        ]
        if not found:
            return (), start.epoch
        return (found[-1],), self._bridges[found[-1]].new
