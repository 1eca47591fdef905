"""Sources that are not as they should be: every record has its place, or the file is refused."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.errors import InputError
from sft.settings import Format
from sft.sources import _json, _record, input_files, read_chunks
from tests.source_files import (
    KINDS,
    QUESTION,
    Record,
    alpaca,
    jsonl,
    openai,
    read,
    read_text,
    sharegpt,
    source,
    turns_of,
    write_parquet,
)

GOOD = jsonl([openai(QUESTION)])
ANSWER = b'{"role": "assistant", "content": "b"}'


class TestUnreadableRecords:
    @pytest.mark.parametrize(
        ("line", "reason", "detail"),
        [
            (b'{"messages": [', "broken_json", "broken JSON at character 15 (unexpected end"),
            (b'{"messages": "cut o', "broken_json", "at character 20 (unexpected end of data)"),
            (b'{"messages": [], "score": NaN}', "broken_json", "broken JSON at character 27"),
            (b'{"messages": []} {}', "broken_json", "broken JSON at character 18"),
            (b"[" * 2000 + b"]" * 2000, "broken_json", "depth"),
            (b'{"messages": "\xff\xfe"}', "invalid_utf8", "the byte 0xff at byte 15"),
            (b'{"note": "\\ud83d", "messages": []}', "lone_surrogate", "half of a surrogate pair"),
            (b'["messages"]', "not_an_object", "found a list, expected an object"),
            (b"null", "not_an_object", "found null"),
            (b'{"prompt": "a", "text": "b"}', "missing_field", "prompt, text, expected messages"),
            (b'{"messages": null}', "missing_field", "found only the fields none"),
            (b'{"messages": {"role": "user"}}', "wrong_type", "messages: found an object"),
            (b'{"messages": ["a"]}', "wrong_type", "messages[0]: found text, expected an object"),
            (b'{"messages": [{"role": "user", "content": 3}]}', "wrong_type",
             "messages[0].content: found a number, expected text"),
            (b'{"messages": [{"role": "user"}]}', "wrong_type",
             "messages[0].content: found null, expected text"),
            (b'{"messages": [{"role": ["user"], "content": ""}]}', "wrong_type",
             "messages[0].role: found a list, expected text"),
            (b'{"messages": [{"role": "user", "content": ["a"]}]}', "wrong_type",
             "messages[0].content[0]: found text, expected a part"),
            (b'{"messages": [{"role": "user", "content": [{"type": "text"}]}]}', "wrong_type",
             "messages[0].content[0].text: found null"),
            (b'{"messages": [{"speaker": "user", "content": "a"}]}', "missing_field",
             "found only the fields speaker, content, expected role and content"),
            (b'{"messages": [' + ANSWER + b', {"role": "wizard", "content": "a"}]}',
             "unknown_role", "messages[1].role: found wizard, expected one of system, "),
            (b'{"messages": [{"role": "tool", "content": "a"}]}', "unsupported", "the role tool"),
            (b'{"messages": [{"role": "assistant", "content": null, "tool_calls": [{"id": "1"}]}]}',
             "unsupported", "the field tool_calls"),
            (b'{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}',
             "unsupported", "a part of the type image_url"),
            (b'{"messages": [{"role": "assistant", "content": "a", "weight": 0}]}',
             "unsupported", "messages[0].weight: found 0"),
            (b'{"messages": []}', "one_sided", "found no turn"),
            (b'{"messages": [{"role": "user", "content": "a"}]}', "one_sided",
             "found 1 turns, none of the assistant"),
            (b'{"messages": [' + ANSWER + b"]}", "one_sided", "none of the user"),
            (b'{"messages": "[1"}', "broken_json", "messages: found broken JSON"),
        ],
    )  # fmt: skip
    def test_one_among_readable_ones(
        self, tmp_path: Path, line: bytes, reason: str, detail: str
    ) -> None:
        rows, lost = read_text(tmp_path, "x.jsonl", GOOD + b"\n" + line + b"\r\n" + GOOD)
        assert rows["line"].to_list() == [1, 4]
        assert lost.select("source", "file", "line", "step", "reason").rows() == [
            ("s", str(tmp_path / "x.jsonl"), 3, "read", reason)
        ]
        assert detail in lost["detail"][0]
        assert lost["raw"].to_list() == [line.decode("utf-8", "backslashreplace")]
        assert lost["messages"].null_count() == 1

    @pytest.mark.parametrize(
        ("record", "reason", "detail"),
        [
            ({"conversations": [{"from": "human", "value": 1}]}, "wrong_type", "[0].value"),
            ({"conversations": [{"from": "observation", "value": ""}]}, "unsupported", "role obs"),
            ({**sharegpt(QUESTION), "system": 1}, "wrong_type", "system: found a number"),
        ],
    )
    def test_of_sharegpt(self, tmp_path: Path, record: Record, reason: str, detail: str) -> None:
        _, lost = read_text(tmp_path, "x.jsonl", jsonl([sharegpt(QUESTION), record]))
        assert lost["reason"].to_list() == [reason]
        assert detail in lost["detail"][0]

    @pytest.mark.parametrize(
        ("change", "reason", "detail"),
        [
            ({"output": None}, "missing_field", "instruction and output (alpaca"),
            ({"output": ["a"]}, "wrong_type", "output: found a list, expected text"),
            ({"input": {}}, "wrong_type", "input: found an object, expected text"),
        ],
    )
    def test_of_alpaca(self, tmp_path: Path, change: Record, reason: str, detail: str) -> None:
        records = [alpaca(QUESTION), {**alpaca(QUESTION), **change}]
        _, lost = read_text(tmp_path, "x.jsonl", jsonl(records))
        assert lost["reason"].to_list() == [reason]
        assert detail in lost["detail"][0]

    def test_of_another_format_than_the_file(self, tmp_path: Path) -> None:
        content = jsonl([openai(QUESTION), alpaca(QUESTION)])
        _, lost = read_text(tmp_path, "x.jsonl", content)
        assert lost["reason"].to_list() == ["mixed_schema"]
        assert lost["detail"][0] == (
            "found instruction and output, which looks like alpaca; expected messages (openai, as "
            "the record in line 1). Put records of one format into one file"
        )
        _, lost = read_text(tmp_path, "x.jsonl", content, format=Format.ALPACA)
        assert lost["line"].to_list() == [1]
        assert (
            "expected instruction and output (alpaca, as the source declares)" in lost["detail"][0]
        )

    def test_a_file_without_any_readable_record_is_left_to_the_caller(self, tmp_path: Path) -> None:
        rows, lost = read_text(tmp_path, "x.jsonl", b"{\n3\n\n\xff\n")
        assert len(rows) == 0
        assert lost.select("line", "reason").rows() == [
            (1, "broken_json"), (2, "not_an_object"), (4, "invalid_utf8"),
        ]  # fmt: skip

    def test_long_texts_are_kept_in_part(self, tmp_path: Path) -> None:
        _, lost = read_text(tmp_path, "x.jsonl", GOOD + b"{" + "ü".encode() * 20_000 + b"\n")
        assert lost["raw"][0] == "{" + "ü" * 9999
        assert "Of its 20,001 characters, 10,000 are kept" in lost["detail"][0]

    def test_a_line_that_is_too_long(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_record, "MOST_BYTES", 1000)
        for end in (b"\n" + GOOD, b""):  # in the middle, and last without a line feed
            long = b"x" * (3 * 2**20)
            rows, lost = read_text(tmp_path, "x.jsonl", GOOD + long + end)
            assert rows["line"].to_list() == [1, 3][: 1 + bool(end)]
            assert lost.select("line", "reason").rows() == [(2, "line_too_long")]
            size = 3 * 2**20 + bool(end)
            assert f"a line of {size:,} bytes, expected 1,000 at most" in lost["detail"][0]
            assert len(lost["raw"][0]) <= 10_000

    def test_the_longest_line(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(_record, "MOST_BYTES", len(GOOD))
        for end in (b"", b"\n"):
            content = GOOD + GOOD.rstrip() + b" " + end
            rows, lost = read_text(tmp_path, "x.jsonl", content)
            # A line of as many bytes that does not end there counts as longer.
            assert (len(rows), len(lost)) == (1, 1)
            assert read_text(tmp_path, "x.jsonl", GOOD * 2).rows.height == 2

    def test_equal_texts_have_equal_ids_others_do_not(self, tmp_path: Path) -> None:
        _, lost = read_text(tmp_path, "x.jsonl", b"{\n{\n[\n")
        first, again, other = lost["row_id"].to_list()
        assert first == again != other
        assert read_text(tmp_path, "y.jsonl", b"{\n").unreadable["row_id"][0] == first
        assert read(tmp_path / "y.jsonl", name="t").unreadable["row_id"][0] != first


class TestOtherKinds:
    def test_csv_rows(self, tmp_path: Path) -> None:
        content = b'instruction,output,id\na,b,1\na,b\n"\xff\n",b,2\na,b,c,d\na,b,3\n'
        rows, lost = read_text(tmp_path, "x.csv", content)
        assert rows["line"].to_list() == [2, 7]
        assert lost.select("line", "reason", "raw").rows() == [
            (3, "wrong_columns", "a,b"),
            (4, "invalid_utf8", '"\\xff\n",b,2'),
            (6, "wrong_columns", "a,b,c,d"),
        ]
        assert "found 2 fields, expected the 3 of the header" in lost["detail"][0]

    def test_csv_lines_that_are_too_long(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_record, "MOST_BYTES", 100)
        head = b"instruction,output\n"
        rows, lost = read_text(tmp_path, "x.csv", head + b"a" * 500 + b",b\nc,d\n")
        assert rows["line"].to_list() == [3]
        assert lost.select("line", "reason").rows() == [(2, "line_too_long")]
        # Within quotes nothing tells what follows.
        with pytest.raises(InputError, match=r"x\.csv:2: found a record that spans line 3"):
            read_text(tmp_path, "x.csv", head + b'a,"b\n' + b"c" * 500 + b"\nd,e\n")

    def test_csv_cells_with_broken_messages(self, tmp_path: Path) -> None:
        content = b'messages\n"[{""role"": 1}]"\n[\n""\n'
        _, lost = read_text(tmp_path, "x.csv", content)
        assert lost["reason"].to_list() == ["wrong_type", "broken_json", "broken_json"]
        assert lost["detail"][1].startswith("messages: found broken JSON at character 2 (")

    def test_records_of_a_table_are_shown_as_json(self, tmp_path: Path) -> None:
        records: list[Record] = [
            {"instruction": "ü", "output": None, "other": 1},
            {"instruction": "a", "output": "b", "other": 2},
        ]
        write_parquet(tmp_path / "x.parquet", records)
        rows, lost = read(tmp_path / "x.parquet")
        assert rows["line"].to_list() == [2]
        assert lost.select("line", "reason", "raw").rows() == [
            (1, "missing_field", '{"instruction": "ü", "output": null}')
        ]

    def test_a_table_with_columns_of_two_formats(self, tmp_path: Path) -> None:
        records: list[Record] = [
            {**openai(QUESTION), "instruction": None, "output": None},
            {"messages": None, "instruction": "Why?", "output": "Because."},
        ]
        pl.DataFrame(records).write_parquet(tmp_path / "x.parquet")
        rows, lost = read(tmp_path / "x.parquet")
        assert rows["line"].to_list() == [1]
        assert lost["reason"].to_list() == ["mixed_schema"]

    def test_a_table_whose_text_is_none(self, tmp_path: Path) -> None:
        frame = pl.DataFrame({"instruction": [1, 2], "output": [b"\xff", b"b"]})
        frame.write_parquet(tmp_path / "x.parquet")
        _, lost = read(tmp_path / "x.parquet")
        assert lost["reason"].to_list() == ["wrong_type", "wrong_type"]

    def test_one_broken_record_of_an_array(self, tmp_path: Path) -> None:
        good = GOOD.strip().decode()
        broken = ['{"messages" []}', '{"messages": "\\ud800"}', '{"a": "]}, {"}', "7", '"]"']
        content = "[\n" + ",\n".join([good, *broken, good]) + "\n]"
        rows, lost = read_text(tmp_path, "x.json", content.encode())
        assert rows["line"].to_list() == [2, 8]
        assert lost["line"].to_list() == [3, 4, 5, 6, 7]
        assert lost["reason"].to_list() == [
            "broken_json", "lone_surrogate", "missing_field", "not_an_object", "not_an_object",
        ]  # fmt: skip
        assert lost["raw"].to_list() == broken


class TestDamage:
    @given(
        count=st.integers(1, 8),
        flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), max_size=12),
        size=st.integers(1, 9),
    )
    @settings(max_examples=150, deadline=None)
    def test_every_line_is_somewhere_exactly_once(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        count: int,
        flips: list[tuple[int, int]],
        size: int,
    ) -> None:
        written = [openai([("user", f"ü{n}"), ("assistant", "b")]) for n in range(count)]
        damaged = bytearray(jsonl(written))
        for place, byte in flips:
            damaged[place % len(damaged)] = byte
        content = GOOD + damaged  # the first line shows the format
        path = tmp_path_factory.mktemp("source") / "x.jsonl"
        path.write_bytes(content)
        rows, lost = read(path, rows=size)
        wanted = {n: line for n, line in enumerate(content.split(b"\n"), 1) if line.strip()}
        assert sorted([*rows["line"], *lost["line"]]) == list(wanted)
        intact = set(jsonl(written).split(b"\n"))
        found = dict(zip(rows["line"], rows["messages"].to_list(), strict=True))
        for number, line in wanted.items():
            if line in intact:
                assert found[number] == json.loads(line)["messages"]
        for number, raw in lost.select("line", "raw").rows():
            shown = wanted[number].decode("utf-8", "backslashreplace").rstrip("\r")
            assert raw == shown

    @pytest.mark.parametrize("kind", ["x.csv", "x.json", "x.ndjson.gz"])
    @given(flips=st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
    @settings(max_examples=60, deadline=None)
    def test_other_texts_are_read_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, kind: str, flips: list[tuple[int, int]]
    ) -> None:
        path = tmp_path_factory.mktemp("source") / kind
        KINDS[kind](path, [openai([("user", f"ü{n}"), ("assistant", "b")]) for n in range(5)])
        damaged = bytearray(path.read_bytes())
        for place, byte in flips:
            damaged[place % len(damaged)] = byte
        path.write_bytes(damaged)
        try:
            rows, lost = read(path)
        except InputError as refused:
            assert str(path) in str(refused)
        else:
            lines = [*rows["line"], *lost["line"]]
            assert (
                1
                <= len(lines)
                == len(set(zip(lines, [*rows["row_id"], *lost["row_id"]], strict=True)))
            )


class TestFilesOfNoUse:
    @pytest.mark.parametrize(
        ("name", "content", "said"),
        [
            ("x.txt", b"a", r"the ending \.txt, expected a file that ends with \.jsonl, "),
            ("x", b"a", "no ending"),
            ("x.json.gz", b"a", r"the ending \.gz"),
            ("x.jsonl", b"", "an empty file"),
            ("x.jsonl", b"\n \n", "a file without any record"),
            ("x.json", b" [\n] ", "a file without any record"),
            ("x.csv", b"instruction,output\n\n", "a file without any record"),
            ("x.csv", b"\n\n", "no header"),
            ("x.csv", b"\xffa,b\n1,2\n", r"x\.csv:1: found a header that cannot be read"),
            ("x.csv", b"Why?,Because.\n1,2\n", r"x\.csv: found the columns Why\?, Because\."),
            ("x.csv", b"instruction;output\n1;2\n", "the columns instruction;output"),
            ("x.csv", b'instruction,output\na,b\n"a,b\nc,d\n', r"x\.csv:3: found broken CSV"),
            ("x.csv", b'instruction,output\n"say "hi"",b\n', r"write a quote twice"),
            ("x.jsonl", b'\n{"a": 1, "b": 2}\n', r"x\.jsonl:2: found the fields a, b, expected"),
            ("x.jsonl", "{}".encode("utf-16"), "text in UTF-16"),
            ("x.json", GOOD, r"x\.json:1: found no array.*\.jsonl"),
            ("x.json", b"[\n{},\n{", r"x\.json:2: found no end of the record"),
            ("x.json", b"[" + GOOD + b"] []", "behind the end of the array"),
            ("x.json", b"[" + GOOD + b"}", "a bracket too many"),
            ("x.parquet", b"PAR1 and no more", "cannot be read as Parquet"),
            ("x.arrow", b"not Arrow at all", "cannot be read as Arrow"),
            ("x.arrow", b"ARROW1", "cannot be read as Arrow"),
            ("x.jsonl.gz", b"not compressed", "damaged compression"),
            ("x.jsonl.gz", gzip.compress(GOOD * 99)[:-9], "damaged compression"),
        ],
    )
    def test_they_are_refused(self, tmp_path: Path, name: str, content: bytes, said: str) -> None:
        with pytest.raises(InputError, match=said) as refused:
            read_text(tmp_path, name, content)
        assert str(refused.value).startswith(str(tmp_path / name))

    @pytest.mark.parametrize("kind", ["x.parquet", "x.arrow", "framed.arrow"])
    def test_tables_that_were_cut_off(self, tmp_path: Path, kind: str) -> None:
        KINDS[kind](tmp_path / kind, [openai(QUESTION)] * 50)
        whole = (tmp_path / kind).read_bytes()
        (tmp_path / kind).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="expected a whole"):
            read(tmp_path / kind)

    @pytest.mark.parametrize("kind", ["x.parquet", "x.arrow"])
    def test_tables_without_rows(self, tmp_path: Path, kind: str) -> None:
        none: Any = pl.DataFrame(openai(QUESTION)).clear().to_dict(as_series=False)
        frame = pl.DataFrame(none, schema={"messages": pl.List(pl.String)})
        write = frame.write_parquet if kind == "x.parquet" else frame.write_ipc_stream
        write(tmp_path / kind)
        with pytest.raises(InputError, match="a file without any record"):
            read(tmp_path / kind)

    def test_no_format_within_the_first_hundred_records(self, tmp_path: Path) -> None:
        other = jsonl([{"text": "a"}])
        assert read_text(tmp_path, "x.jsonl", other * 99 + GOOD).rows["line"].to_list() == [100]
        with pytest.raises(InputError, match="found the fields text"):
            read_text(tmp_path, "x.jsonl", other * 100 + GOOD)

    def test_an_array_that_is_too_large(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(_json, "MOST_FILE_BYTES", 5)
        with pytest.raises(InputError, match=r"found 6 bytes.*one record per line"):
            read_text(tmp_path, "x.json", b"[{},1]")

    def test_what_comes_before_the_damage_is_read(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_bytes(b'instruction,output\na,b\nc,d\n"')
        of = source(tmp_path / "x.csv")
        chunks = read_chunks(of, input_files(of)[0], rows=1)
        assert turns_of(next(chunks).rows) == [[("user", "a"), ("assistant", "b")]]
        assert next(chunks).rows["line"].to_list() == [3]
        with pytest.raises(InputError, match=r"x\.csv:4: found broken CSV"):
            next(chunks)
