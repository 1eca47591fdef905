"""Sources: what was written in any format and kind of file is read back, row by row, unchanged."""

from __future__ import annotations

import json
import random
from hashlib import blake2b
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sft.errors import InputError
from sft.records import REMOVED, ROWS
from sft.settings import Format
from sft.sources import input_files, read_chunks, row_id
from tests.source_files import (
    FORMATS,
    KINDS,
    QUESTION,
    Record,
    Turns,
    alpaca,
    jsonl,
    messages,
    openai,
    read,
    read_text,
    sharegpt,
    source,
    turns_of,
    write_csv,
    write_jsonl,
    write_parquet,
    write_saved,
)

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
"""Any text, with line breaks, quotes, controls and NUL; also none."""
exchanges = st.tuples(texts, texts).map(lambda pair: [("user", pair[0]), ("assistant", pair[1])])
systems = st.lists(texts.filter(bool).map(lambda text: ("system", text)), max_size=1)
single = st.tuples(systems, exchanges).map(lambda parts: [*parts[0], *parts[1]])
several = st.tuples(systems, st.lists(exchanges, min_size=1, max_size=3)).map(
    lambda parts: [*parts[0], *(turn for pair in parts[1] for turn in pair)]
)


class TestRoundTrip:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("form", FORMATS)
    @given(data=st.data())
    @settings(max_examples=30, deadline=None)
    def test_what_was_written_is_read(
        self, tmp_path_factory: pytest.TempPathFactory, kind: str, form: str, data: st.DataObject
    ) -> None:
        one = single if form == "alpaca" else several
        written: list[Turns] = data.draw(st.lists(one, min_size=2, max_size=9))
        path = tmp_path_factory.mktemp("source") / kind
        KINDS[kind](path, [FORMATS[form](turns) for turns in written])
        size = data.draw(st.integers(1, 10))
        chosen = data.draw(st.sampled_from([Format.AUTO, Format(form)]))
        rows, unreadable = read(path, rows=size, format=chosen)
        assert turns_of(rows) == written
        assert len(unreadable) == 0
        assert rows.schema == dict(ROWS)
        assert unreadable.schema == dict(REMOVED)
        assert rows["row_id"].to_list() == [row_id("s", messages(turns)) for turns in written]
        assert rows["source"].unique().to_list() == ["s"]
        assert rows["language"].null_count() == len(rows)

    def test_chunks_follow_one_another_whatever_their_size(self, tmp_path: Path) -> None:
        records = [openai([("user", str(n)), ("assistant", "b")]) for n in range(20)]
        records[7] = {"messages": []}
        path = tmp_path / "x.jsonl"
        write_jsonl(path, records)
        rows, unreadable = read(path)
        assert (len(rows), unreadable["line"].to_list()) == (19, [8])
        for size in (1, 3, 19, 20):
            again = read(path, rows=size)
            assert again.rows.equals(rows)
            assert again.unreadable.equals(unreadable)

    def test_a_chunk_of_nothing_is_a_mistake(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "x.jsonl", [openai(QUESTION)])
        of = source(tmp_path / "x.jsonl")
        with pytest.raises(ValueError, match="chunks of 0 rows"):
            next(read_chunks(of, input_files(of)[0], rows=0))

    def test_parquet_of_many_slices(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sft.sources._tables._SLICE", 10)
        monkeypatch.setattr("sft.sources._tables._BATCH", 3)
        for count in (9, 10, 25):  # less than, just, and more than slices
            written = [[("user", str(n)), ("assistant", "b")] for n in range(count)]
            write_parquet(tmp_path / "x.parquet", [openai(turns) for turns in written])
            rows, _ = read(tmp_path / "x.parquet", rows=4)
            assert turns_of(rows) == written
            assert rows["line"].to_list() == list(range(1, count + 1))


class TestRowId:
    def test_it_is_the_hash_of_source_and_messages(self) -> None:
        # Keys are sorted: content before role.
        text = '["s",[{"content":"Wie?","role":"user"},{"content":"So.","role":"assistant"}]]'
        expected = blake2b(text.encode(), digest_size=16).hexdigest()
        assert row_id("s", messages([("user", "Wie?"), ("assistant", "So.")])) == expected

    def test_order_kind_and_format_of_files_do_not_matter(self, tmp_path: Path) -> None:
        written = [[("user", str(n)), ("assistant", "b")] for n in range(9)]
        write_jsonl(tmp_path / "a.jsonl", [openai(turns) for turns in written])
        random.Random(0).shuffle(written)
        write_csv(tmp_path / "b.csv", [alpaca(turns) for turns in written])
        first, _ = read(tmp_path / "a.jsonl")
        second, _ = read(tmp_path / "b.csv")
        assert first["row_id"].to_list() != second["row_id"].to_list()
        assert set(first["row_id"]) == set(second["row_id"])
        renamed, _ = read(tmp_path / "a.jsonl", name="t")
        assert not set(first["row_id"]) & set(renamed["row_id"])


class TestFormats:
    def test_the_first_record_that_fits_decides(self, tmp_path: Path) -> None:
        # A broken line and a record of no format come first; the file is Alpaca's all the same.
        content = b'{"broken\n{"note": "made by hand"}\n' + jsonl([alpaca(QUESTION)] * 2)
        rows, unreadable = read_text(tmp_path, "x.jsonl", content)
        assert rows["line"].to_list() == [3, 4]
        assert unreadable["reason"].to_list() == ["broken_json", "missing_field"]
        assert "as the record in line 3" in unreadable["detail"][1]

    def test_files_of_a_source_may_differ(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "a.jsonl", [alpaca(QUESTION)])
        write_jsonl(tmp_path / "b.jsonl", [sharegpt(QUESTION)])
        rows, _ = read(tmp_path / "b.jsonl", tmp_path / "a.jsonl")
        assert turns_of(rows) == [QUESTION, QUESTION]
        assert rows["file"].to_list() == [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]

    @pytest.mark.parametrize("kind", ["x.jsonl", "x.csv", "x.parquet"])
    def test_the_input_of_alpaca_is_a_paragraph_of_the_prompt(
        self, tmp_path: Path, kind: str
    ) -> None:
        records: list[Record] = [
            {"instruction": "Add.", "input": "1 and 2", "output": "3"},
            {"instruction": "Greet.", "input": "", "output": " Hi \r\n"},
            {"instruction": "", "input": "Greet.", "output": "Hi"},
        ]
        KINDS[kind](tmp_path / kind, records)
        rows, _ = read(tmp_path / kind)
        assert turns_of(rows) == [
            [("user", "Add.\n\n1 and 2"), ("assistant", "3")],
            [("user", "Greet."), ("assistant", " Hi \r\n")],
            [("user", "Greet."), ("assistant", "Hi")],
        ]

    def test_the_input_of_alpaca_may_be_missing_or_null(self, tmp_path: Path) -> None:
        record = {"instruction": "Greet.", "output": "Hi"}
        write_jsonl(tmp_path / "x.jsonl", [record, {**record, "input": None}])
        rows, _ = read(tmp_path / "x.jsonl")
        assert turns_of(rows) == [[("user", "Greet."), ("assistant", "Hi")]] * 2

    def test_all_names_of_roles(self, tmp_path: Path) -> None:
        names = ["system", "human", "gpt", "user", "assistant", "human", "chatgpt", "user", "bing"]
        turns = [{"from": name, "value": str(n)} for n, name in enumerate(names)]
        write_jsonl(tmp_path / "x.jsonl", [{"conversations": turns}])
        rows, _ = read(tmp_path / "x.jsonl")
        roles = [role for role, _ in turns_of(rows)[0]]
        assert roles == ["system", *["user", "assistant"] * 4]
        developer = [{"role": "developer", "content": "Be brief."}, *messages(QUESTION)]
        write_jsonl(tmp_path / "y.jsonl", [{"messages": developer}])
        assert turns_of(read(tmp_path / "y.jsonl").rows) == [[("system", "Be brief."), *QUESTION]]

    @pytest.mark.parametrize("form", [sharegpt, alpaca])
    def test_a_system_message_beside_the_turns(self, tmp_path: Path, form: object) -> None:
        record = FORMATS[form.__name__](QUESTION)  # type: ignore[attr-defined]
        systems = ["Be kind.", "", None]
        write_jsonl(tmp_path / "x.jsonl", [{**record, "system": text} for text in systems])
        rows, _ = read(tmp_path / "x.jsonl")
        assert turns_of(rows) == [[("system", "Be kind."), *QUESTION], QUESTION, QUESTION]

    def test_content_in_parts_of_text(self, tmp_path: Path) -> None:
        parts = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]
        turns = [{"role": "user", "content": parts}, {"role": "assistant", "content": []}]
        for kind in ("x.jsonl", "x.csv"):
            KINDS[kind](tmp_path / kind, [{"messages": turns}])
            rows, _ = read(tmp_path / kind)
            assert turns_of(rows) == [[("user", "What is this?"), ("assistant", "")]]

    def test_further_fields_and_repeated_keys_are_ignored(self, tmp_path: Path) -> None:
        line = (
            b'{"id": 7, "messages": 3, "messages": ['
            b'{"role": "user", "name": "Ann", "content": "Why?", "tool_calls": null},'
            b'{"role": "assistant", "content": "Because.", "weight": 1}], "tags": [[]]}'
        )
        assert turns_of(read_text(tmp_path, "x.jsonl", line).rows) == [QUESTION]


class TestFields:
    @pytest.mark.parametrize("kind", ["x.jsonl", "x.json", "x.csv", "x.parquet", "saved"])
    def test_own_names(self, tmp_path: Path, kind: str) -> None:
        records: list[Record] = [{"id": "7", "question": "Why?", "answer": "Because."}] * 2
        KINDS[kind](tmp_path / kind, records)
        fields = {"instruction": "question", "output": "answer"}
        assert turns_of(read(tmp_path / kind, fields=fields).rows) == [QUESTION, QUESTION]
        with pytest.raises(InputError) as refused:
            read(tmp_path / kind)
        said = str(refused.value)
        assert "id, question, answer" in said
        assert "messages (openai) or conversations (sharegpt) or instruction and output" in said
        assert "fields: {instruction: question, output: answer}" in said

    def test_own_name_of_the_list(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "x.jsonl", [{"conversations": messages(QUESTION)}])
        rows, unreadable = read(tmp_path / "x.jsonl")
        assert len(rows) == 0
        assert "format: openai and fields: {messages: conversations}" in unreadable["detail"][0]
        rows, _ = read(
            tmp_path / "x.jsonl", format=Format.OPENAI, fields={"messages": "conversations"}
        )
        assert turns_of(rows) == [QUESTION]

    def test_a_field_that_no_format_has(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "x.jsonl", [alpaca(QUESTION)])
        with pytest.raises(InputError, match=r"fields\.question: found question.*instruction"):
            read(tmp_path / "x.jsonl", fields={"question": "instruction"})
        with pytest.raises(InputError, match=r"fields\.messages: .*format \(alpaca\)"):
            read(tmp_path / "x.jsonl", format=Format.ALPACA, fields={"messages": "turns"})

    def test_a_format_that_is_another(self, tmp_path: Path) -> None:
        write_jsonl(tmp_path / "x.jsonl", [sharegpt(QUESTION)])
        with pytest.raises(InputError) as refused:
            read(tmp_path / "x.jsonl", format=Format.ALPACA)
        assert str(refused.value) == (
            f"{tmp_path / 'x.jsonl'}:1: found the fields conversations, expected the fields "
            "instruction and output (alpaca). This looks like format: sharegpt"
        )


class TestPlaces:
    def test_blank_lines_count_but_are_no_records(self, tmp_path: Path) -> None:
        line = json.dumps(openai(QUESTION)).encode()
        content = b"\xef\xbb\xbf\r\n" + line + b"\r\n \t\r\n\n" + line
        rows, unreadable = read_text(tmp_path, "x.jsonl", content)
        assert rows["line"].to_list() == [2, 5]
        assert len(unreadable) == 0

    def test_csv_records_stand_where_they_start(self, tmp_path: Path) -> None:
        content = (
            b'\xef\xbb\xbfinstruction,output\r\n"two\r\nlines","three\n\nlines"\r\n'
            b'\r\na,b\r\n"said ""yes""","1,5"\r\n'
        )
        rows, _ = read_text(tmp_path, "x.csv", content)
        assert rows["line"].to_list() == [2, 7, 8]
        assert turns_of(rows) == [
            [("user", "two\r\nlines"), ("assistant", "three\n\nlines")],
            [("user", "a"), ("assistant", "b")],
            [("user", 'said "yes"'), ("assistant", "1,5")],
        ]

    def test_csv_holds_texts_of_any_length(self, tmp_path: Path) -> None:
        # The standard library's own bound is 131,072 characters.
        write_csv(tmp_path / "x.csv", [alpaca([("user", "a"), ("assistant", "b" * 200_000)])])
        assert len(turns_of(read(tmp_path / "x.csv").rows)[0][1][1]) == 200_000

    def test_records_of_an_array_stand_where_they_start(self, tmp_path: Path) -> None:
        record = json.dumps(openai(QUESTION), indent=2)  # 12 lines
        assert record.count("\n") == 11
        content = f"\ufeff\n[\n{record},\n\n  {record}, {record}\n]\n".encode()
        assert read_text(tmp_path, "x.json", content).rows["line"].to_list() == [3, 16, 27]

    def test_brackets_in_a_name_are_no_pattern(self, tmp_path: Path) -> None:
        for kind in ("a[1].parquet", "b[1].arrow"):
            writer = KINDS["x.parquet"] if kind.endswith("parquet") else KINDS["x.arrow"]
            writer(tmp_path / kind, [openai(QUESTION)])
            assert turns_of(read(tmp_path / kind).rows) == [QUESTION]


class TestInputFiles:
    def test_size_and_hash_of_the_content(self, tmp_path: Path) -> None:
        content = jsonl([openai(QUESTION)]) * 30_000  # 2.6 MB: several blocks
        (tmp_path / "x.jsonl").write_bytes(content)
        (file,) = input_files(source(tmp_path / "x.jsonl"))
        assert file.path == tmp_path / "x.jsonl"
        assert file.bytes == len(content) > 2 * 2**20
        assert file.hash == blake2b(content, digest_size=16).hexdigest()

    def test_a_folder_stands_for_the_data_in_it(self, tmp_path: Path) -> None:
        for name in ("b.jsonl", "a.jsonl.gz", ".hidden.jsonl", "README.md", "info.json"):
            (tmp_path / name).write_bytes(b"x")
        (tmp_path / "folder.csv").mkdir()
        both = source(tmp_path / "b.jsonl", tmp_path)
        assert [file.path.name for file in input_files(both)] == ["a.jsonl.gz", "b.jsonl"]

    def test_of_several_splits_the_one_to_train_on(self, tmp_path: Path) -> None:
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
        write_saved(tmp_path / "train", [openai(QUESTION)] * 2)
        write_saved(tmp_path / "test", [openai(QUESTION)] * 2)
        assert {file.path.parent.name for file in input_files(source(tmp_path))} == {"train"}
        named = input_files(source(tmp_path / "test"))
        assert {file.path.parent.name for file in named} == {"test"}
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["dev", "test"]}')
        with pytest.raises(InputError, match="the splits dev, test, expected a split train"):
            input_files(source(tmp_path))

    def test_files_of_a_saved_set_that_its_state_does_not_list(self, tmp_path: Path) -> None:
        write_saved(tmp_path / "set", [openai(QUESTION)] * 3)
        (tmp_path / "set" / "data-00000-of-00001.arrow").write_bytes(b"of an earlier version")
        assert turns_of(read(tmp_path / "set").rows) == [QUESTION] * 3

    @pytest.mark.parametrize("shards", [1, 3])
    def test_what_the_library_saves(self, tmp_path: Path, shards: int) -> None:
        datasets = pytest.importorskip("datasets")
        written = [[("user", f"q{n}"), ("assistant", f"a{n}")] for n in range(7)]
        records = [{**openai(turns), "id": n} for n, turns in enumerate(written)]
        saved = datasets.Dataset.from_list(records)
        saved.save_to_disk(str(tmp_path / "one"), num_shards=shards)
        assert turns_of(read(tmp_path / "one").rows) == written
        # A selection that is shuffled: the library writes the rows in their new order.
        chosen = saved.select([5, 2, 4])
        datasets.DatasetDict({"train": chosen, "test": saved}).save_to_disk(str(tmp_path / "two"))
        assert turns_of(read(tmp_path / "two").rows) == [written[n] for n in (5, 2, 4)]

    def test_the_messages_are_what_polars_makes_of_them(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "x.parquet", [openai(QUESTION)])
        direct = pl.read_parquet(tmp_path / "x.parquet")["messages"]
        assert read(tmp_path / "x.parquet").rows["messages"].equals(direct)


class TestFolders:
    def test_what_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found nothing, expected a file or folder that exi"):
            input_files(source(tmp_path / "x.jsonl"))

    def test_no_data_in_it(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="a folder with nothing"):
            input_files(source(tmp_path))
        (tmp_path / "x.json").write_bytes(b"[]")
        with pytest.raises(InputError, match=r"a folder with x\.json, expected a saved data set"):
            input_files(source(tmp_path))

    def test_a_saved_set_with_a_file_missing(self, tmp_path: Path) -> None:
        write_saved(tmp_path / "set", [openai(QUESTION)] * 2)
        (tmp_path / "set" / "data-00001-of-00002.arrow").unlink()
        with pytest.raises(InputError, match=r"data-00001-of-00002\.arrow: found nothing"):
            input_files(source(tmp_path / "set"))

    @pytest.mark.parametrize(
        "state",
        ["{", "[]", "{}", '{"_data_files": []}', '{"_data_files": [{"filename": "../x.arrow"}]}'],
    )
    def test_a_state_that_says_nothing(self, tmp_path: Path, state: str) -> None:
        write_saved(tmp_path / "set", [openai(QUESTION)] * 2)
        (tmp_path / "set" / "state.json").write_text(state)
        with pytest.raises(InputError, match=r"state\.json"):
            input_files(source(tmp_path / "set"))

    def test_a_split_without_data(self, tmp_path: Path) -> None:
        (tmp_path / "dataset_dict.json").write_text('{"splits": ["train"]}')
        with pytest.raises(InputError, match="train: found no data set"):
            input_files(source(tmp_path))
