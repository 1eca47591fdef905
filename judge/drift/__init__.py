"""Many nights: whether a series got worse, how sure that is, and who moved, model or judge.

Pure: nights, baselines and bridges in, what follows from them out.
"""

from judge.drift._baseline import BaselineStats, baseline_stats
from judge.drift._equate import equate
from judge.drift._follow import follow
from judge.drift._noise import NoiseModel
from judge.drift._records import (
    AgainSummary,
    Alarm,
    Baseline,
    Bridge,
    CanaryLine,
    Cause,
    DriftSettings,
    Effect,
    Equating,
    Floats,
    MetricNight,
    Night,
    State,
    Watch,
)
from judge.drift._years import DropFound, FalseAlarms, YearsReport, simulate_years

__all__ = [
    "AgainSummary",
    "Alarm",
    "Baseline",
    "BaselineStats",
    "Bridge",
    "CanaryLine",
    "Cause",
    "DriftSettings",
    "DropFound",
    "Effect",
    "Equating",
    "FalseAlarms",
    "Floats",
    "MetricNight",
    "Night",
    "NoiseModel",
    "State",
    "Watch",
    "YearsReport",
    "baseline_stats",
    "equate",
    "follow",
    "simulate_years",
]
