"""Personal data replaced by placeholders that are the same throughout a conversation.

Detectors are patterns whose matches a check validates: check digits and national rules through
python-stdnum, numbering plans through phonenumbers, address ranges. Presidio is not used: it takes
a pass per region for phone numbers, knows neither keys nor handles nor Chinese ids, and brings
300 MB of models. The finder of `judge.offline` stays what it is, small and without dependencies:
its finds are part of the offline judge's scores.
"""

from sft.scrubbing._find import Find
from sft.scrubbing._scrub import KINDS, find_in, scrub, scrub_text

__all__ = ["KINDS", "Find", "find_in", "scrub", "scrub_text"]
