"""Plan − ledger → execute → append: calls are made once, kept for ever, and resumed."""

from judge.execution._executor import CallRequest, Executor, Job, Known, Progress, Task, chunked
from judge.execution._keys import call_key, known_capabilities, repair_key
from judge.execution._session import (
    INTERRUPTED,
    OUT_OF_TIME,
    Account,
    SessionTask,
    carry_on,
    new_run_id,
    run_session,
)
from judge.execution._workload import Missing, Workload, missing_in, workload_of
from judge.execution._writer import LedgerWriter, writing

__all__ = [
    "INTERRUPTED",
    "OUT_OF_TIME",
    "Account",
    "CallRequest",
    "Executor",
    "Job",
    "Known",
    "LedgerWriter",
    "Missing",
    "Progress",
    "SessionTask",
    "Task",
    "Workload",
    "call_key",
    "carry_on",
    "chunked",
    "known_capabilities",
    "missing_in",
    "new_run_id",
    "repair_key",
    "run_session",
    "workload_of",
    "writing",
]
