"""Deterministic checks of an answer: a number, a set of numbers, a label, a language, a length.

A check informs the judge and the report; it never stands in for a verdict silently. Which criteria
it speaks about is data of the question set (``criteria``), not of this package.
"""

from judge.checks._kinds import Check
from judge.checks._lists import list_items
from judge.checks._result import CheckResult
from judge.checks._text import CJK, fold, mentions, quantity, words

__all__ = ["CJK", "Check", "CheckResult", "fold", "list_items", "mentions", "quantity", "words"]
