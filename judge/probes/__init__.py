"""Probes: how a given judge reacts to changes that deserve nothing, and to changes that do.

A probe alters answers in one known way and compares the judge's scores before and after, question
by question. The results hold for this judge, rubric, prompts and date, and for no other.
"""

from judge.probes._catalogue import PROBES, chosen
from judge.probes._findings import findings
from judge.probes._plan import Batch, Study, plan_study
from judge.probes._report import bounds, render_html
from judge.probes._run import Collected, carry_out, study_workload
from judge.probes._transforms import verbosity

__all__ = [
    "PROBES",
    "Batch",
    "Collected",
    "Study",
    "bounds",
    "carry_out",
    "chosen",
    "findings",
    "plan_study",
    "render_html",
    "study_workload",
    "verbosity",
]
