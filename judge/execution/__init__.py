"""Plan − ledger → execute → append: calls are made once, kept for ever, and resumed."""

from judge.execution._executor import CallRequest, Executor, Job, Known, Progress, Task, chunked
from judge.execution._keys import call_key, known_capabilities, repair_key
from judge.execution._session import INTERRUPTED, Account, SessionTask, run_session
from judge.execution._writer import LedgerWriter, writing

__all__ = [
    "INTERRUPTED",
    "Account",
    "CallRequest",
    "Executor",
    "Job",
    "Known",
    "LedgerWriter",
    "Progress",
    "SessionTask",
    "Task",
    "call_key",
    "chunked",
    "known_capabilities",
    "repair_key",
    "run_session",
    "writing",
]
