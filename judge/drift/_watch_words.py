"""Why a night was decided as it was, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from judge.drift._attribute import PATIENCE
from judge.drift._records import Baseline, CanaryLine, Cause, DriftSettings, Effect, Night
from judge.drift._reference import LEAST_ANCHOR_NIGHTS
from judge.drift._shift import DISAGREE
from judge.drift._stretch import Stretch
from judge.figures import signed

if TYPE_CHECKING:
    from judge.drift._watching import Open

UNMOVED = "The model itself did not move by more than"
"""Said beside an alarm of the judge only where it is shown."""


def collecting_reason(complete: int, settings: DriftSettings) -> str:
    """Before there is a baseline."""
    wanted = settings.baseline_nights
    if complete < wanted:
        return (
            f"There is no baseline yet. {complete} of the {wanted} nights that it needs are there."
        )
    return (
        "There is no baseline yet. Enough nights are there: they are the baseline from the next "
        "night on."
    )


def rulers_reason(baseline: Baseline, night: Night) -> str:
    """Where a night was scored by other rulers than the baseline and no bridge leads over."""
    return (
        f"Tonight's rulers ({_short(night.epoch)}) are not those of the baseline since "
        f"{baseline.since} ({_short(baseline.epoch)}), and no bridge leads from one to the other. "
        "Bridge them, or accept a new baseline."
    )


def alarm_reasons(one: Open, settings: DriftSettings) -> list[str]:
    """What an open alarm says, and what it may say about who moved."""
    names = _names(one.metrics)
    if one.kind == "judge":
        lines = [
            f"The judge moved: since {one.onset} it scores the same answers otherwise on {names}"
            f"{_by(one.metrics, one.judge)}. Decisions are frozen until old and new scores are "
            "bridged or a new baseline is accepted."
        ]
        if one.cause is Cause.BOTH:
            lines.append(f"The model got worse as well, on {_names(one.worse)}.")
        elif one.unmoved is not None:
            lines.append(f"{UNMOVED} {one.unmoved:.2f} there.")
        else:
            lines.append("Whether the model moved as well cannot be said yet.")
        return lines
    if one.kind == "tonight":
        lines = [
            f"On {one.since} one night's scores alone fell by more than the margin on {names}"
            f"{_by(one.metrics, one.effect)}."
        ]
    else:
        lines = [
            f"Since {one.onset} the scores are lower by more than the margin on {names}"
            f"{_by(one.metrics, one.effect)}. The alarm was raised on {one.since}."
        ]
    lines.append(_who(one, settings))
    return lines


def _who(one: Open, settings: DriftSettings) -> str:
    split = ""
    if one.model is not None and one.judge is not None:
        split = f" The model's part is {_interval(one.model)}, the judge's {_interval(one.judge)}."
    match one.cause:
        case Cause.MODEL if one.bridged:
            return f"The model got worse. The bridge has taken the judge's shift out.{split}"
        case Cause.MODEL:
            return f"The model got worse. The judge did not move enough to explain it.{split}"
        case Cause.JUDGE:
            return f"The judge's shift explains it as far as can be seen.{split}"
        case Cause.BOTH:
            return f"The model got worse, and the judge moved as well.{split}"
        case Cause.UNKNOWN if one.judge is None:
            return (
                "No answer was judged again, so the model cannot be told from the judge. "
                "Set up anchors or a slice."
            )
        case Cause.UNKNOWN:
            return f"The anchors and the slice do not show who moved.{split}"
        case _ if one.published:
            return (
                f"The model got worse. Whether the judge moved as well is not settled yet.{split}"
            )
        case _:
            most = PATIENCE * settings.guard
            return (
                f"Who moved is not settled yet: the alarm has waited {one.waited} of at most "
                f"{most} nights.{split}"
            )


def measurement_reasons(stretch: Stretch, row: int, settings: DriftSettings) -> list[str]:
    """What was not measured tonight, and where anchors and slice contradict each other."""
    found = []
    for at, name in enumerate(stretch.base.metrics):
        if not stretch.blocked[row, at]:
            continue
        share = float(stretch.missing[row, at])
        shared, unknown = (int(one[row, at]) for one in (stretch.shared, stretch.unknown))
        if share > settings.max_unscored:
            found.append(
                f"{name} was not measured: {100 * share:.0f} % of its verdicts are missing, "
                f"{100 * settings.max_unscored:.0f} % may be. See why they failed; max_unscored is "
                "the share that may."
            )
        elif stretch.strange[row, at]:
            found.append(
                f"{name} is not watched on {unknown} of the {shared + unknown} questions that have "
                "scores tonight: the baseline has none of them. Accept a baseline of nights that "
                "have."
            )
        else:
            known = int((stretch.base.candidate.counts[:, at] > 0).sum())
            found.append(
                f"{name} was not measured: too few of the baseline's questions have scores "
                f"({shared} of {known}), and chance does not explain it. If other questions are "
                "asked now, or the criterion applies to fewer, accept a new baseline."
            )
    p = stretch.nightly.disagreement[row]
    level = DISAGREE / len(p)
    apart = [name for name, one in zip(stretch.base.metrics, p, strict=True) if one <= level]
    if apart:
        found.append(
            f"The anchors and the slice disagree about the judge on {_names(apart)}. It may treat "
            "the candidate's answers otherwise than the anchors."
        )
    return found


def anchor_reasons(stretch: Stretch, row: int) -> list[str]:
    """Where tonight's anchors are not those of the baseline."""
    if not stretch.new_anchors[row]:
        return []
    return [
        "Tonight's anchors do not count yet: fewer than "
        f"{LEAST_ANCHOR_NIGHTS} of the baseline's nights have them. They count once a baseline is "
        "accepted that has them."
    ]


def canary_reasons(lines: Sequence[CanaryLine]) -> list[str]:
    """The canaries that left their limits."""
    return [
        f"The canary {one.kind} scored {one.value:.2f}, outside its limits {one.low:.2f} to "
        f"{one.high:.2f}. The judge may treat such answers otherwise than it did."
        for one in lines
        if one.outside
    ]


def _by(metrics: Sequence[str], effect: Effect | None) -> str:
    if effect is None or np.isnan(effect.value):
        return ""
    where = f"{metrics[0]}: " if len(metrics) > 1 else ""
    return f" ({where}{_interval(effect)})"


def _interval(effect: Effect) -> str:
    return f"{signed(effect.value)} [{signed(effect.low)}, {signed(effect.high)}]"


def _names(metrics: Sequence[str]) -> str:
    if len(metrics) < 2:
        return "".join(metrics)
    return f"{', '.join(metrics[:-1])} and {metrics[-1]}"


def _short(epoch: str) -> str:
    return epoch[:12]
