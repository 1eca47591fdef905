"""Conversations written down in every format and kind of file, as others would write them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from sft.settings import Source
from sft.sources import Chunk, input_files, read_chunks

Turns = list[tuple[str, str]]
"""(role, content) of every turn."""
Record = dict[str, Any]

QUESTION: Turns = [("user", "Why?"), ("assistant", "Because.")]


def messages(turns: Turns) -> list[dict[str, str]]:
    return [{"role": role, "content": content} for role, content in turns]


def openai(turns: Turns) -> Record:
    return {"messages": messages(turns)}


def sharegpt(turns: Turns) -> Record:
    names = {"user": "human", "assistant": "gpt", "system": "system"}
    return {"conversations": [{"from": names[role], "value": text} for role, text in turns]}


def alpaca(turns: Turns) -> Record:
    """One prompt and its answer, with or without a system message before."""
    texts = dict(turns)
    return {
        "instruction": texts["user"],
        "input": "",
        "output": texts["assistant"],
        "system": texts.get("system", ""),
    }


FORMATS: Mapping[str, Callable[[Turns], Record]] = {
    "openai": openai,
    "sharegpt": sharegpt,
    "alpaca": alpaca,
}


def jsonl(records: Sequence[Record]) -> bytes:
    return b"".join(json.dumps(r, ensure_ascii=False).encode() + b"\n" for r in records)


def write_jsonl(path: Path, records: Sequence[Record]) -> None:
    path.write_bytes(jsonl(records))


def write_gzip(path: Path, records: Sequence[Record]) -> None:
    path.write_bytes(gzip.compress(jsonl(records)))


def write_json(path: Path, records: Sequence[Record]) -> None:
    path.write_text(json.dumps(records, indent=1), "utf-8")


def write_csv(path: Path, records: Sequence[Record]) -> None:
    """Lists of turns stand in their cells as JSON."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(records[0])
        for record in records:
            writer.writerow(v if isinstance(v, str) else json.dumps(v) for v in record.values())


def write_parquet(path: Path, records: Sequence[Record]) -> None:
    pl.DataFrame(records).write_parquet(path, row_group_size=4)


def write_arrow_stream(path: Path, records: Sequence[Record]) -> None:
    pl.DataFrame(records).write_ipc_stream(path)


def write_arrow_file(path: Path, records: Sequence[Record]) -> None:
    pl.DataFrame(records).write_ipc(path)


def write_saved(path: Path, records: Sequence[Record]) -> None:
    """The layout of a Hugging Face data set on disk: two files, and a state that lists them."""
    path.mkdir(parents=True)
    frame = pl.DataFrame(records)
    half = (len(records) + 1) // 2
    names = [f"data-{number:05d}-of-00002.arrow" for number in range(2)]
    frame[:half].write_ipc_stream(path / names[0])
    frame[half:].write_ipc_stream(path / names[1])
    (path / "dataset_info.json").write_text('{"features": {}}')
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0"}
    (path / "state.json").write_text(json.dumps(state))


KINDS: Mapping[str, Callable[[Path, Sequence[Record]], None]] = {
    "x.jsonl": write_jsonl,
    "x.ndjson.gz": write_gzip,
    "x.json": write_json,
    "x.csv": write_csv,
    "x.parquet": write_parquet,
    "x.arrow": write_arrow_stream,
    "framed.arrow": write_arrow_file,
    "saved": write_saved,
}


def source(*paths: Path, **settings: Any) -> Source:
    known = {"name": "s", "domain": "d", "task": "t", "licence": "CC0-1.0", **settings}
    return Source(paths=paths, **known)


def read(*paths: Path, rows: int = 5000, **settings: Any) -> Chunk:
    """All rows and all that is unreadable of a source."""
    of = source(*paths, **settings)
    chunks = [chunk for file in input_files(of) for chunk in read_chunks(of, file, rows=rows)]
    assert all(1 <= len(chunk.rows) + len(chunk.unreadable) <= rows for chunk in chunks)
    return Chunk(
        pl.concat([chunk.rows for chunk in chunks]),
        pl.concat([chunk.unreadable for chunk in chunks]),
    )


def read_text(folder: Path, name: str, content: bytes, **settings: Any) -> Chunk:
    """As `read`, of one file with this content."""
    (folder / name).write_bytes(content)
    return read(folder / name, **settings)


def turns_of(rows: pl.DataFrame) -> list[Turns]:
    return [[(turn["role"], turn["content"]) for turn in row] for row in rows["messages"]]
