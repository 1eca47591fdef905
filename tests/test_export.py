"""Checkpoints: whole and right, or refused."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the extra train")
pytest.importorskip("peft", reason="needs the extra train")

from jsonschema import Draft202012Validator  # noqa: E402

from judge.checkpoints import fingerprint  # noqa: E402
from sft.errors import CorruptError, PlumblineError, UsageError  # noqa: E402
from sft.export import (  # noqa: E402
    SCHEMA,
    Adapter,
    Check,
    ExportError,
    ModelCard,
    Probe,
    Share,
    SpaceError,
    Verified,
    base_shapes,
    clean_up,
    distance,
    merge_adapter,
    prune_epochs,
    read_card,
    require_tokenizer,
    tolerance,
    verify_checkpoint,
    write_checkpoint,
)
from sft.export import _write as writing_module  # noqa: E402
from sft.settings import Layout, TokenSettings  # noqa: E402
from sft.tokenisation import load_vocabulary  # noqa: E402
from tests.tiny_tokenizer import save_tiny_tokenizer  # noqa: E402

pytestmark = [
    pytest.mark.train,
    # Not ours: what the libraries warn about in their own code.
    pytest.mark.filterwarnings("default"),
]

CHAT = (
    "{% for m in messages %}<|{{ m['role'] }}|>{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] }}</s>{% endgeneration %}"
    "{% else %}{{ m['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>")
ROWS = 272
"""3 special tokens, 4 for roles, 256 bytes: 263; the embeddings are padded to a multiple of 16."""
ENDS = (1, 6)
IDS = [0, 4, 50, 60, 70, 80, 5, 90, 100, 110, 120, 1]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vocabulary(tmp_path_factory.mktemp("vocabulary"))


@pytest.fixture(scope="module")
def qwen2_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_vocabulary(tmp_path_factory.mktemp("vocabulary"), tiny_qwen2())


def save_vocabulary(folder: Path, model: Any = None) -> Path:
    raw = save_tiny_tokenizer(folder / "raw", special=ROLES, chat_template=CHAT, stops=ENDS)
    if model is not None:
        model.config.save_pretrained(raw)
    saved = folder / "saved"
    saved.mkdir()
    load_vocabulary(TokenSettings(tokenizer=str(raw), layout=Layout.CHAT)).save(saved)
    return saved


def sizes(**fields: Any) -> dict[str, Any]:
    return {
        "vocab_size": ROWS,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 2,
        **fields,
    }


def grown_apart(model: Any, dtype: Any = torch.float32) -> Any:
    """With weights large enough that every layer shows in the logits."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.15) if parameter.ndim > 1 else parameter.uniform_(0.5, 1.5)
    return model.to(dtype).eval()


def tiny_llama(*, seed: int = 0, dtype: Any = torch.float32, **fields: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return grown_apart(LlamaForCausalLM(LlamaConfig(**sizes(**fields))), dtype)


def tiny_qwen2(**fields: Any) -> Any:
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(1)
    return grown_apart(Qwen2ForCausalLM(Qwen2Config(**sizes(**fields))))


def tiny_gemma(**fields: Any) -> Any:
    """Embeddings scaled by sqrt(width), norms that add 1, capped logits, tied head."""
    from transformers import Gemma2Config, Gemma2ForCausalLM

    torch.manual_seed(2)
    return grown_apart(Gemma2ForCausalLM(Gemma2Config(**sizes(head_dim=8, **fields))))


def tiny_mixtral() -> Any:
    """Experts are one tensor in memory, and apart on a hub: transformers renames on saving."""
    from transformers import MixtralConfig, MixtralForCausalLM

    torch.manual_seed(3)
    config = MixtralConfig(**sizes(num_local_experts=2, num_experts_per_tok=2))
    return grown_apart(MixtralForCausalLM(config))


def live_probe(model: Any, dtype: str = "float32") -> Probe:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([IDS])).logits[0]
    return Probe(ids=IDS, logits=logits, dtype=dtype)


def card(**fields: Any) -> ModelCard:
    return ModelCard(
        **{
            "name": "tiny",
            "description": "A test | of cards.",
            "synthetic": True,
            "base_model": "example/base",
            "epoch": 1,
            "epochs": 3,
            "step": 10,
            "data": "demo",
            "blend": "half",
            "manifest_hash": "0f" * 16,
            "shares": (Share(source="public-qa", domain="general", share=0.4),),
            "config": {"seed": 7, "optimizer": {"betas": (0.9, 0.95)}},
            "config_hash": "ab" * 16,
            "git": "c0ffee",
            "versions": {"torch": "2"},
            "losses_before": {"general": 3.25},
            "losses_after": {"general": 2.5},
            "training_loss": 2.75,
            "checks": (Check(check="isolation", difference=1e-7, bound=1e-4),),
            **fields,
        }
    )


def state_of(model: Any) -> dict[str, Any]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def shapes_of(state: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def write(target: Path, model: Any, tokenizer: Path, **fields: Any) -> Verified:
    given: dict[str, Any] = {
        "model": model,
        "state": state_of(model),
        "tokenizer": tokenizer,
        "end_ids": ENDS,
        "card": card(),
        **fields,
    }
    if "probe" not in given:
        given["probe"] = live_probe(model)
    return write_checkpoint(target, **given)


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def header(folder: Path) -> dict[str, Any]:
    raw = (folder / "model.safetensors").read_bytes()
    size = int.from_bytes(raw[:8], "little")
    return dict(json.loads(raw[8 : 8 + size]))


# What is written


@pytest.mark.parametrize("make", [tiny_llama, tiny_qwen2, tiny_gemma, tiny_mixtral])
def test_a_checkpoint_loads_with_the_same_weights_and_logits(
    make: Callable[[], Any], tmp_path: Path, tokenizer: Path, qwen2_tokenizer: Path
) -> None:
    from transformers import AutoModelForCausalLM

    model = make()
    tokenizer = qwen2_tokenizer if make is tiny_qwen2 else tokenizer
    require_tokenizer(model, tokenizer)
    found = write(tmp_path / "epoch-1", model, tokenizer)
    assert found.distance is not None and found.tolerance is not None
    assert found.distance <= found.tolerance < 1e-3
    assert found.parameters == sum(p.numel() for p in model.parameters())
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "epoch-1", dtype="auto")
    assert type(loaded) is type(model)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor), name
    again = verify_checkpoint(tmp_path / "epoch-1", probe=live_probe(model))
    assert again == found


@pytest.mark.parametrize("tie", [False, True])
def test_tied_weights_are_saved_once_and_come_back_tied(
    tie: bool, tmp_path: Path, tokenizer: Path
) -> None:
    model = tiny_llama(tie_word_embeddings=tie)
    state = state_of(model)
    if tie:
        del state["lm_head.weight"]
    write(tmp_path / "epoch-1", model, tokenizer, state=state)
    assert ("lm_head.weight" in header(tmp_path / "epoch-1")) is not tie
    said = read_card(tmp_path / "epoch-1")["model"]
    assert said["tied"] == (["lm_head.weight"] if tie else [])
    # By hand: embeddings (and head) 272 x 32; a layer has q, o: 32 x 32; k, v: 16 x 32;
    # three of 48 x 32; two norms of 32; and the last norm.
    layer = 2 * 32 * 32 + 2 * 16 * 32 + 3 * 48 * 32 + 2 * 32
    assert said["parameters"] == (1 if tie else 2) * ROWS * 32 + 2 * layer + 32


def test_of_tied_weights_either_name_will_do(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_llama(tie_word_embeddings=True)
    state = state_of(model)
    state["lm_head.weight"] = state.pop("lm_head.weight")
    only_head = {k: v for k, v in state.items() if k != "model.embed_tokens.weight"}
    with pytest.raises(ExportError, match=re.escape("model.embed_tokens.weight")):
        write(tmp_path / "epoch-1", tiny_llama(), tokenizer, state=only_head)
    write(tmp_path / "epoch-1", model, tokenizer, state=only_head)
    assert verify_checkpoint(tmp_path / "epoch-1", probe=live_probe(model)).distance == 0


def test_tied_weights_that_differ_are_refused(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_llama(tie_word_embeddings=True)
    state = state_of(model)
    state["lm_head.weight"] = state["lm_head.weight"] + 1
    with pytest.raises(ExportError, match="tied"):
        write(tmp_path / "epoch-1", model, tokenizer, state=state)


def test_bfloat16_is_kept(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_llama(dtype=torch.bfloat16)
    found = write(tmp_path / "epoch-1", model, tokenizer, probe=live_probe(model, "bfloat16"))
    assert found.dtype == "bfloat16"
    assert {
        entry["dtype"] for key, entry in header(tmp_path / "epoch-1").items() if "." in key
    } == {"BF16"}
    config = json.loads((tmp_path / "epoch-1" / "config.json").read_text())
    assert config["dtype"] == "bfloat16"


def test_a_state_in_another_type_than_the_live_model_sets_the_type(
    tmp_path: Path, tokenizer: Path
) -> None:
    model = tiny_llama()
    state = {name: tensor.bfloat16() for name, tensor in state_of(model).items()}
    found = write(
        tmp_path / "epoch-1", model, tokenizer, state=state, probe=live_probe(model, "bfloat16")
    )
    assert found.dtype == "bfloat16"
    assert found.distance is not None and 1e-4 < found.distance < 0.05
    assert model.dtype == torch.float32 and model.config.dtype != "bfloat16"


def test_a_model_without_parameters_of_its_own_is_not_read(tmp_path: Path, tokenizer: Path) -> None:
    """As under ZeRO 3: what the process holds of each parameter is empty."""
    model = tiny_llama()
    state, probe = state_of(model), live_probe(model)
    for parameter in model.parameters():
        parameter.data = torch.empty(0)
    write(tmp_path / "epoch-1", model, tokenizer, state=state, probe=probe)
    for parameter in model.parameters():
        assert parameter.numel() == 0


def test_a_zero_3_configuration_is_set_aside_for_the_check(tmp_path: Path, tokenizer: Path) -> None:
    """With one in force, from_pretrained would divide the model and want all processes."""
    from transformers.integrations import deepspeed

    class Settings:
        config: Mapping[str, Any] = {}

        def is_zero3(self) -> bool:
            return True

    in_force = Settings()
    model = tiny_llama()
    deepspeed.set_hf_deepspeed_config(in_force)
    try:
        write(tmp_path / "epoch-1", model, tokenizer)
        assert deepspeed.is_deepspeed_zero3_enabled()
    finally:
        deepspeed.unset_hf_deepspeed_config()


def test_tensors_that_are_views_of_one_buffer_are_all_saved(
    tmp_path: Path, tokenizer: Path
) -> None:
    model = tiny_llama()
    state = state_of(model)
    flat = torch.cat([tensor.flatten() for tensor in state.values()])
    views, at = {}, 0
    for name, tensor in state.items():
        views[name] = flat[at : at + tensor.numel()].view(tensor.shape)
        at += tensor.numel()
    write(tmp_path / "epoch-1", model, tokenizer, state=views)
    assert shapes_of(state) == base_shapes(tmp_path / "epoch-1")


def test_a_large_model_is_in_shards_with_an_index(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing_module, "SHARD", "50KB")
    model = tiny_llama()
    write(tmp_path / "epoch-1", model, tokenizer, base=shapes_of(state_of(model)))
    shards = sorted((tmp_path / "epoch-1").glob("*.safetensors"))
    index = json.loads((tmp_path / "epoch-1" / "model.safetensors.index.json").read_text())
    assert len(shards) > 2
    assert set(index["weight_map"].values()) == {path.name for path in shards}
    assert index["metadata"]["total_parameters"] == sum(p.numel() for p in model.parameters())
    shards[0].unlink()
    with pytest.raises(CorruptError, match=shards[0].name):
        verify_checkpoint(tmp_path / "epoch-1")


def test_a_grown_vocabulary(tmp_path: Path, tokenizer: Path) -> None:
    base = tiny_llama(vocab_size=256)
    base.save_pretrained(tmp_path / "base")
    base.resize_token_embeddings(ROWS)
    write(tmp_path / "epoch-1", base, tokenizer, base=tmp_path / "base")
    assert json.loads((tmp_path / "epoch-1" / "config.json").read_text())["vocab_size"] == ROWS
    verify_checkpoint(tmp_path / "epoch-1", base=tmp_path / "base", grown_vocabulary=ROWS)
    with pytest.raises(CorruptError, match=r"\(272, 32\), expected \(256, 32\)"):
        verify_checkpoint(tmp_path / "epoch-1", base=tmp_path / "base")
    with pytest.raises(CorruptError, match="272 rows"):
        verify_checkpoint(tmp_path / "epoch-1", grown_vocabulary=320)


def test_rows_of_the_state_set_the_vocabulary_of_the_configuration(
    tmp_path: Path, tokenizer: Path
) -> None:
    """The live model's configuration can be behind its weights."""
    model = tiny_llama()
    probe = live_probe(model)
    model.config.vocab_size = 100
    write(tmp_path / "epoch-1", model, tokenizer, probe=probe)
    assert json.loads((tmp_path / "epoch-1" / "config.json").read_text())["vocab_size"] == ROWS
    assert model.config.vocab_size == 100


def test_a_server_stops_and_pads_with_tokens_that_exist(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_llama(eos_token_id=200, pad_token_id=None)
    model.generation_config.update(do_sample=True, temperature=0.7, top_k=20, eos_token_id=200)
    write(tmp_path / "epoch-1", model, tokenizer)
    said = json.loads((tmp_path / "epoch-1" / "generation_config.json").read_text())
    assert (said["eos_token_id"], said["bos_token_id"], said["pad_token_id"]) == ([1, 6], 0, 2)
    assert (said["temperature"], said["top_k"]) == (0.7, 20)
    config = json.loads((tmp_path / "epoch-1" / "config.json").read_text())
    assert (config["eos_token_id"], config["bos_token_id"], config["pad_token_id"]) == (
        [1, 6],
        0,
        2,
    )
    assert model.config.eos_token_id == 200


@pytest.mark.parametrize("ends", [(), (1, ROWS), (-1, 1)])
def test_end_tokens_without_a_row_are_refused(
    ends: tuple[int, ...], tmp_path: Path, tokenizer: Path
) -> None:
    with pytest.raises(ExportError, match="end token"):
        write(tmp_path / "epoch-1", tiny_llama(), tokenizer, end_ids=ends)
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_larger_than_the_embeddings_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_llama(vocab_size=256)
    with pytest.raises(ExportError, match="256 rows"):
        write(tmp_path / "epoch-1", model, tokenizer)


def test_the_engine_of_judge_answers_with_it(tmp_path: Path, tokenizer: Path) -> None:
    from judge.local_models._hf_engine import Engine, Order

    model = tiny_llama()
    write(tmp_path / "epoch-1", model, tokenizer)
    engine = Engine(tmp_path / "epoch-1", dtype="float32", template=None, max_model_len=None)
    assert engine.ends(1) and engine.ends(6) and not engine.ends(5)
    prompt = engine.encode([{"role": "user", "content": "Hi"}])
    # By hand: <|user|> is 3 + 1; bytes start at 7: "H" is 7 + 39, "i" is 7 + 72; <|assistant|>: 5.
    assert prompt == [4, 46, 79, 5]
    (reply,) = engine.generate([Order(prompt=prompt, max_tokens=6, temperature=0.0, seed=0)])
    with torch.inference_mode():
        ids = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=6,
            do_sample=False,
            eos_token_id=[1, 6],
            pad_token_id=2,
        )[0, len(prompt) :].tolist()
    assert reply.text == engine.tokenizer.decode(
        [token for token in ids if token not in ENDS], skip_special_tokens=True
    )
    assert reply.completion_tokens == len(ids)


# The card


def test_the_card_says_what_was_trained(tmp_path: Path, tokenizer: Path) -> None:
    write(tmp_path / "epoch-1", tiny_llama(), tokenizer)
    said = json.loads((tmp_path / "epoch-1" / "plumbline.json").read_text())
    assert said["base_model"] == "example/base"
    assert said["data"]["shares"] == [{"source": "public-qa", "domain": "general", "share": 0.4}]
    assert said["losses"] == {
        "before": {"general": 3.25},
        "after": {"general": 2.5},
        "training": 2.75,
    }
    assert said["checks"][0]["check"] == "isolation"
    assert len(said["checks"]) == 3
    assert set(said["files"]) == set(content(tmp_path / "epoch-1")) - {
        "plumbline.json",
        "README.md",
    }
    readme = (tmp_path / "epoch-1" / "README.md").read_text()
    from ruamel.yaml import YAML

    front = YAML(typ="safe").load(readme.split("---\n")[1])
    assert front["base_model"] == "example/base"
    assert "synthetic" in front["tags"]
    for wanted in (
        "synthetic data",
        "| public-qa | general | 40.0% |",
        "| general | 3.2500 | 2.5000 |",
    ):
        assert wanted in readme
    assert '"betas": [' in readme and "c0ffee" in readme and "0f0f" in readme


def test_the_same_training_gives_the_same_folder(tmp_path: Path, tokenizer: Path) -> None:
    for name in ("epoch-1", "epoch-2"):
        write(tmp_path / name, tiny_llama(), tokenizer)
    assert content(tmp_path / "epoch-1") == content(tmp_path / "epoch-2")


def test_a_loss_that_is_no_number_is_refused(tmp_path: Path, tokenizer: Path) -> None:
    with pytest.raises(ExportError, match=r"losses\.after\.general"):
        write(
            tmp_path / "epoch-1",
            tiny_llama(),
            tokenizer,
            card=card(losses_after={"general": math.nan}),
        )
    assert list(tmp_path.iterdir()) == []


TEXT = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30)
LOSSES = st.dictionaries(TEXT, st.floats(0, 1e6), max_size=3)


@settings(max_examples=60, deadline=None)
@given(
    name=TEXT,
    description=TEXT,
    base=st.none() | TEXT,
    losses=LOSSES,
    lora=st.none() | st.dictionaries(TEXT, st.integers(0, 999), max_size=2),
    shares=st.lists(st.builds(Share, source=TEXT, domain=TEXT, share=st.floats(0, 1)), max_size=3),
    config=st.dictionaries(TEXT, st.none() | TEXT | st.booleans() | st.lists(TEXT), max_size=3),
)
def test_any_card_is_of_its_published_form(
    tmp_path_factory: pytest.TempPathFactory, **fields: Any
) -> None:
    from ruamel.yaml import YAML

    from sft.export._card import card_content, write_card

    made = card(
        name=fields["name"],
        description=fields["description"],
        base_model=fields["base"],
        losses_before=fields["losses"],
        losses_after=fields["losses"],
        lora=fields["lora"],
        shares=fields["shares"],
        config=fields["config"],
    )
    written = card_content(
        made,
        architecture="LlamaForCausalLM",
        parameters=1,
        vocabulary=2,
        dtype="float32",
        tied=("b", "a"),
        end_ids=(1,),
        checks=(),
        files={"w": {"bytes": 0, "hash": "00" * 16}},
    )
    folder = tmp_path_factory.mktemp("card")
    write_card(folder, written)
    schema = json.loads(SCHEMA.read_text("utf-8"))
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(
        json.loads((folder / "plumbline.json").read_text("utf-8"))
    )
    assert read_card(folder) == written
    assert read_card(folder)["losses"]["after"] == fields["losses"]
    matter = (folder / "README.md").read_text("utf-8").split("---\n")[1]
    assert YAML(typ="safe").load(matter)["library_name"] == "transformers"


# What is refused before anything is written


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("model.norm.weight"), "model.norm.weight: not among"),
        (
            lambda s: s.update({"model.extra.weight": torch.ones(3)}),
            "model.extra.weight: no tensors",
        ),
        (
            lambda s: s.update({"model.norm.weight": torch.ones(31)}),
            r"found shape \(31,\), expected",
        ),
        (
            lambda s: s.update({"model.norm.weight": torch.empty(0)}),
            r"found shape \(0,\), expected",
        ),
        (lambda s: s["model.norm.weight"].fill_(math.nan), "model.norm.weight: 32 of 32 numbers"),
        (lambda s: s["lm_head.weight"][3, 4].fill_(math.inf), "lm_head.weight: 1 of 8704 numbers"),
        (lambda s: s.update({"model.norm.weight": torch.ones(32).half()}), "float16, expected"),
    ],
)
def test_tensors_that_are_not_the_model_are_refused(
    change: Callable[[dict[str, Any]], Any], said: str, tmp_path: Path, tokenizer: Path
) -> None:
    model = tiny_llama()
    state = state_of(model)
    change(state)
    with pytest.raises(ExportError, match=said):
        write(tmp_path / "epoch-1", model, tokenizer, state=state)
    assert list(tmp_path.iterdir()) == []


# What is caught after it is written


def meddling(monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None]) -> None:
    """Have something happen to the folder between being written and being checked."""
    fill = writing_module._fill

    def filled(folder: Path, *rest: Any) -> None:
        fill(folder, *rest)
        change(folder)

    monkeypatch.setattr(writing_module, "_fill", filled)


def resaved(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    from safetensors.torch import load_file, save_file

    def do(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})

    return do


def swap(tensors: dict[str, Any]) -> None:
    first, second = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.up_proj.weight"
    tensors[first], tensors[second] = tensors[second], tensors[first]


def flip(offset_from_end: int) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        path = folder / "model.safetensors"
        raw = bytearray(path.read_bytes())
        raw[-offset_from_end] ^= 0x01
        path.write_bytes(raw)

    return do


def edit(file: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        data = json.loads((folder / file).read_text())
        change(data)
        (folder / file).write_text(json.dumps(data))

    return do


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    # The lowest bit of a number near the end of the file: the smallest damage there is.
    (flip(4), "1 of .* numbers are not those"),
    (resaved(swap), r"up_proj.weight: \d+ of 1536 numbers are not those"),
    (resaved(lambda t: t["lm_head.weight"][0].fill_(math.nan)), "lm_head.weight: 32 of 8704 .*NaN"),
    (resaved(lambda t: t.pop("model.norm.weight")), "missing keys: model.norm.weight"),
    (resaved(lambda t: t.update({"x.weight": torch.ones(2)})), "unexpected keys: x.weight"),
    (resaved(lambda t: t.update({"y.weight": t.pop("model.norm.weight")})), "keys"),
    (resaved(lambda t: t.update({"model.norm.weight": torch.ones(32).bfloat16()})), "says float32"),
    (resaved(lambda t: t.update({"model.norm.weight": torch.ones(31)})), "model.norm.weight"),
    (lambda f: os.truncate(f / "model.safetensors", 5000), "model.safetensors"),
    (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    (lambda f: (f / "tokenizer.json").write_text("{}"), "tokenizer"),
    (edit("config.json", lambda c: c.update(dtype="bfloat16")), "config.json says bfloat16"),
    (edit("config.json", lambda c: c.update(vocab_size=64)), "cannot load|mismatched"),
    (edit("config.json", lambda c: c.update(tie_word_embeddings=True)), "tie|keys|numbers"),
    # Same weights, other arithmetic: only the logits show it.
    (edit("config.json", lambda c: c["rope_parameters"].update(rope_theta=50.0)), "logits are"),
    (edit("config.json", lambda c: c.update(rms_norm_eps=0.1)), "logits are"),
    (edit("config.json", lambda c: c.update(hidden_act="gelu")), "logits are"),
    (
        edit("tokenizer_config.json", lambda c: c.update(eos_token="<pad>")),
        "tokenizer has the hash",
    ),
]


@pytest.mark.parametrize(("damage", "said"), DAMAGE)
def test_damage_between_writing_and_checking_is_caught(
    damage: Callable[[Path], None],
    said: str,
    tmp_path: Path,
    tokenizer: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = tiny_llama()
    write(tmp_path / "epoch-1", tiny_llama(seed=9), tokenizer)
    before = content(tmp_path / "epoch-1")
    meddling(monkeypatch, damage)
    with pytest.raises(CorruptError, match=said) as caught:
        write(tmp_path / "epoch-1", model, tokenizer)
    assert str(tmp_path / "epoch-1.broken") in str(caught.value)
    assert content(tmp_path / "epoch-1") == before
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-1", "epoch-1.broken"}
    with pytest.raises(CorruptError, match=r"plumbline\.json"):
        verify_checkpoint(tmp_path / "epoch-1.broken")


@pytest.mark.parametrize("damage", [case[0] for case in DAMAGE])
def test_damage_after_the_export_is_caught(
    damage: Callable[[Path], None], tmp_path: Path, tokenizer: Path
) -> None:
    write(tmp_path / "epoch-1", tiny_llama(), tokenizer)
    damage(tmp_path / "epoch-1")
    with pytest.raises(CorruptError):
        verify_checkpoint(tmp_path / "epoch-1")


def test_every_byte_of_the_card_s_files_counts(tmp_path: Path, tokenizer: Path) -> None:
    write(tmp_path / "epoch-1", tiny_llama(), tokenizer)
    for name in read_card(tmp_path / "epoch-1")["files"]:
        path = tmp_path / "epoch-1" / name
        raw = path.read_bytes()
        path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
        with pytest.raises(CorruptError, match=re.escape(name)):
            verify_checkpoint(tmp_path / "epoch-1")
        path.write_bytes(raw)
    verify_checkpoint(tmp_path / "epoch-1")
    (tmp_path / "epoch-1" / "more.safetensors").write_bytes(b"")
    with pytest.raises(CorruptError, match=r"more\.safetensors"):
        verify_checkpoint(tmp_path / "epoch-1")


def test_the_probe_finds_swapped_tensors_under_hashes_that_agree(
    tmp_path: Path, tokenizer: Path
) -> None:
    from sft.export._card import file_facts

    model = tiny_llama()
    write(tmp_path / "epoch-1", model, tokenizer)
    resaved(swap)(tmp_path / "epoch-1")
    edit("plumbline.json", lambda c: c.update(files=file_facts(tmp_path / "epoch-1")))(
        tmp_path / "epoch-1"
    )
    verify_checkpoint(tmp_path / "epoch-1")
    with pytest.raises(CorruptError, match="logits are"):
        verify_checkpoint(tmp_path / "epoch-1", probe=live_probe(model))


def test_a_tokenizer_that_becomes_another_one_beside_the_model_is_caught(
    tmp_path: Path, tokenizer: Path
) -> None:
    """transformers takes the tokenizer class of Qwen2 for every model of that type."""
    model = tiny_qwen2()
    with pytest.raises(ExportError, match="type qwen2, transformers makes another"):
        require_tokenizer(model, tokenizer)
    with pytest.raises(CorruptError, match="tokenizer has the hash"):
        write(tmp_path / "epoch-1", model, tokenizer)


def test_names_that_transformers_changes_in_saving_are_caught(
    tmp_path: Path, tokenizer: Path
) -> None:
    model = tiny_mixtral()
    own = shapes_of(state_of(model))
    write(tmp_path / "hub", model, tokenizer)
    on_hub = base_shapes(tmp_path / "hub")
    assert own.keys() != on_hub.keys()
    with pytest.raises(CorruptError, match="renamed in saving"):
        verify_checkpoint(tmp_path / "hub", base=own)
    # Told what the base looks like, it is saved under the same names, whichever these are.
    for name, base in (("epoch-1", own), ("epoch-2", on_hub), ("epoch-3", tmp_path / "hub")):
        write(tmp_path / name, model, tokenizer, base=base)
        assert base_shapes(tmp_path / name) == (own if name == "epoch-1" else on_hub)


def test_a_base_of_another_shape_is_told_apart(tmp_path: Path, tokenizer: Path) -> None:
    model = tiny_llama()
    write(tmp_path / "epoch-1", model, tokenizer)
    own = shapes_of(state_of(model))
    verify_checkpoint(tmp_path / "epoch-1", base=own)
    taller = {**own, "model.layers.0.mlp.up_proj.weight": (64, 32)}
    with pytest.raises(CorruptError, match=r"up_proj.weight: found shape \(48, 32\)"):
        verify_checkpoint(tmp_path / "epoch-1", base=taller)
    with pytest.raises(CorruptError, match=r"q_norm\.weight"):
        verify_checkpoint(tmp_path / "epoch-1", base={**own, "model.q_norm.weight": (8,)})
    fewer = {name: shape for name, shape in own.items() if name != "model.norm.weight"}
    with pytest.raises(CorruptError, match=r"model\.norm\.weight: tensors that the base does not"):
        verify_checkpoint(tmp_path / "epoch-1", base=fewer)
    with pytest.raises(UsageError, match=r"no \*\.safetensors"):
        verify_checkpoint(tmp_path / "epoch-1", base=tokenizer)


# The tolerance


def test_the_tolerance_by_hand() -> None:
    # One layer: 16 + 4 roundings, two computations: sqrt(40) units of 2^-8, twice; 64 products in
    # fp32 add 8 * 2^-24, which is nothing beside it.
    assert tolerance(layers=1, width=64, dtype="bfloat16") == pytest.approx(
        2 * math.sqrt(40) / 256, rel=1e-6
    )
    # In fp32 the sums count most: sqrt(1 + 64) * 2^-24.
    assert tolerance(layers=1, width=64, dtype="float32") == pytest.approx(
        2 * math.sqrt(40 * 65) * 2**-24
    )


def test_the_distance_by_hand() -> None:
    expected = torch.tensor([[1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    # Adding the same to all logits changes nothing; 0.1 against a length of sqrt(2).
    assert distance(expected + 5, expected) == 0
    found = torch.tensor([[1.1, -1.1, 0.0], [0.0, 0.0, 0.0]])
    assert distance(found, expected) == pytest.approx(0.1)
    assert distance(expected * math.nan, expected) == math.inf
    assert distance(found, torch.zeros(2, 3)) == math.inf


@pytest.mark.parametrize("layers", [1, 8, 24])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_sound_models_stay_within_the_tolerance_and_others_do_not(layers: int, dtype: str) -> None:
    """The same weights in another order of arithmetic, and weights that are one swap away."""
    kind = getattr(torch, dtype)
    model = tiny_llama(num_hidden_layers=layers, dtype=kind)
    bound = tolerance(layers=layers, width=48, dtype=dtype)
    expected = live_probe(model).logits
    exact = tiny_llama(num_hidden_layers=layers)
    exact.load_state_dict({name: t.double() for name, t in model.state_dict().items()})
    assert 0 < distance(live_probe(exact.double()).logits, expected) < bound
    model.set_attn_implementation("eager")
    assert distance(live_probe(model).logits, expected) < bound
    state = model.state_dict()
    state["model.layers.0.mlp.up_proj.weight"].mul_(-1)
    assert distance(live_probe(model).logits, expected) > bound


# Adapters


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tie", [False, True])
def test_an_adapter_is_merged_and_lies_beside(
    tie: bool, dtype: str, tmp_path: Path, tokenizer: Path
) -> None:
    from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict

    kind = getattr(torch, dtype)
    base = tiny_llama(tie_word_embeddings=tie, dtype=kind)
    base.save_pretrained(tmp_path / "base")
    live = get_peft_model(
        base,
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    torch.manual_seed(4)
    for name, parameter in live.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, 0, 0.1)
    probe = live_probe(live.eval(), dtype)
    with live.disable_adapter():
        without = live_probe(live).logits
    adapter = Adapter(
        config=live.peft_config["default"],
        state={k: v.clone() for k, v in get_peft_model_state_dict(live).items()},
    )

    def loader() -> Any:
        return type(base).from_pretrained(tmp_path / "base", dtype="auto")

    merged = merge_adapter(loader, adapter)
    # By hand: W + 8 / 4 · B A.
    name = "layers.1.mlp.down_proj"
    a, b = (adapter.state[f"base_model.model.model.{name}.lora_{x}.weight"] for x in "AB")
    weight = loader().state_dict()[f"model.{name}.weight"]
    by_hand = weight.float() + 2 * (b.float() @ a.float())
    # Rounded once: to the nearest number of the type, half a unit of 2^-7 or 2^-23 away at most.
    off = (merged[f"model.{name}.weight"].float() - by_hand).abs() / by_hand.abs()
    assert off.max() <= (2**-8 if dtype == "bfloat16" else 2**-20)
    found = write(
        tmp_path / "epoch-1",
        live.get_base_model(),
        tokenizer,
        state=merged,
        adapter=adapter,
        base=tmp_path / "base",
        probe=probe,
        card=card(lora={"rank": 4, "alpha": 8.0}),
    )
    assert found.distance is not None and found.tolerance is not None
    assert distance(without, probe.logits) > 2 * found.tolerance
    assert "adapter/adapter_model.safetensors" in read_card(tmp_path / "epoch-1")["files"]
    alone = PeftModel.from_pretrained(loader(), tmp_path / "epoch-1" / "adapter").eval()
    assert distance(live_probe(alone).logits, probe.logits) <= found.tolerance
    with pytest.raises(CorruptError, match="logits are"):
        verify_checkpoint(tmp_path / "epoch-1", probe=Probe(ids=IDS, logits=without, dtype=dtype))


def test_an_adapter_for_another_model_is_refused() -> None:
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    live = get_peft_model(
        tiny_llama(num_hidden_layers=1), LoraConfig(r=2, target_modules=["q_proj"])
    )
    adapter = Adapter(config=live.peft_config["default"], state=get_peft_model_state_dict(live))
    with pytest.raises(ExportError, match=r"missing .*layers\.1\."):
        merge_adapter(tiny_llama, adapter)
    with pytest.raises(ExportError, match="no tensors"):
        merge_adapter(tiny_llama, Adapter(config=adapter.config, state={}))
    wide = {name: torch.ones(5, tensor.shape[1]) for name, tensor in adapter.state.items()}
    with pytest.raises(ExportError, match="cannot be merged"):
        merge_adapter(
            lambda: tiny_llama(num_hidden_layers=1), Adapter(config=adapter.config, state=wide)
        )


# Whole or not there


def test_an_older_checkpoint_is_replaced(tmp_path: Path, tokenizer: Path) -> None:
    for exchange in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not exchange:
                patch.setattr("sft.export._folders._exchanged", lambda first, second: False)
            prints = set()
            for seed in (1, 2):
                model = tiny_llama(seed=seed)
                write(tmp_path / "epoch-1", model, tokenizer)
                verify_checkpoint(tmp_path / "epoch-1", probe=live_probe(model))
                prints.add(fingerprint(tmp_path / "epoch-1"))
            assert len(prints) == 2
            assert [path.name for path in tmp_path.iterdir()] == ["epoch-1"]


def test_what_a_killed_run_left_is_put_right(tmp_path: Path, tokenizer: Path) -> None:
    write(tmp_path / "epoch-2", tiny_llama(), tokenizer)
    (tmp_path / "epoch-2").rename(tmp_path / ".epoch-2.replaced")
    for name in (".epoch-1.writing", ".epoch-2.writing", ".epoch-3.removed", ".other.writing"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.safetensors").write_bytes(b"half")
    clean_up(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"epoch-2", ".other.writing"}
    verify_checkpoint(tmp_path / "epoch-2")


@pytest.mark.parametrize("mode", ["steps", "steps-aside", "random"])
def test_a_kill_at_any_point_leaves_no_half_checkpoint(
    mode: str, tmp_path: Path, tokenizer: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.export_worker",
        str(tmp_path),
        str(tokenizer),
        mode,
        "25",
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parent.parent,
    ) as worker:
        try:
            out, errors = worker.communicate(timeout=200)
        finally:
            if worker.poll() is None:
                os.killpg(worker.pid, signal.SIGKILL)
    assert worker.returncode == 0, errors[-2000:]
    found = json.loads(out.splitlines()[-1])
    assert found["wrong"] == []
    assert found["killed"] > 20, found


def test_no_room_is_said_before_anything_is_written(
    tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "epoch-1", tiny_llama(), tokenizer)
    before = content(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SpaceError, match=r"needs \d\.\d MB, 1\.0 MB are free"):
        write(tmp_path / "epoch-1", tiny_llama(seed=3), tokenizer)
    assert content(tmp_path) == before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_fills_meanwhile_leaves_nothing(
    number: int, tmp_path: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(folder: Path) -> None:
        raise OSError(number, os.strerror(number))

    write(tmp_path / "epoch-1", tiny_llama(), tokenizer)
    before = content(tmp_path)
    meddling(monkeypatch, full)
    for target in ("epoch-1", "epoch-2"):
        with pytest.raises(SpaceError):
            write(tmp_path / target, tiny_llama(seed=3), tokenizer)
    assert content(tmp_path) == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mounting, capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_really_full(
    small_disk: Path, tokenizer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama(num_hidden_layers=8)
    monkeypatch.setattr(writing_module, "_require_room", lambda *_: None)
    with pytest.raises(SpaceError, match="MB are free"):
        write(small_disk / "epoch-1", model, tokenizer)
    assert list(small_disk.iterdir()) == []


def test_a_folder_that_may_not_be_written(tmp_path: Path, tokenizer: Path) -> None:
    (tmp_path / "file").write_text("")
    for target in (tmp_path / "file", tmp_path / "file" / "epoch-1"):
        with pytest.raises(PlumblineError, match="file"):
            write(target, tiny_llama(), tokenizer)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


# Retention


def test_epochs_that_are_not_kept_are_deleted(tmp_path: Path) -> None:
    for name in ("epoch-1", "epoch-2", "epoch-10", "epoch-2.broken", "states", "epoch-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
    assert prune_epochs(tmp_path, None) == ()
    with pytest.raises(UsageError, match="1, 2, 10; nothing was deleted"):
        prune_epochs(tmp_path, (4,))
    with pytest.raises(UsageError, match="none"):
        prune_epochs(tmp_path, ())
    assert len(list(tmp_path.iterdir())) == 6
    assert prune_epochs(tmp_path, (2, 3)) == (1, 10)
    assert {path.name for path in tmp_path.iterdir()} == {
        "epoch-2",
        "epoch-2.broken",
        "states",
        "epoch-x",
    }
    assert prune_epochs(tmp_path, (2, 3)) == ()
