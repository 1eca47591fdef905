"""The table of features, with the formula of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from judge.offline._assessment import Assess, Assessment, CannotAssess, of_words
from judge.offline._content import agreement, coverage
from judge.offline._form import economy, readability
from judge.offline._manner import personal_data, politeness, reader_focus, specificity

BASELINE_VERSION = 1
"""Part of the baseline's ruler: raised by every change that can move a value."""


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature: its name, its formula in one line, and the function that computes it.

    ``assess(question, answer, criterion)`` takes the id of the criterion that is scored, since
    checks name the criteria that they speak about. It is deterministic and raises on no text.
    """

    name: str
    formula: str
    assess: Assess


_SILENT = Assessment(0.0, (), "The answer says nothing: it has no words.")
_NOTHING_SAID = CannotAssess("The answer says nothing: it has no words.")


def _feature(
    name: str,
    formula: str,
    assess: Assess,
    *,
    empty: Assessment | CannotAssess = _SILENT,
    any_script: bool = False,
) -> Feature:
    return Feature(name, formula, of_words(assess, empty=empty, any_script=any_script))


_TABLE = (
    _feature(
        "readability",
        "0.35 · sentence length (1 to 20 words, 0 from 45) + 0.15 · long words (1 to 10 %, 0 from "
        "40 %) + 0.3 · (1 − 0.5 broken off − 0.5 open markup) + 0.2 · min(1, 120 · lines / words)",
        readability,
    ),
    _feature(
        "agreement",
        "mean of: share of the criterion's checks passed (weight 2), min(1, F1 of content words "
        "with the reference / 0.5) (weight 1)",
        agreement,
        any_script=True,
    ),
    _feature(
        "coverage",
        "mean of: share of required facts found (weight 2), share of the criterion's checks "
        "passed (weight 2), min(1, recall of the reference's content words / 0.6) (weight 1)",
        coverage,
        any_script=True,
    ),
    _feature(
        "economy",
        "(1 − repetition) · length; length = 1 − (words − 80) / 640, or with a reference "
        "1 − (words / max(20, reference words) − 1.5) / 5, within 0.2..1; 1 if a length was asked",
        economy,
    ),
    _feature(
        "personal_data",
        "0 if personal data is exposed, 0.4 if the reader is asked for some, else 1",
        personal_data,
        empty=_NOTHING_SAID,
        any_script=True,
    ),
    _feature(
        "specificity",
        "0.3 + 0.7 · s / (s + 3) − 0.3 · v / (v + 2), for s numbers, names, steps and examples "
        "and v vague words per 100 words",
        specificity,
    ),
    _feature(
        "reader_focus",
        "0.2 + 0.3 · min(1, second persons per 100 words / 3) + 0.2 · offer or next step "
        "+ 0.15 · acknowledgement + 0.15 · question back",
        reader_focus,
    ),
    _feature(
        "politeness",
        "0.6 + 0.2 · min(2, kinds of polite words) − 0.3 · min(2, brusque phrases) "
        "− 0.6 · any insult − 0.2 · min(2, times shouting)",
        politeness,
        empty=_NOTHING_SAID,
    ),
)

FEATURES: Mapping[str, Feature] = MappingProxyType({feature.name: feature for feature in _TABLE})
"""The features by name, as a rubric's ``baseline`` fields name them."""
