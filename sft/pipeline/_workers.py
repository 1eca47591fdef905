"""Work on parts in several processes, in any order, with the same outcome for any number."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from itertools import islice
from multiprocessing.connection import wait as wait_for
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Self, TypeVar

from sft.errors import PlumblineError

Task = TypeVar("Task")

_QUIET = {
    # Each worker is one of several: more threads in it would only fight for the same cores.
    "POLARS_MAX_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "OMP_NUM_THREADS": "1",
}


class WorkerDied(PlumblineError):
    """A worker process ended before its work was done, most likely for want of memory."""


class Workers:
    """A few processes, started when they are first needed; one worker is this process itself.

    Processes are spawned, not forked: a fork of a process with running threads (polars has some)
    can wait for ever for a lock that nobody holds.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ProcessPoolExecutor | None = None
        self._others: set[BaseProcess] = set()
        """Children of this process that are not of the pool."""
        self._while_open = ExitStack()

    def __enter__(self) -> Self:
        """Nothing is started yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the processes; on an error at once, for a part is written whole or not at all."""
        if self._pool is not None:
            if error is not None:
                for process in set(multiprocessing.active_children()) - self._others:
                    process.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
        self._while_open.close()

    def run(
        self,
        work: Callable[[Task], None],
        tasks: Sequence[Task],
        done: Callable[[Task], None],
    ) -> None:
        """Do ``work`` for every task; ``done`` is called here after each, in the order they end.

        ``work`` writes its outcome to disk. Raises what the first failing task raises, after which
        nothing new is begun; WorkerDied if a process is gone.
        """
        if self.count == 1 or len(tasks) < 2:
            for task in tasks:
                work(task)
                done(task)
            return
        pool = self._started()
        waiting = iter(tasks)
        running: dict[Future[None], Task] = {}
        try:
            while True:
                # Few at a time, so that an interrupt has little to wait for.
                for task in islice(waiting, 2 * self.count - len(running)):
                    running[pool.submit(work, task)] = task
                if not running:
                    return
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    finished = running.pop(future)
                    future.result()
                    done(finished)
        except BrokenProcessPool:
            raise WorkerDied(
                "a worker process ended in the middle of its work, most likely because memory ran "
                "out. Finished parts are kept: run the same command again, with fewer --workers."
            ) from None
        finally:
            for future in running:
                future.cancel()

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # Processes are spawned as tasks come, and inherit what stands there then.
            self._while_open.enter_context(_environment(_QUIET))
            self._others = set(multiprocessing.active_children())
            self._pool = ProcessPoolExecutor(
                self.count, mp_context=multiprocessing.get_context("spawn"), initializer=_begin
            )
        return self._pool


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Have environment variables set for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin() -> None:
    """In a worker: leave interrupts to the parent, and end when the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_follow, args=(parent.sentinel,), daemon=True).start()


def _follow(sentinel: int) -> None:
    """End this process once its parent has: a killed parent cannot tell its workers to."""
    wait_for([sentinel])
    os._exit(1)
