"""Stages on disk and worker processes: what is finished stays, and nothing half-done counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.errors import CorruptError, PlumblineError
from sft.pipeline._stage import Facts, Stage, by_source, total_rows
from sft.pipeline._workers import WorkerDied, Workers
from sft.records import MOST_EXAMPLES, REMOVED, ROWS, Example

tallies = st.dictionaries(
    st.tuples(st.sampled_from("ab"), st.sampled_from("xyz")), st.integers(1, 9)
).map(Counter)
examples = st.lists(
    st.builds(
        Example,
        source=st.sampled_from("ab"),
        kind=st.sampled_from("xy"),
        place=st.just("f:1"),
        before=st.text(max_size=5),
        after=st.none() | st.text(max_size=5),
    ),
    max_size=8,
).map(tuple)
facts = st.builds(
    Facts, rows_in=tallies, removed=tallies, examples=examples, seconds=st.floats(0, 9)
)


@given(facts)
def test_facts_survive_json(one: Facts) -> None:
    assert Facts.from_json(one.to_json()) == one


@given(facts, facts)
def test_facts_add_up_and_examples_stay_few(one: Facts, other: Facts) -> None:
    both = one + other
    assert both.rows_in == one.rows_in + other.rows_in
    assert both.seconds == one.seconds + other.seconds
    shown = Counter((e.source, e.kind) for e in both.examples)
    wanted = Counter((e.source, e.kind) for e in (*one.examples, *other.examples))
    assert shown == {key: min(count, MOST_EXAMPLES) for key, count in wanted.items()}


def frames() -> tuple[pl.DataFrame, pl.DataFrame]:
    row = {"row_id": ["1"], "source": ["a"], "file": ["f"], "line": [1]}
    kept = pl.DataFrame(row).join(pl.DataFrame(schema=dict(ROWS)), on=list(row), how="left")
    return kept, pl.DataFrame(schema=dict(REMOVED))


def test_another_key_starts_anew(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s")
    kept, removed = frames()
    stage.open("one")
    stage.write(0, kept, removed, Facts(rows_in=by_source(kept)))
    stage.open("one")
    assert stage.has(0)
    assert not stage.is_complete("one")
    stage.complete("one", 1)
    assert stage.is_complete("one")
    assert not stage.is_known("two")
    assert total_rows(stage.facts().rows_in) == 1
    stage.open("two")
    assert not stage.has(0)


def test_forgotten_rows_leave_the_facts(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s")
    stage.open("one")
    stage.write(0, *frames(), Facts(rows_in=Counter({("a", ""): 1})))
    stage.complete("one", 1)
    stage.forget_rows()
    assert stage.is_known("one")
    assert not stage.is_complete("one")
    assert total_rows(stage.facts().rows_in) == 1


def test_a_part_counts_only_with_its_facts(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "s")
    stage.open("one")
    kept, _ = frames()
    kept.write_parquet(stage.part(0))
    assert not stage.has(0)
    stage.write(0, *frames(), Facts())
    (stage.folder / "facts-00000.json").write_bytes(b'{"rows_in": [')
    with pytest.raises(CorruptError, match=r"facts-00000\.json: .* Delete"):
        stage.facts_of(0)


@dataclass(frozen=True)
class Square:
    number: int
    folder: Path


def square(task: Square) -> None:
    if task.number == 13:
        raise PlumblineError("thirteen")
    if task.number == 17:
        os._exit(9)
    (task.folder / str(task.number)).write_text(str(task.number**2))


@pytest.mark.parametrize("count", [1, 2])
def test_every_task_is_done_by_any_number_of_workers(tmp_path: Path, count: int) -> None:
    done: list[int] = []
    with Workers(count) as workers:
        for first in (0, 5):  # the processes serve more than once
            tasks = [Square(number, tmp_path) for number in range(first, first + 5)]
            workers.run(square, tasks, lambda task: done.append(task.number))
    assert sorted(done) == list(range(10))
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {
        str(number): str(number**2) for number in range(10)
    }


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_in_a_worker_is_the_callers(tmp_path: Path, count: int) -> None:
    with Workers(count) as workers, pytest.raises(PlumblineError, match="thirteen"):
        workers.run(square, [Square(n, tmp_path) for n in (1, 13, 2)], lambda _task: None)


def test_a_dead_worker_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with Workers(2) as workers, pytest.raises(WorkerDied, match="fewer --workers"):
        workers.run(square, [Square(n, tmp_path) for n in (1, 17, 2)], lambda _task: None)


_SLEEPERS = """
import sys, time
from pathlib import Path
from sft.pipeline._workers import Workers

def sleep(task):
    import os
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    with Workers(2) as workers:
        workers.run(sleep, [1, 2], print)
"""


def test_workers_of_a_killed_parent_end(tmp_path: Path) -> None:
    script, folder = tmp_path / "sleepers.py", tmp_path / "pids"
    script.write_text(_SLEEPERS)
    folder.mkdir()
    parent = subprocess.Popen([sys.executable, str(script), str(folder)])
    try:
        deadline = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        pids = [int(file.name) for file in folder.iterdir()]
        assert len(pids) == 2
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that waits to be reaped does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
