"""Output files of other tools: real ones are read to exactly what they hold.

The files in tests/data/importers were written by the tools themselves; its README has versions and
commands.
"""

from __future__ import annotations

import copy
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import pytest

from judge.errors import InputError
from judge.importers import Options, read_log
from judge.importers._archive import read_archive
from judge.records import Reason, Status
from tests.importing import (
    CHOICES_RUN,
    DATA,
    FACTS_RUN,
    FACTS_SAMPLES,
    GRADER,
    LOCAL,
    cells,
    changed,
    of,
    rulers,
)


def test_inspect_json_is_read_whole() -> None:
    read = read_log("inspect", DATA / "inspect" / "facts.json")
    failed = Reason.CANNOT_ASSESS
    values: dict[str, list[float | Reason]] = {
        # includes, model_graded_qa, brevity = 1 / words to four places, polite
        "france": [1.0, 1.0, 0.1667, 0.0],  # C, C, six words
        "ice": [1.0, Reason.INVALID, 0.1667, 0.0],  # the grader named no grade: NaN
        "planet": [0.0, 0.0, 0.2, 0.0],  # I, I, five words
        "river": [failed, failed, failed, failed],  # the sample ended with an error
        "sum": [1.0, 0.5, 0.2, 0.0],  # C, P, five words
    }
    names = ("includes", "model_graded_qa", "style.brevity", "style.polite")
    assert cells(read) == [
        (f"facts/{question}", LOCAL, 0, name, 0, value)
        for question, row in values.items()
        for name, value in zip(names, row, strict=True)
    ]
    assert {(a.question_id, a.answer, a.sample, a.finish_reason) for a in read.answers} == {
        ("facts/france", "Paris is the capital of France.", 0, "stop"),
        ("facts/ice", "Water freezes at 0 degrees Celsius.", 0, "stop"),
        ("facts/planet", "The largest planet is Saturn.", 0, "stop"),
        ("facts/sum", "2 + 3 is 5.", 0, "stop"),
    }
    question = read.questions["facts/ice"]
    assert question.question == "What is the freezing point of water?"
    assert (question.reference, question.category) == ("0 degrees Celsius", "physics")
    lost = of(read, "facts/ice", "model_graded_qa")
    assert (lost.status, lost.level, lost.detail) == (
        Status.UNSCORED, None, "unscored: grader_failed",
    )  # fmt: skip
    assert of(read, "facts/river", "includes").detail.endswith("RuntimeError('no answer came')")
    assert {v.judge for v in read.verdicts} == {f"inspect + {GRADER}"}
    assert of(read, "facts/planet", "model_graded_qa").rationale.startswith("The submission names")


def test_inspect_archive_with_epochs_and_a_grader_by_role() -> None:
    read = read_log("inspect", DATA / "inspect" / "short.eval")
    assert sorted(cells(read), key=str) == sorted(
        [
            (f"short/{question}", LOCAL, epoch, name, 0, 1.0)
            for question in (1, 2)
            for epoch in (0, 1)
            for name in ("includes", "model_graded_qa")
            if (question, name) != (2, "model_graded_qa")
        ]
        # The grader says P, which is no grade without partial credit.
        + [("short/2", LOCAL, e, "model_graded_qa", 0, Reason.INVALID) for e in (0, 1)],
        key=str,
    )
    assert {v.judge for v in read.verdicts} == {f"inspect + {GRADER}"}
    assert len(read.answers) == 4


def test_an_archive_of_plain_deflate_gives_the_same(tmp_path: Path) -> None:
    source = DATA / "inspect" / "short.eval"
    packed = tmp_path / "deflated.eval"
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, node in read_archive(source, ("",)).items():
            archive.writestr(name, json.dumps(node.value))
    assert read_log("inspect", packed) == read_log("inspect", source)


def test_inspect_without_a_grader_judged_itself(tmp_path: Path) -> None:
    def forget(data: Any) -> None:
        del data["eval"]["scorers"][1]["options"]["model"]

    read = read_log("inspect", changed(tmp_path, DATA / "inspect" / "facts.json", forget))
    assert {v.judge for v in read.verdicts} == {f"inspect + {LOCAL}"}
    assert "judged itself" in read.notes[0]


def test_inspect_letters_and_words_are_numbers_as_in_its_metrics(tmp_path: Path) -> None:
    for value, score in (("N", 0.0), ("yes", 1.0), ("False", 0.0), ("0.25", 0.25), (True, 1.0)):

        def give(data: Any, value: object = value) -> None:
            data["samples"][0]["scores"]["includes"]["value"] = value

        read = read_log("inspect", changed(tmp_path, DATA / "inspect" / "facts.json", give))
        assert of(read, "facts/france", "includes").score == score


def test_lm_eval_run_with_two_filters() -> None:
    read = read_log("lm-eval", DATA / "lm-eval" / FACTS_RUN)
    # Of the first words "Paris", "The" and "Water" one is the target.
    first = {0: 1.0, 1: 0.0, 2: 0.0}
    assert sorted(cells(read)) == sorted(
        (f"facts/{doc}", "small-model", 0, name, 0, value)
        for doc in first
        for name, value in (
            ("exact_match,whole", 0.0), ("exact_match,first-word", first[doc]),
        )
    )  # fmt: skip
    assert [(a.question_id, a.answer) for a in read.answers] == [
        ("facts/0", "Paris is the capital of France."),
        ("facts/1", "The largest planet is Saturn."),
        ("facts/2", "Water freezes at 0 degrees Celsius."),
    ]
    question = read.questions["facts/1"]
    assert (question.question, question.reference, question.category) == (
        "What is the largest planet?", "Jupiter", "facts",
    )  # fmt: skip
    assert {v.judge for v in read.verdicts} == {"lm-eval"}


def test_lm_eval_choices_are_answers() -> None:
    read = read_log("lm-eval", DATA / "lm-eval" / CHOICES_RUN, Options(model="dummy"))
    assert sorted(cells(read)) == [
        (f"choices/{doc}", "dummy", 0, name, 0, 1.0)
        for doc in (0, 1)
        for name in ("acc", "acc_norm")
    ]
    assert [a.answer for a in read.answers] == ["Paris", "Jupiter"]
    assert [q.reference for q in read.questions.values()] == ["Paris", "Jupiter"]
    assert "likeliest continuation" in read.notes[0]


def test_lm_eval_samples_alone_need_a_model_and_say_what_is_unknown(tmp_path: Path) -> None:
    alone = Path(shutil.copy(DATA / "lm-eval" / FACTS_SAMPLES, tmp_path))
    with pytest.raises(InputError, match="--model"):
        read_log("lm-eval", alone)
    read = read_log("lm-eval", alone, Options(model="mine"))
    whole = read_log("lm-eval", DATA / "lm-eval" / FACTS_SAMPLES)
    assert "no results file" in read.notes[0]
    assert whole.notes == ()
    assert [v.score for v in read.verdicts] == [v.score for v in whole.verdicts]
    assert rulers(read) != rulers(whole)


def test_lm_eval_older_forms(tmp_path: Path) -> None:
    """Requests as lists, no list of metrics, and the model only among its arguments."""

    def older(data: Any) -> None:
        del data["model_name"]
        data["config"]["model_args"] = "pretrained=org/small,dtype=float16"

    rows = [json.loads(row) for row in (DATA / "lm-eval" / FACTS_SAMPLES).read_text().splitlines()]
    for row in rows:
        del row["metrics"]
        row["arguments"] = [[row["doc"]["question"], {"until": []}]]
    (tmp_path / FACTS_SAMPLES).write_text("\n".join(map(json.dumps, rows)))
    read = read_log("lm-eval", changed(tmp_path, DATA / "lm-eval" / FACTS_RUN, older))
    now = read_log("lm-eval", DATA / "lm-eval" / FACTS_RUN, Options(model="org/small"))
    assert read == now


def test_lm_eval_likelihoods_of_one_continuation_are_no_answers(tmp_path: Path) -> None:
    row = {
        "doc_id": 0, "doc": {}, "target": " Paris", "arguments": [["The capital is", " Paris"]],
        "resps": [[["-0.5", "True"]]], "filtered_resps": [["-0.5", "True"]], "acc": 1,
        "perplexity": [-0.5, 1], "bypass": 999,
    }  # fmt: skip
    file = tmp_path / "samples_lambada.jsonl"
    file.write_text(json.dumps(row))
    read = read_log("lm-eval", file, Options(model="m"))
    assert read.answers == ()
    assert cells(read) == [("lambada/0", "m", 0, "acc", 0, 1.0)]
    assert sum("was left out" in note for note in read.notes) == 2  # perplexity, bypass


def test_lm_eval_low_is_good_where_the_harness_says_so(tmp_path: Path) -> None:
    def reverse(data: Any) -> None:
        data["higher_is_better"]["facts"]["exact_match"] = False

    shutil.copy(DATA / "lm-eval" / FACTS_SAMPLES, tmp_path)
    read = read_log("lm-eval", changed(tmp_path, DATA / "lm-eval" / FACTS_RUN, reverse))
    first = of(read, "facts/0", "exact_match,first-word")
    assert (first.level, first.score) == (1.0, 0.0)
    straight = read_log("lm-eval", DATA / "lm-eval" / FACTS_RUN)
    assert rulers(read)["exact_match,whole"] != rulers(straight)["exact_match,whole"]


def test_lm_eval_metrics_over_the_whole_corpus_are_left_out(tmp_path: Path) -> None:
    rows = [json.loads(row) for row in (DATA / "lm-eval" / FACTS_SAMPLES).read_text().splitlines()]
    for row in rows:
        row["metrics"].append("bleu")
        row["bleu"] = ["Paris", "It is Paris."]
    file = tmp_path / FACTS_SAMPLES
    file.write_text("\n".join(map(json.dumps, rows)))
    read = read_log("lm-eval", file, Options(model="m"))
    assert {v.criterion for v in read.verdicts} == {"exact_match,whole", "exact_match,first-word"}
    assert any("bleu has no value per answer" in note for note in read.notes)


def test_promptfoo_results() -> None:
    read = read_log("promptfoo", DATA / "promptfoo" / "results.json")
    rows: dict[str, list[tuple[int, str, float | Reason]]] = {
        # The repetition of the first test was kept; 35 characters / 100 is a scorer of one's own.
        "What is the capital of France?": [
            (sample, *each) for sample in (0, 1) for each in (("fact", 1.0), ("correctness", 0.9))
        ],
        "What is the largest planet?": [(0, "fact", 0.0), (0, "llm-rubric", 0.1)],
        "What is the freezing point of water?": [
            (0, "correctness", Reason.INVALID), (0, "javascript", 0.35),
        ],
    }  # fmt: skip
    names = {question.question: name for name, question in read.questions.items()}
    assert names.keys() == rows.keys()
    assert sorted(cells(read), key=str) == sorted(
        (
            (names[question], model, sample, criterion, 0, value)
            for question, row in rows.items()
            for sample, criterion, value in row
            for model in ("small", "openai:chat:large-model")
        ),
        key=str,
    )
    assert names["What is the capital of France?"].startswith("france#")
    assert names["What is the largest planet?"].startswith("test#")
    lost = [v for v in read.verdicts if v.status is Status.UNSCORED]
    assert all("Could not extract JSON" in v.detail for v in lost)
    assert {v.judge for v in read.verdicts} == {"promptfoo + openai:chat:scripted-judge"}


def test_promptfoo_lines_are_the_same_results(tmp_path: Path) -> None:
    source = DATA / "promptfoo" / "results.json"
    rows = json.loads(source.read_text())["results"]["results"]
    lines = tmp_path / "results.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    assert read_log("promptfoo", lines) == read_log("promptfoo", source)


def test_promptfoo_several_prompts_are_several_models(tmp_path: Path) -> None:
    def add(data: Any) -> None:
        rows = data["results"]["results"]
        rows += [copy.deepcopy(row) | {"promptId": "f" * 64} for row in rows]

    read = read_log("promptfoo", changed(tmp_path, DATA / "promptfoo" / "results.json", add))
    assert {v.model for v in read.verdicts} == {
        f"{name} / prompt {prompt}"
        for name in ("small", "openai:chat:large-model")
        for prompt in ("42e3ff4f", "ffffffff")
    }
    assert "several prompts" in read.notes[0]


def test_promptfoo_tests_keep_their_ids_in_another_order(tmp_path: Path) -> None:
    def turn(data: Any) -> None:
        rows = data["results"]["results"]
        last = max(row["testIdx"] for row in rows)
        for row in rows:
            row["testIdx"] = last - row["testIdx"]
        rows.reverse()

    source = DATA / "promptfoo" / "results.json"
    read = read_log("promptfoo", changed(tmp_path, source, turn))
    assert set(read.questions) == set(read_log("promptfoo", source).questions)


def test_promptfoo_failed_tests_are_unscored_on_what_they_ask(tmp_path: Path) -> None:
    def fail(data: Any) -> None:
        row = data["results"]["results"][0]
        row.update(failureReason=2, error="connection refused", success=False)
        del row["response"], row["gradingResult"]

    source = DATA / "promptfoo" / "results.json"
    read = read_log("promptfoo", changed(tmp_path, source, fail))
    lost = [v for v in read.verdicts if v.reason is Reason.CANNOT_ASSESS]
    assert [(v.criterion, v.model) for v in lost] == [("fact", "small"), ("correctness", "small")]
    assert lost[0].detail == "the test failed: connection refused"
    assert len(read.verdicts) == len(read_log("promptfoo", source).verdicts)


def test_deepeval_test_run() -> None:
    read = read_log("deepeval", DATA / "deepeval" / "test_run.json")
    names = ("Correctness [GEval]", "Toxicity", "Exact Match")
    rows: list[list[float | Reason]] = [
        [0.9, 1.0, 1.0],
        [0.1, 1.0, 0.0],
        [Reason.INVALID, 1.0, 0.0],
    ]
    questions = list(read.questions)
    assert questions[0].startswith("france#") and questions[1].startswith("test#")
    assert cells(read) == [
        (question, "small-model", 0, name, 0, value)
        for question, row in zip(questions, rows, strict=True)
        for name, value in zip(names, row, strict=True)
    ]
    assert {v.judge for v in read.verdicts} == {"deepeval + scripted-deepeval (Local Model)"}
    assert [q.reference for q in read.questions.values()] == [
        "Paris is the capital of France.", "Jupiter", "0 degrees Celsius",
    ]  # fmt: skip


def test_deepeval_names_no_model_by_itself(tmp_path: Path) -> None:
    file = changed(
        tmp_path, DATA / "deepeval" / "test_run.json", lambda data: data.pop("hyperparameters")
    )
    with pytest.raises(InputError, match="name it with --model"):
        read_log("deepeval", file)
    read = read_log("deepeval", file, Options(model="ours"))
    assert {v.model for v in read.verdicts} == {a.model for a in read.answers} == {"ours"}


def test_deepeval_cases_without_metrics_are_unscored_on_what_the_others_have(
    tmp_path: Path,
) -> None:
    whole = read_log("deepeval", DATA / "deepeval" / "test_run.json")
    for empty in ([], None):

        def bare(data: Any, empty: object = empty) -> None:
            data["testCases"][1]["metricsData"] = empty
            # Exact Match was not asked of every test case: nobody knows whether of this one.
            del data["testCases"][2]["metricsData"][2]

        read = read_log("deepeval", changed(tmp_path, DATA / "deepeval" / "test_run.json", bare))
        question = list(read.questions)[1]
        lost = [v for v in read.verdicts if v.question_id == question]
        assert [(v.criterion, v.reason) for v in lost] == [
            ("Correctness [GEval]", Reason.CANNOT_ASSESS), ("Toxicity", Reason.CANNOT_ASSESS),
        ]  # fmt: skip
        # Under the rulers of the judged ones, so that they count as missing there.
        assert rulers(read) == rulers(whole)
        (note,) = (note for note in read.notes if "no metrics" in note)
        assert note.startswith(
            "1 of the test cases have no metrics and are unscored on Correctness"
        )
        assert question in note
        assert len(read.answers) == 3

    def none(data: Any) -> None:
        for case in data["testCases"]:
            case["metricsData"] = []

    read = read_log("deepeval", changed(tmp_path, DATA / "deepeval" / "test_run.json", none))
    assert not read.verdicts
    assert "3 of the test cases have no metrics and are without any verdict" in read.notes[0]


def test_deepeval_metrics_where_low_is_good_have_to_be_named(tmp_path: Path) -> None:
    def old(data: Any) -> None:
        for case in data["testCases"]:
            case["metricsData"][1].update(score=0.0, success=True, threshold=0.5)

    file = changed(tmp_path, DATA / "deepeval" / "test_run.json", old)
    with pytest.raises(InputError, match="Toxicity=1:0"):
        read_log("deepeval", file)
    read = read_log("deepeval", file, Options(scales={"Toxicity": (1.0, 0.0)}))
    assert [v.score for v in read.verdicts if v.criterion == "Toxicity"] == [1.0, 1.0, 1.0]


def test_mt_bench_single_ratings_with_their_texts() -> None:
    read = read_log("mt-bench", DATA / "mt-bench" / "model_judgment" / "gpt-4_single.jsonl")
    # Ratings lie on 1 to 10: 7 is (7 - 1) / 9, 8.5 is 7.5 / 9, 3 is 2 / 9; -1 is none.
    expected = {
        ("1/turn-1", "small-model"): 6 / 9, ("1/turn-1", "baseline-model"): 2 / 9,
        ("2/turn-1", "small-model"): 7.5 / 9, ("2/turn-1", "baseline-model"): 2 / 9,
        ("1/turn-2", "small-model"): None, ("1/turn-2", "baseline-model"): None,
        ("2/turn-2", "small-model"): 7.5 / 9, ("2/turn-2", "baseline-model"): 2 / 9,
    }  # fmt: skip
    assert {(v.question_id, v.model): v.score for v in read.verdicts} == pytest.approx(expected)
    assert {v.criterion for v in read.verdicts} == {"rating"}
    assert {v.judge for v in read.verdicts} == {"gpt-4"}
    assert len(set(rulers(read).values())) == 1  # the prompts for maths belong to the usual ones
    assert {v.reason for v in read.verdicts if v.score is None} == {Reason.INVALID}
    assert len(read.answers) == 8
    question = read.questions["2/turn-2"]
    assert (question.question, question.category, question.reference) == (
        "What is 2 + 3?\n\nAnd twice that?", "math", "10",
    )  # fmt: skip


def test_mt_bench_pairs_are_two_samples_of_a_preference() -> None:
    read = read_log("mt-bench", DATA / "mt-bench" / "model_judgment" / "gpt-4_pair.jsonl")
    games: dict[str, list[float | None]] = {}
    for verdict in read.verdicts:
        assert verdict.model == "small-model"
        assert verdict.criterion == "preference_over_baseline-model"
        games.setdefault(verdict.question_id, []).append(verdict.score)
    assert games == {
        "1/turn-1": [1.0, 1.0],
        "2/turn-1": [1.0, 0.0],  # whichever stands first wins
        "1/turn-2": [0.5, 0.5],
        "2/turn-2": [None, None],
    }


def test_mt_bench_reruns_are_samples_and_other_numbers_are_no_ratings(tmp_path: Path) -> None:
    rows = (DATA / "mt-bench" / "model_judgment" / "gpt-4_single.jsonl").read_text().splitlines()
    first = json.loads(rows[0])
    more = [first | {"score": 0}, first | {"score": -1, "judgment": "$ERROR$"}]
    file = tmp_path / "gpt-4_single.jsonl"
    file.write_text("\n".join([rows[0], *map(json.dumps, more)]))
    read = read_log("mt-bench", file)
    assert [(v.sample, v.score, v.reason) for v in read.verdicts] == [
        (0, pytest.approx(6 / 9), None),
        (1, None, Reason.OUT_OF_RANGE),
        (2, None, Reason.CANNOT_ASSESS),
    ]


def test_mt_bench_judgments_without_the_folders_stand_without_texts(tmp_path: Path) -> None:
    folder = tmp_path / "bench" / "model_judgment"
    folder.mkdir(parents=True)
    alone = shutil.copy(DATA / "mt-bench" / "model_judgment" / "gpt-4_single.jsonl", folder)
    read = read_log("mt-bench", Path(alone))
    assert read.answers == ()
    assert len(read.verdicts) == 8
    assert {v.answer_hash for v in read.verdicts} == {None}
    assert "stand without the texts" in read.notes[0]
    answers = shutil.copy(DATA / "mt-bench" / "model_answer" / "small-model.jsonl", folder)
    with pytest.raises(InputError, match=r"question\.jsonl"):
        read_log("mt-bench", Path(answers))


def test_alpaca_eval_annotations() -> None:
    read = read_log("alpaca-eval", DATA / "alpaca-eval" / "annotations.json")
    assert [(v.level, v.score, v.reason) for v in read.verdicts] == [
        (1.0, 0.0, None), (1.0, 0.0, None), (None, None, Reason.INVALID),
    ]  # fmt: skip
    assert {v.criterion for v in read.verdicts} == {"preference_over_reference-model"}
    assert {v.model for v in read.verdicts} == {"small-model"}
    assert {v.judge for v in read.verdicts} == {"scripted"}
    assert {a.model for a in read.answers} == {"small-model", "reference-model"}
    outputs = read_log("alpaca-eval", DATA / "alpaca-eval" / "model_outputs.json")
    assert set(outputs.answers) == {a for a in read.answers if a.model == "small-model"}
    assert outputs.questions == read.questions


@pytest.mark.parametrize(
    ("preference", "score"), [(1, 0.0), (2, 1.0), (1.5, 0.5), (0, 0.5), (1.25, 0.25)]
)
def test_alpaca_eval_encodings(tmp_path: Path, preference: float, score: float) -> None:
    def give(data: Any) -> None:
        data[0]["preference"] = preference

    file = changed(tmp_path, DATA / "alpaca-eval" / "annotations.json", give)
    assert read_log("alpaca-eval", file).verdicts[0].score == score


def test_alpaca_eval_people_are_raters(tmp_path: Path) -> None:
    def people(data: Any) -> None:
        for row, (annotator, preference) in zip(data, ((7, 2), (7, 1), (8, 0)), strict=True):
            row.update(annotator=annotator, preference=preference)

    read = read_log(
        "alpaca-eval", changed(tmp_path, DATA / "alpaca-eval" / "annotations.json", people)
    )
    assert read.verdicts == ()
    assert [(r.rater, r.rating, r.scale_min, r.scale_max) for r in read.ratings] == [
        ("annotator 7", 2, 1, 2), ("annotator 7", 1, 1, 2), ("annotator 8", 1.5, 1, 2),
    ]  # fmt: skip
