"""What the seeds say together: means, differences within a seed, and what may be concluded."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from sft.miniature._settings import (
    BASE,
    BLENDED,
    DOMAIN_ONLY,
    DOMAINS,
    GENERAL,
    IN_DOMAIN,
    TUNED,
)

CONFIDENCE = 0.95

Fields = Mapping[str, Any]


class Estimate(NamedTuple):
    """A mean over seeds and its t-interval; a single seed gives none."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``results.json``."""
        return self._asdict()


def t_interval(
    values: Sequence[float], *, least: float = -math.inf, most: float = math.inf
) -> Estimate:
    """Mean ± t(1 − α/2; n − 1) · s / √n, with s the standard deviation of n − 1 degrees of freedom.

    The interval is cut at ``least`` and ``most``, between which the quantity must lie: a share is
    at most 1. Where all values are equal the interval has no width: it says that these seeds did
    not differ, not that none would. Raises ValueError without values.
    """
    if not values:
        raise ValueError("a mean needs at least one value")
    mean = float(np.mean(values))
    if len(values) == 1:
        return Estimate(mean, None, None, 1)
    from scipy.special import stdtrit  # type: ignore[import-untyped]  # quick, unlike scipy.stats

    count = len(values)
    error = float(np.std(values, ddof=1)) / math.sqrt(count)
    half = float(stdtrit(count - 1, (1 + CONFIDENCE) / 2)) * error
    return Estimate(mean, max(mean - half, least), min(mean + half, most), count)


def share_of(shares: Sequence[float]) -> Estimate:
    """The mean of shares, with an interval between 0 and 1."""
    return t_interval(shares, least=0.0, most=1.0)


def exact_match(point: Fields, domain: str) -> float:
    """The share of a domain's held-out tasks that a checkpoint answered exactly."""
    share: float = point[domain]["right"] / point[domain]["of"]
    return share


def summarise(measurements: Sequence[Fields]) -> list[dict[str, Any]]:
    """One entry per blend and epoch: means over seeds with t-intervals.

    ``measurements`` is what `measure_seed` wrote, one per seed.
    """
    summary = []
    for blend in (BASE, *TUNED):
        epochs = sorted({p["epoch"] for m in measurements for p in m["points"]
                         if p["blend"] == blend})  # fmt: skip
        for epoch in epochs:
            points = [point_of(m, blend, epoch) for m in measurements]
            summary.append(
                {
                    "blend": blend,
                    "epoch": epoch,
                    "exact_match": {
                        domain: share_of([exact_match(p, domain) for p in points]).to_json()
                        for domain in DOMAINS
                    },
                    "loss": {
                        domain: t_interval(
                            [p["losses"][domain] for p in points], least=0.0
                        ).to_json()
                        for domain in DOMAINS
                    },
                }
            )
    return summary


def point_of(measurement: Fields, blend: str, epoch: int) -> Fields:
    """The point of a checkpoint. Raises KeyError if it was not measured."""
    for point in measurement["points"]:
        if point["blend"] == blend and point["epoch"] == epoch:
            found: Fields = point
            return found
    raise KeyError((blend, epoch))


class Findings(NamedTuple):
    """Differences within a seed after the last epoch, in exact match, and what they say."""

    learned: Estimate
    """In-domain: domain-only less base."""
    forgotten: Estimate
    """General: domain-only less base."""
    kept: Estimate
    """General: blended less base."""
    cured: Estimate
    """General: blended less domain-only."""
    price: Estimate
    """In-domain: blended less domain-only."""
    levels: Mapping[str, Mapping[str, float]]
    """Blend → domain → mean exact match after the last epoch."""
    sentences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As it stands in ``results.json``."""
        differences = ("learned", "forgotten", "kept", "cured", "price")
        return {
            **{name: getattr(self, name).to_json() for name in differences},
            "levels": self.levels,
            "sentences": list(self.sentences),
        }


def conclude(measurements: Sequence[Fields]) -> Findings:
    """Compare base, domain-only and blended of the same seed, after the last epoch.

    The epoch and the five comparisons were fixed beforehand; their intervals are 95 % each and not
    corrected for their number. Raises ValueError without measurements.
    """
    if not measurements:
        raise ValueError("nothing was measured")
    last = max(point["epoch"] for point in measurements[0]["points"])

    def values(blend: str, domain: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        epoch = 0 if blend == BASE else last
        return np.array([exact_match(point_of(m, blend, epoch), domain) for m in measurements])

    def difference(one: str, other: str, domain: str) -> Estimate:
        differences = values(one, domain) - values(other, domain)
        return t_interval(differences.tolist(), least=-1.0, most=1.0)

    found = {
        "learned": difference(DOMAIN_ONLY, BASE, IN_DOMAIN),
        "forgotten": difference(DOMAIN_ONLY, BASE, GENERAL),
        "kept": difference(BLENDED, BASE, GENERAL),
        "cured": difference(BLENDED, DOMAIN_ONLY, GENERAL),
        "price": difference(BLENDED, DOMAIN_ONLY, IN_DOMAIN),
    }
    levels = {
        blend: {domain: float(values(blend, domain).mean()) for domain in DOMAINS}
        for blend in (BASE, *TUNED)
    }
    return Findings(**found, levels=levels, sentences=_sentences(found, levels, last))


def _sentences(
    found: Mapping[str, Estimate], levels: Mapping[str, Mapping[str, float]], last: int
) -> tuple[str, ...]:
    seeds = found["forgotten"].seeds
    base, alone = levels[BASE][GENERAL], levels[DOMAIN_ONLY][GENERAL]
    blended = levels[BLENDED][GENERAL]
    if seeds == 1:
        return (
            f"One seed gives no interval, so nothing is concluded. Exact match on general tasks "
            f"was {base:.3f} for the base, {alone:.3f} after {last} epochs of domain-only and "
            f"{blended:.3f} after as many of blended.",
        )
    return (
        _forgetting(found, base, alone, last),
        _cure(found, blended),
        _learning(found, levels),
    )


def _forgetting(found: Mapping[str, Estimate], base: float, alone: float, last: int) -> str:
    change = found["forgotten"]
    levels = f"exact match on general tasks went from {base:.3f} to {alone:.3f} after {last} epochs"
    match _sign(change):
        case -1:
            return f"Domain-only forgets: {levels}, a change of {written(change)}."
        case 1:
            return (
                f"Domain-only does not forget, it gains: {levels}, a change of {written(change)}."
            )
    return f"Forgetting is not shown: {levels}, and the interval of the change {written(change)} " \
        "holds 0."  # fmt: skip


def _cure(found: Mapping[str, Estimate], blended: float) -> str:
    kept, cured, price = found["kept"], found["cured"], found["price"]
    if _sign(found["forgotten"]) != -1:
        return "Where nothing is shown to be forgotten there is nothing to cure."
    if _sign(cured) != 1:
        return (
            f"A cure is not shown: blended ends {written(cured)} from domain-only on general "
            "tasks, and that interval is not above 0."
        )
    prevented = cured.mean / -found["forgotten"].mean
    rest = {-1: "some of it is lost nevertheless", 0: "no loss beside the base is shown",
            1: "it even gains"}[_sign(kept)]  # fmt: skip
    return (
        f"Blending 50:50 prevents {prevented:.0%} of that: blended ends at {blended:.3f}, "
        f"{written(cured)} above domain-only and {written(kept)} from the base ({rest}). At 95 % "
        f"it keeps general exact match within {_bound(kept):.3f} of the base, at in-domain exact "
        f"match within {_bound(price):.3f} of domain-only ({written(price)})."
    )


def _learning(found: Mapping[str, Estimate], levels: Mapping[str, Mapping[str, float]]) -> str:
    learned = found["learned"]
    text = (
        f"In-domain exact match is {levels[BASE][IN_DOMAIN]:.3f} for the base, "
        f"{levels[DOMAIN_ONLY][IN_DOMAIN]:.3f} after domain-only, "
        f"{levels[BLENDED][IN_DOMAIN]:.3f} after blended"
    )
    if _sign(learned) == 1:
        return f"{text}; domain-only gains {written(learned)}."
    return f"{text}; that domain-only learns the domain is not shown ({written(learned)})."


def _sign(estimate: Estimate) -> int:
    """1 or −1 where the interval lies above or below 0, else 0."""
    if estimate.low is not None and estimate.low > 0:
        return 1
    return -1 if estimate.high is not None and estimate.high < 0 else 0


def _bound(estimate: Estimate) -> float:
    """The largest distance from 0 in the interval."""
    assert estimate.low is not None
    assert estimate.high is not None
    return max(abs(estimate.low), abs(estimate.high))


def written(estimate: Estimate, *, signed: bool = True) -> str:
    """A mean with its interval: ``−0.012 [−0.020, −0.004]``."""
    form = "+.3f" if signed else ".3f"
    values = [estimate.mean, *([] if estimate.low is None else [estimate.low, estimate.high])]
    texts = [f"{round(value, 3) + 0.0:{form}}".replace("-", "−") for value in values
             if value is not None]  # fmt: skip
    return texts[0] if len(texts) == 1 else f"{texts[0]} [{texts[1]}, {texts[2]}]"
