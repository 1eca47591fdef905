"""The offline baseline: a judge without a model, deterministic, for English and Chinese.

It is a floor that a paid judge has to beat, and a first run without key or GPU. It knows features
of a text, not criteria: a rubric's criterion names the feature by which the baseline scores it.
"""

from judge.offline._assessment import Assessment, CannotAssess
from judge.offline._features import BASELINE_VERSION, FEATURES, Feature
from judge.offline._personal_data import PersonalData, find_personal_data
from judge.offline._personal_data import requests as personal_data_requests
from judge.offline._text import Script, content_tokens, script, sentences

__all__ = [
    "BASELINE_VERSION",
    "FEATURES",
    "Assessment",
    "CannotAssess",
    "Feature",
    "PersonalData",
    "Script",
    "content_tokens",
    "find_personal_data",
    "personal_data_requests",
    "script",
    "sentences",
]
