"""What calibration and estimates start from: a study, its rulers, and what was left out of it.

Read from a ledger (a run and the ratings of its answers) or straight from files.
"""

from judge.evidence._evidence import Choice, Evidence
from judge.evidence._files import from_files, shipped_rubric
from judge.evidence._ledger import from_ledger

__all__ = ["Choice", "Evidence", "from_files", "from_ledger", "shipped_rubric"]
