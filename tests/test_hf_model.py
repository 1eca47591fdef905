"""The server for ``hf:`` models, on a tiny model with random weights, made here."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import math
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from judge.endpoint import (
    ChatEndpoint,
    ModelSpec,
    RejectedRequest,
    RetryPolicy,
    UnsupportedParameter,
    parse_spec,
)
from judge.errors import EndpointError
from judge.local_models import serving

MISSING = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.hf,
    pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}: extra hf"),
    # Not ours: what the libraries warn about in their own code.
    pytest.mark.filterwarnings("default"),
]
PROMPTS = ["Hi.", "What is 2 + 2? " * 9, "Explain tax.", "Grade this answer: 東京 🙂. " * 30]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.vllm.tiny_model import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny"), length=1024)


@pytest.fixture(scope="module")
def engine(folder: Path) -> Any:
    from judge.local_models._hf_engine import Engine

    return Engine(folder, dtype="float32", template=None, max_model_len=None)


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[ModelSpec]:
    with serving(parse_spec(f"hf:{folder}?batch=4")) as spec:
        yield spec


def orders(engine: Any, **fields: Any) -> list[Any]:
    """One order per prompt, each with its own seed."""
    from judge.local_models._hf_engine import Order

    given = {"max_tokens": 40, "temperature": 0.0, **fields}
    return [
        Order(prompt=engine.encode([{"role": "user", "content": text}]), seed=seed, **given)
        for seed, text in enumerate(PROMPTS)
    ]


def written(engine: Any, ids: list[int], max_tokens: int | None = None) -> Any:
    """The reply of a model that wants exactly these tokens."""
    import torch

    from judge.local_models._hf_engine import Order, _Row

    order = Order(prompt=[1], max_tokens=max_tokens or len(ids), temperature=0.0, seed=0)
    row = _Row(engine, order)
    for token in ids:
        logits = torch.zeros(len(engine.tokenizer))
        logits[token] = 9.0
        assert row.take(logits) == token
    return row.written


class TestBatches:
    @pytest.mark.parametrize("temperature", [0.0, 1.0])
    def test_a_reply_does_not_depend_on_its_batch(self, engine: Any, temperature: float) -> None:
        several = orders(engine, temperature=temperature)
        assert len({len(order.prompt) for order in several}) == len(several)
        together = engine.generate(several)
        alone = [engine.generate([order])[0] for order in several]
        assert [w.text for w in together] == [w.text for w in alone]
        backwards = engine.generate(several[::-1])[::-1]
        assert [w.text for w in backwards] == [w.text for w in alone]
        assert len({w.text for w in alone}) == len(several)

    def test_short_replies_leave_and_the_others_go_on(self, engine: Any) -> None:
        from dataclasses import replace

        lengths = [3, 40, 1, 17]
        several = [
            replace(order, max_tokens=n) for order, n in zip(orders(engine), lengths, strict=True)
        ]
        together = engine.generate(several)
        assert [w.completion_tokens for w in together] == lengths
        assert [w.text for w in together] == [engine.generate([o])[0].text for o in several]

    def test_the_transformers_library_writes_the_same(self, engine: Any) -> None:
        import torch

        for order in orders(engine):
            ids = torch.tensor([order.prompt])
            theirs = engine._model.generate(
                ids, max_new_tokens=40, do_sample=False, pad_token_id=3, temperature=None
            )
            text = engine.tokenizer.decode(theirs[0, ids.shape[1] :], skip_special_tokens=True)
            assert engine.generate([order])[0].text == text

    def test_nobody_waits_any_more(self, engine: Any) -> None:
        from dataclasses import replace

        first, second, *_ = orders(engine)
        gone, kept = engine.generate([replace(first, unwanted=lambda: True), second])
        assert gone.completion_tokens == 1
        assert kept.completion_tokens == 40


class TestSampling:
    def test_a_seed_repeats_and_another_differs(self, engine: Any) -> None:
        from dataclasses import replace

        order = orders(engine, temperature=1.0)[0]
        texts = [engine.generate([replace(order, seed=seed)])[0].text for seed in (5, 5, 6)]
        assert texts[0] == texts[1] != texts[2]

    def test_tokens_come_as_often_as_they_should(self) -> None:
        # Known truth: softmax(log p / T) with T = 0.5 squares the odds; 0.6 : 0.3 : 0.1 becomes
        # 36 : 9 : 1 of 46.
        import torch

        from judge.local_models._hf_engine import Order, _choose

        logits = torch.tensor([0.6, 0.3, 0.1]).log()
        source = torch.Generator().manual_seed(0)
        order = Order(prompt=[1], max_tokens=1, temperature=0.5, seed=0)
        count = 20_000
        drawn = [_choose(logits, order, source) for _ in range(count)]
        for token, parts in enumerate((36, 9, 1)):
            wanted = parts / 46
            error = math.sqrt(wanted * (1 - wanted) / count)
            assert abs(drawn.count(token) / count - wanted) < 4 * error

    @pytest.mark.parametrize(
        ("top_p", "kept"), [(0.5, {0}), (0.599, {0}), (0.61, {0, 2}), (1.0, {0, 1, 2})]
    )
    def test_the_nucleus(self, top_p: float, kept: set[int]) -> None:
        # The least set of the likeliest tokens whose mass reaches top_p.
        import torch

        from judge.local_models._hf_engine import Order, _choose

        logits = torch.tensor([0.6, 0.1, 0.3], dtype=torch.float64).log()
        source = torch.Generator().manual_seed(1)
        order = Order(prompt=[1], max_tokens=1, temperature=1.0, top_p=top_p, seed=0)
        drawn = {_choose(logits, order, source) for _ in range(500)}
        assert drawn == kept


class TestText:
    def test_tokens_joined_are_the_decoded_reply(self, engine: Any) -> None:
        # Random tokens of a byte-level vocabulary break characters all the time.
        source = random.Random(3)
        ordinary = range(len(engine.tokenizer.all_special_ids), len(engine.tokenizer))
        for _ in range(20):
            ids = source.choices(ordinary, k=100)
            assert written(engine, ids).text == engine.tokenizer.decode(ids)

    @pytest.mark.parametrize("text", ["naïve 東京 🙂🙃, plain.", "x" * 50, "ends with 🙂"])
    def test_characters_of_several_tokens_stay_whole(self, engine: Any, text: str) -> None:
        ids = engine.tokenizer(text, add_special_tokens=False)["input_ids"]
        tokens = written(engine, ids).tokens
        assert len(tokens) == len(ids)
        assert "".join(token.text for token in tokens) == text
        assert all("\N{REPLACEMENT CHARACTER}" not in token.text for token in tokens)

    def test_a_stop_string_ends_the_reply_before_it(self, engine: Any) -> None:
        whole = engine.generate(orders(engine, top_logprobs=0))[1]
        stop = whole.text[10:14]
        cut = engine.generate(orders(engine, stop=(stop, "never comes"), top_logprobs=0))[1]
        assert cut.text == whole.text[: whole.text.index(stop)]
        assert cut.finish_reason == "stop"
        assert "".join(token.text for token in cut.tokens) == cut.text
        assert [t.logprob for t in cut.tokens] == [
            t.logprob for t in whole.tokens[: len(cut.tokens)]
        ]

    def test_the_models_end_ends_the_reply(self, engine: Any) -> None:
        reply = written(engine, [engine.tokenizer.eos_token_id], max_tokens=9)
        assert (reply.finish_reason, reply.text, reply.completion_tokens) == ("stop", "", 1)

    def test_log_probabilities_are_the_models(self, engine: Any) -> None:
        import torch

        order = orders(engine, top_logprobs=3)[0]
        written = engine.generate([order])[0]
        logits = engine._model(torch.tensor([order.prompt])).logits[0, -1].detach()
        best = logits.log_softmax(-1).topk(3)
        first = written.tokens[0]
        assert first.logprob == pytest.approx(best.values[0].item(), abs=1e-4)
        assert [value for _, value in first.top] == pytest.approx(best.values.tolist(), abs=1e-4)
        names = [engine.tokenizer.decode([n]) for n in best.indices.tolist()]
        assert [text for text, _ in first.top] == names


def ask(served: ModelSpec, **changes: Any) -> dict[str, Any]:
    return ask_many(served, [changes])[0]


def ask_many(served: ModelSpec, several: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Send requests at once, through the client of the project."""
    base = {
        "model": served.model,
        "messages": [{"role": "user", "content": "Name a city."}],
        "max_tokens": 12,
        "temperature": 0,
    }

    async def send() -> list[dict[str, Any]]:
        retry = RetryPolicy(max_attempts=1)
        async with ChatEndpoint(served, retry=retry, timeout_s=60) as endpoint:
            done = await asyncio.gather(
                *(endpoint.complete(json.dumps({**base, **c}).encode(), 12) for c in several)
            )
        return [{"status": c.status_code, **json.loads(c.body)} for c in done]

    return asyncio.run(send())


class TestServer:
    def test_a_chat(self, served: ModelSpec) -> None:
        reply = ask(served, logprobs=True, top_logprobs=5)
        (choice,) = reply["choices"]
        content = choice["logprobs"]["content"]
        assert "".join(token["token"] for token in content) == choice["message"]["content"]
        assert all(len(token["top_logprobs"]) == 5 for token in content)
        assert choice["finish_reason"] == "length"
        usage = reply["usage"]
        assert usage["completion_tokens"] == 12
        assert usage["total_tokens"] == usage["prompt_tokens"] + 12

    def test_many_at_once_are_answered_as_one_by_one(self, served: ModelSpec) -> None:
        several = [
            {"messages": [{"role": "user", "content": f"Say {n}. " * n}], "seed": n}
            | {"temperature": n % 2}
            for n in range(1, 11)
        ]
        at_once = [r["choices"] for r in ask_many(served, several)]
        assert at_once == [ask(served, **one)["choices"] for one in several]

    def test_a_seed_repeats(self, served: ModelSpec) -> None:
        texts = [
            ask(served, temperature=1.0, **seed)["choices"][0]["message"]["content"]
            for seed in ({"seed": 1}, {"seed": 1}, {"seed": 2}, {}, {})
        ]
        assert texts[0] == texts[1]
        assert len(set(texts)) == 4

    def test_structured_output_is_refused_by_name(self, served: ModelSpec) -> None:
        for form in ({"type": "json_object"}, {"type": "json_schema", "json_schema": {}}):
            with pytest.raises(UnsupportedParameter) as raised:
                ask(served, response_format=form)
            assert raised.value.parameter == "response_format"
        assert ask(served, response_format={"type": "text"})["status"] == 200

    def test_a_prompt_that_is_too_long_ends_its_unit(self, served: ModelSpec) -> None:
        long = ask(served, messages=[{"role": "user", "content": "tax " * 2000}])
        assert (long["status"], long["error"]["code"]) == (400, "context_length_exceeded")
        room = ask(served, max_tokens=1020)
        assert (room["status"], room["error"]["code"]) == (400, "context_length_exceeded")

    @pytest.mark.parametrize(
        ("change", "param"),
        [
            ({"temperature": 3}, "temperature"),
            ({"temperature": "hot"}, "temperature"),
            ({"max_tokens": 0}, "max_tokens"),
            ({"max_tokens": True}, "max_tokens"),
            ({"top_p": 0}, "top_p"),
            ({"top_logprobs": 21}, "top_logprobs"),
            ({"n": 2}, "n"),
            ({"stream": True}, "stream"),
            ({"tools": []}, "tools"),
            ({"stop": [1]}, "stop"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "user", "content": None}]}, "messages"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(
        self, served: ModelSpec, change: dict[str, Any], param: str
    ) -> None:
        from judge.local_models._hf_server import BadRequest, read_request

        body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **change}
        with pytest.raises(BadRequest) as raised:
            read_request(body, "m")
        assert raised.value.param == param

    def test_another_model_or_key(self, served: ModelSpec) -> None:
        with pytest.raises(EndpointError, match="not found"):
            ask(served, model="another")
        with pytest.raises(EndpointError, match="refuses the key"):
            ask(served.served_at(str(served.base_url), "wrong"))

    def test_a_template_that_refuses_a_role(self, folder: Path, tmp_path: Path) -> None:
        template = tmp_path / "strict.jinja"
        template.write_text("{{ raise_exception('no system role here') }}")
        spec = parse_spec(f"hf:{folder}?chat_template={template}")
        refused = pytest.raises(RejectedRequest, match="no system role here")
        with serving(spec) as served, refused:
            ask(served)

    def test_the_plain_template_is_used_where_there_is_none(self, tmp_path: Path) -> None:
        from tests.vllm.tiny_model import make_tiny_model

        bare = make_tiny_model(tmp_path / "bare", length=256, chat_template=False)
        spec = parse_spec(f"hf:{bare}?max_model_len=64")
        assert "chat_template=" in spec.identity
        with serving(spec) as served:
            reply = ask(served)
            assert ask(served, max_tokens=60)["error"]["code"] == "context_length_exceeded"
        from transformers import AutoTokenizer

        ids = AutoTokenizer.from_pretrained(bare)("<s>Name a city.\n\n", add_special_tokens=False)
        assert reply["usage"]["prompt_tokens"] == len(ids["input_ids"])

    def test_a_model_that_cannot_be_loaded_says_why(
        self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # for the log, which stays
        broken = Path(shutil.copytree(folder, tmp_path / "broken"))
        (broken / "config.json").write_text('{"model_type": "no_such_kind"}')
        with (
            pytest.raises(EndpointError, match="no_such_kind"),
            serving(parse_spec(f"hf:{broken}")),
        ):
            pytest.fail("it never answered")
