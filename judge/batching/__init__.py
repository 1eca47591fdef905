"""Batches: many calls handed to a provider at once, collected later, each paid for once."""

from judge.batching._account import BatchAccount, BatchSettings, Cap, worst_case
from judge.batching._jobs import Job, Stage, jobs_of, open_jobs
from judge.batching._prefill import prefill
from judge.batching._workplace import OnTick, Plan, Prove

__all__ = [
    "BatchAccount",
    "BatchSettings",
    "Cap",
    "Job",
    "OnTick",
    "Plan",
    "Prove",
    "Stage",
    "jobs_of",
    "open_jobs",
    "prefill",
    "worst_case",
]
