"""Plan − ledger → execute → append: calls are made once, kept for ever, and resumed."""

from judge.execution._executor import CallRequest, Executor, Job, Known, Progress, Task, chunked
from judge.execution._writer import LedgerWriter, writing

__all__ = [
    "CallRequest",
    "Executor",
    "Job",
    "Known",
    "LedgerWriter",
    "Progress",
    "Task",
    "chunked",
    "writing",
]
