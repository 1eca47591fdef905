"""What holds for the files of every tool: rulers, names, scales, versions, contradictions."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from judge.canonical import text_hash
from judge.errors import InputError, UsageError
from judge.importers import Options, read_log
from judge.questions import question_hash
from judge.records import Status
from tests.importing import ALL, DATA, FACTS_SAMPLES, cells, changed, of, rulers


@pytest.mark.parametrize("tool", ALL)
def test_verdicts_are_bound_to_the_texts_and_rulers_are_the_tools(tool: str) -> None:
    read = read_log(tool, ALL[tool])
    texts = {(a.question_id, a.model, a.sample): a.answer for a in read.answers}
    for verdict in read.verdicts:
        assert verdict.ruler.startswith(f"imported/{tool}/")
        key = (verdict.question_id, verdict.model, verdict.answer_sample)
        if key in texts:
            assert verdict.answer_hash == text_hash(texts[key])
            question = read.questions[verdict.question_id]
            assert verdict.question_hash == question_hash(question)
        else:
            assert verdict.status is Status.UNSCORED
    assert rulers(read).keys() == {v.criterion for v in read.verdicts}


def _other_inspect(data: Any) -> None:
    data["eval"]["scorers"][1]["options"]["partial_credit"] = False


def _other_promptfoo(data: Any) -> None:
    for row in data["results"]["results"]:
        for part in row["gradingResult"]["componentResults"]:
            if part["assertion"]["type"] == "javascript":
                part["assertion"]["value"] = "output.length / 50"


def _other_deepeval(data: Any) -> None:
    for case in data["testCases"]:
        logs = case["metricsData"][0]["verboseLogs"]
        case["metricsData"][0]["verboseLogs"] = logs.replace("right", "short")


def _other_alpaca(data: Any) -> None:
    for row in data:
        row["annotator"] = "weighted"


def _other_lm_eval(data: Any) -> None:
    data["configs"]["facts"]["filter_list"][1]["filter"][0]["regex_pattern"] = "(.*)"


@pytest.mark.parametrize(
    ("tool", "change", "criterion"),
    [
        ("inspect", _other_inspect, "model_graded_qa"),
        ("promptfoo", _other_promptfoo, "javascript"),
        ("deepeval", _other_deepeval, "Correctness [GEval]"),
        ("alpaca-eval", _other_alpaca, "preference_over_reference-model"),
        ("lm-eval", _other_lm_eval, "exact_match,first-word"),
    ],
)
def test_other_settings_of_a_scorer_are_another_ruler_of_it_alone(
    tmp_path: Path, tool: str, change: Callable[[Any], None], criterion: str
) -> None:
    shutil.copy(DATA / "lm-eval" / FACTS_SAMPLES, tmp_path)
    before = rulers(read_log(tool, ALL[tool]))
    after = rulers(read_log(tool, changed(tmp_path, ALL[tool], change)))
    assert before.keys() == after.keys()
    assert {name for name in before if before[name] != after[name]} == {criterion}


def _more_shots(data: Any) -> None:
    data["n-shot"]["facts"] = data["configs"]["facts"]["num_fewshot"] = 5


def _older_shots(data: Any) -> None:
    del data["n-shot"]
    data["configs"]["facts"]["num_fewshot"] = 5


def _another(name: str, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        data["configs"]["facts"][name] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _more_shots,
        _older_shots,
        _another("doc_to_text", "Q: {{question}}"),
        _another("doc_to_target", "{{question}}"),
        _another("description", "Answer in one word."),
        _another("dataset_name", "hard"),
        _another("test_split", "validation"),
        _another("generation_kwargs", {"until": ["."], "max_gen_toks": 32}),
        lambda data: data.update(system_instruction="Be brief."),
        lambda data: data["versions"].update(facts=2.0),
    ],
)
def test_another_task_of_the_same_name_is_another_ruler(
    tmp_path: Path, change: Callable[[Any], None]
) -> None:
    shutil.copy(DATA / "lm-eval" / FACTS_SAMPLES, tmp_path)
    before = rulers(read_log("lm-eval", ALL["lm-eval"]))
    after = rulers(read_log("lm-eval", changed(tmp_path, ALL["lm-eval"], change)))
    assert all(before[name] != after[name] for name in before)


def _run_elsewhere(data: Any) -> None:
    data["chat_template"] = "{{ messages }}"
    data["config"].update(batch_size=8, device="cpu", fewshot_seed=7)
    data["configs"]["facts"]["metadata"]["num_concurrent"] = 4
    # How examples are chosen and joined is nothing where there are none.
    data["configs"]["facts"]["fewshot_delimiter"] = "\n"


def test_the_machine_and_the_models_template_are_no_part_of_the_ruler(tmp_path: Path) -> None:
    shutil.copy(DATA / "lm-eval" / FACTS_SAMPLES, tmp_path)
    before = rulers(read_log("lm-eval", ALL["lm-eval"]))
    elsewhere = changed(tmp_path, ALL["lm-eval"], _run_elsewhere)
    assert rulers(read_log("lm-eval", elsewhere)) == before
    # The harness writes functions that have no source with their address in this process.
    found = []
    for address in ("0x7f01", "0x7f02"):
        function = _another("process_docs", f"<function clean at {address}>")
        found.append(rulers(read_log("lm-eval", changed(tmp_path, ALL["lm-eval"], function))))
    assert found[0] == found[1] != before


@pytest.mark.parametrize("tool", ["inspect", "lm-eval", "promptfoo", "deepeval"])
def test_the_evaluated_model_is_no_part_of_the_ruler(tmp_path: Path, tool: str) -> None:
    options = Options(model="other")
    if tool == "promptfoo":

        def one(data: Any) -> None:
            rows = data["results"]["results"]
            rows[:] = [row for row in rows if row["provider"]["label"] == "small"]

        file = changed(tmp_path, ALL[tool], one)
    else:
        file = ALL[tool]
    read = read_log(tool, file, options)
    assert {v.model for v in read.verdicts} == {"other"}
    assert rulers(read) == rulers(read_log(tool, ALL[tool]))


def test_one_name_cannot_stand_for_several_models() -> None:
    with pytest.raises(UsageError, match="several models"):
        read_log("promptfoo", ALL["promptfoo"], Options(model="mine"))


def test_a_pairwise_baseline_keeps_its_name() -> None:
    read = read_log("alpaca-eval", ALL["alpaca-eval"], Options(model="ours"))
    assert {v.model for v in read.verdicts} == {"ours"}
    assert {a.model for a in read.answers} == {"ours", "reference-model"}
    with pytest.raises(UsageError, match="another model"):
        read_log("alpaca-eval", ALL["alpaca-eval"], Options(model="reference-model"))


def test_values_off_the_scale_are_refused_with_the_remedy(tmp_path: Path) -> None:
    def grade(data: Any) -> None:
        for sample, value in zip(data["samples"], (1, 4, 10, 7, 5.5), strict=True):
            if sample.get("scores"):
                sample["scores"]["includes"]["value"] = value

    file = changed(tmp_path, ALL["inspect"], grade)
    with pytest.raises(InputError) as refused:
        read_log("inspect", file)
    text = str(refused.value)
    assert "samples[1].scores.includes.value: found 4" in text
    assert '--scale "includes=1:10"' in text
    read = read_log("inspect", file, Options(scales={"includes": (1, 10)}))
    assert of(read, "facts/planet", "includes").score == 1.0
    assert of(read, "facts/ice", "includes").score == pytest.approx(3 / 9)
    skipped = read_log("inspect", file, Options(skipped=frozenset({"includes"})))
    assert "includes" not in {v.criterion for v in skipped.verdicts}
    with pytest.raises(UsageError, match="no criterion inclodes"):
        read_log("inspect", file, Options(skipped=frozenset({"inclodes", "includes"})))


@pytest.mark.parametrize(
    ("tool", "lose", "told"),
    [
        ("inspect", lambda data: data.pop("samples"), "inspect_ai 0.3.285 (log format 2)"),
        ("lm-eval", lambda data: data.pop("results"), "lm_eval 0.4.13"),
        ("promptfoo", lambda data: data["results"].pop("results"), "promptfoo 0.121.20"),
        ("deepeval", lambda data: data.pop("testCases"), "a version of DeepEval"),
        ("alpaca-eval", lambda data: data[0].pop("generator_2"), "alpaca_eval==0.6.6"),
    ],
)
def test_a_field_that_is_gone_is_named_with_the_version(
    tmp_path: Path, tool: str, lose: Callable[[Any], object], told: str
) -> None:
    file = changed(tmp_path, ALL[tool], lose)
    with pytest.raises(InputError) as refused:
        read_log(tool, file)
    assert f"written by {told}" in str(refused.value)
    assert "expected the field" in str(refused.value)


def test_an_unknown_version_is_read_where_its_fields_are_there(tmp_path: Path) -> None:
    def newer(data: Any) -> None:
        data["version"] = 99
        data["eval"]["packages"]["inspect_ai"] = "9.9"
        data["something_new"] = {"a": 1}

    read = read_log("inspect", changed(tmp_path, ALL["inspect"], newer))
    assert cells(read) == cells(read_log("inspect", ALL["inspect"]))


def test_two_answers_under_one_identity_are_refused(tmp_path: Path) -> None:
    def twice(data: Any) -> None:
        again = copy.deepcopy(data["samples"][0])
        again["output"]["choices"][0]["message"]["content"] = "Rome."
        data["samples"].append(again)

    with pytest.raises(InputError, match=r"samples\[5\].*found a second one, Rome"):
        read_log("inspect", changed(tmp_path, ALL["inspect"], twice))


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    text = (DATA / "lm-eval" / FACTS_SAMPLES).read_text().splitlines()
    file = tmp_path / "samples_facts.jsonl"
    file.write_text("\n".join([text[0], text[1][:100], text[2]]))
    with pytest.raises(InputError, match=r"samples_facts\.jsonl:2: found broken JSON"):
        read_log("lm-eval", file, Options(model="m"))


def test_a_scale_that_the_passes_of_the_file_contradict_is_refused() -> None:
    """In this file Toxicity passes with 1.0 at a threshold below it: high scores are good."""
    file = DATA / "deepeval" / "test_run.json"
    with pytest.raises(InputError, match="High scores of Toxicity are good ones") as raised:
        read_log("deepeval", file, Options(scales={"Toxicity": (1.0, 0.0)}))
    assert "success true with score 1" in str(raised.value)
    same = read_log("deepeval", file, Options(scales={"Toxicity": (0.0, 1.0)}))
    plain = read_log("deepeval", file)
    assert [v.score for v in same.verdicts] == [v.score for v in plain.verdicts]
