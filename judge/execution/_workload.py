"""What a run would send, counted before anything is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from judge.endpoint import estimated_tokens
from judge.execution._executor import CallRequest, chunked

T = TypeVar("T")


@dataclass(slots=True)
class Workload:
    """What a run would send: units, calls that the ledger lacks, tokens (a cautious guess)."""

    planned: int = 0
    covered: int = 0
    """Units that need a call; several can share one."""
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Workload) -> None:
        """Count another workload beside this one, such as another judge's."""
        self.planned += other.planned
        self.covered += other.covered
        self.calls += other.calls
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens


class Missing(NamedTuple):
    """A chunk of a plan: its units, those that need a call, and the calls not met before."""

    planned: int
    covered: int
    requests: list[CallRequest]


def missing_in(
    units: Iterable[T], missing_calls: Callable[[list[T]], list[CallRequest]]
) -> Iterator[Missing]:
    """Chunk by chunk what a plan lacks; each call is named once.

    ``missing_calls`` gives the call of every unit that needs one.
    """
    seen: set[bytes] = set()
    for chunk in chunked(units):
        wanted = missing_calls(chunk)
        fresh = {request.key: request for request in wanted if request.key not in seen}
        seen.update(fresh)
        yield Missing(len(chunk), len(wanted), list(fresh.values()))


def workload_of(
    units: Iterable[T], missing_calls: Callable[[list[T]], list[CallRequest]]
) -> Workload:
    """What a plan would send; see `missing_in`."""
    work = Workload()
    for planned, covered, requests in missing_in(units, missing_calls):
        work.planned += planned
        work.covered += covered
        for request in requests:
            work.calls += 1
            work.prompt_tokens += estimated_tokens(request.body)
            work.completion_tokens += request.max_tokens
    return work
